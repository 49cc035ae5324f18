//! The kept files of failed attempts.

use rpmfarm_core::kept_files::KeptFile;
use rpmfarm_core::{AttemptId, BuildId};
use sqlx::FromRow;
use sqlx::any::AnyRow;

use super::columns::Columns;
use super::transaction_retry::again;
use super::{Result, Store};

/// A kept file, with its task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptFileRow {
    pub attempt: AttemptId,
    /// The kind of its task.
    pub kind: String,
    /// The architecture of its task.
    pub arch: String,
    pub file: KeptFile,
}

impl FromRow<'_, AnyRow> for KeptFileRow {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        let row = Columns::of("kept_files", row);
        let (path, digest) = (row.string("path")?, row.parsed("digest", "a digest")?);
        Ok(Self {
            attempt: row.id("attempt")?,
            kind: row.string("kind")?,
            arch: row.string("arch")?,
            file: KeptFile { path, digest, size: row.size("size")? },
        })
    }
}

impl Store {
    /// Records the kept files of a live attempt. The first record of an attempt stays, so that
    /// their number is bounded.
    pub async fn kept_file_insert(&self, attempt: AttemptId, files: &[KeptFile]) -> Result<()> {
        again(|| async move {
            let mut tx = self.write().await?;
            // The row is locked, so that two calls for one attempt follow each other; for an
            // attempt that has ended nothing is recorded.
            let live = sqlx::query("UPDATE live_attempts SET attempt = attempt WHERE attempt = $1")
                .bind(attempt.0)
                .execute(tx.conn())
                .await?;
            let known: i64 =
                sqlx::query_scalar("SELECT COUNT(*) FROM kept_files WHERE attempt = $1")
                    .bind(attempt.0)
                    .fetch_one(tx.conn())
                    .await?;
            if live.rows_affected() == 0 || known > 0 {
                return Ok(());
            }
            for KeptFile { path, digest, size } in files {
                sqlx::query(
                    "INSERT INTO kept_files (attempt, path, digest, size) VALUES ($1, $2, $3, $4)",
                )
                .bind(attempt.0)
                .bind(path)
                .bind(digest.hex())
                .bind(size.cast_signed())
                .execute(tx.conn())
                .await?;
            }
            tx.commit().await
        })
        .await
    }

    /// The kept files of a build, those of the newest attempt first.
    pub async fn kept_file_list(&self, build: BuildId) -> Result<Vec<KeptFileRow>> {
        let query = "SELECT k.attempt, t.kind, t.arch, k.path, k.digest, k.size
                     FROM tasks t JOIN attempts a ON a.task = t.id
                     JOIN kept_files k ON k.attempt = a.id
                     WHERE t.build = $1 ORDER BY a.id DESC, k.path";
        Ok(sqlx::query_as(query).bind(build.0).fetch_all(self.read_pool()).await?)
    }

    /// How many kept files a build has.
    pub async fn kept_file_count(&self, build: BuildId) -> Result<u32> {
        let query = "SELECT COUNT(*) FROM tasks t JOIN attempts a ON a.task = t.id
                     JOIN kept_files k ON k.attempt = a.id WHERE t.build = $1";
        let count: i64 =
            sqlx::query_scalar(query).bind(build.0).fetch_one(self.read_pool()).await?;
        Ok(u32::try_from(count).unwrap_or(u32::MAX))
    }
}
