//! The builds with changed facts on which the order of their batch depends.
//!
//! Each transaction that changes such facts notes the build ([`Tx::batch_note_changed`]), and its
//! commit records it, so that no change can be left out. It must not know what the facts mean for
//! the order.

use rpmfarm_core::{BatchId, BuildId};

use super::lists::numbers;
use super::transaction_retry::again;
use super::{Result, Store, Tx};

impl Store {
    /// The open batches that are not paused, each with the number of its newest event.
    pub async fn batch_head_list(&self) -> Result<Vec<(BatchId, i64)>> {
        let query = "SELECT batch, seq FROM batch_heads
                     WHERE NOT EXISTS (SELECT 1 FROM batches q
                                       WHERE q.id = batch_heads.batch AND q.paused_us <> 0)
                     ORDER BY batch";
        let rows: Vec<(i64, i64)> = sqlx::query_as(query).fetch_all(self.read_pool()).await?;
        Ok(rows.into_iter().map(|(batch, seq)| (BatchId(batch), seq)).collect())
    }

    /// Adds a batch without events to the open ones.
    pub async fn batch_head_insert(&self, batch: BatchId) -> Result<()> {
        let mut tx = self.write().await?;
        let query = "INSERT INTO batch_heads (batch, seq) VALUES ($1, 0) ON CONFLICT DO NOTHING";
        sqlx::query(query).bind(batch.0).execute(tx.conn()).await?;
        tx.commit_without_wake().await
    }

    /// The number of the newest event of a batch; 0 for a batch without events.
    pub async fn batch_head_fetch(&self, batch: BatchId) -> Result<i64> {
        let query = "SELECT seq FROM batch_heads WHERE batch = $1";
        let seq: Option<i64> =
            sqlx::query_scalar(query).bind(batch.0).fetch_optional(self.read_pool()).await?;
        Ok(seq.unwrap_or(0))
    }

    /// The events of a batch after this one, oldest first: their numbers, and the builds whose
    /// facts have changed.
    pub async fn batch_event_list(
        &self,
        batch: BatchId,
        after: i64,
    ) -> Result<Vec<(i64, BuildId)>> {
        let query = "SELECT seq, build FROM batch_events WHERE batch = $1 AND seq > $2
                     ORDER BY seq, build";
        let query = sqlx::query_as(query).bind(batch.0).bind(after);
        let rows: Vec<(i64, i64)> = query.fetch_all(self.read_pool()).await?;
        Ok(rows.into_iter().map(|(seq, build)| (seq, BuildId(build))).collect())
    }

    /// Forgets the events of a batch that has ended, unless there is a newer one than this. Returns
    /// whether they are forgotten.
    pub async fn batch_event_delete(&self, batch: BatchId, newest: i64) -> Result<bool> {
        again(|| async move {
            let mut tx = self.write().await?;
            // By its number: a build that is retried at this moment has raised it.
            let query = "DELETE FROM batch_heads WHERE batch = $1 AND seq = $2";
            let gone = sqlx::query(query).bind(batch.0).bind(newest).execute(tx.conn()).await?;
            if gone.rows_affected() == 0 {
                return Ok(false);
            }
            let query = "DELETE FROM batch_events WHERE batch = $1";
            sqlx::query(query).bind(batch.0).execute(tx.conn()).await?;
            tx.commit_without_wake().await?;
            Ok(true)
        })
        .await
    }
}

impl Tx {
    /// Facts of a build change with this transaction that the order of its batch depends on.
    pub(crate) fn batch_note_changed(&mut self, build: BuildId) {
        self.ordered.insert(build);
    }

    /// Writes down the builds that were noted. The last statements of a transaction: rows of
    /// batches are locked after all others, in their order.
    pub(super) async fn batch_event_insert(&mut self) -> Result<()> {
        if self.ordered.is_empty() {
            return Ok(());
        }
        let ids = numbers(std::mem::take(&mut self.ordered));
        for query in [
            format!(
                "INSERT INTO batch_heads (batch, seq)
                 SELECT b.batch, 1 FROM builds b WHERE b.id IN ({ids})
                 GROUP BY b.batch ORDER BY b.batch
                 ON CONFLICT (batch) DO UPDATE SET seq = batch_heads.seq + 1"
            ),
            format!(
                "INSERT INTO batch_events (batch, seq, build)
                 SELECT b.batch, h.seq, b.id FROM builds b
                 JOIN batch_heads h ON h.batch = b.batch WHERE b.id IN ({ids})"
            ),
        ] {
            let query = sqlx::query(sqlx::AssertSqlSafe(query)).persistent(false);
            query.execute(self.conn()).await?;
        }
        Ok(())
    }
}
