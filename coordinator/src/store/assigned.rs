//! What an assignment is made of, read at once: it is put together for each attempt.

use rpmfarm_core::source::SourceFile;
use rpmfarm_core::task::TaskKind;
use rpmfarm_core::{Arch, Nevra, TaskId};

use super::{LockRow, Result, Store, parsed};

/// A task that has been given to a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assigned {
    /// What is to be done.
    pub kind: TaskKind,
    /// The architecture.
    pub arch: Arch,
    /// Name of the target.
    pub target: String,
    /// Name of the package.
    pub package: String,
    /// The newest lock.
    pub lock: LockRow,
    /// The build's SRPM; `None` before there is one.
    pub srpm: Option<SourceFile>,
    /// Whether the SRPM's requirements are only known while it builds.
    pub dynamic: bool,
}

type Row = (String, String, String, String, i64, String, i64, String, i64, String, i64);

impl Store {
    /// What a task's assignment is made of; `None` when it has no lock.
    pub async fn assigned(&self, task: TaskId) -> Result<Option<Assigned>> {
        let query = "SELECT t.kind, t.arch, b.target, b.package, l.round, l.digest, l.at_us,
                     COALESCE(s.digest, ''), COALESCE(s.size, 0), COALESCE(s.nevra, ''),
                     COALESCE(s.dynamic, 0)
                     FROM tasks t JOIN builds b ON b.id = t.build
                     JOIN locks l ON l.task = t.id
                     LEFT JOIN srpms s ON s.build = t.build
                     WHERE t.id = $1 ORDER BY l.round DESC LIMIT 1";
        let row: Option<Row> =
            sqlx::query_as(query).bind(task.0).fetch_optional(self.read()).await?;
        row.map(assigned).transpose()
    }
}

fn assigned(row: Row) -> Result<Assigned> {
    let (kind, arch, target, package, round, lock, at_us, srpm, size, nevra, dynamic) = row;
    let srpm = if srpm.is_empty() {
        None
    } else {
        let nevra: Nevra = parsed("srpms", "a NEVRA", &nevra)?;
        let digest = parsed("srpms", "a digest", &srpm)?;
        let (name, size) = (nevra.file_name(), size.unsigned_abs());
        Some(SourceFile { name, digest, size, executable: false })
    };
    Ok(Assigned {
        kind: parsed("tasks", "a kind", &kind)?,
        arch: parsed("tasks", "an architecture", &arch)?,
        target,
        package,
        lock: LockRow {
            round: u32::try_from(round).unwrap_or(0),
            digest: parsed("locks", "a digest", &lock)?,
            at_us,
        },
        srpm,
        dynamic: dynamic != 0,
    })
}
