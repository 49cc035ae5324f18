//! The result files that an attempt has announced. Only these can be its results, so that a set of
//! results never mixes attempts; and the sum of their sizes is bounded.

use rpmfarm_core::announce::{AnnounceError, AnnouncedFile, AnnouncementOutcome, announce};
use rpmfarm_core::{AttemptId, Sha256, Timestamp};
use sqlx::{Any, Executor};

use super::{Result, Store, parsed};

impl Store {
    /// Announces a result file of a live attempt, within limits: the sum of all its files may reach
    /// `limit` bytes. Announcing it again changes nothing.
    ///
    /// # Errors
    /// Database errors; the inner error when there are too many files or the sum is too large.
    pub async fn upload_announce(
        &self,
        attempt: AttemptId,
        (digest, size): AnnouncedFile,
        limit: u64,
        now: Timestamp,
    ) -> Result<std::result::Result<(), AnnounceError>> {
        let known = (digest, size);
        if self.upload_list(attempt).await?.contains(&known) {
            return Ok(Ok(()));
        }
        let mut tx = self.write().await?;
        // The row is locked, so that announcements of one attempt follow each other and the sum is
        // right.
        sqlx::query("UPDATE live_attempts SET attempt = attempt WHERE attempt = $1")
            .bind(attempt.0)
            .execute(tx.conn())
            .await?;
        match announce(&announced(tx.conn(), attempt).await?, digest, size, limit) {
            Ok(AnnouncementOutcome::Known) => return Ok(Ok(())),
            Ok(AnnouncementOutcome::New) => {}
            Err(refused) => return Ok(Err(refused)),
        }
        sqlx::query(
            "INSERT INTO uploads (attempt, digest, size, at_us) VALUES ($1, $2, $3, $4)
             ON CONFLICT DO NOTHING",
        )
        .bind(attempt.0)
        .bind(digest.hex())
        .bind(size.cast_signed())
        .bind(now.as_us())
        .execute(tx.conn())
        .await?;
        // No pass waits for an announcement, so nothing is woken.
        tx.commit_without_wake().await?;
        Ok(Ok(()))
    }

    /// The files that an attempt has announced: digest and size.
    pub async fn upload_list(&self, attempt: AttemptId) -> Result<Vec<AnnouncedFile>> {
        announced(self.read_pool(), attempt).await
    }
}

async fn announced<'c>(
    on: impl Executor<'c, Database = Any>,
    attempt: AttemptId,
) -> Result<Vec<AnnouncedFile>> {
    let query = "SELECT digest, size FROM uploads WHERE attempt = $1";
    let rows: Vec<(String, i64)> = sqlx::query_as(query).bind(attempt.0).fetch_all(on).await?;
    rows.into_iter()
        .map(|(digest, size)| -> Result<(Sha256, u64)> {
            Ok((parsed("uploads", "a digest", &digest)?, size.unsigned_abs()))
        })
        .collect()
}
