//! Watching builds.
//!
//! Owns when a watch ends. It must not know when builds are read (`shared_views`), nor how a build
//! is shown.

use std::collections::BTreeSet;

use rpmfarm_core::BuildId;
use rpmfarm_proto::v1;
use tokio::sync::mpsc;
use tonic::Status;

use super::shared_views::SharedViews;
use super::view;
use crate::store::Build;

/// Sends builds whenever they change, until all have ended.
pub(super) async fn builds(
    shared: &SharedViews,
    builds: Vec<Build>,
    answers: &mpsc::Sender<Result<v1::Build, Status>>,
) -> Result<(), Status> {
    let mut open: BTreeSet<BuildId> = builds.iter().map(|build| build.id).collect();
    let mut watched = shared.watch(builds);
    while !open.is_empty() {
        let views = tokio::select! {
            views = watched.next() => views?,
            () = answers.closed() => return Ok(()),
        };
        for shown in views {
            if shown.ended_us != 0 {
                open.remove(&view::id(&shown));
            }
            if answers.send(Ok(v1::Build::clone(&shown))).await.is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}
