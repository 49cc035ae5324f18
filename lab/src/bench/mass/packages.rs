//! Trivial packages with the needs of a distribution: some have names of the base root, and there
//! are a circle, chains, diamonds, and packages that fail.

use std::collections::BTreeMap;

use anyhow::ensure;
use rpmfarm_core::status::BuildState;

use crate::distgit::{BRANCH, Commit, DistgitError, Entry, create};
use crate::farm::World;

/// Packages of the lab's base root. Their sources have the same names, so that no claim needs a
/// decision; and no package here uses their programs.
pub(super) const BASE: [&str; 4] = ["bzip2", "cpio", "patch", "unzip"];

/// The number of members of the circle, each of which requires the next one.
const CIRCLE: usize = 6;

/// The number of packages in a group, which require no package of another group.
const GROUP: usize = 10;

/// The requirements of each package within its group: a chain of three, a diamond, and three
/// packages without requirements.
const REQUIRES: [&[usize]; GROUP] = [&[], &[0], &[1], &[0], &[3], &[3], &[4, 5], &[], &[], &[]];

/// Of so many groups, one has a package that fails, and a package that requires it.
const FAILS_OF: usize = 5;
const FAILS: usize = 8;
const LOST: usize = 9;

/// A version above any other package of the name, and the first version of the circle's members.
const VERSION: u32 = 9999;
const SEED_VERSION: u32 = 1;

/// The expected end of a package's build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Published,
    /// Its build fails.
    Fails,
    /// It requires one whose build fails.
    Lost,
}

impl Fate {
    pub(super) const fn state(self) -> BuildState {
        match self {
            Self::Published => BuildState::Published,
            Self::Fails | Self::Lost => BuildState::Failed,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Package {
    pub(super) name: String,
    /// The other packages that its build requires.
    pub(super) requires: Vec<String>,
    pub(super) fate: Fate,
    version: u32,
}

/// `count` packages, in an order that does not depend on their needs.
///
/// # Errors
/// When they are too few for one of each kind.
pub(super) fn packages(count: usize) -> anyhow::Result<Vec<Package>> {
    let least = BASE.len() + CIRCLE + GROUP;
    ensure!(
        count >= least,
        "{count} packages are too few for mass.lab: {least} have all that it is about"
    );
    let mut all: Vec<Package> = BASE.iter().map(|name| of_base(name)).chain(circle()).collect();
    all.extend((0..count - all.len()).map(of_group));
    // The leaves come first: requests for a distribution do not sort packages by their needs.
    all.reverse();
    Ok(all)
}

/// The members of the circle.
pub(super) fn circle() -> impl Iterator<Item = Package> {
    (0..CIRCLE).map(|at| {
        let requires = vec![of_circle((at + 1) % CIRCLE)];
        Package { name: of_circle(at), requires, fate: Fate::Published, version: VERSION }
    })
}

fn of_circle(at: usize) -> String {
    format!("circle-{at}")
}

/// A package of the base root, which requires a package that is built in the base root.
fn of_base(name: &str) -> Package {
    let (name, requires) = (name.to_owned(), vec![of_circle(0)]);
    Package { name, requires, fate: Fate::Published, version: VERSION }
}

fn of_group(at: usize) -> Package {
    let (group, place) = (at / GROUP, at % GROUP);
    let name = |place: usize| format!("mass-{group:04}-{place}");
    let mut requires: Vec<String> = REQUIRES[place].iter().map(|need| name(*need)).collect();
    let fate = match (place, group % FAILS_OF) {
        (FAILS, 0) => Fate::Fails,
        (LOST, 0) => {
            requires.push(name(FAILS));
            Fate::Lost
        }
        _ => Fate::Published,
    };
    Package { name: name(place), requires, fate, version: VERSION }
}

impl Package {
    /// The same package without requirements, for the first build of a circle.
    pub(super) fn seed(self) -> Self {
        Self { requires: Vec::new(), version: SEED_VERSION, ..self }
    }

    /// Its spec.
    pub(super) fn spec(&self) -> String {
        let Self { name, requires, fate, version } = self;
        let requires: String =
            requires.iter().map(|name| format!("BuildRequires: {name}\n")).collect();
        let ends = if *fate == Fate::Fails { "exit 1" } else { "" };
        format!(
            "Name: {name}\nVersion: {version}\nRelease: 1%{{?dist}}\nSummary: A small package\n\
             License: Apache-2.0\nBuildArch: noarch\n{requires}\n\
             %description\nA small package.\n\n%prep\n%setup -q -c -T\n\n\
             %build\nprintf '#!/bin/sh\\necho {name}\\n' > {name}\n{ends}\n\n\
             %install\ninstall -D -m 755 {name} %{{buildroot}}%{{_bindir}}/{name}\n\n\
             %files\n%{{_bindir}}/{name}\n"
        )
    }

    /// Makes its repository; replaces an existing one.
    pub(super) fn push(&self, world: &World) -> Result<(), DistgitError> {
        let (file, spec) = (format!("{}.spec", self.name), self.spec());
        let tree = BTreeMap::from([(file.as_str(), Entry::File(spec.as_bytes()))]);
        let commit = Commit { message: "Import the package", tree };
        create(&world.repository_of(&self.name), BRANCH, &[commit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_require_existing_packages_and_some_fail() {
        let all = packages(300).expect("enough");
        let by_name: BTreeMap<&str, &Package> =
            all.iter().map(|one| (one.name.as_str(), one)).collect();
        assert_eq!((all.len(), by_name.len()), (300, 300));
        for package in &all {
            for name in &package.requires {
                let required = by_name[name.as_str()];
                assert_eq!(required.fate != Fate::Published, package.fate == Fate::Lost);
            }
        }
        let count = |fate| all.iter().filter(|one| one.fate == fate).count();
        assert_eq!((count(Fate::Fails), count(Fate::Lost)), (6, 6));
        assert_eq!(by_name["mass-0003-6"].requires, ["mass-0003-4", "mass-0003-5"]);
        assert_eq!(by_name["circle-5"].requires, ["circle-0"]);
        assert!(packages(19).is_err());
        assert_eq!(packages(20).expect("enough").len(), 20);
    }

    #[test]
    fn a_spec_says_what_it_requires_and_whether_it_fails() {
        let requires = vec!["b".into(), "c".into()];
        let package = Package { name: "a".into(), requires, fate: Fate::Fails, version: VERSION };
        let spec = package.spec();
        assert!(spec.contains("\nBuildRequires: b\nBuildRequires: c\n"), "{spec}");
        assert!(spec.contains("\nexit 1\n"), "{spec}");
        let seed = Package { fate: Fate::Published, ..package }.seed().spec();
        assert!(!seed.contains("BuildRequires") && !seed.contains("exit"), "{seed}");
        assert!(seed.contains("Version: 1\n") && spec.contains("Version: 9999\n"));
        assert!(seed.contains("> a\n\n\n%install") && seed.contains("%{buildroot}%{_bindir}/a\n"));
    }
}
