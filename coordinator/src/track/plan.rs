//! What would become of the open pushes of a target, now, by what the store knows of them.

use rpmfarm_core::Target;
use rpmfarm_core::track::plan::{OpenPushContext, PlannedPush, PolicyOverrides, plan};

use crate::store::{OrderRow, Store, StoreError};

/// Plans for the open pushes of a target.
///
/// # Errors
/// Database errors.
pub async fn of_target(
    store: &Store,
    target: &Target,
    now_us: i64,
) -> Result<Vec<PlannedPush>, StoreError> {
    let open = store.open_pushes(&target.name).await?;
    if open.is_empty() {
        return Ok(Vec::new());
    }
    let orders = orders(store, &target.name).await?;
    let seen = store.seen_of_pushed(&target.name).await?;
    let builds = store.builds_of_pushed(&target.name).await?;
    Ok(plan(target, open, &orders, &OpenPushContext { seen, builds }, now_us))
}

/// What maintainers have said of a target and its packages.
///
/// # Errors
/// Database errors, and a row that holds no order.
pub async fn orders(store: &Store, target: &str) -> Result<PolicyOverrides, StoreError> {
    read(&store.track_orders(target).await?)
}

fn read(rows: &[OrderRow]) -> Result<PolicyOverrides, StoreError> {
    let mut orders = Vec::new();
    for row in rows {
        orders.extend(row.order()?.map(|order| (row.package.clone(), order)));
    }
    Ok(orders.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use rpmfarm_core::track::Policy;

    use super::*;

    #[test]
    fn rows_are_read_as_orders() {
        let text = include_str!("../../../deploy/targets/lab.toml");
        let target = Target::parse("lab.toml", text).unwrap();
        let row = |package: &str, word: &str, until_us| OrderRow {
            package: package.into(),
            word: word.into(),
            reason: "why".into(),
            until_us,
            who: String::new(),
            at_us: 0,
        };
        let rows =
            [row("", "propose", 0), row("frozen", "freeze", 10), row("auto", "automatic", 0)];
        let orders = read(&rows).unwrap();
        for (package, policy, frozen) in [
            ("other", Policy::Propose, false),
            ("auto", Policy::Automatic, false),
            ("frozen", Policy::Propose, true),
        ] {
            let rule = orders.rule(&target, package, 5);
            assert_eq!((rule.policy, rule.freeze.is_some()), (policy, frozen), "{package}");
        }
        assert!(read(&[row("", "added", 0)]).is_err());
    }
}
