//! Builds that somebody watches.
//!
//! Owns when a build is told again. It must not know how one is shown.

use std::time::Duration;

use rpmfarm_proto::v1;
use tokio::sync::mpsc;
use tonic::Status;

use super::view;
use crate::farm::Farm;
use crate::store::Build;

/// Sends builds whenever they change, until all have ended.
pub(super) async fn builds(
    farm: &Farm,
    mut builds: Vec<(Build, Option<v1::Build>)>,
    answers: &mpsc::Sender<Result<v1::Build, Status>>,
) -> Result<(), Status> {
    let (mut facts, mut progress) = (farm.bus.listen(), farm.progress.listen());
    loop {
        let mut all_ended = true;
        for (build, last) in &mut builds {
            let ended = |shown: &v1::Build| shown.ended_us != 0;
            if last.as_ref().is_some_and(ended) {
                continue;
            }
            let shown = view::build(farm, build).await?;
            all_ended &= ended(&shown);
            if last.as_ref() != Some(&shown) {
                if answers.send(Ok(shown.clone())).await.is_err() {
                    return Ok(());
                }
                *last = Some(shown);
            }
        }
        if all_ended {
            return Ok(());
        }
        tokio::select! {
            () = facts.rung() => {}
            () = progress.rung() => {}
            // Reasons to wait change without a bell.
            () = tokio::time::sleep(Duration::from_secs(5)) => {}
            () = answers.closed() => return Ok(()),
        }
    }
}
