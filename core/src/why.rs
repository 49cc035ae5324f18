//! Why a task waits for a worker, and when it will have one.

use std::fmt;

use crate::matching::{Waiting, Worker};
use crate::needs::{Needs, size};
use crate::{Arch, Timestamp};

/// What a task takes of which nothing was learned, in microseconds.
pub const UNKNOWN_US: i64 = 5 * 60 * 1_000_000;

/// Why a task waits for a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    NoWorker {
        arch: Arch,
        /// When the last one was heard; `None` when none ever was.
        heard: Option<Timestamp>,
    },
    /// Those that are connected run it under emulation only, which the target does not allow.
    OnlyEmulated { arch: Arch, workers: Vec<String> },
    /// Those that are connected take nothing new.
    NoneTakes {
        arch: Arch,
        /// What holds them back, each with its name.
        reasons: Vec<String>,
    },
    /// It repeats what the only one that could take it has made.
    OnlyMaker { arch: Arch, worker: String },
    /// It needs more than any of them has.
    TooMuch {
        needs: Needs,
        /// The most memory of one that takes work, in MiB.
        memory_mib: u64,
        /// The most free disk, in MiB.
        disk_mib: u64,
        /// Whether one has the label.
        labelled: bool,
    },
    Behind {
        tasks: u64,
        /// How long it takes until it starts, in microseconds, as far as is known.
        starts_in_us: i64,
    },
}

impl Why {
    /// A word for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoWorker { .. } => "no-worker",
            Self::OnlyEmulated { .. } => "only-emulated",
            Self::NoneTakes { .. } => "no-worker-takes-work",
            Self::OnlyMaker { .. } => "no-other-worker",
            Self::TooMuch { .. } => "needs-too-much",
            Self::Behind { .. } => "queue",
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoWorker { arch, heard: None } => {
                write!(
                    f,
                    "no worker for {arch} was ever connected; start one (rpmfarm-worker --help)"
                )
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
                let mut lacks = Vec::new();
                if needs.memory_mib > *memory_mib {
                    lacks.push(format!("the largest worker has {}", size(*memory_mib)));
                }
                if needs.disk_mib > *disk_mib {
                    lacks.push(format!("the most free disk is {}", size(*disk_mib)));
                }
                if !needs.label.is_empty() && !labelled {
                    lacks.push("no worker has that label".to_owned());
                }
                if lacks.is_empty() {
                    lacks.push("no worker has all of that".to_owned());
                }
                write!(f, "needs {}; {}", needs.shown(), lacks.join(", "))
            }
            Self::Behind { tasks: 0, starts_in_us: 0 } => f.write_str("is next"),
            Self::Behind { tasks: 0, starts_in_us } => {
                write!(f, "is next when a worker becomes free, {}", about(*starts_in_us))
            }
            Self::Behind { tasks, starts_in_us } => {
                let s = if *tasks == 1 { "" } else { "s" };
                write!(f, "behind {tasks} task{s}, {}", about(*starts_in_us))
            }
        }
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
        let behind = |tasks, starts_in_us| Why::Behind { tasks, starts_in_us }.to_string();
        assert_eq!(behind(12, 6 * MINUTE), "behind 12 tasks, about 6 min");
        assert_eq!(behind(0, 0), "is next");
        assert_eq!(behind(0, 3 * MINUTE), "is next when a worker becomes free, about 3 min");
        assert_eq!(behind(1, 60 * MINUTE * 30), "behind 1 task, about 30 h");
        assert_eq!(behind(9, 60 * MINUTE * 24 * 10), "behind 9 tasks, about 10 days");
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
