//! The plans for the open pushes of a target: the stage carries them out, people are shown them.

use std::collections::BTreeMap;

use super::pair::{CommitPair, PushPair, pair};
use super::policy::{EffectivePolicy, Policy, PolicyOverride, PolicySources, effective};
use super::push::{OpenPush, PushedBuild};
use super::seen::TrackRef;
use super::{PushDecision, PushFacts, PushVerdict, decide};
use crate::{BuildId, PushId, StormId, Target, Timestamp};

/// The newest push to a package or its modifications, with its verdict.
#[derive(Debug, Clone)]
pub struct PlannedPush {
    pub push: OpenPush,
    /// The newest push to the other of the two, which is built with it.
    pub beside: Option<OpenPush>,
    /// Earlier pushes, which these supersede.
    pub older: Vec<PushId>,
    /// The pair to be built.
    pub pair: CommitPair,
    /// A build that has the pair.
    pub done_by: Option<BuildId>,
    /// Whether the package is no longer tracked.
    pub moot: bool,
    pub verdict: PushDecision,
}

/// The facts of the packages that have open pushes.
#[derive(Debug, Clone, Default)]
pub struct OpenPushContext {
    /// The commits of their branches when they were last polled.
    pub seen: Vec<TrackRef>,
    /// Builds that may have the pushed commits, oldest first.
    pub builds: Vec<PushedBuild>,
}

/// The policy overrides of a target and its packages.
#[derive(Debug, Clone, Default)]
pub struct PolicyOverrides(BTreeMap<String, PolicyOverride>);

/// From packages with the newest override for each; the empty name stands for the whole target.
impl FromIterator<(String, PolicyOverride)> for PolicyOverrides {
    fn from_iter<I: IntoIterator<Item = (String, PolicyOverride)>>(overrides: I) -> Self {
        Self(overrides.into_iter().collect())
    }
}

impl PolicyOverrides {
    /// The policy of a package.
    #[must_use]
    pub fn rule(&self, target: &Target, package: &str, now: Timestamp) -> EffectivePolicy {
        let said = PolicySources {
            file: target.track.policy,
            file_package: target.packages.get(package).and_then(|package| package.track),
            target: self.0.get(""),
            package: self.0.get(package),
        };
        effective(&said, now)
    }
}

/// The plans for the open pushes of a target, which come oldest first: one plan for each package,
/// by name.
#[must_use]
pub fn plan(
    target: &Target,
    open: Vec<OpenPush>,
    overrides: &PolicyOverrides,
    known: &OpenPushContext,
    now: Timestamp,
) -> Vec<PlannedPush> {
    let mut packages: BTreeMap<String, Vec<OpenPush>> = BTreeMap::new();
    for push in open {
        packages.entry(push.package.clone()).or_default().push(push);
    }
    packages
        .into_iter()
        .filter_map(|(package, pushes)| {
            let rule = overrides.rule(target, &package, now);
            plan_package(&PackageFacts { target, package: &package, known, rule }, pushes, now)
        })
        .collect()
}

/// The facts that decide on the pushes of a package.
struct PackageFacts<'a> {
    target: &'a Target,
    package: &'a str,
    known: &'a OpenPushContext,
    rule: EffectivePolicy,
}

/// The plan for a package's pushes, which come oldest first.
fn plan_package(
    facts: &PackageFacts<'_>,
    pushes: Vec<OpenPush>,
    now: Timestamp,
) -> Option<PlannedPush> {
    let ids: Vec<PushId> = pushes.iter().map(|push| push.id).collect();
    let storm = unapproved_storm(&pushes);
    let (mut pushes, moot_alone) = facts.still_meant(pushes);
    let first = pushes.first()?.seen_at;
    let newest = pushes.pop()?;
    let push = OpenPush { storm: newest.storm.max(storm), ..newest };
    let beside = pushes.iter().rposition(|other| other.modifies != push.modifies);
    let beside = beside.map(|at| pushes.remove(at));
    let named = [Some(push.id), beside.as_ref().map(|push| push.id)];
    let older = ids.into_iter().filter(|id| !named.contains(&Some(*id))).collect();

    let pair = pair(facts.target, facts.package, &push, beside.as_ref(), &facts.known.seen);
    let done_by = facts.done_by(&pair, std::iter::once(&push).chain(&beside));
    let verdict = facts.verdict(&push, first, done_by, facts.importing(&pair), now);
    let moot = moot_alone || !push.followed;
    Some(PlannedPush { push, beside, older, pair, done_by, moot, verdict })
}

/// The storm that holds any push of a package. A push that supersedes a held one, or is built with
/// it, is held as well.
fn unapproved_storm(pushes: &[OpenPush]) -> Option<StormId> {
    let unapproved = pushes.iter().filter(|push| push.approved_at.is_none());
    unapproved.filter_map(|push| push.storm).max()
}

impl PackageFacts<'_> {
    /// Leaves out pushes to modifications that the target no longer has for the package. If there
    /// are no others, these are kept, and the second value is true.
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

    /// The newest build with the sources of a pair, if it counts as the build of these pushes.
    fn done_by<'p>(
        &self,
        pair: &CommitPair,
        mut pushes: impl Iterator<Item = &'p OpenPush>,
    ) -> Option<BuildId> {
        let done = self.builds().find(|build| pair.is_of(build))?;
        // If upstream went back to older sources, later builds have replaced the earlier one.
        let returns = pushes.any(OpenPush::returns);
        let stands_alone =
            || self.builds().take_while(|build| build.id > done.id).all(|build| !build.stands);
        (!returns || stands_alone()).then_some(done.id)
    }

    /// The newest build without sources that may turn out to have those of a pair.
    fn importing(&self, pair: &CommitPair) -> Option<BuildId> {
        self.builds().find(|build| pair.may_be_of(build)).map(|build| build.id)
    }

    fn verdict(
        &self,
        push: &OpenPush,
        first: Timestamp,
        done_by: Option<BuildId>,
        importing: Option<BuildId>,
        now: Timestamp,
    ) -> PushDecision {
        let facts = PushFacts {
            rule: &self.rule,
            approved: push.approved_at.is_some(),
            storm: push.storm,
            first,
            last: push.seen_at,
            started: push.started_at,
            done_by,
            importing,
        };
        decide(&facts, &self.target.track.gather(), now)
    }
}

/// The plans of a target, sorted by the next action on each.
#[derive(Debug, Clone, Default)]
pub struct SortedPlans {
    /// Pushes that end without a build: nobody tracks the package, or it is built already.
    pub ends: Vec<PushEnd>,
    /// Pushes that are built because a maintainer approved them.
    pub approved: Vec<PlannedPush>,
    /// Pushes that would be built without approval, if they are not a storm.
    pub unasked: Vec<PlannedPush>,
    /// The newest storm that holds a push.
    pub storm: Option<StormId>,
    /// How many plans wait in storms with pushes since a time.
    pub held: usize,
}

/// Sorts plans. Of those that a storm holds, the ones with pushes after `since` are counted.
#[must_use]
pub fn sort(plans: Vec<PlannedPush>, since: Timestamp) -> SortedPlans {
    let mut sorted = SortedPlans::default();
    for planned in plans {
        if planned.moot {
            sorted.ends.extend(planned.ends(PushVerdict::Removed, None));
            continue;
        }
        match planned.verdict {
            PushDecision::Done(build) => {
                sorted.ends.extend(planned.ends(PushVerdict::Done, Some(build)));
            }
            PushDecision::Build if planned.push.approved_at.is_some() => {
                sorted.approved.push(planned)
            }
            PushDecision::Build => sorted.unasked.push(planned),
            PushDecision::Storm(id) => {
                sorted.storm = sorted.storm.max(Some(id));
                sorted.held += usize::from(planned.push.seen_at > since);
            }
            _ => {}
        }
    }
    sorted
}

/// The end of a push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushEnd {
    pub push: PushId,
    /// The final verdict.
    pub verdict: PushVerdict,
    /// For `done`, the build that had the commit already.
    pub build: Option<BuildId>,
    /// For `build`, the pair that is built.
    pub pair: Option<PushPair>,
}

impl PlannedPush {
    /// The pushes that are built together.
    pub fn pushes(&self) -> impl Iterator<Item = &OpenPush> {
        std::iter::once(&self.push).chain(&self.beside)
    }

    /// The ends of the push, of the one that is built with it, and of those that they supersede.
    /// `build` is the build that had the commit already.
    #[must_use]
    pub fn ends(&self, verdict: PushVerdict, build: Option<BuildId>) -> Vec<PushEnd> {
        let older = match verdict {
            PushVerdict::Removed => PushVerdict::Removed,
            _ => PushVerdict::Superseded,
        };
        let pair = (verdict == PushVerdict::Build).then(|| self.pair.to_build());
        let newest =
            self.pushes().map(|push| PushEnd { push: push.id, verdict, build, pair: pair.clone() });
        let superseded =
            |push: &PushId| PushEnd { push: *push, verdict: older, build: None, pair: None };
        newest.chain(self.older.iter().map(superseded)).collect()
    }
}

/// Why a push has its verdict, in one line.
#[must_use]
pub fn reason(verdict: &PushDecision, rule: &EffectivePolicy) -> String {
    let because = |reason: &str| {
        if reason.is_empty() { String::new() } else { format!(": {reason}") }
    };
    match verdict {
        PushDecision::Build if rule.policy == Policy::Automatic => "policy automatic".to_owned(),
        PushDecision::Build => "approved".to_owned(),
        PushDecision::Done(build) => format!("build {build} has these sources"),
        PushDecision::Importing(build) => format!("build {build} may have these sources"),
        PushDecision::Gathering { .. } => "more pushes may follow".to_owned(),
        PushDecision::Proposed => "waits for approval".to_owned(),
        PushDecision::Held { reason } => format!("on hold{}", because(reason)),
        PushDecision::Frozen { reason, .. } => format!("frozen{}", because(reason)),
        PushDecision::Storm(storm) => format!("one of too many at once (storm {storm})"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::target::{Modifications, Template};
    use crate::track::policy::Freeze;

    const NOW: Timestamp = at(1_000);

    const fn at(us: i64) -> Timestamp {
        Timestamp::from_us(us)
    }

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
            id: PushId(id),
            package: package.into(),
            repository: format!("http://h/{package}.git"),
            branch: "c9s".into(),
            commit_id: format!("{id:040}"),
            before_id: String::new(),
            modifies: false,
            told_by: "poll".into(),
            seen_at: at(id),
            approved_at: None,
            storm: None,
            started_at: None,
            left_by: None,
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
            id: BuildId(id),
            package: "a".into(),
            git_ref: String::new(),
            modification_ref: String::new(),
            commit_id: text(commit),
            modification: text(modification),
            stands: false,
        }
    }

    fn numbers(pushes: &[PushId]) -> Vec<i64> {
        pushes.iter().map(|push| push.0).collect()
    }

    #[test]
    fn the_newest_push_stands_for_those_before_it() {
        let open = vec![push(1, "a"), push(2, "b"), push(3, "a"), push(4, "a")];
        let planned =
            plan(&target(), open, &PolicyOverrides::default(), &OpenPushContext::default(), NOW);
        let short: Vec<_> = planned
            .iter()
            .map(|p| (p.push.id.0, numbers(&p.older), p.verdict.word().as_str()))
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
                NOW,
            );
            (plan[0].verdict.clone(), plan[0].push.storm)
        };
        let storm = StormId(7);
        let held = OpenPush { storm: Some(storm), ..push(1, "a") };
        let is_held = (PushDecision::Storm(storm), Some(storm));
        assert_eq!(verdict(&[held.clone(), push(2, "a")]), is_held);
        assert_eq!(verdict(&[held.clone(), modification(2, "a")]), is_held);
        // What was approved was the push that people saw, and not the one after it.
        let approved = |push: OpenPush| OpenPush { approved_at: Some(at(5)), ..push };
        assert_eq!(verdict(&[approved(held.clone()), push(2, "a")]), (PushDecision::Build, None));
        assert_eq!(verdict(&[held, approved(push(2, "a"))]).0, PushDecision::Build);
    }

    #[test]
    fn upstream_may_go_back() {
        let plan = |builds: &[PushedBuild], left: Option<i64>| {
            let known = OpenPushContext { seen: Vec::new(), builds: builds.to_vec() };
            let open = vec![OpenPush { left_by: left.map(PushId), ..push(4, "a") }];
            plan(&target(), open, &PolicyOverrides::default(), &known, NOW).remove(0).verdict
        };
        let (old, failed) = (built(7, 4, 0), built(8, 5, 0));
        let published = PushedBuild { stands: true, ..failed.clone() };
        let done = PushDecision::Done(BuildId(7));
        assert_eq!(plan(&[old.clone(), published.clone()], None), done, "it was told of late");
        assert_eq!(plan(&[old.clone(), failed], Some(3)), done, "nothing has come of the other");
        assert_eq!(plan(&[old.clone(), published.clone()], Some(3)), PushDecision::Build);
        assert_eq!(plan(&[published, built(9, 4, 0)], Some(3)), PushDecision::Done(BuildId(9)));
        assert_eq!(plan(&[], Some(3)), PushDecision::Build);
    }

    #[test]
    fn pushes_to_both_repositories_are_one_pair() {
        let open = vec![push(1, "a"), modification(2, "a"), modification(3, "a"), push(4, "a")];
        let plan = |target: &Target, open: &[OpenPush], known: &OpenPushContext| {
            plan(target, open.to_vec(), &PolicyOverrides::default(), known, NOW).remove(0)
        };
        let mut known = OpenPushContext::default();
        let planned = plan(&modified(), &open, &known);
        assert_eq!((planned.push.id, planned.beside.as_ref().unwrap().id), (PushId(4), PushId(3)));
        assert_eq!(numbers(&planned.older), [1, 2]);
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
        assert_eq!((planned.push.id, planned.moot), (PushId(1), false));
        assert_eq!(numbers(&planned.older), [2, 3]);
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
            since: at(1),
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
                plan(&target, vec![open], &PolicyOverrides::default(), known, NOW).remove(0).pair;
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
        let overrides: PolicyOverrides = [
            ("", PolicyOverride::Policy(Policy::Propose, why())),
            ("frozen", PolicyOverride::Freeze(Freeze { reason: why(), until: at(10) })),
            ("auto", PolicyOverride::Policy(Policy::Automatic, why())),
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
            let planned = plan(
                &target,
                vec![push(1, package)],
                &overrides,
                &OpenPushContext::default(),
                at(5),
            )
            .remove(0);
            assert_eq!(planned.verdict.word().as_str(), verdict, "{package}");
            assert_eq!(reason(&planned.verdict, &overrides.rule(&target, package, at(5))), why);
        }
        let later =
            plan(&target, vec![push(1, "frozen")], &overrides, &OpenPushContext::default(), at(10))
                .remove(0);
        assert_eq!(later.verdict, PushDecision::Proposed);
    }

    #[test]
    fn plans_are_sorted_by_what_is_to_be_done() {
        let open = vec![
            OpenPush { storm: Some(StormId(7)), ..push(1, "old storm") },
            OpenPush { approved_at: Some(at(5)), ..push(2, "approved") },
            push(3, "unasked"),
            OpenPush { followed: false, ..push(4, "left") },
            OpenPush { storm: Some(StormId(9)), ..push(5, "storm") },
        ];
        let known = OpenPushContext {
            builds: vec![PushedBuild { package: "done".into(), ..built(8, 7, 0) }],
            ..OpenPushContext::default()
        };
        let open: Vec<_> = open.into_iter().chain([push(6, "done"), push(7, "done")]).collect();
        let plans = plan(&target(), open, &PolicyOverrides::default(), &known, NOW);
        let sorted = sort(plans, at(1));
        let names = |plans: &[PlannedPush]| -> Vec<String> {
            plans.iter().map(|planned| planned.push.package.clone()).collect()
        };
        assert_eq!(names(&sorted.approved), ["approved"]);
        assert_eq!(names(&sorted.unasked), ["unasked"]);
        // What was pushed before the time is held, and not counted.
        assert_eq!((sorted.storm, sorted.held), (Some(StormId(9)), 1));
        let mut ends: Vec<_> =
            sorted.ends.iter().map(|end| (end.push.0, end.verdict, end.build)).collect();
        ends.sort_by_key(|end| end.0);
        let expected = [
            (4, PushVerdict::Removed, None),
            (6, PushVerdict::Superseded, None),
            (7, PushVerdict::Done, Some(BuildId(8))),
        ];
        assert_eq!(ends, expected);
    }

    proptest! {
        /// Whatever was pushed, each push is in one plan, and a storm that holds one holds its
        /// package.
        #[test]
        fn no_push_is_lost_or_planned_twice(
            pushes in prop::collection::vec((0usize..3, any::<bool>(), prop::option::of(1i64..3)), 0..12),
        ) {
            let packages = ["a", "b", "c"];
            let open: Vec<OpenPush> = (1..).zip(pushes).map(|(id, (package, modifies, storm))| {
                let new = if modifies { modification } else { push };
                OpenPush { storm: storm.map(StormId), ..new(id, packages[package]) }
            }).collect();
            for target in [target(), modified()] {
                let plans =
                    plan(&target, open.clone(), &PolicyOverrides::default(), &OpenPushContext::default(), NOW);
                let of_plan = |planned: &PlannedPush| -> Vec<PushId> {
                    planned.pushes().map(|push| push.id).chain(planned.older.clone()).collect()
                };
                let mut ids: Vec<PushId> = plans.iter().flat_map(of_plan).collect();
                ids.sort_unstable();
                prop_assert_eq!(ids, open.iter().map(|push| push.id).collect::<Vec<_>>());
                for planned in &plans {
                    let of_package =
                        || open.iter().filter(|push| push.package == planned.push.package);
                    let storm = of_package().filter_map(|push| push.storm).max();
                    prop_assert_eq!(planned.push.storm, storm);
                }
            }
        }
    }
}
