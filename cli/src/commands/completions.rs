//! `rpmfarm completions`: a completion script for a shell.

use clap::{Args, Command, CommandFactory as _, ValueHint};
use clap_complete::Shell;

use crate::args::Cli;
use crate::exit::{Error, Exit};
use crate::out::StandardOutput;

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

pub(crate) fn run(options: &Options, out: &StandardOutput) -> Result<Exit, Error> {
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut command(), "rpmfarm", &mut script);
    out.bytes(&script)?;
    Ok(Exit::Done)
}

/// The command line with what shells may complete: files where a file is meant, and nothing where
/// a package, a target, a build or any other word is.
fn command() -> Command {
    hinted(Cli::command())
}

fn hinted(command: Command) -> Command {
    let command = command.mut_args(|arg| {
        let is_word = arg.get_value_hint() == ValueHint::Unknown
            && arg.get_action().takes_values()
            && arg.get_possible_values().is_empty();
        if is_word { arg.value_hint(ValueHint::Other) } else { arg }
    });
    let names: Vec<String> =
        command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    names.into_iter().fold(command, |command, name| command.mut_subcommand(name, hinted))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(command: &Command, files: &mut Vec<String>) {
        for arg in command.get_arguments().filter(|arg| arg.get_action().takes_values()) {
            match arg.get_value_hint() {
                ValueHint::Unknown => {
                    assert!(!arg.get_possible_values().is_empty(), "{command}: {arg}");
                }
                ValueHint::AnyPath | ValueHint::FilePath | ValueHint::DirPath => {
                    files.push(arg.get_id().to_string());
                }
                _ => {}
            }
        }
        command.get_subcommands().for_each(|sub| check(sub, files));
    }

    #[test]
    fn files_are_completed_where_files_are_meant_and_nowhere_else() {
        let mut files = Vec::new();
        check(&command(), &mut files);
        files.sort();
        files.dedup();
        let expected = ["addrepo_key", "ca_file", "dir", "file", "out", "token_file", "worker_dir"];
        assert_eq!(files, expected);
    }
}
