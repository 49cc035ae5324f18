//! When the signed builds of a target are published.
//!
//! A publication writes the repodata of a whole channel, however little is new in it, so builds
//! that end together are published together. No build waits long for that: when no other build of
//! its batch will be ready soon, it is published at once. It must not know what a publication does.

use std::time::Duration;

/// The least time for which a signed build waits for others of its batch.
pub const GATHER: Duration = Duration::from_secs(2);

/// The most, however long publications take.
pub const LONGEST: Duration = Duration::from_secs(30);

/// The builds of a target that are signed and not published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignedWork {
    /// How long the oldest of them has been signed.
    pub waited: Duration,
    /// Whether results of their batches are being accepted, or packages of them signed.
    pub more_to_come: bool,
    /// How long the last publication of the target took; zero before the first.
    pub last_took: Duration,
}

impl SignedWork {
    /// Whether they are to be published now. Where more is to come, they wait as long as the last
    /// publication took: a target whose channel is large does not publish all the time.
    ///
    /// ```
    /// use std::time::Duration;
    /// use rpmfarm_core::publish_time::SignedWork;
    ///
    /// let waited = Duration::from_secs(3);
    /// let work = SignedWork { waited, more_to_come: true, last_took: Duration::ZERO };
    /// assert!(work.is_due());
    /// let slow = SignedWork { last_took: Duration::from_secs(10), ..work };
    /// assert!(!slow.is_due());
    /// assert!(SignedWork { more_to_come: false, ..slow }.is_due());
    /// ```
    #[must_use]
    pub fn is_due(self) -> bool {
        !self.more_to_come || self.waited >= self.last_took.clamp(GATHER, LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn after(waited: u64, last_took: u64) -> SignedWork {
        SignedWork {
            waited: Duration::from_secs(waited),
            more_to_come: true,
            last_took: Duration::from_secs(last_took),
        }
    }

    #[test]
    fn builds_wait_for_others_of_their_batch_for_a_while() {
        for (waited, last_took, due) in [
            (0, 0, false),
            (1, 0, false),
            (2, 0, true),
            (2, 2, true),
            (9, 10, false),
            (10, 10, true),
            (29, 3_600, false),
            (30, 3_600, true),
        ] {
            assert_eq!(after(waited, last_took).is_due(), due, "{waited} s after {last_took} s");
        }
    }

    proptest! {
        #[test]
        fn nobody_waits_longer_than_that(waited in 0..100_u64, took in 0..100_u64, more in any::<bool>()) {
            let work = SignedWork { more_to_come: more, ..after(waited, took) };
            prop_assert!(work.is_due() || waited < LONGEST.as_secs());
            prop_assert!(!work.is_due() || !more || waited >= GATHER.as_secs());
            let later = SignedWork { waited: work.waited + GATHER, ..work };
            prop_assert!(later.is_due() || !work.is_due(), "what is due stays due");
        }
    }
}
