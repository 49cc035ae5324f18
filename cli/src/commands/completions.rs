//! `rpmfarm completions`: a completion script for a shell.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::args::Cli;
use crate::exit::{Error, Exit};
use crate::out::Out;

/// For which shell.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rpmfarm completions bash > /usr/share/bash-completion/completions/rpmfarm
  rpmfarm completions zsh > \"${fpath[1]}/_rpmfarm\"
  rpmfarm completions fish > ~/.config/fish/completions/rpmfarm.fish")]
pub(crate) struct Options {
    /// The shell
    shell: Shell,
}

/// Prints the script.
pub(crate) fn run(options: &Options, out: &Out) -> Result<Exit, Error> {
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut Cli::command(), "rpmfarm", &mut script);
    out.bytes(&script)?;
    Ok(Exit::Done)
}
