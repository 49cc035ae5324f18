//! Signing, against `rpmsign` on the same files with the same key.

use std::path::Path;
use std::process::Command;

use serde::Deserialize;

use super::figure::{Figure, Report};
use crate::farm::programs;
use crate::tool;

pub(super) const RATIO: &str = "sign.ratio";

const PACKAGES: u32 = 200;

/// The output of the signer's own benchmark, in seconds.
#[derive(Debug, Deserialize)]
struct SignFigures {
    value: f64,
    peer: f64,
}

/// Lets the signer's own benchmark sign packages with both.
pub(super) fn measure(directory: &Path, report: &mut Report) -> anyhow::Result<()> {
    let json = directory.join("sign.json");
    let mut command = Command::new(programs().join("examples/bench_sign"));
    command.args(["--packages", &PACKAGES.to_string()]).arg("--json").arg(&json);
    command.arg("--signer").arg(programs().join("rpmfarm-signer"));
    tool::output(&mut command)?;
    let signed: Vec<SignFigures> = serde_json::from_slice(&std::fs::read(&json)?)?;
    for SignFigures { value, peer } in signed {
        let ratio = value / peer;
        report.add(Figure {
            name: RATIO,
            value: ratio,
            unit: "x",
            budget: 0.05,
            peer: format!("rpmsign on the same {PACKAGES} packages: {peer:.2} s"),
            ratio: Some(ratio),
            note: format!(
                "{value:.3} s for {PACKAGES} packages, the signer's call and a synced copy of each"
            ),
        });
    }
    Ok(())
}
