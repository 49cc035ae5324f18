//! `rpmfarm worker list`.

use rpmfarm_core::lease::Liveness;
use rpmfarm_core::worker_standing::Standing;
use rpmfarm_proto::v1::Worker;

use crate::commands::Session;
use crate::document::WorkersDocument;
use crate::exit::{Error, Exit};
use crate::out::note;
use crate::show::escape;
use crate::show::table::{Cell, Column, cell, column, number, state, table};
use crate::show::{size, time};

/// The columns; on a narrow terminal those of the highest ranks go first.
const COLUMNS: [Column; 11] = [
    column("WORKER").cut(8),
    column("STATE"),
    column("ARCHES").rank(3),
    column("BUSY"),
    column("SRPMS").rank(9),
    column("CPUS").rank(8),
    column("MEMORY").rank(7),
    column("DISK FREE").rank(5),
    column("HEARD").rank(4),
    column("VERSION").rank(6),
    column("RUNS").rank(2).cut(14),
];

pub(super) async fn run(mut session: Session) -> Result<Exit, Error> {
    let workers = session.client.workers().await?;
    let out = session.out;
    if out.json {
        out.document(&WorkersDocument::from(workers.as_slice()))?;
    } else if workers.is_empty() {
        out.line("no workers: make one with rpmfarm worker enrol NAME")?;
    } else {
        let now = time::now();
        let rows: Vec<_> = workers.iter().map(|worker| row(worker, now)).collect();
        out.text(&table(&out, &COLUMNS, &rows))?;
        for worker in workers.iter().filter(|worker| !worker.outdated.is_empty()) {
            let (name, outdated) = (escape::line(&worker.name), escape::line(&worker.outdated));
            note(&format!("{name}: {outdated}"));
        }
    }
    Ok(Exit::Done)
}

/// The most important part of a worker's state, in one word.
pub(super) fn word(worker: &Worker) -> &str {
    let alive = worker.known_liveness() == Some(Liveness::Alive);
    match worker.known_standing() {
        Some(Standing::Active) if !worker.outdated.is_empty() => "outdated",
        Some(Standing::Active) if worker.draining && alive => "draining",
        Some(Standing::Active) if !worker.unready.is_empty() && alive => "unready",
        Some(Standing::Active) => &worker.liveness,
        _ => &worker.state,
    }
}

/// The architectures that it builds for, with the emulated ones marked.
fn arches(worker: &Worker) -> String {
    let shown = worker.arches.iter().map(|arch| {
        let mark = if worker.emulated.contains(arch) { " (emulated)" } else { "" };
        format!("{arch}{mark}")
    });
    shown.collect::<Vec<_>>().join(", ")
}

/// The same in few characters: emulated ones are in brackets.
fn few(worker: &Worker) -> String {
    let short = |arch: &String| {
        let shown = arch.chars().take(7).collect::<String>();
        if worker.emulated.contains(arch) { format!("({shown})") } else { shown }
    };
    worker.arches.iter().map(short).collect::<Vec<_>>().join(" ")
}

fn row(worker: &Worker, now: i64) -> Vec<Cell> {
    // The reason why it takes no work comes before its builds.
    let runs = worker.running.join(", ");
    let runs = if worker.unready.is_empty() { runs } else { format!("{} {runs}", worker.unready) };
    let mib = |mib: u64| number(size::bytes(mib.saturating_mul(1024 * 1024)));
    vec![
        cell(&worker.name),
        state(word(worker)),
        cell(arches(worker)).or(few(worker)),
        number(format!("{}/{}", worker.busy, worker.slots)),
        number(format!("{}/{}", worker.srpm_busy, worker.srpm_slots)),
        number(worker.cpus),
        mib(worker.memory_mib),
        mib(worker.disk_free_mib),
        cell(heard(worker, now)),
        cell(&worker.version),
        cell(runs.trim_end()),
    ]
}

/// When a worker was last heard.
pub(super) fn heard(worker: &Worker, now: i64) -> String {
    if worker.heard_us == 0 { "never".into() } else { time::ago(worker.heard_us, now) }
}
