//! `rpmfarm doctor`: checks this host and the farm, and prints remedies.

use std::path::PathBuf;

use clap::Args;

use crate::config::Settings;
use crate::doctor::{Finding, Level, coordinator, worker_host};
use crate::document::{CheckDocument, DoctorDocument};
use crate::exit::{Error, Exit};
use crate::out::StandardOutput;
use crate::show::table::{Column, cell, column, lines, state, table};

/// The columns. Findings are never shortened, however narrow the terminal is.
const COLUMNS: [Column; 4] =
    [column("LEVEL"), column("WHERE").rank(1), column("CHECK").cut(12), column("FOUND").wrapped()];

/// What to check.
#[derive(Debug, Args)]
#[command(after_help = "\
Ends with 0 when no check is an error, with 4 when the coordinator cannot be reached or refuses
the token, and with 5 on any other error.

Examples:
  rpmfarm doctor
  rpmfarm doctor --worker --worker-dir /srv/rpmfarm    before a worker is started here
  rpmfarm doctor --json | jq -r '.checks[] | select(.level != \"ok\") | .message'")]
pub(crate) struct Options {
    /// Check that a worker can run on this host [default: where rpmfarm-worker is installed]
    #[arg(long)]
    worker: bool,
    /// Directory of the worker, for its space
    #[arg(long, value_name = "DIR", default_value = "/var/lib/rpmfarm-worker")]
    worker_dir: PathBuf,
}

pub(crate) async fn run(
    options: &Options,
    settings: &Settings,
    out: &StandardOutput,
) -> Result<Exit, Error> {
    let (mut findings, exit) = coordinator::check(settings).await;
    if options.worker || worker_host::is_one() {
        findings.extend(worker_host::check(&options.worker_dir));
    }
    if out.json {
        out.document(&document(&findings))?;
    } else {
        print(&findings, out)?;
    }
    let ill = findings.iter().any(|finding| finding.level == Level::Error);
    Ok(if exit == Exit::Done && ill { Exit::FarmFailed } else { exit })
}

fn print(findings: &[Finding], out: &StandardOutput) -> Result<(), Error> {
    let row = |finding: &Finding| {
        let remedy = finding.remedy.as_ref().map(|text| format!("\n→ {text}")).unwrap_or_default();
        vec![
            state(finding.level.word()),
            cell(finding.place),
            cell(&finding.name),
            lines(format!("{}{remedy}", finding.message)),
        ]
    };
    let rows: Vec<_> = findings.iter().map(row).collect();
    out.text(&table(out, &COLUMNS, &rows))
}

fn document(findings: &[Finding]) -> DoctorDocument {
    let check = |finding: &Finding| CheckDocument {
        place: finding.place,
        name: finding.name.clone(),
        level: finding.level.word(),
        message: finding.message.clone(),
        remedy: finding.remedy.clone(),
    };
    DoctorDocument {
        ok: findings.iter().all(|finding| finding.level != Level::Error),
        checks: findings.iter().map(check).collect(),
    }
}
