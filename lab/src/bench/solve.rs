//! Solving a root, against dnf with the same metadata and the same requirements.

use std::path::Path;
use std::process::Command;

use anyhow::Context as _;
use rpmfarm_core::Target;
use serde::Deserialize;

use super::figure::{Figure, Report};
use crate::farm::programs;
use crate::tool;

pub(super) const ROOT: &str = "solve.root";
pub(super) const CHILD: &str = "solve.child";

/// dnf's own solver, by its Python interface.
const DNF: &str = include_str!("solve_dnf.py");

/// The output of both programs; times in milliseconds.
#[derive(Debug, Deserialize)]
struct SolveFigures {
    packages: u32,
    chosen: u32,
    load_ms: f64,
    solve_ms: f64,
}

/// The output of the coordinator's example; times in milliseconds.
#[derive(Debug, Deserialize)]
struct Resolved {
    packages: u32,
    first_ms: f64,
    resolve_ms: f64,
}

/// Measures solving bootstrap and root of a target with further requirements: in the measuring
/// process, and through the solver's process, which the coordinator uses.
pub(super) fn measure(
    target: &Target,
    requires: &[&str],
    repository: &Path,
    directory: &Path,
    report: &mut Report,
) -> anyhow::Result<()> {
    let root: Vec<&str> =
        target.base.iter().map(String::as_str).chain(requires.iter().copied()).collect();
    let bootstrap: Vec<&str> = target.bootstrap.iter().map(String::as_str).collect();
    let (mut value, mut peer) = (0.0, 0.0);
    let mut note = String::new();
    for (what, list) in [("bootstrap", bootstrap), ("root", root)] {
        let ours = ours(repository, &list).context("the farm's solver")?;
        let theirs = theirs(repository, &list).context("dnf's solver")?;
        value += ours.solve_ms;
        peer += theirs.solve_ms;
        let SolveFigures { packages, chosen, load_ms, solve_ms } = ours;
        note += &format!(
            "{what}: {chosen} of {packages} packages in {solve_ms:.2} ms, dnf {} in {:.2} ms \
             (loading: {load_ms:.0} ms, dnf {:.0} ms); ",
            theirs.chosen, theirs.solve_ms, theirs.load_ms
        );
    }
    report.add(Figure {
        name: ROOT,
        value,
        unit: "ms",
        budget: 50.0,
        peer: format!("dnf's resolve() of the same lists, its metadata loaded: {peer:.1} ms"),
        ratio: Some(value / peer),
        note: note.trim_end_matches("; ").to_owned(),
    });
    let resolved = resolved(target, requires, directory).context("the solver's process")?;
    report.add(child(&resolved, value));
    Ok(())
}

/// The cost of running libsolv in a process of its own.
fn child(resolved: &Resolved, in_process: f64) -> Figure {
    let Resolved { packages, first_ms, resolve_ms } = resolved;
    Figure {
        name: CHILD,
        value: resolve_ms - in_process,
        unit: "ms",
        budget: 1.0,
        peer: format!("solving the same in the process that asks: {in_process:.2} ms"),
        ratio: Some(resolve_ms / in_process),
        note: format!(
            "a lock of {packages} packages in {resolve_ms:.2} ms, beyond solving; the first, with \
             metadata fetched and loaded, {first_ms:.0} ms"
        ),
    }
}

fn resolved(target: &Target, requires: &[&str], directory: &Path) -> anyhow::Result<Resolved> {
    let file = directory.join("solved.toml");
    std::fs::write(&file, toml::to_string_pretty(target)?)?;
    let mut command = Command::new(programs().join("examples/bench_resolve"));
    command.arg(&file).arg("x86_64").args(requires);
    Ok(serde_json::from_slice(&tool::output(&mut command)?)?)
}

fn ours(repository: &Path, list: &[&str]) -> anyhow::Result<SolveFigures> {
    let mut command = Command::new(programs().join("examples/bench_solve"));
    command.arg("x86_64").arg(repository.join("repodata")).args(list);
    Ok(serde_json::from_slice(&tool::output(&mut command)?)?)
}

fn theirs(repository: &Path, list: &[&str]) -> anyhow::Result<SolveFigures> {
    // Debian's own Python, which has dnf's modules; another one may come first in PATH.
    let mut command = Command::new("/usr/bin/python3");
    command.args(["-c", DNF]).arg(repository).args(list);
    Ok(serde_json::from_slice(&tool::output(&mut command)?)?)
}
