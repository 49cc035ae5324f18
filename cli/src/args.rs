//! The command line: its global options and its subcommands. What each subcommand takes is
//! declared beside its code.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::commands::{
    batch, build, cancel, channel, claim, completions, doctor, files, list, lock, log, man, modify,
    package, priority, repo, retry, show, source, target, track, version, watch, why, worker,
};
use crate::out::Color;

/// What the exit codes mean; docs/cli.md says the same.
const AFTER_HELP: &str = "\
Exit codes:
    0  done
    1  a build failed, by the package's own fault (watch, build --watch, retry --watch, batch watch)
    2  wrong usage, or the farm refuses the request
    3  not found: no such build, target, channel or log
    4  the coordinator cannot be reached, or refuses the token
    5  a build failed by a fault of the farm or of a worker, or the farm has a problem
    6  a build was cancelled
  130  interrupted while watching; the builds go on
  141  the reader of the output went away

Settings come from options, then the environment (RPMFARM_SERVER, RPMFARM_TOKEN_FILE,
RPMFARM_TOKEN, RPMFARM_CA_FILE, RPMFARM_TARGET), then $XDG_CONFIG_HOME/rpmfarm/config.toml, then
/etc/rpmfarm/cli.toml; the files may set server, token_file, ca_file and target.

Examples:
  rpmfarm build hello --target lab --watch   rebuild a package and follow it
  rpmfarm list --state failed                what failed last
  rpmfarm show 7                             everything about build 7
  rpmfarm doctor                             check this host and the farm";

/// Rebuild RPM packages on a farm, and see what it does.
#[derive(Debug, Parser)]
#[command(name = "rpmfarm", version, after_help = AFTER_HELP, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every subcommand.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Address of the coordinator; of several, separated by commas: the first that answers is
    /// used [default: http://127.0.0.1:7878]
    #[arg(long, global = true, value_name = "URL", env = "RPMFARM_SERVER", hide_env_values = true)]
    pub(crate) server: Option<String>,
    /// File with the token, for calls that change something [env: RPMFARM_TOKEN_FILE, or the token
    /// itself in RPMFARM_TOKEN] [default: $XDG_CONFIG_HOME/rpmfarm/token, then
    /// /var/lib/rpmfarm/token]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// File with the certificate authority of an https:// coordinator, as its DATA/tls/ca.pem
    /// [default: $XDG_CONFIG_HOME/rpmfarm/ca.pem if it is there, else the host's authorities]
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "RPMFARM_CA_FILE",
        hide_env_values = true
    )]
    pub(crate) ca_file: Option<PathBuf>,
    /// Print JSON: one document, or one object per line for output that continues
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// When to use colours; `auto` is on a terminal, unless NO_COLOR is set
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value_t)]
    pub(crate) color: Color,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the targets that packages can be rebuilt for
    Target(target::Options),
    /// Rebuild packages
    Build(build::Options),
    /// Show, follow, pause, cancel and retry the builds of one call together
    Batch(batch::Options),
    /// List builds, newest first
    List(list::Options),
    /// Show everything about one build
    Show(show::Options),
    /// Explain why a build waits, and when it will continue
    Why(why::Options),
    /// Make builds more or less urgent
    Priority(priority::Options),
    /// Follow builds until they end
    Watch(watch::Options),
    /// Print the log of a build
    Log(log::Options),
    /// Cancel builds
    Cancel(cancel::Options),
    /// Retry failed builds; tasks that succeeded are kept
    Retry(retry::Options),
    /// Show and fetch the kept files of a failed build, such as config.log
    Files(files::Options),
    /// Print the exact packages of a build's root
    Lock(lock::Options),
    /// Show what a distribution's modifications change, before anything is built
    Modify(modify::Options),
    /// Show the sources of builds, and the differences between them
    Source(source::Options),
    /// Show the repositories that the farm publishes, and how to use them
    Repo(repo::Options),
    /// Show what changes of a channel would break, and accept it
    Channel(channel::Options),
    /// Track upstream repositories, and rebuild packages when they are pushed to
    Track(track::Options),
    /// Approve or refuse builds that claim names of other source packages
    Claim(claim::Options),
    /// Withdraw packages, and list the builds that were made with them
    Package(package::Options),
    /// Show, enrol, drain and revoke workers
    Worker(worker::Options),
    /// Check this host and the farm, and print remedies
    Doctor(doctor::Options),
    /// Print a completion script for a shell
    Completions(completions::Options),
    /// Write the manual pages into a directory
    Man(man::Options),
    /// Print the versions of this command and of the coordinator
    Version(version::Options),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_subcommand_shows_examples() {
        for command in Cli::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Examples:\n  rpmfarm "), "{}", command.get_name());
        }
    }
}
