//! Why a task waits for a worker, and when it will have one.

use std::fmt;

use super::ReasonCode;
use crate::matching::{Waiting, Worker};
use crate::needs::{Needs, size};
use crate::remedy::Remedy;
use crate::{Arch, Timestamp};

/// What a task takes of which nothing was learned, in microseconds.
pub const UNKNOWN_US: i64 = 5 * 60 * 1_000_000;

/// Why a task waits for a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// None is connected.
    NoWorker {
        /// The architecture.
        arch: Arch,
        /// When the last one was heard; `None` when none ever was.
        heard: Option<Timestamp>,
    },
    /// Those that are connected run it under emulation only, which the target does not allow.
    OnlyEmulated {
        /// The architecture.
        arch: Arch,
        /// Who they are.
        workers: Vec<String>,
    },
    /// Those that are connected take nothing new.
    NoneTakes {
        /// The architecture.
        arch: Arch,
        /// What holds them back, each with its name.
        reasons: Vec<String>,
    },
    /// It repeats what the only one that could take it has made.
    OnlyMaker {
        /// The architecture.
        arch: Arch,
        /// Who made it.
        worker: String,
    },
    /// It needs more than any of them has.
    TooMuch {
        /// What it needs.
        needs: Needs,
        /// The most memory of one that takes work, in MiB.
        memory_mib: u64,
        /// The most free disk, in MiB.
        disk_mib: u64,
        /// Whether one has the label.
        labelled: bool,
    },
    /// Others go first.
    Behind {
        /// How many.
        tasks: u64,
        /// How long it takes until it starts, in microseconds, as far as is known.
        starts_in_us: i64,
    },
}

impl Why {
    /// A word for programs.
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

    /// What a person can do about it, beyond what the text says.
    #[must_use]
    pub const fn remedy(&self) -> Option<Remedy> {
        match self {
            Self::NoWorker { heard: None, .. } => Some(Remedy::StartWorker),
            _ => None,
        }
    }
}

impl fmt::Display for Why {
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
                "repeats what {worker} has made, and no other worker for {arch} takes work; connect \
                 one, or cancel the build and set repeat_percent = 0 for its package"
            ),
            Self::TooMuch { needs, memory_mib, disk_mib, labelled } => {
                let lacks = lacks(needs, *memory_mib, *disk_mib, *labelled);
                write!(f, "needs {}; {}", needs.shown(), lacks.join(", "))
            }
            Self::Behind { tasks: 0, starts_in_us: 0 } => f.write_str("is next"),
            Self::Behind { tasks: 0, starts_in_us } => {
                write!(f, "is next, when a worker gets free, {}", about(*starts_in_us))
            }
            Self::Behind { tasks, starts_in_us } => {
                let s = if *tasks == 1 { "" } else { "s" };
                write!(f, "behind {tasks} task{s}, {}", about(*starts_in_us))
            }
        }
    }
}

/// What workers lack of what a task needs, where the best of them has so much.
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

/// A task that a worker has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Running {
    /// Since when, in microseconds since 1970.
    pub started_us: i64,
    /// What such tasks take, in microseconds; 0 when nothing is known.
    pub takes_us: i64,
}

impl Running {
    /// How long it goes on, in microseconds. What is over its time ends some time.
    fn left_us(&self, now_us: i64) -> i64 {
        let takes = if self.takes_us > 0 { self.takes_us } else { UNKNOWN_US };
        (takes - (now_us - self.started_us)).max(takes / 10)
    }
}

/// The tasks for an architecture that go before a task.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ahead {
    /// How many.
    pub tasks: u64,
    /// Of how many of these it is known what they take.
    pub known: u64,
    /// What those take together, in microseconds.
    pub known_us: i64,
}

impl Ahead {
    /// What all of them take. Those of which nothing is known count as the average of the others.
    fn total_us(&self) -> i64 {
        let known = i64::try_from(self.known).unwrap_or(i64::MAX);
        let unknown = i64::try_from(self.tasks - self.known.min(self.tasks)).unwrap_or(i64::MAX);
        let each = if known > 0 { self.known_us / known } else { UNKNOWN_US };
        self.known_us.saturating_add(unknown.saturating_mul(each))
    }
}

/// What is known of a worker beyond what matching needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen<'a> {
    /// As matching sees it.
    pub worker: Worker<'a>,
    /// Whether it is connected.
    pub connected: bool,
    /// When it was heard.
    pub heard: Timestamp,
    /// Why it takes nothing new; empty when it does.
    pub holds_back: String,
    /// What it runs.
    pub running: &'a [Running],
}

impl Seen<'_> {
    /// For each of its slots how long what runs there goes on, 0 for a free one.
    fn busy_us(&self, now_us: i64) -> impl Iterator<Item = i64> {
        let idle = (self.worker.candidate.slots as usize).saturating_sub(self.running.len());
        let left = self.running.iter().map(move |one| one.left_us(now_us));
        left.chain(std::iter::repeat_n(0, idle))
    }
}

/// Why a task that is queued waits: no worker takes it, or others go first.
#[must_use]
pub fn why(task: &Waiting<'_>, workers: &[Seen<'_>], ahead: &Ahead, now_us: i64) -> Why {
    if let Some(why) = why_none(task, workers) {
        return why;
    }
    let able = workers.iter().filter(|seen| seen.worker.is_able(task));
    let busy_us: Vec<i64> = able.flat_map(|seen| seen.busy_us(now_us)).collect();
    let starts_in_us = starts_in_us(&busy_us, ahead.total_us()).unwrap_or(0);
    Why::Behind { tasks: ahead.tasks, starts_in_us }
}

/// Why no worker takes a task, or `None` when one would as soon as it is free.
#[must_use]
pub fn why_none(task: &Waiting<'_>, workers: &[Seen<'_>]) -> Option<Why> {
    let arch = task.arch;
    let of_arch = || {
        let able = |seen: &&Seen<'_>| seen.worker.candidate.is_able(arch, task.emulation);
        workers.iter().filter(able)
    };
    let connected = || of_arch().filter(|seen| seen.connected);
    if connected().next().is_none() {
        // Somebody claims it, and may not: that is what there is to mend, whoever was there before.
        let claims =
            |seen: &&Seen<'_>| seen.connected && seen.worker.candidate.arches.contains(&arch);
        let name = |seen: &Seen<'_>| seen.worker.candidate.name.to_owned();
        let emulate: Vec<String> = workers.iter().filter(claims).map(name).collect();
        if !emulate.is_empty() {
            return Some(Why::OnlyEmulated { arch, workers: emulate });
        }
        let heard = of_arch().map(|seen| seen.heard).max();
        return Some(Why::NoWorker { arch, heard });
    }
    let takes = || connected().map(|seen| &seen.worker).filter(|worker| worker.candidate.ready);
    if takes().next().is_none() {
        let reason =
            |seen: &Seen<'_>| format!("{} {}", seen.worker.candidate.name, seen.holds_back);
        return Some(Why::NoneTakes { arch, reasons: connected().map(reason).collect() });
    }
    if takes().any(|worker| worker.is_able(task)) {
        return None;
    }
    if takes().all(|worker| worker.candidate.name == task.except) {
        return Some(Why::OnlyMaker { arch, worker: task.except.to_owned() });
    }
    Some(Why::TooMuch {
        needs: task.needs.clone(),
        memory_mib: takes().map(|worker| worker.memory_mib).max().unwrap_or(0),
        disk_mib: takes().map(|worker| worker.disk_mib).max().unwrap_or(0),
        labelled: takes().any(|worker| worker.labels.contains(&task.needs.label)),
    })
}

/// How long it takes until a task starts: `busy_us` is for each slot that it could use how long
/// what runs there goes on, 0 for a free one; `ahead_us` is the time of all tasks that go first.
/// `None` when there are no slots.
///
/// Work is taken as if it could be poured: each slot takes some of it as soon as it is free.
#[must_use]
pub fn starts_in_us(busy_us: &[i64], ahead_us: i64) -> Option<i64> {
    let mut busy: Vec<i64> = busy_us.iter().map(|us| (*us).max(0)).collect();
    busy.sort_unstable();
    let (mut level, mut rest) = (*busy.first()?, ahead_us.max(0));
    for (slots, next) in (1_i64..).zip(busy.iter().skip(1).copied().chain([i64::MAX])) {
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
pub fn about(us: i64) -> String {
    let seconds = us / 1_000_000;
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
    use crate::placement::Candidate;

    const MINUTE: i64 = 60_000_000;

    fn seen(name: &'static str, memory_mib: u64) -> Seen<'static> {
        let candidate = Candidate {
            name,
            arches: &[Arch::X86_64],
            emulated: &[],
            slots: 1,
            busy: 1,
            ready: true,
        };
        let worker =
            Worker { candidate, memory_mib, memory_used_mib: 0, disk_mib: 1 << 20, labels: &[] };
        Seen {
            worker,
            connected: true,
            heard: Timestamp::from_us(842 * MINUTE),
            holds_back: String::new(),
            running: &[],
        }
    }

    fn text(needs: &Needs, workers: &[Seen<'_>]) -> String {
        let task = Waiting { arch: Arch::X86_64, emulation: false, needs, avoid: &[], except: "" };
        why_none(&task, workers).map_or_else(String::new, |why| why.to_string())
    }

    #[test]
    fn a_task_says_what_it_lacks() {
        let none = Needs::default();
        assert!(text(&none, &[]).contains("no worker for x86_64 was ever connected"));
        let away = Seen { connected: false, ..seen("a", 1024) };
        assert_eq!(
            text(&none, std::slice::from_ref(&away)),
            "no worker for x86_64 connected since 14:02 UTC"
        );
        let mut held = Seen { holds_back: "is drained".into(), ..seen("a", 1024) };
        held.worker.candidate.ready = false;
        assert_eq!(text(&none, &[held, away]), "no worker for x86_64 takes work: a is drained");
        assert_eq!(text(&none, &[seen("a", 1024)]), "");
        let mut emulates = seen("a", 1024);
        emulates.worker.candidate.emulated = &[Arch::X86_64];
        assert!(text(&none, &[emulates]).starts_with("x86_64 is only emulated (by a), which"));
        let repeat =
            Waiting { arch: Arch::X86_64, emulation: false, needs: &none, avoid: &[], except: "a" };
        let why =
            why_none(&repeat, &[seen("a", 1024)]).map_or_else(String::new, |why| why.to_string());
        assert!(why.starts_with("repeats what a has made, and no other worker"), "{why}");
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
        let behind = |tasks, starts_in_us| Why::Behind { tasks, starts_in_us }.to_string();
        assert_eq!(behind(12, 6 * MINUTE), "behind 12 tasks, about 6 min");
        assert_eq!(behind(0, 0), "is next");
        assert_eq!(behind(0, 3 * MINUTE), "is next, when a worker gets free, about 3 min");
        assert_eq!(behind(1, 60 * MINUTE * 30), "behind 1 task, about 30 h");
        assert_eq!(behind(9, 60 * MINUTE * 24 * 10), "behind 9 tasks, about 10 days");
    }

    #[test]
    fn a_start_follows_from_what_runs_and_what_is_ahead() {
        let none = Needs::default();
        let task =
            Waiting { arch: Arch::X86_64, emulation: false, needs: &none, avoid: &[], except: "" };
        let running = |started_us, takes_us| Running { started_us, takes_us };
        let starts = |of: &[Running], ahead: Ahead| match why(
            &task,
            &[Seen { running: of, ..seen("a", 1024) }],
            &ahead,
            10 * MINUTE,
        ) {
            Why::Behind { tasks, starts_in_us } => (tasks, starts_in_us),
            other => panic!("{other:?}"),
        };
        let nobody = Ahead::default();
        // Its slot is free.
        assert_eq!(starts(&[], nobody), (0, 0));
        // Half of it is done; it is far over its time; nothing is known of it.
        assert_eq!(starts(&[running(5 * MINUTE, 10 * MINUTE)], nobody), (0, 5 * MINUTE));
        assert_eq!(starts(&[running(0, MINUTE)], nobody), (0, MINUTE / 10));
        assert_eq!(starts(&[running(10 * MINUTE, 0)], nobody), (0, UNKNOWN_US));
        // Of one of three nothing is known: it counts as the other two.
        let ahead = Ahead { tasks: 3, known: 2, known_us: 8 * MINUTE };
        assert_eq!(starts(&[], ahead), (3, 12 * MINUTE));
        assert_eq!(starts(&[], Ahead { tasks: 2, known: 0, known_us: 0 }), (2, 2 * UNKNOWN_US));
        let seen = [Seen { connected: false, ..seen("a", 1024) }];
        assert!(matches!(why(&task, &seen, &nobody, 0), Why::NoWorker { .. }));
    }

    #[test]
    fn only_a_farm_without_workers_is_told_to_start_one() {
        let never = Why::NoWorker { arch: Arch::X86_64, heard: None };
        assert_eq!(never.remedy(), Some(Remedy::StartWorker));
        let heard = Some(Timestamp::from_us(1));
        assert_eq!(Why::NoWorker { arch: Arch::X86_64, heard }.remedy(), None);
    }

    #[test]
    fn work_ahead_is_shared_by_the_slots() {
        assert_eq!(starts_in_us(&[], 5), None);
        assert_eq!(starts_in_us(&[0], 0), Some(0));
        assert_eq!(starts_in_us(&[7], 10), Some(17));
        assert_eq!(starts_in_us(&[4, 0], 2), Some(2));
        assert_eq!(starts_in_us(&[4, 0], 10), Some(7));
        assert_eq!(starts_in_us(&[-3, 10], 4), Some(4));
    }

    proptest::proptest! {
        /// A start is not before the first slot is free, and not after one slot has done all.
        #[test]
        fn an_estimate_is_within_its_bounds(
            busy in proptest::collection::vec(0_i64..1 << 40, 1..20), ahead in 0_i64..1 << 50
        ) {
            let least = busy.iter().copied().min().unwrap_or(0);
            let starts = starts_in_us(&busy, ahead).unwrap_or(-1);
            proptest::prop_assert!(starts >= least && starts <= least + ahead);
        }
    }
}
