//! The order of one batch in memory: its graph, and the facts that were read of its builds.
//!
//! Owns the meaning of facts for the graph: they give the state of each build and task, and only
//! the differences are applied to the graph. So facts may be read twice, or by a coordinator that
//! took over. It must not know where the facts come from, nor how roots are solved.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use rpmfarm_core::batch::{
    BatchGraph, Blockers, Decided, Decision, Lack, Lacking, Loss, Needed, OrderMode, Progress,
    StuckCircle, refusal, waits_for,
};
use rpmfarm_core::status::is_due;
use rpmfarm_core::{Arch, BuildId, Failure, FailureStage, Fault, Lock, Sha256, TaskId, Timestamp};

use crate::store::{BatchMemberRow, BatchTaskRow, Build, Srpm, Task};

/// The order of a batch, shared by all who work on it. It is not locked across waits.
pub(super) type SharedOrder = Arc<Mutex<BatchOrder>>;

/// Facts of builds of one batch.
#[derive(Debug, Default)]
pub(super) struct BatchFacts {
    pub(super) members: Vec<BatchMemberRow>,
    pub(super) tasks: Vec<BatchTaskRow>,
    /// The source packages of the builds that [`BatchOrder::without_srpm`] lists.
    pub(super) srpms: HashMap<BuildId, Srpm>,
    /// The names that builds claim.
    pub(super) claims: HashMap<BuildId, Vec<String>>,
}

/// The known facts of a build of the batch.
#[derive(Debug)]
struct Member {
    build: Arc<Build>,
    is_open: bool,
    has_srpm: bool,
    /// Its claims when its source package was last read.
    claims: Vec<String>,
    /// When it was last retried.
    retried: Timestamp,
    turns: BTreeMap<Arch, ArchTurn>,
}

/// The state of a build on one of its architectures.
#[derive(Debug)]
struct ArchTurn {
    /// Its task; if there are several, the first one without a lock.
    task: Task,
    state: TurnState,
    /// When it is tried again after a failure.
    due: Timestamp,
    /// Why there is no root for it, as it was solved last.
    failure: Option<Failure>,
}

/// The state of the tasks of an architecture, as far as the order depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TurnState {
    /// The round has no lock. The task is solved again when the round is a new one, or when its
    /// attempts have found more requirements.
    Waiting { task: TaskId, rounds: i64 },
    /// All have locks.
    Locked,
    /// All are accepted.
    Done,
}

/// A task for which there is work to do.
#[derive(Debug, Clone)]
pub(super) struct Turn {
    pub(super) task: Task,
    pub(super) build: Arc<Build>,
    /// How many rounds of requirements its attempts have found.
    pub(super) rounds: i64,
    /// The upward rank of its build in microseconds.
    pub(super) rank_us: i64,
    pub(super) action: TurnAction,
}

/// The work for a task.
#[derive(Debug, Clone)]
pub(super) enum TurnAction {
    /// Solve its root, and lock the task if it is its turn.
    Solve {
        /// The graph's count of changes when solving began.
        seen: u32,
        /// Whether it was its turn by the earlier result of solving.
        had_turn: bool,
    },
    /// End its build.
    Refuse(Failure),
}

/// The result of solving the root of a task.
#[derive(Debug, Clone, Copy)]
pub(super) enum Solved<'a> {
    /// Its root, with all its requirements.
    Root(&'a Lock, &'a [String]),
    /// There is no root, because these requirements are missing; the list is empty when the reason
    /// is another one.
    Missing(&'a [String], &'a Failure),
}

/// The decision on a running attempt that found requirements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RoundDecision {
    /// The attempt continues with the root that was solved.
    Proceed,
    /// Its build ends.
    Refuse(Failure),
    /// It waits for others, for this reason.
    WaitFor(String),
}

impl Member {
    fn new(row: &BatchMemberRow) -> Self {
        Self {
            build: Arc::new(row.build.clone()),
            is_open: row.is_open,
            has_srpm: false,
            claims: Vec::new(),
            retried: row.retried,
            turns: BTreeMap::new(),
        }
    }
}

impl TurnState {
    /// Of the tasks of one architecture, in their order.
    fn new(tasks: &[&BatchTaskRow]) -> Self {
        let waits = |row: &&&BatchTaskRow| row.lock.is_none() && !row.is_accepted;
        match tasks.iter().find(waits) {
            Some(row) => Self::Waiting { task: row.task.id, rounds: row.rounds },
            None if tasks.iter().all(|row| row.is_accepted) => Self::Done,
            None => Self::Locked,
        }
    }
}

/// The tasks of a build by their architectures.
fn by_arch(tasks: &[BatchTaskRow]) -> BTreeMap<Arch, Vec<&BatchTaskRow>> {
    let mut all = BTreeMap::<Arch, Vec<&BatchTaskRow>>::new();
    for row in tasks {
        all.entry(row.task.arch).or_default().push(row);
    }
    all
}

/// The order of a batch.
#[derive(Debug)]
pub(super) struct BatchOrder {
    graph: BatchGraph,
    members: BTreeMap<BuildId, Member>,
    /// How long builds will take, in microseconds.
    learned: HashMap<BuildId, i64>,
}

impl BatchOrder {
    /// The order of a batch before any facts were read. `learned` has the expected durations of its
    /// builds, in microseconds.
    pub(super) fn new(mode: OrderMode, learned: HashMap<BuildId, i64>) -> Self {
        Self { graph: BatchGraph::new(mode), members: BTreeMap::new(), learned }
    }

    /// All builds that were read.
    pub(super) fn builds(&self) -> Vec<BuildId> {
        self.members.keys().copied().collect()
    }

    /// Whether every build has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.members.values().all(|member| !member.is_open)
    }

    /// The builds whose source packages must be read: those that have a new one, and those whose
    /// claims have changed.
    pub(super) fn without_srpm(
        &self,
        rows: &[BatchMemberRow],
        claims: &HashMap<BuildId, Vec<String>>,
    ) -> Vec<BuildId> {
        let is_news = |row: &BatchMemberRow| {
            let Some(known) = self.members.get(&row.build.id) else { return true };
            let claims = claims.get(&row.build.id).map_or(&[][..], Vec::as_slice);
            !known.has_srpm || known.retried != row.retried || known.claims != claims
        };
        let wanted = rows.iter().filter(|row| row.has_srpm && !row.is_accepted && is_news(row));
        wanted.map(|row| row.build.id).collect()
    }

    /// Applies facts. Ended builds come first, in the order in which they ended, so that lost ones
    /// are known as the cause of later refusals. `read` reads the lock of a task that another
    /// coordinator locked, for its needs.
    pub(super) fn apply(&mut self, facts: BatchFacts, read: impl Fn(Sha256) -> Option<Lock>) {
        let BatchFacts { mut members, tasks, srpms, mut claims } = facts;
        let mut of_build = HashMap::<BuildId, Vec<BatchTaskRow>>::new();
        for row in tasks {
            of_build.entry(row.task.build).or_default().push(row);
        }
        members.sort_by_key(|row| {
            let ended = if row.is_open { Timestamp::LAST } else { row.failed.max(row.cancelled) };
            (ended, row.build.id)
        });
        for row in members {
            let id = row.build.id;
            let (srpm, claims) = (srpms.get(&id), claims.remove(&id).unwrap_or_default());
            let tasks = of_build.remove(&id).unwrap_or_default();
            self.apply_member(&row, &tasks, srpm, claims);
            if row.is_accepted {
                // The provides of its packages were applied when the pools of the target had
                // changed.
                self.graph.accept(id, []);
            } else if row.is_open {
                self.apply_tasks(id, &tasks, srpm, &read);
            } else {
                self.lose(&row, &tasks, srpm);
            }
        }
    }

    /// Applies the facts of a build, and the names that it makes.
    fn apply_member(
        &mut self,
        row: &BatchMemberRow,
        tasks: &[BatchTaskRow],
        srpm: Option<&Srpm>,
        claims: Vec<String>,
    ) {
        let id = row.build.id;
        let known = self.members.remove(&id);
        let is_new = known.is_none();
        let before = known.filter(|known| known.retried == row.retried);
        if before.is_none() {
            // A build that was retried starts from the beginning.
            self.graph.lose(id);
        }
        if is_new || !row.is_accepted && (row.is_open || before.is_none()) {
            let takes_us = self.learned.get(&id).copied().unwrap_or(0);
            self.graph.add_member(id, &row.build.package, takes_us);
        }
        let mut member = before.unwrap_or_else(|| Member::new(row));
        member.is_open = row.is_open;
        // Its tasks come with it, and show its architectures.
        if let Some(srpm) = srpm.filter(|_| !tasks.is_empty()) {
            self.apply_srpm(id, tasks, srpm, &claims);
            (member.has_srpm, member.claims) = (true, claims);
        }
        if row.is_accepted || !row.is_open {
            member.turns.clear();
        }
        self.members.insert(id, member);
    }

    /// Applies the names that a build makes, without those that another source owns until a person
    /// has decided.
    fn apply_srpm(&mut self, id: BuildId, tasks: &[BatchTaskRow], srpm: &Srpm, claims: &[String]) {
        let arches: Vec<Arch> = by_arch(tasks).into_keys().collect();
        let mut names = srpm.predicts_anywhere();
        names.retain(|name| !claims.contains(name));
        let names = || names.iter().map(String::as_str);
        self.graph.set_srpm(id, &arches, names());
        self.graph.set_names(id, names());
    }

    /// Applies the states of the tasks of an open build.
    fn apply_tasks(
        &mut self,
        id: BuildId,
        tasks: &[BatchTaskRow],
        srpm: Option<&Srpm>,
        read: &impl Fn(Sha256) -> Option<Lock>,
    ) {
        // Without its source package the graph has no tasks of it.
        if self.members.get(&id).is_none_or(|member| !member.has_srpm) {
            return;
        }
        for (arch, rows) in by_arch(tasks) {
            let state = TurnState::new(&rows);
            let is_current = |row: &&&BatchTaskRow| match state {
                TurnState::Waiting { task, .. } => row.task.id == task,
                TurnState::Locked | TurnState::Done => !row.is_accepted,
            };
            let Some(row) = rows.iter().find(is_current).or(rows.last()) else { continue };
            let Some(member) = self.members.get_mut(&id) else { return };
            let before = member.turns.get(&arch).map(|turn| turn.state);
            let failure = member.turns.remove(&arch).and_then(|turn| turn.failure);
            let failure = failure.filter(|_| before == Some(state));
            let turn = ArchTurn { task: row.task.clone(), state, due: row.due, failure };
            member.turns.insert(arch, turn);
            if before.is_none() && state == TurnState::Locked {
                let lock = row.lock.filter(|_| self.graph.mode() != OrderMode::Unordered);
                self.apply_lock(&row.task, lock.and_then(read), srpm);
            }
            if before != Some(state) {
                self.set_state(id, arch, state);
            }
        }
    }

    /// Applies the needs of a task that has its lock already.
    fn apply_lock(&mut self, task: &Task, lock: Option<Lock>, srpm: Option<&Srpm>) {
        let (Some(lock), Some(srpm)) = (lock, srpm) else { return };
        let requires = srpm.requires_with(task.kind.rpm_target(task.arch));
        let needed = Needed::new(&lock, requires, self.graph.mode());
        self.graph.set_solved(task.build, task.arch, self.graph.seen(), &needed);
    }

    fn set_state(&mut self, id: BuildId, arch: Arch, state: TurnState) {
        match state {
            TurnState::Waiting { .. } => self.graph.set_pending(id, arch),
            TurnState::Locked => self.graph.set_locked(id, arch),
            TurnState::Done => self.graph.set_done(id, arch),
        }
    }

    /// Records that a build has ended without being accepted. A build without a root lacked some of
    /// its requirements. Only memory knows which ones; otherwise all of them count as missing.
    fn lose(&mut self, row: &BatchMemberRow, tasks: &[BatchTaskRow], srpm: Option<&Srpm>) {
        let id = row.build.id;
        if let (true, Some(srpm)) = (row.is_refused, srpm) {
            for (arch, rows) in by_arch(tasks) {
                let Some(row) = rows.iter().find(|row| row.lock.is_none()) else { continue };
                let requires = srpm.requires_with(row.task.kind.rpm_target(arch));
                let lacking = Lacking::Requirements(requires);
                self.graph.set_lacking(id, arch, self.graph.seen(), lacking);
            }
        }
        self.graph.lose(id);
    }
}

/// Decisions.
impl BatchOrder {
    /// The work to be done now, first the tasks for which most others wait; and whether there is
    /// more that is tried again later, or that is under way.
    pub(super) fn decide(&mut self, now: Timestamp) -> (Vec<Turn>, bool) {
        let decided = self.graph.decide();
        let is_busy = !decided.is_empty();
        let turns = decided.into_iter().filter_map(|one| self.turn(one, now)).collect();
        (turns, is_busy)
    }

    fn turn(&self, decided: Decided, now: Timestamp) -> Option<Turn> {
        let Decided { build, arch, rank_us, decision } = decided;
        let member = self.members.get(&build)?;
        let turn = member.turns.get(&arch).filter(|turn| is_due(turn.due, now))?;
        let TurnState::Waiting { rounds, .. } = turn.state else { return None };
        let action = match decision {
            Decision::Solve { seen } => TurnAction::Solve { seen, had_turn: false },
            Decision::Lock => TurnAction::Solve { seen: self.graph.seen(), had_turn: true },
            Decision::Refuse(lacks) => {
                TurnAction::Refuse(self.refusal(turn.failure.as_ref(), arch, &lacks))
            }
        };
        let (task, build) = (turn.task.clone(), Arc::clone(&member.build));
        Some(Turn { task, build, rounds, rank_us, action })
    }

    /// Why a task is refused, with the builds that should have made its missing requirements.
    fn refusal(&self, failure: Option<&Failure>, arch: Arch, lacks: &[Lack]) -> Failure {
        let unknown = || {
            let message = format!("no build root for {arch}: nothing provides what it requires");
            Failure::new(Fault::Package, FailureStage::Resolve, message)
        };
        let failure = failure.cloned().unwrap_or_else(unknown);
        let package =
            |build: BuildId| self.members.get(&build).map(|member| member.build.package.as_str());
        refusal(&failure, lacks, package)
    }

    /// The count to pass with the result of a task whose solving begins now.
    pub(super) fn seen(&self) -> u32 {
        self.graph.seen()
    }

    /// Applies the result of solving for a task that has no lock. Returns its upward rank in
    /// microseconds if it is its turn now.
    pub(super) fn apply_solved(&mut self, of: &Turn, solved: Solved<'_>) -> Option<i64> {
        let (build, arch) = (of.task.build, of.task.arch);
        let TurnAction::Solve { seen, had_turn } = of.action else { return None };
        let turn = self.members.get_mut(&build)?.turns.get_mut(&arch)?;
        // It may have got its lock meanwhile, or more requirements.
        if turn.state != (TurnState::Waiting { task: of.task.id, rounds: of.rounds }) {
            return None;
        }
        turn.failure = solved.failure();
        self.set_solved(build, arch, seen, solved);
        if matches!(solved, Solved::Missing(..)) {
            return None;
        }
        let has_turn =
            self.graph.may_lock(build, arch) || (had_turn && self.is_decided(build, arch));
        has_turn.then(|| self.graph.rank_us(build))
    }

    fn set_solved(&mut self, build: BuildId, arch: Arch, seen: u32, solved: Solved<'_>) {
        match solved {
            Solved::Root(lock, requires) => {
                let needed = Needed::new(lock, requires, self.graph.mode());
                self.graph.set_solved(build, arch, seen, &needed);
            }
            Solved::Missing(missing, _) => {
                self.graph.set_lacking(build, arch, seen, Lacking::Requirements(missing));
            }
        }
    }

    /// Whether the graph decides to lock a task, perhaps because nothing else of the batch can
    /// proceed.
    fn is_decided(&mut self, build: BuildId, arch: Arch) -> bool {
        let is_lock = |one: &Decided| {
            (one.build, one.arch) == (build, arch) && one.decision == Decision::Lock
        };
        self.graph.decide().iter().any(is_lock)
    }

    /// Applies the result of solving for a running attempt that found requirements, and decides on
    /// the attempt as if its task had waited.
    pub(super) fn decide_round(
        &mut self,
        task: &Task,
        seen: u32,
        solved: Solved<'_>,
    ) -> RoundDecision {
        let (build, arch) = (task.build, task.arch);
        self.set_solved(build, arch, seen, solved);
        let failure = solved.failure();
        match &failure {
            None if self.graph.may_lock(build, arch) => return RoundDecision::Proceed,
            None => {}
            Some(failure) => {
                if let Some(lacks) = self.refused(build, arch) {
                    return RoundDecision::Refuse(self.refusal(Some(failure), arch, &lacks));
                }
            }
        }
        let waits = waits_for(self.graph.mode(), &self.graph.blockers(build, arch));
        match (waits, failure) {
            (Some(reason), _) => RoundDecision::WaitFor(reason),
            (None, Some(failure)) => RoundDecision::Refuse(failure),
            (None, None) => RoundDecision::Proceed,
        }
    }

    /// The missing requirements of a task that no build will provide.
    fn refused(&mut self, build: BuildId, arch: Arch) -> Option<Vec<Lack>> {
        let decided = self.graph.decide().into_iter();
        decided.filter(|one| (one.build, one.arch) == (build, arch)).find_map(|one| {
            match one.decision {
                Decision::Refuse(lacks) => Some(lacks),
                Decision::Solve { .. } | Decision::Lock => None,
            }
        })
    }

    /// Records that a task has its lock, or has kept it. The facts are read later, and others may
    /// have removed the lock again until then.
    pub(super) fn set_locked(&mut self, task: &Task) {
        self.graph.set_locked(task.build, task.arch);
        let member = self.members.get_mut(&task.build);
        let turn = member.and_then(|member| member.turns.get_mut(&task.arch));
        if let Some(turn) = turn.filter(|turn| turn.task.id == task.id) {
            turn.state = TurnState::Locked;
        }
    }

    /// Records that a task must be solved again, because the solved root can no longer be locked.
    pub(super) fn set_pending(&mut self, task: &Task) {
        self.graph.set_pending(task.build, task.arch);
    }

    /// Records that packages of these names, or of any name, were added to a target or removed.
    /// Returns whether a task must be solved again because of it.
    pub(super) fn touch(&mut self, target: &str, names: Option<&[String]>) -> bool {
        if !self.members.values().any(|member| member.build.target == target) {
            return false;
        }
        match names {
            Some(names) => self.graph.touch_names(names.iter().map(String::as_str)),
            None => {
                self.graph.touch_all();
                true
            }
        }
    }
}

impl Solved<'_> {
    /// Why there is no root.
    fn failure(&self) -> Option<Failure> {
        match self {
            Self::Root(..) => None,
            Self::Missing(_, failure) => Some((*failure).clone()),
        }
    }
}

/// The data that are shown to people.
impl BatchOrder {
    pub(super) fn progress(&mut self) -> Progress {
        self.graph.progress()
    }

    pub(super) fn losses(&self) -> Vec<Loss> {
        self.graph.losses()
    }

    pub(super) fn stuck(&self) -> Vec<StuckCircle> {
        self.graph.stuck_circles()
    }

    /// The builds for which a build waits, on any of its architectures.
    pub(super) fn blockers(&self, build: BuildId) -> Blockers {
        let arches = self.members.get(&build).into_iter().flat_map(|member| member.turns.keys());
        let mut all = arches.map(|arch| self.graph.blockers(build, *arch));
        all.find(|blockers| *blockers != Blockers::Nobody).unwrap_or(Blockers::Nobody)
    }

    /// Why a build waits for others; `None` when it waits for no build.
    pub(super) fn reason(&self, build: BuildId) -> Option<String> {
        waits_for(self.graph.mode(), &self.blockers(build))
    }

    /// Why builds wait for others.
    pub(super) fn reasons(&self) -> Vec<(BuildId, String)> {
        let with_turns = self.members.iter().filter(|(_, member)| !member.turns.is_empty());
        with_turns.filter_map(|(build, _)| Some((*build, self.reason(*build)?))).collect()
    }
}
