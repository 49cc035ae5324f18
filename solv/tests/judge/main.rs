//! Real dnf as the judge: worlds of repositories are made from a seed, with priorities, costs,
//! excludes, several versions, obsoletes, conflicts, rich, weak and file dependencies, and modules.
//! For each list of requirements the solver must pick what dnf picks, package for package; but
//! where packages of several names would do, a few of a hundred may differ.
//!
//! `JUDGE_SEED=7 JUDGE_WORLDS=1 cargo nextest run -p rpmfarm-solv --test judge` repeats one world;
//! `JUDGE_WORLDS=500` tries more of them.

#![allow(clippy::unwrap_used, reason = "a step that fails is the failure of its test")]

mod made;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use made::World;
use rpmfarm_core::Arch;
use rpmfarm_core::modules::Modules;
use rpmfarm_solv::{ModuleError, Pool, Repository, SolveRequest};

/// Lists of requirements that each world is asked for.
const REQUESTS: usize = 25;

/// The answers to all requests: what is installed, or that it cannot be.
type Answers = Vec<Option<BTreeSet<String>>>;

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().expect(variable))
}

#[test]
fn roots_are_those_that_dnf_makes() {
    let (first, worlds) = (number("JUDGE_SEED", 1), number("JUDGE_WORLDS", 16));
    let (mut asked, mut solved, mut modular, mut different) = (0, 0, 0, Vec::new());
    for seed in first..first + worlds {
        let dir = tempfile::tempdir().unwrap();
        let world = World::new(seed, REQUESTS, dir.path());
        let dnf = dnf(&world, &dir.path().join("root"));
        let ours = ours(&world, dir.path());
        let pairs = world.requests.iter().zip(dnf.iter().zip(&ours));
        for (request, (dnf, ours)) in pairs {
            asked += 1;
            solved += usize::from(dnf.is_some());
            let of_module = |name: &String| name.contains(".module");
            modular += usize::from(dnf.as_ref().is_some_and(|all| all.iter().any(of_module)));
            if dnf != ours {
                let only = |a: &Option<BTreeSet<String>>, b: &Option<BTreeSet<String>>| match a {
                    None => "fails".to_owned(),
                    Some(a) => {
                        let rest = b.clone().unwrap_or_default();
                        a.difference(&rest).cloned().collect::<Vec<_>>().join(" ")
                    }
                };
                let (theirs, own) = (only(dnf, ours), only(ours, dnf));
                different.push(format!(
                    "JUDGE_SEED={seed} {request:?}: only dnf: {theirs}; only here: {own}"
                ));
            }
        }
        if !different.is_empty() && std::env::var_os("JUDGE_KEEP").is_some() {
            eprintln!("{:?}", world.choice);
            world.repositories.iter().for_each(|repository| eprintln!("{:?}", repository.about));
            eprintln!("kept in {}", dir.keep().display());
            break;
        }
    }
    eprintln!("{asked} lists from seed {first}; {solved} solved by dnf, {modular} with modules");
    let all = format!("{} of {asked}:\n{}", different.len(), different.join("\n"));
    // Where packages of several names would do, each of the two solvers takes one by the order of
    // its jobs. That is rare, and never may one find a root where the other finds none.
    assert!(!all.contains(": fails"), "{all}");
    assert!(different.len() * 100 <= asked * 3, "{all}");
    // A judge that says no to everything proves nothing.
    assert!(worlds < 16 || (solved * 3 > asked && modular * 10 > asked));
}

fn dnf(world: &World, root: &Path) -> Answers {
    let modules: serde_json::Map<_, _> = world
        .choice
        .enabled
        .iter()
        .map(|(module, stream)| (module.clone(), serde_json::json!([stream, "enabled"])))
        .chain(
            world.choice.disabled.iter().map(|m| (m.clone(), serde_json::json!(["", "disabled"]))),
        )
        .collect();
    let repositories: Vec<_> = world
        .repositories
        .iter()
        .map(|repository| {
            serde_json::json!({
                "id": repository.about.id, "path": repository.dir,
                "priority": repository.about.priority, "cost": repository.about.cost,
                "excludes": repository.about.excludes, "includes": repository.about.includes,
                "module_hotfixes": repository.about.module_hotfixes,
            })
        })
        .collect();
    let question = serde_json::json!({
        "root": root, "modules": modules, "platform": made::PLATFORM,
        "repositories": repositories, "requests": world.requests,
    });
    let mut python = Command::new("/usr/bin/python3")
        .args(["-c", include_str!("dnf.py")])
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    python.stdin.take().unwrap().write_all(question.to_string().as_bytes()).unwrap();
    let output = python.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "seed {}: {errors}", world.seed);
    serde_json::from_slice(&output.stdout).unwrap()
}

fn ours(world: &World, dir: &Path) -> Answers {
    let mut pool = Pool::new(Arch::X86_64);
    let mut modules = Vec::new();
    for repository in &world.repositories {
        let about: Repository = repository.about.clone();
        let file = |name: &str| repository.dir.join("repodata").join(name);
        let (primary, filelists) = (file("primary.xml"), file("filelists.xml"));
        pool.load_repository(about, &primary, Some(&filelists)).unwrap();
        if let Some(text) = &repository.modules {
            modules.push((repository.about.id.clone(), Modules::parse(text).unwrap()));
        }
    }
    let platform = made::PLATFORM.to_owned().try_into().unwrap();
    match pool.choose_modules(&modules, &world.choice, Some(&platform)) {
        Ok(()) => {}
        // dnf goes on without a stream that is enabled and cannot be had; here it is refused.
        Err(ModuleError::Unsolvable { .. }) => return dnf(world, &dir.join("again")),
        Err(problem) => panic!("seed {}: {problem}", world.seed),
    }
    let solve = |request: &Vec<String>| {
        // Said before, for the library may abort.
        if std::env::var_os("JUDGE_KEEP").is_some() {
            eprintln!("JUDGE_SEED={} {request:?}", world.seed);
        }
        let install = request.iter().map(String::as_str).collect();
        let solution = pool.solve(&SolveRequest { install, ..SolveRequest::default() }).ok()?;
        Some(solution.packages.iter().map(|package| package.nevra.to_string()).collect())
    };
    world.requests.iter().map(solve).collect()
}
