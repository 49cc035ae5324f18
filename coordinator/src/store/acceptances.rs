//! Acceptances: the successful attempts that wait to be checked, and the one attempt of each task
//! whose results were accepted.

use std::collections::HashMap;

use rpmfarm_core::next_step::NextStep;
use rpmfarm_core::statement::SignedAcceptance;
use rpmfarm_core::task::Outcome;
use rpmfarm_core::{AttemptId, BuildId, Failure, Sha256, TaskId, Timestamp};

use super::lists::digests;
use super::stage_queries::StageQuery;
use super::transaction_retry::again;
use super::{Attempt, Result, Store, Tx, json, parsed, unjson};
use crate::planted_bugs::{PlantedBug, is_planted};

/// How many successful attempts one pass reads.
const AT_ONCE: i64 = 256;

/// An attempt whose success waits to be accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedAttempt {
    pub attempt: Attempt,
    pub build: BuildId,
    /// The worker's report, which is not checked yet.
    pub outcome: Outcome,
}

#[derive(sqlx::FromRow)]
struct SuccessRow {
    #[sqlx(flatten)]
    attempt: Attempt,
    #[sqlx(try_from = "i64")]
    build: BuildId,
    report: String,
}

impl Store {
    /// Successful attempts of open builds that are not accepted and do not wait for a retry, the
    /// most urgent and oldest first; of each target at most 256.
    pub async fn attempt_list_to_accept(&self, now: Timestamp) -> Result<Vec<EndedAttempt>> {
        let stage_query = StageQuery {
            stage: NextStep::Accept,
            columns: "a.id, a.task, a.epoch, a.worker, a.started_us, w.build, e.report",
            joins: "JOIN attempts a ON a.task = w.task
                    JOIN attempt_ends e ON e.attempt = a.id AND e.outcome = 'succeeded'",
            within: "a.id",
        };
        let rows: Vec<SuccessRow> =
            self.stage_list_next_per_target(&stage_query, now, AT_ONCE).await?;
        let mut ended = Vec::with_capacity(rows.len());
        for SuccessRow { attempt, build, report } in rows {
            if let Some(outcome) = unjson("attempt_ends", "a report", &report)? {
                ended.push(EndedAttempt { attempt, build, outcome });
            }
        }
        Ok(ended)
    }

    /// The accepted attempt of a task: its number, rpmbuild's time in milliseconds, and the time of
    /// the acceptance.
    pub async fn acceptance_fetch(
        &self,
        task: TaskId,
    ) -> Result<Option<(AttemptId, u64, Timestamp)>> {
        let query = "SELECT attempt, rpmbuild_ms, at_us FROM acceptances WHERE task = $1";
        let row: Option<(i64, i64, i64)> =
            sqlx::query_as(query).bind(task.0).fetch_optional(self.read_pool()).await?;
        Ok(row.map(|(attempt, ms, at)| (attempt.into(), ms.unsigned_abs(), at.into())))
    }

    /// The acceptor's signatures of files of a target; files without a signature are left out.
    pub async fn signed_acceptance_list(
        &self,
        target: &str,
        files: &[Sha256],
    ) -> Result<HashMap<Sha256, SignedAcceptance>> {
        let list = digests(&files.iter().copied().collect());
        let query = sqlx::AssertSqlSafe(format!(
            "SELECT digest, acceptance, signature FROM signed_acceptances
             WHERE target = $1 AND digest IN ({list})"
        ));
        let rows: Vec<(String, String, String)> = sqlx::query_as(query)
            .persistent(false)
            .bind(target)
            .fetch_all(self.read_pool())
            .await?;
        let signed = |(digest, text, signature): (String, String, String)| {
            let digest = parsed("signed_acceptances", "a digest", &digest)?;
            let signature = parsed("signed_acceptances", "a signature", &signature)?;
            Ok((digest, SignedAcceptance { text, signature }))
        };
        rows.into_iter().map(signed).collect()
    }

    /// Turns a success whose results were refused into a failure, to be tried again at `retry`;
    /// without a `retry` the build ends.
    pub async fn attempt_refuse(
        &self,
        ended: &EndedAttempt,
        failure: &Failure,
        retry: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<()> {
        again(|| async move {
            let mut tx = self.write().await?;
            let changed = sqlx::query(
                "UPDATE attempt_ends SET outcome = 'failed', report = $2
             WHERE attempt = $1 AND outcome = 'succeeded'
             AND NOT EXISTS (SELECT 1 FROM attempts a JOIN acceptances c
                             ON c.task = a.task AND c.attempt = a.id WHERE a.id = $1)",
            )
            .bind(ended.attempt.id.0)
            .bind(json(&Some(Outcome::Failed(failure.clone()))))
            .execute(tx.conn())
            .await?;
            if changed.rows_affected() > 0 {
                let task = Some(ended.attempt.task);
                tx.failure_insert(ended.build, task, failure, retry, now).await?;
            }
            tx.commit().await
        })
        .await
    }
}

impl Tx {
    /// Accepts an attempt: from now on its results are the task's. False when another attempt was
    /// accepted before.
    pub async fn acceptance_insert(
        &mut self,
        task: TaskId,
        attempt: AttemptId,
        rpmbuild_ms: u64,
        now: Timestamp,
    ) -> Result<bool> {
        let again = match is_planted(PlantedBug::AcceptTwice) {
            false => "DO NOTHING",
            true => "(task) DO UPDATE SET attempt = excluded.attempt",
        };
        let result = sqlx::query(sqlx::AssertSqlSafe(format!(
            "INSERT INTO acceptances (task, attempt, rpmbuild_ms, at_us)
             VALUES ($1, $2, $3, $4) ON CONFLICT {again}"
        )))
        .bind(task.0)
        .bind(attempt.0)
        .bind(rpmbuild_ms.cast_signed())
        .bind(now.as_us())
        .execute(self.conn())
        .await?;
        let accepted = result.rows_affected() > 0;
        if accepted {
            self.learned_update(attempt).await?;
        }
        let task = self.index_rebuild_of_task(task, now).await?;
        if let Some(task) = task.filter(|task| task.kind.makes_packages()) {
            self.batch_note_changed(task.build);
        }
        Ok(accepted)
    }

    /// Records the acceptor's signatures of files. The newest signature of a file is kept, because
    /// an acceptor that was replaced has another key.
    pub async fn add_acceptances(
        &mut self,
        target: &str,
        acceptances: &[(Sha256, SignedAcceptance)],
    ) -> Result<()> {
        for (file, SignedAcceptance { text, signature }) in acceptances {
            sqlx::query(
                "INSERT INTO signed_acceptances (target, digest, acceptance, signature)
                 VALUES ($1, $2, $3, $4) ON CONFLICT (target, digest)
                 DO UPDATE SET acceptance = excluded.acceptance, signature = excluded.signature",
            )
            .bind(target)
            .bind(file.hex())
            .bind(text.as_str())
            .bind(signature.to_string())
            .execute(self.conn())
            .await?;
        }
        Ok(())
    }
}
