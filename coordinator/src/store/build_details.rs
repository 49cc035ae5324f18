//! All facts of some builds, read together to be shown.
//!
//! Owns that a page of a list costs as many queries as a single build: each kind of fact is read by
//! one query for all of them. What the facts mean is decided by the API.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use rpmfarm_core::missing_requirements::LackingPackage;
use rpmfarm_core::owners::Claim;
use rpmfarm_core::terms::AllTerms;
use rpmfarm_core::{Arch, AttemptId, BuildId, BuildOptions, Evr, Nevra, TaskId, Timestamp};

use super::attempts::{AttemptRow, WITH_END};
use super::builds::COLUMNS;
use super::lists::{list, rows};
use super::{
    Attempt, AttemptEnd, Build, ClaimDecision, FailureRow, FarmReplacementRow, Import, LateResult,
    LockRow, Publication, Result, Store, Task, WithdrawnPackage, parsed, unjson,
};

/// The facts of a build, but for its packages ([`Store::package_list_of_builds`]).
#[derive(Debug, Clone, Default)]
pub struct BuildDetailRows {
    /// The requested architectures; empty for all of the target's.
    pub arches: Vec<Arch>,
    pub import: Option<Import>,
    pub srpm: Option<SrpmDetailRow>,
    /// Its tasks, in the order in which they were made.
    pub tasks: Vec<TaskDetailRows>,
    /// Where it was published first.
    pub publication: Option<Publication>,
    /// The failures since the last retry, oldest first.
    pub failures: Vec<FailureRow>,
    /// When it was last cancelled; `None` when never.
    pub cancelled_at: Option<Timestamp>,
    /// When it was last retried by a call; `None` when never.
    pub retried_at: Option<Timestamp>,
    /// Whether it has not ended.
    pub open: bool,
    /// Whether it has not ended, and its batch is paused.
    pub paused: bool,
    /// The CVE ids that its sources fix.
    pub cves: Vec<String>,
    /// The notes on its sources.
    pub source_notes: Vec<String>,
    /// The notes on the build.
    pub notes: Vec<String>,
    /// Requirements of its packages that no package of their channels provides.
    pub lacking: Vec<LackingPackage>,
    /// Its packages that are in no repository of a channel, each with the channel.
    pub unplaced: Vec<(Nevra, String)>,
    /// Options of the request, as bconds and macros.
    pub options: BuildOptions,
    /// How many files of failed attempts were kept.
    pub kept_files: u32,
    /// The names of other source packages that the build makes.
    pub claims: Vec<Claim>,
    /// The decisions on its claims, oldest first.
    pub decisions: Vec<ClaimDecision>,
    /// Its withdrawn packages.
    pub withdrawn: Vec<WithdrawnPackage>,
    /// Withdrawn packages that the build was made with, each with the build that passed the package
    /// on; `None` when the package was in the build's own root.
    pub impacts: Vec<(Nevra, Option<BuildId>)>,
    /// The farm's own packages in its roots.
    pub taken: Vec<FarmReplacementDetail>,
}

/// A package of the farm in a root.
#[derive(Debug, Clone)]
pub struct FarmReplacementDetail {
    /// The package, and the one that would have been there without it.
    pub row: FarmReplacementRow,
    /// The build that made the package; `None` when that is unknown.
    pub build: Option<BuildId>,
}

impl BuildDetailRows {
    /// Whether a person has to decide on its claims.
    #[must_use]
    pub fn is_claimed(&self) -> bool {
        !self.claims.is_empty() && self.decisions.iter().all(|one| one.word != "approved")
    }
}

/// The fields of an SRPM that people see.
#[derive(Debug, Clone)]
pub struct SrpmDetailRow {
    pub nevra: Nevra,
    /// ExclusiveArch, ExcludeArch and the rest of its terms.
    pub terms: AllTerms,
}

/// The facts of a task.
#[derive(Debug, Clone)]
pub struct TaskDetailRows {
    pub task: Task,
    /// Its newest lock.
    pub lock: Option<LockRow>,
    /// Its attempts with their ends, oldest first.
    pub attempts: Vec<(Attempt, Option<AttemptEnd>)>,
    /// The accepted attempt, rpmbuild's time in it in milliseconds, and the time of the acceptance.
    pub acceptance: Option<(AttemptId, u64, Timestamp)>,
    /// Results that came too late.
    pub late: Vec<LateResult>,
}

/// A version that was published: target, channel, package, the build that brought it, and the
/// version.
pub type PublishedEvr = (String, String, String, BuildId, Evr);

/// Names in one query.
const NAMES: usize = 500;

/// The facts of builds, by their numbers.
type ShownBuilds = HashMap<BuildId, BuildDetailRows>;

fn rows_of(all: &mut ShownBuilds, build: i64) -> &mut BuildDetailRows {
    all.entry(BuildId(build)).or_default()
}

impl Store {
    /// Builds by their numbers, newest first; unknown ones are left out.
    pub async fn build_list_by_id(&self, ids: &[BuildId]) -> Result<Vec<Build>> {
        let ids = list(ids.iter().map(|id| id.0));
        let query =
            format!("SELECT {COLUMNS} FROM builds b WHERE b.id IN ({ids}) ORDER BY b.id DESC");
        Ok(rows!(self, Build, query))
    }

    /// The facts of builds, by build.
    pub async fn build_list_details(
        &self,
        builds: &[BuildId],
    ) -> Result<HashMap<BuildId, BuildDetailRows>> {
        let ids = list(builds.iter().map(|id| id.0));
        let mut all: ShownBuilds =
            builds.iter().map(|id| (*id, BuildDetailRows::default())).collect();
        self.shown_requests(&ids, &mut all).await?;
        self.shown_sources(&ids, &mut all).await?;
        self.shown_results(&ids, &mut all).await?;
        self.shown_failures(&ids, &mut all).await?;
        self.build_list_detail_names(&ids, &mut all).await?;
        for withdrawn in self.withdrawal_list_of_builds(builds).await? {
            all.entry(withdrawn.build).or_default().withdrawn.push(withdrawn);
        }
        for task in self.task_list_details(&ids).await? {
            all.entry(task.task.build).or_default().tasks.push(task);
        }
        Ok(all)
    }

    /// Reads whether builds are open, and their requests.
    async fn shown_requests(&self, ids: &str, all: &mut ShownBuilds) -> Result<()> {
        let query = format!(
            "SELECT o.build, (SELECT COUNT(*) FROM builds b JOIN batches q ON q.id = b.batch
                              WHERE b.id = o.build AND q.paused_us <> 0)
             FROM open_builds o WHERE o.build IN ({ids})"
        );
        for (build, paused) in rows!(self, (i64, i64), query) {
            let build = rows_of(all, build);
            (build.open, build.paused) = (true, paused != 0);
        }
        let query =
            format!("SELECT build, arch FROM build_arches WHERE build IN ({ids}) ORDER BY arch");
        for (build, arch) in rows!(self, (i64, String), query) {
            rows_of(all, build).arches.push(parsed("build_arches", "an architecture", &arch)?);
        }
        let query = format!("SELECT build, options FROM build_options WHERE build IN ({ids})");
        for (build, text) in rows!(self, (i64, String), query) {
            rows_of(all, build).options = super::builds::options(&text)?;
        }
        Ok(())
    }

    /// Reads the imports and the SRPMs of builds.
    async fn shown_sources(&self, ids: &str, all: &mut ShownBuilds) -> Result<()> {
        let query = format!(
            "SELECT build, url, commit_id, subject, bundle, at_us FROM imports
             WHERE build IN ({ids})"
        );
        for (build, url, commit, subject, bundle, at) in
            rows!(self, (i64, String, String, String, String, i64), query)
        {
            let bundle = parsed("imports", "a digest", &bundle)?;
            let at = Timestamp::from_us(at);
            rows_of(all, build).import = Some(Import { url, commit, subject, bundle, at });
        }
        let query = format!("SELECT build, nevra, terms FROM srpms WHERE build IN ({ids})");
        for (build, nevra, terms) in rows!(self, (i64, String, String), query) {
            let nevra = parsed("srpms", "a NEVRA", &nevra)?;
            let terms = unjson("srpms", "terms", &terms)?;
            rows_of(all, build).srpm = Some(SrpmDetailRow { nevra, terms });
        }
        let query =
            format!("SELECT build, note FROM source_notes WHERE build IN ({ids}) ORDER BY n");
        for (build, note) in rows!(self, (i64, String), query) {
            rows_of(all, build).source_notes.push(note);
        }
        let query = format!("SELECT build, ids FROM build_cves WHERE build IN ({ids})");
        for (build, cves) in rows!(self, (i64, String), query) {
            rows_of(all, build).cves = unjson("build_cves", "a list", &cves)?;
        }
        Ok(())
    }

    /// Reads the packages of builds, and where they are published.
    async fn shown_results(&self, ids: &str, all: &mut ShownBuilds) -> Result<()> {
        let query =
            format!("SELECT build, note FROM build_notes WHERE build IN ({ids}) ORDER BY position");
        for (build, note) in rows!(self, (i64, String), query) {
            rows_of(all, build).notes.push(note);
        }
        let query = format!(
            "SELECT p.build, l.nevra, l.arch, l.requirement FROM packages p
             JOIN lacking_packages l ON l.target = p.target AND l.nevra = p.nevra
             WHERE p.build IN ({ids}) ORDER BY l.nevra, l.arch, l.requirement"
        );
        for (build, nevra, arch, requirement) in rows!(self, (i64, String, String, String), query) {
            let arch = match arch.as_str() {
                "" => None,
                word => Some(parsed("lacking_packages", "an architecture", word)?),
            };
            let nevra = parsed("lacking_packages", "a NEVRA", &nevra)?;
            rows_of(all, build).lacking.push(LackingPackage { nevra, arch, requirement });
        }
        let query = format!(
            "SELECT p.build, u.nevra, u.channel FROM packages p
             JOIN unplaced_packages u ON u.target = p.target AND u.nevra = p.nevra
             WHERE p.build IN ({ids}) ORDER BY u.nevra, u.channel"
        );
        for (build, nevra, channel) in rows!(self, (i64, String, String), query) {
            let nevra = parsed("unplaced_packages", "a NEVRA", &nevra)?;
            rows_of(all, build).unplaced.push((nevra, channel));
        }
        let query = format!(
            "SELECT t.build, COUNT(*) FROM tasks t JOIN attempts a ON a.task = t.id
             JOIN kept_files k ON k.attempt = a.id WHERE t.build IN ({ids}) GROUP BY t.build"
        );
        for (build, count) in rows!(self, (i64, i64), query) {
            rows_of(all, build).kept_files = u32::try_from(count).unwrap_or(u32::MAX);
        }
        let query = format!(
            "SELECT build, channel, revision, at_us FROM publications WHERE build IN ({ids})
             ORDER BY at_us DESC"
        );
        // The oldest comes last and stays.
        for row in rows!(self, Publication, query) {
            let build = rows_of(all, row.build.0);
            build.publication = Some(row);
        }
        Ok(())
    }

    /// Reads the failures since the last retry, and the cancellations.
    async fn shown_failures(&self, ids: &str, all: &mut ShownBuilds) -> Result<()> {
        for (table, which) in [("cancellations", 0), ("retries", 1)] {
            let query = format!(
                "SELECT build, MAX(at_us) FROM {table} WHERE build IN ({ids}) GROUP BY build"
            );
            for (build, at) in rows!(self, (i64, i64), query) {
                let (build, at) = (rows_of(all, build), Some(Timestamp::from_us(at)));
                if which == 0 { build.cancelled_at = at } else { build.retried_at = at }
            }
        }
        let query = format!(
            "SELECT build, task, failure, at_us, retry_us FROM failures WHERE build IN ({ids})
             ORDER BY at_us"
        );
        for (build, task, failure, at, retry) in rows!(self, (i64, i64, String, i64, i64), query) {
            let (build, at) = (rows_of(all, build), Timestamp::from_us(at));
            if Some(at) > build.retried_at {
                build.failures.push(FailureRow {
                    task: (task != 0).then_some(TaskId(task)),
                    failure: unjson("failures", "a failure", &failure)?,
                    at,
                    retry: Timestamp::from_us(retry).known(),
                });
            }
        }
        Ok(())
    }

    /// Reads the claims, the decisions, and the withdrawn packages that builds were made with.
    async fn build_list_detail_names(&self, ids: &str, all: &mut ShownBuilds) -> Result<()> {
        let query = format!(
            "SELECT build, kind, what, package, owners FROM claims WHERE build IN ({ids})
             ORDER BY build, kind, what"
        );
        type Row = (i64, String, String, String, String);
        for (build, kind, what, package, owners) in rows!(self, Row, query) {
            let claim = super::owners::claim((kind, what, package, owners))?;
            rows_of(all, build).claims.push(claim);
        }
        let query = format!(
            "SELECT build, at_us, word, who, reason FROM claim_decisions WHERE build IN ({ids})
             ORDER BY at_us"
        );
        for (build, at, word, who, reason) in rows!(self, (i64, i64, String, String, String), query)
        {
            let decision = ClaimDecision { at: at.into(), word, who, reason };
            rows_of(all, build).decisions.push(decision);
        }
        let query = format!(
            "SELECT build, nevra, through FROM impacts WHERE build IN ({ids}) ORDER BY nevra"
        );
        for (build, nevra, through) in rows!(self, (i64, String, i64), query) {
            let nevra = parsed("impacts", "a NEVRA", &nevra)?;
            let through = (through != 0).then_some(BuildId(through));
            rows_of(all, build).impacts.push((nevra, through));
        }
        let query = format!(
            "SELECT t.build, b.target, k.taken FROM taken_packages k JOIN tasks t ON t.id = k.task
             JOIN builds b ON b.id = t.build WHERE t.build IN ({ids}) ORDER BY t.id"
        );
        let mut taken = Vec::new();
        for (build, target, list) in rows!(self, (i64, String, String), query) {
            let list: Vec<FarmReplacementRow> = unjson("taken_packages", "a list", &list)?;
            taken.extend(list.into_iter().map(|row| (build, target.clone(), row)));
        }
        let makers = self.package_list_makers(&taken).await?;
        for (build, target, row) in taken {
            let shown = rows_of(all, build);
            if shown.taken.iter().all(|known| known.row != row) {
                let build = makers.get(&(target, row.package.to_string())).copied();
                shown.taken.push(FarmReplacementDetail { row, build });
            }
        }
        Ok(())
    }

    /// The builds that made packages, withdrawn ones among them, by target and full name.
    async fn package_list_makers(
        &self,
        taken: &[(i64, String, FarmReplacementRow)],
    ) -> Result<HashMap<(String, String), BuildId>> {
        let mut names = BTreeMap::<&str, BTreeSet<String>>::new();
        for (_, target, row) in taken {
            names.entry(target).or_default().insert(row.package.to_string());
        }
        let mut makers = HashMap::new();
        for (target, names) in names {
            let names: Vec<String> = names.into_iter().collect();
            for some in names.chunks(NAMES) {
                let places: Vec<String> = (2..some.len() + 2).map(|n| format!("${n}")).collect();
                let places = places.join(", ");
                let query = sqlx::AssertSqlSafe(format!(
                    "SELECT nevra, build, 1 AS gone FROM withdrawn_packages
                     WHERE target = $1 AND nevra IN ({places})
                     UNION ALL
                     SELECT nevra, build, 0 FROM packages
                     WHERE target = $1 AND nevra IN ({places}) ORDER BY gone DESC"
                ));
                let mut query = sqlx::query_as(query).persistent(false).bind(target);
                for name in some {
                    query = query.bind(name);
                }
                let rows: Vec<(String, i64)> = query.fetch_all(self.read_pool()).await?;
                // The target's present package comes last and stays.
                let row = |(nevra, build)| ((target.to_owned(), nevra), BuildId(build));
                makers.extend(rows.into_iter().map(row));
            }
        }
        Ok(makers)
    }

    async fn task_list_details(&self, builds: &str) -> Result<Vec<TaskDetailRows>> {
        let tasks = format!("SELECT id FROM tasks WHERE build IN ({builds})");
        let mut locks = self.lock_list_newest(&tasks).await?;
        let mut acceptances = self.acceptance_list(&tasks).await?;
        let mut attempts = self.attempt_list_with_ends(&tasks).await?;
        let mut late = self.late_result_list_of_tasks(&tasks).await?;
        let query = format!(
            "SELECT id, build, kind, arch, created_us FROM tasks WHERE build IN ({builds})
             ORDER BY id"
        );
        let mut shown = Vec::new();
        for task in rows!(self, Task, query) {
            let id = task.id;
            shown.push(TaskDetailRows {
                lock: locks.remove(&id),
                attempts: attempts.remove(&id).unwrap_or_default(),
                acceptance: acceptances.remove(&id),
                late: late.remove(&id).unwrap_or_default(),
                task,
            });
        }
        Ok(shown)
    }

    /// The newest locks of tasks, without those whose attempts were postponed.
    async fn lock_list_newest(&self, tasks: &str) -> Result<HashMap<TaskId, LockRow>> {
        let query = format!(
            "SELECT l.task, l.round, l.digest, l.at_us FROM locks l WHERE l.task IN ({tasks})
             AND NOT EXISTS (SELECT 1 FROM postponements p
                             WHERE p.task = l.task AND p.round >= l.round) ORDER BY l.round"
        );
        let mut locks = HashMap::new();
        for (task, round, digest, at) in rows!(self, (i64, i64, String, i64), query) {
            let digest = parsed("locks", "a digest", &digest)?;
            let (round, at) = (u32::try_from(round).unwrap_or(0), Timestamp::from_us(at));
            locks.insert(TaskId(task), LockRow { round, digest, at });
        }
        Ok(locks)
    }

    /// The accepted attempts of tasks, as in [`TaskDetailRows::acceptance`].
    async fn acceptance_list(
        &self,
        tasks: &str,
    ) -> Result<HashMap<TaskId, (AttemptId, u64, Timestamp)>> {
        let query = format!(
            "SELECT task, attempt, rpmbuild_ms, at_us FROM acceptances WHERE task IN ({tasks})"
        );
        let accepted = |(task, attempt, ms, at): (i64, i64, i64, i64)| {
            let accepted = (AttemptId(attempt), ms.unsigned_abs(), Timestamp::from_us(at));
            (TaskId(task), accepted)
        };
        let found = rows!(self, (i64, i64, i64, i64), query);
        Ok(found.into_iter().map(accepted).collect())
    }

    /// The attempts of tasks with their ends, oldest first.
    async fn attempt_list_with_ends(
        &self,
        tasks: &str,
    ) -> Result<HashMap<TaskId, Vec<(Attempt, Option<AttemptEnd>)>>> {
        let query = format!(
            "SELECT {WITH_END} FROM attempts a LEFT JOIN attempt_ends e ON e.attempt = a.id
             WHERE a.task IN ({tasks}) ORDER BY a.epoch"
        );
        let mut attempts = HashMap::<TaskId, Vec<(Attempt, Option<AttemptEnd>)>>::new();
        for row in rows!(self, AttemptRow, query) {
            let (attempt, end) = row.read()?;
            attempts.entry(attempt.task).or_default().push((attempt, end));
        }
        Ok(attempts)
    }

    /// The results of tasks that came too late.
    async fn late_result_list_of_tasks(
        &self,
        tasks: &str,
    ) -> Result<HashMap<TaskId, Vec<LateResult>>> {
        let query = format!(
            "SELECT a.task, l.attempt, a.worker, l.said, l.at_us
             FROM attempts a JOIN late_results l ON l.attempt = a.id
             WHERE a.task IN ({tasks}) ORDER BY l.attempt"
        );
        let mut late = HashMap::<TaskId, Vec<LateResult>>::new();
        for (task, attempt, worker, said, at) in rows!(self, (i64, i64, String, String, i64), query)
        {
            let (attempt, at) = (AttemptId(attempt), Timestamp::from_us(at));
            late.entry(TaskId(task)).or_default().push(LateResult { attempt, worker, said, at });
        }
        Ok(late)
    }

    /// All published versions of the packages of these builds, in their targets.
    pub async fn channel_list_evrs_of_builds(
        &self,
        builds: &[BuildId],
    ) -> Result<Vec<PublishedEvr>> {
        let ids = list(builds.iter().map(|id| id.0));
        let query = format!(
            "SELECT b.target, p.channel, b.package, b.id, s.nevra
             FROM (SELECT DISTINCT target, package FROM builds WHERE id IN ({ids})) a
             JOIN builds b ON b.target = a.target AND b.package = a.package
             JOIN publications p ON p.build = b.id JOIN srpms s ON s.build = b.id
             WHERE NOT EXISTS (SELECT 1 FROM withdrawn_packages w WHERE w.build = b.id)"
        );
        let row =
            |(target, channel, package, build, nevra): (String, String, String, i64, String)| {
                let nevra: Nevra = parsed("srpms", "a NEVRA", &nevra)?;
                Ok((target, channel, package, BuildId(build), nevra.evr))
            };
        let rows = rows!(self, (String, String, String, i64, String), query);
        rows.into_iter().map(row).collect()
    }

    /// When the last package of each build was signed with a key; builds without signatures are
    /// left out.
    pub async fn build_list_signed_at(
        &self,
        builds: &[BuildId],
        key: &str,
    ) -> Result<HashMap<BuildId, Timestamp>> {
        let ids = list(builds.iter().map(|id| id.0));
        let query = sqlx::AssertSqlSafe(format!(
            "SELECT p.build, MAX(s.at_us) FROM packages p JOIN signatures s
             ON s.digest = p.digest AND s.key_name = $1 WHERE p.build IN ({ids}) GROUP BY p.build"
        ));
        let rows: Vec<(i64, i64)> =
            sqlx::query_as(query).persistent(false).bind(key).fetch_all(self.read_pool()).await?;
        Ok(rows.into_iter().map(|(build, at)| (BuildId(build), at.into())).collect())
    }
}
