//! The open builds: what ends a build, and what opens it again.
//!
//! `open_builds` and `live_attempts` are indexes over facts, and are written in the transaction
//! that changes the facts, so that a pass reads present work only and no history.

use rpmfarm_core::{BuildId, Timestamp};

use super::transaction_retry::again;
use super::{BuildEnd, Result, Store, Tx};
use crate::planted_bugs::{PlantedBug, is_planted};

impl Store {
    /// Cancels a build. False when it had ended before.
    pub async fn build_cancel(&self, id: BuildId, now: Timestamp) -> Result<bool> {
        again(|| async move {
            let mut tx = self.write().await?;
            if !tx.build_cancel(id, now).await? {
                return Ok(false);
            }
            tx.commit().await?;
            Ok(true)
        })
        .await
    }

    /// Opens an ended build again. False when it is open, or published.
    pub async fn build_retry(&self, id: BuildId, now: Timestamp) -> Result<bool> {
        again(|| async move {
            let mut tx = self.write().await?;
            if !tx.build_retry(id, now).await? {
                return Ok(false);
            }
            tx.commit().await?;
            Ok(true)
        })
        .await
    }

    /// When a build was last cancelled; `None` when never.
    pub async fn build_cancelled_at(&self, id: BuildId) -> Result<Option<Timestamp>> {
        let query = "SELECT MAX(at_us) FROM cancellations WHERE build = $1";
        let latest: Option<i64> =
            sqlx::query_scalar(query).bind(id.0).fetch_one(self.read_pool()).await?;
        Ok(latest.map(Timestamp::from_us))
    }

    /// When a build was last retried; `None` when never.
    pub async fn build_retried_at(&self, id: BuildId) -> Result<Option<Timestamp>> {
        let query = "SELECT MAX(at_us) FROM retries WHERE build = $1";
        let latest: Option<i64> =
            sqlx::query_scalar(query).bind(id.0).fetch_one(self.read_pool()).await?;
        Ok(latest.map(Timestamp::from_us))
    }

    /// Whether a build has not ended.
    pub async fn build_is_open(&self, id: BuildId) -> Result<bool> {
        let count: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM open_builds WHERE build = $1")
            .bind(id.0)
            .fetch_one(self.read_pool())
            .await?;
        Ok(count > 0)
    }
}

impl Tx {
    /// Cancels a build. False, and nothing changed, when it had ended before.
    pub(super) async fn build_cancel(&mut self, id: BuildId, now: Timestamp) -> Result<bool> {
        if !self.build_close(id, BuildEnd::Cancelled).await?
            && !is_planted(PlantedBug::CancelAfterEnd)
        {
            return Ok(false);
        }
        let at = self.build_next_event_us(id, now).await?;
        sqlx::query(
            "INSERT INTO cancellations (build, at_us) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        )
        .bind(id.0)
        .bind(at.as_us())
        .execute(self.conn())
        .await?;
        self.attempt_end_all_of_build(id, now).await?;
        Ok(true)
    }

    /// Opens an ended build again. False, and nothing changed, when it is open, or published.
    pub(super) async fn build_retry(&mut self, id: BuildId, now: Timestamp) -> Result<bool> {
        let closed: i64 = sqlx::query_scalar(
            "SELECT COUNT(*) FROM builds b WHERE id = $1
             AND NOT EXISTS (SELECT 1 FROM open_builds o WHERE o.build = b.id)
             AND NOT EXISTS (SELECT 1 FROM publications p WHERE p.build = b.id)",
        )
        .bind(id.0)
        .fetch_one(self.conn())
        .await?;
        if closed == 0 {
            return Ok(false);
        }
        let at = self.build_next_event_us(id, now).await?;
        sqlx::query("INSERT INTO retries (build, at_us) VALUES ($1, $2) ON CONFLICT DO NOTHING")
            .bind(id.0)
            .bind(at.as_us())
            .execute(self.conn())
            .await?;
        self.build_end_delete(id).await?;
        self.build_open(id).await?;
        self.batch_note_changed(id);
        self.reindex(id, now).await?;
        Ok(true)
    }

    pub(crate) async fn build_open(&mut self, id: BuildId) -> Result<()> {
        sqlx::query("INSERT INTO open_builds (build) VALUES ($1) ON CONFLICT DO NOTHING")
            .bind(id.0)
            .execute(self.conn())
            .await?;
        Ok(())
    }

    /// The time for a failure, cancellation or retry of a build: now, or just after its newest one
    /// when the clock was set back, so that they stay in their order.
    pub(crate) async fn build_next_event_us(
        &mut self,
        id: BuildId,
        now: Timestamp,
    ) -> Result<Timestamp> {
        let query = "SELECT MAX(at_us) FROM (
                         SELECT at_us FROM failures WHERE build = $1
                         UNION ALL SELECT at_us FROM cancellations WHERE build = $1
                         UNION ALL SELECT at_us FROM retries WHERE build = $1) AS facts";
        let newest: Option<i64> =
            sqlx::query_scalar(query).bind(id.0).fetch_one(self.conn()).await?;
        let newest = newest.filter(|_| !is_planted(PlantedBug::WallClock));
        Ok(newest.map_or(now, |newest| now.max(Timestamp::from_us(newest).next())))
    }

    /// Marks a build as ended. False when it had ended before: then nothing may be added to it.
    ///
    /// Of two transactions that end a build, only one deletes its row.
    pub async fn build_close(&mut self, id: BuildId, end: BuildEnd) -> Result<bool> {
        self.build_note_changed(id);
        self.batch_note_changed(id);
        // Others may have waited for it.
        self.wake_all();
        let result = sqlx::query("DELETE FROM open_builds WHERE build = $1")
            .bind(id.0)
            .execute(self.conn())
            .await?;
        self.index_clear(id).await?;
        let was_open = result.rows_affected() > 0;
        if was_open {
            self.build_end_insert(id, end).await?;
        }
        Ok(was_open)
    }

    /// Whether a build is open. Its row is locked until the transaction ends; each transaction that
    /// locks a build changes its facts.
    pub async fn build_lock_open(&mut self, id: BuildId) -> Result<bool> {
        self.build_note_changed(id);
        // On PostgreSQL, an update that changes nothing locks the row; SQLite's writer has locked
        // the whole database.
        let result = sqlx::query("UPDATE open_builds SET build = build WHERE build = $1")
            .bind(id.0)
            .execute(self.conn())
            .await?;
        Ok(result.rows_affected() > 0)
    }
}
