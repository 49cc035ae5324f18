//! Watching builds.
//!
//! Owns when a build is sent again. It must not know how a build is shown.
//!
//! Builds are read again after a pause and not for each wake-up, and only a digest of what was sent
//! last is kept, so that a thousand watchers of a busy farm cost one read for each pause.

use std::time::{Duration, Instant};

use rpmfarm_core::Sha256;
use rpmfarm_proto::{Message as _, v1};
use tokio::sync::mpsc;
use tonic::Status;

use super::view::Views;
use crate::bus::Bus;
use crate::store::Build;

/// How many builds are read together.
const PAGE: usize = 100;

/// The shortest time between two reads, for each watched build, because every fact of the farm
/// wakes the watcher.
const PACE: Duration = Duration::from_millis(1);

/// A watched build, and a digest of the view that was sent last: with thousands of them nothing
/// else is kept.
struct WatchedBuild {
    build: Build,
    told: Option<Sha256>,
    ended: bool,
}

/// Sends builds whenever they change, until all have ended. One bus wakes for facts, one for
/// progress.
pub(super) async fn builds(
    views: &Views,
    (facts, progress): (&Bus, &Bus),
    builds: Vec<Build>,
    answers: &mpsc::Sender<Result<v1::Build, Status>>,
) -> Result<(), Status> {
    let (mut facts, mut progress) = (facts.listen(), progress.listen());
    let watched = |build| WatchedBuild { build, told: None, ended: false };
    let mut builds: Vec<WatchedBuild> = builds.into_iter().map(watched).collect();
    loop {
        let looked = Instant::now();
        for page in builds.chunks_mut(PAGE) {
            if !send_if_changed(views, page, answers).await? {
                return Ok(());
            }
        }
        builds.retain(|watched| !watched.ended);
        let Ok(count @ 1..) = u32::try_from(builds.len()) else { return Ok(()) };
        tokio::select! {
            () = facts.woken() => {}
            () = progress.woken() => {}
            // Nothing wakes the watcher when a wait reason changes.
            () = tokio::time::sleep(Duration::from_secs(5)) => {}
            () = answers.closed() => return Ok(()),
        }
        tokio::time::sleep((PACE * count).saturating_sub(looked.elapsed())).await;
    }
}

/// Sends those of some builds that have changed. False when the client has gone.
async fn send_if_changed(
    views: &Views,
    page: &mut [WatchedBuild],
    answers: &mpsc::Sender<Result<v1::Build, Status>>,
) -> Result<bool, Status> {
    let rows: Vec<Build> = page.iter().map(|watched| watched.build.clone()).collect();
    for (watched, shown) in page.iter_mut().zip(views.builds(&rows).await?) {
        watched.ended = shown.ended_us != 0;
        let digest = Some(Sha256::compute(&shown.encode_to_vec()));
        if std::mem::replace(&mut watched.told, digest) != digest
            && answers.send(Ok(shown)).await.is_err()
        {
            return Ok(false);
        }
    }
    Ok(true)
}
