//! The proof of a channel's next content beside a large repository.

use std::path::Path;
use std::process::Command;

use anyhow::Context as _;
use serde::Deserialize;

use super::figure::{Figure, Report};
use super::pools;
use crate::farm::programs;
use crate::tool;

const FULL: &str = "proof.full";
const APPEND: &str = "proof.append";
pub(super) const ALL: [&str; 2] = [FULL, APPEND];

/// Packages of the farm on each of three architectures.
const PACKAGES: u32 = 3000;

/// The output of the example.
#[derive(Debug, Deserialize)]
struct Proofs {
    external: u32,
    full_ms: f64,
    append_ms: f64,
    single_ms: f64,
}

/// Measures in a directory.
pub(super) fn measure(directory: &Path, report: &mut Report) -> anyhow::Result<()> {
    let repodata = directory.join("repodata");
    pools::write_repository(&repodata).context("cannot write the large repository")?;
    let mut command = Command::new(programs().join("examples/bench_proof"));
    command.arg(&repodata).arg(PACKAGES.to_string());
    let proofs: Proofs = serde_json::from_slice(&tool::output(&mut command)?)?;
    report.add(full(&proofs));
    report.add(append(&proofs));
    Ok(())
}

fn full(proofs: &Proofs) -> Figure {
    let Proofs { external, full_ms, single_ms, .. } = proofs;
    let each_s = single_ms * 3.0 * f64::from(PACKAGES) / 1000.0;
    Figure {
        name: FULL,
        value: full_ms / 1000.0,
        unit: "s",
        budget: 10.0,
        peer: format!("a solve for each package: {each_s:.1} s"),
        ratio: Some(full_ms / 1000.0 / each_s),
        note: format!(
            "a first content of {PACKAGES} packages on each of three architectures, beside a \
             repository of {external} packages with file lists; the pools are there"
        ),
    }
}

fn append(proofs: &Proofs) -> Figure {
    let Proofs { full_ms, append_ms, .. } = proofs;
    Figure {
        name: APPEND,
        value: append_ms / 1000.0,
        unit: "s",
        budget: 1.0,
        peer: format!("the whole content: {:.2} s", full_ms / 1000.0),
        ratio: Some(append_ms / full_ms),
        note: "one package of that content in a new version, on three architectures".to_owned(),
    }
}
