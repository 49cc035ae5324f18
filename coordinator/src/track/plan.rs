//! The verdicts on the open pushes of a target, at this moment, by the facts in the store.

use rpmfarm_core::track::plan::{OpenPushContext, PlannedPush, PolicyOverrides, plan};
use rpmfarm_core::{Target, Timestamp};

use crate::store::{PolicyOverrideRow, Store, StoreError};

/// The plans for the open pushes of a target.
pub async fn for_target(
    store: &Store,
    target: &Target,
    now: Timestamp,
) -> Result<Vec<PlannedPush>, StoreError> {
    let open = store.push_list_open(&target.name).await?;
    if open.is_empty() {
        return Ok(Vec::new());
    }
    let overrides = policy_overrides(store, &target.name).await?;
    let seen = store.track_ref_list_of_pushed(&target.name).await?;
    let builds = store.push_list_builds(&target.name).await?;
    Ok(plan(target, open, &overrides, &OpenPushContext { seen, builds }, now))
}

/// The policy overrides of a target and its packages.
///
/// # Errors
/// Database errors, and a malformed row.
pub async fn policy_overrides(store: &Store, target: &str) -> Result<PolicyOverrides, StoreError> {
    read(&store.policy_override_list(target).await?)
}

fn read(rows: &[PolicyOverrideRow]) -> Result<PolicyOverrides, StoreError> {
    let mut overrides = Vec::new();
    for row in rows {
        overrides.extend(row.policy_override()?.map(|found| (row.package.clone(), found)));
    }
    Ok(overrides.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use rpmfarm_core::track::Policy;

    use super::*;

    #[test]
    fn rows_are_read_as_orders() {
        let text = include_str!("../../../deploy/targets/lab.toml");
        let target = Target::parse("lab.toml", text).unwrap();
        let row = |package: &str, word: &str, until: i64| PolicyOverrideRow {
            package: package.into(),
            word: word.into(),
            reason: "why".into(),
            until: Timestamp::from_us(until).known(),
            who: String::new(),
            at: Timestamp::ZERO,
        };
        let rows =
            [row("", "propose", 0), row("frozen", "freeze", 10), row("auto", "automatic", 0)];
        let overrides = read(&rows).unwrap();
        for (package, policy, frozen) in [
            ("other", Policy::Propose, false),
            ("auto", Policy::Automatic, false),
            ("frozen", Policy::Propose, true),
        ] {
            let rule = overrides.rule(&target, package, Timestamp::from_us(5));
            assert_eq!((rule.policy, rule.freeze.is_some()), (policy, frozen), "{package}");
        }
        assert!(read(&[row("", "added", 0)]).is_err());
    }
}
