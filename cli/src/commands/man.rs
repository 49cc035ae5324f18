//! `rpmfarm man`: the manual pages.

use std::path::PathBuf;

use clap::{Args, CommandFactory as _};

use crate::args::Cli;
use crate::exit::{Error, Exit, reason};
use crate::out::StandardOutput;

/// Where to.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rpmfarm man /usr/share/man/man1
  rpmfarm man . && man ./rpmfarm.1")]
pub(crate) struct Options {
    /// Directory for the pages; made where it is missing
    dir: PathBuf,
}

/// Writes a page for the command and for each subcommand.
pub(crate) fn run(options: &Options, out: &StandardOutput) -> Result<Exit, Error> {
    let dir = &options.dir;
    std::fs::create_dir_all(dir)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), dir))
        .map_err(|error| {
            let why = reason(&error);
            Error::Usage(format!(
                "cannot write manual pages to {}: {why}; name a directory that you may write to",
                dir.display()
            ))
        })?;
    if !out.json {
        out.line(&format!("wrote the manual pages to {}", dir.display()))?;
    }
    Ok(Exit::Done)
}
