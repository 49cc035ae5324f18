//! Builds: the requests, and who made them.

use rpmfarm_core::batch::OrderMode;
use rpmfarm_core::queue::PriorityClass;
use rpmfarm_core::{Arch, BatchId, BuildId, BuildOptions, Timestamp};

use super::transaction_retry::again;
use super::{BuildEnd, Result, Store, Tx, json, parsed, unjson};
use crate::planted_bugs::{PlantedBug, is_planted};

/// A request to rebuild one package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewBuild {
    /// Name of the target.
    pub target: String,
    /// Name of the package.
    pub package: String,
    /// Branch, tag or commit; empty for the target's default branch.
    pub git_ref: String,
    /// Commit of the modifications; empty for the target's branch of them.
    pub modification_ref: String,
    /// How urgent it is.
    pub class: PriorityClass,
    /// The architectures to build for; none for all of the target's.
    pub arches: Vec<Arch>,
    /// Options of the request, such as bconds and macros.
    pub options: BuildOptions,
}

/// A build as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Build {
    #[sqlx(try_from = "i64")]
    pub id: BuildId,
    /// The request that the build belongs to.
    #[sqlx(try_from = "i64")]
    pub batch: BatchId,
    /// Name of the target.
    pub target: String,
    /// Name of the package.
    pub package: String,
    /// Branch, tag or commit; empty for the target's default branch.
    pub git_ref: String,
    pub submitter: String,
    #[sqlx(rename = "created_us", try_from = "i64")]
    pub created: Timestamp,
    /// Its priority class; the newest decision on it counts.
    pub priority: String,
}

/// A request for builds: one batch.
#[derive(Debug, Clone, Copy)]
pub struct BuildRequest<'a> {
    pub builds: &'a [NewBuild],
    /// Who asks.
    pub submitter: &'a str,
    /// The same key again makes nothing new; empty for none.
    pub key: &'a str,
    /// Whether they are rebuilds without a change, whose releases are raised.
    pub bump: bool,
    /// Which needs put the builds in order.
    pub order: OrderMode,
}

/// The result of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartedBuilds {
    /// The builds, in the order of the request.
    pub ids: Vec<BuildId>,
    /// False when an earlier request with the same key had made the builds.
    pub new: bool,
}

/// Whether builds have ended, and how, as far as a fact says that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EndedFilter {
    #[default]
    Any,
    /// Builds that have not ended.
    Open,
    /// Builds that ended in this way.
    Ended(BuildEnd),
}

/// The parts of a query for builds that depend on the filter.
struct ListedBuilds<'a> {
    /// The tables that it reads, in this order: a cross join is an inner one whose order SQLite
    /// keeps.
    from: &'static str,
    /// The column by which it goes, newest first.
    id: &'static str,
    condition: &'static str,
    /// Columns, with the values that they must have where these are not empty.
    columns: [(&'static str, &'a str); 3],
}

impl BuildFilter {
    /// The query starts from the shortest table: the builds of one package, the open builds, or
    /// those that ended in this way.
    fn listed(&self) -> ListedBuilds<'_> {
        let (target, package) = (&*self.target, &*self.package);
        let of_builds = [("b.target", target), ("b.package", package)];
        match self.ended {
            EndedFilter::Any => ListedBuilds {
                from: "builds b",
                id: "b.id",
                condition: "",
                columns: [of_builds[0], of_builds[1], ("", "")],
            },
            EndedFilter::Open => ListedBuilds {
                from: "builds b",
                id: "b.id",
                condition: " AND b.id IN (SELECT o.build FROM open_builds o)",
                columns: [of_builds[0], of_builds[1], ("", "")],
            },
            EndedFilter::Ended(end) if package.is_empty() => ListedBuilds {
                from: "build_ends e CROSS JOIN builds b",
                id: "e.build",
                condition: " AND b.id = e.build",
                columns: [("e.target", target), ("e.state", end.state().as_str()), ("", "")],
            },
            EndedFilter::Ended(end) => ListedBuilds {
                from: "builds b CROSS JOIN build_ends e",
                id: "b.id",
                condition: " AND e.build = b.id",
                columns: [of_builds[0], of_builds[1], ("e.state", end.state().as_str())],
            },
        }
    }
}

/// Conditions on the columns for which there is a value, whose placeholders begin with `$first`,
/// and the values to bind. An alternative as `$3 = '' OR target = $3` would keep both databases
/// from using an index.
pub(super) fn named<'a>(first: usize, columns: &[(&str, &'a str)]) -> (String, Vec<&'a str>) {
    let mut conditions = String::new();
    let mut values = Vec::new();
    for (column, value) in columns.iter().filter(|(_, value)| !value.is_empty()) {
        conditions += &format!(" AND {column} = ${}", first + values.len());
        values.push(*value);
    }
    (conditions, values)
}

/// Which builds to list.
#[derive(Debug, Clone, Default)]
pub struct BuildFilter {
    /// Only this target; empty for all.
    pub target: String,
    /// Only this package; empty for all.
    pub package: String,
    pub ended: EndedFilter,
    /// Only builds before this one; `None` for all.
    pub before: Option<BuildId>,
    /// At most so many, newest first.
    pub limit: i64,
}

/// The columns of a [`Build`], of `builds b`.
pub(super) const COLUMNS: &str =
    "b.id, b.batch, b.target, b.package, b.git_ref, b.submitter, b.created_us,
    COALESCE((SELECT c.priority FROM priority_changes c WHERE c.build = b.id
              ORDER BY c.at_us DESC LIMIT 1), b.priority) AS priority";

const OPTIONS: &str = "SELECT options FROM build_options WHERE build = $1";

pub(super) fn options(text: &str) -> Result<BuildOptions> {
    unjson("build_options", "options", text)
}

impl Tx {
    /// The options that a build was asked for with.
    pub async fn build_fetch_options(&mut self, id: BuildId) -> Result<BuildOptions> {
        let text: Option<String> =
            sqlx::query_scalar(OPTIONS).bind(id.0).fetch_optional(self.conn()).await?;
        text.map_or_else(|| Ok(BuildOptions::default()), |text| options(&text))
    }
}

impl Store {
    /// Records a request whose builds use the default order. The same `request_key` again makes no
    /// new builds.
    pub async fn build_insert(
        &self,
        builds: &[NewBuild],
        submitter: &str,
        request_key: &str,
        now: Timestamp,
    ) -> Result<StartedBuilds> {
        let (key, order) = (request_key, OrderMode::default());
        let request = BuildRequest { builds, submitter, key, bump: false, order };
        self.build_insert_request(&request, now).await
    }

    /// Records a request. The same key again makes no new builds.
    pub async fn build_insert_request(
        &self,
        request: &BuildRequest<'_>,
        now: Timestamp,
    ) -> Result<StartedBuilds> {
        let started = self.build_insert_rows(request, now).await;
        match started {
            // The key shows whether the request was recorded, here or at another coordinator.
            Err(error) if !request.key.is_empty() && error.may_have_happened() => {
                tracing::info!(%error, "the request is looked up by its key");
                self.build_insert_rows(request, now).await
            }
            started => started,
        }
    }

    async fn build_insert_rows(
        &self,
        request: &BuildRequest<'_>,
        now: Timestamp,
    ) -> Result<StartedBuilds> {
        let key = if is_planted(PlantedBug::RequestTwice) { "" } else { request.key };
        let request = BuildRequest { key, ..*request };
        again(|| async move {
            let mut tx = self.write().await?;
            let known = tx.builds_of_request(key).await?;
            if !known.is_empty() {
                return Ok(StartedBuilds { ids: known, new: false });
            }
            let batch = BatchId(tx.next_id("batch").await?);
            if request.builds.len() > 1 {
                tx.batch_insert(batch, request.order, request.submitter, now).await?;
            }
            let mut ids = Vec::with_capacity(request.builds.len());
            for build in request.builds {
                ids.push(tx.add_build(build, batch, &request, now).await?);
            }
            tx.commit().await?;
            Ok(StartedBuilds { ids, new: true })
        })
        .await
    }

    pub async fn build_fetch(&self, id: BuildId) -> Result<Option<Build>> {
        let query = sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM builds b WHERE b.id = $1"));
        Ok(sqlx::query_as(query).bind(id.0).fetch_optional(self.read_pool()).await?)
    }

    /// The requested architectures of a build; empty for all of its target's.
    pub async fn build_fetch_arches(&self, id: BuildId) -> Result<Vec<Arch>> {
        let query = "SELECT arch FROM build_arches WHERE build = $1 ORDER BY arch";
        let rows: Vec<String> =
            sqlx::query_scalar(query).bind(id.0).fetch_all(self.read_pool()).await?;
        rows.iter().map(|arch| parsed("build_arches", "an architecture", arch)).collect()
    }

    /// The commit of the modifications that a build is for; `None` for their branch.
    pub async fn build_fetch_modification_ref(&self, id: BuildId) -> Result<Option<String>> {
        let query = "SELECT git_ref FROM build_modifications WHERE build = $1";
        Ok(sqlx::query_scalar(query).bind(id.0).fetch_optional(self.read_pool()).await?)
    }

    /// The options of a build's request.
    pub async fn build_fetch_options(&self, id: BuildId) -> Result<BuildOptions> {
        let text: Option<String> =
            sqlx::query_scalar(OPTIONS).bind(id.0).fetch_optional(self.read_pool()).await?;
        text.map_or_else(|| Ok(BuildOptions::default()), |text| options(&text))
    }

    /// Builds, newest first.
    pub async fn build_list(&self, filter: &BuildFilter) -> Result<Vec<Build>> {
        let ListedBuilds { from, id, condition, columns } = filter.listed();
        let (named, names) = named(3, &columns);
        let query = format!(
            "SELECT {COLUMNS} FROM {from} WHERE {id} < $1{condition}{named}
             ORDER BY {id} DESC LIMIT $2"
        );
        let before = filter.before.map_or(i64::MAX, |build| build.0);
        let mut query = sqlx::query_as(sqlx::AssertSqlSafe(query)).bind(before).bind(filter.limit);
        for name in names {
            query = query.bind(name);
        }
        Ok(query.fetch_all(self.read_pool()).await?)
    }
}

impl Tx {
    /// The builds that were recorded with a key; empty without a key.
    async fn builds_of_request(&mut self, request_key: &str) -> Result<Vec<BuildId>> {
        if request_key.is_empty() {
            return Ok(Vec::new());
        }
        // The index leaves out builds without a key, so the query needs the same condition to use
        // it.
        let query = "SELECT id FROM builds WHERE request_key = $1 AND request_key <> ''
                     ORDER BY id";
        let ids: Vec<i64> =
            sqlx::query_scalar(query).bind(request_key).fetch_all(self.conn()).await?;
        Ok(ids.into_iter().map(BuildId).collect())
    }

    async fn add_build(
        &mut self,
        build: &NewBuild,
        batch: BatchId,
        request: &BuildRequest<'_>,
        now: Timestamp,
    ) -> Result<BuildId> {
        let id = BuildId(self.next_id("build").await?);
        sqlx::query(
            "INSERT INTO builds (id, batch, target, package, git_ref, submitter, request_key,
             created_us, priority) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        )
        .bind(id.0)
        .bind(batch.0)
        .bind(&build.target)
        .bind(&build.package)
        .bind(&build.git_ref)
        .bind(request.submitter)
        .bind(request.key)
        .bind(now.as_us())
        .bind(build.class.as_str())
        .execute(self.conn())
        .await?;
        if request.bump {
            let query = sqlx::query("INSERT INTO bumps (build) VALUES ($1)").bind(id.0);
            query.execute(self.conn()).await?;
        }
        self.add_build_settings(id, build).await?;
        self.build_open(id).await?;
        self.index_insert(id, build.class, now).await?;
        Ok(id)
    }

    /// Records the parts of a request beyond the package.
    async fn add_build_settings(&mut self, id: BuildId, build: &NewBuild) -> Result<()> {
        if !build.modification_ref.is_empty() {
            sqlx::query("INSERT INTO build_modifications (build, git_ref) VALUES ($1, $2)")
                .bind(id.0)
                .bind(&build.modification_ref)
                .execute(self.conn())
                .await?;
        }
        for arch in &build.arches {
            sqlx::query(
                "INSERT INTO build_arches (build, arch) VALUES ($1, $2) ON CONFLICT DO NOTHING",
            )
            .bind(id.0)
            .bind(arch.as_str())
            .execute(self.conn())
            .await?;
        }
        if !build.options.is_nothing() {
            sqlx::query("INSERT INTO build_options (build, options) VALUES ($1, $2)")
                .bind(id.0)
                .bind(json(&build.options))
                .execute(self.conn())
                .await?;
        }
        Ok(())
    }
}
