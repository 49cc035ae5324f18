//! Entry point of `rpmfarm-worker`.

use std::process::ExitCode;

use clap::Parser as _;
use rpmfarm_worker::command::Cli;

fn main() -> ExitCode {
    Cli::parse().run()
}
