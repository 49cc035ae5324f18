//! Withdrawn packages, and the builds that were made with them.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use rpmfarm_core::{AttemptId, BuildId, Nevra, Sha256, TaskId, Timestamp};
use sqlx::FromRow;
use sqlx::any::AnyRow;

use super::columns::Columns;
use super::lists::{self, numbers, rows};
use super::pool_packages::PoolCandidates;
use super::transaction_retry::again;
use super::{NewLock, Result, Store, StoreError, Tx, parsed};

/// A withdrawal, with everything that follows from it in the same transaction.
#[derive(Debug, Clone, Copy)]
pub struct Withdrawal<'a> {
    pub target: &'a str,
    pub packages: &'a [Nevra],
    /// Tasks whose roots contain one of the packages, with their builds. They are solved again, as
    /// long as nothing was accepted of them.
    pub roots: &'a [(BuildId, TaskId)],
    /// The builds that were made with the packages.
    pub impacts: &'a [ImpactRow],
    pub who: &'a str,
    pub reason: &'a str,
}

/// A build that was made with a withdrawn package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImpactRow {
    pub build: BuildId,
    pub nevra: Nevra,
    pub digest: Sha256,
    /// The build whose packages it was made with; `None` for the withdrawn package itself.
    pub through: Option<BuildId>,
}

/// A withdrawn package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WithdrawnPackage {
    pub nevra: Nevra,
    /// The build that made it.
    pub build: BuildId,
    pub digest: Sha256,
    /// Its size in bytes.
    pub size: u64,
    pub who: String,
    pub reason: String,
    pub at: Timestamp,
}

/// A package that was restored and is not in its channel yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReturningPackage {
    pub nevra: Nevra,
    /// The build that made it.
    pub build: BuildId,
}

/// A root of the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootRow {
    pub build: BuildId,
    pub package: String,
    pub task: TaskId,
    /// SHA-256 of the lock, by which the blob store has it.
    pub lock: Sha256,
    /// Whether the task that was built in it is accepted.
    pub accepted: bool,
}

const WITHDRAWN: &str = "SELECT p.nevra, p.build, p.digest, p.size, w.who, w.reason, w.at_us
    FROM withdrawn_packages p JOIN withdrawals w
    ON w.id = p.withdrawal AND w.target = p.target AND w.nevra = p.nevra";

impl FromRow<'_, AnyRow> for WithdrawnPackage {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        let row = Columns::of("withdrawn_packages", row);
        Ok(Self {
            nevra: row.parsed("nevra", "a NEVRA")?,
            build: row.id("build")?,
            digest: row.parsed("digest", "a digest")?,
            size: row.size("size")?,
            who: row.string("who")?,
            reason: row.string("reason")?,
            at: row.time("at_us")?,
        })
    }
}

impl FromRow<'_, AnyRow> for ReturningPackage {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        let row = Columns::of("returning_packages", row);
        let nevra = row.parsed("nevra", "a NEVRA")?;
        Ok(Self { nevra, build: row.id("build")? })
    }
}

impl FromRow<'_, AnyRow> for RootRow {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        let row = Columns::of("locks", row);
        Ok(Self {
            build: row.id("build")?,
            package: row.string("package")?,
            task: row.id("task")?,
            lock: row.parsed("digest", "a digest")?,
            accepted: row.flag("accepted")?,
        })
    }
}

impl Store {
    /// Withdraws packages. Those that the target does not have are skipped; returns the others.
    /// Their builds that have not ended are cancelled.
    pub async fn withdrawal_insert(
        &self,
        what: &Withdrawal<'_>,
        now: Timestamp,
    ) -> Result<Vec<Nevra>> {
        again(|| async move {
            let mut tx = self.write().await?;
            let gone = tx.withdrawal_insert(what, now).await?;
            tx.commit().await?;
            Ok(gone)
        })
        .await
    }

    /// Restores the withdrawn packages of a build, or one of them.
    ///
    /// # Errors
    /// [`StoreError::SameNevra`] when another package has such a name now; database errors.
    pub async fn withdrawal_restore(
        &self,
        packages: &[WithdrawnPackage],
        target: &str,
        (who, reason): (&str, &str),
        now: Timestamp,
    ) -> Result<()> {
        again(|| async move {
            let mut tx = self.write().await?;
            tx.withdrawal_restore(packages, target, (who, reason), now).await?;
            tx.commit().await
        })
        .await
    }

    /// The withdrawn packages of these builds.
    pub async fn withdrawal_list_of_builds(
        &self,
        builds: &[BuildId],
    ) -> Result<Vec<WithdrawnPackage>> {
        let ids = numbers(builds.iter().copied());
        let query = format!("{WITHDRAWN} WHERE p.build IN ({ids}) ORDER BY p.nevra");
        Ok(rows!(self, WithdrawnPackage, query))
    }

    /// The withdrawn packages of a target with this NEVRA.
    pub async fn withdrawal_list(
        &self,
        target: &str,
        nevra: &Nevra,
    ) -> Result<Vec<WithdrawnPackage>> {
        let query = format!("{WITHDRAWN} WHERE p.target = $1 AND p.nevra = $2");
        let query = sqlx::query_as(sqlx::AssertSqlSafe(query)).bind(target).bind(nevra.to_string());
        Ok(query.fetch_all(self.read_pool()).await?)
    }

    /// All withdrawn packages of a target: NEVRAs, each with that of its source package.
    pub async fn withdrawal_list_names(&self, target: &str) -> Result<HashSet<(Nevra, Nevra)>> {
        let query = "SELECT p.nevra, s.nevra FROM withdrawn_packages p
                     JOIN srpms s ON s.build = p.build WHERE p.target = $1";
        let rows: Vec<(String, String)> =
            sqlx::query_as(query).bind(target).fetch_all(self.read_pool()).await?;
        let pair = |(nevra, source): (String, String)| {
            let nevra = parsed("withdrawn_packages", "a NEVRA", &nevra)?;
            Ok((nevra, parsed("srpms", "a NEVRA", &source)?))
        };
        rows.into_iter().map(pair).collect()
    }

    /// Packages of a target that were restored and are not in its channel yet.
    pub async fn returning_list(&self, target: &str) -> Result<Vec<ReturningPackage>> {
        let query = "SELECT nevra, build FROM returning_packages WHERE target = $1 ORDER BY nevra";
        Ok(sqlx::query_as(query).bind(target).fetch_all(self.read_pool()).await?)
    }

    /// Records that the channel of a target was published up to this withdrawal or restoration.
    pub async fn pool_set_shown(&self, target: &str, withdrawn: i64) -> Result<()> {
        again(|| async move {
            let mut tx = self.write().await?;
            for query in [
                "UPDATE pools SET shown = $2 WHERE target = $1 AND shown < $2",
                "DELETE FROM returning_packages WHERE target = $1 AND change <= $2",
            ] {
                sqlx::query(query).bind(target).bind(withdrawn).execute(tx.conn()).await?;
            }
            tx.commit_without_wake().await
        })
        .await
    }

    /// The packages that a build was the first to make.
    pub async fn package_list_own(&self, build: BuildId) -> Result<Vec<Nevra>> {
        let query = "SELECT nevra FROM packages WHERE build = $1 ORDER BY nevra";
        let rows: Vec<String> =
            sqlx::query_scalar(query).bind(build.0).fetch_all(self.read_pool()).await?;
        rows.iter().map(|nevra| parsed("packages", "a NEVRA", nevra)).collect()
    }

    /// All roots of a target, newest first: for each task the valid one.
    pub async fn root_list(&self, target: &str) -> Result<Vec<RootRow>> {
        let query = "SELECT b.id AS build, b.package, t.id AS task, l.digest,
                     (SELECT COUNT(*) FROM acceptances a WHERE a.task = t.id) AS accepted
                     FROM builds b JOIN tasks t ON t.build = b.id JOIN locks l ON l.task = t.id
                     WHERE b.target = $1 AND l.round =
                         (SELECT MAX(n.round) FROM locks n WHERE n.task = t.id)
                     AND NOT EXISTS (SELECT 1 FROM postponements p
                                     WHERE p.task = l.task AND p.round >= l.round)
                     AND (EXISTS (SELECT 1 FROM acceptances a WHERE a.task = t.id)
                          OR EXISTS (SELECT 1 FROM open_builds o WHERE o.build = b.id))
                     ORDER BY t.id DESC";
        Ok(sqlx::query_as(query).bind(target).fetch_all(self.read_pool()).await?)
    }

    /// The digests and names of the packages of each build of a target, withdrawn or not.
    pub async fn package_list_digests(
        &self,
        target: &str,
    ) -> Result<BTreeMap<BuildId, BTreeMap<Sha256, Nevra>>> {
        let query = "SELECT build, digest, nevra FROM packages WHERE target = $1
                     UNION ALL
                     SELECT build, digest, nevra FROM withdrawn_packages WHERE target = $1";
        let rows: Vec<(i64, String, String)> =
            sqlx::query_as(query).bind(target).fetch_all(self.read_pool()).await?;
        let mut all = BTreeMap::<BuildId, BTreeMap<Sha256, Nevra>>::new();
        for (build, digest, nevra) in rows {
            let digest = parsed("packages", "a digest", &digest)?;
            let nevra = parsed("packages", "a NEVRA", &nevra)?;
            all.entry(BuildId(build)).or_default().insert(digest, nevra);
        }
        Ok(all)
    }

    /// Records builds as made with withdrawn packages.
    pub async fn impact_insert(&self, target: &str, impacts: &[ImpactRow]) -> Result<()> {
        again(|| async move {
            let mut tx = self.write().await?;
            tx.impact_insert(target, impacts).await?;
            tx.commit().await
        })
        .await
    }

    /// Records the lock of a round. False, and nothing recorded, when one of the farm's packages in
    /// it is no longer a package of the target.
    pub async fn lock_insert_if_current(&self, lock: NewLock<'_>, now: Timestamp) -> Result<bool> {
        let NewLock { task, round, digest, target, own, urgency } = lock;
        again(|| async move {
            let mut tx = self.write().await?;
            let build: Option<i64> = sqlx::query_scalar("SELECT build FROM tasks WHERE id = $1")
                .bind(task.0)
                .fetch_optional(tx.conn())
                .await?;
            // The build's row is locked before all others, as in every transaction.
            if let Some(build) = build {
                tx.build_lock_open(BuildId(build)).await?;
            }
            if !own.is_empty() {
                tx.pool_lock(target).await?;
                if !tx.package_all_exist(target, own).await? {
                    return Ok(false);
                }
            }
            if let Some(urgency) = urgency {
                tx.task_set_urgency(task, urgency).await?;
            }
            tx.lock_insert(task, round, digest, now).await?;
            if let Some(build) = build.filter(|_| !own.is_empty()) {
                tx.pool_hold(target, BuildId(build), own).await?;
            }
            tx.commit().await?;
            Ok(true)
        })
        .await
    }
}

impl Tx {
    /// Whether a target has packages with all of these digests.
    async fn package_all_exist(&mut self, target: &str, digests: &[Sha256]) -> Result<bool> {
        let wanted: BTreeSet<Sha256> = digests.iter().copied().collect();
        let list = lists::digests(&wanted);
        // Found by digest: SQLite would take all packages of the target for fewer.
        let query = sqlx::AssertSqlSafe(format!(
            "SELECT COUNT(DISTINCT digest) FROM packages
             WHERE target || '' = $1 AND digest IN ({list})"
        ));
        let query = sqlx::query_scalar(query).persistent(false).bind(target);
        let count: i64 = query.fetch_one(self.conn()).await?;
        Ok(usize::try_from(count).is_ok_and(|count| count == wanted.len()))
    }

    /// Withdraws packages, as [`Store::withdrawal_insert`].
    pub async fn withdrawal_insert(
        &mut self,
        what: &Withdrawal<'_>,
        now: Timestamp,
    ) -> Result<Vec<Nevra>> {
        let Withdrawal { target, packages, roots, impacts, who, reason } = *what;
        // Rows of builds are locked first, and in their order.
        let mut builds: BTreeSet<BuildId> = roots.iter().map(|(build, _)| *build).collect();
        let mut makers = BTreeSet::new();
        for nevra in packages {
            makers.extend(self.package_fetch_maker(target, nevra).await?);
        }
        builds.extend(&makers);
        for build in &builds {
            self.build_lock_open(*build).await?;
        }
        for build in &makers {
            self.build_cancel(*build, now).await?;
        }
        for (build, task) in roots {
            self.root_forget(*build, *task, now).await?;
        }
        self.pool_lock(target).await?;
        let id = self.next_id("withdrawal").await?;
        let mut gone = Vec::new();
        for nevra in packages {
            if self.package_move_to_withdrawn(target, nevra, id).await? {
                let decision = ("withdraw", who, reason);
                self.withdrawal_insert_row(id, (target, nevra), decision, now).await?;
                gone.push(nevra.clone());
            }
        }
        if !gone.is_empty() {
            self.pool_raise_withdrawn(target, gone.len()).await?;
            let makers: Vec<BuildId> = makers.into_iter().collect();
            self.pool_resettle(target, &makers, gone.len()).await?;
        }
        self.impact_insert(target, impacts).await?;
        Ok(gone)
    }

    async fn package_fetch_maker(
        &mut self,
        target: &str,
        nevra: &Nevra,
    ) -> Result<Option<BuildId>> {
        let query = "SELECT build FROM packages WHERE target = $1 AND nevra = $2";
        let build: Option<i64> = sqlx::query_scalar(query)
            .bind(target)
            .bind(nevra.to_string())
            .fetch_optional(self.conn())
            .await?;
        Ok(build.map(BuildId))
    }

    /// Forgets the locks of a task, so that it is solved again, and takes its attempt from the
    /// worker; not when something of the task is accepted.
    async fn root_forget(&mut self, build: BuildId, task: TaskId, now: Timestamp) -> Result<()> {
        let query = "SELECT (SELECT COUNT(*) FROM acceptances WHERE task = $1)
                     + (SELECT COUNT(*) FROM attempts a JOIN attempt_ends e ON e.attempt = a.id
                        WHERE a.task = $1 AND e.outcome = 'succeeded')";
        let made: i64 = sqlx::query_scalar(query).bind(task.0).fetch_one(self.conn()).await?;
        if made > 0 {
            return Ok(());
        }
        let query = "DELETE FROM live_attempts WHERE task = $1 RETURNING attempt";
        let live: Option<i64> =
            sqlx::query_scalar(query).bind(task.0).fetch_optional(self.conn()).await?;
        if let Some(attempt) = live {
            self.attempt_end_insert(AttemptId(attempt), "cancelled", "null", now).await?;
        }
        sqlx::query("DELETE FROM locks WHERE task = $1").bind(task.0).execute(self.conn()).await?;
        self.batch_note_changed(build);
        self.reindex(build, now).await
    }

    async fn package_move_to_withdrawn(
        &mut self,
        target: &str,
        nevra: &Nevra,
        id: i64,
    ) -> Result<bool> {
        let moved = sqlx::query(
            "INSERT INTO withdrawn_packages
             (target, nevra, build, task, arch, digest, size, repodata, withdrawal)
             SELECT target, nevra, build, task, arch, digest, size, repodata, $3 FROM packages
             WHERE target = $1 AND nevra = $2 ON CONFLICT DO NOTHING",
        )
        .bind(target)
        .bind(nevra.to_string())
        .bind(id)
        .execute(self.conn())
        .await?;
        sqlx::query("DELETE FROM packages WHERE target = $1 AND nevra = $2")
            .bind(target)
            .bind(nevra.to_string())
            .execute(self.conn())
            .await?;
        self.pool_remove(target, nevra).await?;
        Ok(moved.rows_affected() > 0)
    }

    /// Brings the solver's pools up to date after so many packages of builds were withdrawn or
    /// restored.
    async fn pool_resettle(&mut self, target: &str, builds: &[BuildId], by: usize) -> Result<()> {
        let by = i64::try_from(by).unwrap_or(i64::MAX);
        self.pool_settle(target, builds, by, PoolCandidates::History).await
    }

    async fn withdrawal_insert_row(
        &mut self,
        id: i64,
        (target, nevra): (&str, &Nevra),
        (word, who, reason): (&str, &str, &str),
        now: Timestamp,
    ) -> Result<()> {
        let from = if word == "withdraw" { "withdrawn_packages" } else { "packages" };
        let query = sqlx::AssertSqlSafe(format!(
            "INSERT INTO withdrawals (id, target, nevra, build, word, who, reason, at_us)
             SELECT $1, target, nevra, MAX(build), $4, $5, $6, $7 FROM {from}
             WHERE target = $2 AND nevra = $3 GROUP BY target, nevra"
        ));
        sqlx::query(query)
            .bind(id)
            .bind(target)
            .bind(nevra.to_string())
            .bind(word)
            .bind(who)
            .bind(reason)
            .bind(now.as_us())
            .execute(self.conn())
            .await?;
        Ok(())
    }

    /// Records that packages were withdrawn or restored since the channel was published.
    async fn pool_raise_withdrawn(&mut self, target: &str, by: usize) -> Result<i64> {
        let changes = self.pool_raise(target, i64::try_from(by).unwrap_or(i64::MAX)).await?;
        sqlx::query("UPDATE pools SET withdrawn = changes WHERE target = $1")
            .bind(target)
            .execute(self.conn())
            .await?;
        Ok(changes)
    }

    async fn impact_insert(&mut self, target: &str, impacts: &[ImpactRow]) -> Result<()> {
        for ImpactRow { build, nevra, digest, through } in impacts {
            self.build_note_changed(*build);
            sqlx::query(
                "INSERT INTO impacts (build, target, nevra, digest, through)
                 VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
            )
            .bind(build.0)
            .bind(target)
            .bind(nevra.to_string())
            .bind(digest.hex())
            .bind(through.map_or(0, |build| build.0))
            .execute(self.conn())
            .await?;
        }
        Ok(())
    }

    async fn withdrawal_restore(
        &mut self,
        packages: &[WithdrawnPackage],
        target: &str,
        (who, reason): (&str, &str),
        now: Timestamp,
    ) -> Result<()> {
        self.pool_lock(target).await?;
        let id = self.next_id("withdrawal").await?;
        for package in packages {
            let WithdrawnPackage { nevra, digest, .. } = package;
            let moved = sqlx::query(
                "INSERT INTO packages (target, nevra, build, task, arch, digest, size, repodata)
                 SELECT target, nevra, build, task, arch, digest, size, repodata
                 FROM withdrawn_packages WHERE target = $1 AND nevra = $2 AND digest = $3
                 ON CONFLICT DO NOTHING",
            )
            .bind(target)
            .bind(nevra.to_string())
            .bind(digest.hex())
            .execute(self.conn())
            .await?;
            if moved.rows_affected() == 0 {
                return Err(self.package_error_withdrawn(target, nevra, *digest).await?);
            }
            for query in [
                "DELETE FROM withdrawn_packages WHERE target = $1 AND nevra = $2 AND digest = $3",
                "DELETE FROM impacts WHERE target = $1 AND nevra = $2 AND digest = $3",
            ] {
                sqlx::query(query)
                    .bind(target)
                    .bind(nevra.to_string())
                    .bind(digest.hex())
                    .execute(self.conn())
                    .await?;
            }
            self.withdrawal_insert_row(id, (target, nevra), ("restore", who, reason), now).await?;
        }
        let change = self.pool_raise_withdrawn(target, packages.len()).await?;
        let builds: BTreeSet<BuildId> = packages.iter().map(|package| package.build).collect();
        let builds: Vec<BuildId> = builds.into_iter().collect();
        self.pool_resettle(target, &builds, packages.len()).await?;
        for WithdrawnPackage { nevra, build, .. } in packages {
            sqlx::query(
                "INSERT INTO returning_packages (target, nevra, build, change)
                 SELECT $1, $2, $3, $4 WHERE EXISTS
                     (SELECT 1 FROM publications p WHERE p.build = $3)
                 ON CONFLICT (target, nevra) DO UPDATE SET change = excluded.change",
            )
            .bind(target)
            .bind(nevra.to_string())
            .bind(build.0)
            .bind(change)
            .execute(self.conn())
            .await?;
        }
        Ok(())
    }

    async fn package_error_withdrawn(
        &mut self,
        target: &str,
        nevra: &Nevra,
        new: Sha256,
    ) -> Result<StoreError> {
        let query = "SELECT build, digest FROM packages WHERE target = $1 AND nevra = $2";
        let (build, existing): (i64, String) = sqlx::query_as(query)
            .bind(target)
            .bind(nevra.to_string())
            .fetch_one(self.conn())
            .await?;
        let (nevra, target, new) = (nevra.to_string(), target.to_owned(), new.hex());
        let build = BuildId(build);
        Ok(StoreError::SameNevra { nevra, target, build, existing, new })
    }
}
