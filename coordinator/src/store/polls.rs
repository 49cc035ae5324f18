//! The results of polls of tracked packages: the time of the next poll, the refs, new pushes.
//!
//! A push is a branch that left the commit in `track_refs`. That is compared in the transaction
//! that records the poll, with the package's row in `tracked` locked, and a poll counts only if no
//! other was recorded since it began. So a push is recorded once, whoever reports it and however
//! often; and a branch that returns to a commit that it had left is pushed again.

use std::time::Duration;

use rpmfarm_core::Timestamp;
use rpmfarm_core::time::span_us;
use rpmfarm_core::track::poll::RefObservation;
use rpmfarm_core::track::push::{Push, RefChange};

use super::{Result, Store, Tx};

/// The result of a poll of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PollResult {
    /// Name of the target.
    pub target: String,
    /// Name of the package.
    pub package: String,
    /// How often the package had been polled when this poll began.
    pub sequence: i64,
    /// When the poll began; a webhook that came later needs another poll.
    pub began: Timestamp,
    pub at: Timestamp,
    /// When the next one is due.
    pub due: Timestamp,
    /// The time between polls from now on.
    pub interval: Duration,
    /// How often in a row the repository could not be read; 0 when it could.
    pub failures: u32,
    pub problem: String,
    /// Whether the push of a webhook was not observed yet.
    pub hinted: bool,
    /// The refs of the package and of its modifications; without those that could not be read.
    pub observations: Vec<RefObservation>,
}

impl Store {
    /// Records the results of polls, all or none. Returns how many new pushes there are.
    ///
    /// The observations of a poll count if no other poll of the package was recorded since it
    /// began; otherwise they may be older than the known refs, and the package is polled once more.
    pub async fn poll_record(&self, results: &[PollResult]) -> Result<usize> {
        let mut tx = self.write().await?;
        let mut pushes = 0;
        for result in results {
            if !tx.poll_finish(result).await? {
                continue;
            }
            for seen in &result.observations {
                if seen.change == RefChange::Pushed && tx.push_insert(result, seen).await? {
                    pushes += 1;
                }
                if matches!(seen.change, RefChange::Pushed | RefChange::Begin) {
                    tx.ref_upsert(result, &seen.push).await?;
                }
            }
        }
        if pushes > 0 {
            tx.commit().await?;
        } else {
            tx.commit_without_wake().await?;
        }
        Ok(pushes)
    }
}

impl Tx {
    /// Schedules the next poll, and returns whether the observations of this one count. A webhook
    /// that came since this poll began keeps the package due at once, and so does another poll.
    ///
    /// From here to the end of the transaction the row of the package is locked, so that nobody
    /// else records a poll of it.
    async fn poll_finish(&mut self, result: &PollResult) -> Result<bool> {
        let polls: Option<i64> = sqlx::query_scalar(
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
        .bind(&result.target)
        .bind(&result.package)
        .bind(result.began.as_us())
        .bind(result.due.as_us())
        .bind(span_us(result.interval))
        .bind(result.at.as_us())
        .bind(i64::from(result.failures))
        .bind(&result.problem)
        .bind(i64::from(result.hinted))
        .bind(i64::from(result.observations.iter().any(|seen| !seen.modifies)))
        .bind(result.sequence)
        .fetch_optional(self.conn())
        .await?;
        // No row when the package is no longer tracked.
        Ok(polls == Some(result.sequence + 1))
    }

    async fn ref_upsert(&mut self, result: &PollResult, push: &Push) -> Result<()> {
        sqlx::query(
            "INSERT INTO track_refs (target, package, repository, branch, commit_id, at_us)
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (target, package, repository, branch)
             DO UPDATE SET commit_id = excluded.commit_id, at_us = excluded.at_us",
        )
        .bind(&result.target)
        .bind(&result.package)
        .bind(&push.repository)
        .bind(&push.branch)
        .bind(&push.commit)
        .bind(result.at.as_us())
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// Records a push. False when the branch was last observed at this commit. A branch that
    /// returns to an earlier commit is pushed again.
    async fn push_insert(&mut self, result: &PollResult, seen: &RefObservation) -> Result<bool> {
        let push = &seen.push;
        let before: Option<String> = sqlx::query_scalar(
            "SELECT commit_id FROM track_refs
             WHERE target = $1 AND package = $2 AND repository = $3 AND branch = $4",
        )
        .bind(&result.target)
        .bind(&result.package)
        .bind(&push.repository)
        .bind(&push.branch)
        .fetch_optional(self.conn())
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
        .bind(&result.target)
        .bind(&result.package)
        .bind(&push.repository)
        .bind(&push.branch)
        .bind(&push.commit)
        .bind(before.unwrap_or_default())
        .bind(seen.told_by)
        .bind(result.at.as_us())
        .bind(i64::from(seen.modifies))
        .execute(self.conn())
        .await?;
        sqlx::query("INSERT INTO open_pushes (push) VALUES ($1)")
            .bind(id)
            .execute(self.conn())
            .await?;
        Ok(true)
    }
}
