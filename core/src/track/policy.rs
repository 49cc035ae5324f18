//! Policy: whether a push is built automatically, on approval, or not for now.

use crate::Timestamp;

words! {
    /// The policy for pushes.
    #[derive(Default)]
    pub enum Policy: "policy" {
        #[default]
        Automatic = "automatic",
        /// It is shown, and built when a maintainer approves it.
        Propose = "propose",
        /// It is only noted. An approval builds it nevertheless.
        Hold = "hold",
    }
}

/// A time in which nothing is built, whoever approves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Freeze {
    /// The maintainer's reason.
    pub reason: String,
    /// When it ends by itself.
    pub until: Timestamp,
}

impl Freeze {
    /// Whether the freeze is in force at this time.
    #[must_use]
    pub fn holds(&self, now: Timestamp) -> bool {
        now < self.until
    }
}

/// A maintainer's decision on a package or on a whole target. The newest one counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicyOverride {
    /// The policy of the target's file.
    Default,
    /// This policy, with a reason.
    Policy(Policy, String),
    Freeze(Freeze),
}

/// The policy that applies to a package now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EffectivePolicy {
    pub policy: Policy,
    /// The maintainer's reason, if there is one.
    pub reason: String,
    /// A freeze that is in force.
    pub freeze: Option<Freeze>,
}

/// The policies of the target's file, and the decisions of maintainers since.
#[derive(Debug, Clone, Copy)]
pub struct PolicySources<'a> {
    /// The file's policy for the target.
    pub file: Policy,
    /// The file's policy for this package.
    pub file_package: Option<Policy>,
    /// The newest override for the whole target.
    pub target: Option<&'a PolicyOverride>,
    /// The newest override for this package.
    pub package: Option<&'a PolicyOverride>,
}

/// The policy that applies to a package: an override for the package, then the file's policy for
/// it, then an override for the target, then the file's policy for the target. A freeze of either
/// takes precedence over all of them; after its end it is ignored.
#[must_use]
pub fn effective(said: &PolicySources<'_>, now: Timestamp) -> EffectivePolicy {
    let freeze = [said.target, said.package].into_iter().flatten().find_map(|order| match order {
        PolicyOverride::Freeze(freeze) if freeze.holds(now) => Some(freeze.clone()),
        _ => None,
    });
    let ordered = |order: Option<&PolicyOverride>| match order {
        Some(PolicyOverride::Policy(policy, reason)) => Some((*policy, reason.clone())),
        _ => None,
    };
    let (policy, reason) = ordered(said.package)
        .or_else(|| said.file_package.map(|policy| (policy, String::new())))
        .or_else(|| ordered(said.target))
        .unwrap_or_else(|| (said.file, String::new()));
    EffectivePolicy { policy, reason, freeze }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_us(1_000);
    const NEXT: Timestamp = Timestamp::from_us(1_001);

    fn said<'a>(
        target: Option<&'a PolicyOverride>,
        package: Option<&'a PolicyOverride>,
    ) -> PolicySources<'a> {
        PolicySources { file: Policy::Automatic, file_package: None, target, package }
    }

    #[test]
    fn the_nearest_word_counts() {
        let hold = PolicyOverride::Policy(Policy::Hold, "broken".into());
        let propose = PolicyOverride::Policy(Policy::Propose, String::new());
        for (said, policy, reason) in [
            (said(None, None), Policy::Automatic, ""),
            (said(Some(&hold), None), Policy::Hold, "broken"),
            (said(Some(&hold), Some(&propose)), Policy::Propose, ""),
            (said(Some(&hold), Some(&PolicyOverride::Default)), Policy::Hold, "broken"),
            (
                PolicySources { file_package: Some(Policy::Propose), ..said(Some(&hold), None) },
                Policy::Propose,
                "",
            ),
            (
                PolicySources { file_package: Some(Policy::Propose), ..said(None, Some(&hold)) },
                Policy::Hold,
                "broken",
            ),
            (PolicySources { file: Policy::Hold, ..said(None, None) }, Policy::Hold, ""),
        ] {
            let rule = effective(&said, NOW);
            assert_eq!((rule.policy, rule.reason.as_str()), (policy, reason), "{said:?}");
            assert_eq!(rule.freeze, None);
        }
    }

    #[test]
    fn a_freeze_is_above_all_until_it_ends() {
        let freeze = PolicyOverride::Freeze(Freeze { reason: "release".into(), until: NEXT });
        let automatic = PolicyOverride::Policy(Policy::Automatic, String::new());
        for said in [said(Some(&freeze), Some(&automatic)), said(None, Some(&freeze))] {
            assert!(effective(&said, NOW).freeze.is_some());
            let after = effective(&said, NEXT);
            assert_eq!((after.freeze, after.policy), (None, Policy::Automatic));
        }
    }

    #[test]
    fn names() {
        for policy in [Policy::Automatic, Policy::Propose, Policy::Hold] {
            assert_eq!(policy.to_string().parse(), Ok(policy));
        }
        assert!("freeze".parse::<Policy>().is_err());
    }
}
