//! When a repository is looked at next: busy ones oftener, never all at once.
//!
//! Jitter is derived from a seed and from what it is for, so that a test sees the same schedule
//! each time and a thousand packages do not.

use super::push::Change;

const SECOND: i64 = 1_000_000;

/// A webhook that told of a push is believed for so long, in microseconds, while the server still shows
/// the old commit.
pub(super) const BELIEVED_US: i64 = 120 * SECOND;

/// Whether what a webhook told at a time is still expected to be seen.
#[must_use]
pub const fn is_hint_believed(told_us: i64, now_us: i64) -> bool {
    now_us - told_us < BELIEVED_US
}

/// The bounds of the time between two looks, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// For the busiest.
    pub shortest_us: i64,
    /// For the quietest.
    pub longest_us: i64,
}

/// How a look ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// The server answered.
    Saw(Change),
    /// The server answered, with another commit than a webhook told of at this time.
    NotYet {
        /// When the webhook came.
        told_us: i64,
    },
    /// The repository cannot be read, for a reason of its own; so many times in a row.
    Failed(u32),
}

/// When the next look is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Next {
    /// The time between looks from now on, in microseconds.
    pub interval_us: i64,
    /// When it is due.
    pub due_us: i64,
}

/// Decides when to look again. `interval_us` is what the last decision gave, 0 at first.
#[must_use]
pub fn next(pace: &Pace, interval_us: i64, look: Look, jitter: Jitter, now_us: i64) -> Next {
    let (shortest, longest) = (pace.shortest_us.max(SECOND), pace.longest_us.max(pace.shortest_us));
    let last = if interval_us == 0 { shortest } else { interval_us };
    let interval_us = match look {
        // Pushes come in bursts.
        Look::Saw(Change::Pushed) => shortest,
        Look::Saw(Change::Begin) => last,
        Look::Saw(Change::Same) => last.saturating_add(last / 4),
        Look::Saw(Change::Gone) => longest,
        Look::Failed(times) => last.saturating_mul(1 << times.min(6)),
        Look::NotYet { told_us } if is_hint_believed(told_us, now_us) => {
            // As long again as it has waited already: seven looks in two minutes.
            let pause = (now_us - told_us).clamp(SECOND, 60 * SECOND);
            return Next { interval_us: last, due_us: now_us + jitter.spread(pause) };
        }
        Look::NotYet { .. } => last,
    };
    let interval_us = interval_us.clamp(shortest, longest);
    Next { interval_us, due_us: now_us + jitter.spread(interval_us) }
}

/// When the first looks are due at `count` packages that are added together: one after the other
/// with a pause, so that no host gets them at once.
#[must_use]
pub const fn first(index: usize, pause_us: i64, now_us: i64) -> i64 {
    now_us + index as i64 * pause_us
}

/// A number that looks random and is the same for the same seed, name and turn.
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

    /// A time within a quarter of this one, to either side.
    #[must_use]
    pub const fn spread(self, us: i64) -> i64 {
        let half = us / 4;
        us - half + (self.0 % (2 * half.unsigned_abs() + 1)).cast_signed()
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

    const PACE: Pace = Pace { shortest_us: 60 * SECOND, longest_us: 3600 * SECOND };

    fn at(interval_us: i64, look: Look) -> i64 {
        next(&PACE, interval_us, look, Jitter::new(1, "x", 1), 0).interval_us
    }

    #[test]
    fn busy_ones_oftener() {
        assert_eq!(at(0, Look::Saw(Change::Begin)), 60 * SECOND);
        assert_eq!(at(1000 * SECOND, Look::Saw(Change::Pushed)), 60 * SECOND);
        assert_eq!(at(1000 * SECOND, Look::Saw(Change::Same)), 1250 * SECOND);
        assert_eq!(at(3600 * SECOND, Look::Saw(Change::Same)), 3600 * SECOND);
        assert_eq!(at(60 * SECOND, Look::Saw(Change::Gone)), 3600 * SECOND);
        assert_eq!(at(60 * SECOND, Look::Failed(1)), 120 * SECOND);
        assert_eq!(at(60 * SECOND, Look::Failed(60)), 3600 * SECOND);
    }

    #[test]
    fn what_a_webhook_told_is_looked_for_soon_and_not_for_ever() {
        let look = Look::NotYet { told_us: 0 };
        let mut now = 0;
        let mut looks = 0;
        loop {
            let next = next(&PACE, 600 * SECOND, look, Jitter::new(1, "x", looks), now);
            looks += 1;
            if next.due_us - now > 100 * SECOND {
                break;
            }
            now = next.due_us;
        }
        assert!((4..15).contains(&looks), "{looks}");
        assert!(now < 250 * SECOND, "{now}");
    }

    #[test]
    fn the_same_seed_gives_the_same_schedule() {
        let schedule = |seed| -> Vec<i64> {
            (0..20).map(|turn| Jitter::new(seed, "bash", turn).spread(SECOND)).collect()
        };
        assert_eq!(schedule(1), schedule(1));
        assert_ne!(schedule(1), schedule(2));
    }

    #[test]
    fn never_a_herd() {
        // Three thousand packages that were looked at in the same instant.
        let looks = (0..3000).map(|n| {
            let jitter = Jitter::new(7, &format!("package{n}"), 1);
            next(&PACE, 3600 * SECOND, Look::Saw(Change::Same), jitter, 0).due_us
        });
        let mut per_second = std::collections::HashMap::new();
        for due in looks {
            *per_second.entry(due / SECOND).or_insert(0) += 1;
        }
        let most = per_second.values().max().copied().unwrap_or_default();
        // 1800 s wide, so 1.7 a second on average.
        assert!(most <= 12, "{most} looks within one second");
    }

    proptest! {
        #[test]
        fn within_its_bounds(
            shortest in 1i64..1000, wider in 0i64..10_000, last in 0i64..20_000,
            turn in any::<u64>(), kind in 0u32..6, now in 0i64..1_000_000,
        ) {
            let pace = Pace {
                shortest_us: shortest * SECOND, longest_us: (shortest + wider) * SECOND,
            };
            let look = match kind {
                0 => Look::Saw(Change::Same),
                1 => Look::Saw(Change::Pushed),
                2 => Look::Saw(Change::Begin),
                3 => Look::Saw(Change::Gone),
                4 => Look::Failed(turn as u32),
                _ => Look::NotYet { told_us: now - 1 },
            };
            let next = next(&pace, last * SECOND, look, Jitter::new(1, "x", turn), now);
            prop_assert!(next.due_us > now);
            prop_assert!(next.due_us - now <= pace.longest_us.max(60 * SECOND) / 4 * 5 + 1);
            if kind < 5 {
                prop_assert!(next.due_us - now >= pace.shortest_us / 4 * 3);
                prop_assert!((pace.shortest_us..=pace.longest_us).contains(&next.interval_us));
            }
        }
    }
}
