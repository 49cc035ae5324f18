//! Which of several coordinators runs a stage: one at a time, under an epoch, and another one when
//! its holder is dead.
//!
//! A coordinator raises its heartbeat in the database while it is alive. Each observer decides on
//! its own monotonic clock: a coordinator whose heartbeat stood still for the takeover time is
//! dead. No clocks are compared, and a coordinator that was only slow is fenced by the epoch, which
//! rises with each change of the holder.
//!
//! Times are durations since a moment that each observer chooses for itself.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::StageEpoch;

/// How often a coordinator raises its heartbeat.
pub const BEAT: Duration = Duration::from_secs(1);

/// How long a heartbeat stands still until its coordinator counts as dead, by default.
pub const TAKEOVER: Duration = Duration::from_secs(6);

/// The heartbeats of the coordinators, as one observer has seen them.
#[derive(Debug, Clone, Default)]
pub struct HeartbeatMonitor {
    seen: BTreeMap<String, ObservedHeartbeat>,
}

/// A heartbeat, and since when the observer has seen it stand still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ObservedHeartbeat {
    beat: i64,
    since: Duration,
}

impl HeartbeatMonitor {
    /// Records the heartbeats of all coordinators that have a row now; the others are forgotten.
    pub fn observe<'a>(&mut self, beats: impl IntoIterator<Item = (&'a str, i64)>, now: Duration) {
        let before = std::mem::take(&mut self.seen);
        for (id, beat) in beats {
            let pulse = match before.get(id) {
                Some(pulse) if pulse.beat == beat => *pulse,
                _ => ObservedHeartbeat { beat, since: now },
            };
            self.seen.insert(id.to_owned(), pulse);
        }
    }

    /// How long a coordinator's heartbeat has stood still; `None` for an unknown coordinator.
    #[must_use]
    pub fn stands_still(&self, id: &str, now: Duration) -> Option<Duration> {
        self.seen.get(id).map(|pulse| now.saturating_sub(pulse.since))
    }

    /// Whether a coordinator counts as alive.
    #[must_use]
    pub fn is_alive(&self, id: &str, now: Duration, takeover: Duration) -> bool {
        self.stands_still(id, now).is_some_and(|still| still < takeover)
    }

    /// The heartbeat that was seen last.
    #[must_use]
    pub fn beat(&self, id: &str) -> Option<i64> {
        self.seen.get(id).map(|pulse| pulse.beat)
    }
}

/// A stage's lease as it is in the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageLease {
    /// The coordinator that holds it.
    pub holder: String,
    /// One more for each change of the holder.
    pub epoch: StageEpoch,
}

/// The decision on the lease of a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseDecision {
    /// The coordinator holds it already, under this epoch.
    Keep(StageEpoch),
    /// The coordinator should take it: the database decides which of several does. The lease and
    /// the holder's heartbeat must still have the observed values.
    Take,
    Leave,
}

/// Decides on a stage for the coordinator `me`, which holds it under `held`, as far as it knows.
#[must_use]
pub fn claim(
    me: &str,
    held: Option<StageEpoch>,
    lease: Option<&StageLease>,
    watch: &HeartbeatMonitor,
    now: Duration,
    takeover: Duration,
) -> LeaseDecision {
    match lease {
        None => LeaseDecision::Take,
        Some(lease) if lease.holder == me => match held {
            Some(epoch) if epoch == lease.epoch => LeaseDecision::Keep(epoch),
            // An earlier process of this coordinator had it.
            _ => LeaseDecision::Take,
        },
        Some(lease) if watch.is_alive(&lease.holder, now, takeover) => LeaseDecision::Leave,
        Some(_) => LeaseDecision::Take,
    }
}

/// Whether a coordinator may still begin work of its stages. `confirmed` is when its last heartbeat
/// was confirmed by the database: after half the takeover time the coordinator stops by itself,
/// well before others may take over. (Work that was begun is stopped by the epoch.)
#[must_use]
pub fn may_begin(confirmed: Duration, now: Duration, takeover: Duration) -> bool {
    now.saturating_sub(confirmed) < takeover / 2
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn lease(holder: &str, epoch: i64) -> StageLease {
        let epoch = StageEpoch(epoch);
        StageLease { holder: holder.into(), epoch }
    }

    #[test]
    fn a_beat_that_stands_still_is_dead_and_one_that_is_gone_too() {
        let mut watch = HeartbeatMonitor::default();
        watch.observe([("a", 1), ("b", 1)], s(100));
        watch.observe([("a", 1), ("b", 2)], s(105));
        assert_eq!(watch.stands_still("a", s(105)), Some(s(5)));
        assert!(watch.is_alive("a", s(105), TAKEOVER));
        assert!(!watch.is_alive("a", s(106), TAKEOVER));
        assert!(watch.is_alive("b", s(106), TAKEOVER));
        watch.observe([("b", 3)], s(106));
        assert!(!watch.is_alive("a", s(106), TAKEOVER));
        assert_eq!(watch.beat("b"), Some(3));
    }

    #[test]
    fn claims() {
        let mut watch = HeartbeatMonitor::default();
        watch.observe([("me", 1), ("you", 1)], s(0));
        let decide = |held: Option<i64>, lease: Option<StageLease>, now| {
            claim("me", held.map(StageEpoch), lease.as_ref(), &watch, now, TAKEOVER)
        };
        assert_eq!(decide(None, None, s(1)), LeaseDecision::Take);
        assert_eq!(decide(Some(3), Some(lease("me", 3)), s(1)), LeaseDecision::Keep(StageEpoch(3)));
        assert_eq!(
            decide(None, Some(lease("me", 3)), s(1)),
            LeaseDecision::Take,
            "an earlier life's"
        );
        assert_eq!(decide(None, Some(lease("you", 3)), s(1)), LeaseDecision::Leave);
        assert_eq!(
            decide(Some(2), Some(lease("you", 3)), s(5)),
            LeaseDecision::Leave,
            "it was lost"
        );
        assert_eq!(decide(None, Some(lease("you", 3)), s(6)), LeaseDecision::Take);
        assert_eq!(decide(None, Some(lease("gone", 3)), s(1)), LeaseDecision::Take);
        assert!(may_begin(s(10), s(12), TAKEOVER));
        assert!(!may_begin(s(10), s(13), TAKEOVER));
    }

    /// One coordinator of the property below. Its clock began at another time than the others'.
    #[derive(Debug, Default)]
    struct Coordinator {
        clock: Duration,
        watch: HeartbeatMonitor,
        held: Option<StageEpoch>,
        paused: bool,
    }

    /// A step: for so many milliseconds nothing happens, then a coordinator is paused or goes on,
    /// and those that are not paused observe in turn.
    fn steps() -> impl Strategy<Value = Vec<(u64, Option<(usize, bool)>)>> {
        let toggle = proptest::option::weighted(0.2, (0..3_usize, any::<bool>()));
        proptest::collection::vec((100..2500_u64, toggle), 1..120)
    }

    proptest! {
        /// A stage changes hands only when its holder's beat has stood still for a takeover; its
        /// epoch rises by one with each change; and who lives alone has it in the end.
        #[test]
        fn one_holder_at_a_time_and_never_none_for_long(
            steps in steps(),
            offsets in proptest::array::uniform3(0..1_000_000_u64),
        ) {
            let names = ["a", "b", "c"];
            let mut all = offsets.map(|offset| Coordinator {
                clock: Duration::from_millis(offset), ..Default::default()
            });
            let mut beats = [0_i64; 3];
            let mut beaten = [Duration::ZERO; 3];
            let mut time = Duration::ZERO;
            let mut stage: Option<StageLease> = None;
            for (millis, toggle) in steps {
                let step = Duration::from_millis(millis);
                time += step;
                all.iter_mut().for_each(|one| one.clock += step);
                if let Some((index, paused)) = toggle {
                    all[index].paused = paused;
                }
                for (index, one) in all.iter_mut().enumerate().filter(|(_, one)| !one.paused) {
                    beats[index] += 1;
                    beaten[index] = time;
                    one.watch.observe(names.into_iter().zip(beats), one.clock);
                    match claim(names[index], one.held, stage.as_ref(), &one.watch, one.clock, TAKEOVER) {
                        LeaseDecision::Keep(epoch) => prop_assert_eq!(Some(epoch), stage.as_ref().map(|l| l.epoch)),
                        LeaseDecision::Leave => one.held = None,
                        LeaseDecision::Take => {
                            if let Some(before) = &stage && before.holder != names[index] {
                                let holder = names.iter().position(|name| *name == before.holder).unwrap();
                                prop_assert!(time - beaten[holder] >= TAKEOVER, "taken from the living");
                            }
                            let epoch = stage.as_ref().map_or(0, |lease| lease.epoch.0) + 1;
                            stage = Some(lease(names[index], epoch));
                            one.held = Some(StageEpoch(epoch));
                        }
                    }
                }
            }
            // All but one die: it has the stage after a takeover and a beat.
            let last = &mut all[2];
            last.watch.observe(names.into_iter().zip(beats), last.clock);
            last.clock += TAKEOVER;
            beats[2] += 1;
            last.watch.observe(names.into_iter().zip(beats), last.clock);
            let claim = claim("c", last.held, stage.as_ref(), &last.watch, last.clock, TAKEOVER);
            prop_assert_ne!(claim, LeaseDecision::Leave);
        }
    }
}
