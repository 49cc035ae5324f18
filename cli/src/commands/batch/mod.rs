//! `rpmfarm batch`: the builds of one request as a whole.

mod change;
mod list;
mod show;
mod watch;

use clap::{Args, Subcommand};

use super::Session;
use crate::exit::{Error, Exit};

/// The options of `rpmfarm batch`.
#[derive(Debug, Args)]
#[command(after_help = "\
The builds of one call of rpmfarm build are a batch; rpmfarm build --plan shows its plan.

Examples:
  rpmfarm batch list
  rpmfarm batch show 12
  rpmfarm batch pause 12
  rpmfarm batch watch 12 && echo all published")]
pub(crate) struct Options {
    #[command(subcommand)]
    what: Option<BatchCommand>,
}

#[derive(Debug, Subcommand)]
enum BatchCommand {
    /// List the batches of several builds, newest first
    #[command(after_help = "\
Examples:
  rpmfarm batch list
  rpmfarm batch list --limit 5
  rpmfarm batch list --json | jq -r '.batches[] | select(.ended_at == null) | .id'")]
    List(list::ListOptions),
    /// Show the progress of a batch, the builds that hold it, and its lost builds
    #[command(after_help = "\
The expected end is no promise: it is the larger of two times, the longest chain of builds that wait
for each other, and the work over the slots.

Examples:
  rpmfarm batch show 12
  rpmfarm batch show 12 --json | jq -r '.losses[] | \"\\(.package): \\(.took | length)\"'")]
    Show(BatchNumber),
    /// Follow a batch until its last build ends
    #[command(after_help = "\
One line shows the progress of the batch; on a terminal it is drawn in place, elsewhere each change
is a line. With --json each change is the whole batch, as one object. The exit code is that of rpmfarm
watch for all of its builds. Ctrl-C ends the watching, not the batch.

Examples:
  rpmfarm batch watch 12
  rpmfarm batch watch 12 --json | jq -r .published")]
    Watch(BatchNumber),
    /// Pause a batch: no more tasks of it begin; running ones continue
    #[command(after_help = "\
Builds that are accepted meanwhile are signed and published. Other batches continue.

Examples:
  rpmfarm batch pause 12
  rpmfarm batch pause 12 && rpmfarm batch show 12")]
    Pause(BatchNumber),
    /// Resume a paused batch
    #[command(after_help = "Examples:\n  rpmfarm batch resume 12")]
    Resume(BatchNumber),
    /// Cancel all builds of a batch that have not ended
    #[command(after_help = "\
Published builds stay published.

Examples:
  rpmfarm batch cancel 12")]
    Cancel(BatchNumber),
    /// Retry all builds of a batch that failed or were cancelled; successful tasks are kept
    #[command(after_help = "\
The sources stay those of the first try. A paused batch stays paused.

Examples:
  rpmfarm batch retry 12
  rpmfarm batch retry 12 && rpmfarm batch watch 12")]
    Retry(BatchNumber),
}

#[derive(Debug, Args)]
struct BatchNumber {
    /// Number of the batch
    #[arg(value_name = "BATCH", value_parser = clap::value_parser!(i64).range(1..))]
    batch: i64,
}

/// Runs the subcommand.
pub(crate) async fn run(options: Options, session: Session) -> Result<Exit, Error> {
    match options.what.unwrap_or_else(|| BatchCommand::List(list::ListOptions::default())) {
        BatchCommand::List(options) => list::run(options, session).await,
        BatchCommand::Show(BatchNumber { batch }) => show::run(batch, session).await,
        BatchCommand::Watch(BatchNumber { batch }) => watch::run(batch, session).await,
        BatchCommand::Pause(BatchNumber { batch }) => change::pause(batch, session).await,
        BatchCommand::Resume(BatchNumber { batch }) => change::resume(batch, session).await,
        BatchCommand::Cancel(BatchNumber { batch }) => change::cancel(batch, session).await,
        BatchCommand::Retry(BatchNumber { batch }) => change::retry(batch, session).await,
    }
}
