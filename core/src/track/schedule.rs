//! When a repository is polled next: busy ones more often, never all at once.
//!
//! Jitter is derived from a seed and a name, so that a test gets the same schedule each time and a
//! thousand packages get different ones.

use std::time::Duration;

use super::push::RefChange;
use crate::Timestamp;
use crate::time::span_us;

const SECOND: Duration = Duration::from_secs(1);

/// How long the push of a webhook is expected, while the server still shows the old commit.
pub(super) const BELIEVED: Duration = Duration::from_secs(120);

/// Whether the push of a webhook that came at a time is still expected.
#[must_use]
pub fn is_hint_believed(hinted_at: Timestamp, now: Timestamp) -> bool {
    now.since(hinted_at) < BELIEVED
}

/// The bounds of the time between two polls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PollPace {
    /// For the busiest.
    pub shortest: Duration,
    /// For the quietest.
    pub longest: Duration,
}

/// The outcome of a poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PollFinding {
    Observed(RefChange),
    /// The server answered, with another commit than the webhook of this time named.
    NotYet {
        /// When the webhook came.
        hinted_at: Timestamp,
    },
    /// The repository cannot be read, for a reason of its own; so many times in a row.
    Failed(u32),
}

/// When the next poll is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NextPoll {
    /// The time between polls from now on.
    pub interval: Duration,
    /// When it is due.
    pub due: Timestamp,
}

/// Decides when to poll again. `interval` is the one of the last decision, `None` at first.
#[must_use]
pub fn next(
    pace: &PollPace,
    interval: Option<Duration>,
    finding: PollFinding,
    jitter: Jitter,
    now: Timestamp,
) -> NextPoll {
    let (shortest, longest) = (pace.shortest.max(SECOND), pace.longest.max(pace.shortest));
    let last = interval.unwrap_or(shortest);
    let interval = match finding {
        // Pushes come in bursts.
        PollFinding::Observed(RefChange::Pushed) => shortest,
        PollFinding::Observed(RefChange::Begin) => last,
        PollFinding::Observed(RefChange::Same) => last.saturating_add(last / 4),
        PollFinding::Observed(RefChange::Gone) => longest,
        PollFinding::Failed(times) => last.saturating_mul(1 << times.min(6)),
        PollFinding::NotYet { hinted_at } if is_hint_believed(hinted_at, now) => {
            // The pause is as long as the wait so far: seven polls in two minutes.
            let pause = now.since(hinted_at).clamp(SECOND, 60 * SECOND);
            return NextPoll { interval: last, due: now + jitter.spread(pause) };
        }
        PollFinding::NotYet { .. } => last,
    };
    let interval = interval.clamp(shortest, longest);
    NextPoll { interval, due: now + jitter.spread(interval) }
}

/// When the first poll of a package is due that is the `index`th of those that are added together:
/// one after the other with a pause, so that no host gets all at once.
#[must_use]
pub fn first(index: usize, pause: Duration, now: Timestamp) -> Timestamp {
    now + pause.saturating_mul(u32::try_from(index).unwrap_or(u32::MAX))
}

/// A pseudo-random number, which is the same for the same seed, name and turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Jitter(u64);

impl Jitter {
    /// The jitter of a thing's turn.
    #[must_use]
    pub fn new(seed: u64, name: &str, turn: u64) -> Self {
        let mut state = seed ^ turn.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        for byte in name.bytes() {
            state = mix(state ^ u64::from(byte));
        }
        Self(mix(state))
    }

    /// A time within a quarter of this one, to either side, in whole microseconds.
    #[must_use]
    pub fn spread(self, time: Duration) -> Duration {
        let us = span_us(time).unsigned_abs();
        let quarter = us / 4;
        Duration::from_micros(us - quarter + self.0 % (2 * quarter + 1))
    }
}

/// The finaliser of SplitMix64.
const fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PACE: PollPace =
        PollPace { shortest: Duration::from_secs(60), longest: Duration::from_secs(3600) };
    const NOW: Timestamp = Timestamp::ZERO;

    /// The interval in seconds, after one of so many.
    fn after(seconds: u64, finding: PollFinding) -> u64 {
        let interval = Some(Duration::from_secs(seconds));
        next(&PACE, interval, finding, Jitter::new(1, "x", 1), NOW).interval.as_secs()
    }

    #[test]
    fn busy_ones_oftener() {
        let begin =
            next(&PACE, None, PollFinding::Observed(RefChange::Begin), Jitter::new(1, "x", 1), NOW);
        assert_eq!(begin.interval, PACE.shortest);
        assert_eq!(after(1000, PollFinding::Observed(RefChange::Pushed)), 60);
        assert_eq!(after(1000, PollFinding::Observed(RefChange::Same)), 1250);
        assert_eq!(after(3600, PollFinding::Observed(RefChange::Same)), 3600);
        assert_eq!(after(60, PollFinding::Observed(RefChange::Gone)), 3600);
        assert_eq!(after(60, PollFinding::Failed(1)), 120);
        assert_eq!(after(60, PollFinding::Failed(60)), 3600);
    }

    #[test]
    fn what_a_webhook_told_is_looked_for_soon_and_not_for_ever() {
        let finding = PollFinding::NotYet { hinted_at: NOW };
        let mut now = NOW;
        let mut polls = 0;
        loop {
            let next = next(&PACE, Some(600 * SECOND), finding, Jitter::new(1, "x", polls), now);
            polls += 1;
            if next.due.since(now) > 100 * SECOND {
                break;
            }
            now = next.due;
        }
        assert!((4..15).contains(&polls), "{polls}");
        assert!(now < NOW + 250 * SECOND, "{now}");
    }

    #[test]
    fn the_same_seed_gives_the_same_schedule() {
        let schedule = |seed| -> Vec<Duration> {
            (0..20).map(|turn| Jitter::new(seed, "bash", turn).spread(SECOND)).collect()
        };
        assert_eq!(schedule(1), schedule(1));
        assert_ne!(schedule(1), schedule(2));
    }

    #[test]
    fn never_a_herd() {
        // Three thousand packages that were polled in the same instant.
        let polls = (0..3000).map(|n| {
            let jitter = Jitter::new(7, &format!("package{n}"), 1);
            next(&PACE, Some(3600 * SECOND), PollFinding::Observed(RefChange::Same), jitter, NOW)
                .due
        });
        let mut per_second = std::collections::HashMap::new();
        for due in polls {
            *per_second.entry(due.since(NOW).as_secs()).or_insert(0) += 1;
        }
        let most = per_second.values().max().copied().unwrap_or_default();
        // 1800 s wide, so 1.7 a second on average.
        assert!(most <= 12, "{most} looks within one second");
    }

    proptest! {
        #[test]
        fn within_its_bounds(
            shortest in 1u64..1000, wider in 0u64..10_000, last in 0u64..20_000,
            turn in any::<u64>(), kind in 0u32..6, now in 0i64..1_000_000,
        ) {
            let now = Timestamp::from_us(now);
            let pace = PollPace {
                shortest: Duration::from_secs(shortest),
                longest: Duration::from_secs(shortest + wider),
            };
            let last = (last > 0).then_some(Duration::from_secs(last));
            let finding = match kind {
                0 => PollFinding::Observed(RefChange::Same),
                1 => PollFinding::Observed(RefChange::Pushed),
                2 => PollFinding::Observed(RefChange::Begin),
                3 => PollFinding::Observed(RefChange::Gone),
                4 => PollFinding::Failed(turn as u32),
                _ => PollFinding::NotYet { hinted_at: now - Duration::from_micros(1) },
            };
            let next = next(&pace, last, finding, Jitter::new(1, "x", turn), now);
            let pause = next.due.since(now);
            prop_assert!(pause > Duration::ZERO);
            let longest = pace.longest.max(60 * SECOND) / 4 * 5;
            prop_assert!(pause <= longest + Duration::from_micros(1));
            if kind < 5 {
                prop_assert!(pause >= pace.shortest / 4 * 3);
                prop_assert!((pace.shortest..=pace.longest).contains(&next.interval));
            }
        }
    }
}
