//! Webhooks that were received, so that repeated ones are recognised.

use std::time::Duration;

use rpmfarm_core::Timestamp;

use super::{Result, Store, Tx};

/// How often a body of the same content has packages polled within [`WITHIN`]. A branch may change
/// back and forth some times; but an attacker who records a webhook and sends it again and again
/// must not keep the farm busy with one package.
const OFTEN: i64 = 8;

/// See [`OFTEN`].
const WITHIN: Duration = Duration::from_secs(600);

/// A webhook about a push to tracked packages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewHook {
    /// Name of the target.
    pub target: String,
    /// The forge and its number of the repository, as `github:17`; empty for none.
    pub repository: String,
    /// The packages that it is about.
    pub hints: Vec<HookHint>,
    /// SHA-256 of the body, in hex.
    pub digest: String,
    /// The forge's id of the delivery; empty when it has none.
    pub delivery: String,
    pub at: Timestamp,
}

/// One package that a webhook is about, with the commit that it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookHint {
    /// Name of the package.
    pub package: String,
    /// Whether the push is to the package's modifications.
    pub modifies: bool,
    /// The commit of the push; empty when the webhook named none.
    pub commit: String,
}

/// The effect of a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookResult {
    /// The packages are polled at once.
    New,
    /// The same delivery was recorded before.
    Again,
    /// The same body came too often; the packages are polled as scheduled.
    Often,
}

impl Store {
    /// Records webhooks, all or none. Each has its packages polled, unless it came before.
    pub async fn hook_insert(&self, hooks: &[NewHook]) -> Result<Vec<HookResult>> {
        let mut tx = self.write().await?;
        let mut taken = Vec::with_capacity(hooks.len());
        for hook in hooks {
            taken.push(tx.take_hook(hook).await?);
        }
        tx.commit_without_wake().await?;
        Ok(taken)
    }

    /// The packages that earlier webhooks of a repository were about, and whether it is the
    /// repository of their modifications. `repository` is as in [`NewHook`].
    pub async fn hook_repository_list(
        &self,
        target: &str,
        repository: &str,
    ) -> Result<Vec<(String, bool)>> {
        let query = "SELECT package, modifies FROM hook_repositories
                     WHERE target = $1 AND repository = $2 ORDER BY package, modifies";
        let rows: Vec<(String, i64)> =
            sqlx::query_as(query).bind(target).bind(repository).fetch_all(self.read_pool()).await?;
        Ok(rows.into_iter().map(|(package, modifies)| (package, modifies != 0)).collect())
    }

    /// Forgets the webhooks that came before a time.
    pub async fn hook_delete_before(&self, before: Timestamp) -> Result<()> {
        let mut tx = self.write().await?;
        sqlx::query("DELETE FROM hooks WHERE at_us < $1")
            .bind(before.as_us())
            .execute(tx.conn())
            .await?;
        tx.commit_without_wake().await
    }
}

impl Tx {
    async fn take_hook(&mut self, hook: &NewHook) -> Result<HookResult> {
        let added = sqlx::query(
            "INSERT INTO hooks (target, digest, delivery, at_us) VALUES ($1, $2, $3, $4)
             ON CONFLICT DO NOTHING",
        )
        .bind(&hook.target)
        .bind(&hook.digest)
        .bind(&hook.delivery)
        .bind(hook.at.as_us())
        .execute(self.conn())
        .await?;
        if added.rows_affected() == 0 {
            return Ok(HookResult::Again);
        }
        let of_late: i64 = sqlx::query_scalar(
            "SELECT COUNT(*) FROM hooks WHERE target = $1 AND digest = $2 AND at_us > $3",
        )
        .bind(&hook.target)
        .bind(&hook.digest)
        .bind((hook.at - WITHIN).as_us())
        .fetch_one(self.conn())
        .await?;
        if of_late > OFTEN {
            return Ok(HookResult::Often);
        }
        for hint in &hook.hints {
            self.take_hint(hook, hint).await?;
        }
        Ok(HookResult::New)
    }

    /// Has a package polled at once, and remembers which repository the webhook named.
    async fn take_hint(&mut self, hook: &NewHook, hint: &HookHint) -> Result<()> {
        if !hook.repository.is_empty() {
            sqlx::query(
                "INSERT INTO hook_repositories (target, repository, package, modifies)
                 VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
            )
            .bind(&hook.target)
            .bind(&hook.repository)
            .bind(&hint.package)
            .bind(i64::from(hint.modifies))
            .execute(self.conn())
            .await?;
        }
        sqlx::query(
            "UPDATE tracked SET due_us = 0, hint_us = $3,
             hint_commit = CASE WHEN $5 = 0 THEN $4 ELSE hint_commit END,
             hint_modification = CASE WHEN $5 = 0 THEN hint_modification ELSE $4 END
             WHERE target = $1 AND package = $2",
        )
        .bind(&hook.target)
        .bind(&hint.package)
        .bind(hook.at.as_us())
        .bind(&hint.commit)
        .bind(i64::from(hint.modifies))
        .execute(self.conn())
        .await?;
        Ok(())
    }
}
