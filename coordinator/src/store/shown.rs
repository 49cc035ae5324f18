//! Everything that the store holds of some builds, read at once to be shown.
//!
//! Owns that a page of a list costs as many queries as a single build: each kind of fact is read
//! by one query for all of them. What the facts mean is the API's to say.

use std::collections::HashMap;

use rpmfarm_core::lacking::LackingPackage;
use rpmfarm_core::owners::Claim;
use rpmfarm_core::terms::AllTerms;
use rpmfarm_core::{Arch, AttemptId, BuildId, BuildOptions, Evr, Nevra, TaskId};

use super::attempts::{AttemptRow, WITH_END};
use super::builds::COLUMNS;
use super::lists::{list, rows};
use super::{
    Attempt, AttemptEnd, Build, Decision, FailureRow, Import, LateResult, LockRow, Publication,
    Result, Store, TakenRow, Task, WithdrawnPackage, parsed, unjson,
};

/// The facts of a build, but for its packages ([`Store::packages_of_each`]).
#[derive(Debug, Clone, Default)]
pub struct ShownBuild {
    /// The architectures that were asked for; none for all of the target's.
    pub arches: Vec<Arch>,
    /// Its sources.
    pub import: Option<Import>,
    /// Its SRPM.
    pub srpm: Option<ShownSrpm>,
    /// Its tasks, in the order in which they were made.
    pub tasks: Vec<ShownTask>,
    /// Where it was published first.
    pub publication: Option<Publication>,
    /// What failed since it was last retried, oldest first.
    pub failures: Vec<FailureRow>,
    /// When it was last cancelled; 0 when never.
    pub cancelled_us: i64,
    /// When it was last retried by a call; 0 when never.
    pub retried_us: i64,
    /// Whether it has not ended.
    pub open: bool,
    /// The CVE ids that its sources fix.
    pub cves: Vec<String>,
    /// What was noted of its sources.
    pub source_notes: Vec<String>,
    /// What was noted of the build.
    pub notes: Vec<String>,
    /// What its packages lack in their channels.
    pub lacking: Vec<LackingPackage>,
    /// What else was asked for.
    pub options: BuildOptions,
    /// How many files of failed attempts were kept.
    pub kept_files: u32,
    /// What it makes that others own.
    pub claims: Vec<Claim>,
    /// What was said of that, oldest first.
    pub decisions: Vec<Decision>,
    /// Packages that were taken back.
    pub withdrawn: Vec<WithdrawnPackage>,
    /// Packages that it was made with and that were taken back, each with the build whose packages it
    /// was made with, if it was not the package itself.
    pub impacts: Vec<(Nevra, Option<BuildId>)>,
    /// What its roots took from the farm.
    pub taken: Vec<TakenPackage>,
}

/// A package that a root took from the farm.
#[derive(Debug, Clone)]
pub struct TakenPackage {
    /// The package, and what would have been taken without it.
    pub row: TakenRow,
    /// The build that made it; 0 when that is not known any more.
    pub build: i64,
}

impl ShownBuild {
    /// Whether a person has to decide.
    #[must_use]
    pub fn is_claimed(&self) -> bool {
        !self.claims.is_empty() && self.decisions.iter().all(|one| one.word != "approved")
    }
}

/// What is shown of an SRPM.
#[derive(Debug, Clone)]
pub struct ShownSrpm {
    /// Its name.
    pub nevra: Nevra,
    /// What it says of architectures.
    pub terms: AllTerms,
}

/// The facts of a task.
#[derive(Debug, Clone)]
pub struct ShownTask {
    /// The task.
    pub task: Task,
    /// Its newest lock.
    pub lock: Option<LockRow>,
    /// Its attempts with their ends, oldest first.
    pub attempts: Vec<(Attempt, Option<AttemptEnd>)>,
    /// The attempt that was accepted, how many milliseconds rpmbuild ran in it, and when.
    pub acceptance: Option<(AttemptId, u64, i64)>,
    /// Results that came too late.
    pub late: Vec<LateResult>,
}

/// A version that a channel got: target, channel, package, the build that brought it, and what it
/// is.
pub type PublishedEvr = (String, String, String, BuildId, Evr);

/// The facts of builds, by their numbers.
type ShownBuilds = HashMap<BuildId, ShownBuild>;

fn of(all: &mut ShownBuilds, build: i64) -> &mut ShownBuild {
    all.entry(BuildId(build)).or_default()
}

impl Store {
    /// Builds by their numbers, newest first; those that are not there are left out.
    pub async fn builds_by_id(&self, ids: &[BuildId]) -> Result<Vec<Build>> {
        let ids = list(ids.iter().map(|id| id.0));
        let query =
            format!("SELECT {COLUMNS} FROM builds b WHERE b.id IN ({ids}) ORDER BY b.id DESC");
        Ok(rows!(self, Build, query))
    }

    /// The facts of builds, each that was asked for.
    pub async fn shown(&self, builds: &[BuildId]) -> Result<HashMap<BuildId, ShownBuild>> {
        let ids = list(builds.iter().map(|id| id.0));
        let mut all: ShownBuilds = builds.iter().map(|id| (*id, ShownBuild::default())).collect();
        self.shown_requests(&ids, &mut all).await?;
        self.shown_sources(&ids, &mut all).await?;
        self.shown_results(&ids, &mut all).await?;
        self.shown_failures(&ids, &mut all).await?;
        self.shown_names(&ids, &mut all).await?;
        for withdrawn in self.withdrawn_of(builds).await? {
            all.entry(withdrawn.build).or_default().withdrawn.push(withdrawn);
        }
        for (build, task) in self.shown_tasks(&ids).await? {
            of(&mut all, build).tasks.push(task);
        }
        Ok(all)
    }

    /// Whether builds are open, and what they were asked for with.
    async fn shown_requests(&self, ids: &str, all: &mut ShownBuilds) -> Result<()> {
        let query = format!("SELECT build FROM open_builds WHERE build IN ({ids})");
        for (build,) in rows!(self, (i64,), query) {
            of(all, build).open = true;
        }
        let query =
            format!("SELECT build, arch FROM build_arches WHERE build IN ({ids}) ORDER BY arch");
        for (build, arch) in rows!(self, (i64, String), query) {
            of(all, build).arches.push(parsed("build_arches", "an architecture", &arch)?);
        }
        let query = format!("SELECT build, options FROM build_options WHERE build IN ({ids})");
        for (build, text) in rows!(self, (i64, String), query) {
            of(all, build).options = super::builds::options(&text)?;
        }
        Ok(())
    }

    /// What was imported, and what SRPM was made of it.
    async fn shown_sources(&self, ids: &str, all: &mut ShownBuilds) -> Result<()> {
        let query = format!(
            "SELECT build, url, commit_id, subject, bundle, at_us FROM imports
             WHERE build IN ({ids})"
        );
        for (build, url, commit, subject, bundle, at_us) in
            rows!(self, (i64, String, String, String, String, i64), query)
        {
            let bundle = parsed("imports", "a digest", &bundle)?;
            of(all, build).import = Some(Import { url, commit, subject, bundle, at_us });
        }
        let query = format!("SELECT build, nevra, terms FROM srpms WHERE build IN ({ids})");
        for (build, nevra, terms) in rows!(self, (i64, String, String), query) {
            let nevra = parsed("srpms", "a NEVRA", &nevra)?;
            let terms = unjson("srpms", "terms", &terms)?;
            of(all, build).srpm = Some(ShownSrpm { nevra, terms });
        }
        let query =
            format!("SELECT build, note FROM source_notes WHERE build IN ({ids}) ORDER BY n");
        for (build, note) in rows!(self, (i64, String), query) {
            of(all, build).source_notes.push(note);
        }
        let query = format!("SELECT build, ids FROM build_cves WHERE build IN ({ids})");
        for (build, cves) in rows!(self, (i64, String), query) {
            of(all, build).cves = unjson("build_cves", "a list", &cves)?;
        }
        Ok(())
    }

    /// What builds have made, and where it is published.
    async fn shown_results(&self, ids: &str, all: &mut ShownBuilds) -> Result<()> {
        let query =
            format!("SELECT build, note FROM build_notes WHERE build IN ({ids}) ORDER BY position");
        for (build, note) in rows!(self, (i64, String), query) {
            of(all, build).notes.push(note);
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
            of(all, build).lacking.push(LackingPackage { nevra, arch, requirement });
        }
        let query = format!(
            "SELECT t.build, COUNT(*) FROM tasks t JOIN attempts a ON a.task = t.id
             JOIN kept_files k ON k.attempt = a.id WHERE t.build IN ({ids}) GROUP BY t.build"
        );
        for (build, count) in rows!(self, (i64, i64), query) {
            of(all, build).kept_files = u32::try_from(count).unwrap_or(u32::MAX);
        }
        let query = format!(
            "SELECT build, channel, revision, at_us FROM publications WHERE build IN ({ids})
             ORDER BY at_us DESC"
        );
        // The oldest comes last and stays.
        for row in rows!(self, Publication, query) {
            let build = of(all, row.build.0);
            build.publication = Some(row);
        }
        Ok(())
    }

    /// What has failed since the last retry, and whether builds were cancelled.
    async fn shown_failures(&self, ids: &str, all: &mut ShownBuilds) -> Result<()> {
        for (table, which) in [("cancellations", 0), ("retries", 1)] {
            let query = format!(
                "SELECT build, MAX(at_us) FROM {table} WHERE build IN ({ids}) GROUP BY build"
            );
            for (build, at_us) in rows!(self, (i64, i64), query) {
                let build = of(all, build);
                if which == 0 { build.cancelled_us = at_us } else { build.retried_us = at_us }
            }
        }
        let query = format!(
            "SELECT build, task, failure, at_us, retry_us FROM failures WHERE build IN ({ids})
             ORDER BY at_us"
        );
        for (build, task, failure, at_us, retry_us) in
            rows!(self, (i64, i64, String, i64, i64), query)
        {
            let build = of(all, build);
            if at_us > build.retried_us {
                build.failures.push(FailureRow {
                    task: (task != 0).then_some(TaskId(task)),
                    failure: unjson("failures", "a failure", &failure)?,
                    at_us,
                    retry_us: (retry_us != 0).then_some(retry_us),
                });
            }
        }
        Ok(())
    }

    /// What is known of claims, and of packages that builds were made with.
    async fn shown_names(&self, ids: &str, all: &mut ShownBuilds) -> Result<()> {
        let query = format!(
            "SELECT build, kind, what, package, owners FROM claims WHERE build IN ({ids})
             ORDER BY build, kind, what"
        );
        type Row = (i64, String, String, String, String);
        for (build, kind, what, package, owners) in rows!(self, Row, query) {
            let claim = super::owners::claim((kind, what, package, owners))?;
            of(all, build).claims.push(claim);
        }
        let query = format!(
            "SELECT build, at_us, word, who, reason FROM claim_decisions WHERE build IN ({ids})
             ORDER BY at_us"
        );
        for (build, at_us, word, who, reason) in
            rows!(self, (i64, i64, String, String, String), query)
        {
            let decision = Decision { at_us, word, who, reason };
            of(all, build).decisions.push(decision);
        }
        let query = format!(
            "SELECT build, nevra, through FROM impacts WHERE build IN ({ids}) ORDER BY nevra"
        );
        for (build, nevra, through) in rows!(self, (i64, String, i64), query) {
            let nevra = parsed("impacts", "a NEVRA", &nevra)?;
            let through = (through != 0).then_some(BuildId(through));
            of(all, build).impacts.push((nevra, through));
        }
        let query = format!(
            "SELECT t.build, b.target, k.taken FROM taken_packages k JOIN tasks t ON t.id = k.task
             JOIN builds b ON b.id = t.build WHERE t.build IN ({ids}) ORDER BY t.id"
        );
        for (build, target, taken) in rows!(self, (i64, String, String), query) {
            let taken: Vec<TakenRow> = unjson("taken_packages", "a list", &taken)?;
            for row in taken {
                let shown = of(all, build);
                if shown.taken.iter().any(|known| known.row == row) {
                    continue;
                }
                let build = self.build_of_package(&target, &row.package).await?;
                shown.taken.push(TakenPackage { row, build });
            }
        }
        Ok(())
    }

    async fn build_of_package(&self, target: &str, nevra: &Nevra) -> Result<i64> {
        let query = "SELECT build FROM packages WHERE target = $1 AND nevra = $2
                     UNION ALL
                     SELECT build FROM withdrawn_packages WHERE target = $1 AND nevra = $2";
        let query = sqlx::query_scalar(query).bind(target).bind(nevra.to_string());
        let build: Option<i64> = query.fetch_optional(self.read()).await?;
        Ok(build.unwrap_or(0))
    }

    async fn shown_tasks(&self, builds: &str) -> Result<Vec<(i64, ShownTask)>> {
        let tasks = format!("SELECT id FROM tasks WHERE build IN ({builds})");
        let query = format!(
            "SELECT l.task, l.round, l.digest, l.at_us FROM locks l WHERE l.task IN ({tasks})
             AND NOT EXISTS (SELECT 1 FROM postponements p
                             WHERE p.task = l.task AND p.round >= l.round) ORDER BY l.round"
        );
        let mut locks = HashMap::new();
        for (task, round, digest, at_us) in rows!(self, (i64, i64, String, i64), query) {
            let digest = parsed("locks", "a digest", &digest)?;
            locks.insert(task, LockRow { round: u32::try_from(round).unwrap_or(0), digest, at_us });
        }
        let query = format!(
            "SELECT task, attempt, rpmbuild_ms, at_us FROM acceptances WHERE task IN ({tasks})"
        );
        let mut acceptances = HashMap::new();
        for (task, attempt, ms, at_us) in rows!(self, (i64, i64, i64, i64), query) {
            acceptances.insert(task, (AttemptId(attempt), ms.unsigned_abs(), at_us));
        }
        let query = format!(
            "SELECT {WITH_END} FROM attempts a LEFT JOIN attempt_ends e ON e.attempt = a.id
             WHERE a.task IN ({tasks}) ORDER BY a.epoch"
        );
        let mut attempts = HashMap::<i64, Vec<(Attempt, Option<AttemptEnd>)>>::new();
        for row in rows!(self, AttemptRow, query) {
            let (attempt, end) = row.read()?;
            attempts.entry(attempt.task).or_default().push((attempt, end));
        }
        let query = format!(
            "SELECT a.task, l.attempt, a.worker, l.said, l.at_us
             FROM attempts a JOIN late_results l ON l.attempt = a.id
             WHERE a.task IN ({tasks}) ORDER BY l.attempt"
        );
        let mut late = HashMap::<i64, Vec<LateResult>>::new();
        for (task, attempt, worker, said, at_us) in
            rows!(self, (i64, i64, String, String, i64), query)
        {
            let attempt = AttemptId(attempt);
            late.entry(task).or_default().push(LateResult { attempt, worker, said, at_us });
        }
        let query = format!(
            "SELECT id, build, kind, arch, created_us FROM tasks WHERE build IN ({builds})
             ORDER BY id"
        );
        let mut shown = Vec::new();
        for task in rows!(self, Task, query) {
            let id = task.id.0;
            let shown_task = ShownTask {
                lock: locks.remove(&id),
                attempts: attempts.remove(&id).unwrap_or_default(),
                acceptance: acceptances.remove(&id),
                late: late.remove(&id).unwrap_or_default(),
                task,
            };
            shown.push((shown_task.task.build.0, shown_task));
        }
        Ok(shown)
    }

    /// Every version that was published of the packages of these builds, in their targets.
    pub async fn published_beside(&self, builds: &[BuildId]) -> Result<Vec<PublishedEvr>> {
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

    /// When the last package of each build was signed with a key; those without are left out.
    pub async fn signed_each_us(
        &self,
        builds: &[BuildId],
        key: &str,
    ) -> Result<HashMap<BuildId, i64>> {
        let ids = list(builds.iter().map(|id| id.0));
        let query = sqlx::AssertSqlSafe(format!(
            "SELECT p.build, MAX(s.at_us) FROM packages p JOIN signatures s
             ON s.digest = p.digest AND s.key_name = $1 WHERE p.build IN ({ids}) GROUP BY p.build"
        ));
        let rows: Vec<(i64, i64)> =
            sqlx::query_as(query).persistent(false).bind(key).fetch_all(self.read()).await?;
        Ok(rows.into_iter().map(|(build, at_us)| (BuildId(build), at_us)).collect())
    }
}
