//! What accepted attempts took, and what is learned of it for the next ones.

use rpmfarm_core::learned::{Had, Learned, SAMPLES, Sample, learn};
use rpmfarm_core::task::{Outcome, TaskKind};
use rpmfarm_core::{Arch, AttemptId, Needs, TaskId};

use super::{Result, Store, Tx, unjson};

/// What an attempt took, or is expected to take, and what its worker had.
#[derive(sqlx::FromRow)]
struct TookRow {
    took_us: i64,
    memory_mib: i64,
    disk_mib: i64,
    had_memory_mib: i64,
    had_disk_mib: i64,
}

impl TookRow {
    const fn had(&self) -> Had {
        Had {
            memory_mib: self.had_memory_mib.unsigned_abs(),
            disk_mib: self.had_disk_mib.unsigned_abs(),
        }
    }

    const fn sample(&self) -> Sample {
        Sample {
            took_us: self.took_us,
            memory_mib: self.memory_mib.unsigned_abs(),
            disk_mib: self.disk_mib.unsigned_abs(),
            had: self.had(),
        }
    }
}

/// An accepted attempt, with the package and the kind of task that its measure is kept under.
#[derive(sqlx::FromRow)]
struct AcceptedRow {
    started_us: i64,
    ended_us: i64,
    report: String,
    target: String,
    package: String,
    arch: String,
    kind: String,
    memory_mib: i64,
    disk_mib: i64,
}

impl Store {
    /// What was learned of a package's tasks; nothing when none was accepted yet.
    pub async fn learned(
        &self,
        target: &str,
        package: &str,
        arch: Arch,
        kind: TaskKind,
    ) -> Result<Learned> {
        let query = "SELECT took_us, memory_mib, disk_mib, enough_memory_mib AS had_memory_mib,
                     enough_disk_mib AS had_disk_mib FROM learned
                     WHERE target = $1 AND package = $2 AND arch = $3 AND kind = $4";
        let row: Option<TookRow> = sqlx::query_as(query)
            .bind(target)
            .bind(package)
            .bind(arch.as_str())
            .bind(kind.as_str())
            .fetch_optional(self.read())
            .await?;
        let Some(row) = row else { return Ok(Learned::default()) };
        let Sample { took_us, memory_mib, disk_mib, had } = row.sample();
        Ok(Learned { took_us, memory_mib, disk_mib, enough: had })
    }

    /// Records what a task needs, before it gets into its queue.
    pub async fn set_needs(&self, task: TaskId, needs: &Needs, now_us: i64) -> Result<()> {
        let mut tx = self.write().await?;
        sqlx::query(
            "INSERT INTO task_needs (task, needs) VALUES ($1, $2)
             ON CONFLICT (task) DO UPDATE SET needs = excluded.needs",
        )
        .bind(task.0)
        .bind(needs.to_string())
        .execute(tx.on())
        .await?;
        tx.reindex_of(task, now_us).await?;
        tx.commit().await
    }
}

impl Tx {
    /// Learns from an attempt that was accepted.
    pub(super) async fn learn(&mut self, attempt: AttemptId) -> Result<()> {
        let query =
            "SELECT a.started_us, e.at_us AS ended_us, e.report, b.target, b.package, t.arch,
                     t.kind, a.memory_mib, a.disk_mib
                     FROM attempts a JOIN attempt_ends e ON e.attempt = a.id
                     JOIN tasks t ON t.id = a.task JOIN builds b ON b.id = t.build
                     WHERE a.id = $1";
        let row: Option<AcceptedRow> =
            sqlx::query_as(query).bind(attempt.0).fetch_optional(self.on()).await?;
        let Some(row) = row else { return Ok(()) };
        let report = unjson("attempt_ends", "a report", &row.report)?;
        let Some(Outcome::Succeeded(success)) = report else { return Ok(()) };
        self.add_measure(attempt, &row, (success.memory_mib, success.disk_mib)).await?;
        let samples = self.samples(&row).await?;
        self.set_learned(&row, &learn(&samples)).await
    }

    /// Records what an attempt took: its time, and so much memory and disk, in MiB.
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
        .bind((row.ended_us - row.started_us).max(0))
        .bind(capped(memory_mib))
        .bind(capped(disk_mib))
        .bind(row.memory_mib)
        .bind(row.disk_mib)
        .execute(self.on())
        .await?;
        Ok(())
    }

    /// What the newest attempts of the same package, architecture and kind took.
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
            .fetch_all(self.on())
            .await?;
        Ok(rows.iter().map(TookRow::sample).collect())
    }

    async fn set_learned(&mut self, row: &AcceptedRow, learned: &Learned) -> Result<()> {
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
        .bind(learned.took_us)
        .bind(capped(learned.memory_mib))
        .bind(capped(learned.disk_mib))
        .bind(capped(learned.enough.memory_mib))
        .bind(capped(learned.enough.disk_mib))
        .execute(self.on())
        .await?;
        Ok(())
    }
}

fn capped(mib: u64) -> i64 {
    i64::try_from(mib).unwrap_or(i64::MAX)
}
