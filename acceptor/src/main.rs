//! `rpmfarm-acceptor`: the command line of the acceptor.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use rpmfarm_acceptor::operate;
use rpmfarm_acceptor::serve::{self, Config};
use rpmfarm_core::AttemptId;
use rpmfarm_daemon::log::{self, LogFormat};
use rpmfarm_guarded::key::public_pem;
use rpmfarm_guarded::{harden, run};

/// Checks the results of workers, and signs that it accepts them.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Answer requests on a Unix socket, until SIGTERM.
    Serve(Serve),
    /// Print the public key, for the signer's --acceptor.
    Key {
        #[command(flatten)]
        place: Place,
    },
    /// List, trust or forget the keys of workers. The acceptor may run.
    #[command(subcommand)]
    Worker(WorkerCommand),
    /// Let attempts be accepted again.
    #[command(subcommand)]
    Attempts(AttemptsCommand),
}

/// The directory of an acceptor's state.
#[derive(Debug, Args)]
struct Place {
    /// Directory of the acceptor's key, its log and the workers' keys.
    #[arg(
        long,
        value_name = "DIR",
        env = "RPMFARM_ACCEPTOR_STATE",
        default_value = "/var/lib/rpmfarm/acceptor"
    )]
    state: PathBuf,
}

#[derive(Debug, Args)]
struct Serve {
    #[command(flatten)]
    place: Place,
    /// The Unix socket to listen on.
    #[arg(
        long,
        value_name = "PATH",
        env = "RPMFARM_ACCEPTOR_SOCKET",
        default_value = "/run/rpmfarm/acceptor.sock"
    )]
    socket: PathBuf,
    /// The coordinator's blob store (DATA/blobs), to be read only.
    #[arg(long, value_name = "DIR", env = "RPMFARM_ACCEPTOR_BLOBS")]
    blobs: PathBuf,
    /// A user that may request acceptances, beside root and the acceptor's own.
    #[arg(long, value_name = "UID")]
    allow_uid: Vec<u32>,
    /// Let unknown workers wait for `worker trust`, instead of trusting the first key of a name.
    #[arg(long)]
    only_known: bool,
}

#[derive(Debug, Subcommand)]
enum WorkerCommand {
    /// List the workers with their keys.
    List {
        #[command(flatten)]
        place: Place,
    },
    /// Trust the key that a worker signs with now.
    Trust {
        /// Its name.
        name: String,
        #[command(flatten)]
        place: Place,
    },
    /// Forget a worker's key.
    Forget {
        /// Its name.
        name: String,
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Debug, Subcommand)]
enum AttemptsCommand {
    /// Forget the acceptances from an attempt on, as after a restore of the coordinator's backup.
    /// The acceptor must be stopped.
    Forget {
        /// The number of the first.
        #[arg(long, value_name = "ATTEMPT")]
        from: i64,
        /// The reason, for the log.
        #[arg(long, value_name = "TEXT")]
        reason: String,
        #[command(flatten)]
        place: Place,
    },
}

impl Serve {
    fn config(self) -> Config {
        Config {
            state: self.place.state,
            socket: self.socket,
            blobs: self.blobs,
            allow_uids: self.allow_uid,
            only_known: self.only_known,
        }
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    harden::protect_memory()?;
    log::start_filtered("RUST_LOG", "info", LogFormat::Text);
    match cli.command {
        Command::Serve(options) => serve::serve(&options.config(), run::stopped()?).await,
        Command::Key { place } => {
            print_line(public_pem(&serve::key(&place.state)?.public()).trim_end())
        }
        Command::Worker(command) => worker(command),
        Command::Attempts(AttemptsCommand::Forget { from, reason, place }) => {
            operate::forget_attempts(&place.state, AttemptId(from), &reason)?;
            print_line(&format!("attempts from {from} on may be accepted again"))
        }
    }
}

fn worker(command: WorkerCommand) -> anyhow::Result<()> {
    match command {
        WorkerCommand::List { place } => {
            operate::workers(&place.state)?.iter().try_for_each(|line| print_line(line))
        }
        WorkerCommand::Trust { name, place } => print_line(&operate::trust(&place.state, &name)?),
        WorkerCommand::Forget { name, place } => {
            operate::forget(&place.state, &name)?;
            print_line(&format!("{name} is forgotten"))
        }
    }
}

#[allow(clippy::print_stdout, reason = "the output of the command")]
fn print_line(text: &str) -> anyhow::Result<()> {
    println!("{text}");
    Ok(())
}
