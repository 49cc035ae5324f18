//! What looks at followed packages led to: the next look, what was seen, new pushes.

use rpmfarm_core::track::poll::RefObservation;
use rpmfarm_core::track::push::{Change, Push};

use super::{Result, Store, Tx};

/// What a look at a package led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Looked {
    /// Name of the target.
    pub target: String,
    /// Name of the package.
    pub package: String,
    /// How often the package had been looked at when this look began.
    pub turn: i64,
    /// When the look began: a webhook that came later is not answered by it.
    pub began_us: i64,
    /// When it ended.
    pub at_us: i64,
    /// When the next one is due.
    pub due_us: i64,
    /// The time between looks from now on.
    pub interval_us: i64,
    /// How often in a row it could not be read; 0 when it could.
    pub failures: u32,
    /// Why not.
    pub problem: String,
    /// Whether a webhook's push is still to be seen.
    pub hinted: bool,
    /// What was seen of the package and of its modifications; nothing of what could not be read.
    pub saw: Vec<RefObservation>,
}

impl Store {
    /// Records what looks led to, all of them or none. Returns how many new pushes there are.
    ///
    /// What a look saw counts if no other look at the package was recorded since it began: else
    /// it may be older than what is known, and the package is looked at once more.
    pub async fn record_looks(&self, looks: &[Looked]) -> Result<usize> {
        let mut tx = self.write().await?;
        let mut pushes = 0;
        for looked in looks {
            if !tx.end_look(looked).await? {
                continue;
            }
            for saw in &looked.saw {
                if saw.change == Change::Pushed && tx.add_push(looked, saw).await? {
                    pushes += 1;
                }
                if matches!(saw.change, Change::Pushed | Change::Begin) {
                    tx.see(looked, &saw.push).await?;
                }
            }
        }
        if pushes > 0 {
            tx.commit().await?;
        } else {
            tx.commit_quietly().await?;
        }
        Ok(pushes)
    }
}

impl Tx {
    /// Plans the next look, and tells whether what this one saw counts. A webhook that came since
    /// it began keeps the package due at once, as does another look.
    ///
    /// From here to the transaction's end nobody else records a look at the package.
    async fn end_look(&mut self, looked: &Looked) -> Result<bool> {
        let looks: Option<i64> = sqlx::query_scalar(
            "UPDATE tracked SET
             due_us = CASE WHEN hint_us > $3 OR looks <> $11 THEN 0 ELSE $4 END,
             hint_us = CASE WHEN hint_us > $3 OR $9 = 1 OR looks <> $11 THEN hint_us ELSE 0 END,
             hint_commit = CASE WHEN hint_us > $3 OR $9 = 1 OR looks <> $11 THEN hint_commit
                           ELSE '' END,
             hint_modification = CASE WHEN hint_us > $3 OR $9 = 1 OR looks <> $11
                                 THEN hint_modification ELSE '' END,
             interval_us = $5, looked_us = $6, looks = looks + 1, failures = $7, problem = $8,
             build_first = CASE WHEN $10 = 1 AND looks = $11 THEN 0 ELSE build_first END
             WHERE target = $1 AND package = $2 RETURNING looks",
        )
        .bind(&looked.target)
        .bind(&looked.package)
        .bind(looked.began_us)
        .bind(looked.due_us)
        .bind(looked.interval_us)
        .bind(looked.at_us)
        .bind(i64::from(looked.failures))
        .bind(&looked.problem)
        .bind(i64::from(looked.hinted))
        .bind(i64::from(looked.saw.iter().any(|saw| !saw.modifies)))
        .bind(looked.turn)
        .fetch_optional(self.on())
        .await?;
        // Nothing when nobody follows it any more.
        Ok(looks == Some(looked.turn + 1))
    }

    async fn see(&mut self, looked: &Looked, push: &Push) -> Result<()> {
        sqlx::query(
            "INSERT INTO track_refs (target, package, repository, branch, commit_id, at_us)
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (target, package, repository, branch)
             DO UPDATE SET commit_id = excluded.commit_id, at_us = excluded.at_us",
        )
        .bind(&looked.target)
        .bind(&looked.package)
        .bind(&push.repository)
        .bind(&push.branch)
        .bind(&push.commit)
        .bind(looked.at_us)
        .execute(self.on())
        .await?;
        Ok(())
    }

    /// Records a push. False when it is known: the branch was seen there last. A branch that comes
    /// back to where it has been is pushed anew.
    async fn add_push(&mut self, looked: &Looked, saw: &RefObservation) -> Result<bool> {
        let push = &saw.push;
        let before: Option<String> = sqlx::query_scalar(
            "SELECT commit_id FROM track_refs
             WHERE target = $1 AND package = $2 AND repository = $3 AND branch = $4",
        )
        .bind(&looked.target)
        .bind(&looked.package)
        .bind(&push.repository)
        .bind(&push.branch)
        .fetch_optional(self.on())
        .await?;
        if before.as_ref() == Some(&push.commit) {
            return Ok(false);
        }
        let id = self.next_id("push").await?;
        sqlx::query(
            "INSERT INTO pushes (id, target, package, repository, branch, commit_id, before_id,
             told_by, seen_us, modifies) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        )
        .bind(id)
        .bind(&looked.target)
        .bind(&looked.package)
        .bind(&push.repository)
        .bind(&push.branch)
        .bind(&push.commit)
        .bind(before.unwrap_or_default())
        .bind(saw.told_by)
        .bind(looked.at_us)
        .bind(i64::from(saw.modifies))
        .execute(self.on())
        .await?;
        sqlx::query("INSERT INTO open_pushes (push) VALUES ($1)")
            .bind(id)
            .execute(self.on())
            .await?;
        Ok(true)
    }
}
