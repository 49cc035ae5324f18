//! The packages of channels, as rows: a revision has the packages that were added until then and
//! not removed.
//!
//! Owns how a change of a channel becomes rows, and that no change is applied to other rows than
//! those that it was made for. Which packages a channel has, `core` decides
//! (`rpmfarm_core::snapshot`).

use rpmfarm_core::Sha256;
use rpmfarm_core::snapshot::{ExcludedArches, SnapshotDelta, SnapshotPackage};
use sqlx::FromRow;
use sqlx::any::AnyRow;

use super::columns::Columns;
use super::{Result, SignedPackage, Store, Tx, json};

/// The changes of a revision in the rows of its channel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChannelChange {
    /// The revision that the rows stand for before; 0 when there are none.
    pub base: i64,
    /// The removed and the added packages.
    pub delta: SnapshotDelta,
}

impl ChannelChange {
    /// A change of nothing.
    #[must_use]
    pub fn nothing_since(base: i64) -> Self {
        Self { base, delta: SnapshotDelta::default() }
    }
}

/// A revision of a channel that is being recorded.
#[derive(Debug, Clone, Copy)]
pub(super) struct RecordedRevision<'a> {
    /// Name of the target.
    pub(super) target: &'a str,
    /// Name of the channel.
    pub(super) channel: &'a str,
    pub(super) revision: i64,
}

/// The revision that the rows of a channel stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChannelHead {
    pub revision: i64,
    /// SHA-256 of all its packages as JSON.
    pub snapshot: Sha256,
}

impl FromRow<'_, AnyRow> for ChannelHead {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        let row = Columns::of("channel_heads", row);
        Ok(Self {
            revision: row.number("revision")?,
            snapshot: row.parsed("snapshot", "a digest")?,
        })
    }
}

/// A row as the package that it is.
struct ChannelPackage(SnapshotPackage);

impl FromRow<'_, AnyRow> for ChannelPackage {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        let row = Columns::of("channel_packages", row);
        let without = match row.string("excluded")? {
            none if none.is_empty() => ExcludedArches::default(),
            _ => row.json("excluded", "architectures")?,
        };
        Ok(Self(SnapshotPackage {
            nevra: row.parsed("nevra", "a NEVRA")?,
            digest: row.parsed("digest", "a digest")?,
            source: row.parsed("source", "a NEVRA")?,
            without,
        }))
    }
}

/// The architectures that a package is kept from, as their column has them.
fn excluded_text(without: &ExcludedArches) -> String {
    if without.is_empty() { String::new() } else { json(without) }
}

impl Store {
    /// The revision that the rows of a channel stand for; `None` for a channel that was last
    /// published before there were rows.
    pub async fn channel_fetch_head(
        &self,
        target: &str,
        channel: &str,
    ) -> Result<Option<ChannelHead>> {
        let query = "SELECT h.revision, r.snapshot FROM channel_heads h JOIN revisions r
                     ON r.target = h.target AND r.channel = h.channel AND r.revision = h.revision
                     WHERE h.target = $1 AND h.channel = $2";
        let query = sqlx::query_as(query).bind(target).bind(channel);
        Ok(query.fetch_optional(self.read_pool()).await?)
    }

    /// The packages of a revision, in any order, as far as there were rows by then.
    pub async fn channel_list_packages(
        &self,
        target: &str,
        channel: &str,
        revision: i64,
    ) -> Result<Vec<SnapshotPackage>> {
        // Two ranges of one index: the present packages, and those that were removed since.
        let query = "SELECT nevra, digest, source, excluded FROM channel_packages
                     WHERE target = $1 AND channel = $2 AND until_revision = 0
                     AND since_revision <= $3
                     UNION ALL SELECT nevra, digest, source, excluded FROM channel_packages
                     WHERE target = $1 AND channel = $2 AND until_revision > $3
                     AND since_revision <= $3";
        let rows: Vec<ChannelPackage> = sqlx::query_as(query)
            .bind(target)
            .bind(channel)
            .bind(revision)
            .fetch_all(self.read_pool())
            .await?;
        Ok(rows.into_iter().map(|row| row.0).collect())
    }

    /// The packages of a channel that are signed with a key, as its rows are now.
    pub async fn channel_list_signed(
        &self,
        target: &str,
        channel: &str,
        key: &str,
    ) -> Result<Vec<SignedPackage>> {
        let query = "SELECT p.nevra, p.build, p.arch, p.digest, p.size, p.repodata,
                     s.signed_digest, s.signed_size, s.repodata AS published
                     FROM channel_packages c
                     JOIN packages p ON p.target = c.target AND p.nevra = c.nevra
                     JOIN signatures s ON s.digest = p.digest AND s.key_name = $3
                     WHERE c.target = $1 AND c.channel = $2 AND c.until_revision = 0";
        let query = sqlx::query_as(query).bind(target).bind(channel).bind(key);
        Ok(query.fetch_all(self.read_pool()).await?)
    }
}

impl Tx {
    /// Makes the rows of a channel those of a revision, which is recorded. False when they stand
    /// for another revision than the change was made for; then the transaction must not be
    /// committed.
    pub(super) async fn channel_update_packages(
        &mut self,
        revision: RecordedRevision<'_>,
        change: &ChannelChange,
    ) -> Result<bool> {
        if change.base == revision.revision {
            return Ok(true);
        }
        if !self.channel_move_head(revision, change.base).await? {
            return Ok(false);
        }
        self.channel_end_packages(revision, change).await?;
        for package in &change.delta.come {
            self.channel_insert_package(revision, package).await?;
        }
        Ok(true)
    }

    /// Whether the rows stood for that revision; they stand for the new one after that.
    async fn channel_move_head(
        &mut self,
        revision: RecordedRevision<'_>,
        base: i64,
    ) -> Result<bool> {
        let RecordedRevision { target, channel, revision } = revision;
        let moved = if base == 0 {
            let query = "INSERT INTO channel_heads (target, channel, revision)
                         VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
            let query = sqlx::query(query).bind(target).bind(channel).bind(revision);
            query.execute(self.conn()).await?
        } else {
            let query = "UPDATE channel_heads SET revision = $3
                         WHERE target = $1 AND channel = $2 AND revision = $4";
            let query = sqlx::query(query).bind(target).bind(channel).bind(revision).bind(base);
            query.execute(self.conn()).await?
        };
        Ok(moved.rows_affected() == 1)
    }

    async fn channel_end_packages(
        &mut self,
        revision: RecordedRevision<'_>,
        change: &ChannelChange,
    ) -> Result<()> {
        for nevra in &change.delta.gone {
            let query = "UPDATE channel_packages SET until_revision = $4
                         WHERE target = $1 AND channel = $2 AND nevra = $3
                         AND until_revision = 0";
            sqlx::query(query)
                .bind(revision.target)
                .bind(revision.channel)
                .bind(nevra.to_string())
                .bind(revision.revision)
                .execute(self.conn())
                .await?;
        }
        Ok(())
    }

    async fn channel_insert_package(
        &mut self,
        revision: RecordedRevision<'_>,
        package: &SnapshotPackage,
    ) -> Result<()> {
        let query = "INSERT INTO channel_packages (target, channel, nevra, since_revision,
                     until_revision, digest, source, excluded)
                     VALUES ($1, $2, $3, $4, 0, $5, $6, $7)";
        sqlx::query(query)
            .bind(revision.target)
            .bind(revision.channel)
            .bind(package.nevra.to_string())
            .bind(revision.revision)
            .bind(package.digest.hex())
            .bind(package.source.to_string())
            .bind(excluded_text(&package.without))
            .execute(self.conn())
            .await?;
        Ok(())
    }
}
