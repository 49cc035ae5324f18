//! The command line of the worker.

mod check;
mod enrol;
mod options;
mod run_once;
mod serve;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::cages::{scratch, stage};
pub use options::HostOptions;

/// Builds RPM packages for a farm: clean roots by digest, builds in a cage.
///
/// Runs as root on any Linux with overlayfs and user namespaces; `crun` is all that it needs of
/// the host's packages, and mkfs.ext4 to limit what a build may write.
#[derive(Debug, Parser)]
#[command(name = "rpmfarm-worker", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Works for a coordinator, until SIGTERM.
    Run(serve::ServeOptions),
    /// Makes this host a worker of a farm, with a token from `rpmfarm worker enrol`.
    Enrol(enrol::EnrolOptions),
    /// Checks whether this host can build, and prints remedies.
    Check(check::CheckOptions),
    /// Builds once from local files, without a coordinator; for trying out and for measuring.
    RunOnce(run_once::RunOnceOptions),
    /// The outer process of a cage.
    #[command(hide = true)]
    CageOuter {
        /// The cage's directory.
        directory: PathBuf,
    },
    /// The inner process of a cage.
    #[command(hide = true)]
    CageInner {
        /// The cage's directory.
        directory: PathBuf,
    },
    /// The process that makes the user namespace of a cage.
    #[command(hide = true)]
    CageOwner {
        /// The cage's directory.
        directory: PathBuf,
    },
    /// The process that holds a map of ids until a cage's mounts have it.
    #[command(hide = true)]
    CageMap,
    /// Tries whether cages can have ids of their own.
    #[command(hide = true)]
    CageIdProbe {
        /// Where it is tried.
        directory: PathBuf,
    },
}

impl Cli {
    /// Does what the command line asks for.
    #[must_use]
    pub fn run(self) -> ExitCode {
        let done = match self.command {
            Command::CageOuter { directory } => return stage::outer(&directory).into(),
            Command::CageInner { directory } => return stage::inner(&directory).into(),
            Command::CageOwner { directory } => return stage::owner(&directory).into(),
            Command::CageMap => return stage::map().into(),
            Command::CageIdProbe { directory } => return stage::probe_ids(&directory).into(),
            Command::Run(serve) => serve.run(),
            Command::Enrol(enrol) => enrol.run(),
            Command::Check(check) => check.run(),
            Command::RunOnce(once) => once.run(),
        };
        scratch::wait_until_gone();
        done.unwrap_or_else(|error| {
            complain(&format!("rpmfarm-worker: {error:#}"));
            ExitCode::FAILURE
        })
    }
}

#[allow(clippy::print_stderr)] // The one place that prints why the program ends.
fn complain(message: &str) {
    eprintln!("{message}");
}
