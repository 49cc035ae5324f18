//! The verdict on a push, at a given time.

use std::time::Duration;

use super::policy::{EffectivePolicy, Policy};
use crate::{BuildId, StormId, Timestamp};

/// The times by which pushes are gathered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GatherTimes {
    /// How long a package must be without pushes.
    pub quiet: Duration,
    /// The least time between two builds of a package.
    pub spacing: Duration,
    /// The longest time that a push waits, however many follow it.
    pub longest: Duration,
}

/// The facts that decide on the newest push of a package.
#[derive(Debug, Clone, Copy)]
pub struct PushFacts<'a> {
    /// The effective policy.
    pub rule: &'a EffectivePolicy,
    /// Whether a maintainer approved it.
    pub approved: bool,
    /// The storm that holds it back.
    pub storm: Option<StormId>,
    /// When the first push was observed that is not built yet.
    pub first: Timestamp,
    /// When this push was observed.
    pub last: Timestamp,
    /// When the package was last built because of a push.
    pub started: Option<Timestamp>,
    /// A build of this very commit.
    pub done_by: Option<BuildId>,
    /// A build of the package that is under way and whose commit is not known yet.
    pub importing: Option<BuildId>,
}

words! {
    /// The verdict on a push, without the reason and the time.
    pub enum PushVerdict: "verdict on a push" {
        /// It is built; the push has ended.
        Build = "build",
        /// A build had these sources already; the push has ended.
        Done = "done",
        /// A later push came before it was built; it has ended.
        Superseded = "superseded",
        /// Its package is no longer tracked; the push has ended.
        Removed = "removed",
        /// As [`PushDecision::Importing`].
        Importing = "importing",
        /// As [`PushDecision::Gathering`].
        Gathering = "gathering",
        /// As [`PushDecision::Proposed`].
        Proposed = "proposed",
        /// As [`PushDecision::Held`].
        Held = "held",
        /// As [`PushDecision::Frozen`].
        Frozen = "frozen",
        /// As [`PushDecision::Storm`].
        Storm = "storm",
    }
}

/// The verdict on a push, with its reason and time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PushDecision {
    /// It is built now.
    Build,
    /// It was built already.
    Done(BuildId),
    /// It waits until this build's commit is known, which may be the pushed one.
    Importing(BuildId),
    /// More pushes may follow.
    Gathering {
        /// When it is built, if no push follows.
        until: Timestamp,
    },
    /// It waits for a maintainer's approval.
    Proposed,
    /// It waits until the policy changes, or a maintainer approves it.
    Held {
        /// The maintainer's reason, if there is one.
        reason: String,
    },
    /// It waits until the freeze ends.
    Frozen { reason: String, until: Timestamp },
    /// It is one of too many at once, and waits until a maintainer approves it or the whole storm.
    Storm(StormId),
}

impl PushDecision {
    /// The verdict without its reason.
    #[must_use]
    pub const fn word(&self) -> PushVerdict {
        match self {
            Self::Build => PushVerdict::Build,
            Self::Done(_) => PushVerdict::Done,
            Self::Importing(_) => PushVerdict::Importing,
            Self::Gathering { .. } => PushVerdict::Gathering,
            Self::Proposed => PushVerdict::Proposed,
            Self::Held { .. } => PushVerdict::Held,
            Self::Frozen { .. } => PushVerdict::Frozen,
            Self::Storm(_) => PushVerdict::Storm,
        }
    }

    /// Whether a maintainer's approval would build it.
    #[must_use]
    pub const fn is_for_approval(&self) -> bool {
        matches!(self, Self::Proposed | Self::Held { .. } | Self::Storm(_))
    }
}

/// Decides on a package's newest push.
#[must_use]
pub fn decide(facts: &PushFacts<'_>, gather: &GatherTimes, now: Timestamp) -> PushDecision {
    if let Some(build) = facts.done_by {
        return PushDecision::Done(build);
    }
    if let Some(freeze) = &facts.rule.freeze {
        let (reason, until) = (freeze.reason.clone(), freeze.until);
        return PushDecision::Frozen { reason, until };
    }
    if let Some(build) = facts.importing {
        return PushDecision::Importing(build);
    }
    if facts.approved {
        return PushDecision::Build;
    }
    if let Some(storm) = facts.storm {
        return PushDecision::Storm(storm);
    }
    match facts.rule.policy {
        Policy::Hold => PushDecision::Held { reason: facts.rule.reason.clone() },
        Policy::Propose => PushDecision::Proposed,
        Policy::Automatic => {
            let until = due(facts, gather);
            if now >= until { PushDecision::Build } else { PushDecision::Gathering { until } }
        }
    }
}

/// When a push is built, if no push follows.
fn due(facts: &PushFacts<'_>, gather: &GatherTimes) -> Timestamp {
    let quiet = facts.last + gather.quiet;
    let spaced = facts.started.map(|started| started + gather.spacing);
    spaced.map_or(quiet, |spaced| quiet.max(spaced)).min(facts.first + gather.longest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::track::policy::Freeze;

    const GATHER: GatherTimes = GatherTimes {
        quiet: Duration::from_micros(10),
        spacing: Duration::from_micros(60),
        longest: Duration::from_micros(100),
    };

    const fn at(us: i64) -> Timestamp {
        Timestamp::from_us(us)
    }

    fn rule(policy: Policy) -> EffectivePolicy {
        EffectivePolicy { policy, reason: "why".into(), freeze: None }
    }

    fn facts(rule: &EffectivePolicy) -> PushFacts<'_> {
        PushFacts {
            rule,
            approved: false,
            storm: None,
            first: at(0),
            last: at(0),
            started: None,
            done_by: None,
            importing: None,
        }
    }

    #[test]
    fn by_policy() {
        let (automatic, propose, hold) =
            (rule(Policy::Automatic), rule(Policy::Propose), rule(Policy::Hold));
        let freeze = Freeze { reason: "release".into(), until: at(500) };
        let frozen = EffectivePolicy { freeze: Some(freeze), ..automatic.clone() };
        let held = PushDecision::Held { reason: "why".into() };
        let until = PushDecision::Frozen { reason: "release".into(), until: at(500) };
        for (facts, verdict) in [
            (facts(&automatic), PushDecision::Build),
            (facts(&propose), PushDecision::Proposed),
            (facts(&hold), held),
            (facts(&frozen), until.clone()),
            (PushFacts { approved: true, ..facts(&propose) }, PushDecision::Build),
            (PushFacts { approved: true, ..facts(&hold) }, PushDecision::Build),
            // A freeze is for everyone.
            (PushFacts { approved: true, ..facts(&frozen) }, until),
            (
                PushFacts { storm: Some(StormId(3)), ..facts(&automatic) },
                PushDecision::Storm(StormId(3)),
            ),
            (
                PushFacts { storm: Some(StormId(3)), approved: true, ..facts(&automatic) },
                PushDecision::Build,
            ),
            (
                PushFacts { done_by: Some(BuildId(7)), ..facts(&hold) },
                PushDecision::Done(BuildId(7)),
            ),
            (
                PushFacts { importing: Some(BuildId(7)), approved: true, ..facts(&propose) },
                PushDecision::Importing(BuildId(7)),
            ),
        ] {
            assert_eq!(decide(&facts, &GATHER, at(10)), verdict, "{facts:?}");
        }
    }

    #[test]
    fn pushes_are_gathered() {
        let automatic = rule(Policy::Automatic);
        let base = facts(&automatic);
        let until = |facts: &PushFacts<'_>| match decide(facts, &GATHER, at(0)) {
            PushDecision::Gathering { until } => until.as_us(),
            other => panic!("{other:?}"),
        };
        assert_eq!(until(&base), 10);
        assert_eq!(until(&PushFacts { last: at(40), ..base }), 50);
        assert_eq!(until(&PushFacts { started: Some(at(-5)), ..base }), 55);
        // However many follow.
        assert_eq!(until(&PushFacts { last: at(95), ..base }), 100);
        assert_eq!(until(&PushFacts { last: at(95), started: Some(at(90)), ..base }), 100);
    }

    proptest! {
        #[test]
        fn no_push_waits_longer_than_it_may(
            first in 0i64..1000, more in 0i64..1000, started in prop::option::of(0i64..2000),
            quiet in 0u64..500, spacing in 0u64..500, longest in 0u64..500,
        ) {
            let [quiet, spacing, longest] = [quiet, spacing, longest].map(Duration::from_micros);
            let gather = GatherTimes { quiet, spacing, longest };
            let automatic = rule(Policy::Automatic);
            let (first, last) = (at(first), at(first + more));
            let facts = PushFacts { first, last, started: started.map(at), ..facts(&automatic) };
            prop_assert_eq!(decide(&facts, &gather, first + longest), PushDecision::Build);
            // Once it is due it stays due.
            if let PushDecision::Gathering { until } = decide(&facts, &gather, first) {
                prop_assert_eq!(decide(&facts, &gather, until), PushDecision::Build);
                let before = until - Duration::from_micros(1);
                prop_assert!(decide(&facts, &gather, before) != PushDecision::Build);
            }
        }
    }
}
