//! The user's dist-git repositories: which packages and branches they hold, and a copy of them that
//! the lab serves.
//!
//! Owns reading repositories by real git. Their content is not trusted: their own settings and
//! hooks are never read.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use rpmfarm_core::name::check_package;
use rpmfarm_sources::distgit::LookasideFile;

use super::release::{Release, matches};
use crate::tool;

/// A branch to rebuild.
#[derive(Debug, Clone)]
pub struct Branch {
    pub package: String,
    /// The release for which it is built.
    pub release: Release,
    pub commit: String,
    /// Files that are not in git; or why the list of them cannot be read.
    pub tarballs: Result<Vec<LookasideFile>, String>,
    pub repository: PathBuf,
}

impl Branch {
    /// `PACKAGE@BRANCH`, its name in patterns and stored results.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}@{}", self.package, self.release.branch)
    }
}

/// The most levels of directories above a repository: `DIR/HOST/NAME.git/`.
const DEPTH: u32 = 4;

/// Every branch of the repositories below a directory that is built for a known release and that
/// the pattern stands for. Of branches of one release with the same files, the first is taken.
///
/// # Errors
/// When a directory cannot be read, or git is missing.
pub fn branches(directory: &Path, only: &str, git: &Git) -> anyhow::Result<Vec<Branch>> {
    let mut repositories = Vec::new();
    find(directory, DEPTH, &mut repositories)?;
    let mut found = BTreeMap::new();
    for repository in repositories {
        let mut trees = BTreeSet::new();
        for (branch, commit) in git.heads(&repository)? {
            let Some(release) = Release::of(&branch) else { continue };
            let Some(package) = git.package(&repository, &commit)? else { continue };
            if !matches(only, &format!("{package}@{branch}")) {
                continue;
            }
            let tree = git.text(&repository, &["rev-parse", &format!("{commit}^{{tree}}")])?;
            if !trees.insert((release.dist(), tree)) {
                continue;
            }
            let tarballs = git.tarballs(&repository, &commit, &package)?;
            let repository = repository.clone();
            let branch = Branch { package, release, commit, tarballs, repository };
            found.entry(branch.name()).or_insert(branch);
        }
    }
    Ok(found.into_values().collect())
}

fn find(directory: &Path, depth: u32, found: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    if directory.join("HEAD").is_file() && directory.join("objects").is_dir() {
        found.push(directory.into());
        return Ok(());
    }
    if depth == 0 {
        return Ok(());
    }
    let entries = std::fs::read_dir(directory)
        .with_context(|| format!("cannot read the repositories in {}", directory.display()))?;
    let mut entries: Vec<_> = entries.collect::<Result<_, _>>()?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        if entry.file_type()?.is_dir() {
            find(&entry.path(), depth - 1, found)?;
        }
    }
    Ok(())
}

/// git without the settings of the host and of a repository's owner.
#[derive(Debug)]
pub struct Git {
    settings: PathBuf,
}

impl Git {
    /// With its settings in a file of `directory`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn new(directory: &Path) -> anyhow::Result<Self> {
        let settings = directory.join("gitconfig");
        // Another user may have cloned the repositories.
        std::fs::write(
            &settings,
            "[safe]\n\tdirectory = *\n[protocol \"file\"]\n\tallow = always\n",
        )?;
        Ok(Self { settings })
    }

    fn command(&self, repository: &Path) -> Command {
        let mut command = Command::new("git");
        command
            .arg("--git-dir")
            .arg(repository)
            .env("GIT_CONFIG_GLOBAL", &self.settings)
            .env("GIT_CONFIG_NOSYSTEM", "1");
        command
    }

    fn text(&self, repository: &Path, arguments: &[&str]) -> anyhow::Result<String> {
        let output = tool::output(self.command(repository).args(arguments))?;
        Ok(String::from_utf8_lossy(&output).trim_end().to_owned())
    }

    /// Branches with their commits.
    fn heads(&self, repository: &Path) -> anyhow::Result<Vec<(String, String)>> {
        let format = "--format=%(refname:lstrip=2) %(objectname)";
        let text = self.text(repository, &["for-each-ref", format, "refs/heads"])?;
        let lines = text.lines().filter_map(|line| line.rsplit_once(' '));
        Ok(lines.map(|(branch, commit)| (branch.to_owned(), commit.to_owned())).collect())
    }

    /// The package of a commit: the name of its only spec; nothing when it has none, or several.
    fn package(&self, repository: &Path, commit: &str) -> anyhow::Result<Option<String>> {
        let mut specs = Vec::new();
        for place in ["", "SPECS/"] {
            let tree = format!("{commit}:{place}");
            let Ok(names) = self.text(repository, &["ls-tree", "--name-only", &tree]) else {
                continue;
            };
            specs.extend(
                names.lines().filter_map(|name| name.strip_suffix(".spec")).map(str::to_owned),
            );
        }
        match specs.as_slice() {
            [package] if check_package(package).is_ok() => Ok(Some(package.clone())),
            _ => Ok(None),
        }
    }

    /// The look-aside files of a commit.
    fn tarballs(
        &self,
        repository: &Path,
        commit: &str,
        package: &str,
    ) -> anyhow::Result<Result<Vec<LookasideFile>, String>> {
        let names = self.text(repository, &["ls-tree", "--name-only", commit])?;
        let metadata = format!(".{package}.metadata");
        let Some(list) = names.lines().find(|name| *name == "sources" || *name == metadata) else {
            return Ok(Ok(Vec::new()));
        };
        let text = self.text(repository, &["show", &format!("{commit}:{list}")])?;
        Ok(LookasideFile::parse_list(list, &text).map_err(|error| error.to_string()))
    }

    /// Copies the branches of one package into a bare repository that the lab serves.
    ///
    /// # Errors
    /// When git fails.
    pub fn copy(&self, branches: &[&Branch], to: &Path) -> anyhow::Result<()> {
        if to.exists() {
            std::fs::remove_dir_all(to)?;
        }
        let mut init = Command::new("git");
        init.args(["init", "--quiet", "--bare"]).arg(to).env("GIT_CONFIG_GLOBAL", &self.settings);
        tool::output(&mut init)?;
        for setting in ["uploadpack.allowAnySHA1InWant", "uploadpack.allowFilter"] {
            tool::output(self.command(to).args(["config", setting, "true"]))?;
        }
        for branch in branches {
            let name = &branch.release.branch;
            let mut fetch = self.command(to);
            fetch.args(["fetch", "--quiet", "--no-tags", "--update-shallow"]);
            fetch.arg(&branch.repository).arg(format!("+refs/heads/{name}:refs/heads/{name}"));
            tool::output(&mut fetch)?;
        }
        Ok(())
    }

    /// Copies the files of a branch into a directory as rpmbuild expects them: `SPECS` and
    /// `SOURCES`.
    ///
    /// # Errors
    /// When git or tar fails.
    pub fn check_out(&self, branch: &Branch, topdir: &Path) -> anyhow::Result<()> {
        let (sources, specs) = (topdir.join("SOURCES"), topdir.join("SPECS"));
        for directory in [&sources, &specs] {
            std::fs::create_dir_all(directory)?;
        }
        let tree = self.text(&branch.repository, &["ls-tree", "--name-only", &branch.commit])?;
        let exploded = tree.lines().any(|name| name == "SPECS");
        let spec = format!("{}.spec", branch.package);
        let from =
            if exploded { format!("{}:SOURCES", branch.commit) } else { branch.commit.clone() };
        let has_sources = !exploded || tree.lines().any(|name| name == "SOURCES");
        if has_sources {
            let archive = tool::output(self.command(&branch.repository).args([
                "-c",
                "tar.umask=0022",
                "archive",
                "--format=tar",
                &from,
            ]))?;
            let mut tar = Command::new("tar");
            tar.args(["--extract", "--no-same-owner", "--directory"]).arg(&sources);
            tool::output_with_input(&mut tar, &archive)?;
        }
        let place = if exploded { format!("SPECS/{spec}") } else { spec.clone() };
        let text = tool::output(
            self.command(&branch.repository).args(["show", &format!("{}:{place}", branch.commit)]),
        )?;
        std::fs::write(specs.join(&spec), text)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distgit::{Commit, Entry, create};

    fn repository(at: &Path, branch: &str, files: &[(&str, &str)]) {
        let tree = files.iter().map(|(path, text)| (*path, Entry::File(text.as_bytes())));
        create(at, branch, &[Commit { message: "x", tree: tree.collect() }]).unwrap();
    }

    #[test]
    fn branches_of_both_layouts_are_found_and_copied() {
        let directory = tempfile::tempdir().unwrap();
        let below = directory.path().join("have");
        std::fs::create_dir(&below).unwrap();
        let hash = "ab".repeat(32);
        repository(
            &below.join("one.git"),
            "el9",
            &[
                ("SPECS/one.spec", "x"),
                ("SOURCES/a.patch", "p"),
                (".one.metadata", &format!("{hash} SOURCES/one.tar.gz\n")),
            ],
        );
        repository(&below.join("deep/two+three.git"), "f38", &[("two.spec", "x"), ("sources", "")]);
        repository(&below.join("main.git"), "main", &[("main.spec", "x")]);
        let git = Git::new(directory.path()).unwrap();
        let found = branches(&below, "*", &git).unwrap();
        let names: Vec<String> = found.iter().map(Branch::name).collect();
        assert_eq!(names, ["one@el9", "two@f38"]);
        assert_eq!(found[0].tarballs.as_ref().unwrap()[0].checksum.hex, hash);
        assert_eq!(branches(&below, "two@*", &git).unwrap().len(), 1);

        git.copy(&[&found[0]], &directory.path().join("served.git")).unwrap();
        let heads = git.heads(&directory.path().join("served.git")).unwrap();
        assert_eq!(heads, [("el9".to_owned(), found[0].commit.clone())]);

        let topdir = directory.path().join("top");
        git.check_out(&found[0], &topdir).unwrap();
        assert_eq!(std::fs::read_to_string(topdir.join("SOURCES/a.patch")).unwrap(), "p");
        assert_eq!(std::fs::read_to_string(topdir.join("SPECS/one.spec")).unwrap(), "x");
    }
}
