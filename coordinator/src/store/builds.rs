//! Builds: requests, cancellations, retries, and which are open.

use rpmfarm_core::BuildId;

use super::{Result, Store, Tx};

/// A request to rebuild one package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewBuild {
    /// Name of the target.
    pub target: String,
    /// Name of the package.
    pub package: String,
    /// Branch, tag or commit; empty for the target's own.
    pub git_ref: String,
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

/// Which builds to list.
#[derive(Debug, Clone, Default)]
pub struct BuildFilter {
    /// Only this target; empty for all.
    pub target: String,
    /// Only this package; empty for all.
    pub package: String,
    /// Only builds before this one; 0 for all.
    pub before: i64,
    /// At most so many, newest first.
    pub limit: i64,
}

const COLUMNS: &str = "id, batch, target, package, git_ref, submitter, created_us";

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
                 created_us) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
            )
            .bind(id)
            .bind(batch)
            .bind(&build.target)
            .bind(&build.package)
            .bind(&build.git_ref)
            .bind(submitter)
            .bind(request_key)
            .bind(now_us)
            .execute(tx.on())
            .await?;
            if bump {
                let query = sqlx::query("INSERT INTO bumps (build) VALUES ($1)").bind(id);
                query.execute(tx.on()).await?;
            }
            tx.open_build(BuildId(id)).await?;
            ids.push(BuildId(id));
        }
        tx.commit().await?;
        Ok(StartedBuilds { ids, new: true })
    }

    /// One build.
    ///
    /// # Errors
    /// Database errors.
    pub async fn build(&self, id: BuildId) -> Result<Option<Build>> {
        let query = sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM builds WHERE id = $1"));
        Ok(sqlx::query_as(query).bind(id.0).fetch_optional(self.read()).await?)
    }

    /// Builds, newest first.
    ///
    /// # Errors
    /// Database errors.
    pub async fn builds(&self, filter: &BuildFilter) -> Result<Vec<Build>> {
        let query = sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM builds WHERE ($1 = '' OR target = $1)
             AND ($2 = '' OR package = $2) AND ($3 = 0 OR id < $3) ORDER BY id DESC LIMIT $4"
        ));
        Ok(sqlx::query_as(query)
            .bind(&filter.target)
            .bind(&filter.package)
            .bind(filter.before)
            .bind(filter.limit)
            .fetch_all(self.read())
            .await?)
    }

    /// Open builds whose sources are not there and that do not wait for a retry.
    ///
    /// # Errors
    /// Database errors.
    pub async fn builds_to_import(&self, now_us: i64) -> Result<Vec<Build>> {
        let query =
            "SELECT id, batch, target, package, git_ref, submitter, created_us FROM builds b
                     WHERE id IN (SELECT build FROM open_builds)
                     AND NOT EXISTS (SELECT 1 FROM imports i WHERE i.build = b.id)
                     AND NOT EXISTS (SELECT 1 FROM failures f WHERE f.build = b.id
                                     AND f.stage = 'import' AND f.retry_us > $1)
                     ORDER BY id";
        Ok(sqlx::query_as(query).bind(now_us).fetch_all(self.read()).await?)
    }

    /// Open builds that are imported and have no task yet, oldest first.
    ///
    /// # Errors
    /// Database errors.
    pub async fn builds_to_plan(&self) -> Result<Vec<Build>> {
        let query =
            "SELECT id, batch, target, package, git_ref, submitter, created_us FROM builds b
                     WHERE id IN (SELECT build FROM open_builds)
                     AND EXISTS (SELECT 1 FROM imports i WHERE i.build = b.id)
                     AND NOT EXISTS (SELECT 1 FROM tasks t WHERE t.build = b.id)
                     ORDER BY id";
        Ok(sqlx::query_as(query).fetch_all(self.read()).await?)
    }

    /// Open builds of which every task is accepted, oldest first.
    ///
    /// # Errors
    /// Database errors.
    pub async fn builds_accepted(&self) -> Result<Vec<Build>> {
        let query =
            "SELECT id, batch, target, package, git_ref, submitter, created_us FROM builds b
                     WHERE id IN (SELECT build FROM open_builds)
                     AND EXISTS (SELECT 1 FROM tasks t WHERE t.build = b.id AND t.kind = 'build')
                     AND NOT EXISTS (SELECT 1 FROM tasks t WHERE t.build = b.id
                                     AND NOT EXISTS (SELECT 1 FROM acceptances a
                                                     WHERE a.task = t.id))
                     ORDER BY id";
        Ok(sqlx::query_as(query).fetch_all(self.read()).await?)
    }

    /// Names of the targets that anything was ever built for.
    ///
    /// # Errors
    /// Database errors.
    pub async fn targets_built(&self) -> Result<Vec<String>> {
        let query = "SELECT DISTINCT target FROM builds ORDER BY target";
        Ok(sqlx::query_scalar(query).fetch_all(self.read()).await?)
    }

    /// Open builds of one request, oldest first.
    ///
    /// # Errors
    /// Database errors.
    pub async fn open_mates(&self, batch: i64) -> Result<Vec<Build>> {
        let query = "SELECT id, batch, target, package, git_ref, submitter, created_us
                     FROM builds WHERE batch = $1 AND id IN (SELECT build FROM open_builds)
                     ORDER BY id";
        Ok(sqlx::query_as(query).bind(batch).fetch_all(self.read()).await?)
    }

    /// Cancels a build. False when it had ended before.
    ///
    /// # Errors
    /// Database errors.
    pub async fn cancel_build(&self, id: BuildId, now_us: i64) -> Result<bool> {
        let mut tx = self.write().await?;
        if !tx.close_build(id).await? {
            return Ok(false);
        }
        sqlx::query(
            "INSERT INTO cancellations (build, at_us) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        )
        .bind(id.0)
        .bind(now_us)
        .execute(tx.on())
        .await?;
        tx.end_attempts_of_build(id, now_us).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Opens an ended build again. False when it is open, or published.
    ///
    /// # Errors
    /// Database errors.
    pub async fn retry_build(&self, id: BuildId, now_us: i64) -> Result<bool> {
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
        sqlx::query("INSERT INTO retries (build, at_us) VALUES ($1, $2) ON CONFLICT DO NOTHING")
            .bind(id.0)
            .bind(now_us)
            .execute(tx.on())
            .await?;
        tx.open_build(id).await?;
        tx.commit().await?;
        Ok(true)
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

    /// Marks a build as ended. False when it was before: then nothing may be added to it.
    ///
    /// # Errors
    /// Database errors.
    pub async fn close_build(&mut self, id: BuildId) -> Result<bool> {
        let result = sqlx::query("DELETE FROM open_builds WHERE build = $1")
            .bind(id.0)
            .execute(self.on())
            .await?;
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
