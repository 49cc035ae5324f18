//! The facts as they are in the database, read on a connection of their own: the invariants check
//! them.

use std::collections::{BTreeMap, BTreeSet};

use rpmfarm_core::stage_lease::StageLease;
use rpmfarm_core::status::{BuildFacts, BuildState, LastAttempt, TaskFacts, derive};
use rpmfarm_core::task::TaskKind;
use rpmfarm_core::{AttemptId, BatchId, BuildId, Epoch, StageEpoch, TaskId, Timestamp};
use sqlx::{AnyConnection, Connection as _};
use tokio::runtime::{Builder, Runtime};

rpmfarm_core::words! {
    /// The table of a fact.
    pub enum Table: "table" {
        /// `builds`.
        Builds = "builds",
        /// `batches`.
        Batches = "batches",
        /// `open_builds`.
        OpenBuilds = "open_builds",
        /// `cancellations`.
        Cancellations = "cancellations",
        /// `retries`.
        Retries = "retries",
        /// `failures`.
        Failures = "failures",
        /// `imports`.
        Imports = "imports",
        /// `srpms`.
        Srpms = "srpms",
        /// `tasks`.
        Tasks = "tasks",
        /// `locks`.
        Locks = "locks",
        /// `attempts`.
        Attempts = "attempts",
        /// `live_attempts`.
        LiveAttempts = "live_attempts",
        /// `attempt_ends`.
        AttemptEnds = "attempt_ends",
        /// `acceptances`.
        Acceptances = "acceptances",
        /// `packages`.
        Packages = "packages",
        /// `signatures`.
        Signatures = "signatures",
        /// `revisions`.
        Revisions = "revisions",
        /// `publications`.
        Publications = "publications",
        /// `stage_leases`.
        StageLeases = "stage_leases",
    }
}

rpmfarm_core::words! {
    /// The values of `attempt_ends`.
    pub enum Ended: "end of an attempt" {
        /// Its worker reported success.
        Succeeded = "succeeded",
        /// It failed, or its results were refused.
        Failed = "failed",
        /// It was taken from its worker.
        Cancelled = "cancelled",
    }
}

/// All facts in one query and as one text: the table of each, three numbers and two texts. To take
/// them row by row through the database's thread takes as long as all the rest of a run.
const FACTS: &str = "SELECT json_group_array(json_array(kind, a, b, c, s, t)) FROM (
    SELECT 'builds' AS kind, id AS a, batch AS b, 0 AS c, package AS s, '' AS t FROM builds
    UNION ALL SELECT 'batches', id, paused_us, 0, '', '' FROM batches
    UNION ALL SELECT 'open_builds', build, 0, 0, '', '' FROM open_builds
    UNION ALL SELECT 'cancellations', build, at_us, 0, '', '' FROM cancellations
    UNION ALL SELECT 'retries', build, at_us, 0, '', '' FROM retries
    UNION ALL SELECT 'failures', build, at_us, retry_us, failure, CAST(task AS TEXT) FROM failures
    UNION ALL SELECT 'imports', build, 0, 0, bundle, '' FROM imports
    UNION ALL SELECT 'srpms', build, 0, 0, nevra, digest FROM srpms
    UNION ALL SELECT 'tasks', id, build, 0, kind, arch FROM tasks
    UNION ALL SELECT 'locks', task, round, 0, '', '' FROM locks
    UNION ALL SELECT 'attempts', id, task, epoch, worker, '' FROM attempts
    UNION ALL SELECT 'live_attempts', task, attempt, 0, '', '' FROM live_attempts
    UNION ALL SELECT 'attempt_ends', attempt, 0, 0, outcome, report FROM attempt_ends
    UNION ALL SELECT 'acceptances', task, attempt, 0, '', '' FROM acceptances
    UNION ALL SELECT 'packages', task, build, 0, nevra, digest FROM packages
    UNION ALL SELECT 'signatures', 0, 0, 0, digest, signed_digest FROM signatures
    UNION ALL SELECT 'revisions', revision, packages, 0, snapshot, '' FROM revisions
    UNION ALL SELECT 'publications', build, revision, 0, '', '' FROM publications
    UNION ALL SELECT 'stage_leases', epoch, 0, 0, stage, holder FROM stage_leases)";

type Row<'a> = (&'a str, i64, i64, i64, String, String);

/// A connection that no coordinator uses.
pub(crate) struct FactsReader {
    /// Kept for as long as the connection is open.
    runtime: Runtime,
    connection: AnyConnection,
    /// The facts as they were read last.
    last: String,
}

impl FactsReader {
    /// Connects to an existing database.
    pub(crate) fn open(url: &str) -> Self {
        sqlx::any::install_default_drivers();
        let runtime = Builder::new_current_thread().enable_time().build();
        let runtime = runtime.expect("the system gives a runtime");
        let connection = runtime.block_on(AnyConnection::connect(url));
        Self {
            connection: connection.expect("the database is there"),
            runtime,
            last: String::new(),
        }
    }

    /// The facts as they are now; `None` when they are the same as last time, because a transaction
    /// has written something else.
    pub(crate) fn changed_facts(&mut self) -> Option<Facts> {
        let text = sqlx::query_scalar(FACTS).fetch_one(&mut self.connection);
        let text: String = self.runtime.block_on(text).expect("the database answers");
        if text == self.last {
            return None;
        }
        let rows: Vec<Row<'_>> = serde_json::from_str(&text).expect("the database writes JSON");
        let mut facts = Facts::default();
        for row in rows {
            facts.add(row);
        }
        self.last = text;
        Some(facts)
    }
}

/// A build as it was requested.
#[derive(Debug, Clone, Default)]
pub(crate) struct Build {
    pub(crate) batch: i64,
    pub(crate) package: String,
}

/// A task.
#[derive(Debug, Clone)]
pub(crate) struct Task {
    pub(crate) build: BuildId,
    pub(crate) kind: TaskKind,
    pub(crate) is_locked: bool,
}

/// An attempt.
#[derive(Debug, Clone)]
pub(crate) struct Attempt {
    pub(crate) task: TaskId,
    pub(crate) epoch: Epoch,
    pub(crate) worker: String,
}

/// How an attempt ended, with the report.
pub(crate) type AttemptEnd = (Ended, String);

/// A failure: its time, its text, and the time of the next attempt.
#[derive(Debug, Clone)]
pub(crate) struct FailureRow {
    pub(crate) build: BuildId,
    pub(crate) at: Timestamp,
    pub(crate) retry: Option<Timestamp>,
    pub(crate) failure: String,
}

/// An accepted package.
#[derive(Debug, Clone)]
pub(crate) struct Package {
    pub(crate) task: TaskId,
    pub(crate) digest: String,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub(crate) builds: BTreeMap<BuildId, Build>,
    pub(crate) open: BTreeSet<BuildId>,
    /// The batches of which nothing begins.
    pub(crate) paused: BTreeSet<BatchId>,
    pub(crate) cancelled: BTreeMap<BuildId, Timestamp>,
    /// By build: how often it was retried, and when last.
    pub(crate) retries: BTreeMap<BuildId, (usize, Timestamp)>,
    pub(crate) failures: Vec<FailureRow>,
    /// By build: its bundle.
    pub(crate) imports: BTreeMap<BuildId, String>,
    /// By build: its name and its digest.
    pub(crate) srpms: BTreeMap<BuildId, (String, String)>,
    pub(crate) tasks: BTreeMap<TaskId, Task>,
    /// The locks: task and round.
    pub(crate) locks: BTreeSet<(TaskId, i64)>,
    pub(crate) attempts: BTreeMap<AttemptId, Attempt>,
    /// By task: the attempt that runs.
    pub(crate) live: BTreeMap<TaskId, AttemptId>,
    pub(crate) ends: BTreeMap<AttemptId, AttemptEnd>,
    /// By task: the attempt.
    pub(crate) acceptances: BTreeMap<TaskId, AttemptId>,
    /// By name.
    pub(crate) packages: BTreeMap<String, Package>,
    /// By digest: that of the signed form.
    pub(crate) signatures: BTreeMap<String, String>,
    pub(crate) revisions: BTreeMap<i64, String>,
    pub(crate) publications: BTreeMap<BuildId, i64>,
    pub(crate) leases: BTreeMap<String, StageLease>,
}

impl Facts {
    fn add(&mut self, (kind, a, b, c, s, t): Row<'_>) {
        let table: Table = kind.parse().expect("nothing else is asked for");
        match table {
            Table::Builds => {
                self.builds.insert(BuildId(a), Build { batch: b, package: s });
            }
            Table::Batches => self.paused.extend((b != 0).then_some(BatchId(a))),
            Table::OpenBuilds => self.open.extend([BuildId(a)]),
            Table::Cancellations => {
                let at = self.cancelled.entry(BuildId(a)).or_default();
                *at = (*at).max(Timestamp::from_us(b));
            }
            Table::Retries => {
                let (count, at) = self.retries.entry(BuildId(a)).or_default();
                (*count, *at) = (*count + 1, (*at).max(Timestamp::from_us(b)));
            }
            Table::Failures => {
                let (at, retry) = (Timestamp::from_us(b), Timestamp::from_us(c).known());
                self.failures.push(FailureRow { build: BuildId(a), at, retry, failure: s });
            }
            Table::Imports => self.imports.extend([(BuildId(a), s)]),
            Table::Srpms => self.srpms.extend([(BuildId(a), (s, t))]),
            Table::Tasks => {
                let kind = s.parse().expect("it is a kind of task");
                let task = Task { build: BuildId(b), kind, is_locked: false };
                self.tasks.insert(TaskId(a), task);
            }
            Table::Locks => {
                self.locks.insert((TaskId(a), b));
                if let Some(task) = self.tasks.get_mut(&TaskId(a)) {
                    task.is_locked = true;
                }
            }
            Table::Attempts => {
                let attempt = Attempt { task: TaskId(b), epoch: Epoch(c), worker: s };
                self.attempts.insert(AttemptId(a), attempt);
            }
            Table::LiveAttempts => self.live.extend([(TaskId(a), AttemptId(b))]),
            Table::AttemptEnds => {
                self.ends.insert(AttemptId(a), (s.parse().expect("it is an end"), t));
            }
            Table::Acceptances => self.acceptances.extend([(TaskId(a), AttemptId(b))]),
            Table::Packages => self.packages.extend([(s, Package { task: TaskId(a), digest: t })]),
            Table::Signatures => self.signatures.extend([(s, t)]),
            Table::Revisions => self.revisions.extend([(a, s)]),
            Table::Publications => self.publications.extend([(BuildId(a), b)]),
            Table::StageLeases => {
                self.leases.insert(s, StageLease { holder: t, epoch: StageEpoch(a) });
            }
        }
    }

    /// The last revision that is recorded; 0 when none is.
    pub(crate) fn revision(&self) -> i64 {
        self.revisions.keys().next_back().copied().unwrap_or(0)
    }

    /// How often a build was retried, and when last.
    pub(crate) fn retried(&self, build: BuildId) -> (usize, Timestamp) {
        self.retries.get(&build).copied().unwrap_or_default()
    }

    /// Whether everything that makes packages of a build is accepted.
    pub(crate) fn is_accepted(&self, build: BuildId) -> bool {
        let is_of =
            |(_, task): &(&TaskId, &Task)| task.build == build && task.kind != TaskKind::Srpm;
        let mut tasks = self.tasks.iter().filter(is_of).peekable();
        tasks.peek().is_some() && tasks.all(|(id, _)| self.acceptances.contains_key(id))
    }

    /// The state of a build, from the same function as everywhere.
    pub(crate) fn state(&self, build: BuildId) -> BuildState {
        let (_, retried) = self.retried(build);
        let of_build = self.tasks.iter().filter(|(_, task)| task.build == build);
        let tasks: Vec<TaskFacts> = of_build
            .filter(|(_, task)| task.kind != TaskKind::Srpm)
            .map(|(id, task)| {
                let accepted = self.acceptances.contains_key(id);
                TaskFacts::new(task.is_locked, self.last(*id), accepted)
            })
            .collect();
        let fails = |one: &&FailureRow| one.build == build && one.at > retried;
        let mut failures = self.failures.iter().filter(fails);
        derive(&BuildFacts {
            cancelled: self.cancelled.get(&build).is_some_and(|at| *at > retried),
            failed: failures.any(|one| one.retry.is_none()) && !self.open.contains(&build),
            imported: self.imports.contains_key(&build),
            srpm: self.srpms.contains_key(&build),
            tasks: &tasks,
            claimed: false,
            // It does not decide whether the build has ended.
            signed: false,
            published: self.publications.contains_key(&build),
        })
    }

    fn last(&self, task: TaskId) -> LastAttempt {
        let last = self.attempts.iter().rev().find(|(_, attempt)| attempt.task == task);
        let Some((id, _)) = last else { return LastAttempt::Missing };
        match self.ends.get(id).map(|(ended, _)| *ended) {
            None => LastAttempt::Running,
            Some(Ended::Succeeded) => LastAttempt::Succeeded,
            Some(Ended::Failed) => LastAttempt::Failed,
            Some(Ended::Cancelled) => LastAttempt::Cancelled,
        }
    }
}
