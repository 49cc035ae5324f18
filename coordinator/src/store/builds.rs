//! Builds: requests, cancellations, retries, and which are open.

use std::collections::HashMap;

use rpmfarm_core::queue::Class;
use rpmfarm_core::stage::Stage;
use rpmfarm_core::status::latest_due;
use rpmfarm_core::{Arch, BuildId};

use super::again::again;
use super::{Result, Store, Tx, parsed};

/// A request to rebuild one package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewBuild {
    /// Name of the target.
    pub target: String,
    /// Name of the package.
    pub package: String,
    /// Branch, tag or commit; empty for the target's own.
    pub git_ref: String,
    /// Commit of the modifications; empty for what the target's branch of them has.
    pub modification_ref: String,
    /// How urgent it is.
    pub class: Class,
    /// The architectures to build for; none for all of the target's.
    pub arches: Vec<Arch>,
}

/// A build as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Build {
    /// Its number.
    pub id: i64,
    /// The builds of one request share it.
    pub batch: i64,
    /// Name of the target.
    pub target: String,
    /// Name of the package.
    pub package: String,
    /// Branch, tag or commit; empty for the target's own.
    pub git_ref: String,
    /// Who asked.
    pub submitter: String,
    /// When.
    pub created_us: i64,
    /// How urgent it is, by the newest that was said of it.
    pub priority: String,
}

impl Build {
    /// Its number, typed.
    #[must_use]
    pub const fn id(&self) -> BuildId {
        BuildId(self.id)
    }
}

/// What a request led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartedBuilds {
    /// The builds, in the order of the request.
    pub ids: Vec<BuildId>,
    /// False when an earlier request with the same key had made them.
    pub new: bool,
}

/// Whether builds have ended, and how, as far as that is a fact of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ended {
    /// All builds.
    #[default]
    Any,
    /// Those that have not.
    Open,
    /// Those that are published.
    Published,
    /// Those that have ended otherwise.
    Unpublished,
}

impl Ended {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Any => "",
            Self::Open => "open",
            Self::Published => "published",
            Self::Unpublished => "unpublished",
        }
    }
}

/// Which builds to list.
#[derive(Debug, Clone, Default)]
pub struct BuildFilter {
    /// Only this target; empty for all.
    pub target: String,
    /// Only this package; empty for all.
    pub package: String,
    /// Only these.
    pub ended: Ended,
    /// Only builds before this one; 0 for all.
    pub before: i64,
    /// At most so many, newest first.
    pub limit: i64,
}

/// The columns of a [`Build`], of `builds b`.
const COLUMNS: &str = "b.id, b.batch, b.target, b.package, b.git_ref, b.submitter, b.created_us,
    COALESCE((SELECT c.priority FROM priority_changes c WHERE c.build = b.id
              ORDER BY c.at_us DESC LIMIT 1), b.priority) AS priority";

/// Builds that a stage looks at in one go.
const AT_ONCE: i64 = 256;

impl Store {
    /// Records a request. The same `request_key` again makes nothing new.
    ///
    /// # Errors
    /// Database errors.
    pub async fn start_builds(
        &self,
        builds: &[NewBuild],
        submitter: &str,
        request_key: &str,
        now_us: i64,
    ) -> Result<StartedBuilds> {
        self.start(builds, submitter, request_key, now_us, false).await
    }

    /// Records a request for rebuilds without a change, whose releases are raised.
    ///
    /// # Errors
    /// Database errors.
    pub async fn start_bumps(
        &self,
        builds: &[NewBuild],
        submitter: &str,
        request_key: &str,
        now_us: i64,
    ) -> Result<StartedBuilds> {
        self.start(builds, submitter, request_key, now_us, true).await
    }

    async fn start(
        &self,
        builds: &[NewBuild],
        submitter: &str,
        request_key: &str,
        now_us: i64,
        bump: bool,
    ) -> Result<StartedBuilds> {
        let started = self.record_request(builds, submitter, request_key, now_us, bump).await;
        match started {
            // Its key tells whether it happened, be it here or at another coordinator.
            Err(error) if !request_key.is_empty() && error.may_have_happened() => {
                tracing::info!(%error, "the request is looked up by its key");
                self.record_request(builds, submitter, request_key, now_us, bump).await
            }
            started => started,
        }
    }

    async fn record_request(
        &self,
        builds: &[NewBuild],
        submitter: &str,
        request_key: &str,
        now_us: i64,
        bump: bool,
    ) -> Result<StartedBuilds> {
        again(|| async move {
            let mut tx = self.write().await?;
            if !request_key.is_empty() {
                let ids: Vec<i64> =
                    sqlx::query_scalar("SELECT id FROM builds WHERE request_key = $1 ORDER BY id")
                        .bind(request_key)
                        .fetch_all(tx.on())
                        .await?;
                if !ids.is_empty() {
                    return Ok(StartedBuilds {
                        ids: ids.into_iter().map(BuildId).collect(),
                        new: false,
                    });
                }
            }
            let batch = tx.next_id("batch").await?;
            let mut ids = Vec::with_capacity(builds.len());
            for build in builds {
                let id = tx.next_id("build").await?;
                sqlx::query(
                "INSERT INTO builds (id, batch, target, package, git_ref, submitter, request_key,
                 created_us, priority) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            )
            .bind(id)
            .bind(batch)
            .bind(&build.target)
            .bind(&build.package)
            .bind(&build.git_ref)
            .bind(submitter)
            .bind(request_key)
            .bind(now_us)
            .bind(build.class.as_str())
            .execute(tx.on())
            .await?;
                if bump {
                    let query = sqlx::query("INSERT INTO bumps (build) VALUES ($1)").bind(id);
                    query.execute(tx.on()).await?;
                }
                if !build.modification_ref.is_empty() {
                    sqlx::query("INSERT INTO build_modifications (build, git_ref) VALUES ($1, $2)")
                        .bind(id)
                        .bind(&build.modification_ref)
                        .execute(tx.on())
                        .await?;
                }
                for arch in &build.arches {
                    sqlx::query(
                        "INSERT INTO build_arches (build, arch) VALUES ($1, $2)
                         ON CONFLICT DO NOTHING",
                    )
                    .bind(id)
                    .bind(arch.as_str())
                    .execute(tx.on())
                    .await?;
                }
                tx.open_build(BuildId(id)).await?;
                tx.index_new(BuildId(id), build.class, now_us).await?;
                ids.push(BuildId(id));
            }
            tx.commit().await?;
            Ok(StartedBuilds { ids, new: true })
        })
        .await
    }

    /// One build.
    ///
    /// # Errors
    /// Database errors.
    pub async fn build(&self, id: BuildId) -> Result<Option<Build>> {
        let query = sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM builds b WHERE b.id = $1"));
        Ok(sqlx::query_as(query).bind(id.0).fetch_optional(self.read()).await?)
    }

    /// The architectures that a build was asked for; none for all of its target's.
    ///
    /// # Errors
    /// Database errors.
    pub async fn build_arches(&self, id: BuildId) -> Result<Vec<Arch>> {
        let query = "SELECT arch FROM build_arches WHERE build = $1 ORDER BY arch";
        let rows: Vec<String> = sqlx::query_scalar(query).bind(id.0).fetch_all(self.read()).await?;
        rows.iter().map(|arch| parsed("build_arches", "an architecture", arch)).collect()
    }

    /// The commit to which a branch or tag of a repository was pushed that a build follows from.
    ///
    /// # Errors
    /// Database errors.
    pub async fn pushed_commit(
        &self,
        id: BuildId,
        repository: &str,
        branch: &str,
    ) -> Result<Option<String>> {
        let query = "SELECT p.commit_id FROM builds b
                     JOIN push_ends e ON e.request_key = b.request_key AND e.verdict = 'build'
                     JOIN pushes p ON p.id = e.push AND p.target = b.target
                     AND p.package = b.package
                     WHERE b.id = $1 AND b.request_key <> '' AND p.repository = $2
                     AND p.branch = $3 ORDER BY p.id DESC LIMIT 1";
        Ok(sqlx::query_scalar(query)
            .bind(id.0)
            .bind(repository)
            .bind(branch)
            .fetch_optional(self.read())
            .await?)
    }

    /// The commit of the modifications that a build is for; none for what their branch has.
    ///
    /// # Errors
    /// Database errors.
    pub async fn modification_ref(&self, id: BuildId) -> Result<Option<String>> {
        let query = "SELECT git_ref FROM build_modifications WHERE build = $1";
        Ok(sqlx::query_scalar(query).bind(id.0).fetch_optional(self.read()).await?)
    }

    /// Builds, newest first.
    ///
    /// # Errors
    /// Database errors.
    pub async fn builds(&self, filter: &BuildFilter) -> Result<Vec<Build>> {
        let query = sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM builds b WHERE ($1 = '' OR target = $1)
             AND ($2 = '' OR package = $2) AND ($3 = 0 OR id < $3)
             AND ($5 = ''
               OR ($5 = 'open' AND EXISTS (SELECT 1 FROM open_builds o WHERE o.build = b.id))
               OR ($5 = 'published'
                   AND EXISTS (SELECT 1 FROM publications p WHERE p.build = b.id))
               OR ($5 = 'unpublished'
                   AND NOT EXISTS (SELECT 1 FROM open_builds o WHERE o.build = b.id)
                   AND NOT EXISTS (SELECT 1 FROM publications p WHERE p.build = b.id)))
             ORDER BY id DESC LIMIT $4"
        ));
        Ok(sqlx::query_as(query)
            .bind(&filter.target)
            .bind(&filter.package)
            .bind(filter.before)
            .bind(filter.limit)
            .bind(filter.ended.as_str())
            .fetch_all(self.read())
            .await?)
    }

    /// Open builds whose sources are not there and that do not wait for a retry, the most urgent
    /// and oldest first, as many as are of use at once.
    ///
    /// # Errors
    /// Database errors.
    pub async fn builds_to_import(&self, now_us: i64) -> Result<Vec<Build>> {
        self.builds_at(Stage::Import, now_us).await
    }

    /// Open builds that are imported and have no task yet, likewise.
    ///
    /// # Errors
    /// Database errors.
    pub async fn builds_to_plan(&self) -> Result<Vec<Build>> {
        self.builds_at(Stage::Plan, i64::MAX).await
    }

    /// Open builds of which every task is accepted, likewise.
    ///
    /// # Errors
    /// Database errors.
    pub async fn builds_accepted(&self) -> Result<Vec<Build>> {
        self.builds_at(Stage::Finish, i64::MAX).await
    }

    async fn builds_at(&self, stage: Stage, now_us: i64) -> Result<Vec<Build>> {
        let query = sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM stage_work w JOIN builds b ON b.id = w.build
             WHERE w.stage = $1 AND (w.due_us <= $2 OR w.due_us > $4)
             ORDER BY w.rank, w.build LIMIT $3"
        ));
        Ok(sqlx::query_as(query)
            .bind(stage.as_str())
            .bind(now_us)
            .bind(AT_ONCE)
            .bind(latest_due(now_us))
            .fetch_all(self.read())
            .await?)
    }

    /// Names of the targets that anything was ever built for.
    ///
    /// # Errors
    /// Database errors.
    pub async fn targets_built(&self) -> Result<Vec<String>> {
        let query = "SELECT DISTINCT target FROM builds ORDER BY target";
        Ok(sqlx::query_scalar(query).fetch_all(self.read()).await?)
    }

    /// The builds of all tasks that wait for their turn in a batch, by number.
    ///
    /// # Errors
    /// Database errors.
    pub async fn builds_to_order(&self, now_us: i64) -> Result<HashMap<BuildId, Build>> {
        let query = sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM builds b WHERE b.id IN
             (SELECT w.build FROM stage_work w
              WHERE w.stage = 'order' AND (w.due_us <= $1 OR w.due_us > $2))"
        ));
        let query = sqlx::query_as(query).bind(now_us).bind(latest_due(now_us));
        let rows: Vec<Build> = query.fetch_all(self.read()).await?;
        Ok(rows.into_iter().map(|build| (build.id(), build)).collect())
    }

    /// The oldest open build of a request that has no SRPM yet.
    ///
    /// # Errors
    /// Database errors.
    pub async fn mate_without_srpm(&self, batch: i64) -> Result<Option<Build>> {
        let query = sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM builds b WHERE b.batch = $1
             AND EXISTS (SELECT 1 FROM open_builds o WHERE o.build = b.id)
             AND NOT EXISTS (SELECT 1 FROM srpms s WHERE s.build = b.id)
             ORDER BY b.id LIMIT 1"
        ));
        Ok(sqlx::query_as(query).bind(batch).fetch_optional(self.read()).await?)
    }

    /// Builds of one request that are neither accepted nor ended, oldest first.
    ///
    /// # Errors
    /// Database errors.
    pub async fn open_mates(&self, batch: i64) -> Result<Vec<Build>> {
        let query = sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM builds b WHERE b.batch = $1
             AND EXISTS (SELECT 1 FROM open_builds o WHERE o.build = b.id)
             AND NOT EXISTS (SELECT 1 FROM stage_work w WHERE w.build = b.id
                             AND w.stage = 'finish' AND w.task = 0)
             ORDER BY b.id"
        ));
        Ok(sqlx::query_as(query).bind(batch).fetch_all(self.read()).await?)
    }

    /// Cancels a build. False when it had ended before.
    ///
    /// # Errors
    /// Database errors.
    pub async fn cancel_build(&self, id: BuildId, now_us: i64) -> Result<bool> {
        again(|| async move {
            let mut tx = self.write().await?;
            if !tx.close_build(id).await? {
                return Ok(false);
            }
            let at_us = tx.stamp(id, now_us).await?;
            sqlx::query(
                "INSERT INTO cancellations (build, at_us) VALUES ($1, $2) ON CONFLICT DO NOTHING",
            )
            .bind(id.0)
            .bind(at_us)
            .execute(tx.on())
            .await?;
            tx.end_attempts_of_build(id, now_us).await?;
            tx.commit().await?;
            Ok(true)
        })
        .await
    }

    /// Opens an ended build again. False when it is open, or published.
    ///
    /// # Errors
    /// Database errors.
    pub async fn retry_build(&self, id: BuildId, now_us: i64) -> Result<bool> {
        again(|| async move {
            let mut tx = self.write().await?;
            let closed: i64 = sqlx::query_scalar(
                "SELECT COUNT(*) FROM builds b WHERE id = $1
             AND NOT EXISTS (SELECT 1 FROM open_builds o WHERE o.build = b.id)
             AND NOT EXISTS (SELECT 1 FROM publications p WHERE p.build = b.id)",
            )
            .bind(id.0)
            .fetch_one(tx.on())
            .await?;
            if closed == 0 {
                return Ok(false);
            }
            let at_us = tx.stamp(id, now_us).await?;
            sqlx::query(
                "INSERT INTO retries (build, at_us) VALUES ($1, $2) ON CONFLICT DO NOTHING",
            )
            .bind(id.0)
            .bind(at_us)
            .execute(tx.on())
            .await?;
            tx.open_build(id).await?;
            tx.reindex(id, now_us).await?;
            tx.commit().await?;
            Ok(true)
        })
        .await
    }

    /// When a build was last cancelled; 0 when never.
    ///
    /// # Errors
    /// Database errors.
    pub async fn cancelled_us(&self, id: BuildId) -> Result<i64> {
        let query = "SELECT MAX(at_us) FROM cancellations WHERE build = $1";
        let latest: Option<i64> =
            sqlx::query_scalar(query).bind(id.0).fetch_one(self.read()).await?;
        Ok(latest.unwrap_or(0))
    }

    /// When a build was last retried; 0 when never.
    ///
    /// # Errors
    /// Database errors.
    pub async fn retried_us(&self, id: BuildId) -> Result<i64> {
        let query = "SELECT MAX(at_us) FROM retries WHERE build = $1";
        let latest: Option<i64> =
            sqlx::query_scalar(query).bind(id.0).fetch_one(self.read()).await?;
        Ok(latest.unwrap_or(0))
    }

    /// Whether a build has not ended.
    ///
    /// # Errors
    /// Database errors.
    pub async fn is_open(&self, id: BuildId) -> Result<bool> {
        let count: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM open_builds WHERE build = $1")
            .bind(id.0)
            .fetch_one(self.read())
            .await?;
        Ok(count > 0)
    }
}

impl Tx {
    pub(crate) async fn open_build(&mut self, id: BuildId) -> Result<()> {
        sqlx::query("INSERT INTO open_builds (build) VALUES ($1) ON CONFLICT DO NOTHING")
            .bind(id.0)
            .execute(self.on())
            .await?;
        Ok(())
    }

    /// The time of a failure, cancellation or retry of a build: now, or just after its newest one
    /// when the clock has gone back. So they are in the order in which they came.
    pub(crate) async fn stamp(&mut self, id: BuildId, now_us: i64) -> Result<i64> {
        let query = "SELECT MAX(at_us) FROM (
                         SELECT at_us FROM failures WHERE build = $1
                         UNION ALL SELECT at_us FROM cancellations WHERE build = $1
                         UNION ALL SELECT at_us FROM retries WHERE build = $1) AS facts";
        let newest: Option<i64> = sqlx::query_scalar(query).bind(id.0).fetch_one(self.on()).await?;
        Ok(newest.map_or(now_us, |newest| now_us.max(newest + 1)))
    }

    /// Marks a build as ended. False when it was before: then nothing may be added to it.
    ///
    /// # Errors
    /// Database errors.
    pub async fn close_build(&mut self, id: BuildId) -> Result<bool> {
        let result = sqlx::query("DELETE FROM open_builds WHERE build = $1")
            .bind(id.0)
            .execute(self.on())
            .await?;
        self.clear_index(id).await?;
        Ok(result.rows_affected() > 0)
    }

    /// Whether a build is open, held so until the transaction ends.
    ///
    /// # Errors
    /// Database errors.
    pub async fn hold_open(&mut self, id: BuildId) -> Result<bool> {
        // An update that changes nothing takes the row's lock on PostgreSQL; SQLite's writer has
        // the whole database.
        let result = sqlx::query("UPDATE open_builds SET build = build WHERE build = $1")
            .bind(id.0)
            .execute(self.on())
            .await?;
        Ok(result.rows_affected() > 0)
    }
}
