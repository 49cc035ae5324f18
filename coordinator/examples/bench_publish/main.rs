//! Measures publications of a large channel with the stage that farms run, a real signer, and
//! generated packages. Prints the measurements as JSON; `rpmfarm-lab bench` has the budgets.
//!
//!     bench_publish --directory DIR --signer target/release/rpmfarm-signer append

#![allow(clippy::print_stdout, reason = "the JSON is read by a program")]

mod append;
mod coalesce;
mod farm;
mod packages;

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use farm::BenchFarm;
use rpmfarm_core::Arch;

#[derive(Debug, Parser)]
struct Options {
    /// An empty directory for the farm.
    #[arg(long)]
    directory: PathBuf,
    /// The program `rpmfarm-signer`.
    #[arg(long)]
    signer: PathBuf,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Adds a build of three packages to a channel, beside `createrepo_c --update`.
    Append {
        /// Packages of the channel.
        #[arg(long, default_value_t = 20_000)]
        packages: usize,
    },
    /// Adds builds that end at the same time to a channel, and watches its `repomd.xml`.
    Coalesce {
        /// Packages of the channel before.
        #[arg(long, default_value_t = 20_000)]
        packages: usize,
        /// Builds that end.
        #[arg(long, default_value_t = 300)]
        builds: usize,
    },
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Options { directory, signer, what } = Options::parse();
    let mut farm = BenchFarm::start(&directory, &signer, &[Arch::X86_64], "").await?;
    let measured = match what {
        What::Append { packages } => {
            let measured = append::measure(&mut farm, packages).await.context("append")?;
            serde_json::to_value(measured)?
        }
        What::Coalesce { packages, builds } => {
            let measured = coalesce::measure(&mut farm, packages, builds).await;
            serde_json::to_value(measured.context("coalesce")?)?
        }
    };
    println!("{measured}");
    Ok(())
}
