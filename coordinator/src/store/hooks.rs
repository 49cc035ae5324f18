//! Webhooks: which were taken, so that one that is sent again is known.

use super::{Result, Store, Tx};

/// How often a body of the same content has packages looked at within [`OFTEN_US`]. A branch may
/// go there and back some times; whoever records a webhook and sends it again and again is not to
/// keep the farm busy with one package.
const OFTEN: i64 = 8;

/// See [`OFTEN`], in microseconds.
const OFTEN_US: i64 = 600_000_000;

/// A webhook that told of a push to followed packages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewHook {
    /// Name of the target.
    pub target: String,
    /// The forge and the number that it gives the repository, `github:17`; empty for none.
    pub repository: String,
    /// What it told of.
    pub hints: Vec<Hint>,
    /// SHA-256 of the body, in hex.
    pub digest: String,
    /// What the forge calls the delivery; empty when it has no name for it.
    pub delivery: String,
    /// When it came.
    pub at_us: i64,
}

/// What a webhook told of one package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hint {
    /// Name of the package.
    pub package: String,
    /// Whether it told of the package's modifications.
    pub modifies: bool,
    /// The commit that it told of; empty when it named none.
    pub commit: String,
}

/// What became of a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookTaken {
    /// The packages are looked at, at once.
    New,
    /// It was taken before.
    Again,
    /// The same was told too often; the packages are looked at by their schedule.
    Often,
}

impl Store {
    /// Takes webhooks, all or none: each has its packages looked at, unless it came before.
    pub async fn take_hooks(&self, hooks: &[NewHook]) -> Result<Vec<HookTaken>> {
        let mut tx = self.write().await?;
        let mut taken = Vec::with_capacity(hooks.len());
        for hook in hooks {
            taken.push(tx.take_hook(hook).await?);
        }
        tx.commit_quietly().await?;
        Ok(taken)
    }

    /// The packages that webhooks of a repository were for before, and whether it is that of their
    /// modifications. `repository` is as in [`NewHook`].
    pub async fn known_repository(
        &self,
        target: &str,
        repository: &str,
    ) -> Result<Vec<(String, bool)>> {
        let query = "SELECT package, modifies FROM hook_repositories
                     WHERE target = $1 AND repository = $2 ORDER BY package, modifies";
        let rows: Vec<(String, i64)> =
            sqlx::query_as(query).bind(target).bind(repository).fetch_all(self.read()).await?;
        Ok(rows.into_iter().map(|(package, modifies)| (package, modifies != 0)).collect())
    }

    /// Forgets the webhooks that came before a time.
    pub async fn forget_hooks(&self, before_us: i64) -> Result<()> {
        let mut tx = self.write().await?;
        sqlx::query("DELETE FROM hooks WHERE at_us < $1").bind(before_us).execute(tx.on()).await?;
        tx.commit_quietly().await
    }
}

impl Tx {
    async fn take_hook(&mut self, hook: &NewHook) -> Result<HookTaken> {
        let added = sqlx::query(
            "INSERT INTO hooks (target, digest, delivery, at_us) VALUES ($1, $2, $3, $4)
             ON CONFLICT DO NOTHING",
        )
        .bind(&hook.target)
        .bind(&hook.digest)
        .bind(&hook.delivery)
        .bind(hook.at_us)
        .execute(self.on())
        .await?;
        if added.rows_affected() == 0 {
            return Ok(HookTaken::Again);
        }
        let of_late: i64 = sqlx::query_scalar(
            "SELECT COUNT(*) FROM hooks WHERE target = $1 AND digest = $2 AND at_us > $3",
        )
        .bind(&hook.target)
        .bind(&hook.digest)
        .bind(hook.at_us - OFTEN_US)
        .fetch_one(self.on())
        .await?;
        if of_late > OFTEN {
            return Ok(HookTaken::Often);
        }
        for hint in &hook.hints {
            self.take_hint(hook, hint).await?;
        }
        Ok(HookTaken::New)
    }

    /// Has a package looked at, at once, and remembers for which repository it was told of.
    async fn take_hint(&mut self, hook: &NewHook, hint: &Hint) -> Result<()> {
        if !hook.repository.is_empty() {
            sqlx::query(
                "INSERT INTO hook_repositories (target, repository, package, modifies)
                 VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
            )
            .bind(&hook.target)
            .bind(&hook.repository)
            .bind(&hint.package)
            .bind(i64::from(hint.modifies))
            .execute(self.on())
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
        .bind(hook.at_us)
        .bind(&hint.commit)
        .bind(i64::from(hint.modifies))
        .execute(self.on())
        .await?;
        Ok(())
    }
}
