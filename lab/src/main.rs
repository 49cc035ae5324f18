//! `rpmfarm-lab`: the command line of the lab.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use rpmfarm_core::Arch;
use rpmfarm_lab::distro;

/// Makes the lab: a small RPM distribution, upstream repositories, and a server for both.
#[derive(Debug, Parser)]
#[command(name = "rpmfarm-lab", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Makes a signed RPM distribution out of Debian's binary packages.
    Distro {
        /// The architecture: x86_64, aarch64 or ppc64le.
        #[arg(long, default_value = "x86_64")]
        arch: Arch,
        /// Where to put it: DIR/repo and DIR/RPM-GPG-KEY-lab.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// Downloads and finished work [default: rpmfarm-lab in the user's cache directory].
        #[arg(long, value_name = "DIR")]
        cache: Option<PathBuf>,
        /// Ask Debian's pool for newer packages than those of the first run.
        #[arg(long)]
        refresh: bool,
    },
}

fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_target(false).init();
    match Cli::parse().command {
        Command::Distro { arch, out, cache, refresh } => {
            let begin = Instant::now();
            let options = distro::Options { arch, out, cache, refresh };
            let made = distro::make(&options)
                .with_context(|| format!("cannot make the {arch} distribution"))?;
            tracing::info!(
                packages = made.packages,
                cached = made.cached,
                seconds = begin.elapsed().as_secs_f32(),
                "distribution is at {}",
                made.path.display()
            );
            Ok(())
        }
    }
}
