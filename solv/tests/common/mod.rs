//! Small real repositories: specs through rpmbuild and createrepo_c, and dnf to ask what it
//! would install.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rpmfarm_core::Arch;
use rpmfarm_solv::{Fragment, Pool, Repository, SolveRequest};

/// Builds the spec's packages and makes a repository of them in `dir`.
pub(crate) fn repository(dir: &Path, spec: &str) {
    fs::create_dir_all(dir).unwrap();
    let spec_file = dir.join("packages.spec");
    fs::write(&spec_file, spec).unwrap();
    run(Command::new("rpmbuild")
        .args(["-bb", "--quiet", "--nodeps", "--define"])
        .arg(format!("_topdir {}", dir.join("build").display()))
        .args(["--define", "_rpmdir %{_topdir}/../packages"])
        .arg(&spec_file));
    fs::remove_dir_all(dir.join("build")).unwrap();
    run(Command::new("createrepo_c").args(["--quiet", "--excludes", "*.src.rpm"]).arg(dir));
}

/// Runs a command and returns what it prints; its failure is the test's.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}\n{text}\n{errors}");
    text
}

/// The metadata file of a kind, e.g. `primary`.
pub(crate) fn metadata(dir: &Path, kind: &str) -> PathBuf {
    let suffix = format!("-{kind}.xml.gz");
    let mut files = fs::read_dir(dir.join("repodata")).unwrap().map(|e| e.unwrap().path());
    files.find(|path| path.to_string_lossy().ends_with(&suffix)).expect("createrepo_c made it")
}

/// A pool of repositories: directory, priority.
pub(crate) fn pool(repositories: &[(&Path, i32)]) -> Pool {
    let mut pool = Pool::new(Arch::X86_64);
    for (dir, priority) in repositories {
        let about = Repository { id: id(dir), priority: *priority, ..Repository::default() };
        pool.load_repository(about, &metadata(dir, "primary"), Some(&metadata(dir, "filelists")))
            .unwrap();
    }
    pool
}

/// The repository's id: the name of its directory.
pub(crate) fn id(dir: &Path) -> String {
    dir.file_name().unwrap().to_string_lossy().into_owned()
}

/// The full names of what a solve picks.
pub(crate) fn solve(pool: &mut Pool, install: &[&str]) -> Result<BTreeSet<String>, String> {
    let request = SolveRequest { install: install.to_vec(), ..SolveRequest::default() };
    match pool.solve(&request) {
        Ok(solution) => Ok(solution.packages.iter().map(|p| p.nevra.to_string()).collect()),
        Err(error) => Err(error.to_string()),
    }
}

/// The full names of what dnf would install.
pub(crate) fn dnf(
    repositories: &[(&Path, i32)],
    install: &[&str],
) -> Result<BTreeSet<String>, String> {
    let root = tempfile::tempdir().unwrap();
    let mut command = Command::new("dnf");
    command.args(["--noplugins", "--assumeno", "--releasever=1", "--forcearch=x86_64"]);
    command.args(["--setopt=install_weak_deps=False", "--setopt=reposdir=/nonexistent"]);
    command.args(["--setopt=gpgcheck=0", "--setopt=keepcache=0"]);
    let config = root.path().join("dnf.conf");
    fs::write(&config, "[main]\n").unwrap();
    command.arg("--config").arg(&config);
    command.arg(format!("--installroot={}", root.path().display()));
    command.arg(format!("--setopt=cachedir={}", root.path().join("cache").display()));
    for (dir, priority) in repositories {
        command.arg(format!("--repofrompath={},file://{}", id(dir), dir.display()));
        command.arg(format!("--setopt={}.priority={priority}", id(dir)));
    }
    let output = command.arg("install").args(install).env("LC_ALL", "C").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    // With --assumeno dnf always ends in failure; the table tells the difference.
    if !text.contains("Transaction Summary") {
        return Err(format!("{text}{errors}"));
    }
    let ids: Vec<_> = repositories.iter().map(|(dir, _)| id(dir)).collect();
    Ok(text.lines().filter_map(|line| table_row(line, &ids)).collect())
}

/// ` name  arch  [epoch:]version-release  repository  size unit`
fn table_row(line: &str, repositories: &[String]) -> Option<String> {
    let words: Vec<_> = line.split_whitespace().collect();
    let [name, arch, evr, repository, _, _] = words[..] else { return None };
    repositories.iter().any(|id| id == repository).then(|| format!("{name}-{evr}.{arch}"))
}

/// The `<package>` elements of a repository's metadata, one fragment a package.
pub(crate) fn fragments(dir: &Path) -> Vec<Fragment> {
    let text = |kind| run(Command::new("gzip").arg("-dc").arg(metadata(dir, kind)));
    let (primary, filelists) = (text("primary"), text("filelists"));
    let elements = |xml: &str| -> Vec<String> {
        let starts: Vec<_> = xml.match_indices("<package ").map(|(at, _)| at).collect();
        let ends: Vec<_> =
            xml.match_indices("</package>").map(|(at, end)| at + end.len()).collect();
        starts.iter().zip(&ends).map(|(start, end)| xml[*start..*end].to_owned()).collect()
    };
    let filelists = elements(&filelists);
    elements(&primary)
        .into_iter()
        .map(|primary| {
            let digest = primary.split("pkgid=\"YES\">").nth(1).unwrap();
            let digest = digest.split('<').next().unwrap();
            let filelists = filelists.iter().find(|f| f.contains(digest)).unwrap().clone();
            Fragment { primary, filelists }
        })
        .collect()
}
