//! Why a task waits for a worker, and when it will get one.

use std::fmt;
use std::time::Duration;

use super::ReasonCode;
use crate::matching::{WaitingTask, WorkerCapacity};
use crate::needs::{Needs, size};
use crate::placement::WorkerCandidate;
use crate::remedy::Remedy;
use crate::{Arch, Timestamp};

/// The assumed duration of a task without earlier builds.
pub const UNKNOWN: Duration = Duration::from_secs(5 * 60);

/// Why a task waits for a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WaitReason {
    NoWorker {
        arch: Arch,
        /// When the last one was heard; `None` when there never was one.
        heard: Option<Timestamp>,
    },
    /// The connected workers only emulate the architecture, which the target does not allow.
    OnlyEmulated { arch: Arch, workers: Vec<String> },
    /// The connected workers take no new work.
    NoneTakes {
        arch: Arch,
        /// Why each of them takes no work, with its name.
        reasons: Vec<String>,
    },
    /// It repeats the task of the only worker that could run it.
    OnlyMaker { arch: Arch, worker: String },
    /// It needs more than any of the workers has.
    TooMuch {
        needs: Needs,
        /// The most memory of a worker that takes work, in MiB.
        memory_mib: u64,
        /// The most free disk, in MiB.
        disk_mib: u64,
        /// Whether a worker has the label.
        labelled: bool,
    },
    Behind {
        tasks: u64,
        /// The estimated time until it starts.
        starts_in: Duration,
    },
}

impl WaitReason {
    /// The reason as a word for programs.
    #[must_use]
    pub const fn code(&self) -> ReasonCode {
        match self {
            Self::NoWorker { .. } => ReasonCode::NoWorker,
            Self::OnlyEmulated { .. } => ReasonCode::OnlyEmulated,
            Self::NoneTakes { .. } => ReasonCode::NoneTakes,
            Self::OnlyMaker { .. } => ReasonCode::OnlyMaker,
            Self::TooMuch { .. } => ReasonCode::TooMuch,
            Self::Behind { .. } => ReasonCode::Queue,
        }
    }

    /// The remedy that the text does not contain.
    #[must_use]
    pub const fn remedy(&self) -> Option<Remedy> {
        match self {
            Self::NoWorker { heard: None, .. } => Some(Remedy::StartWorker),
            _ => None,
        }
    }
}

impl fmt::Display for WaitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoWorker { arch, heard: None } => {
                write!(f, "no worker for {arch} was ever connected; start one")
            }
            Self::NoWorker { arch, heard: Some(at) } => {
                write!(f, "no worker for {arch} connected since {}", moment(*at))
            }
            Self::OnlyEmulated { arch, workers } => write!(
                f,
                "{arch} is only emulated (by {}), which the target does not allow; connect a worker \
                 that runs it natively, or set emulation = true in the target's file",
                workers.join(", ")
            ),
            Self::NoneTakes { arch, reasons } => {
                write!(f, "no worker for {arch} takes work: {}", reasons.join("; "))
            }
            Self::OnlyMaker { arch, worker } => write!(
                f,
                "repeats a task of {worker}, and no other worker for {arch} takes work; connect \
                 one, or cancel the build and set repeat_percent = 0 for its package"
            ),
            Self::TooMuch { needs, memory_mib, disk_mib, labelled } => {
                let lacks = lacks(needs, *memory_mib, *disk_mib, *labelled);
                write!(f, "needs {}; {}", needs.shown(), lacks.join(", "))
            }
            Self::Behind { tasks: 0, starts_in } if starts_in.is_zero() => f.write_str("is next"),
            Self::Behind { tasks: 0, starts_in } => {
                write!(f, "is next, when a worker gets free, {}", about(*starts_in))
            }
            Self::Behind { tasks, starts_in } => {
                let s = if *tasks == 1 { "" } else { "s" };
                write!(f, "behind {tasks} task{s}, {}", about(*starts_in))
            }
        }
    }
}

/// The needs of a task that the workers do not meet, when the best of them has these resources.
fn lacks(needs: &Needs, memory_mib: u64, disk_mib: u64, labelled: bool) -> Vec<String> {
    let mut lacks = Vec::new();
    if needs.memory_mib > memory_mib {
        lacks.push(format!("the largest worker has {}", size(memory_mib)));
    }
    if needs.disk_mib > disk_mib {
        lacks.push(format!("the most free disk is {}", size(disk_mib)));
    }
    if !needs.label.is_empty() && !labelled {
        lacks.push("no worker has that label".to_owned());
    }
    if lacks.is_empty() {
        lacks.push("no worker has all of that".to_owned());
    }
    lacks
}

/// A running task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Running {
    pub started: Timestamp,
    /// The usual duration of such tasks; zero when it is unknown.
    pub takes: Duration,
    /// Whether it makes an SRPM.
    pub srpm: bool,
}

impl Running {
    /// The estimated rest of its time. A task that has exceeded its usual duration counts as about
    /// to end.
    fn left(&self, now: Timestamp) -> Duration {
        let takes = if self.takes.is_zero() { UNKNOWN } else { self.takes };
        takes.saturating_sub(now.since(self.started)).max(takes / 10)
    }
}

/// The tasks for an architecture that go before a task: SRPMs before an SRPM, the others before
/// another.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ahead {
    pub tasks: u64,
    /// The number of these whose duration is known.
    pub known: u64,
    /// The sum of their durations.
    pub known_take: Duration,
}

impl Ahead {
    /// The total duration of all of them. Tasks of unknown duration count as the average of the
    /// others.
    fn total(&self) -> Duration {
        let known = u32::try_from(self.known).unwrap_or(u32::MAX);
        let unknown = u32::try_from(self.tasks.saturating_sub(self.known)).unwrap_or(u32::MAX);
        let each = if known > 0 { self.known_take / known } else { UNKNOWN };
        self.known_take.saturating_add(each.saturating_mul(unknown))
    }
}

/// The facts of a worker that matching does not need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerSummary<'a> {
    /// The worker, as matching sees it.
    pub worker: WorkerCapacity<'a>,
    /// Whether it is connected.
    pub connected: bool,
    /// When it was heard.
    pub heard: Timestamp,
    /// Why it takes no new work; empty when it does.
    pub holds_back: String,
    pub running: &'a [Running],
}

impl WorkerSummary<'_> {
    /// For each slot that a kind of task may use, the estimated time until it is free; zero for a
    /// free one.
    fn busy(&self, srpm: bool, now: Timestamp) -> impl Iterator<Item = Duration> {
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let busy_srpms = count(self.running.iter().filter(|one| one.srpm).count());
        let busy = count(self.running.len());
        let idle = WorkerCandidate { busy, busy_srpms, ..self.worker.candidate }.free(srpm);
        let left = self.running.iter().filter(move |one| srpm || !one.srpm);
        let left = left.map(move |one| one.left(now));
        left.chain(std::iter::repeat_n(Duration::ZERO, idle as usize))
    }
}

/// Why a queued task waits: no worker takes it, or others go first.
#[must_use]
pub fn why(
    task: &WaitingTask<'_>,
    workers: &[WorkerSummary<'_>],
    ahead: &Ahead,
    now: Timestamp,
) -> WaitReason {
    if let Some(why) = why_none(task, workers) {
        return why;
    }
    let able = workers.iter().filter(|seen| seen.worker.is_able(task));
    let busy: Vec<Duration> = able.flat_map(|seen| seen.busy(task.srpm, now)).collect();
    let starts_in = starts_in(&busy, ahead.total()).unwrap_or_default();
    WaitReason::Behind { tasks: ahead.tasks, starts_in }
}

/// Why no worker takes a task; `None` when one would as soon as it is free.
#[must_use]
pub fn why_none(task: &WaitingTask<'_>, workers: &[WorkerSummary<'_>]) -> Option<WaitReason> {
    let arch = task.arch;
    let of_arch = || {
        let able = |seen: &&WorkerSummary<'_>| seen.worker.candidate.is_able(arch, task.emulation);
        workers.iter().filter(able)
    };
    let connected = || of_arch().filter(|seen| seen.connected);
    if connected().next().is_none() {
        // A connected worker offers the architecture and may not build it: that is the problem to
        // solve, whichever workers were connected before.
        let claims = |seen: &&WorkerSummary<'_>| {
            seen.connected && seen.worker.candidate.arches.contains(&arch)
        };
        let name = |seen: &WorkerSummary<'_>| seen.worker.candidate.name.to_owned();
        let emulate: Vec<String> = workers.iter().filter(claims).map(name).collect();
        if !emulate.is_empty() {
            return Some(WaitReason::OnlyEmulated { arch, workers: emulate });
        }
        let heard = of_arch().map(|seen| seen.heard).max();
        return Some(WaitReason::NoWorker { arch, heard });
    }
    let takes = || connected().map(|seen| &seen.worker).filter(|worker| worker.candidate.ready);
    if takes().next().is_none() {
        let reason = |seen: &WorkerSummary<'_>| {
            format!("{} {}", seen.worker.candidate.name, seen.holds_back)
        };
        return Some(WaitReason::NoneTakes { arch, reasons: connected().map(reason).collect() });
    }
    if takes().any(|worker| worker.is_able(task)) {
        return None;
    }
    if takes().all(|worker| worker.candidate.name == task.except) {
        return Some(WaitReason::OnlyMaker { arch, worker: task.except.to_owned() });
    }
    Some(WaitReason::TooMuch {
        needs: task.needs.clone(),
        memory_mib: takes().map(|worker| worker.memory_mib).max().unwrap_or(0),
        disk_mib: takes().map(|worker| worker.disk_mib).max().unwrap_or(0),
        labelled: takes().any(|worker| worker.labels.contains(&task.needs.label)),
    })
}

/// The estimated time until a task starts. `busy` has for each slot that it could use the time
/// until that slot is free; `ahead` is the total duration of all tasks that go first. `None` when
/// there are no slots.
///
/// Work is treated as divisible: each slot takes a part of it as soon as it is free.
#[must_use]
pub fn starts_in(busy: &[Duration], ahead: Duration) -> Option<Duration> {
    let mut busy = busy.to_vec();
    busy.sort_unstable();
    let (mut level, mut rest) = (*busy.first()?, ahead);
    for (slots, next) in (1_u32..).zip(busy.iter().skip(1).copied().chain([Duration::MAX])) {
        let room = next.saturating_sub(level).saturating_mul(slots);
        if rest <= room {
            return Some(level.saturating_add(rest / slots));
        }
        (level, rest) = (next, rest - room);
    }
    Some(level)
}

/// `about 6 min`.
#[must_use]
pub fn about(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        ..50 => "in less than a minute".to_owned(),
        50..5_400 => format!("about {} min", (seconds + 30) / 60),
        5_400..172_800 => format!("about {} h", (seconds + 1_800) / 3_600),
        _ => format!("about {} days", (seconds + 43_200) / 86_400),
    }
}

/// The time of day of a point in time, as `14:02 UTC`.
fn moment(at: Timestamp) -> String {
    let minutes = at.as_us().div_euclid(60_000_000).rem_euclid(24 * 60);
    format!("{:02}:{:02} UTC", minutes / 60, minutes % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const SECOND: Duration = Duration::from_secs(1);

    fn at(minute: u32) -> Timestamp {
        Timestamp::ZERO + minute * MINUTE
    }

    fn seen(name: &'static str, memory_mib: u64) -> WorkerSummary<'static> {
        let candidate = WorkerCandidate {
            name,
            arches: &[Arch::X86_64],
            emulated: &[],
            slots: 1,
            srpm_slots: 0,
            busy: 1,
            busy_srpms: 0,
            ready: true,
        };
        let worker = WorkerCapacity {
            candidate,
            memory_mib,
            memory_used_mib: 0,
            disk_mib: 1 << 20,
            labels: &[],
        };
        WorkerSummary {
            worker,
            connected: true,
            heard: Timestamp::ZERO + 842 * MINUTE,
            holds_back: String::new(),
            running: &[],
        }
    }

    fn text(needs: &Needs, workers: &[WorkerSummary<'_>]) -> String {
        let (arch, emulation, srpm) = (Arch::X86_64, false, false);
        let task = WaitingTask { arch, emulation, srpm, needs, avoid: &[], except: "" };
        why_none(&task, workers).map_or_else(String::new, |why| why.to_string())
    }

    #[test]
    fn a_task_says_what_it_lacks() {
        let none = Needs::default();
        assert!(text(&none, &[]).contains("no worker for x86_64 was ever connected"));
        let away = WorkerSummary { connected: false, ..seen("a", 1024) };
        assert_eq!(
            text(&none, std::slice::from_ref(&away)),
            "no worker for x86_64 connected since 14:02 UTC"
        );
        let mut held = WorkerSummary { holds_back: "is drained".into(), ..seen("a", 1024) };
        held.worker.candidate.ready = false;
        assert_eq!(text(&none, &[held, away]), "no worker for x86_64 takes work: a is drained");
        assert_eq!(text(&none, &[seen("a", 1024)]), "");
        let mut emulates = seen("a", 1024);
        emulates.worker.candidate.emulated = &[Arch::X86_64];
        assert!(text(&none, &[emulates]).starts_with("x86_64 is only emulated (by a), which"));
        let repeat = WaitingTask {
            arch: Arch::X86_64,
            emulation: false,
            srpm: false,
            needs: &none,
            avoid: &[],
            except: "a",
        };
        let why =
            why_none(&repeat, &[seen("a", 1024)]).map_or_else(String::new, |why| why.to_string());
        assert!(why.starts_with("repeats a task of a, and no other worker"), "{why}");
        assert_eq!(why_none(&repeat, &[seen("a", 1024), seen("b", 1024)]), None);
        let big = Needs { memory_mib: 32 << 10, label: "ssd".into(), ..Needs::default() };
        assert_eq!(
            text(&big, &[seen("a", 16 << 10), seen("b", 8 << 10)]),
            "needs 32 GiB of memory and the label ssd; the largest worker has 16 GiB, \
             no worker has that label"
        );
    }

    #[test]
    fn a_place_in_the_queue_is_told_in_time() {
        let behind = |tasks, starts_in| WaitReason::Behind { tasks, starts_in }.to_string();
        assert_eq!(behind(12, 6 * MINUTE), "behind 12 tasks, about 6 min");
        assert_eq!(behind(0, Duration::ZERO), "is next");
        assert_eq!(behind(0, 3 * MINUTE), "is next, when a worker gets free, about 3 min");
        assert_eq!(behind(1, 60 * 30 * MINUTE), "behind 1 task, about 30 h");
        assert_eq!(behind(9, 60 * 24 * 10 * MINUTE), "behind 9 tasks, about 10 days");
    }

    #[test]
    fn a_start_follows_from_what_runs_and_what_is_ahead() {
        let none = Needs::default();
        let task = WaitingTask {
            arch: Arch::X86_64,
            emulation: false,
            srpm: false,
            needs: &none,
            avoid: &[],
            except: "",
        };
        let running = |minute: u32, takes| Running { started: at(minute), takes, srpm: false };
        let starts = |of: &[Running], ahead: Ahead| match why(
            &task,
            &[WorkerSummary { running: of, ..seen("a", 1024) }],
            &ahead,
            at(10),
        ) {
            WaitReason::Behind { tasks, starts_in } => (tasks, starts_in),
            other => panic!("{other:?}"),
        };
        let nobody = Ahead::default();
        // Its slot is free.
        assert_eq!(starts(&[], nobody), (0, Duration::ZERO));
        // Half of it is done; it is far over its time; nothing is known of it.
        assert_eq!(starts(&[running(5, 10 * MINUTE)], nobody), (0, 5 * MINUTE));
        assert_eq!(starts(&[running(0, MINUTE)], nobody), (0, MINUTE / 10));
        assert_eq!(starts(&[running(10, Duration::ZERO)], nobody), (0, UNKNOWN));
        // Of one of three nothing is known: it counts as the other two.
        let ahead = Ahead { tasks: 3, known: 2, known_take: 8 * MINUTE };
        assert_eq!(starts(&[], ahead), (3, 12 * MINUTE));
        let ahead = Ahead { tasks: 2, ..Ahead::default() };
        assert_eq!(starts(&[], ahead), (2, 2 * UNKNOWN));
        let seen = [WorkerSummary { connected: false, ..seen("a", 1024) }];
        assert!(matches!(why(&task, &seen, &nobody, at(0)), WaitReason::NoWorker { .. }));
    }

    #[test]
    fn an_srpm_starts_in_its_own_slot_while_a_build_runs() {
        let none = Needs::default();
        let (arch, emulation) = (Arch::X86_64, false);
        let build =
            WaitingTask { arch, emulation, srpm: false, needs: &none, avoid: &[], except: "" };
        let running = |srpm| Running { started: at(0), takes: 10 * MINUTE, srpm };
        let starts = |running: &[Running], srpm| {
            let mut worker = WorkerSummary { running, ..seen("a", 1024) };
            worker.worker.candidate.srpm_slots = 1;
            let task = WaitingTask { srpm, ..build };
            match why(&task, &[worker], &Ahead::default(), at(0)) {
                WaitReason::Behind { starts_in, .. } => starts_in,
                other => panic!("{other}"),
            }
        };
        assert_eq!(starts(&[running(false)], true), Duration::ZERO);
        assert_eq!(starts(&[running(false)], false), 10 * MINUTE);
        assert_eq!(starts(&[running(true)], false), Duration::ZERO);
        assert_eq!(starts(&[running(true), running(false)], true), 10 * MINUTE);
    }

    #[test]
    fn only_a_farm_without_workers_is_told_to_start_one() {
        let never = WaitReason::NoWorker { arch: Arch::X86_64, heard: None };
        assert_eq!(never.remedy(), Some(Remedy::StartWorker));
        let heard = Some(Timestamp::from_us(1));
        assert_eq!(WaitReason::NoWorker { arch: Arch::X86_64, heard }.remedy(), None);
    }

    #[test]
    fn work_ahead_is_shared_by_the_slots() {
        let starts = |busy: &[u32], ahead: u32| {
            let busy: Vec<Duration> = busy.iter().map(|seconds| *seconds * SECOND).collect();
            starts_in(&busy, ahead * SECOND).map(|starts| starts.as_secs())
        };
        assert_eq!(starts(&[], 5), None);
        assert_eq!(starts(&[0], 0), Some(0));
        assert_eq!(starts(&[7], 10), Some(17));
        assert_eq!(starts(&[4, 0], 2), Some(2));
        assert_eq!(starts(&[4, 0], 10), Some(7));
        assert_eq!(starts(&[0, 10], 4), Some(4));
    }

    proptest::proptest! {
        /// A start is not before the first slot is free, and not after one slot has done all.
        #[test]
        fn an_estimate_is_within_its_bounds(
            busy in proptest::collection::vec(0_u64..1 << 40, 1..20), ahead in 0_u64..1 << 50
        ) {
            let busy: Vec<Duration> = busy.into_iter().map(Duration::from_micros).collect();
            let ahead = Duration::from_micros(ahead);
            let least = busy.iter().copied().min().unwrap_or_default();
            let starts = starts_in(&busy, ahead).expect("there are slots");
            proptest::prop_assert!(starts >= least && starts <= least + ahead);
        }
    }
}
