//! `rpmfarm worker`: the machines that build, and what administrators do with them.

mod decide;
mod enrol;
mod list;
mod show;

use clap::{Args, Subcommand};

use super::Session;
use crate::exit::{Error, Exit};

/// What to do.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rpmfarm worker list
  rpmfarm worker enrol builder-3 --arch aarch64
  rpmfarm worker drain builder-3 --reason 'new disk'
  rpmfarm worker list --json | jq -r '.workers[] | select(.liveness != \"alive\") | .name'")]
pub(crate) struct Options {
    #[command(subcommand)]
    what: Option<WorkerCommand>,
}

#[derive(Debug, Subcommand)]
enum WorkerCommand {
    /// List the workers and their builds
    #[command(after_help = "Examples:\n  rpmfarm worker list\n  rpmfarm worker list --json")]
    List,
    /// Show everything about one worker
    Show(show::ShowOptions),
    /// Make a token that enrols one host as a worker, once
    Enrol(enrol::EnrolOptions),
    /// Let a worker finish its builds, and give it no new ones
    Drain(decide::DrainOptions),
    /// Give a drained or quarantined worker work again
    Resume(decide::ResumeOptions),
    /// Cut a worker off at once and for good; its tasks go to other workers
    Revoke(decide::RevokeOptions),
}

/// Runs the subcommand.
pub(crate) async fn run(options: Options, session: Session) -> Result<Exit, Error> {
    match options.what.unwrap_or(WorkerCommand::List) {
        WorkerCommand::List => list::run(session).await,
        WorkerCommand::Show(show) => show.run(session).await,
        WorkerCommand::Enrol(enrol) => enrol.run(session).await,
        WorkerCommand::Drain(drain) => drain.run(session).await,
        WorkerCommand::Resume(resume) => resume.run(session).await,
        WorkerCommand::Revoke(revoke) => revoke.run(session).await,
    }
}
