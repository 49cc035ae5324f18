//! SQLite's checkpoints: what was committed to the write-ahead log is copied into the database.
//!
//! SQLite does that within the commit that makes the log too long, which then takes as long as the
//! disk needs for all of it. Here a connection of its own does it beside the commits, and what is
//! left to them is short. It must not know what is written.

use std::time::Duration;

use sqlx::AnyPool;

/// How often it is done.
const PERIOD: Duration = Duration::from_millis(250);

/// The writer's own checkpoints, for when the log gets longer than 64 MiB (of 4 KiB pages): it
/// begins anew only when all of it is copied and nothing is committed meanwhile.
pub(super) const LONGEST: &str = "PRAGMA wal_autocheckpoint = 16384";

/// Copies what can be copied without waiting for anybody, now and then, until the pool is closed.
pub(super) async fn run(pool: AnyPool) {
    while !pool.is_closed() {
        tokio::time::sleep(PERIOD).await;
        // What keeps it from it, as a full disk, the next commit says as well.
        if let Err(error) = sqlx::query("PRAGMA wal_checkpoint(PASSIVE)").execute(&pool).await {
            tracing::debug!(%error, "no checkpoint");
        }
    }
}
