//! The results of a build's accepted attempts, until all of its tasks are accepted: the source
//! package, and the packages of each architecture.

use rpmfarm_core::task::TaskKind;
use rpmfarm_core::{Arch, BuildId, Sha256, TaskId};
use sqlx::FromRow;
use sqlx::any::AnyRow;

use super::columns::Columns;
use super::{NewPackage, Result, Tx, parsed};

/// A package that an accepted attempt made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResultPackage {
    pub package: NewPackage,
    /// The digest of the blob that describes its content; only for `noarch` packages.
    pub content: Option<Sha256>,
}

/// An accepted task with its packages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptedTask {
    pub task: TaskId,
    pub kind: TaskKind,
    pub arch: Arch,
    /// All its packages, by NEVRA.
    pub packages: Vec<ResultPackage>,
}

impl FromRow<'_, AnyRow> for ResultPackage {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        let content = Columns::of("results", row).parsed_or_none("content", "a digest")?;
        Ok(Self { package: NewPackage::from_row(row)?, content })
    }
}

impl Tx {
    /// Records the packages of an attempt of one architecture.
    pub async fn result_insert(
        &mut self,
        build: BuildId,
        task: TaskId,
        arch: Arch,
        made: &[ResultPackage],
    ) -> Result<()> {
        for ResultPackage { package, content } in made {
            sqlx::query(
                "INSERT INTO results (task, nevra, build, arch, digest, size, repodata, content)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING",
            )
            .bind(task.0)
            .bind(package.nevra.to_string())
            .bind(build.0)
            .bind(arch.as_str())
            .bind(package.digest.hex())
            .bind(package.size.cast_signed())
            .bind(package.repodata.hex())
            .bind(content.map_or_else(String::new, |digest| digest.hex()))
            .execute(self.conn())
            .await?;
        }
        Ok(())
    }

    /// The accepted tasks of a build of one kind with their packages, in the order in which they
    /// were planned.
    pub async fn task_list_accepted(
        &mut self,
        build: BuildId,
        kind: TaskKind,
    ) -> Result<Vec<AcceptedTask>> {
        let query = "SELECT t.id, t.arch FROM tasks t JOIN acceptances a ON a.task = t.id
                     WHERE t.build = $1 AND t.kind = $2 ORDER BY t.id";
        let tasks: Vec<(i64, String)> =
            sqlx::query_as(query).bind(build.0).bind(kind.as_str()).fetch_all(self.conn()).await?;
        let mut all = Vec::with_capacity(tasks.len());
        for (task, arch) in tasks {
            let arch = parsed("tasks", "an architecture", &arch)?;
            let task = TaskId(task);
            let packages = self.result_list(task).await?;
            all.push(AcceptedTask { task, kind, arch, packages });
        }
        Ok(all)
    }

    async fn result_list(&mut self, task: TaskId) -> Result<Vec<ResultPackage>> {
        let query = "SELECT nevra, digest, size, repodata, content FROM results
                     WHERE task = $1 ORDER BY nevra";
        Ok(sqlx::query_as(query).bind(task.0).fetch_all(self.conn()).await?)
    }
}
