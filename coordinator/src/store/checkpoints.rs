//! SQLite's checkpoints, which copy the write-ahead log into the database.
//!
//! By default SQLite makes a checkpoint within the commit that lets the log exceed a limit, and
//! that commit takes as long as the disk needs for the whole log. Here a connection of its own
//! makes checkpoints beside the commits, so that little is left for them. It must not know what is
//! written.

use std::time::Duration;

use sqlx::AnyPool;

/// The pause between checkpoints.
const PERIOD: Duration = Duration::from_millis(250);

/// When a commit makes a checkpoint itself: when the log exceeds 64 MiB (of 4 KiB pages). The log
/// restarts only when all of it is copied and nothing is committed meanwhile.
pub(super) const LONGEST: &str = "PRAGMA wal_autocheckpoint = 16384";

/// Makes passive checkpoints, which wait for no transaction, until the pool is closed.
pub(super) async fn run(pool: AnyPool) {
    while !pool.is_closed() {
        tokio::time::sleep(PERIOD).await;
        // Only logged: the next commit reports the reason, as a full disk, too.
        if let Err(error) = sqlx::query("PRAGMA wal_checkpoint(PASSIVE)").execute(&pool).await {
            tracing::debug!(%error, "checkpoint failed");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::super::{Bus, Store};

    /// Far less than what makes the writer copy the log itself.
    #[tokio::test]
    async fn what_is_committed_gets_into_the_database_beside_the_commits() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("farm.db");
        let url = format!("sqlite://{}", path.display());
        let store = Store::open(&url, Bus::default()).await.expect("it opens");
        let mut tx = store.write().await.expect("it begins");
        let bytes = 4 << 20;
        let query = "CREATE TABLE big AS SELECT hex(zeroblob(2097152)) AS text";
        sqlx::query(query).execute(tx.conn()).await.expect("it is written");
        tx.commit().await.expect("it is committed");
        let begun = Instant::now();
        while std::fs::metadata(&path).expect("it is there").len() < bytes {
            assert!(begun.elapsed().as_secs() < 30, "it is still in the log alone");
            tokio::time::sleep(super::PERIOD).await;
        }
    }
}
