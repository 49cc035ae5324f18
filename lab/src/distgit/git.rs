//! Bare git repositories whose commits are the same on every host, made by real git.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::DistgitError;
use crate::tool;

/// Author and committer of every commit.
const AUTHOR: &str = "The lab <lab@rpmfarm.invalid>";

/// The time of the first commit: 2026-01-01. Each further one is a day later.
const FIRST: u64 = 1_767_225_600;

const DAY: u64 = 86_400;

/// An entry of a commit's tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry<'a> {
    /// A file with this content.
    File(&'a [u8]),
    /// A symbolic link to this target.
    Symlink(&'a str),
}

/// One commit with its whole tree.
#[derive(Debug)]
pub struct Commit<'a> {
    pub message: &'a str,
    /// Path → entry.
    pub tree: BTreeMap<&'a str, Entry<'a>>,
}

/// Makes a bare repository whose branch holds the commits; one that is there is replaced.
///
/// # Errors
/// When git fails or a file cannot be written.
pub fn create(repository: &Path, branch: &str, commits: &[Commit<'_>]) -> Result<(), DistgitError> {
    if repository.exists() {
        fs::remove_dir_all(repository)?;
    }
    let mut init = Command::new("git");
    init.args(["init", "--quiet", "--bare", "--initial-branch", branch]).arg(repository);
    tool::output(without_host(&mut init))?;
    // Settings for fetching a commit by its id; dist-git servers allow it.
    let settings = ["uploadpack.allowAnySHA1InWant", "uploadpack.allowFilter"];
    for name in settings {
        tool::output(git(repository).args(["config", name, "true"]))?;
    }
    let stream = stream(branch, commits, None, FIRST);
    tool::output_with_input(git(repository).args(["fast-import", "--quiet"]), &stream)?;
    Ok(())
}

/// Adds a commit to the branch of a repository, and returns its id.
///
/// # Errors
/// When there is no such branch or git fails.
pub fn append(
    repository: &Path,
    branch: &str,
    commit: &Commit<'_>,
) -> Result<String, DistgitError> {
    let tip = head(repository, branch)?;
    let counted = tool::output(git(repository).args(["rev-list", "--count", &tip]))?;
    let age: u64 = String::from_utf8_lossy(&counted).trim().parse().unwrap_or(1);
    let stream = stream(branch, std::slice::from_ref(commit), Some(&tip), FIRST + age * DAY);
    tool::output_with_input(git(repository).args(["fast-import", "--quiet"]), &stream)?;
    head(repository, branch)
}

/// The commit that a branch points to.
///
/// # Errors
/// When there is no such branch.
pub fn head(repository: &Path, branch: &str) -> Result<String, DistgitError> {
    let name = format!("refs/heads/{branch}^{{commit}}");
    let output = tool::output(git(repository).args(["rev-parse", "--verify", &name]))?;
    Ok(String::from_utf8_lossy(&output).trim().to_owned())
}

fn git(repository: &Path) -> Command {
    let mut command = Command::new("git");
    command.arg("--git-dir").arg(repository);
    without_host(&mut command);
    command
}

/// Ignores the git settings of the host and its user.
fn without_host(command: &mut Command) -> &mut Command {
    command
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env_remove("GIT_DIR")
        .env_remove("GIT_WORK_TREE")
        .env_remove("GIT_INDEX_FILE")
}

/// The input of `git fast-import` (see its manual page).
fn stream(branch: &str, commits: &[Commit<'_>], parent: Option<&str>, from: u64) -> Vec<u8> {
    let mut stream = Vec::new();
    let mut parent = parent.map(str::to_owned);
    let times = (0_u64..).map(|n| from + n * DAY);
    for (index, (commit, time)) in commits.iter().zip(times).enumerate() {
        let mark = index + 1;
        let message = commit.message;
        stream.extend(
            format!(
                "commit refs/heads/{branch}\nmark :{mark}\ncommitter {AUTHOR} {time} +0000\n\
             data {}\n{message}\n",
                message.len()
            )
            .bytes(),
        );
        if let Some(parent) = &parent {
            stream.extend(format!("from {parent}\n").bytes());
        }
        stream.extend(b"deleteall\n");
        for (path, entry) in &commit.tree {
            let (mode, data) = match entry {
                // As people commit scripts.
                Entry::File(content) if content.starts_with(b"#!") => ("100755", *content),
                Entry::File(content) => ("100644", *content),
                Entry::Symlink(target) => ("120000", target.as_bytes()),
            };
            stream.extend(format!("M {mode} inline {path}\ndata {}\n", data.len()).bytes());
            stream.extend(data);
            stream.push(b'\n');
        }
        parent = Some(format!(":{mark}"));
    }
    stream.extend(b"done\n");
    stream
}
