//! Channels: their revisions, and which builds they hold.

use rpmfarm_core::{BuildId, Evr, Nevra, Sha256, Timestamp};
use sqlx::FromRow;
use sqlx::any::AnyRow;

use super::channel_packages::{ChannelChange, RecordedRevision};
use super::columns::Columns;
use super::pool_packages::PoolCandidates;
use super::transaction_retry::again;
use super::{BuildEnd, Result, Store, Tx, parsed};
use crate::planted_bugs::{PlantedBug, is_planted};

/// One revision of a channel: how many packages it has, and since when it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    /// Name of the target.
    pub target: String,
    /// Name of the channel.
    pub channel: String,
    /// Rises by one with each change.
    pub revision: i64,
    /// SHA-256 of all its packages as JSON, be there a blob of it or not.
    pub snapshot: Sha256,
    pub packages: i64,
    pub at: Timestamp,
}

/// The revision that first holds a build.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Publication {
    #[sqlx(try_from = "i64")]
    pub build: BuildId,
    /// Name of the channel.
    pub channel: String,
    pub revision: i64,
    #[sqlx(rename = "at_us", try_from = "i64")]
    pub at: Timestamp,
}

impl Revision {
    fn recorded(&self) -> RecordedRevision<'_> {
        let Self { target, channel, revision, .. } = self;
        RecordedRevision { target, channel, revision: *revision }
    }
}

impl FromRow<'_, AnyRow> for Revision {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        let row = Columns::of("revisions", row);
        Ok(Self {
            target: row.string("target")?,
            channel: row.string("channel")?,
            revision: row.number("revision")?,
            snapshot: row.parsed("snapshot", "a digest")?,
            packages: row.number("packages")?,
            at: row.time("at_us")?,
        })
    }
}

impl Store {
    /// The newest revision of each channel.
    pub async fn channel_list(&self) -> Result<Vec<Revision>> {
        // One step along the index for each target and each of its channels, because there are as
        // many revisions as there were publications.
        let query = "WITH RECURSIVE t(name) AS (
                         SELECT MIN(target) FROM revisions
                         UNION ALL
                         SELECT (SELECT MIN(n.target) FROM revisions n WHERE n.target > t.name)
                         FROM t WHERE t.name IS NOT NULL),
                     c(target, name) AS (
                         SELECT t.name, (SELECT MIN(n.channel) FROM revisions n
                                         WHERE n.target = t.name)
                         FROM t WHERE t.name IS NOT NULL
                         UNION ALL
                         SELECT c.target, (SELECT MIN(n.channel) FROM revisions n
                                           WHERE n.target = c.target AND n.channel > c.name)
                         FROM c WHERE c.name IS NOT NULL)
                     SELECT r.target, r.channel, r.revision, r.snapshot, r.packages, r.at_us
                     FROM c JOIN revisions r ON r.target = c.target AND r.channel = c.name
                     AND r.revision = (SELECT MAX(n.revision) FROM revisions n
                                       WHERE n.target = c.target AND n.channel = c.name)
                     ORDER BY r.target, r.channel";
        Ok(sqlx::query_as(query).fetch_all(self.read_pool()).await?)
    }

    /// The newest revision of one channel.
    pub async fn channel_fetch(&self, target: &str, channel: &str) -> Result<Option<Revision>> {
        let query = "SELECT target, channel, revision, snapshot, packages, at_us FROM revisions
                     WHERE target = $1 AND channel = $2 ORDER BY revision DESC LIMIT 1";
        Ok(sqlx::query_as(query)
            .bind(target)
            .bind(channel)
            .fetch_optional(self.read_pool())
            .await?)
    }

    /// The store with which revisions are recorded.
    fn for_revisions(&self) -> Self {
        let fence = self.fence.clone().filter(|_| !is_planted(PlantedBug::RecordOldRevision));
        Self { fence, ..self.clone() }
    }

    /// Records a revision that is visible, its changes, and the builds that it contains; these end.
    /// The newest revision may be recorded again, for builds that added nothing new. False when the
    /// channel has a higher revision, when its rows are not those that the change was made for, or
    /// when one of the builds has ended otherwise (somebody cancelled it while it was published);
    /// then nothing is changed.
    pub async fn revision_insert(
        &self,
        revision: &Revision,
        change: &ChannelChange,
        builds: &[BuildId],
    ) -> Result<bool> {
        again(|| async move {
            let mut tx = self.for_revisions().write().await?;
            let mut open = Vec::new();
            for build in builds {
                if tx.build_lock_open(*build).await? || is_planted(PlantedBug::PublishCancelled) {
                    open.push(*build);
                } else if !is_planted(PlantedBug::RecordOldRevision) {
                    return Ok(false);
                }
            }
            let builds = open.as_slice();
            tx.revision_insert_row(revision).await?;
            let (newest, snapshot) = tx.revision_fetch_newest(revision).await?;
            let is_newest = newest == revision.revision;
            if !is_newest && !is_planted(PlantedBug::RecordOldRevision) {
                return Ok(false);
            }
            // A revision that is recorded again does not change, as readers of its rows expect.
            if is_newest
                && snapshot == revision.snapshot.hex()
                && !tx.channel_update_packages(revision.recorded(), change).await?
            {
                return Ok(false);
            }
            for build in builds {
                tx.build_close(*build, BuildEnd::Published).await?;
                tx.publication_insert(*build, revision).await?;
            }
            if !builds.is_empty() {
                // The packages that were shown until now may leave the solver's pools.
                let target = revision.target.as_str();
                tx.pool_release(target).await?;
                tx.pool_settle(target, builds, 0, PoolCandidates::Present).await?;
            }
            tx.commit().await?;
            Ok(true)
        })
        .await
    }

    /// The versions of a package that were published in a channel, by their SRPMs, without
    /// withdrawn ones.
    pub async fn channel_list_evrs(
        &self,
        target: &str,
        channel: &str,
        package: &str,
    ) -> Result<Vec<Evr>> {
        let query = "SELECT s.nevra FROM builds b JOIN publications p ON p.build = b.id
                     JOIN srpms s ON s.build = b.id
                     WHERE b.target = $1 AND b.package = $3 AND p.channel = $2
                     AND NOT EXISTS (SELECT 1 FROM withdrawn_packages w WHERE w.build = b.id)";
        let rows: Vec<String> = sqlx::query_scalar(query)
            .bind(target)
            .bind(channel)
            .bind(package)
            .fetch_all(self.read_pool())
            .await?;
        let evr =
            |nevra: &String| parsed::<Nevra>("srpms", "a NEVRA", nevra).map(|nevra| nevra.evr);
        rows.iter().map(evr).collect()
    }

    /// The first publication of a build.
    pub async fn publication_fetch(&self, build: BuildId) -> Result<Option<Publication>> {
        let query = "SELECT build, channel, revision, at_us FROM publications
                     WHERE build = $1 ORDER BY at_us LIMIT 1";
        Ok(sqlx::query_as(query).bind(build.0).fetch_optional(self.read_pool()).await?)
    }
}

impl Tx {
    /// Records a revision, unless the channel has that one or a newer one.
    async fn revision_insert_row(&mut self, revision: &Revision) -> Result<()> {
        let above = match is_planted(PlantedBug::RecordOldRevision) {
            false => "(SELECT MAX(revision) FROM revisions WHERE target = $1 AND channel = $2)",
            true => "0",
        };
        let query = sqlx::AssertSqlSafe(format!(
            "INSERT INTO revisions (target, channel, revision, snapshot, packages, at_us)
             SELECT $1, $2, $3, $4, $5, $6 WHERE $3 > COALESCE({above}, 0)
             ON CONFLICT DO NOTHING"
        ));
        sqlx::query(query)
            .bind(&revision.target)
            .bind(&revision.channel)
            .bind(revision.revision)
            .bind(revision.snapshot.hex())
            .bind(revision.packages)
            .bind(revision.at.as_us())
            .execute(self.conn())
            .await?;
        Ok(())
    }

    /// The newest revision of a revision's channel, with its snapshot.
    async fn revision_fetch_newest(&mut self, revision: &Revision) -> Result<(i64, String)> {
        let query = "SELECT revision, snapshot FROM revisions WHERE target = $1 AND channel = $2
                     ORDER BY revision DESC LIMIT 1";
        let query = sqlx::query_as(query).bind(&revision.target).bind(&revision.channel);
        Ok(query.fetch_one(self.conn()).await?)
    }

    async fn publication_insert(&mut self, build: BuildId, revision: &Revision) -> Result<()> {
        let query = "INSERT INTO publications (build, target, channel, revision, at_us)
                     VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING";
        sqlx::query(query)
            .bind(build.0)
            .bind(&revision.target)
            .bind(&revision.channel)
            .bind(revision.revision)
            .bind(revision.at.as_us())
            .execute(self.conn())
            .await?;
        Ok(())
    }
}
