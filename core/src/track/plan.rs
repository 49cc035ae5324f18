//! What would become of the open pushes of a target, now: the stage carries it out, people are shown
//! it.

use std::collections::BTreeMap;

use super::pair::{CommitPair, PushPair, pair};
use super::policy::{Order, Policy, Rule, Said, effective};
use super::push::{OpenPush, PushedBuild};
use super::seen::TrackRef;
use super::{Facts, PushVerdict, Verdict, decide};
use crate::{BuildId, Target};

/// The newest push to a package or its modifications, and what would become of it.
#[derive(Debug, Clone)]
pub struct PlannedPush {
    /// The push.
    pub push: OpenPush,
    /// The newest one to the other of the two, which is built with it.
    pub beside: Option<OpenPush>,
    /// Those before them, which they stand for.
    pub older: Vec<i64>,
    /// What would be built.
    pub pair: CommitPair,
    /// A build that has it; 0 for none.
    pub done_by: i64,
    /// Whether it is followed no longer.
    pub moot: bool,
    /// What would become of it.
    pub verdict: Verdict,
}

/// What is known of the packages that have open pushes.
#[derive(Debug, Clone, Default)]
pub struct OpenPushContext {
    /// What was last seen of their branches.
    pub seen: Vec<TrackRef>,
    /// Builds that may have what was pushed, oldest first.
    pub builds: Vec<PushedBuild>,
}

/// What maintainers have said of a target and its packages.
#[derive(Debug, Clone, Default)]
pub struct PolicyOverrides(BTreeMap<String, Order>);

/// Packages, each with the newest order for it; the empty name stands for the whole target.
impl FromIterator<(String, Order)> for PolicyOverrides {
    fn from_iter<I: IntoIterator<Item = (String, Order)>>(orders: I) -> Self {
        Self(orders.into_iter().collect())
    }
}

impl PolicyOverrides {
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

/// Plans for the open pushes of a target, which come oldest first: one plan for each package, by name.
#[must_use]
pub fn plan(
    target: &Target,
    open: Vec<OpenPush>,
    orders: &PolicyOverrides,
    known: &OpenPushContext,
    now_us: i64,
) -> Vec<PlannedPush> {
    let mut packages: BTreeMap<String, Vec<OpenPush>> = BTreeMap::new();
    for push in open {
        packages.entry(push.package.clone()).or_default().push(push);
    }
    packages
        .into_iter()
        .filter_map(|(package, pushes)| {
            let rule = orders.rule(target, &package, now_us);
            plan_package(&PackageFacts { target, package: &package, known, rule }, pushes, now_us)
        })
        .collect()
}

/// What decides on the pushes of a package.
struct PackageFacts<'a> {
    target: &'a Target,
    package: &'a str,
    known: &'a OpenPushContext,
    rule: Rule,
}

/// Plans for a package's pushes, which come oldest first.
fn plan_package(
    facts: &PackageFacts<'_>,
    pushes: Vec<OpenPush>,
    now_us: i64,
) -> Option<PlannedPush> {
    let ids: Vec<i64> = pushes.iter().map(|push| push.id).collect();
    let storm = unapproved_storm(&pushes);
    let (mut pushes, moot_alone) = facts.still_meant(pushes);
    let first_us = pushes.first()?.seen_us;
    let newest = pushes.pop()?;
    let push = OpenPush { storm: newest.storm.max(storm), ..newest };
    let beside = pushes.iter().rposition(|other| other.modifies != push.modifies);
    let beside = beside.map(|at| pushes.remove(at));
    let named = [Some(push.id), beside.as_ref().map(|push| push.id)];
    let older = ids.into_iter().filter(|id| !named.contains(&Some(*id))).collect();

    let pair = pair(facts.target, facts.package, &push, beside.as_ref(), &facts.known.seen);
    let done_by = facts.done_by(&pair, std::iter::once(&push).chain(&beside));
    let verdict = facts.verdict(&push, first_us, done_by, facts.importing(&pair), now_us);
    let moot = moot_alone || !push.followed;
    let done_by = done_by.map_or(0, |build| build.0);
    Some(PlannedPush { push, beside, older, pair, done_by, moot, verdict })
}

/// The storm that holds any push of a package; 0 for none. Whatever supersedes a push that is held, or
/// is built with it, is held as well.
fn unapproved_storm(pushes: &[OpenPush]) -> i64 {
    let unapproved = pushes.iter().filter(|push| push.approved_us == 0);
    unapproved.map(|push| push.storm).max().unwrap_or(0)
}

impl PackageFacts<'_> {
    /// Leaves out pushes to modifications that the target no longer has for the package. If there are
    /// no others, these are kept, and it says so.
    fn still_meant(&self, pushes: Vec<OpenPush>) -> (Vec<OpenPush>, bool) {
        let place = self.target.modifications_of(self.package);
        let is_moot = |push: &OpenPush| {
            push.modifies
                && place
                    .as_ref()
                    .is_none_or(|(url, branch)| (url, branch) != (&push.repository, &push.branch))
        };
        let (moot, meant): (Vec<OpenPush>, Vec<OpenPush>) = pushes.into_iter().partition(is_moot);
        if meant.is_empty() { (moot, true) } else { (meant, false) }
    }

    /// The builds of the package, newest first.
    fn builds(&self) -> impl Iterator<Item = &PushedBuild> {
        self.known.builds.iter().rev().filter(move |build| build.package == self.package)
    }

    /// The newest build that has the sources of a pair, if it counts as the build of these pushes.
    fn done_by<'p>(
        &self,
        pair: &CommitPair,
        mut pushes: impl Iterator<Item = &'p OpenPush>,
    ) -> Option<BuildId> {
        let done = self.builds().find(|build| pair.is_of(build))?;
        // Where upstream went back to older sources, what was built since stands in their place.
        let returns = pushes.any(OpenPush::returns);
        let stands_alone =
            || self.builds().take_while(|build| build.id > done.id).all(|build| !build.stands);
        (!returns || stands_alone()).then_some(BuildId(done.id))
    }

    /// The newest build without sources yet that may come to have those of a pair.
    fn importing(&self, pair: &CommitPair) -> Option<BuildId> {
        self.builds().find(|build| pair.may_be_of(build)).map(|build| BuildId(build.id))
    }

    fn verdict(
        &self,
        push: &OpenPush,
        first_us: i64,
        done_by: Option<BuildId>,
        importing: Option<BuildId>,
        now_us: i64,
    ) -> Verdict {
        let number = |id: i64| (id != 0).then_some(id);
        let facts = Facts {
            rule: &self.rule,
            approved: push.approved_us != 0,
            storm: number(push.storm),
            first_us,
            last_us: push.seen_us,
            started_us: number(push.started_us),
            done_by,
            importing,
        };
        decide(&facts, &self.target.track.gather(), now_us)
    }
}

/// The plans of a target, by what is to be done with them now.
#[derive(Debug, Clone, Default)]
pub struct SortedPlans {
    /// What ends without a build: nobody follows it, or there is a build.
    pub ends: Vec<PushEnd>,
    /// What is built since a maintainer approved it.
    pub approved: Vec<PlannedPush>,
    /// What would be built without asking, if that is not a storm.
    pub unasked: Vec<PlannedPush>,
    /// The newest storm that holds any; 0 for none.
    pub storm: i64,
    /// How many wait in storms for what was pushed since a time.
    pub held: usize,
}

/// Sorts plans. Of those that a storm holds, the ones that were pushed after `since_us` are counted.
#[must_use]
pub fn sort(plans: Vec<PlannedPush>, since_us: i64) -> SortedPlans {
    let mut sorted = SortedPlans::default();
    for planned in plans {
        if planned.moot {
            sorted.ends.extend(planned.ends(PushVerdict::Removed, 0));
            continue;
        }
        match planned.verdict {
            Verdict::Done(build) => sorted.ends.extend(planned.ends(PushVerdict::Done, build.0)),
            Verdict::Build if planned.push.approved_us != 0 => sorted.approved.push(planned),
            Verdict::Build => sorted.unasked.push(planned),
            Verdict::Storm(id) => {
                sorted.storm = sorted.storm.max(id);
                sorted.held += usize::from(planned.push.seen_us > since_us);
            }
            _ => {}
        }
    }
    sorted
}

/// What becomes of a push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushEnd {
    /// The push.
    pub push: i64,
    /// How it has ended.
    pub verdict: PushVerdict,
    /// The build that had its commit already, for `done`; 0 else.
    pub build: i64,
    /// What is built, for `build`.
    pub pair: Option<PushPair>,
}

impl PlannedPush {
    /// The pushes that are built together.
    pub fn pushes(&self) -> impl Iterator<Item = &OpenPush> {
        std::iter::once(&self.push).chain(&self.beside)
    }

    /// The end of the push, of the one that is built with it, and of those that they stand for.
    /// `build` is the build that had the commit already, 0 for none.
    #[must_use]
    pub fn ends(&self, verdict: PushVerdict, build: i64) -> Vec<PushEnd> {
        let older = match verdict {
            PushVerdict::Removed => PushVerdict::Removed,
            _ => PushVerdict::Superseded,
        };
        let pair = (verdict == PushVerdict::Build).then(|| self.pair.to_build());
        let newest =
            self.pushes().map(|push| PushEnd { push: push.id, verdict, build, pair: pair.clone() });
        let superseded = |push: &i64| PushEnd { push: *push, verdict: older, build: 0, pair: None };
        newest.chain(self.older.iter().map(superseded)).collect()
    }
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
    use proptest::prelude::*;

    use super::*;
    use crate::target::{Modifications, Template};
    use crate::track::policy::Freeze;

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
        let planned =
            plan(&target(), open, &PolicyOverrides::default(), &OpenPushContext::default(), 1_000);
        let short: Vec<_> = planned
            .iter()
            .map(|p| (p.push.id, p.older.clone(), p.verdict.word().as_str()))
            .collect();
        assert_eq!(short, [(4, vec![1, 3], "build"), (2, vec![], "build")]);
    }

    #[test]
    fn what_a_storm_holds_stays_held_when_more_is_pushed() {
        let verdict = |open: &[OpenPush]| {
            let plan = plan(
                &modified(),
                open.to_vec(),
                &PolicyOverrides::default(),
                &OpenPushContext::default(),
                9,
            );
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
            let known = OpenPushContext { seen: Vec::new(), builds: builds.to_vec() };
            let open = vec![OpenPush { left_by: left, ..push(4, "a") }];
            plan(&target(), open, &PolicyOverrides::default(), &known, 1_000).remove(0).verdict
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
        let plan = |target: &Target, open: &[OpenPush], known: &OpenPushContext| {
            plan(target, open.to_vec(), &PolicyOverrides::default(), known, 1_000).remove(0)
        };
        let mut known = OpenPushContext::default();
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
        let planned = plan(&target(), &open[..3], &OpenPushContext::default());
        assert_eq!((planned.push.id, planned.older, planned.moot), (1, vec![2, 3], false));
        assert_eq!(planned.pair.modification.as_deref(), Some(""));
        assert!(plan(&target(), &open[1..3], &OpenPushContext::default()).moot);
    }

    #[test]
    fn a_push_to_one_is_built_with_what_was_seen_of_the_other() {
        let target = modified();
        let seen = |repository: String, branch: &str, commit: &str| TrackRef {
            package: "a".into(),
            repository,
            branch: branch.into(),
            commit_id: commit.into(),
            at_us: 1,
        };
        let branch = target.git_ref("a", None).unwrap();
        let known = OpenPushContext {
            seen: vec![
                seen(target.git_url("a"), &branch, "u"),
                seen("https://h/m/a.git".into(), "a9", "m"),
            ],
            builds: Vec::new(),
        };
        let pair = |open: OpenPush, known: &OpenPushContext| {
            let pair =
                plan(&target, vec![open], &PolicyOverrides::default(), known, 9).remove(0).pair;
            (pair.git_ref, pair.modification)
        };
        let (u, m) = ("u".to_owned(), Some("m".to_owned()));
        assert_eq!(pair(modification(1, "a"), &known), (u, Some(format!("{:040}", 1))));
        assert_eq!(pair(push(1, "a"), &known), (format!("{:040}", 1), m));
        assert_eq!(pair(push(1, "a"), &OpenPushContext::default()), (format!("{:040}", 1), None));
    }

    #[test]
    fn files_and_orders_decide() {
        let mut target = target();
        target.packages.entry("held".into()).or_default().track = Some(Policy::Hold);
        let why = || "why".to_owned();
        let orders: PolicyOverrides = [
            ("", Order::Policy(Policy::Propose, why())),
            ("frozen", Order::Freeze(Freeze { reason: why(), until_us: 10 })),
            ("auto", Order::Policy(Policy::Automatic, why())),
        ]
        .into_iter()
        .map(|(package, order)| (package.to_owned(), order))
        .collect();
        for (package, verdict, why) in [
            ("held", "held", "on hold"),
            ("other", "proposed", "waits for approval"),
            ("auto", "build", "policy automatic"),
            ("frozen", "frozen", "frozen: why"),
        ] {
            let planned =
                plan(&target, vec![push(1, package)], &orders, &OpenPushContext::default(), 5)
                    .remove(0);
            assert_eq!(planned.verdict.word().as_str(), verdict, "{package}");
            assert_eq!(reason(&planned.verdict, &orders.rule(&target, package, 5)), why);
        }
        let later =
            plan(&target, vec![push(1, "frozen")], &orders, &OpenPushContext::default(), 10)
                .remove(0);
        assert_eq!(later.verdict, Verdict::Proposed);
    }

    #[test]
    fn plans_are_sorted_by_what_is_to_be_done() {
        let open = vec![
            OpenPush { storm: 7, ..push(1, "old storm") },
            OpenPush { approved_us: 5, ..push(2, "approved") },
            push(3, "unasked"),
            OpenPush { followed: false, ..push(4, "left") },
            OpenPush { storm: 9, ..push(5, "storm") },
        ];
        let known = OpenPushContext {
            builds: vec![PushedBuild { package: "done".into(), ..built(8, 7, 0) }],
            ..OpenPushContext::default()
        };
        let open: Vec<_> = open.into_iter().chain([push(6, "done"), push(7, "done")]).collect();
        let plans = plan(&target(), open, &PolicyOverrides::default(), &known, 1_000);
        let sorted = sort(plans, 1);
        let names = |plans: &[PlannedPush]| -> Vec<String> {
            plans.iter().map(|planned| planned.push.package.clone()).collect()
        };
        assert_eq!(names(&sorted.approved), ["approved"]);
        assert_eq!(names(&sorted.unasked), ["unasked"]);
        // What was pushed before the time is held, and not counted.
        assert_eq!((sorted.storm, sorted.held), (9, 1));
        let mut ends: Vec<_> =
            sorted.ends.iter().map(|end| (end.push, end.verdict, end.build)).collect();
        ends.sort_by_key(|end| end.0);
        let expected = [
            (4, PushVerdict::Removed, 0),
            (6, PushVerdict::Superseded, 0),
            (7, PushVerdict::Done, 8),
        ];
        assert_eq!(ends, expected);
    }

    proptest! {
        /// Whatever was pushed, each push is in one plan, and a storm that holds one holds its package.
        #[test]
        fn no_push_is_lost_or_planned_twice(
            pushes in prop::collection::vec((0usize..3, any::<bool>(), 0i64..3), 0..12),
        ) {
            let packages = ["a", "b", "c"];
            let open: Vec<OpenPush> = (1..).zip(pushes).map(|(id, (package, modifies, storm))| {
                let new = if modifies { modification } else { push };
                OpenPush { storm, ..new(id, packages[package]) }
            }).collect();
            for target in [target(), modified()] {
                let plans =
                    plan(&target, open.clone(), &PolicyOverrides::default(), &OpenPushContext::default(), 1_000);
                let of_plan = |planned: &PlannedPush| -> Vec<i64> {
                    planned.pushes().map(|push| push.id).chain(planned.older.clone()).collect()
                };
                let mut ids: Vec<i64> = plans.iter().flat_map(of_plan).collect();
                ids.sort_unstable();
                prop_assert_eq!(ids, open.iter().map(|push| push.id).collect::<Vec<_>>());
                for planned in &plans {
                    let of_package =
                        || open.iter().filter(|push| push.package == planned.push.package);
                    let storm = of_package().map(|push| push.storm).max().unwrap_or(0);
                    prop_assert_eq!(planned.push.storm, storm);
                }
            }
        }
    }
}
