//! What would become of the open pushes of a target, now: the pass carries it out, people are
//! shown it.

use std::collections::BTreeMap;

use rpmfarm_core::track::policy::{Order, Policy, Rule, Said, effective};
use rpmfarm_core::track::{Facts, Verdict, decide};
use rpmfarm_core::{BuildId, Target};

use crate::farm::Farm;
use crate::store::{OpenPush, OrderRow, StoreError};

/// The newest push of a package's branch, and what would become of it.
#[derive(Debug, Clone)]
pub struct Planned {
    /// The push.
    pub push: OpenPush,
    /// Those before it, which it stands for.
    pub older: Vec<i64>,
    /// What would become of it.
    pub verdict: Verdict,
}

/// What maintainers have said of a target and its packages.
#[derive(Debug, Clone, Default)]
pub struct Orders(BTreeMap<String, Order>);

impl Orders {
    /// Reads the rows.
    ///
    /// # Errors
    /// When one holds no order.
    pub fn new(rows: &[OrderRow]) -> Result<Self, StoreError> {
        let mut orders = BTreeMap::new();
        for row in rows {
            if let Some(order) = row.order()? {
                orders.insert(row.package.clone(), order);
            }
        }
        Ok(Self(orders))
    }

    /// What holds for a package.
    #[must_use]
    pub fn rule(&self, target: &Target, package: &str, now_us: i64) -> Rule {
        let said = Said {
            file: target.track.policy,
            file_package: target.packages.get(package).and_then(|package| package.track),
            target: self.0.get(""),
            package: self.0.get(package),
        };
        effective(&said, now_us)
    }
}

/// Plans for the open pushes of a target.
///
/// # Errors
/// Database errors.
pub async fn of_target(
    farm: &Farm,
    target: &Target,
    now_us: i64,
) -> Result<Vec<Planned>, StoreError> {
    let open = farm.store.open_pushes(&target.name).await?;
    if open.is_empty() {
        return Ok(Vec::new());
    }
    let orders = Orders::new(&farm.store.track_orders(&target.name).await?)?;
    Ok(plan(target, open, &orders, now_us))
}

fn plan(target: &Target, open: Vec<OpenPush>, orders: &Orders, now_us: i64) -> Vec<Planned> {
    let mut branches: BTreeMap<(String, String, String), Vec<OpenPush>> = BTreeMap::new();
    for push in open {
        let branch = (push.package.clone(), push.repository.clone(), push.branch.clone());
        branches.entry(branch).or_default().push(push);
    }
    branches
        .into_values()
        .filter_map(|mut pushes| {
            let first_us = pushes.first()?.seen_us;
            let push = pushes.pop()?;
            let older = pushes.iter().map(|push| push.id).collect();
            let rule = orders.rule(target, &push.package, now_us);
            let verdict = verdict(target, &push, &rule, first_us, now_us);
            Some(Planned { push, older, verdict })
        })
        .collect()
}

fn verdict(target: &Target, push: &OpenPush, rule: &Rule, first_us: i64, now_us: i64) -> Verdict {
    let number = |id: i64| (id != 0).then_some(id);
    let facts = Facts {
        rule,
        approved: push.approved_us != 0,
        storm: number(push.storm),
        first_us,
        last_us: push.seen_us,
        started_us: number(push.started_us),
        done_by: number(push.done_by).map(BuildId),
        importing: number(push.importing).map(BuildId),
    };
    decide(&facts, &target.track.gather(), now_us)
}

/// Why a push is where it is, in one line.
#[must_use]
pub fn reason(verdict: &Verdict, rule: &Rule) -> String {
    let because = |reason: &str| {
        if reason.is_empty() { String::new() } else { format!(": {reason}") }
    };
    match verdict {
        Verdict::Build if rule.policy == Policy::Automatic => "policy automatic".to_owned(),
        Verdict::Build => "approved".to_owned(),
        Verdict::Done(build) => format!("build {build} has this commit"),
        Verdict::Importing(build) => format!("build {build} may have this commit"),
        Verdict::Gathering { .. } => "more pushes may follow".to_owned(),
        Verdict::Proposed => "waits for approval".to_owned(),
        Verdict::Held { reason } => format!("on hold{}", because(reason)),
        Verdict::Frozen { reason, .. } => format!("frozen{}", because(reason)),
        Verdict::Storm(storm) => format!("one of too many at once (storm {storm})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target() -> Target {
        let text = include_str!("../../../deploy/targets/lab.toml");
        Target::parse("lab.toml", text).unwrap()
    }

    fn push(id: i64, package: &str) -> OpenPush {
        OpenPush {
            id,
            package: package.into(),
            repository: format!("http://h/{package}.git"),
            branch: "c9s".into(),
            commit_id: format!("{id:040}"),
            before_id: String::new(),
            told_by: "poll".into(),
            seen_us: id,
            approved_us: 0,
            storm: 0,
            started_us: 0,
            done_by: 0,
            importing: 0,
            followed: 1,
        }
    }

    #[test]
    fn the_newest_push_stands_for_those_before_it() {
        let open = vec![push(1, "a"), push(2, "b"), push(3, "a"), push(4, "a")];
        let planned = plan(&target(), open, &Orders::default(), 1_000);
        let short: Vec<_> =
            planned.iter().map(|p| (p.push.id, p.older.clone(), p.verdict.as_str())).collect();
        assert_eq!(short, [(4, vec![1, 3], "build"), (2, vec![], "build")]);
    }

    #[test]
    fn files_and_orders_decide() {
        let mut target = target();
        target.packages.entry("held".into()).or_default().track = Some(Policy::Hold);
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
        let orders = Orders::new(&rows).unwrap();
        for (package, verdict, why) in [
            ("held", "held", "on hold"),
            ("other", "proposed", "waits for approval"),
            ("auto", "build", "policy automatic"),
            ("frozen", "frozen", "frozen: why"),
        ] {
            let planned = plan(&target, vec![push(1, package)], &orders, 5).remove(0);
            assert_eq!(planned.verdict.as_str(), verdict, "{package}");
            assert_eq!(reason(&planned.verdict, &orders.rule(&target, package, 5)), why);
        }
        let later = plan(&target, vec![push(1, "frozen")], &orders, 10).remove(0);
        assert_eq!(later.verdict, Verdict::Proposed);
        assert!(Orders::new(&[row("x", "never", 0)]).is_err());
    }
}
