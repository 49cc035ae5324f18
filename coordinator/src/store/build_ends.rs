//! Which builds ended, and how: an index over facts, and counts of it.
//!
//! Owns that lists and metrics read neither all builds nor all ends. The counts change in the last
//! statements of a transaction, in one order: so each waits for them after everything else, and for
//! as long as a commit takes.

use rpmfarm_core::BuildId;
use rpmfarm_core::status::BuildState;

use super::transaction_retry::again;
use super::{BuildEnd, Result, Store, Tx};

impl Store {
    /// How many builds ended in each way.
    pub async fn build_end_count(&self) -> Result<Vec<(BuildEnd, i64)>> {
        let query = "SELECT name, value FROM counters
                     WHERE name IN ('ended_published', 'ended_cancelled', 'ended_failed')";
        let rows: Vec<(String, i64)> = sqlx::query_as(query).fetch_all(self.read_pool()).await?;
        let count = |end: BuildEnd| {
            let row = rows.iter().find(|(name, _)| name == end.counter());
            (end, row.map_or(0, |(_, value)| *value))
        };
        Ok(BuildEnd::ALL.into_iter().map(count).collect())
    }

    /// Adds the rows that a coordinator of the version before 0041 did not write, when the open and
    /// the ended builds together are not all builds. Returns whether rows were missing.
    pub(super) async fn build_end_mend(&self) -> Result<bool> {
        let query = "SELECT (SELECT COUNT(*) FROM open_builds), (SELECT COALESCE(MAX(value), 0)
                     FROM counters WHERE name = 'build')";
        let (open, all): (i64, i64) = sqlx::query_as(query).fetch_one(self.read_pool()).await?;
        let ended: i64 = self.build_end_count().await?.iter().map(|(_, count)| count).sum();
        if open + ended == all {
            return Ok(false);
        }
        // Somebody who opens a build meanwhile may wait for this in the other order.
        again(|| async move {
            let mut tx = self.write().await?;
            tx.build_end_rewrite().await?;
            tx.commit_without_wake().await?;
            Ok(true)
        })
        .await
    }
}

impl Tx {
    /// Records how a build ended that was open until now.
    pub(super) async fn build_end_insert(&mut self, id: BuildId, end: BuildEnd) -> Result<()> {
        sqlx::query(
            "INSERT INTO build_ends (build, target, state)
             SELECT id, target, $2 FROM builds WHERE id = $1
             ON CONFLICT (build) DO UPDATE SET state = EXCLUDED.state",
        )
        .bind(id.0)
        .bind(end.state().as_str())
        .execute(self.conn())
        .await?;
        self.ended.add(end, 1);
        Ok(())
    }

    /// Forgets how a build ended that is opened again.
    pub(super) async fn build_end_delete(&mut self, id: BuildId) -> Result<()> {
        let query = "DELETE FROM build_ends WHERE build = $1 RETURNING state";
        let state: Option<String> =
            sqlx::query_scalar(query).bind(id.0).fetch_optional(self.conn()).await?;
        let state = state.and_then(|state| state.parse::<BuildState>().ok());
        if let Some(end) = state.and_then(BuildEnd::of) {
            self.ended.add(end, -1);
        }
        Ok(())
    }

    /// Adds what this transaction ended to the counts.
    pub(super) async fn build_end_write_counts(&mut self) -> Result<()> {
        for (end, count) in std::mem::take(&mut self.ended).each() {
            if count == 0 {
                continue;
            }
            sqlx::query("UPDATE counters SET value = value + $1 WHERE name = $2")
                .bind(count)
                .bind(end.counter())
                .execute(self.conn())
                .await?;
        }
        Ok(())
    }

    /// Rebuilds the index from the facts, and the counts from the index.
    async fn build_end_rewrite(&mut self) -> Result<()> {
        // A transaction that ends a build meanwhile waits for these rows, and adds itself to the
        // new counts.
        sqlx::query(
            "UPDATE counters SET value = value
             WHERE name IN ('ended_published', 'ended_cancelled', 'ended_failed')",
        )
        .execute(self.conn())
        .await?;
        sqlx::query(
            "DELETE FROM build_ends WHERE
             (SELECT COUNT(*) FROM open_builds o WHERE o.build = build_ends.build) > 0",
        )
        .execute(self.conn())
        .await?;
        sqlx::query(
            "INSERT INTO build_ends (build, target, state)
             SELECT b.id, b.target, CASE
                 WHEN (SELECT COUNT(*) FROM publications p WHERE p.build = b.id) > 0
                      THEN 'published'
                 WHEN (SELECT COALESCE(MAX(c.at_us), 0) FROM cancellations c WHERE c.build = b.id)
                      > (SELECT COALESCE(MAX(r.at_us), 0) FROM retries r WHERE r.build = b.id)
                      THEN 'cancelled'
                 ELSE 'failed' END
             FROM builds b WHERE NOT EXISTS (SELECT 1 FROM open_builds o WHERE o.build = b.id)
             AND NOT EXISTS (SELECT 1 FROM build_ends e WHERE e.build = b.id)",
        )
        .execute(self.conn())
        .await?;
        for end in BuildEnd::ALL {
            sqlx::query(
                "UPDATE counters SET value = (SELECT COUNT(*) FROM build_ends WHERE state = $1)
                 WHERE name = $2",
            )
            .bind(end.state().as_str())
            .bind(end.counter())
            .execute(self.conn())
            .await?;
        }
        Ok(())
    }
}
