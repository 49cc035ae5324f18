//! The graph of a batch, and its changes.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::components::{Components, Needs};
use super::hope::Hope;
use super::keys::{Key, Keys};
use super::mode::{Needed, OrderMode, name};
use crate::time::span_us;
use crate::why::UNKNOWN;
use crate::{Arch, BuildId};

/// A member by its number in the graph, which is never used twice.
pub(super) type MemberIx = u32;
/// A task of a member, likewise.
pub(super) type TaskIx = u32;

/// The members of a batch that have not ended, their tasks, and their needs of each other.
///
/// A method that gets a build or an architecture which the graph does not have changes nothing,
/// because facts may be read late.
#[derive(Debug, Clone)]
pub struct BatchGraph {
    pub(super) mode: OrderMode,
    pub(super) keys: Keys,
    pub(super) members: Vec<Member>,
    pub(super) tasks: Vec<Task>,
    pub(super) open: BTreeMap<BuildId, MemberIx>,
    /// The members that make a name.
    pub(super) makers: Vec<BTreeSet<MemberIx>>,
    /// The tasks that mention a name, in their roots or among their missing requirements.
    pub(super) mentions: Vec<BTreeSet<TaskIx>>,
    pub(super) components: Components,
    /// Members whose upward ranks may have changed.
    pub(super) unranked: BTreeSet<MemberIx>,
    /// Tasks that may have their turn.
    pub(super) ready: BTreeSet<TaskIx>,
    /// Tasks whose roots cannot be solved.
    pub(super) lacking: BTreeSet<TaskIx>,
    /// Which of them can still get a root.
    pub(super) hope: Hope,
    /// Those of them for which any accepted build may provide a missing requirement.
    pub(super) any_may_help: BTreeSet<TaskIx>,
    /// The number of open members that make progress without a turn of one of their tasks.
    pub(super) moving: usize,
    /// Open members without SRPM.
    pub(super) unknown: usize,
    pub(super) lost: Vec<LostMember>,
    /// By name, which of the lost members were to make it.
    pub(super) lost_makers: HashMap<Key, Vec<BuildId>>,
    pub(super) accepted: usize,
    pub(super) accepted_us: i64,
    /// How many changes may have changed the results of solving.
    pub(super) clock: u32,
    /// The clock when packages or provides of a name were last added; 0 when never.
    came: Vec<u32>,
    pub(super) visits: u64,
}

/// A build of the batch.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) build: BuildId,
    pub(super) source: Key,
    /// The names that it makes, in addition to its source.
    pub(super) names: Vec<Key>,
    pub(super) tasks: Vec<TaskIx>,
    /// How long each of its tasks takes, as far as is known.
    pub(super) takes_us: i64,
    pub(super) has_srpm: bool,
    /// Tasks of others that need it.
    pub(super) dependents: BTreeSet<TaskIx>,
    /// Its upward rank.
    pub(super) rank_us: i64,
}

/// The task of a member on one architecture.
#[derive(Debug, Clone)]
pub(super) struct Task {
    pub(super) member: MemberIx,
    pub(super) arch: Arch,
    pub(super) mentions: Vec<Key>,
    /// Open members, sorted.
    pub(super) needs: Vec<MemberIx>,
    /// How many of them are in other components.
    pub(super) outside: usize,
    pub(super) solution: Solution,
    /// The clock of the last change that may affect its solution.
    touched: u32,
    /// The clock when its solution was made.
    seen: u32,
}

impl Task {
    /// Whether a change came after its solution.
    pub(super) const fn is_touched(&self) -> bool {
        self.touched > self.seen
    }
}

/// The known result of solving a task's root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Solution {
    /// Nothing yet.
    Pending,
    /// It can be solved.
    Solved,
    /// It cannot.
    Lacking(Vec<Missing>),
    /// It is locked: the task waits for a worker, or runs.
    Locked,
    /// The task's results are accepted, and not yet those of the whole build.
    Done,
    /// Its build is no longer an open member.
    Left,
}

impl Solution {
    /// Whether the task comes further without a turn: it is about to be solved, or to be built.
    pub(super) const fn moves(&self) -> bool {
        matches!(self, Self::Pending | Self::Locked)
    }

    pub(super) const fn is_solved(&self) -> bool {
        matches!(self, Self::Solved)
    }

    pub(super) fn missing(&self) -> &[Missing] {
        match self {
            Self::Lacking(missing) => missing,
            _ => &[],
        }
    }

    /// Whether any accepted build may provide a missing requirement.
    fn any_may_help(&self) -> bool {
        self.missing().iter().any(|missing| missing.key.is_none())
    }
}

/// A requirement of a task that nothing provides, or that keeps its root from being solved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Missing {
    /// The requirement; empty when it is a conflict or the like.
    pub(super) requirement: String,
    /// Its name. `None` for a path and for a rich requirement, whose providers are found only by
    /// solving.
    pub(super) key: Option<Key>,
    /// Whether members may provide it although their specs do not name it.
    pub(super) anybody: bool,
}

/// Why a root cannot be solved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lacking<'a> {
    /// Nothing provides these requirements of the build.
    Requirements(&'a [String]),
    /// There is another reason, as a conflict, or a missing requirement of a package in the root.
    Other,
}

/// A member that ended without being accepted.
#[derive(Debug, Clone)]
pub(super) struct LostMember {
    pub(super) build: BuildId,
    pub(super) source: Key,
    pub(super) names: Vec<Key>,
    /// The lost members that should have made its missing requirements.
    pub(super) because: Vec<BuildId>,
    /// The open members that continue with older packages of it.
    pub(super) without: Vec<BuildId>,
}

/// Whether rpm generates such a provide from a package's files, so that no spec needs to name it:
/// `python3dist(wheel)`, `pkgconfig(zlib)`, `libfoo.so.1`, `/usr/bin/foo`, and rich requirements,
/// which may contain one of these.
fn is_generated(requirement: &str) -> bool {
    let name = requirement.split_whitespace().next().unwrap_or_default();
    name.starts_with('/') || name.contains('(') || name.contains(".so")
}

impl BatchGraph {
    /// The graph of a batch without members.
    #[must_use]
    pub fn new(mode: OrderMode) -> Self {
        Self {
            mode,
            keys: Keys::default(),
            members: Vec::new(),
            tasks: Vec::new(),
            open: BTreeMap::new(),
            makers: Vec::new(),
            mentions: Vec::new(),
            components: Components::default(),
            unranked: BTreeSet::new(),
            ready: BTreeSet::new(),
            lacking: BTreeSet::new(),
            hope: Hope::default(),
            any_may_help: BTreeSet::new(),
            moving: 0,
            unknown: 0,
            lost: Vec::new(),
            lost_makers: HashMap::new(),
            accepted: 0,
            accepted_us: 0,
            clock: 0,
            came: Vec::new(),
            visits: 0,
        }
    }

    /// Which needs count.
    #[must_use]
    pub const fn mode(&self) -> OrderMode {
        self.mode
    }

    /// How many members and needs were visited since the graph was made: the cost of its upkeep.
    #[must_use]
    pub const fn visits(&self) -> u64 {
        self.visits
    }

    /// Whether no member is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Whether a build is an open member.
    #[must_use]
    pub fn contains(&self, build: BuildId) -> bool {
        self.open.contains_key(&build)
    }

    /// Takes in a build of the source package `package`. `takes_us` is how long one of its tasks
    /// takes in microseconds, as was learned from earlier builds; 0 when nothing was. A build that
    /// was lost and is retried is added again.
    pub fn add_member(&mut self, build: BuildId, package: &str, takes_us: i64) {
        if self.contains(build) {
            return;
        }
        self.forget_lost(build);
        let source = self.keys.source(package);
        self.widen();
        let member = MemberIx::try_from(self.members.len()).expect("fewer than 2^32 builds");
        let takes_us = if takes_us > 0 { takes_us } else { span_us(UNKNOWN) };
        self.members.push(Member {
            build,
            source,
            names: Vec::new(),
            tasks: Vec::new(),
            takes_us,
            has_srpm: false,
            dependents: BTreeSet::new(),
            rank_us: takes_us,
        });
        self.open.insert(build, member);
        self.components.add(member);
        self.unknown += 1;
        self.add_maker(source, member);
    }

    /// Records the SRPM of a build: the build has a task on each of these architectures, at least
    /// one, and its spec makes packages, provides and obsoletes of these names.
    pub fn set_srpm<'a>(
        &mut self,
        build: BuildId,
        arches: &[Arch],
        names: impl IntoIterator<Item = &'a str>,
    ) {
        let Some(member) = self.open.get(&build).copied() else { return };
        if std::mem::replace(&mut self.member_mut(member).has_srpm, true) {
            return;
        }
        self.unknown -= 1;
        for arch in arches {
            self.add_task(member, *arch);
        }
        self.set_names(build, names);
    }

    /// Records the names that a build makes, where they are known better than from its spec:
    /// without names that another source owns until a person has decided, or by the packages that
    /// one architecture has made.
    pub fn set_names<'a>(&mut self, build: BuildId, names: impl IntoIterator<Item = &'a str>) {
        let Some(member) = self.open.get(&build).copied() else { return };
        let names: BTreeSet<Key> = names.into_iter().map(|name| self.keys.name(name)).collect();
        self.widen();
        let before = std::mem::take(&mut self.member_mut(member).names);
        for key in before.iter().filter(|key| !names.contains(*key)) {
            self.remove_maker(*key, member);
        }
        for key in names.iter().filter(|key| !before.contains(*key)) {
            self.add_maker(*key, member);
        }
        self.member_mut(member).names = names.into_iter().collect();
    }

    /// Records the solved root of a task. `seen` comes from the decision that requested it
    /// ([`super::Decision::Solve`]).
    pub fn set_solved(&mut self, build: BuildId, arch: Arch, seen: u32, needed: &Needed<'_>) {
        let Some(task) = self.find(build, arch) else { return };
        let mut keys = Vec::new();
        if self.mode != OrderMode::Unordered {
            keys.extend(needed.names.iter().map(|name| self.keys.name(name)));
            keys.extend(needed.sources.iter().map(|source| self.keys.source(source)));
        }
        self.solve(task, seen, keys, Solution::Solved);
    }

    /// A task has no root. `seen` as in [`Self::set_solved`].
    pub fn set_lacking(&mut self, build: BuildId, arch: Arch, seen: u32, lacking: Lacking<'_>) {
        let Some(task) = self.find(build, arch) else { return };
        let missing: Vec<Missing> = match lacking {
            Lacking::Requirements(texts) if !texts.is_empty() => {
                texts.iter().map(|text| self.missing(text)).collect()
            }
            _ => vec![Missing { requirement: String::new(), key: None, anybody: true }],
        };
        let keys = missing.iter().filter_map(|missing| missing.key).collect();
        self.solve(task, seen, keys, Solution::Lacking(missing));
    }

    /// Records that a task must be solved again, as after an attempt that found further
    /// requirements.
    pub fn set_pending(&mut self, build: BuildId, arch: Arch) {
        let Some(task) = self.find(build, arch) else { return };
        self.change(task, Solution::Pending);
    }

    /// Records that a task has its lock, and no longer waits for a turn. Its needs still count for
    /// its circles.
    pub fn set_locked(&mut self, build: BuildId, arch: Arch) {
        let Some(task) = self.find(build, arch) else { return };
        self.change(task, Solution::Locked);
    }

    /// Records that a task's results are accepted: it needs nothing any more.
    pub fn set_done(&mut self, build: BuildId, arch: Arch) {
        let Some(task) = self.find(build, arch) else { return };
        self.set_mentions(task, Vec::new());
        self.change(task, Solution::Done);
    }

    /// A build is accepted as a whole, and roots are solved with its packages from now on.
    /// `provides` are the names of these and of all that they provide, generated ones too.
    pub fn accept<'a>(&mut self, build: BuildId, provides: impl IntoIterator<Item = &'a str>) {
        let Some(member) = self.open.get(&build).copied() else { return };
        let mut keys: BTreeSet<Key> =
            provides.into_iter().filter_map(|name| self.keys.find_name(name)).collect();
        let Member { source, names, takes_us, .. } = &self.members[member as usize];
        keys.insert(*source);
        keys.extend(names);
        self.accepted += 1;
        self.accepted_us = self.accepted_us.saturating_add(*takes_us);
        self.leave(member);
        self.come(&keys);
    }

    /// Records that packages which no member made were added to the target, or that packages were
    /// removed. Tasks that mention one of their names or provides are solved again when their turn
    /// comes, and so are tasks that any package may help. Returns whether there is such a task.
    pub fn touch_names<'a>(&mut self, names: impl IntoIterator<Item = &'a str>) -> bool {
        let keys: BTreeSet<Key> =
            names.into_iter().filter_map(|name| self.keys.find_name(name)).collect();
        self.come(&keys)
    }

    /// Records that packages or provides of these names were added. Returns whether this affects a
    /// task.
    fn come(&mut self, keys: &BTreeSet<Key>) -> bool {
        self.clock += 1;
        for key in keys {
            self.came[*key as usize] = self.clock;
        }
        let mentioned = keys.iter().flat_map(|key| self.mentions[*key as usize].iter());
        let touched: BTreeSet<TaskIx> = mentioned.chain(&self.any_may_help).copied().collect();
        for task in &touched {
            self.touch(*task);
        }
        !touched.is_empty()
    }

    /// Records that a build failed finally or was cancelled: no task waits for it any more. Tasks
    /// that lack a requirement without it are refused, others continue with the present packages.
    pub fn lose(&mut self, build: BuildId) {
        let Some(member) = self.open.get(&build).copied() else { return };
        let because = self.causes(member);
        let without = self.solved_dependents(member);
        let Member { source, names, .. } = &self.members[member as usize];
        let (source, names) = (*source, names.clone());
        for key in names.iter().chain([&source]) {
            self.lost_makers.entry(*key).or_default().push(build);
        }
        self.lost.push(LostMember { build, source, names, because, without });
        self.leave(member);
    }

    /// Records that metadata of other repositories have changed: waiting tasks are solved again
    /// when their turn comes.
    pub fn touch_all(&mut self) {
        self.clock += 1;
        for task in self.tasks_of_open().collect::<Vec<TaskIx>>() {
            self.touch(task);
        }
    }

    pub(super) fn find(&self, build: BuildId, arch: Arch) -> Option<TaskIx> {
        let member = self.open.get(&build)?;
        let tasks = &self.members[*member as usize].tasks;
        tasks.iter().copied().find(|task| self.task(*task).arch == arch)
    }

    pub(super) fn member(&self, member: MemberIx) -> &Member {
        &self.members[member as usize]
    }

    fn member_mut(&mut self, member: MemberIx) -> &mut Member {
        &mut self.members[member as usize]
    }

    pub(super) fn task(&self, task: TaskIx) -> &Task {
        &self.tasks[task as usize]
    }

    fn task_mut(&mut self, task: TaskIx) -> &mut Task {
        &mut self.tasks[task as usize]
    }

    /// The tables by name have a row for each name.
    fn widen(&mut self) {
        self.makers.resize_with(self.keys.len(), BTreeSet::new);
        self.came.resize(self.keys.len(), 0);
        self.mentions.resize_with(self.keys.len(), BTreeSet::new);
    }

    fn add_task(&mut self, member: MemberIx, arch: Arch) {
        let task = TaskIx::try_from(self.tasks.len()).expect("fewer than 2^32 tasks");
        let moved = self.moves(member);
        self.tasks.push(Task {
            member,
            arch,
            mentions: Vec::new(),
            needs: Vec::new(),
            outside: 0,
            solution: Solution::Pending,
            touched: 0,
            seen: 0,
        });
        self.member_mut(member).tasks.push(task);
        self.count_moving(moved, true);
        self.review(task);
    }

    fn missing(&mut self, requirement: &str) -> Missing {
        let name = name(requirement).filter(|name| !name.starts_with('/'));
        Missing {
            requirement: requirement.to_owned(),
            key: name.map(|name| self.keys.name(name)),
            anybody: is_generated(requirement),
        }
    }

    pub(super) fn solve(&mut self, task: TaskIx, seen: u32, keys: Vec<Key>, solution: Solution) {
        self.widen();
        let came = self.last_came(&keys, &solution);
        let found = self.task_mut(task);
        (found.seen, found.touched) = (seen, found.touched.max(came));
        self.set_mentions(task, keys);
        self.change(task, solution);
    }

    /// The last change that may affect a solution with these names. The names become known with the
    /// solution, which may have been made before that change.
    fn last_came(&self, keys: &[Key], solution: &Solution) -> u32 {
        if !solution.is_solved() {
            // The missing package may have been added under a name that no task had mentioned.
            return self.clock;
        }
        keys.iter().map(|key| self.came[*key as usize]).max().unwrap_or(0)
    }

    /// Records that the result of solving a task is unchanged.
    pub(super) fn confirm(&mut self, task: TaskIx) {
        self.task_mut(task).seen = self.clock;
        self.doubt(task);
        self.review(task);
    }

    /// Records that the needs of a task without a solution are unchanged, and can be provided.
    pub(super) fn assume_solved(&mut self, task: TaskIx) {
        self.change(task, Solution::Solved);
        self.confirm(task);
    }

    /// Records a change that may affect the result of solving a task.
    pub(super) fn touch(&mut self, task: TaskIx) {
        self.task_mut(task).touched = self.clock;
        self.visits += 1;
        self.doubt(task);
        self.review(task);
    }

    /// Who can help a task has changed, if it lacks something.
    fn doubt(&mut self, task: TaskIx) {
        if !self.task(task).solution.missing().is_empty() {
            self.hope.doubt(task);
        }
    }

    /// Notes another solution of a task, and counts it where it is counted.
    fn change(&mut self, task: TaskIx, solution: Solution) {
        let member = self.task(task).member;
        let moved = self.moves(member);
        self.doubt(task);
        let before = std::mem::replace(&mut self.task_mut(task).solution, solution);
        self.count_moving(moved, self.moves(member));
        let after = &self.tasks[task as usize].solution;
        if before.is_solved() != after.is_solved() {
            self.components.count_waiting(member, after.is_solved());
        }
        set(&mut self.lacking, task, !after.missing().is_empty());
        set(&mut self.any_may_help, task, after.any_may_help());
        self.doubt(task);
        self.review(task);
    }

    /// Whether a member makes progress without a turn of one of its tasks. A member whose tasks are
    /// all done is about to be accepted; while one of its tasks waits, its completed tasks are no
    /// progress.
    fn moves(&self, member: MemberIx) -> bool {
        let tasks = || self.member(member).tasks.iter().map(|task| &self.task(*task).solution);
        let is_complete = tasks().all(|solution| *solution == Solution::Done);
        tasks().any(Solution::moves) || (is_complete && !self.member(member).tasks.is_empty())
    }

    fn count_moving(&mut self, before: bool, after: bool) {
        self.moving += usize::from(after);
        self.moving -= usize::from(before);
    }

    /// Notes whether a task may have its turn.
    pub(super) fn review(&mut self, task: TaskIx) {
        let found = self.task(task);
        let is_ready = match found.solution {
            Solution::Pending => true,
            Solution::Solved => found.outside == 0,
            Solution::Lacking(_) => found.is_touched(),
            Solution::Locked | Solution::Done | Solution::Left => false,
        };
        set(&mut self.ready, task, is_ready);
    }

    /// Notes the names that a task mentions, and needs the members that make them.
    fn set_mentions(&mut self, task: TaskIx, mut keys: Vec<Key>) {
        keys.sort_unstable();
        keys.dedup();
        let before = std::mem::take(&mut self.task_mut(task).mentions);
        for key in &before {
            self.mentions[*key as usize].remove(&task);
        }
        for key in &keys {
            self.mentions[*key as usize].insert(task);
        }
        self.task_mut(task).mentions = keys;
        self.refresh_needs(task);
    }

    fn refresh_needs(&mut self, task: TaskIx) {
        let Task { member, mentions, .. } = self.task(task);
        let makers = mentions.iter().flat_map(|key| &self.makers[*key as usize]).copied();
        let needs: BTreeSet<MemberIx> = makers.filter(|maker| maker != member).collect();
        self.visits += 1 + self.task(task).mentions.len() as u64;
        let before = self.task(task).needs.clone();
        for need in before.into_iter().filter(|need| !needs.contains(need)) {
            self.drop_need(task, need);
        }
        for need in needs {
            self.add_need(task, need);
        }
    }

    fn add_maker(&mut self, key: Key, member: MemberIx) {
        self.makers[key as usize].insert(member);
        for task in self.mentions[key as usize].clone() {
            self.add_need(task, member);
        }
    }

    fn remove_maker(&mut self, key: Key, member: MemberIx) {
        self.makers[key as usize].remove(&member);
        for task in self.mentions[key as usize].clone() {
            self.refresh_needs(task);
        }
    }

    fn add_need(&mut self, task: TaskIx, need: MemberIx) {
        let Task { member, needs, .. } = self.task(task);
        let (member, place) = (*member, needs.binary_search(&need));
        let (true, Err(place)) = (member != need, place) else { return };
        let is_outside = !self.components.is_one(member, need);
        let Task { needs, outside, .. } = self.task_mut(task);
        needs.insert(place, need);
        *outside += usize::from(is_outside);
        self.member_mut(need).dependents.insert(task);
        self.components.add_need(member);
        if is_outside {
            self.unranked.insert(need);
        }
        self.visits += 1;
        self.doubt(task);
        self.review(task);
    }

    fn drop_need(&mut self, task: TaskIx, need: MemberIx) {
        let Task { member, needs, .. } = self.task(task);
        let (member, Ok(place)) = (*member, needs.binary_search(&need)) else { return };
        let is_outside = !self.components.is_one(member, need);
        let Task { needs, outside, .. } = self.task_mut(task);
        needs.remove(place);
        *outside -= usize::from(is_outside);
        self.member_mut(need).dependents.remove(&task);
        if is_outside {
            self.unranked.insert(need);
        } else {
            self.components.lose_need(member);
        }
        self.visits += 1;
        self.doubt(task);
        self.review(task);
    }

    /// Removes a member: no other needs it, and it needs no other.
    fn leave(&mut self, member: MemberIx) {
        for task in self.member(member).tasks.clone() {
            self.set_mentions(task, Vec::new());
            self.change(task, Solution::Left);
        }
        for task in self.member(member).dependents.clone() {
            self.drop_need(task, member);
        }
        let Member { build, source, names, has_srpm, .. } = self.member(member);
        let (build, keys, has_srpm) = (*build, [names.as_slice(), &[*source]].concat(), *has_srpm);
        for key in keys {
            self.makers[key as usize].remove(&member);
        }
        self.unknown -= usize::from(!has_srpm);
        self.open.remove(&build);
        self.unranked.remove(&member);
        self.components.remove(member);
    }

    /// The lost members that should have made the missing requirements of a member's tasks.
    fn causes(&self, member: MemberIx) -> Vec<BuildId> {
        let tasks = self.member(member).tasks.iter().map(|task| self.task(*task));
        let keys = tasks.flat_map(|task| task.solution.missing()).filter_map(|one| one.key);
        let causes: BTreeSet<BuildId> =
            keys.filter_map(|key| self.lost_makers.get(&key)).flatten().copied().collect();
        causes.into_iter().collect()
    }

    /// The members with solved roots that need a member.
    fn solved_dependents(&self, member: MemberIx) -> Vec<BuildId> {
        let tasks = self.member(member).dependents.iter().map(|task| self.task(*task));
        let solved = tasks.filter(|task| task.solution.is_solved());
        let builds: BTreeSet<BuildId> = solved.map(|task| self.member(task.member).build).collect();
        builds.into_iter().collect()
    }

    fn forget_lost(&mut self, build: BuildId) {
        let Some(at) = self.lost.iter().position(|lost| lost.build == build) else { return };
        let LostMember { source, names, .. } = self.lost.remove(at);
        for key in names.iter().chain([&source]) {
            if let Some(builds) = self.lost_makers.get_mut(key) {
                builds.retain(|lost| *lost != build);
            }
        }
    }
}

/// Puts a value into a set, or takes it out.
fn set(all: &mut BTreeSet<TaskIx>, task: TaskIx, is_in: bool) {
    if is_in {
        all.insert(task);
    } else {
        all.remove(&task);
    }
}

impl Needs for BatchGraph {
    fn add_needs(&self, member: u32, list: &mut Vec<u32>) {
        for task in &self.member(member).tasks {
            list.extend(&self.task(*task).needs);
        }
    }

    fn is_needed(&self, member: u32) -> bool {
        !self.member(member).dependents.is_empty()
    }

    fn waiting(&self, member: u32) -> usize {
        let tasks = self.member(member).tasks.iter();
        tasks.filter(|task| self.task(**task).solution.is_solved()).count()
    }
}
