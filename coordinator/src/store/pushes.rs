//! Pushes: the observed commits, the verdicts on them, approvals, storms.

use rpmfarm_core::track::PushVerdict;
use rpmfarm_core::track::pair::PushPair;
use rpmfarm_core::track::plan::PushEnd;
use rpmfarm_core::{BuildId, PushId, StormId, Timestamp};

use super::builds::named;
use super::columns::{Flag, OrNone};
use super::{Result, Store, Tx};

/// A push with its verdict.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct PushRow {
    #[sqlx(try_from = "i64")]
    pub id: PushId,
    /// Name of the target.
    pub target: String,
    /// Name of the package.
    pub package: String,
    /// Address of the repository.
    pub repository: String,
    pub branch: String,
    pub commit_id: String,
    /// The commit before it.
    pub before_id: String,
    /// Whether it is a push to the package's modifications.
    #[sqlx(try_from = "Flag")]
    pub modifies: bool,
    pub told_by: String,
    /// When it was observed.
    #[sqlx(rename = "seen_us", try_from = "i64")]
    pub seen_at: Timestamp,
    /// build, done, superseded, removed; empty while it is open.
    pub verdict: String,
    /// When the verdict was given.
    #[sqlx(rename = "ended_us", try_from = "OrNone")]
    pub ended_at: Option<Timestamp>,
    /// The build that contains it.
    #[sqlx(try_from = "OrNone")]
    pub build: Option<BuildId>,
    /// For a branch that had been at this commit before: the push by which it left the commit.
    #[sqlx(try_from = "OrNone")]
    pub left_by: Option<PushId>,
}

impl PushRow {
    /// The final verdict; `None` while the push is open.
    #[must_use]
    pub fn ended(&self) -> Option<PushVerdict> {
        self.verdict.parse().ok()
    }
}

/// Which pushes to list.
#[derive(Debug, Clone, Default)]
pub struct PushFilter {
    /// Only pushes of this target; empty for all.
    pub target: String,
    /// Only pushes to this package; empty for all.
    pub package: String,
    /// At most so many, newest first.
    pub limit: i64,
}

/// A storm: too many builds at once.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct StormRow {
    #[sqlx(try_from = "i64")]
    pub id: StormId,
    /// Name of the target.
    pub target: String,
    /// Why they are held.
    pub reason: String,
    #[sqlx(rename = "at_us", try_from = "i64")]
    pub at: Timestamp,
}

impl Store {
    /// How many builds of a target resulted from pushes without approval since a time.
    pub async fn push_count_built_since(&self, target: &str, since: Timestamp) -> Result<usize> {
        // A push to a package and one to its modifications may have led to the same build.
        let query = "SELECT COUNT(DISTINCT p.package || ' ' || e.request_key)
                     FROM push_ends e JOIN pushes p ON p.id = e.push
                     WHERE e.at_us > $2 AND p.target = $1 AND e.verdict = 'build'
                     AND NOT EXISTS (SELECT 1 FROM push_approvals a WHERE a.push = e.push)";
        let count: i64 = sqlx::query_scalar(query)
            .bind(target)
            .bind(since.as_us())
            .fetch_one(self.read_pool())
            .await?;
        Ok(usize::try_from(count).unwrap_or(0))
    }

    /// Records the verdicts on pushes, all or none. Those that end in `build` are built by the
    /// request with this key, which is made afterwards.
    pub async fn push_end(
        &self,
        ends: &[PushEnd],
        request_key: &str,
        now: Timestamp,
    ) -> Result<()> {
        let mut tx = self.write().await?;
        for end in ends {
            let removed = sqlx::query("DELETE FROM open_pushes WHERE push = $1")
                .bind(end.push.0)
                .execute(tx.conn())
                .await?;
            if removed.rows_affected() == 0 {
                // Another coordinator has recorded verdicts first and continues from there.
                return Ok(());
            }
            let key = if end.verdict == PushVerdict::Build { request_key } else { "" };
            sqlx::query(
                "INSERT INTO push_ends (push, verdict, request_key, build, at_us)
                 VALUES ($1, $2, $3, $4, $5)",
            )
            .bind(end.push.0)
            .bind(end.verdict.as_str())
            .bind(key)
            .bind(end.build.map_or(0, |build| build.0))
            .bind(now.as_us())
            .execute(tx.conn())
            .await?;
            if let Some(pair) = &end.pair {
                sqlx::query(
                    "INSERT INTO push_pairs (push, git_ref, modification) VALUES ($1, $2, $3)",
                )
                .bind(end.push.0)
                .bind(&pair.git_ref)
                .bind(&pair.modification)
                .execute(tx.conn())
                .await?;
            }
        }
        if !request_key.is_empty() {
            sqlx::query(
                "INSERT INTO push_requests (request_key) VALUES ($1) ON CONFLICT DO NOTHING",
            )
            .bind(request_key)
            .execute(tx.conn())
            .await?;
        }
        tx.commit().await
    }

    /// Keys of requests that were decided on and not made yet.
    pub async fn push_request_list(&self) -> Result<Vec<String>> {
        let query = "SELECT request_key FROM push_requests ORDER BY request_key";
        Ok(sqlx::query_scalar(query).fetch_all(self.read_pool()).await?)
    }

    /// For each push of a request: target, package, and the push.
    pub async fn push_list_of_request(
        &self,
        request_key: &str,
    ) -> Result<Vec<(String, String, PushPair)>> {
        let query = "SELECT p.target, p.package, COALESCE(x.git_ref, p.commit_id),
                     COALESCE(x.modification, '') FROM push_ends e
                     JOIN pushes p ON p.id = e.push LEFT JOIN push_pairs x ON x.push = p.id
                     WHERE e.request_key = $1 ORDER BY p.package, p.id";
        let rows: Vec<(String, String, String, String)> =
            sqlx::query_as(query).bind(request_key).fetch_all(self.read_pool()).await?;
        let pair = |(target, package, git_ref, modification)| {
            (target, package, PushPair { git_ref, modification })
        };
        Ok(rows.into_iter().map(pair).collect())
    }

    /// Records that a request was made.
    pub async fn push_request_finish(&self, request_key: &str) -> Result<()> {
        let mut tx = self.write().await?;
        sqlx::query("DELETE FROM push_requests WHERE request_key = $1")
            .bind(request_key)
            .execute(tx.conn())
            .await?;
        tx.commit_without_wake().await
    }

    /// Holds pushes as one storm, and returns its number.
    pub async fn storm_insert(
        &self,
        target: &str,
        reason: &str,
        pushes: &[PushId],
        now: Timestamp,
    ) -> Result<StormId> {
        let mut tx = self.write().await?;
        let id = StormId(tx.next_id("storm").await?);
        sqlx::query("INSERT INTO storms (id, target, reason, at_us) VALUES ($1, $2, $3, $4)")
            .bind(id.0)
            .bind(target)
            .bind(reason)
            .bind(now.as_us())
            .execute(tx.conn())
            .await?;
        tx.push_hold(id, pushes).await?;
        tx.commit().await?;
        Ok(id)
    }

    /// Holds more pushes in a storm.
    pub async fn storm_join(&self, storm: StormId, pushes: &[PushId]) -> Result<()> {
        let mut tx = self.write().await?;
        tx.push_hold(storm, pushes).await?;
        tx.commit().await
    }

    pub async fn storm_fetch(&self, id: StormId) -> Result<Option<StormRow>> {
        let query = "SELECT id, target, reason, at_us FROM storms WHERE id = $1";
        Ok(sqlx::query_as(query).bind(id.0).fetch_optional(self.read_pool()).await?)
    }

    /// Approves pushes. Returns how many were not approved before.
    pub async fn push_approve(&self, pushes: &[PushId], who: &str, now: Timestamp) -> Result<u64> {
        let mut tx = self.write().await?;
        let mut approved = 0;
        for push in pushes {
            let result = sqlx::query(
                "INSERT INTO push_approvals (push, who, at_us) VALUES ($1, $2, $3)
                 ON CONFLICT DO NOTHING",
            )
            .bind(push.0)
            .bind(who)
            .bind(now.as_us())
            .execute(tx.conn())
            .await?;
            approved += result.rows_affected();
        }
        tx.commit().await?;
        Ok(approved)
    }

    /// Pushes, newest first.
    pub async fn push_list(&self, filter: &PushFilter) -> Result<Vec<PushRow>> {
        let columns = [("p.target", &*filter.target), ("p.package", &*filter.package)];
        let (named, names) = named(2, &columns);
        // Every push has a number, so this condition is always true; the other ones are appended to
        // it.
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
        Ok(query.fetch_all(self.read_pool()).await?)
    }

    /// The commit of the push to a branch or tag from which a build follows.
    pub async fn push_fetch_commit(
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
            .fetch_optional(self.read_pool())
            .await?)
    }
}

impl Tx {
    async fn push_hold(&mut self, storm: StormId, pushes: &[PushId]) -> Result<()> {
        for push in pushes {
            sqlx::query(
                "INSERT INTO storm_pushes (push, storm) VALUES ($1, $2) ON CONFLICT DO NOTHING",
            )
            .bind(push.0)
            .bind(storm.0)
            .execute(self.conn())
            .await?;
        }
        Ok(())
    }
}
