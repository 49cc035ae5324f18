//! The farm's packages in the solver's pools, and their changes.
//!
//! The tables are an index over packages, builds, publications and locks, which is kept in the
//! transaction that changes these. What stays is decided by [`rpmfarm_core::pool_content`]. Only
//! [`Store::pool_rebuild`] reads all of a target's history: when the index does not exist.

use std::collections::{BTreeMap, BTreeSet};

use rpmfarm_core::pool_content::{PoolBuild, staying};
use rpmfarm_core::{BuildId, Evr, Nevra, Sha256};

use super::lists::{self, numbers};
use super::transaction_retry::again;
use super::{Result, Store, Tx, parsed};

/// For so many versions the log is kept; who asks for what was before half of them gets all
/// packages, so that nothing is removed from the log while it is read.
const LOGGED: i64 = 8192;

/// So many versions pass between two removals of old rows of the log.
const PRUNING: i64 = 256;

/// Builds whose packages one statement puts into the pools.
const AT_ONCE: usize = 500;

/// A package of the pools.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolPackage {
    pub nevra: Nevra,
    /// SHA-256 of the file, its key in the blob store.
    pub digest: Sha256,
    /// The blob of its repodata.
    pub repodata: Sha256,
}

/// The changes of a target's pools.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PoolUpdate {
    /// The version that it leads to.
    pub version: i64,
    /// Whether `present` is all that the pools have; otherwise it is what has come.
    pub is_whole: bool,
    pub present: Vec<PoolPackage>,
    /// The removed packages.
    pub gone: Vec<Nevra>,
}

/// Which builds of a source are candidates for the pools.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PoolCandidates {
    /// Those in the pools already, and the builds that are named: enough as long as packages come.
    Present,
    /// All that were accepted: something that hid an older build may be gone.
    History,
}

/// The state of a target's pools.
#[derive(Debug, Clone, Copy, Default)]
struct PoolState {
    version: i64,
    /// The oldest version from which the log leads to this one.
    since: i64,
    /// Whether the pools belong to the packages as they are.
    is_current: bool,
}

/// A row for each architecture and channel of a build: its source, the build, whether its packages
/// are superseded, its source package, whether it is open, the architecture, the channel, and its
/// newest withdrawal.
type CandidateRow = (String, i64, i64, String, i64, String, String, i64);

/// The candidates of one source, and those of them whose rows are superseded.
#[derive(Debug, Default)]
struct SourceCandidates {
    builds: BTreeMap<BuildId, PoolBuild>,
    superseded: BTreeSet<BuildId>,
}

/// A row of `pool_packages` that no lock of an open batch names.
const UNHELD: &str = "NOT EXISTS (SELECT 1 FROM pool_holds h
    WHERE h.target = pool_packages.target AND h.nevra = pool_packages.nevra)";

impl Store {
    /// The packages that the pools of a target have gained and lost since a version; all packages
    /// without a version, or when the log does not reach back so far.
    pub async fn pool_fetch_update(&self, target: &str, since: Option<i64>) -> Result<PoolUpdate> {
        let mut state = self.pool_fetch_state(target).await?;
        if !state.is_current {
            self.pool_rebuild(target).await?;
            state = self.pool_fetch_state(target).await?;
        }
        // Read before the packages, so that a change meanwhile is repeated by the next update.
        let PoolState { version, since: first, .. } = state;
        let is_logged = |since: &i64| *since >= first && version - *since <= LOGGED / 2;
        let Some(since) = since.filter(is_logged) else {
            let present = self.pool_list(target).await?;
            return Ok(PoolUpdate { version, is_whole: true, present, gone: Vec::new() });
        };
        let mut update = PoolUpdate { version, ..PoolUpdate::default() };
        if since != version {
            self.pool_list_changes(target, since, &mut update).await?;
        }
        Ok(update)
    }

    /// Of each target that has packages: a number that changes whenever they do, and the version of
    /// its pools.
    pub async fn pool_list_versions(&self) -> Result<Vec<(String, i64, i64)>> {
        let query = "SELECT p.target, p.changes, COALESCE(s.version, 0) FROM pools p
                     LEFT JOIN pool_states s ON s.target = p.target";
        Ok(sqlx::query_as(query).fetch_all(self.read_pool()).await?)
    }

    async fn pool_fetch_state(&self, target: &str) -> Result<PoolState> {
        let query = "SELECT p.changes, COALESCE(s.version, 0), COALESCE(s.since, 0),
                     COALESCE(s.seen, -1) FROM pools p
                     LEFT JOIN pool_states s ON s.target = p.target WHERE p.target = $1";
        let row: Option<(i64, i64, i64, i64)> =
            sqlx::query_as(query).bind(target).fetch_optional(self.read_pool()).await?;
        let state = row.map(|(changes, version, since, seen)| PoolState {
            version,
            since,
            is_current: seen == changes,
        });
        // A target that nothing was ever accepted for.
        Ok(state.unwrap_or(PoolState { is_current: true, ..PoolState::default() }))
    }

    /// All packages of a target's pools.
    async fn pool_list(&self, target: &str) -> Result<Vec<PoolPackage>> {
        let query = "SELECT DISTINCT p.nevra, p.digest, p.repodata FROM pool_packages i
                     JOIN packages p ON p.target = i.target AND p.nevra = i.nevra
                     WHERE i.target = $1 ORDER BY p.nevra";
        let rows: Vec<(String, String, String)> =
            sqlx::query_as(query).bind(target).fetch_all(self.read_pool()).await?;
        rows.iter().map(|(nevra, digest, repodata)| package(nevra, digest, repodata)).collect()
    }

    /// The packages that were added and removed after a version.
    async fn pool_list_changes(
        &self,
        target: &str,
        since: i64,
        update: &mut PoolUpdate,
    ) -> Result<()> {
        let query = "SELECT DISTINCT c.nevra, COALESCE(p.digest, '') AS digest,
                     COALESCE(p.repodata, '') AS repodata FROM pool_changes c
                     LEFT JOIN pool_packages i ON i.target = c.target AND i.nevra = c.nevra
                     LEFT JOIN packages p ON p.target = i.target AND p.nevra = i.nevra
                     WHERE c.target = $1 AND c.version > $2 ORDER BY c.nevra";
        let query = sqlx::query_as(query).bind(target).bind(since);
        let rows: Vec<(String, String, String)> = query.fetch_all(self.read_pool()).await?;
        for (nevra, digest, repodata) in rows {
            if digest.is_empty() {
                update.gone.push(parsed("pool_changes", "a NEVRA", &nevra)?);
            } else {
                update.present.push(package(&nevra, &digest, &repodata)?);
            }
        }
        Ok(())
    }

    /// Rebuilds the pools of a target from all packages that were accepted for it.
    async fn pool_rebuild(&self, target: &str) -> Result<()> {
        again(|| async move {
            let mut tx = self.write().await?;
            tx.pool_rebuild(target).await?;
            // Nothing changed that a pass waits for.
            tx.commit_without_wake().await
        })
        .await
    }
}

fn package(nevra: &str, digest: &str, repodata: &str) -> Result<PoolPackage> {
    Ok(PoolPackage {
        nevra: parsed("pool_packages", "a NEVRA", nevra)?,
        digest: parsed("packages", "a digest", digest)?,
        repodata: parsed("packages", "a digest", repodata)?,
    })
}

/// Of the candidates of some sources, those that stay and whose packages are superseded, and those
/// that do not stay.
fn decided(sources: Vec<SourceCandidates>) -> (Vec<BuildId>, Vec<BuildId>) {
    let (mut back, mut leaving) = (Vec::new(), Vec::new());
    for SourceCandidates { builds, superseded } in sources {
        let all: Vec<PoolBuild> = builds.into_values().collect();
        let staying = staying(&all);
        back.extend(staying.intersection(&superseded).copied());
        let builds = all.iter().map(|build| build.build);
        leaving.extend(builds.filter(|build| !staying.contains(build)));
    }
    (back, leaving)
}

impl Tx {
    /// Brings the pools of a target up to date after something became of builds: packages of theirs
    /// came or went, or they were published. `by` is by how much `pools.changes` was raised for
    /// that.
    pub(super) async fn pool_settle(
        &mut self,
        target: &str,
        builds: &[BuildId],
        by: i64,
        candidates: PoolCandidates,
    ) -> Result<()> {
        // Each transaction that changes the pools locks the row, so that versions are in the order
        // of commits.
        self.pool_lock(target).await?;
        self.pool_raise_version(target, by).await?;
        if candidates == PoolCandidates::Present {
            let missing = self.pool_list_missing(builds).await?;
            self.pool_put(&missing).await?;
        }
        let (back, leaving) = decided(self.pool_list_candidates(builds, candidates).await?);
        if candidates == PoolCandidates::History {
            self.pool_put(&back).await?;
        }
        self.pool_set_superseded(&back, false).await?;
        self.pool_set_superseded(&leaving, true).await?;
        if leaving.is_empty() {
            return Ok(());
        }
        self.pool_drop_superseded(target).await
    }

    /// The packages with these digests stay in the pools as long as the batch of a build is open.
    pub(super) async fn pool_hold(
        &mut self,
        target: &str,
        build: BuildId,
        digests: &[Sha256],
    ) -> Result<()> {
        let list = lists::digests(&digests.iter().copied().collect());
        // Found by digest: SQLite would take all packages of the target for fewer.
        let query = sqlx::AssertSqlSafe(format!(
            "INSERT INTO pool_holds (target, batch, nevra)
             SELECT p.target, b.batch, p.nevra FROM builds b
             JOIN packages p ON p.target || '' = $1 AND p.digest IN ({list})
             WHERE b.id = $2 ON CONFLICT DO NOTHING"
        ));
        let query = sqlx::query(query).persistent(false).bind(target).bind(build.0);
        query.execute(self.conn()).await?;
        Ok(())
    }

    /// Takes out of the pools what stayed there only because of locks of batches that have ended.
    pub(super) async fn pool_release(&mut self, target: &str) -> Result<()> {
        // One step along the index for each batch that holds something.
        let query = "WITH RECURSIVE h(batch) AS (
                         SELECT MIN(batch) FROM pool_holds WHERE target = $1
                         UNION ALL
                         SELECT (SELECT MIN(n.batch) FROM pool_holds n
                                 WHERE n.target = $1 AND n.batch > h.batch)
                         FROM h WHERE h.batch IS NOT NULL)
                     SELECT h.batch FROM h WHERE h.batch IS NOT NULL
                     AND (SELECT o.build FROM builds b JOIN open_builds o ON o.build = b.id
                          WHERE b.batch = h.batch LIMIT 1) IS NULL";
        let ended: Vec<i64> = sqlx::query_scalar(query).bind(target).fetch_all(self.conn()).await?;
        if ended.is_empty() {
            return Ok(());
        }
        let batches = lists::list(ended);
        let query = sqlx::AssertSqlSafe(format!(
            "DELETE FROM pool_holds WHERE target = $1 AND batch IN ({batches})"
        ));
        self.pool_lock(target).await?;
        self.pool_raise_version(target, 0).await?;
        sqlx::query(query).persistent(false).bind(target).execute(self.conn()).await?;
        self.pool_drop_superseded(target).await
    }

    /// A withdrawn package is out of the pools.
    pub(super) async fn pool_remove(&mut self, target: &str, nevra: &Nevra) -> Result<()> {
        for query in [
            "INSERT INTO pool_changes (target, version, nevra)
             SELECT DISTINCT i.target, s.version + 1, i.nevra FROM pool_packages i
             JOIN pool_states s ON s.target = i.target
             WHERE i.target = $1 AND i.nevra = $2 ON CONFLICT DO NOTHING",
            "DELETE FROM pool_packages WHERE target = $1 AND nevra = $2",
        ] {
            let query = sqlx::query(query).bind(target).bind(nevra.to_string());
            query.execute(self.conn()).await?;
        }
        Ok(())
    }

    /// A new version of a target's pools. The first one of a target is that of its first packages;
    /// one that had packages before must be rebuilt.
    async fn pool_raise_version(&mut self, target: &str, by: i64) -> Result<()> {
        let query = "INSERT INTO pool_states (target, version, since, seen) VALUES ($1, 1, 0, $2)
                     ON CONFLICT (target) DO UPDATE SET version = pool_states.version + 1,
                     seen = pool_states.seen + excluded.seen RETURNING version";
        let version: i64 =
            sqlx::query_scalar(query).bind(target).bind(by).fetch_one(self.conn()).await?;
        if version % PRUNING == 0 {
            sqlx::query("DELETE FROM pool_changes WHERE target = $1 AND version < $2")
                .bind(target)
                .bind(version - LOGGED)
                .execute(self.conn())
                .await?;
        }
        Ok(())
    }

    /// Those of these builds that have no package in the pools.
    async fn pool_list_missing(&mut self, builds: &[BuildId]) -> Result<Vec<BuildId>> {
        let ids = numbers(builds.iter().copied());
        let query = sqlx::AssertSqlSafe(format!(
            "SELECT DISTINCT build FROM pool_packages WHERE build IN ({ids})"
        ));
        let present: Vec<i64> =
            sqlx::query_scalar(query).persistent(false).fetch_all(self.conn()).await?;
        Ok(builds.iter().copied().filter(|build| !present.contains(&build.0)).collect())
    }

    /// Puts the packages of builds into the pools: those that they made, and those that were the
    /// same as what another build had made before.
    async fn pool_put(&mut self, builds: &[BuildId]) -> Result<()> {
        for builds in builds.chunks(AT_ONCE) {
            let ids = numbers(builds.iter().copied());
            for query in [
                format!(
                    "INSERT INTO pool_packages (target, nevra, build, source, superseded)
                     SELECT p.target, p.nevra, b.id, b.package, 0 FROM builds b
                     JOIN packages p ON p.build = b.id AND p.target = b.target
                     WHERE b.id IN ({ids}) AND p.nevra NOT LIKE '%src'
                     UNION
                     SELECT p.target, p.nevra, b.id, b.package, 0 FROM builds b
                     JOIN results r ON r.build = b.id
                     JOIN packages p ON p.target = b.target AND p.nevra = r.nevra
                     WHERE b.id IN ({ids}) AND p.nevra NOT LIKE '%src' ON CONFLICT DO NOTHING"
                ),
                format!(
                    "INSERT INTO pool_changes (target, version, nevra)
                     SELECT DISTINCT i.target, s.version, i.nevra FROM pool_packages i
                     JOIN pool_states s ON s.target = i.target
                     WHERE i.build IN ({ids}) ON CONFLICT DO NOTHING"
                ),
            ] {
                let query = sqlx::query(sqlx::AssertSqlSafe(query)).persistent(false);
                query.execute(self.conn()).await?;
            }
        }
        Ok(())
    }

    /// The candidates of the sources of some builds.
    async fn pool_list_candidates(
        &mut self,
        builds: &[BuildId],
        candidates: PoolCandidates,
    ) -> Result<Vec<SourceCandidates>> {
        let ids = numbers(builds.iter().copied());
        let of = match candidates {
            PoolCandidates::Present => format!(
                "SELECT i.source, i.build, MAX(i.superseded) AS superseded FROM builds b
                 JOIN pool_packages i ON i.target = b.target AND i.source = b.package
                 WHERE b.id IN ({ids}) GROUP BY i.source, i.build"
            ),
            // As if all had left: those that stay are put back.
            PoolCandidates::History => format!(
                "SELECT DISTINCT e.package AS source, e.id AS build, 1 AS superseded FROM builds b
                 JOIN builds e ON e.target = b.target AND e.package = b.package
                 JOIN packages p ON p.build = e.id
                 WHERE b.id IN ({ids}) AND p.nevra NOT LIKE '%src'"
            ),
        };
        self.pool_list_candidates_of(&of, None).await
    }

    /// The builds that a query names, by their sources; `$1` is the target.
    async fn pool_list_candidates_of(
        &mut self,
        of: &str,
        target: Option<&str>,
    ) -> Result<Vec<SourceCandidates>> {
        let query = sqlx::AssertSqlSafe(format!(
            "SELECT c.source, c.build, CAST(c.superseded AS BIGINT), COALESCE(s.nevra, ''),
             COALESCE(o.build, 0), COALESCE(a.arch, ''), COALESCE(l.channel, ''),
             COALESCE((SELECT MAX(w.withdrawal) FROM withdrawn_packages w
                       WHERE w.build = c.build), 0)
             FROM ({of}) c LEFT JOIN srpms s ON s.build = c.build
             LEFT JOIN open_builds o ON o.build = c.build
             LEFT JOIN build_arches a ON a.build = c.build
             LEFT JOIN publications l ON l.build = c.build"
        ));
        let query = sqlx::query_as(query).persistent(false);
        let query = match target {
            Some(target) => query.bind(target),
            None => query,
        };
        let rows: Vec<CandidateRow> = query.fetch_all(self.conn()).await?;
        let mut by_source = BTreeMap::<String, SourceCandidates>::new();
        for row in rows {
            by_source.entry(row.0.clone()).or_default().add(row)?;
        }
        Ok(by_source.into_values().collect())
    }

    /// Records for builds whether they alone would keep their packages in the pools.
    async fn pool_set_superseded(&mut self, builds: &[BuildId], is_superseded: bool) -> Result<()> {
        for builds in builds.chunks(AT_ONCE) {
            let ids = numbers(builds.iter().copied());
            let query = sqlx::AssertSqlSafe(format!(
                "UPDATE pool_packages SET superseded = $1 WHERE build IN ({ids})"
            ));
            let query = sqlx::query(query).persistent(false).bind(i64::from(is_superseded));
            query.execute(self.conn()).await?;
        }
        Ok(())
    }

    /// Takes out of the pools what no build and no lock of an open batch keeps there.
    async fn pool_drop_superseded(&mut self, target: &str) -> Result<()> {
        for query in [
            format!(
                "INSERT INTO pool_changes (target, version, nevra)
                 SELECT DISTINCT s.target, s.version, pool_packages.nevra FROM pool_packages
                 JOIN pool_states s ON s.target = pool_packages.target
                 WHERE pool_packages.target = $1 AND pool_packages.superseded = 1
                 AND {UNHELD} ON CONFLICT DO NOTHING"
            ),
            format!(
                "DELETE FROM pool_packages WHERE pool_packages.target = $1
                 AND pool_packages.superseded = 1 AND {UNHELD}"
            ),
        ] {
            let query = sqlx::query(sqlx::AssertSqlSafe(query)).bind(target);
            query.execute(self.conn()).await?;
        }
        Ok(())
    }

    /// Rebuilds the pools of a target, as [`Store::pool_rebuild`].
    async fn pool_rebuild(&mut self, target: &str) -> Result<()> {
        let changes = self.pool_lock(target).await?;
        let query = "SELECT seen FROM pool_states WHERE target = $1";
        let seen: Option<i64> =
            sqlx::query_scalar(query).bind(target).fetch_optional(self.conn()).await?;
        if seen == Some(changes) {
            // Another transaction was faster.
            return Ok(());
        }
        tracing::info!(target, "the content of the solver pools is read from all packages");
        for query in [
            "DELETE FROM pool_packages WHERE target = $1",
            "DELETE FROM pool_changes WHERE target = $1",
        ] {
            sqlx::query(query).bind(target).execute(self.conn()).await?;
        }
        let query = "INSERT INTO pool_states (target, version, since, seen) VALUES ($1, 1, 1, $2)
                     ON CONFLICT (target) DO UPDATE SET version = pool_states.version + 1,
                     since = pool_states.version + 1, seen = excluded.seen";
        sqlx::query(query).bind(target).bind(changes).execute(self.conn()).await?;
        let of = "SELECT DISTINCT b.package AS source, b.id AS build, 0 AS superseded
                  FROM packages p JOIN builds b ON b.id = p.build
                  WHERE p.target = $1 AND p.nevra NOT LIKE '%src'";
        let mut all = Vec::new();
        for source in self.pool_list_candidates_of(of, Some(target)).await? {
            let builds: Vec<PoolBuild> = source.builds.into_values().collect();
            all.extend(staying(&builds));
        }
        self.pool_put(&all).await?;
        self.pool_put_held(target).await
    }

    /// Puts what locks of open batches name into the pools, where nothing else keeps it there.
    async fn pool_put_held(&mut self, target: &str) -> Result<()> {
        sqlx::query(
            "INSERT INTO pool_packages (target, nevra, build, source, superseded)
             SELECT DISTINCT p.target, p.nevra, b.id, b.package, 1 FROM pool_holds h
             JOIN packages p ON p.target = h.target AND p.nevra = h.nevra
             JOIN builds b ON b.id = p.build WHERE h.target = $1 ON CONFLICT DO NOTHING",
        )
        .bind(target)
        .execute(self.conn())
        .await?;
        Ok(())
    }
}

impl SourceCandidates {
    /// Adds a row: a build is in one for each architecture and channel.
    fn add(&mut self, row: CandidateRow) -> Result<()> {
        let (_, build, superseded, srpm, open, arch, channel, withdrawal) = row;
        let build = BuildId(build);
        if superseded != 0 {
            self.superseded.insert(build);
        }
        let evr = match srpm.as_str() {
            // Without a source package nothing is known to be older.
            "" => Evr::new(0, "", ""),
            nevra => parsed::<Nevra>("srpms", "a NEVRA", nevra)?.evr,
        };
        let one = self.builds.entry(build).or_insert_with(|| PoolBuild {
            build,
            evr,
            arches: BTreeSet::new(),
            is_open: open != 0,
            is_partial: withdrawal != 0,
            channels: BTreeSet::new(),
        });
        if !arch.is_empty() {
            one.arches.insert(parsed("build_arches", "an architecture", &arch)?);
        }
        if !channel.is_empty() {
            one.channels.insert(channel);
        }
        Ok(())
    }
}
