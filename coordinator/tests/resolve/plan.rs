//! Plans of requests, with roots that a real solver makes.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rpmfarm_coordinator::rpc::batch_plan::{PackageFacts, Planner};
use rpmfarm_coordinator::store::Srpm;
use rpmfarm_core::batch::{OrderMode, Slots};
use rpmfarm_core::terms::AllTerms;
use rpmfarm_core::{Arch, BuildOptions, Sha256, Target};
use rpmfarm_proto::v1::{BatchPlan, PlannedComponent};

use crate::scene::{Farm, Scene};

/// The assumed duration of builds of unknown duration.
const UNKNOWN: i64 = 300_000_000;

fn known(package: &str, makes: &[&str], requires: &[&str]) -> PackageFacts {
    let strings = |list: &[&str]| list.iter().map(ToString::to_string).collect();
    let srpm = Srpm {
        digest: Sha256::compute(package.as_bytes()),
        size: 1,
        nevra: format!("{package}-1-1.src").parse().unwrap(),
        requires: strings(requires),
        conflicts: Vec::new(),
        predicts: strings(makes),
        dynamic: false,
        terms: AllTerms::default(),
    };
    PackageFacts { srpm: Some(srpm), ..unknown(package) }
}

fn unknown(package: &str) -> PackageFacts {
    PackageFacts {
        package: package.into(),
        takes: None,
        srpm: None,
        arches: vec![Arch::X86_64],
        additional: Vec::new(),
    }
}

/// `app` requires packages of `lib`, which the repositories have, too; `tool` requires a package
/// that only `new` makes; `x` and `y` each lack a package of the other.
fn packages() -> Vec<PackageFacts> {
    vec![
        known("lib", &["lib", "lib-devel"], &["compiler"]),
        known("app", &["app"], &["lib-devel", "compiler"]),
        known("new", &["new-devel"], &[]),
        known("tool", &["tool"], &["new-devel"]),
        known("x", &["x-devel"], &["y-devel"]),
        known("y", &["y-devel"], &["x-devel"]),
        unknown("never"),
    ]
}

fn slots() -> Slots {
    [(Arch::X86_64, 2)].into()
}

fn planner(scene: &Scene, target: Target, now: SystemTime) -> Planner<Farm> {
    let with = (scene.resolver(), scene.farm.clone());
    Planner::new(with, Arc::new(target), (OrderMode::Requires, BuildOptions::default()), now)
}

/// The packages that a package waits for.
fn needs<'a>(plan: &'a BatchPlan, package: &str) -> Vec<&'a str> {
    let has = |one: &&PlannedComponent| one.packages.iter().any(|it| it == package);
    let component = plan.components.iter().find(has).unwrap();
    let needed = component.needs.iter().map(|place| &plan.components[*place as usize]);
    needed.flat_map(|one| one.packages.iter().map(String::as_str)).collect()
}

#[tokio::test]
async fn a_plan_solves_roots_with_the_packages_that_are_there() {
    let scene = Scene::new().await;
    let planner = planner(&scene, scene.target(), SystemTime::now());
    let plan = planner.plan(packages(), slots()).await.unwrap();
    assert_eq!(needs(&plan, "app"), ["lib"]);
    assert_eq!(needs(&plan, "tool"), ["new"]);
    assert_eq!(needs(&plan, "lib"), [""; 0]);
    assert_eq!(plan.path_us, 2 * UNKNOWN, "app after lib");
    assert!(plan.expected_us >= plan.path_us, "{}", plan.expected_us);
    let mut refused = plan.refused.clone();
    refused.sort();
    assert_eq!(refused, ["x", "y"]);
    assert_eq!(plan.stuck.len(), 1, "{:?}", plan.stuck);
    assert_eq!(plan.unknown, ["never"]);
    assert!(plan.notes.iter().any(|note| note.starts_with("each build root was solved")));
}

#[tokio::test]
async fn a_plan_for_too_many_roots_goes_by_names_and_says_so() {
    let scene = Scene::new().await;
    let planner = planner(&scene, scene.target(), SystemTime::now());
    let plan = Planner { max_solved: 1, ..planner }.plan(packages(), slots()).await.unwrap();
    assert_eq!(needs(&plan, "app"), ["lib"]);
    assert_eq!(needs(&plan, "tool"), ["new"]);
    let says = "by the names of requirements alone, for more than 1 build roots";
    assert!(plan.notes.iter().any(|note| note.starts_with(says)), "{:?}", plan.notes);
}

#[tokio::test]
async fn no_plan_is_made_on_metadata_that_are_too_old() {
    let scene = Scene::new().await;
    let target = scene.target_with("max_age_days = 30");
    let later = SystemTime::now() + Duration::from_secs(32 * 86_400);
    let old = planner(&scene, target.clone(), later).plan(packages(), slots()).await.unwrap_err();
    let message = old.to_string();
    assert!(message.contains("`repo`") && message.contains("32 days old"), "{message}");
    let now = SystemTime::now();
    planner(&scene, target, now).plan(packages(), slots()).await.unwrap();
}
