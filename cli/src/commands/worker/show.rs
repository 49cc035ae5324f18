//! `rpmfarm worker show`.

use clap::Args;
use rpmfarm_proto::v1::{Worker, WorkerDetails};

use super::list::{heard, word};
use crate::commands::Session;
use crate::document::WorkerDetailsDocument;
use crate::exit::{Error, Exit};
use crate::out::StandardOutput;
use crate::show::{escape, size, time, wrap};

/// Which worker.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rpmfarm worker show builder-3
  rpmfarm worker show builder-3 --json | jq .faults")]
pub(super) struct ShowOptions {
    /// Name of the worker
    worker: String,
}

impl ShowOptions {
    pub(super) async fn run(self, mut session: Session) -> Result<Exit, Error> {
        let details = session.client.worker(&self.worker).await?;
        print(&details, &session.out)?;
        Ok(Exit::Done)
    }
}

/// Prints everything about a worker.
pub(super) fn print(details: &WorkerDetails, out: &StandardOutput) -> Result<(), Error> {
    if out.json {
        return out.document(&WorkerDetailsDocument::from(details));
    }
    out.text(&text(details, out.width(), time::now()))
}

fn text(details: &WorkerDetails, width: Option<usize>, now: i64) -> String {
    let nobody = Worker::default();
    let worker = details.worker.as_ref().unwrap_or(&nobody);
    let mut text = format!("{}: {}\n", escape::line(&worker.name), word(worker));
    let mut add = |label: &str, value: String| {
        if !value.is_empty() {
            text.push_str(&wrap::hanging(&format!("  {label:<12} "), &value, 15, width));
        }
    };
    if !worker.state_reason.is_empty() {
        add("because", format!("{} ({})", worker.state_reason, time::ago(worker.state_us, now)));
    }
    add("heard", format!("{}, {}", heard(worker, now), worker.liveness));
    add("builds for", worker.arches.join(" "));
    add("enrolled for", details.enrolled_arches.join(" "));
    add("labels", worker.labels.join(" "));
    if !worker.version.is_empty() {
        add("version", format!("{} (protocol {})", worker.version, worker.protocol));
    }
    add("outdated", worker.outdated.clone());
    if worker.slots > 0 {
        let mib = |mib: u64| size::bytes(mib.saturating_mul(1024 * 1024));
        let srpms = match worker.srpm_slots {
            0 => String::new(),
            slots => format!(", and {} of {slots} for SRPMs", worker.srpm_busy),
        };
        add("slots", format!("{} of {} busy{srpms}", worker.busy, worker.slots));
        add(
            "host",
            format!(
                "{} processors, {} memory, {} disk free",
                worker.cpus,
                mib(worker.memory_mib),
                mib(worker.disk_free_mib)
            ),
        );
    }
    add("certificate", certificate(details, worker, now));
    for running in &worker.running {
        add("runs", running.clone());
    }
    for fault in &details.faults {
        let message = fault.failure.as_ref().map_or("", |failure| failure.message.as_str());
        let (when, package) = (time::ago(fault.at_us, now), &fault.package);
        add("failed", format!("{when}: {}/{} {package}: {message}", fault.build, fault.task));
    }
    for decision in details.decisions.iter().skip(1) {
        let when = time::ago(decision.at_us, now);
        add("before", format!("{when}: {} {}", decision.state, decision.reason));
    }
    text
}

/// The certificate in a few words.
fn certificate(details: &WorkerDetails, worker: &Worker, now: i64) -> String {
    let Some(newest) = details.certificates.first() else {
        return "none: it is not enrolled, it has the farm's token".into();
    };
    if !newest.ended.is_empty() {
        return newest.ended.clone();
    }
    let fingerprint = newest.fingerprint.get(..16).unwrap_or(&newest.fingerprint);
    let left = worker.certificate_ends_us - now;
    if left <= 0 {
        return format!(
            "ended {} (rpmfarm worker enrol {})",
            time::ago(newest.ends_us, now),
            worker.name
        );
    }
    format!("{fingerprint}, ends in {}, renewed by itself before", time::duration(left))
}
