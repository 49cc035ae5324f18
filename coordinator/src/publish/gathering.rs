//! The signed builds of targets that are remembered from one pass to the next: their ids, since
//! when they are signed, and how long the last publication took.
//!
//! It is in memory only: after a restart, builds wait the short time once more. `core` decides when
//! they are published (`publish_time`).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rpmfarm_core::{BuildId, Timestamp};

/// A target for which nothing waits is read again after this time, for its withdrawals, its key and
/// its address.
const IDLE: Duration = Duration::from_secs(1);

/// Builds that are held back because of problems are looked at again after this time: the external
/// repositories may have other packages.
pub(super) const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// Signed builds of all targets. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Gathering(Arc<Mutex<HashMap<String, TargetGathering>>>);

#[derive(Debug, Default)]
struct TargetGathering {
    /// The key that has signed the builds.
    key: String,
    /// The signed builds, each with the moment at which that was found.
    since: HashMap<BuildId, Instant>,
    /// Those of them that are held back because of problems.
    held: HashMap<BuildId, HeldBuild>,
    last_took: Duration,
    /// By channel: the key with which all of its packages are signed.
    signed_with: HashMap<String, String>,
    /// When the target was read last.
    read: Option<Instant>,
}

/// A build that is held back.
#[derive(Debug, Clone, Copy)]
struct HeldBuild {
    at: Instant,
    /// When a person last accepted a problem of the channel, at that time.
    accepted: Option<Timestamp>,
}

impl Gathering {
    fn of<T>(&self, target: &str, what: impl FnOnce(&mut TargetGathering) -> T) -> T {
        what(self.0.lock().entry(target.to_owned()).or_default())
    }

    /// Those of the builds that are known to be signed with a key. All others are forgotten.
    pub(super) fn known(&self, target: &str, key: &str, builds: &[BuildId]) -> HashSet<BuildId> {
        self.of(target, |gathering| {
            if gathering.key != key {
                gathering.since.clear();
                key.clone_into(&mut gathering.key);
            }
            gathering.since.retain(|build, _| builds.contains(build));
            gathering.held.retain(|build, _| builds.contains(build));
            gathering.since.keys().copied().collect()
        })
    }

    /// These builds are signed, too.
    pub(super) fn add(&self, target: &str, signed: &[BuildId], now: Instant) {
        self.of(target, |gathering| {
            gathering.since.extend(signed.iter().map(|build| (*build, now)));
        });
    }

    /// These builds are held back. `accepted` is when a person last accepted a problem.
    pub(super) fn hold(
        &self,
        target: &str,
        builds: impl IntoIterator<Item = BuildId>,
        (at, accepted): (Instant, Option<Timestamp>),
    ) {
        self.of(target, |gathering| {
            let held = builds.into_iter().map(|build| (build, HeldBuild { at, accepted }));
            gathering.held.extend(held);
        });
    }

    /// Whether all of these builds are held back, and nothing can have changed since.
    pub(super) fn are_held(
        &self,
        target: &str,
        builds: &HashSet<BuildId>,
        (now, accepted): (Instant, Option<Timestamp>),
    ) -> bool {
        self.of(target, |gathering| {
            builds.iter().all(|build| {
                gathering.held.get(build).is_some_and(|held| {
                    held.accepted == accepted && now.saturating_duration_since(held.at) < LOOK_AGAIN
                })
            })
        })
    }

    /// How long the oldest of the signed builds has been known to be signed. One that is held back
    /// counts only when all are: others are gathered as if it were not there.
    pub(super) fn waited(&self, target: &str, now: Instant) -> Duration {
        let oldest = self.of(target, |gathering| {
            let TargetGathering { since, held, .. } = gathering;
            let others = since.iter().filter(|(build, _)| !held.contains_key(build));
            others.map(|(_, at)| *at).min().or_else(|| since.values().min().copied())
        });
        oldest.map_or(Duration::ZERO, |oldest| now.saturating_duration_since(oldest))
    }

    /// How long the last publication took; zero before the first.
    pub(super) fn last_took(&self, target: &str) -> Duration {
        self.of(target, |gathering| gathering.last_took)
    }

    /// A publication took so long.
    pub(super) fn published(&self, target: &str, took: Duration) {
        self.of(target, |gathering| gathering.last_took = took);
    }

    /// Whether a target has to be read now; if so, it counts as read. One for which builds wait
    /// always is.
    pub(super) fn has_to_be_read(&self, target: &str, builds_wait: bool, now: Instant) -> bool {
        self.of(target, |gathering| {
            let is_old = |read: Instant| now.saturating_duration_since(read) >= IDLE;
            let is_due = builds_wait || gathering.read.is_none_or(is_old);
            if is_due {
                gathering.read = Some(now);
            }
            is_due
        })
    }

    /// All packages of a channel are signed with the target's new key.
    pub(super) fn changed_key(&self, target: &str, channel: &str, key: &str) {
        self.of(target, |gathering| {
            gathering.signed_with.insert(channel.to_owned(), key.to_owned());
        });
    }

    /// Whether all packages of a channel are known to be signed with this key.
    pub(super) fn has_changed_key(&self, target: &str, channel: &str, key: &str) -> bool {
        self.of(target, |gathering| {
            gathering.signed_with.get(channel).is_some_and(|signed_with| signed_with == key)
        })
    }

    /// A target has more to do.
    pub(super) fn read_again(&self, target: &str) {
        self.of(target, |gathering| gathering.read = None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_oldest_signed_build_says_how_long_a_target_has_waited() {
        let (gathering, begun) = (Gathering::default(), Instant::now());
        let (one, two) = (BuildId(1), BuildId(2));
        assert!(gathering.known("a", "key", &[one, two]).is_empty());
        assert_eq!(gathering.waited("a", begun), Duration::ZERO);
        gathering.add("a", &[one], begun);
        gathering.add("a", &[two], begun + SECOND);
        assert_eq!(gathering.waited("a", begun + 3 * SECOND), 3 * SECOND);
        assert_eq!(gathering.known("a", "key", &[two]), HashSet::from([two]), "one is published");
        assert_eq!(gathering.waited("a", begun + 3 * SECOND), 2 * SECOND);
        assert_eq!(gathering.waited("b", begun + 3 * SECOND), Duration::ZERO);
        assert!(gathering.known("a", "other key", &[two]).is_empty(), "it signs them anew");
    }

    #[test]
    fn builds_that_are_held_back_are_looked_at_again_after_a_time_or_an_acceptance() {
        let (gathering, begun) = (Gathering::default(), Instant::now());
        let (one, two) = (BuildId(1), BuildId(2));
        gathering.known("a", "key", &[one, two]);
        gathering.add("a", &[one], begun);
        let accepted = Some(Timestamp::from_us(7));
        let are_held =
            |builds: &[BuildId], at| gathering.are_held("a", &builds.iter().copied().collect(), at);
        assert!(!are_held(&[one], (begun, None)));
        gathering.hold("a", [one], (begun, None));
        assert!(are_held(&[one], (begun + SECOND, None)));
        assert!(!are_held(&[one, two], (begun, None)), "another one has come");
        assert!(!are_held(&[one], (begun, accepted)), "a person accepted something");
        assert!(!are_held(&[one], (begun + LOOK_AGAIN, None)));
        assert_eq!(gathering.waited("a", begun + SECOND), SECOND, "it is the only one");
        gathering.add("a", &[two], begun + SECOND);
        assert_eq!(gathering.waited("a", begun + SECOND), Duration::ZERO, "the other is gathered");
        gathering.known("a", "key", &[two]);
        assert!(!are_held(&[one], (begun, None)), "it has ended");
    }

    #[test]
    fn a_target_without_builds_is_read_now_and_then() {
        let (gathering, begun) = (Gathering::default(), Instant::now());
        let reads = |wait, at| gathering.has_to_be_read("a", wait, at);
        assert!(reads(false, begun));
        assert!(!reads(false, begun + SECOND / 2));
        assert!(reads(true, begun + SECOND / 2), "builds wait");
        assert!(!reads(false, begun + SECOND), "it was read half a second ago");
        assert!(reads(false, begun + 2 * SECOND));
        gathering.read_again("a");
        assert!(reads(false, begun + 2 * SECOND));
        assert!(!gathering.has_changed_key("a", "testing", "new"));
        gathering.changed_key("a", "testing", "new");
        assert!(gathering.has_changed_key("a", "testing", "new"));
        assert!(!gathering.has_changed_key("a", "stable", "new"));
        assert!(!gathering.has_changed_key("a", "testing", "newer"), "it changes once more");
        gathering.published("a", SECOND);
        assert_eq!((gathering.last_took("a"), gathering.last_took("b")), (SECOND, Duration::ZERO));
    }
}
