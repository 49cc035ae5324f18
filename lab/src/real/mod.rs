//! Real packages of other distributions, rebuilt on a farm and by plain rpmbuild: `rpmfarm-lab
//! real`.
//!
//! Owns the order of the steps. No rebuilt package belongs to this project: the user provides the
//! repositories, and Debian's pool the tarballs.
#![allow(clippy::print_stdout, reason = "it is told to a person")]

pub mod compare;
mod farmed;
mod header;
mod plain;
mod release;
mod rules;
mod state;
mod table;
mod tarballs;
mod upstream;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use rpmfarm_core::{Arch, Lock};

use self::compare::compare;
use self::plain::{Chroot, headers};
use self::state::{Record, State, Verdict};
use self::tarballs::Tarballs;
use self::upstream::{Branch, Git};
use crate::cache::{self, Cache};
use crate::farm::World;
use crate::{distro, parallel};

/// What to rebuild, and where to store results.
#[derive(Debug, Clone)]
pub struct Options {
    /// Directory with clones of dist-git repositories.
    pub repositories: PathBuf,
    /// Directory with tarballs, by name or by digest.
    pub lookaside: Option<PathBuf>,
    /// Directory for roots, results and packages.
    pub state: PathBuf,
    /// A pattern of `PACKAGE@BRANCH`.
    pub only: String,
    /// Whether to discard the stored results of these branches first.
    pub again: bool,
}

/// Rebuilds, compares, prints and writes the table (`table.md` in the state's directory). Returns
/// whether every difference has a reason.
///
/// # Errors
/// When a part of the lab or the farm does not work; the result of a package is in the table.
pub fn run(options: &Options) -> anyhow::Result<bool> {
    ensure!(
        options.repositories.is_dir(),
        "{} is not a directory: clone dist-git repositories into one and name it",
        options.repositories.display()
    );
    let state = State::open(&options.state)?;
    let git = Git::new(&state.directory("world")?)?;
    let branches = upstream::branches(&options.repositories, &options.only, &git)?;
    ensure!(
        !branches.is_empty(),
        "no repository in {} has a branch that `{}` stands for",
        options.repositories.display(),
        options.only
    );
    println!("{} branches of {}", branches.len(), options.repositories.display());
    if options.again {
        branches.iter().try_for_each(|branch| state.forget(&branch.name()))?;
    }
    let directory = state.directory("world")?;
    let world = make_world(&state, &directory, &git, &branches, options.lookaside.as_deref())?;

    let known = |branch: &Branch| {
        let mut record = state.load(&branch.package, &branch.release.branch, &branch.commit);
        rules::explain_again(&mut record.differences);
        record
    };
    let to_farm: Vec<&Branch> = branches
        .iter()
        .filter(|branch| {
            let record = known(branch);
            record.lost.is_empty() && record.farm.is_none()
        })
        .collect();
    if !to_farm.is_empty() {
        println!("{} to be built by a farm", to_farm.len());
        farmed::run(&state, &world, &to_farm)?;
    }
    let chroot = Chroot::new(&state, &world, &git, &directory);
    let to_check: Vec<&Branch> = branches
        .iter()
        .filter(|branch| {
            let record = known(branch);
            record.farm.is_some() && record.verdict() == Verdict::Open
        })
        .collect();
    println!("{} to be built by plain rpmbuild", to_check.len());
    parallel::map(&to_check, |branch| {
        // A failure to create one root must not discard the results of the other branches.
        match check(&state, &chroot, branch, known(branch)) {
            Ok(record) => println!("{}: {:?}", branch.name(), record.verdict()),
            Err(error) => println!("{}: not compared: {error:#}", branch.name()),
        }
        anyhow::Ok(())
    })?;
    tell(&state, &branches.iter().map(known).collect::<Vec<_>>())
}

/// Prints the table and writes it.
fn tell(state: &State, records: &[Record]) -> anyhow::Result<bool> {
    let text = table::page(records);
    let path = state.directory("world")?.with_file_name("table.md");
    std::fs::write(&path, &text)?;
    println!("\n{text}\nwritten to {}", path.display());
    let unexplained = records.iter().filter(|record| record.verdict() == Verdict::Unexplained);
    let mut all = records.iter().all(|record| record.verdict() != Verdict::Open);
    for record in unexplained {
        all = false;
        for one in record.differences.iter().filter(|one| one.reason.is_none()) {
            println!("{} {} {}: {} | {}", one.package, one.tag, one.path, one.farm, one.plain);
        }
    }
    Ok(all)
}

/// Makes the distribution, the repositories and the look-aside cache, and serves them. Files that
/// no place has are recorded.
fn make_world(
    state: &State,
    directory: &Path,
    git: &Git,
    branches: &[Branch],
    given: Option<&Path>,
) -> anyhow::Result<World> {
    let out = directory.join("distro/x86_64");
    std::fs::create_dir_all(&out)?;
    let size = distro::Size::Real;
    distro::make(&distro::Options { arch: Arch::X86_64, out, cache: None, size, refresh: false })
        .context("cannot make the distribution")?;
    let lookaside = directory.join("lookaside");
    std::fs::create_dir_all(&lookaside)?;
    let mut tarballs = Tarballs::new(Cache::open(None)?, given)?;
    let mut by_package: BTreeMap<&str, Vec<&Branch>> = BTreeMap::new();
    for branch in branches {
        by_package.entry(&branch.package).or_default().push(branch);
        let mut record = state.load(&branch.package, &branch.release.branch, &branch.commit);
        record.lost.clear();
        for file in branch.tarballs.as_deref().unwrap_or_default() {
            let placed = lookaside.join(&file.checksum.hex);
            if placed.exists() {
                continue;
            }
            match tarballs.find(file)? {
                Some(found) => cache::link_or_copy(&found, &placed)?,
                None => record.lost.push(file.name.clone()),
            }
        }
        state.save(&record)?;
    }
    for (package, branches) in &by_package {
        git.copy(branches, &directory.join("rpms").join(format!("{package}.git")))?;
    }
    World::serve(directory, &[Arch::X86_64])
}

/// Builds a branch by plain rpmbuild and compares.
fn check(
    state: &State,
    chroot: &Chroot<'_>,
    branch: &Branch,
    mut record: Record,
) -> anyhow::Result<Record> {
    let directory = state.of(&branch.name());
    let lock = std::fs::read(directory.join("lock.json")).context("the farm's lock is not kept")?;
    let lock = Lock::from_bytes(&lock)?;
    let out = directory.join("plain");
    let plain = chroot.build(branch, &lock, &out)?;
    let both = plain.built && record.farm.as_ref().is_some_and(|farm| farm.is_published());
    if both {
        let (ours, others) = (headers(&directory.join("farm"))?, headers(&out)?);
        record.compared = ours.len();
        record.differences = compare(&ours, &others);
        if !record.differences.is_empty() {
            // A difference between two plain builds is the package's own.
            let again = directory.join("plain2");
            let repeated = if chroot.build(branch, &lock, &again)?.built {
                compare(&headers(&again)?, &others)
            } else {
                Vec::new()
            };
            rules::explain(&mut record.differences, &repeated);
        }
    }
    record.plain = Some(plain);
    state.save(&record)?;
    Ok(record)
}
