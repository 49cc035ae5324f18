//! The order of whole batches.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::graph::Task;
use super::*;
use crate::{Arch, BuildId};

const X: Arch = Arch::X86_64;
const SECOND: i64 = 1_000_000;

/// A batch of builds `p1`, `p2`, … on x86_64; each takes a minute.
fn batch(mode: OrderMode, count: i64) -> BatchGraph {
    let mut graph = BatchGraph::new(mode);
    for build in 1..=count {
        graph.add_member(BuildId(build), &format!("p{build}"), 60 * SECOND);
    }
    graph
}

/// Records an SRPM with the usual names of packages.
fn srpm(graph: &mut BatchGraph, build: i64) {
    let (name, devel) = (format!("p{build}"), format!("p{build}-devel"));
    graph.set_srpm(BuildId(build), &[X], [name.as_str(), devel.as_str()]);
}

/// The root holds packages of these builds.
fn solved(graph: &mut BatchGraph, build: i64, needs: &[i64]) {
    let sources: Vec<String> = needs.iter().map(|need| format!("p{need}")).collect();
    let sources = sources.iter().map(String::as_str).collect();
    let needed = Needed { sources, ..Needed::default() };
    graph.set_solved(BuildId(build), X, graph.clock, &needed);
}

/// There is no root for want of these.
fn lacks(graph: &mut BatchGraph, build: i64, missing: &[&str]) {
    let missing: Vec<String> = missing.iter().map(ToString::to_string).collect();
    let lacking = Lacking::Requirements(&missing);
    graph.set_lacking(BuildId(build), X, graph.clock, lacking);
}

fn is_refused(decided: &Decided) -> bool {
    matches!(decided.decision, Decision::Refuse(_))
}

fn both(graph: &mut BatchGraph, build: i64, needs: &[i64]) {
    srpm(graph, build);
    solved(graph, build, needs);
}

/// The builds whose turn it is, in their order.
fn locked(graph: &mut BatchGraph) -> Vec<i64> {
    let decided = graph.decide().into_iter();
    decided.filter(|one| one.decision == Decision::Lock).map(|one| one.build.0).collect()
}

fn is_solve(decided: &Decided) -> bool {
    matches!(decided.decision, Decision::Solve { .. })
}

fn build(graph: &mut BatchGraph, build: i64) {
    graph.set_locked(BuildId(build), X);
    let (name, devel) = (format!("p{build}"), format!("p{build}-devel"));
    graph.accept(BuildId(build), [name.as_str(), devel.as_str()]);
}

#[test]
fn programs_wait_for_the_library_and_are_solved_anew_then() {
    let mut graph = batch(OrderMode::Requires, 3);
    both(&mut graph, 1, &[]);
    both(&mut graph, 2, &[1]);
    both(&mut graph, 3, &[]);
    assert_eq!(locked(&mut graph), [1, 3], "what more waits for goes first");
    let blockers = graph.blockers(BuildId(2), X);
    let wanted = Blocker { build: BuildId(1), package: "p1".into(), wanted: None };
    assert_eq!(blockers, Blockers::Members(vec![wanted]));
    build(&mut graph, 1);
    let again = graph.decide();
    assert_eq!(again.iter().filter(|one| is_solve(one)).count(), 1);
    solved(&mut graph, 2, &[1]);
    assert_eq!(locked(&mut graph), [2, 3]);
    assert_eq!(graph.blockers(BuildId(2), X), Blockers::Nobody);
}

#[test]
fn a_circle_goes_whole_and_what_is_outside_waits_for_what_it_needs() {
    let mut graph = batch(OrderMode::Requires, 6);
    for (build, needs) in [(1, vec![2]), (2, vec![3]), (3, vec![1]), (4, vec![1]), (5, vec![])] {
        both(&mut graph, build, &needs);
    }
    both(&mut graph, 6, &[3, 5]);
    assert_eq!(locked(&mut graph), [1, 3, 5, 2]);
    for one in [1, 2, 3, 5] {
        graph.set_locked(BuildId(one), X);
    }
    graph.accept(BuildId(1), []);
    solved(&mut graph, 4, &[1]);
    assert_eq!(locked(&mut graph), [4], "it does not wait for the rest of the circle");
}

#[test]
fn a_member_of_a_circle_does_not_wait_for_what_others_of_it_need() {
    let mut graph = batch(OrderMode::Requires, 3);
    both(&mut graph, 1, &[2]);
    both(&mut graph, 2, &[1, 3]);
    both(&mut graph, 3, &[]);
    assert_eq!(locked(&mut graph), [3, 1]);
}

#[test]
fn without_an_order_only_what_cannot_be_solved_waits() {
    let mut graph = batch(OrderMode::Unordered, 3);
    both(&mut graph, 1, &[]);
    both(&mut graph, 2, &[1]);
    srpm(&mut graph, 3);
    lacks(&mut graph, 3, &["p1-devel >= 2"]);
    assert_eq!(locked(&mut graph), [1, 2]);
    build(&mut graph, 1);
    assert!(graph.decide().iter().any(|one| one.build == BuildId(3) && is_solve(one)));
}

#[test]
fn twenty_six_builds_with_four_of_the_base_root_use_all_slots() {
    for mode in [OrderMode::Requires, OrderMode::Bootstrap] {
        let mut graph = batch(mode, 26);
        // 1 to 20 are leaves, 21 to 24 are named like packages of the base root, which need 25 and
        // 26.
        for build in 1..=26 {
            let base = (21..=24).filter(|base| mode == OrderMode::Bootstrap && *base != build);
            let extra: &[i64] = if (21..=24).contains(&build) { &[25, 26] } else { &[] };
            both(&mut graph, build, &base.chain(extra.iter().copied()).collect::<Vec<_>>());
        }
        let slots = Slots::from([(X, 6)]);
        let forecast = forecast(&graph, &slots, Choice::CriticalPath);
        assert_eq!(forecast.ends_us, Some(5 * 60 * SECOND), "{mode}: 26 builds on 6 slots");
        assert_eq!(forecast.busy_us, 26 * 60 * SECOND);
        let plan = plan(&graph, &slots);
        assert_eq!(plan.bound.work_us, 260 * SECOND);
        let most = plan.components.iter().map(|one| one.members.len()).max();
        assert_eq!(most, Some(if mode == OrderMode::Bootstrap { 6 } else { 1 }));
        assert_eq!(plan.mode, mode);
    }
}

/// A circle of 5,241 of 34,288 builds, as all of Debian 12 has it with its base root.
#[test]
fn a_distribution_with_its_circle_uses_all_slots() {
    const ALL: i64 = 34_288;
    const CIRCLE: i64 = 5_241;
    let mut graph = batch(OrderMode::Bootstrap, ALL);
    for build in 1..=ALL {
        let needs = if build <= CIRCLE {
            vec![build % CIRCLE + 1, build * 7 % CIRCLE + 1]
        } else {
            vec![build % CIRCLE + 1, build * 31 % CIRCLE + 1]
        };
        both(&mut graph, build, &needs);
    }
    assert_eq!(locked(&mut graph).len(), 5_241, "the circle goes whole");
    let slots = Slots::from([(X, 64)]);
    let plan = plan(&graph, &slots);
    let ends_us = plan.forecast.ends_us.expect("all is built");
    assert!(ends_us * 100 <= plan.bound.least_us() * 105, "{ends_us} of {:?}", plan.bound);
    let sizes = plan.components.iter().map(|one| one.members.len());
    assert_eq!((sizes.clone().max(), sizes.clone().sum::<usize>()), (Some(5_241), 34_288_usize));
}

#[test]
fn what_is_missing_is_waited_for_along_chains_of_new_packages() {
    let mut graph = batch(OrderMode::Requires, 3);
    both(&mut graph, 1, &[]);
    srpm(&mut graph, 2);
    srpm(&mut graph, 3);
    lacks(&mut graph, 2, &["p1-devel"]);
    lacks(&mut graph, 3, &["p2-devel >= 1"]);
    assert_eq!(graph.decide().len(), 1, "neither is refused");
    let Blockers::Members(blockers) = graph.blockers(BuildId(3), X) else { panic!("it waits") };
    assert_eq!(blockers[0].wanted.as_deref(), Some("p2-devel"));
    build(&mut graph, 1);
    assert!(graph.decide().iter().all(|one| one.build == BuildId(2) && is_solve(one)));
}

#[test]
fn a_forecast_follows_what_is_missing() {
    let mut graph = batch(OrderMode::Requires, 5);
    both(&mut graph, 1, &[]);
    let missing: [(i64, &[&str]); 3] =
        [(2, &["p1-devel"]), (3, &["p2-devel", "p1-devel"]), (4, &["pkgconfig(x)"])];
    for (build, missing) in missing {
        srpm(&mut graph, build);
        lacks(&mut graph, build, missing);
    }
    // Nothing is known of the fifth: it may be built at once.
    let forecast = forecast(&graph, &Slots::from([(X, 2)]), Choice::CriticalPath);
    assert_eq!((forecast.refused.len(), forecast.builds.len()), (0, 5));
    assert_eq!(forecast.ends_us, Some(180 * SECOND));
    assert_eq!(forecast.builds[&BuildId(3)].starts_us, 120 * SECOND);
    // Without slots the end is unknown.
    let forecast = super::forecast(&graph, &Slots::from([(X, 0)]), Choice::CriticalPath);
    assert_eq!((forecast.ends_us, forecast.builds.len()), (None, 0));
}

#[test]
fn what_nobody_will_provide_is_refused_at_once() {
    let mut graph = batch(OrderMode::Requires, 3);
    both(&mut graph, 1, &[]);
    srpm(&mut graph, 2);
    srpm(&mut graph, 3);
    lacks(&mut graph, 2, &["p1-devel", "nobody-has-this"]);
    lacks(&mut graph, 3, &["pkgconfig(x)", "/usr/bin/x", "(a or b)", "libx.so.1()(64bit)"]);
    let decided = graph.decide();
    let refused: Vec<&Decided> =
        decided.iter().filter(|one| matches!(one.decision, Decision::Refuse(_))).collect();
    assert_eq!(refused.len(), 1, "what packages provide by their files may come from anybody");
    let Decision::Refuse(lacks) = &refused[0].decision else { panic!("refused") };
    let nobody = Lack { requirement: "nobody-has-this".into(), lost: vec![], circle: vec![] };
    assert_eq!((refused[0].build, lacks.as_slice()), (BuildId(2), &[nobody][..]));
    assert_eq!(graph.blockers(BuildId(3), X), Blockers::Anybody);
    // No member is left that could provide it.
    graph.lose(BuildId(2));
    graph.lose(BuildId(1));
    assert!(matches!(graph.decide()[0].decision, Decision::Refuse(_)));
}

#[test]
fn a_missing_srpm_holds_only_those_that_may_need_it() {
    let mut graph = batch(OrderMode::Requires, 4);
    both(&mut graph, 2, &[]);
    both(&mut graph, 3, &[1]);
    srpm(&mut graph, 4);
    lacks(&mut graph, 4, &["something"]);
    assert_eq!(locked(&mut graph), [2]);
    assert_eq!(graph.blockers(BuildId(4), X), Blockers::Srpms(1));
    srpm(&mut graph, 1);
    let decided = graph.decide();
    assert!(decided.iter().any(|one| matches!(one.decision, Decision::Refuse(_))));
    assert!(decided.iter().any(|one| one.build == BuildId(1) && is_solve(one)));
}

#[test]
fn a_task_that_was_solved_while_something_came_is_solved_again() {
    let mut graph = batch(OrderMode::Requires, 2);
    both(&mut graph, 1, &[]);
    both(&mut graph, 2, &[1]);
    let before = graph.clock;
    build(&mut graph, 1);
    // This answer is of a time before `p1` was there.
    graph.set_solved(BuildId(2), X, before, &Needed::default());
    assert!(is_solve(&graph.decide()[0]));
    graph.set_solved(BuildId(2), X, graph.clock, &Needed::default());
    assert_eq!(locked(&mut graph), [2]);
    graph.touch_all();
    assert!(is_solve(&graph.decide()[0]), "metadata have changed");
}

#[test]
fn packages_from_outside_touch_what_mentions_them() {
    let mut graph = batch(OrderMode::Requires, 3);
    for build in 1..=3 {
        srpm(&mut graph, build);
    }
    let seen = graph.seen();
    graph.set_solved(BuildId(1), X, seen, &Needed { names: vec!["zlib"], ..Needed::default() });
    solved(&mut graph, 2, &[]);
    lacks(&mut graph, 3, &["/usr/bin/x"]);
    assert_eq!(locked(&mut graph), [1, 2]);
    assert!(graph.touch_names(["zlib", "zlib-devel"]));
    let solves: Vec<i64> =
        graph.decide().iter().filter(|one| is_solve(one)).map(|one| one.build.0).collect();
    assert_eq!(solves, [1, 3], "any package may have the path");
    assert!(graph.may_lock(BuildId(2), X) && !graph.may_lock(BuildId(1), X));
    // An answer from before the change does not count.
    graph.set_solved(BuildId(1), X, seen, &Needed { names: vec!["zlib"], ..Needed::default() });
    assert!(!graph.may_lock(BuildId(1), X));
    solved(&mut graph, 1, &[]);
    lacks(&mut graph, 3, &["/usr/bin/x"]);
    graph.lose(BuildId(3));
    assert!(graph.may_lock(BuildId(1), X));
    assert!(!graph.touch_names(["nobody-mentions-this"]));
}

#[test]
fn one_task_is_asked_for_its_turn_as_all_are() {
    let mut graph = batch(OrderMode::Requires, 3);
    both(&mut graph, 1, &[]);
    both(&mut graph, 2, &[1]);
    assert!(graph.may_lock(BuildId(1), X));
    assert!(!graph.may_lock(BuildId(2), X), "it waits");
    assert!(!graph.may_lock(BuildId(3), X), "it has no SRPM");
    assert!(!graph.may_lock(BuildId(9), X), "it is no member");
    assert_eq!(graph.rank_us(BuildId(1)), 2 * 60 * SECOND);
    graph.set_locked(BuildId(1), X);
    assert!(!graph.may_lock(BuildId(1), X), "it has its lock");
    assert_eq!(graph.rank_us(BuildId(9)), 0);
}

#[test]
fn what_a_build_claims_of_others_is_not_waited_for() {
    let mut graph = batch(OrderMode::Requires, 3);
    both(&mut graph, 1, &[]);
    graph.set_names(BuildId(1), ["p1", "libx"]);
    for build in [2, 3] {
        srpm(&mut graph, build);
        let names = vec![if build == 2 { "libx" } else { "p1" }];
        let seen = graph.seen();
        graph.set_solved(BuildId(build), X, seen, &Needed { names, ..Needed::default() });
    }
    graph.set_locked(BuildId(1), X);
    graph.set_done(BuildId(1), X);
    assert_eq!(locked(&mut graph), [0; 0]);
    // A person is to decide whether `libx` may be its.
    graph.set_names(BuildId(1), ["p1"]);
    assert_eq!(locked(&mut graph), [2]);
    let wanted = Some("p1".to_owned());
    let blocker = Blocker { build: BuildId(1), package: "p1".into(), wanted };
    assert_eq!(graph.blockers(BuildId(3), X), Blockers::Members(vec![blocker]));
}

#[test]
fn what_came_while_a_root_was_solved_for_the_first_time_is_not_missed() {
    let mut graph = batch(OrderMode::Requires, 3);
    both(&mut graph, 1, &[]);
    srpm(&mut graph, 2);
    srpm(&mut graph, 3);
    let before = graph.clock;
    graph.set_locked(BuildId(1), X);
    graph.accept(BuildId(1), ["p1", "pkgconfig(p1)"]);
    // No task had mentioned this name, and the answer is older than its addition.
    let missing = ["pkgconfig(p1)".to_owned()];
    graph.set_lacking(BuildId(2), X, before, Lacking::Requirements(&missing));
    // This root holds the package that was replaced.
    let needed = Needed { sources: vec!["p1"], ..Needed::default() };
    graph.set_solved(BuildId(3), X, before, &needed);
    assert!(graph.decide().iter().all(is_solve));
    assert_eq!(graph.decide().len(), 2);
    solved(&mut graph, 3, &[1]);
    lacks(&mut graph, 2, &["pkgconfig(p1)"]);
    assert_eq!(locked(&mut graph), [3]);
    // Metadata of other repositories may change any root.
    let mut graph = batch(OrderMode::Requires, 1);
    srpm(&mut graph, 1);
    let before = graph.clock;
    graph.touch_all();
    graph.set_solved(BuildId(1), X, before, &Needed::default());
    assert!(is_solve(&graph.decide()[0]));
}

#[test]
fn a_lost_member_takes_with_it_what_lacks_it_and_lets_others_go() {
    let mut graph = batch(OrderMode::Requires, 5);
    both(&mut graph, 1, &[]);
    for (build, missing) in [(2, "p1-devel"), (3, "p2-devel")] {
        srpm(&mut graph, build);
        lacks(&mut graph, build, &[missing]);
    }
    both(&mut graph, 4, &[1]);
    both(&mut graph, 5, &[]);
    graph.lose(BuildId(1));
    let mut refused = Vec::new();
    loop {
        let decided = graph.decide();
        let next = decided.iter().find(|one| matches!(one.decision, Decision::Refuse(_)));
        let Some(Decided { build, decision: Decision::Refuse(lacks), .. }) = next else { break };
        refused.push((*build, lacks[0].lost.clone()));
        let build = *build;
        graph.lose(build);
    }
    let lost = |build: i64, by: i64| (BuildId(build), vec![BuildId(by)]);
    assert_eq!(refused, [lost(2, 1), lost(3, 2)]);
    assert_eq!(locked(&mut graph), [4, 5]);
    let loss = Loss {
        build: BuildId(1),
        package: "p1".into(),
        took: vec![BuildId(2), BuildId(3)],
        without: vec![BuildId(4)],
    };
    assert_eq!(graph.losses(), [loss]);
    // The build is retried, and tasks wait for it again.
    graph.add_member(BuildId(1), "p1", 0);
    assert!(graph.losses().iter().all(|loss| loss.build != BuildId(1)));
    assert_eq!(locked(&mut graph), [5]);
}

#[test]
fn a_circle_that_nothing_can_begin_is_named_with_what_breaks_it() {
    let mut graph = batch(OrderMode::Requires, 4);
    for build in 1..=4 {
        srpm(&mut graph, build);
    }
    lacks(&mut graph, 1, &["p2-devel", "p3-devel"]);
    lacks(&mut graph, 2, &["p1-devel"]);
    lacks(&mut graph, 3, &["p1-devel"]);
    lacks(&mut graph, 4, &["p3"]);
    let decided = graph.decide();
    assert_eq!(decided.len(), 4);
    assert!(decided.iter().all(|one| matches!(one.decision, Decision::Refuse(_))));
    let circles = graph.stuck_circles();
    assert_eq!(circles.len(), 1, "the fourth only hangs on it");
    assert_eq!(circles[0].members.len(), 3);
    let best = &circles[0].breakers[0];
    let lacks = ["p2-devel".to_owned(), "p3-devel".to_owned()];
    assert_eq!((best.build, best.frees), (BuildId(1), 3));
    assert_eq!(best.requirements, lacks);
    assert!(circles[0].to_string().contains("provide `p2-devel`, `p3-devel`"));
    // One that requires itself is a circle, too.
    let mut graph = batch(OrderMode::Requires, 1);
    srpm(&mut graph, 1);
    self::lacks(&mut graph, 1, &["p1"]);
    assert_eq!(graph.stuck_circles()[0].breakers[0].requirements, ["p1"]);
}

#[test]
fn who_waits_for_anybody_is_not_waited_for_when_nothing_moves() {
    let mut graph = batch(OrderMode::Requires, 2);
    srpm(&mut graph, 1);
    graph.set_lacking(BuildId(1), X, 0, Lacking::Other);
    both(&mut graph, 2, &[1]);
    assert_eq!(locked(&mut graph), [2]);
    graph.set_locked(BuildId(2), X);
    assert_eq!(graph.decide(), []);
    graph.accept(BuildId(2), []);
    assert!(is_solve(&graph.decide()[0]));
    graph.set_lacking(BuildId(1), X, graph.clock, Lacking::Other);
    assert!(matches!(graph.decide()[0].decision, Decision::Refuse(_)));
}

#[test]
fn what_is_done_on_one_architecture_holds_nobody_while_it_waits_on_another() {
    let mut graph = batch(OrderMode::Requires, 2);
    graph.set_srpm(BuildId(1), &[X, Arch::Aarch64], ["p1"]);
    graph.set_solved(BuildId(1), Arch::Aarch64, 0, &Needed::default());
    // Its own packages may provide this once they are built: no spec says so.
    lacks(&mut graph, 1, &["pkgconfig(p1)"]);
    both(&mut graph, 2, &[1]);
    graph.set_locked(BuildId(1), Arch::Aarch64);
    assert_eq!(graph.decide(), []);
    graph.set_done(BuildId(1), Arch::Aarch64);
    assert_eq!(locked(&mut graph), [2], "the first comes no further without it");
    build(&mut graph, 2);
    assert!(is_refused(&graph.decide()[0]));
    // One that is done everywhere is about to be accepted.
    let mut graph = batch(OrderMode::Requires, 2);
    both(&mut graph, 1, &[]);
    both(&mut graph, 2, &[1]);
    graph.set_done(BuildId(1), X);
    assert_eq!(graph.decide(), []);
}

#[test]
fn a_circle_through_two_architectures_is_one() {
    let other = Arch::Aarch64;
    let mut graph = batch(OrderMode::Requires, 2);
    for (build, here, there) in [(1, X, other), (2, other, X)] {
        let name = format!("p{build}");
        graph.set_srpm(BuildId(build), &[X, other], [name.as_str()]);
        graph.set_solved(BuildId(build), here, 0, &Needed::default());
        graph.set_locked(BuildId(build), here);
        let sources = vec![if build == 1 { "p2" } else { "p1" }];
        graph.set_solved(BuildId(build), there, 0, &Needed { sources, ..Needed::default() });
    }
    assert_eq!(graph.decide().len(), 2);
}

#[test]
fn progress_says_how_far_and_what_holds() {
    let mut graph = batch(OrderMode::Requires, 5);
    both(&mut graph, 1, &[]);
    both(&mut graph, 2, &[1]);
    both(&mut graph, 3, &[2]);
    both(&mut graph, 4, &[2]);
    graph.set_locked(BuildId(1), X);
    let progress = graph.progress();
    let named = |build: i64| (BuildId(build), format!("p{build}"));
    assert_eq!(progress.critical_path, [named(1), named(2), named(3)]);
    assert_eq!(progress.critical_path_us, 180 * SECOND);
    assert_eq!((progress.building, progress.waiting, progress.without_srpm), (1, 3, 1));
    let holder =
        |build: i64, holds| Holder { build: BuildId(build), package: format!("p{build}"), holds };
    assert_eq!(progress.holders, [holder(2, 2), holder(1, 1)]);
    assert_eq!(progress.left_us, 240 * SECOND);
    graph.accept(BuildId(1), []);
    graph.lose(BuildId(2));
    let progress = graph.progress();
    assert_eq!((progress.accepted, progress.lost, progress.accepted_us), (1, 1, 60 * SECOND));
}

/// The batch of docs/batches.md, with its times in minutes.
#[test]
fn the_plan_in_the_docs_is_what_the_farm_makes() {
    let mut graph = BatchGraph::new(OrderMode::Requires);
    let sources: [(&str, i64, &[&str]); 8] = [
        ("glib2", 10, &[]),
        ("freetype", 4, &["harfbuzz"]),
        ("harfbuzz", 6, &["freetype", "glib2"]),
        ("pango", 3, &["harfbuzz", "freetype", "glib2"]),
        ("gtk4", 20, &["pango", "harfbuzz", "freetype", "glib2"]),
        ("nano", 2, &[]),
        ("tool-a", 1, &[]),
        ("tool-b", 1, &[]),
    ];
    for (build, (package, minutes, needs)) in (1..).map(BuildId).zip(sources) {
        graph.add_member(build, package, minutes * 60 * SECOND);
        graph.set_srpm(build, &[X], [package]);
        let needed = Needed { sources: needs.to_vec(), ..Needed::default() };
        graph.set_solved(build, X, 0, &needed);
    }
    lacks(&mut graph, 7, &["tool-b"]);
    lacks(&mut graph, 8, &["tool-a"]);
    let plan = plan(&graph, &Slots::from([(X, 2)]));
    let minutes =
        |interval: Interval| (interval.starts_us / 60 / SECOND, interval.ends_us / 60 / SECOND);
    let shown = plan.components.iter().map(|one| {
        let names: Vec<&str> = one.members.iter().map(|(_, name)| name.as_str()).collect();
        (names.join("+"), one.needs.len(), one.interval.map(minutes))
    });
    let shown: BTreeSet<_> = shown.collect();
    let expected = [
        ("harfbuzz+freetype", 1, Some((0, 16))),
        ("glib2", 0, Some((0, 10))),
        ("gtk4", 3, Some((19, 39))),
        ("nano", 0, Some((4, 6))),
        ("pango", 2, Some((16, 19))),
        ("tool-a+tool-b", 0, None),
    ];
    let expected = expected.map(|(names, needs, interval)| (names.to_owned(), needs, interval));
    assert_eq!(shown, BTreeSet::from(expected));
    let bound = Bound { work_us: 1_410 * SECOND, path_us: 39 * 60 * SECOND };
    assert_eq!((plan.bound, plan.forecast.ends_us), (bound, Some(39 * 60 * SECOND)));
    assert_eq!(plan.stuck.len(), 1);
}

#[test]
fn a_batch_beyond_the_limit_is_refused_with_the_numbers() {
    assert_eq!(check_size(3_000, 3_000), Ok(()));
    let error = check_size(3_001, 3_000).unwrap_err().to_string();
    assert!(error.starts_with("3001 builds in one batch are more than this farm takes (3000)"));
}

/// The cost of a batch whose SRPMs come one by one: groups of ten with chains, a diamond and a
/// circle of two. Members are added in the order of their needs, or in the reverse order.
fn cost(count: i64, against: bool) -> u64 {
    let mut graph = batch(OrderMode::Requires, count);
    let number = |one: i64| if against { count - one } else { one + 1 };
    for one in 0..count {
        let in_group: &[i64] = match one % 10 {
            1 | 3 | 4 => &[0],
            2 => &[1],
            5 => &[3, 4],
            6 => &[7],
            7 => &[6],
            _ => &[],
        };
        let needs: Vec<i64> = in_group.iter().map(|need| number(one / 10 * 10 + need)).collect();
        both(&mut graph, number(one), &needs);
        lock_all(&mut graph);
    }
    for one in 0..count {
        build(&mut graph, number(one));
        lock_all(&mut graph);
    }
    assert!(graph.is_empty());
    graph.visits()
}

fn lock_all(graph: &mut BatchGraph) {
    for one in graph.decide() {
        graph.set_locked(one.build, one.arch);
    }
}

#[test]
fn the_cost_of_a_batch_grows_with_its_size_and_not_faster() {
    for against in [false, true] {
        let (small, large) = (cost(1_000, against), cost(4_000, against));
        assert!(large <= small * 4 * 11 / 10, "{small} and {large}");
        assert!(small < 1_000 * 100, "{small}");
    }
}

/// The cost of a batch of new packages, each of which requires the one before; and the cost of the
/// loss of the first one.
fn cost_of_new(count: i64) -> (u64, u64) {
    let mut graph = batch(OrderMode::Requires, count);
    both(&mut graph, 1, &[]);
    for one in 2..=count {
        srpm(&mut graph, one);
        lacks(&mut graph, one, &[&format!("p{}-devel", one - 1)]);
    }
    let mut lost = graph.clone();
    for one in 1..=count {
        if one > 1 {
            assert!(is_solve(&graph.decide()[0]));
            solved(&mut graph, one, &[one - 1]);
        }
        assert_eq!(locked(&mut graph), [one]);
        build(&mut graph, one);
    }
    assert!(graph.is_empty());
    lost.decide();
    let before = lost.visits();
    lost.lose(BuildId(1));
    assert_eq!(lost.decide().iter().filter(|one| is_refused(one)).count(), lost.open.len());
    (graph.visits(), lost.visits() - before)
}

#[test]
fn new_packages_cost_what_changes_for_them() {
    let (small, large) = (cost_of_new(1_000), cost_of_new(4_000));
    assert!(large.0 <= small.0 * 4 * 11 / 10, "{small:?} and {large:?}");
    assert!(large.1 <= small.1 * 4 * 11 / 10, "{small:?} and {large:?}");
    assert!(small.0 < 1_000 * 100 && small.1 < 1_000 * 20, "{small:?}");
}

#[test]
fn a_change_costs_what_it_touches() {
    const COUNT: i64 = 3_000;
    let mut graph = batch(OrderMode::Requires, COUNT);
    for build in 1..=COUNT {
        // The first hundred are a circle, which every tenth of the others needs.
        let needs = match build {
            1..=100 => vec![build % 100 + 1],
            _ if build % 10 == 0 => vec![build % 100 + 1],
            _ => vec![],
        };
        both(&mut graph, build, &needs);
    }
    graph.decide();
    for build in 1..=100 {
        graph.set_locked(BuildId(build), X);
    }
    for build in (101..=COUNT).filter(|build| build % 10 != 0) {
        graph.set_locked(BuildId(build), X);
    }
    graph.decide();
    let before = graph.visits();
    build(&mut graph, 101);
    graph.decide();
    assert!(graph.visits() - before < 10, "a leaf: {}", graph.visits() - before);
    let before = graph.visits();
    build(&mut graph, 1);
    graph.decide();
    // Thirty may need it.
    assert!(graph.visits() - before < 500, "one of the circle: {}", graph.visits() - before);
}

/// The real state of a batch, and the graph that was given its changes.
struct World {
    graph: BatchGraph,
    mode: OrderMode,
    count: usize,
    /// (member, architecture, other): a package of `other` is in the root.
    soft: BTreeSet<(usize, usize, usize)>,
    /// (member, architecture, requirement): only a member provides it.
    hard: BTreeSet<(usize, usize, usize)>,
    /// As `hard`, but found by the first attempt.
    late: BTreeSet<(usize, usize, usize)>,
    fails: BTreeSet<usize>,
    /// Members whose SRPMs cannot be made.
    broken: BTreeSet<usize>,
    /// Members whose names are another source's until a person has decided.
    claimed: BTreeSet<usize>,
    /// Members that somebody retries once when they are lost; they can be built then.
    retried: BTreeSet<usize>,
    /// How often metadata of other repositories change.
    news: usize,
    accepted: BTreeSet<usize>,
    lost: BTreeSet<usize>,
    open: BTreeSet<usize>,
    srpms: BTreeSet<usize>,
    applied: BTreeMap<(usize, usize), Applied>,
    /// The solving that is under way, with its result.
    solving: BTreeMap<(usize, usize), (u32, Applied)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Applied {
    Pending,
    /// It must be solved again; the packages of its root are its needs so far.
    Again,
    Solved,
    Lacking(Vec<usize>),
    Locked,
    Done,
}

/// The possible next events.
#[derive(Debug, Clone)]
enum Event {
    Srpm(usize),
    Carry(Decided),
    Answer((usize, usize)),
    End((usize, usize)),
    Retry(usize),
    News,
}

const ARCHES: [Arch; 2] = [Arch::X86_64, Arch::Aarch64];

impl World {
    fn new(mode: OrderMode, count: usize) -> Self {
        let mut graph = BatchGraph::new(mode);
        for member in 0..count {
            graph.add_member(id(member), &format!("p{member}"), SECOND);
        }
        Self {
            graph,
            mode,
            count,
            soft: BTreeSet::new(),
            hard: BTreeSet::new(),
            late: BTreeSet::new(),
            fails: BTreeSet::new(),
            broken: BTreeSet::new(),
            claimed: BTreeSet::new(),
            retried: BTreeSet::new(),
            news: 0,
            accepted: BTreeSet::new(),
            lost: BTreeSet::new(),
            open: (0..count).collect(),
            srpms: BTreeSet::new(),
            applied: BTreeMap::new(),
            solving: BTreeMap::new(),
        }
    }

    /// The name of a requirement: a member's package, a provide that rpm finds in the first
    /// member's files, or a name that nothing provides.
    fn requirement(&self, number: usize) -> String {
        match number.checked_sub(self.count) {
            None => format!("p{number}"),
            Some(0) => "pkgconfig(p0)".into(),
            Some(_) => "nobody".into(),
        }
    }

    fn solve(&self, (member, arch): (usize, usize)) -> Applied {
        let required = self.hard.iter().filter(|(m, a, _)| (*m, *a) == (member, arch));
        let required = required.map(|(_, _, number)| *number);
        let missing: Vec<usize> = required.filter(|number| !self.is_there(*number)).collect();
        if missing.is_empty() { Applied::Solved } else { Applied::Lacking(missing) }
    }

    /// Whether the packages that are accepted provide a requirement.
    fn is_there(&self, number: usize) -> bool {
        match number.checked_sub(self.count) {
            None => self.accepted.contains(&number) && !self.claimed.contains(&number),
            Some(0) => self.accepted.contains(&0),
            Some(_) => false,
        }
    }

    /// Gives a graph the SRPM of a member, with the names that the member makes.
    fn apply_srpm(&self, graph: &mut BatchGraph, member: usize) {
        let name = format!("p{member}");
        graph.set_srpm(id(member), &ARCHES, [name.as_str()]);
        if self.claimed.contains(&member) {
            graph.set_names(id(member), []);
        }
    }

    fn soft_of(&self, (member, arch): (usize, usize)) -> Vec<usize> {
        let own = self.soft.iter().filter(|(m, a, _)| (*m, *a) == (member, arch));
        own.map(|(_, _, other)| *other).collect()
    }

    fn apply(&self, graph: &mut BatchGraph, key: (usize, usize), seen: u32, applied: &Applied) {
        let (build, arch) = (id(key.0), ARCHES[key.1]);
        let names: Vec<String> = self.soft_of(key).iter().map(|one| format!("p{one}")).collect();
        let needed =
            Needed { sources: names.iter().map(String::as_str).collect(), ..Needed::default() };
        match applied {
            Applied::Pending => graph.set_pending(build, arch),
            Applied::Solved => graph.set_solved(build, arch, seen, &needed),
            Applied::Lacking(missing) => {
                let missing: Vec<String> =
                    missing.iter().map(|number| self.requirement(*number)).collect();
                graph.set_lacking(build, arch, seen, Lacking::Requirements(&missing));
            }
            Applied::Locked => {
                graph.set_solved(build, arch, seen, &needed);
                graph.set_locked(build, arch);
            }
            Applied::Again => {
                graph.set_solved(build, arch, seen, &needed);
                graph.set_pending(build, arch);
            }
            Applied::Done => graph.set_done(build, arch),
        }
    }

    /// A graph that is made at once from the present state.
    fn rebuilt(&self) -> BatchGraph {
        let mut graph = BatchGraph::new(self.mode);
        for member in &self.open {
            graph.add_member(id(*member), &format!("p{member}"), SECOND);
        }
        for member in self.srpms.intersection(&self.open) {
            self.apply_srpm(&mut graph, *member);
        }
        for (key, applied) in &self.applied {
            let (build, arch, seen) = (id(key.0), ARCHES[key.1], graph.clock);
            let kept = self.graph.find(build, arch).map(|task| self.graph.task(task));
            self.apply(&mut graph, *key, seen, applied);
            if kept.is_some_and(Task::is_touched) {
                let task = graph.find(build, arch).expect("the graph has it");
                graph.clock += 1;
                graph.touch(task);
            }
        }
        graph
    }

    fn events(&mut self) -> Vec<Event> {
        let decided = self.graph.decide();
        let is_new = |one: &Decided| !is_solve(one) || !self.solving.contains_key(&key(one));
        let carried = decided.into_iter().filter(is_new).map(Event::Carry);
        let without = self.open.difference(&self.srpms).map(|member| Event::Srpm(*member));
        let answers = self.solving.keys().map(|key| Event::Answer(*key));
        let running = self.applied.iter().filter(|(_, applied)| **applied == Applied::Locked);
        let ends = running.map(|(key, _)| Event::End(*key));
        let retries = self.lost.intersection(&self.retried).map(|member| Event::Retry(*member));
        let news = (self.news > 0).then_some(Event::News);
        carried.chain(without).chain(answers).chain(ends).chain(retries).chain(news).collect()
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Srpm(member) if self.broken.contains(&member) => self.lose(member),
            Event::Srpm(member) => {
                self.srpms.insert(member);
                let mut graph = self.graph.clone();
                self.apply_srpm(&mut graph, member);
                self.graph = graph;
                self.applied.extend((0..2).map(|arch| ((member, arch), Applied::Pending)));
            }
            Event::Carry(decided) => self.carry(decided),
            Event::Answer(key) => {
                let (seen, applied) = self.solving.remove(&key).expect("it is being solved");
                let mut graph = self.graph.clone();
                self.apply(&mut graph, key, seen, &applied);
                self.graph = graph;
                self.applied.insert(key, applied);
            }
            Event::End(key) if self.fails.contains(&key.0) => self.lose(key.0),
            Event::End(key) if self.find_late(key) => {
                self.graph.set_pending(id(key.0), ARCHES[key.1]);
                self.applied.insert(key, Applied::Again);
            }
            Event::End(key) => self.end(key),
            Event::Retry(member) => self.retry(member),
            Event::News => {
                self.news -= 1;
                self.graph.touch_all();
            }
        }
    }

    /// Adds a requirement that an attempt found. Returns whether there was one.
    fn find_late(&mut self, key: (usize, usize)) -> bool {
        let is_own = |(member, arch, _): &(usize, usize, usize)| (*member, *arch) == key;
        let (found, late) = std::mem::take(&mut self.late).into_iter().partition(is_own);
        self.late = late;
        let found: BTreeSet<(usize, usize, usize)> = found;
        self.hard.extend(&found);
        !found.is_empty()
    }

    fn retry(&mut self, member: usize) {
        for all in [&mut self.lost, &mut self.retried, &mut self.fails, &mut self.broken] {
            all.remove(&member);
        }
        self.graph.add_member(id(member), &format!("p{member}"), SECOND);
        self.open.insert(member);
    }

    fn carry(&mut self, decided: Decided) {
        let key = key(&decided);
        match decided.decision {
            Decision::Solve { seen } => {
                self.solving.insert(key, (seen, self.solve(key)));
            }
            Decision::Lock => {
                self.applied.insert(key, Applied::Locked);
                self.graph.set_locked(decided.build, decided.arch);
            }
            Decision::Refuse(_) => self.lose(key.0),
        }
    }

    fn lose(&mut self, member: usize) {
        self.graph.lose(id(member));
        self.lost.insert(member);
        self.forget(member);
    }

    fn end(&mut self, key: (usize, usize)) {
        self.graph.set_done(id(key.0), ARCHES[key.1]);
        self.applied.insert(key, Applied::Done);
        if (0..2).all(|arch| self.applied.get(&(key.0, arch)) == Some(&Applied::Done)) {
            let name = format!("p{}", key.0);
            let more = if key.0 == 0 { "pkgconfig(p0)" } else { "more" };
            let name = (!self.claimed.contains(&key.0)).then_some(name.as_str());
            self.graph.accept(id(key.0), name.into_iter().chain([more]));
            self.accepted.insert(key.0);
            self.forget(key.0);
        }
    }

    fn forget(&mut self, member: usize) {
        self.open.remove(&member);
        self.srpms.remove(&member);
        self.applied.retain(|key, _| key.0 != member);
        self.solving.retain(|key, _| key.0 != member);
    }

    /// Whether a member waits for another one, by however many between them.
    fn reaches(&self, from: usize, to: usize) -> bool {
        let (mut found, mut due) = (BTreeSet::new(), vec![from]);
        while let Some(member) = due.pop() {
            for (key, applied) in self.applied.range((member, 0)..(member + 1, 0)) {
                let needs = match applied {
                    Applied::Lacking(missing) => {
                        missing.iter().copied().filter(|need| self.makes(*need)).collect()
                    }
                    Applied::Solved | Applied::Locked | Applied::Again
                        if self.mode != OrderMode::Unordered =>
                    {
                        self.soft_of(*key)
                    }
                    _ => Vec::new(),
                };
                let open = needs.into_iter().filter(|need| self.open.contains(need));
                due.extend(open.filter(|need| *need != member && found.insert(*need)));
            }
        }
        found.contains(&to)
    }

    /// No build starts before the builds that it needs, unless these need it, too, or no member
    /// makes progress.
    fn check_lock(&self, decided: &Decided) -> Result<(), TestCaseError> {
        let key = key(decided);
        prop_assert_eq!(self.applied.get(&key), Some(&Applied::Solved));
        // A build that is done on one architecture makes no progress there.
        let moves = self
            .applied
            .values()
            .any(|applied| matches!(applied, Applied::Pending | Applied::Again | Applied::Locked));
        let is_quiet = !moves && self.srpms.is_superset(&self.open);
        if is_quiet || self.mode == OrderMode::Unordered {
            return Ok(());
        }
        for need in self.soft_of(key) {
            let waits = need != key.0 && self.open.contains(&need);
            prop_assert!(!waits || self.reaches(need, key.0), "{key:?} before {need}");
        }
        Ok(())
    }

    /// Whether a member is known to make the package of its name.
    fn makes(&self, member: usize) -> bool {
        self.srpms.contains(&member) && !self.claimed.contains(&member)
    }

    /// The open members that can be built if such members can provide the missing requirements of
    /// others.
    fn helped(&self, is_chance: bool) -> BTreeSet<usize> {
        let mut helped = BTreeSet::new();
        loop {
            let is_helped = |member: &usize| {
                let mut tasks = self.applied.range((*member, 0)..(*member + 1, 0));
                tasks.all(|(_, applied)| match applied {
                    Applied::Lacking(missing) => {
                        missing.iter().all(|one| self.comes(*one, *member, &helped, is_chance))
                    }
                    _ => true,
                })
            };
            let next: BTreeSet<usize> = self.open.iter().copied().filter(is_helped).collect();
            if next == helped {
                return helped;
            }
            helped = next;
        }
    }

    /// Whether a member gets a requirement from others, when these can be built.
    fn comes(&self, number: usize, to: usize, from: &BTreeSet<usize>, is_chance: bool) -> bool {
        let is_made = number != to && from.contains(&number) && self.makes(number);
        self.is_there(number) || is_made || (is_chance && number == self.count)
    }

    /// No build is refused whose missing requirements a member can still provide.
    fn check_refusal(&self, decided: &Decided) -> Result<(), TestCaseError> {
        let key = key(decided);
        let Some(Applied::Lacking(missing)) = self.applied.get(&key) else {
            return Err(TestCaseError::fail("refused without a reason"));
        };
        prop_assert!(self.srpms.is_superset(&self.open), "specs are still to be read");
        let is_chance = !self.helped(false).is_empty();
        let helped = self.helped(is_chance);
        let gone = missing.iter().find(|one| !self.comes(**one, key.0, &helped, is_chance));
        prop_assert!(gone.is_some(), "{key:?}: {missing:?} can be had");
        Ok(())
    }

    /// The graph decides like one that is made at once.
    fn check_same(&self) -> Result<(), TestCaseError> {
        let mut rebuilt = self.rebuilt();
        let mut kept = self.graph.clone();
        let kinds = |decided: Vec<Decided>, ranks: bool| -> BTreeSet<(BuildId, Arch, i64, u8)> {
            let kind = |one: Decided| {
                let kind = match one.decision {
                    Decision::Solve { .. } => 0,
                    Decision::Lock => 1,
                    Decision::Refuse(_) => 2,
                };
                (one.build, one.arch, if ranks { one.rank_us } else { 0 }, kind)
            };
            decided.into_iter().map(kind).collect()
        };
        let again = rebuilt.decide();
        prop_assert_eq!(kinds(kept.decide(), false), kinds(again.clone(), false));
        // Components without waiting tasks may be out of date, and their ranks with them.
        kept.settle(true);
        prop_assert_eq!(kinds(kept.decide(), true), kinds(again, true));
        let components = |graph: &BatchGraph| -> BTreeSet<BTreeSet<BuildId>> {
            let list = graph.components.list().into_iter();
            let builds = |list: Vec<u32>| list.iter().map(|one| graph.member(*one).build).collect();
            list.map(builds).collect()
        };
        prop_assert_eq!(components(&kept), components(&rebuilt));
        Ok(())
    }

    /// Carries out one event after the other until all builds have ended.
    fn run(&mut self, choices: &[u8]) -> Result<(), TestCaseError> {
        for step in 0..1_000 {
            let events = self.events();
            self.check_same()?;
            for event in &events {
                match event {
                    Event::Carry(one) if one.decision == Decision::Lock => self.check_lock(one)?,
                    Event::Carry(one) if matches!(one.decision, Decision::Refuse(_)) => {
                        self.check_refusal(one)?;
                    }
                    _ => {}
                }
            }
            let Some(choice) = choices.get(step % choices.len()) else { break };
            let count = events.len();
            let Some(event) = events.into_iter().nth(usize::from(*choice) % count.max(1)) else {
                prop_assert!(self.open.is_empty(), "it hangs: {:?}", self.applied);
                return Ok(());
            };
            self.take(event);
        }
        Err(TestCaseError::fail("it does not end"))
    }
}

fn id(member: usize) -> BuildId {
    BuildId(i64::try_from(member).expect("few"))
}

fn key(decided: &Decided) -> (usize, usize) {
    let member = usize::try_from(decided.build.0).expect("few");
    (member, usize::from(decided.arch == ARCHES[1]))
}

/// A few members.
fn some() -> impl Strategy<Value = BTreeSet<usize>> {
    prop::collection::btree_set(0_usize..6, 0..3)
}

proptest! {
    /// For all needs, missing requirements and failures of builds, and for each order of events: no
    /// build starts before the builds that it needs, no build is refused that can be helped, every
    /// batch ends, and the graph that is kept decides like one that is made at once.
    #[test]
    fn every_batch_ends_in_order(
        mode in prop::sample::select(OrderMode::ALL.to_vec()),
        soft in prop::collection::btree_set((0_usize..6, 0_usize..2, 0_usize..6), 0..14),
        hard in prop::collection::btree_set((0_usize..6, 0_usize..2, 0_usize..8), 0..5),
        late in prop::collection::btree_set((0_usize..6, 0_usize..2, 0_usize..8), 0..2),
        [fails, broken, claimed, retried] in prop::array::uniform4(some()),
        news in 0_usize..2,
        choices in prop::collection::vec(any::<u8>(), 1..80),
    ) {
        let mut world = World::new(mode, 6);
        (world.soft, world.hard, world.late) = (soft, hard, late);
        (world.fails, world.broken, world.claimed) = (fails, broken, claimed);
        (world.retried, world.news) = (retried, news);
        world.run(&choices)?;
    }
}
