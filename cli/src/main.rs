//! The command `rpmfarm`: a client of the farm's API for people and scripts.
//!
//! Knows the API of `rpmfarm-proto` and this host; nothing of how the coordinator works. Each file
//! of `commands` is one subcommand, `show` turns builds into text for people, `document` into JSON
//! for scripts.

mod args;
mod client;
mod commands;
mod config;
mod doctor;
mod document;
mod exit;
mod follow;
mod out;
mod show;
mod token;

use std::process::ExitCode;

use clap::Parser as _;

use crate::args::Cli;
use crate::exit::Exit;
use crate::out::StandardOutput;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let out = StandardOutput::new(cli.global.json, cli.global.color);
    let exit = match commands::run(cli, out).await {
        Ok(exit) => exit,
        Err(error) => {
            if error.exit() != Exit::ClosedPipe {
                out::note(show::wrap::hanging("rpmfarm: ", &error.to_string(), 2, None).trim_end());
            }
            error.exit()
        }
    };
    exit.into()
}
