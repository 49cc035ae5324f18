//! `rpmfarm worker`: the machines that build.

use clap::{Args, Subcommand};
use rpmfarm_proto::v1::Worker;

use super::Session;
use crate::document::Workers;
use crate::exit::{Error, Exit};
use crate::show::table::{Cell, cell, number, state, table};
use crate::show::{size, time};

/// What to show.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rpmfarm worker list
  rpmfarm worker list --json | jq -r '.workers[] | select(.liveness != \"alive\") | .name'")]
pub(crate) struct Options {
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List the workers, and what they do
    #[command(after_help = "Examples:\n  rpmfarm worker list\n  rpmfarm worker list --json")]
    List,
}

/// Prints the workers.
pub(crate) async fn run(options: Options, mut session: Session) -> Result<Exit, Error> {
    let What::List = options.what.unwrap_or(What::List);
    let workers = session.client.workers().await?;
    let out = session.out;
    if out.json {
        out.document(&Workers::from(workers.as_slice()))?;
    } else if workers.is_empty() {
        out.line("no workers: start one with rpmfarm-worker")?;
    } else {
        let now = time::now();
        let headers = [
            "WORKER",
            "STATE",
            "ARCHES",
            "BUSY",
            "CPUS",
            "MEMORY",
            "DISK FREE",
            "HEARD",
            "VERSION",
            "RUNS",
        ];
        let rows = workers.iter().map(|worker| row(worker, now)).collect();
        out.text(&table(&out, &headers, rows))?;
    }
    Ok(Exit::Done)
}

fn row(worker: &Worker, now: i64) -> Vec<Cell> {
    let word = match worker.liveness.as_str() {
        "alive" if worker.draining => "draining",
        "alive" if !worker.unready.is_empty() => "unready",
        liveness => liveness,
    };
    // Why it takes nothing comes before what it has.
    let runs = worker.running.join(", ");
    let runs = if worker.unready.is_empty() { runs } else { format!("{} {runs}", worker.unready) };
    let mib = |mib: u64| number(size::bytes(mib.saturating_mul(1024 * 1024)));
    vec![
        cell(&worker.name),
        state(word),
        cell(worker.arches.join(" ")),
        number(format!("{}/{}", worker.busy, worker.slots)),
        number(worker.cpus),
        mib(worker.memory_mib),
        mib(worker.disk_free_mib),
        cell(if worker.heard_us == 0 { "never".into() } else { time::ago(worker.heard_us, now) }),
        cell(&worker.version),
        cell(runs.trim_end()),
    ]
}
