//! A solver that ends: its process is started again, and only the request that it was working on is
//! blamed.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rpmfarm_core::Fault;

use crate::scene::Scene;

/// Stands between the coordinator and a real solver. When a question has the word `deadly`, it
/// kills the solver and itself once the pool is prepared; with `unreadable` beside it, before.
const DEADLY: &str = r#"#!/usr/bin/python3
import os, signal, subprocess, sys
directory, program = "DIRECTORY", "PROGRAM"
with open(os.path.join(directory, "starts"), "a") as starts:
    starts.write("x")
solver = subprocess.Popen([program, *sys.argv[1:]], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

def pass_on(source, to):
    length = source.read(4)
    if len(length) < 4:
        sys.exit()
    document = source.read(int.from_bytes(length, "big"))
    to.write(length + document)
    to.flush()
    return document

def die():
    solver.kill()
    os.kill(os.getpid(), signal.SIGSEGV)

pass_on(sys.stdin.buffer, solver.stdin)
while True:
    question = pass_on(sys.stdin.buffer, solver.stdin)
    if os.path.exists(os.path.join(directory, "unreadable")):
        die()
    answer = pass_on(solver.stdout, sys.stdout.buffer)
    if b"deadly" in question:
        die()
    if b"Failed" not in answer:
        pass_on(solver.stdout, sys.stdout.buffer)
"#;

/// Writes the program, which counts how often it is started.
fn deadly(directory: &Path) -> PathBuf {
    let path = directory.join("solver");
    let program = env!("CARGO_BIN_EXE_rpmfarm-coordinator");
    let text = DEADLY.replace("DIRECTORY", &directory.to_string_lossy());
    fs::write(&path, text.replace("PROGRAM", program)).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn starts(directory: &Path) -> usize {
    fs::read(directory.join("starts")).map_or(0, |starts| starts.len())
}

#[tokio::test]
async fn what_ends_the_solver_twice_is_the_packages_fault_and_harms_nobody_else() {
    let (scene, dir) = (Scene::new().await, tempfile::tempdir().unwrap());
    let (resolver, target) = (scene.resolver_with(deadly(dir.path())), scene.target());
    let lock = scene.resolve(&resolver, &target, &["compiler"]).await.unwrap();
    assert_eq!(starts(dir.path()), 1);

    let error = scene.resolve(&resolver, &target, &["(deadly or compiler)"]).await.unwrap_err();
    assert_eq!(error.fault(), Fault::Package, "{error}");
    let message = error.to_string();
    assert!(message.contains("the solver crashed twice"), "{message}");
    assert!(message.contains("it overran its stack or its memory (SIGSEGV)"), "{message}");
    assert!(message.contains("`(deadly or compiler)`"), "{message}");
    assert_eq!(starts(dir.path()), 2);

    assert_eq!(scene.resolve(&resolver, &target, &["compiler"]).await.unwrap(), lock);
    assert_eq!(starts(dir.path()), 3);
}

#[tokio::test]
async fn a_solver_that_ends_before_it_is_asked_is_the_farms_fault() {
    let (scene, dir) = (Scene::new().await, tempfile::tempdir().unwrap());
    let (resolver, target) = (scene.resolver_with(deadly(dir.path())), scene.target());
    fs::write(dir.path().join("unreadable"), "").unwrap();
    let error = scene.resolve(&resolver, &target, &["compiler"]).await.unwrap_err();
    assert_eq!(error.fault(), Fault::Farm, "{error}");
    let message = error.to_string();
    assert!(message.contains(" ended while it read packages: "), "{message}");
    fs::remove_file(dir.path().join("unreadable")).unwrap();
    scene.resolve(&resolver, &target, &["compiler"]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_much_was_added_to_is_made_anew_beside_the_one_that_solves() {
    let (scene, dir) = (Scene::new().await, tempfile::tempdir().unwrap());
    let (resolver, target) = (scene.resolver_with(deadly(dir.path())), scene.target());
    let made: Vec<String> = (0..300).map(|number| format!("own{number}")).collect();
    let packages: Vec<(&str, &str, &str)> =
        made.iter().map(|name| (name.as_str(), "1", "")).collect();
    scene.build("own", &packages);
    for file in scene.rpms("own") {
        scene.accept_files(std::slice::from_ref(&file));
        scene.resolve(&resolver, &target, &["compiler"]).await.unwrap();
    }
    // All packages are in the new one, those too that were accepted while it was made.
    let all: Vec<&str> = made.iter().map(String::as_str).collect();
    let lock = scene.resolve(&resolver, &target, &all).await.unwrap();
    assert_eq!(lock.layers.last().unwrap().packages().len(), all.len());
    // The first pool and the new one: there was no wait for a third pool after many additions.
    assert_eq!((scene.wholes(), starts(dir.path())), (2, 2));
}

#[tokio::test]
async fn a_requirement_nested_too_deep_reaches_no_solver() {
    let scene = Scene::new().await;
    let (resolver, target) = (scene.resolver(), scene.target());
    let deep = format!("{}compiler{}", "(".repeat(20_000), " or shell)".repeat(20_000));
    let error = scene.resolve(&resolver, &target, &[&deep]).await.unwrap_err();
    assert_eq!(error.fault(), Fault::Package, "{error}");
    assert!(error.to_string().contains("rpmfarm accepts at most"), "{error}");
    let nested = format!("{}compiler{}", "(".repeat(60), " or shell)".repeat(60));
    scene.resolve(&resolver, &target, &[&nested]).await.unwrap();
}

#[tokio::test]
async fn a_program_that_is_not_there_is_named() {
    let scene = Scene::new().await;
    let resolver = scene.resolver_with("/nonexistent/solver".into());
    let error = scene.resolve(&resolver, &scene.target(), &["compiler"]).await.unwrap_err();
    assert_eq!(error.fault(), Fault::Farm);
    assert!(error.to_string().contains("/nonexistent/solver cannot be started"), "{error}");
}
