//! The storm guard: too many builds at once are held until a person approves them.

use std::time::Duration;

use crate::{StormId, Timestamp};

/// How many builds may follow from pushes without approval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StormLimit {
    pub builds: usize,
    /// The time in which they are counted.
    pub window: Duration,
}

/// Why builds are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{wanted} builds at once after {started} in the last {seconds} s, at most {limit} are started \
     without approval"
)]
pub struct Storm {
    /// How many builds would have been started.
    pub wanted: usize,
    /// How many builds were started within the window.
    pub started: usize,
    pub limit: usize,
    /// The length of the window in seconds.
    pub seconds: u64,
}

/// The builds before this moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RecentBuilds {
    /// How many builds were started within the window.
    pub started: usize,
    /// How many builds wait in storms for pushes within the window.
    pub held: usize,
    /// The newest storm with a push that still waits, and when it began.
    pub open: Option<(StormId, Timestamp)>,
}

/// The guard's decision on builds that would start now: all may, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StormDecision {
    Start,
    /// They belong to this storm, which is not over.
    Join(StormId),
    /// They are a storm of their own.
    Hold(Storm),
}

/// Decides on builds that would start now. Half of a mass rebuild is worse than one that waits. It
/// is observed gradually, since no host is asked for everything at once; so pushes while a storm is
/// young, or continues, belong to it.
#[must_use]
pub fn admit(
    limit: &StormLimit,
    recent: &RecentBuilds,
    wanted: usize,
    now: Timestamp,
) -> StormDecision {
    if wanted == 0 {
        return StormDecision::Start;
    }
    let is_over = recent.started.saturating_add(recent.held).saturating_add(wanted) > limit.builds;
    match recent.open {
        Some((storm, began)) if is_over || now.since(began) < limit.window => {
            StormDecision::Join(storm)
        }
        _ if is_over => {
            let (started, seconds) = (recent.started, limit.window.as_secs());
            StormDecision::Hold(Storm { wanted, started, limit: limit.builds, seconds })
        }
        _ => StormDecision::Start,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::ZERO;

    fn started(started: usize) -> RecentBuilds {
        RecentBuilds { started, ..RecentBuilds::default() }
    }

    #[test]
    fn at_once_and_within_a_time() {
        let limit = StormLimit { builds: 10, window: Duration::from_secs(60) };
        assert_eq!(admit(&limit, &started(0), 10, NOW), StormDecision::Start);
        assert_eq!(admit(&limit, &started(9), 1, NOW), StormDecision::Start);
        assert!(matches!(admit(&limit, &started(10), 1, NOW), StormDecision::Hold(_)));
        let StormDecision::Hold(storm) = admit(&limit, &started(3), 8, NOW) else { panic!("held") };
        assert_eq!(
            storm.to_string(),
            "8 builds at once after 3 in the last 60 s, at most 10 are started without approval"
        );
        assert_eq!(admit(&limit, &started(50), 0, NOW), StormDecision::Start);
    }

    #[test]
    fn what_follows_belongs_to_the_storm_until_it_is_over() {
        let limit = StormLimit { builds: 10, window: Duration::from_micros(60) };
        let open = (StormId(7), Timestamp::from_us(100));
        let recent = |held| RecentBuilds { started: 0, held, open: Some(open) };
        let admit = |held, wanted, now| {
            super::admit(&limit, &recent(held), wanted, Timestamp::from_us(now))
        };
        let join = StormDecision::Join(StormId(7));
        // Young.
        assert_eq!(admit(0, 1, 159), join);
        // Old, but it goes on.
        assert_eq!(admit(10, 1, 900), join);
        // Old, and few have come since.
        assert_eq!(admit(9, 1, 160), StormDecision::Start);
        assert_eq!(admit(0, 11, 160), join);
    }

    proptest! {
        #[test]
        fn never_more_than_the_limit_and_no_storm_in_two(
            builds in 0usize..20, groups in prop::collection::vec(0usize..9, 0..9),
        ) {
            let limit = StormLimit { builds, window: Duration::from_micros(100) };
            let mut recent = RecentBuilds::default();
            let mut storms = 0;
            for (now, wanted) in (0..).map(Timestamp::from_us).zip(groups) {
                match admit(&limit, &recent, wanted, now) {
                    StormDecision::Start => {
                        prop_assert!(wanted == 0 || storms == 0, "a part was built");
                        recent.started += wanted;
                    }
                    StormDecision::Join(storm) => {
                        prop_assert_eq!(storm, StormId(1));
                        recent.held += wanted;
                    }
                    StormDecision::Hold(_) => {
                        storms += 1;
                        recent.held += wanted;
                        recent.open = Some((StormId(storms), now));
                    }
                }
                prop_assert!(recent.started <= builds && storms <= 1);
            }
        }
    }
}
