//! Policy: whether a push is built by itself, on a person's word, or not for now.

use crate::Timestamp;

words! {
    /// What happens with a push.
    #[derive(Default)]
    pub enum Policy: "policy" {
        #[default]
        Automatic = "automatic",
        /// It is shown, and built when a maintainer approves it.
        Propose = "propose",
        /// It is only noted. An approval builds it all the same.
        Hold = "hold",
    }
}

/// A time in which nothing is built, whoever approves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Freeze {
    /// Why, for whoever waits.
    pub reason: String,
    /// When it ends by itself.
    pub until: Timestamp,
}

impl Freeze {
    /// Whether it holds at this time.
    #[must_use]
    pub fn holds(&self, now: Timestamp) -> bool {
        now < self.until
    }
}

/// What a maintainer has said of a package or of a whole target. The newest counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicyOverride {
    /// As the target's file says.
    Default,
    /// This policy, for a reason.
    Policy(Policy, String),
    Freeze(Freeze),
}

/// What holds for a package now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EffectivePolicy {
    pub policy: Policy,
    /// Why it is that, where somebody said so.
    pub reason: String,
    /// A freeze that holds now.
    pub freeze: Option<Freeze>,
}

/// What the target's file says of policy, and what maintainers have said since.
#[derive(Debug, Clone, Copy)]
pub struct PolicySources<'a> {
    /// The file, of the whole target.
    pub file: Policy,
    /// The file, of this package.
    pub file_package: Option<Policy>,
    /// The newest order for the whole target.
    pub target: Option<&'a PolicyOverride>,
    /// The newest order for this package.
    pub package: Option<&'a PolicyOverride>,
}

/// What holds for a package: an order for it, then the file's word for it, then an order for the
/// target, then the file's word for the target. A freeze of either holds above all of them; when
/// it has ended, it was never said.
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
