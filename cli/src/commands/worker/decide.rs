//! `rpmfarm worker drain`, `resume` and `revoke`.

use clap::Args;
use rpmfarm_core::worker_standing::Standing;
use rpmfarm_proto::v1::SetWorkerStateRequest;

use super::list::word;
use super::show;
use crate::commands::Session;
use crate::exit::{Error, Exit};
use crate::show::escape;

/// Options of `drain`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rpmfarm worker drain builder-3 --reason 'new disk'
  rpmfarm worker drain builder-3 && rpmfarm worker show builder-3

It stays drained until it is resumed, also when it or the coordinator is restarted.")]
pub(super) struct DrainOptions {
    /// Name of the worker
    worker: String,
    /// The reason, for the record
    #[arg(long, default_value = "drained by an administrator")]
    reason: String,
}

/// Options of `resume`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  rpmfarm worker resume builder-3")]
pub(super) struct ResumeOptions {
    /// Name of the worker
    worker: String,
    /// The reason, for the record
    #[arg(long, default_value = "resumed by an administrator")]
    reason: String,
}

/// Options of `revoke`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rpmfarm worker revoke builder-3 --reason 'the host was broken into'

Its connections are cut at once and its certificates count no more. Its tasks go to other workers.
Only a new enrolment lets it in again: rpmfarm worker enrol builder-3")]
pub(super) struct RevokeOptions {
    /// Name of the worker
    worker: String,
    /// The reason, for the record
    #[arg(long)]
    reason: String,
}

impl DrainOptions {
    pub(super) async fn run(self, session: Session) -> Result<Exit, Error> {
        decide(session, self.worker, Standing::Drained, self.reason).await
    }
}

impl ResumeOptions {
    pub(super) async fn run(self, session: Session) -> Result<Exit, Error> {
        decide(session, self.worker, Standing::Active, self.reason).await
    }
}

impl RevokeOptions {
    pub(super) async fn run(self, session: Session) -> Result<Exit, Error> {
        decide(session, self.worker, Standing::Revoked, self.reason).await
    }
}

async fn decide(
    mut session: Session,
    name: String,
    standing: Standing,
    reason: String,
) -> Result<Exit, Error> {
    let request = SetWorkerStateRequest { name, state: standing.to_string(), reason };
    let details = session.client.set_worker_state(request).await?;
    if session.out.json {
        show::print(&details, &session.out)?;
    } else if let Some(worker) = &details.worker {
        let mut line = format!("worker {}: {}", escape::line(&worker.name), word(worker));
        if !worker.running.is_empty() {
            line.push_str(&format!(", still runs {}", escape::line(&worker.running.join(", "))));
        }
        session.out.line(&line)?;
    }
    Ok(Exit::Done)
}
