//! Pushes: what was seen, what became of it, approvals, storms.

use rpmfarm_core::BuildId;
use rpmfarm_core::track::PushVerdict;
use rpmfarm_core::track::pair::PushPair;
use rpmfarm_core::track::plan::PushEnd;

use super::builds::named;
use super::columns::Flag;
use super::{Result, Store, Tx};

/// A push with what became of it.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct PushRow {
    /// Its number.
    pub id: i64,
    /// Name of the target.
    pub target: String,
    /// Name of the package.
    pub package: String,
    /// Address of the repository.
    pub repository: String,
    /// The branch.
    pub branch: String,
    /// The commit.
    pub commit_id: String,
    /// The commit before it.
    pub before_id: String,
    /// Whether it is a push to the package's modifications.
    #[sqlx(try_from = "Flag")]
    pub modifies: bool,
    /// webhook, poll.
    pub told_by: String,
    /// When it was seen.
    pub seen_us: i64,
    /// build, done, superseded, removed; empty while it is open.
    pub verdict: String,
    /// When it was decided on.
    pub ended_us: i64,
    /// The build that has it; 0 for none.
    pub build: i64,
    /// Not 0 when the branch was at this commit before, and has left it: the push that led away.
    pub left_by: i64,
}

impl PushRow {
    /// How it has ended; `None` while it is open.
    #[must_use]
    pub fn ended(&self) -> Option<PushVerdict> {
        self.verdict.parse().ok()
    }
}

/// Which pushes to list.
#[derive(Debug, Clone, Default)]
pub struct PushFilter {
    /// Only of this target; empty for all.
    pub target: String,
    /// Only of this package; empty for all.
    pub package: String,
    /// At most so many, newest first.
    pub limit: i64,
}

/// Too many builds at once.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct StormRow {
    /// Its number.
    pub id: i64,
    /// Name of the target.
    pub target: String,
    /// Why they are held.
    pub reason: String,
    /// Since when.
    pub at_us: i64,
}

impl Store {
    /// How many builds of a target pushes led to by themselves since a time.
    pub async fn pushes_built_since(&self, target: &str, since_us: i64) -> Result<usize> {
        // A push to a package and one to its modifications may have led to the same build.
        let query = "SELECT COUNT(DISTINCT p.package || ' ' || e.request_key)
                     FROM push_ends e JOIN pushes p ON p.id = e.push
                     WHERE e.at_us > $2 AND p.target = $1 AND e.verdict = 'build'
                     AND NOT EXISTS (SELECT 1 FROM push_approvals a WHERE a.push = e.push)";
        let count: i64 =
            sqlx::query_scalar(query).bind(target).bind(since_us).fetch_one(self.read()).await?;
        Ok(usize::try_from(count).unwrap_or(0))
    }

    /// Records what becomes of pushes, all or none. Those that end in `build` are built by the
    /// request of this key, which then is to be made.
    pub async fn end_pushes(&self, ends: &[PushEnd], request_key: &str, now_us: i64) -> Result<()> {
        let mut tx = self.write().await?;
        for end in ends {
            let removed = sqlx::query("DELETE FROM open_pushes WHERE push = $1")
                .bind(end.push)
                .execute(tx.on())
                .await?;
            if removed.rows_affected() == 0 {
                // Another coordinator was first; all of this is its to do.
                return Ok(());
            }
            let key = if end.verdict == PushVerdict::Build { request_key } else { "" };
            sqlx::query(
                "INSERT INTO push_ends (push, verdict, request_key, build, at_us)
                 VALUES ($1, $2, $3, $4, $5)",
            )
            .bind(end.push)
            .bind(end.verdict.as_str())
            .bind(key)
            .bind(end.build)
            .bind(now_us)
            .execute(tx.on())
            .await?;
            if let Some(pair) = &end.pair {
                sqlx::query(
                    "INSERT INTO push_pairs (push, git_ref, modification) VALUES ($1, $2, $3)",
                )
                .bind(end.push)
                .bind(&pair.git_ref)
                .bind(&pair.modification)
                .execute(tx.on())
                .await?;
            }
        }
        if !request_key.is_empty() {
            sqlx::query(
                "INSERT INTO push_requests (request_key) VALUES ($1) ON CONFLICT DO NOTHING",
            )
            .bind(request_key)
            .execute(tx.on())
            .await?;
        }
        tx.commit().await
    }

    /// Keys of requests that are decided on and not made yet.
    pub async fn push_requests(&self) -> Result<Vec<String>> {
        let query = "SELECT request_key FROM push_requests ORDER BY request_key";
        Ok(sqlx::query_scalar(query).fetch_all(self.read()).await?)
    }

    /// What a request builds: target, package, and what of it, for each of its pushes.
    pub async fn pushes_of(&self, request_key: &str) -> Result<Vec<(String, String, PushPair)>> {
        let query = "SELECT p.target, p.package, COALESCE(x.git_ref, p.commit_id),
                     COALESCE(x.modification, '') FROM push_ends e
                     JOIN pushes p ON p.id = e.push LEFT JOIN push_pairs x ON x.push = p.id
                     WHERE e.request_key = $1 ORDER BY p.package, p.id";
        let rows: Vec<(String, String, String, String)> =
            sqlx::query_as(query).bind(request_key).fetch_all(self.read()).await?;
        let pair = |(target, package, git_ref, modification)| {
            (target, package, PushPair { git_ref, modification })
        };
        Ok(rows.into_iter().map(pair).collect())
    }

    /// A request is made.
    pub async fn push_request_made(&self, request_key: &str) -> Result<()> {
        let mut tx = self.write().await?;
        sqlx::query("DELETE FROM push_requests WHERE request_key = $1")
            .bind(request_key)
            .execute(tx.on())
            .await?;
        tx.commit_quietly().await
    }

    /// Holds pushes as one storm, and returns its number.
    pub async fn add_storm(
        &self,
        target: &str,
        reason: &str,
        pushes: &[i64],
        now_us: i64,
    ) -> Result<i64> {
        let mut tx = self.write().await?;
        let id = tx.next_id("storm").await?;
        sqlx::query("INSERT INTO storms (id, target, reason, at_us) VALUES ($1, $2, $3, $4)")
            .bind(id)
            .bind(target)
            .bind(reason)
            .bind(now_us)
            .execute(tx.on())
            .await?;
        tx.hold_pushes(id, pushes).await?;
        tx.commit().await?;
        Ok(id)
    }

    /// Holds more pushes in a storm.
    pub async fn join_storm(&self, storm: i64, pushes: &[i64]) -> Result<()> {
        let mut tx = self.write().await?;
        tx.hold_pushes(storm, pushes).await?;
        tx.commit().await
    }

    /// A storm.
    pub async fn storm(&self, id: i64) -> Result<Option<StormRow>> {
        let query = "SELECT id, target, reason, at_us FROM storms WHERE id = $1";
        Ok(sqlx::query_as(query).bind(id).fetch_optional(self.read()).await?)
    }

    /// Approves pushes. Returns how many were not approved before.
    pub async fn approve(&self, pushes: &[i64], who: &str, now_us: i64) -> Result<u64> {
        let mut tx = self.write().await?;
        let mut approved = 0;
        for push in pushes {
            let result = sqlx::query(
                "INSERT INTO push_approvals (push, who, at_us) VALUES ($1, $2, $3)
                 ON CONFLICT DO NOTHING",
            )
            .bind(push)
            .bind(who)
            .bind(now_us)
            .execute(tx.on())
            .await?;
            approved += result.rows_affected();
        }
        tx.commit().await?;
        Ok(approved)
    }

    /// Pushes, newest first.
    pub async fn pushes(&self, filter: &PushFilter) -> Result<Vec<PushRow>> {
        let columns = [("p.target", &*filter.target), ("p.package", &*filter.package)];
        let (named, names) = named(2, &columns);
        // Every push has a number: that is for conditions to follow.
        let query = format!(
            "SELECT p.id, p.target, p.package, p.repository, p.branch, p.commit_id, p.before_id,
             p.modifies, p.told_by, p.seen_us, COALESCE(e.verdict, '') AS verdict,
             COALESCE(e.at_us, 0) AS ended_us,
             COALESCE((SELECT MAX(b.id) FROM builds b WHERE e.request_key <> ''
                       AND b.request_key = e.request_key AND b.target = p.target
                       AND b.package = p.package), e.build, 0) AS build,
             COALESCE((SELECT MAX(q.id) FROM pushes q
                       WHERE q.target = p.target AND q.package = p.package AND q.id < p.id
                       AND q.repository = p.repository AND q.branch = p.branch
                       AND q.before_id = p.commit_id), 0) AS left_by
             FROM pushes p LEFT JOIN push_ends e ON e.push = p.id
             WHERE p.id > 0{named} ORDER BY p.id DESC LIMIT $1"
        );
        let mut query = sqlx::query_as(sqlx::AssertSqlSafe(query)).bind(filter.limit);
        for name in names {
            query = query.bind(name);
        }
        Ok(query.fetch_all(self.read()).await?)
    }

    /// The commit to which a branch or tag of a repository was pushed that a build follows from.
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
}

impl Tx {
    async fn hold_pushes(&mut self, storm: i64, pushes: &[i64]) -> Result<()> {
        for push in pushes {
            sqlx::query(
                "INSERT INTO storm_pushes (push, storm) VALUES ($1, $2) ON CONFLICT DO NOTHING",
            )
            .bind(push)
            .bind(storm)
            .execute(self.on())
            .await?;
        }
        Ok(())
    }
}
