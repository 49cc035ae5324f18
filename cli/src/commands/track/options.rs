//! The options of `rpmfarm track`, and how their words are read.
//!
//! Owns the words of the command line and its help. It must not know the requests to the farm.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use rpmfarm_core::name::{check_git_ref, check_package};

use crate::exit::{Error, reason};
use crate::show::time;

/// What to do about following.
#[derive(Debug, Args)]
#[command(after_help = "\
A tracked package is rebuilt when somebody pushes to its branch. Webhooks report pushes
at once; without them the farm polls, busy packages more often. The policy decides what happens
with a push: automatic, propose (until approved) or hold; a freeze stops everything
until a date.

Examples:
  rpmfarm track add bash zlib --target almalinux-9
  rpmfarm track add --namespace gitlab:redhat/centos-stream/rpms --target centos-stream-9
  rpmfarm track list --target almalinux-9
  rpmfarm track --dry-run                     what would be built now, and why
  rpmfarm track approve openssl               build what was proposed
  rpmfarm track pause kernel --reason 'waits for a signed boot loader'
  rpmfarm track freeze --all --until 2026-12-31 --reason 'release week'")]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(super) what: Option<TrackCommand>,
    #[command(flatten)]
    pub(super) target: TargetOption,
    /// Show what would be built now, and why, without building it
    #[arg(long)]
    pub(super) dry_run: bool,
}

/// The target that is meant.
#[derive(Debug, Args)]
pub(super) struct TargetOption {
    /// Target [default: `target` of the configuration file, else the
    /// only one of the farm]
    #[arg(long, env = "RPMFARM_TARGET", hide_env_values = true, global = true)]
    pub(super) target: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(super) enum TrackCommand {
    /// Track packages from now on
    #[command(after_help = "\
The present commit is not built, unless --build is given.

Examples:
  rpmfarm track add bash --target lab
  rpmfarm track add --file packages.txt --policy propose --target lab
  rpmfarm track add --namespace pagure:rpms --target fedora")]
    Add(AddOptions),
    /// List the tracked packages and their policies
    #[command(after_help = "\
Examples:
  rpmfarm track list --target lab
  rpmfarm track list --json | jq -r '.packages[] | select(.problem) | .package'")]
    List,
    /// Show a package: the last polled commits, its last pushes, its policy overrides
    #[command(after_help = "Examples:\n  rpmfarm track show bash --target lab")]
    Show {
        /// Name of the package
        package: String,
    },
    /// Stop tracking packages
    #[command(after_help = "Examples:\n  rpmfarm track remove bash --target lab")]
    Remove {
        /// Names of packages
        #[arg(required = true, value_name = "PACKAGE", value_parser = package)]
        packages: Vec<String>,
    },
    /// Set the policy for pushes: automatic, propose, hold, or default for the target's policy
    #[command(after_help = "\
Examples:
  rpmfarm track policy propose kernel glibc --target lab
  rpmfarm track policy default kernel --target lab
  rpmfarm track policy hold --all --reason 'the signer moves' --target lab")]
    Policy {
        /// The policy
        #[arg(value_parser = ["default", "automatic", "propose", "hold"])]
        policy: String,
        #[command(flatten)]
        whom: TrackSelection,
        /// The reason, for people who wait
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Only record pushes until `resume` (the policy `hold`)
    #[command(after_help = "\
Examples:
  rpmfarm track pause kernel --reason 'does not boot' --target lab
  rpmfarm track pause --all --target lab")]
    Pause {
        #[command(flatten)]
        whom: TrackSelection,
        /// The reason, for people who wait
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Build nothing until a date, not even approved pushes
    #[command(after_help = "\
Examples:
  rpmfarm track freeze --all --until 2026-12-31 --reason 'release week' --target lab
  rpmfarm track freeze kernel --until 2026-11-30T18:00:00Z --reason audit --target lab")]
    Freeze {
        #[command(flatten)]
        whom: TrackSelection,
        /// When it ends: a date (the day's beginning, UTC) or a time in RFC 3339
        #[arg(long, value_name = "DATE", value_parser = time::parse)]
        until: i64,
        /// The reason, for people who wait
        #[arg(long)]
        reason: String,
    },
    /// End a pause or a freeze: the target's policy holds again
    #[command(after_help = "\
Examples:
  rpmfarm track resume kernel --target lab
  rpmfarm track resume --all --target lab")]
    Resume {
        #[command(flatten)]
        whom: TrackSelection,
    },
    /// Build pushes that were proposed or held
    #[command(after_help = "\
Examples:
  rpmfarm track approve openssl --target lab
  rpmfarm track approve --storm 3
  rpmfarm track approve --all --target lab")]
    Approve {
        /// Packages whose pushes wait
        #[arg(value_name = "PACKAGE", value_parser = package, required_unless_present_any = ["storm", "all"])]
        packages: Vec<String>,
        /// All pushes that a storm holds
        #[arg(long, value_name = "STORM", value_parser = clap::value_parser!(i64).range(1..), conflicts_with = "all")]
        storm: Option<i64>,
        /// All pushes of the target that wait for approval
        #[arg(long)]
        all: bool,
    },
    /// Poll packages at once
    #[command(after_help = "\
Examples:
  rpmfarm track look bash --target lab
  rpmfarm track look --all --target lab")]
    Look {
        #[command(flatten)]
        whom: TrackSelection,
    },
    /// Show what would be built now, and why, without building it
    #[command(
        after_help = "Examples:\n  rpmfarm track dry-run --target lab\n  rpmfarm track dry-run --json"
    )]
    DryRun,
}

/// Packages, or the whole target.
#[derive(Debug, Args)]
pub(super) struct TrackSelection {
    /// Names of packages
    #[arg(value_name = "PACKAGE", value_parser = package, required_unless_present = "all")]
    pub(super) packages: Vec<String>,
    /// The whole target
    #[arg(long, conflicts_with = "packages")]
    pub(super) all: bool,
}

#[derive(Debug, Args)]
pub(super) struct AddOptions {
    /// Names of packages
    #[arg(value_name = "PACKAGE", value_parser = package, required_unless_present_any = ["file", "namespace"])]
    pub(super) packages: Vec<String>,
    /// A file with a package a line; `#` begins a comment
    #[arg(long, value_name = "FILE")]
    pub(super) file: Option<PathBuf>,
    /// All packages of an organisation (github, gitea, forgejo), group (gitlab) or namespace
    /// (pagure)
    #[arg(long, value_name = "FORGE:NAME", value_parser = namespace)]
    pub(super) namespace: Option<(String, String)>,
    /// Branch or tag [default: the target's own]
    #[arg(long = "ref", value_name = "REF", value_parser = git_ref)]
    pub(super) git_ref: Option<String>,
    /// What happens with pushes [default: the target's policy]
    #[arg(long, value_parser = ["automatic", "propose", "hold"])]
    pub(super) policy: Option<String>,
    /// Build the present commit as well
    #[arg(long)]
    pub(super) build: bool,
}

fn package(text: &str) -> Result<String, String> {
    check_package(text).map_err(|error| error.to_string())?;
    Ok(text.into())
}

fn git_ref(text: &str) -> Result<String, String> {
    check_git_ref(text).map_err(|error| error.to_string())?;
    Ok(text.into())
}

fn namespace(text: &str) -> Result<(String, String), String> {
    let forges = ["github", "gitlab", "gitea", "forgejo", "pagure"];
    match text.split_once(':') {
        Some((forge, name)) if forges.contains(&forge) && !name.is_empty() => {
            Ok((forge.into(), name.into()))
        }
        _ => Err(format!("expected FORGE:NAME with one of {}", forges.join(", "))),
    }
}

/// Packages of a list: one a line, blanks and comments left out.
pub(super) fn listed(path: &Path) -> Result<Vec<String>, Error> {
    let bad = |why: String| Error::Usage(format!("{}: {why}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| bad(reason(&error)))?;
    let mut packages = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let name = line.split('#').next().unwrap_or_default().trim();
        if !name.is_empty() {
            let name = package(name).map_err(|why| bad(format!("line {}: {why}", number + 1)))?;
            packages.push(name);
        }
    }
    Ok(packages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces() {
        assert_eq!(
            namespace("gitlab:redhat/rpms"),
            Ok(("gitlab".to_owned(), "redhat/rpms".to_owned()))
        );
        for bad in ["github", "github:", "svn:x", ""] {
            assert!(namespace(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn lists_have_comments() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "# ours\nbash\n\n zlib # compression\n").expect("written");
        assert_eq!(listed(file.path()).expect("good"), ["bash", "zlib"]);
        std::fs::write(file.path(), "bash\n../x\n").expect("written");
        assert!(listed(file.path()).expect_err("bad").to_string().contains("line 2"));
    }
}
