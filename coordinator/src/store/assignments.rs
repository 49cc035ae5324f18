//! The parts of an assignment, read by one query, because an assignment is composed for each
//! attempt.

use rpmfarm_core::source::SourceFile;
use rpmfarm_core::task::TaskKind;
use rpmfarm_core::{Arch, Nevra, TaskId};
use sqlx::FromRow;
use sqlx::any::AnyRow;

use super::columns::Columns;
use super::{LockRow, Result, Store};

/// A task that was granted to a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssignmentRow {
    /// The kind of the task.
    pub kind: TaskKind,
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

impl FromRow<'_, AnyRow> for AssignmentRow {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        let (task, srpm) = (Columns::of("tasks", row), Columns::of("srpms", row));
        Ok(Self {
            kind: task.parsed("kind", "a kind")?,
            arch: task.parsed("arch", "an architecture")?,
            target: task.string("target")?,
            package: task.string("package")?,
            lock: LockRow::from_row(row)?,
            srpm: source_file(srpm)?,
            dynamic: srpm.flag("dynamic")?,
        })
    }
}

/// The file of the SRPM; `None` before there is one.
fn source_file(srpm: Columns<'_>) -> sqlx::Result<Option<SourceFile>> {
    let Some(digest) = srpm.parsed_or_none("srpm", "a digest")? else { return Ok(None) };
    let nevra: Nevra = srpm.parsed("nevra", "a NEVRA")?;
    let (name, size) = (nevra.file_name(), srpm.size("size")?);
    Ok(Some(SourceFile { name, digest, size, executable: false }))
}

impl Store {
    /// The parts of a task's assignment; `None` when it has no lock.
    pub async fn assignment_fetch(&self, task: TaskId) -> Result<Option<AssignmentRow>> {
        let query = "SELECT t.kind, t.arch, b.target, b.package, l.round, l.digest, l.at_us,
                     COALESCE(s.digest, '') AS srpm, COALESCE(s.size, 0) AS size,
                     COALESCE(s.nevra, '') AS nevra, COALESCE(s.dynamic, 0) AS dynamic
                     FROM tasks t JOIN builds b ON b.id = t.build
                     JOIN locks l ON l.task = t.id
                     LEFT JOIN srpms s ON s.build = t.build
                     WHERE t.id = $1 ORDER BY l.round DESC LIMIT 1";
        Ok(sqlx::query_as(query).bind(task.0).fetch_optional(self.read_pool()).await?)
    }
}
