//! What would become of the open pushes of a target, now: the pass carries it out, people are
//! shown it.

use std::collections::BTreeMap;

use rpmfarm_core::track::policy::{Order, Policy, Rule, Said, effective};
use rpmfarm_core::track::{Facts, Verdict, decide};
use rpmfarm_core::{BuildId, Target};

use super::pair::{Pair, pair};
use crate::store::{OpenPush, OrderRow, PushedBuild, Seen, Store, StoreError};

/// The newest push to a package or its modifications, and what would become of it.
#[derive(Debug, Clone)]
pub struct Planned {
    /// The push.
    pub push: OpenPush,
    /// The newest one to the other of the two, which is built with it.
    pub beside: Option<OpenPush>,
    /// Those before them, which they stand for.
    pub older: Vec<i64>,
    /// What would be built.
    pub pair: Pair,
    /// A build that has it; 0 for none.
    pub done_by: i64,
    /// Whether it is followed no longer.
    pub moot: bool,
    /// What would become of it.
    pub verdict: Verdict,
}

/// What is known of the packages that have open pushes.
#[derive(Debug, Clone, Default)]
struct Known {
    seen: Vec<Seen>,
    builds: Vec<PushedBuild>,
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
pub async fn of_target(
    store: &Store,
    target: &Target,
    now_us: i64,
) -> Result<Vec<Planned>, StoreError> {
    let open = store.open_pushes(&target.name).await?;
    if open.is_empty() {
        return Ok(Vec::new());
    }
    let orders = Orders::new(&store.track_orders(&target.name).await?)?;
    let seen = store.seen_of_pushed(&target.name).await?;
    let builds = store.builds_of_pushed(&target.name).await?;
    Ok(plan(target, open, &orders, &Known { seen, builds }, now_us))
}

fn plan(
    target: &Target,
    open: Vec<OpenPush>,
    orders: &Orders,
    known: &Known,
    now_us: i64,
) -> Vec<Planned> {
    let mut packages: BTreeMap<String, Vec<OpenPush>> = BTreeMap::new();
    for push in open {
        packages.entry(push.package.clone()).or_default().push(push);
    }
    packages
        .into_iter()
        .filter_map(|(package, pushes)| {
            let rule = orders.rule(target, &package, now_us);
            plan_package(target, &package, pushes, known, &rule, now_us)
        })
        .collect()
}

/// Plans for a package's pushes, which come oldest first.
fn plan_package(
    target: &Target,
    package: &str,
    pushes: Vec<OpenPush>,
    known: &Known,
    rule: &Rule,
    now_us: i64,
) -> Option<Planned> {
    let ids: Vec<i64> = pushes.iter().map(|push| push.id).collect();
    // Whatever supersedes a push that is held, or is built with it, is held as well.
    let unapproved = pushes.iter().filter(|push| push.approved_us == 0);
    let storm = unapproved.map(|push| push.storm).max().unwrap_or(0);
    let place = target.modifications_of(package);
    // Modifications that the target no longer has for the package.
    let is_moot = |push: &OpenPush| {
        push.modifies
            && place
                .as_ref()
                .is_none_or(|(url, branch)| (url, branch) != (&push.repository, &push.branch))
    };
    let (moot, pushes): (Vec<OpenPush>, Vec<OpenPush>) = pushes.into_iter().partition(is_moot);
    let moot_alone = pushes.is_empty();
    let mut pushes = if moot_alone { moot } else { pushes };
    let first_us = pushes.first()?.seen_us;
    let newest = pushes.pop()?;
    let push = OpenPush { storm: newest.storm.max(storm), ..newest };
    let beside = pushes.iter().rposition(|other| other.modifies != push.modifies);
    let beside = beside.map(|at| pushes.remove(at));
    let named = [Some(push.id), beside.as_ref().map(|push| push.id)];
    let older = ids.into_iter().filter(|id| !named.contains(&Some(*id))).collect();

    let pair = pair(target, package, &push, beside.as_ref(), &known.seen);
    let of_package = || known.builds.iter().rev().filter(|build| build.package == package);
    let done = of_package().find(|build| pair.is_of(build)).filter(|done| {
        // Where upstream went back to older sources, what was built since stands in their place.
        let returns = std::iter::once(&push).chain(&beside).any(OpenPush::returns);
        !returns || of_package().take_while(|build| build.id > done.id).all(|b| !b.stands)
    });
    let done = done.map(|build| BuildId(build.id));
    let importing = of_package().find(|build| pair.may_be_of(build));
    let number = |id: i64| (id != 0).then_some(id);
    let facts = Facts {
        rule,
        approved: push.approved_us != 0,
        storm: number(push.storm),
        first_us,
        last_us: push.seen_us,
        started_us: number(push.started_us),
        done_by: done,
        importing: importing.map(|build| BuildId(build.id)),
    };
    let verdict = decide(&facts, &target.track.gather(), now_us);
    let moot = moot_alone || !push.followed;
    let done_by = done.map_or(0, |build| build.0);
    Some(Planned { push, beside, older, pair, done_by, moot, verdict })
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
        Verdict::Done(build) => format!("build {build} has these sources"),
        Verdict::Importing(build) => format!("build {build} may have these sources"),
        Verdict::Gathering { .. } => "more pushes may follow".to_owned(),
        Verdict::Proposed => "waits for approval".to_owned(),
        Verdict::Held { reason } => format!("on hold{}", because(reason)),
        Verdict::Frozen { reason, .. } => format!("frozen{}", because(reason)),
        Verdict::Storm(storm) => format!("one of too many at once (storm {storm})"),
    }
}

#[cfg(test)]
mod tests {
    use rpmfarm_core::target::{Modifications, Template};

    use super::*;
    use crate::store::PushPair;

    fn target() -> Target {
        let text = include_str!("../../../deploy/targets/lab.toml");
        Target { modifications: None, ..Target::parse("lab.toml", text).unwrap() }
    }

    /// A target whose packages have modifications.
    fn modified() -> Target {
        let modifications = Modifications {
            url: Template::from("https://h/m/{name}.git"),
            git_ref: Template::from("a9"),
            config: "config.yaml".into(),
            insecure: false,
        };
        Target { modifications: Some(modifications), ..target() }
    }

    fn push(id: i64, package: &str) -> OpenPush {
        OpenPush {
            id,
            package: package.into(),
            repository: format!("http://h/{package}.git"),
            branch: "c9s".into(),
            commit_id: format!("{id:040}"),
            before_id: String::new(),
            modifies: false,
            told_by: "poll".into(),
            seen_us: id,
            approved_us: 0,
            storm: 0,
            started_us: 0,
            left_by: 0,
            followed: true,
            git_ref: String::new(),
        }
    }

    /// A push to the modifications of a package.
    fn modification(id: i64, package: &str) -> OpenPush {
        let repository = format!("https://h/m/{package}.git");
        OpenPush { repository, branch: "a9".into(), modifies: true, ..push(id, package) }
    }

    fn built(id: i64, commit: i64, modification: i64) -> PushedBuild {
        let text = |id: i64| if id == 0 { String::new() } else { format!("{id:040}") };
        PushedBuild {
            id,
            package: "a".into(),
            git_ref: String::new(),
            modification_ref: String::new(),
            commit_id: text(commit),
            modification: text(modification),
            stands: false,
        }
    }

    #[test]
    fn the_newest_push_stands_for_those_before_it() {
        let open = vec![push(1, "a"), push(2, "b"), push(3, "a"), push(4, "a")];
        let planned = plan(&target(), open, &Orders::default(), &Known::default(), 1_000);
        let short: Vec<_> = planned
            .iter()
            .map(|p| (p.push.id, p.older.clone(), p.verdict.word().as_str()))
            .collect();
        assert_eq!(short, [(4, vec![1, 3], "build"), (2, vec![], "build")]);
    }

    #[test]
    fn what_a_storm_holds_stays_held_when_more_is_pushed() {
        let verdict = |open: &[OpenPush]| {
            let plan = plan(&modified(), open.to_vec(), &Orders::default(), &Known::default(), 9);
            (plan[0].verdict.clone(), plan[0].push.storm)
        };
        let held = OpenPush { storm: 7, ..push(1, "a") };
        assert_eq!(verdict(&[held.clone(), push(2, "a")]), (Verdict::Storm(7), 7));
        assert_eq!(verdict(&[held.clone(), modification(2, "a")]), (Verdict::Storm(7), 7));
        // What was approved was the push that people saw, and not the one after it.
        let approved = |push: OpenPush| OpenPush { approved_us: 5, ..push };
        assert_eq!(verdict(&[approved(held.clone()), push(2, "a")]), (Verdict::Build, 0));
        assert_eq!(verdict(&[held, approved(push(2, "a"))]).0, Verdict::Build);
    }

    #[test]
    fn upstream_may_go_back() {
        let plan = |builds: &[PushedBuild], left: i64| {
            let known = Known { seen: Vec::new(), builds: builds.to_vec() };
            let open = vec![OpenPush { left_by: left, ..push(4, "a") }];
            plan(&target(), open, &Orders::default(), &known, 1_000).remove(0).verdict
        };
        let (old, failed) = (built(7, 4, 0), built(8, 5, 0));
        let published = PushedBuild { stands: true, ..failed.clone() };
        let done = Verdict::Done(BuildId(7));
        assert_eq!(plan(&[old.clone(), published.clone()], 0), done, "it was told of late");
        assert_eq!(plan(&[old.clone(), failed], 3), done, "nothing has come of the other");
        assert_eq!(plan(&[old.clone(), published.clone()], 3), Verdict::Build);
        assert_eq!(plan(&[published, built(9, 4, 0)], 3), Verdict::Done(BuildId(9)));
        assert_eq!(plan(&[], 3), Verdict::Build);
    }

    #[test]
    fn pushes_to_both_repositories_are_one_pair() {
        let open = vec![push(1, "a"), modification(2, "a"), modification(3, "a"), push(4, "a")];
        let plan = |target: &Target, open: &[OpenPush], known: &Known| {
            plan(target, open.to_vec(), &Orders::default(), known, 1_000).remove(0)
        };
        let mut known = Known::default();
        let planned = plan(&modified(), &open, &known);
        assert_eq!((planned.push.id, planned.beside.as_ref().unwrap().id), (4, 3));
        assert_eq!(planned.older, [1, 2]);
        let pair = PushPair { git_ref: format!("{:040}", 4), modification: format!("{:040}", 3) };
        assert_eq!((planned.pair.to_build(), planned.verdict.word().as_str()), (pair, "build"));
        // The same commit with other modifications is another pair.
        for (build, verdict) in [
            (built(7, 4, 2), "build"),
            (built(7, 4, 0), "build"),
            (built(7, 4, 3), "done"),
            (built(7, 0, 0), "importing"),
        ] {
            known.builds = vec![build];
            assert_eq!(
                plan(&modified(), &open, &known).verdict.word().as_str(),
                verdict,
                "{known:?}"
            );
        }
        // The target has no modifications any more.
        let planned = plan(&target(), &open[..3], &Known::default());
        assert_eq!((planned.push.id, planned.older, planned.moot), (1, vec![2, 3], false));
        assert_eq!(planned.pair.modification.as_deref(), Some(""));
        assert!(plan(&target(), &open[1..3], &Known::default()).moot);
    }

    #[test]
    fn a_push_to_one_is_built_with_what_was_seen_of_the_other() {
        let target = modified();
        let seen = |repository: String, branch: &str, commit: &str| Seen {
            package: "a".into(),
            repository,
            branch: branch.into(),
            commit_id: commit.into(),
            at_us: 1,
        };
        let branch = target.git_ref("a", None).unwrap();
        let known = Known {
            seen: vec![
                seen(target.git_url("a"), &branch, "u"),
                seen("https://h/m/a.git".into(), "a9", "m"),
            ],
            builds: Vec::new(),
        };
        let pair = |open: OpenPush, known: &Known| {
            let pair = plan(&target, vec![open], &Orders::default(), known, 9).remove(0).pair;
            (pair.git_ref, pair.modification)
        };
        let (u, m) = ("u".to_owned(), Some("m".to_owned()));
        assert_eq!(pair(modification(1, "a"), &known), (u, Some(format!("{:040}", 1))));
        assert_eq!(pair(push(1, "a"), &known), (format!("{:040}", 1), m));
        assert_eq!(pair(push(1, "a"), &Known::default()), (format!("{:040}", 1), None));
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
            let planned =
                plan(&target, vec![push(1, package)], &orders, &Known::default(), 5).remove(0);
            assert_eq!(planned.verdict.word().as_str(), verdict, "{package}");
            assert_eq!(reason(&planned.verdict, &orders.rule(&target, package, 5)), why);
        }
        let later =
            plan(&target, vec![push(1, "frozen")], &orders, &Known::default(), 10).remove(0);
        assert_eq!(later.verdict, Verdict::Proposed);
        assert!(Orders::new(&[row("x", "never", 0)]).is_err());
    }
}
