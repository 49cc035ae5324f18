//! The time, memory and disk of accepted attempts, and the needs that are learned from them.

use std::collections::HashMap;
use std::time::Duration;

use rpmfarm_core::learned_needs::{Forecast, SAMPLES, Sample, WorkerResources, learn};
use rpmfarm_core::task::{Outcome, TaskKind};
use rpmfarm_core::time::{span, span_us};
use rpmfarm_core::{Arch, AttemptId, Needs, TaskId, Timestamp};

use super::columns::Span;
use super::{Result, Store, Tx, unjson};

/// How many names one query may contain.
const NAMES: usize = 500;

/// Time, memory and disk, measured or learned, and the worker's memory and disk.
#[derive(sqlx::FromRow)]
struct TookRow {
    #[sqlx(rename = "took_us", try_from = "Span")]
    took: Duration,
    memory_mib: i64,
    disk_mib: i64,
    had_memory_mib: i64,
    had_disk_mib: i64,
}

impl TookRow {
    const fn had(&self) -> WorkerResources {
        WorkerResources {
            memory_mib: self.had_memory_mib.unsigned_abs(),
            disk_mib: self.had_disk_mib.unsigned_abs(),
        }
    }

    const fn sample(&self) -> Sample {
        Sample {
            took: self.took,
            memory_mib: self.memory_mib.unsigned_abs(),
            disk_mib: self.disk_mib.unsigned_abs(),
            had: self.had(),
        }
    }
}

/// An accepted attempt, with the package and the kind of task by which its measurement is kept.
#[derive(sqlx::FromRow)]
struct AcceptedRow {
    #[sqlx(rename = "started_us", try_from = "i64")]
    started: Timestamp,
    #[sqlx(rename = "ended_us", try_from = "i64")]
    ended: Timestamp,
    report: String,
    target: String,
    package: String,
    arch: String,
    kind: String,
    memory_mib: i64,
    disk_mib: i64,
}

impl Store {
    /// The needs that were learned from a package's tasks; `None` before the first is accepted.
    pub async fn learned_fetch(
        &self,
        target: &str,
        package: &str,
        arch: Arch,
        kind: TaskKind,
    ) -> Result<Forecast> {
        let query = "SELECT took_us, memory_mib, disk_mib, enough_memory_mib AS had_memory_mib,
                     enough_disk_mib AS had_disk_mib FROM learned
                     WHERE target = $1 AND package = $2 AND arch = $3 AND kind = $4";
        let row: Option<TookRow> = sqlx::query_as(query)
            .bind(target)
            .bind(package)
            .bind(arch.as_str())
            .bind(kind.as_str())
            .fetch_optional(self.read_pool())
            .await?;
        let Some(row) = row else { return Ok(Forecast::default()) };
        let Sample { took, memory_mib, disk_mib, had } = row.sample();
        Ok(Forecast { took, memory_mib, disk_mib, enough: had })
    }

    /// How long the builds of packages take, on the architecture where that is longest; those of
    /// which nothing was learned are left out.
    pub async fn learned_list_took(
        &self,
        target: &str,
        packages: &[&str],
    ) -> Result<HashMap<String, Duration>> {
        let mut found = HashMap::new();
        for names in packages.chunks(NAMES) {
            let places: Vec<String> = (0..names.len()).map(|at| format!("${}", at + 2)).collect();
            let places = places.join(", ");
            let query = sqlx::AssertSqlSafe(format!(
                "SELECT package, MAX(took_us) FROM learned
                 WHERE target = $1 AND package IN ({places}) AND kind <> 'srpm' GROUP BY package"
            ));
            let mut query = sqlx::query_as(query).persistent(false).bind(target);
            for name in names {
                query = query.bind(*name);
            }
            let rows: Vec<(String, i64)> = query.fetch_all(self.read_pool()).await?;
            found.extend(rows.into_iter().map(|(package, took)| (package, span(took))));
        }
        Ok(found)
    }

    /// Records the needs of a task, before it enters its queue.
    pub async fn task_set_needs(&self, task: TaskId, needs: &Needs, now: Timestamp) -> Result<()> {
        let mut tx = self.write().await?;
        sqlx::query(
            "INSERT INTO task_needs (task, needs) VALUES ($1, $2)
             ON CONFLICT (task) DO UPDATE SET needs = excluded.needs",
        )
        .bind(task.0)
        .bind(needs.to_string())
        .execute(tx.conn())
        .await?;
        tx.index_rebuild_of_task(task, now).await?;
        tx.commit().await
    }
}

impl Tx {
    /// Learns from an attempt that was accepted.
    pub(super) async fn learned_update(&mut self, attempt: AttemptId) -> Result<()> {
        let query =
            "SELECT a.started_us, e.at_us AS ended_us, e.report, b.target, b.package, t.arch,
                     t.kind, a.memory_mib, a.disk_mib
                     FROM attempts a JOIN attempt_ends e ON e.attempt = a.id
                     JOIN tasks t ON t.id = a.task JOIN builds b ON b.id = t.build
                     WHERE a.id = $1";
        let row: Option<AcceptedRow> =
            sqlx::query_as(query).bind(attempt.0).fetch_optional(self.conn()).await?;
        let Some(row) = row else { return Ok(()) };
        let report = unjson("attempt_ends", "a report", &row.report)?;
        let Some(Outcome::Succeeded(success)) = report else { return Ok(()) };
        self.add_measure(attempt, &row, (success.memory_mib, success.disk_mib)).await?;
        let samples = self.samples(&row).await?;
        self.set_learned(&row, &learn(&samples)).await
    }

    /// Records the time of an attempt, and its memory and disk in MiB.
    async fn add_measure(
        &mut self,
        attempt: AttemptId,
        row: &AcceptedRow,
        (memory_mib, disk_mib): (u64, u64),
    ) -> Result<()> {
        sqlx::query(
            "INSERT INTO measures (target, package, arch, kind, attempt, took_us, memory_mib,
             disk_mib, had_memory_mib, had_disk_mib)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING",
        )
        .bind(&row.target)
        .bind(&row.package)
        .bind(&row.arch)
        .bind(&row.kind)
        .bind(attempt.0)
        .bind(span_us(row.ended.since(row.started)))
        .bind(capped(memory_mib))
        .bind(capped(disk_mib))
        .bind(row.memory_mib)
        .bind(row.disk_mib)
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// Time, memory and disk of the newest attempts of the same package, architecture and kind.
    async fn samples(&mut self, row: &AcceptedRow) -> Result<Vec<Sample>> {
        let query = "SELECT took_us, memory_mib, disk_mib, had_memory_mib, had_disk_mib
                     FROM measures
                     WHERE target = $1 AND package = $2 AND arch = $3 AND kind = $4
                     ORDER BY attempt DESC LIMIT $5";
        let rows: Vec<TookRow> = sqlx::query_as(query)
            .bind(&row.target)
            .bind(&row.package)
            .bind(&row.arch)
            .bind(&row.kind)
            .bind(i64::try_from(SAMPLES).unwrap_or(i64::MAX))
            .fetch_all(self.conn())
            .await?;
        Ok(rows.iter().map(TookRow::sample).collect())
    }

    async fn set_learned(&mut self, row: &AcceptedRow, learned: &Forecast) -> Result<()> {
        sqlx::query(
            "INSERT INTO learned (target, package, arch, kind, took_us, memory_mib, disk_mib,
             enough_memory_mib, enough_disk_mib)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
             ON CONFLICT (target, package, arch, kind) DO UPDATE SET took_us = excluded.took_us,
             memory_mib = excluded.memory_mib, disk_mib = excluded.disk_mib,
             enough_memory_mib = excluded.enough_memory_mib,
             enough_disk_mib = excluded.enough_disk_mib",
        )
        .bind(&row.target)
        .bind(&row.package)
        .bind(&row.arch)
        .bind(&row.kind)
        .bind(span_us(learned.took))
        .bind(capped(learned.memory_mib))
        .bind(capped(learned.disk_mib))
        .bind(capped(learned.enough.memory_mib))
        .bind(capped(learned.enough.disk_mib))
        .execute(self.conn())
        .await?;
        Ok(())
    }
}

fn capped(mib: u64) -> i64 {
    i64::try_from(mib).unwrap_or(i64::MAX)
}
