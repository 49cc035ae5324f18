//! Snapshots: the set of packages that a channel of a target shows, and how it may change.
//!
//! A snapshot is immutable; adding a build makes a new one. Owns which packages a new build
//! supersedes, which repository a package belongs to, and the rule that one NEVRA has one digest.
//! It must not know of files, repodata or signatures.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::num::NonZeroUsize;
use std::ops::Bound::{Excluded, Unbounded};

use serde::{Deserialize, Serialize};

use crate::noarch::NOARCH;
use crate::{Arch, Evr, Nevra, Sha256};

/// Which of an architecture's repositories a package is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RepositoryKind {
    Binary,
    /// Debug symbols and their sources.
    Debug,
    Source,
}

impl RepositoryKind {
    pub const ALL: [Self; 3] = [Self::Binary, Self::Debug, Self::Source];

    /// The repository of a package. Debug packages are known by their names ([`debugged`]).
    #[must_use]
    pub fn for_package(nevra: &Nevra) -> Self {
        if nevra.is_source() {
            Self::Source
        } else if debugged(&nevra.name).is_some() {
            Self::Debug
        } else {
            Self::Binary
        }
    }

    /// The directory of the repository below its architecture's, as Enterprise Linux has it.
    #[must_use]
    pub const fn dir(self) -> &'static str {
        match self {
            Self::Binary => "os",
            Self::Debug => "debug",
            Self::Source => "source",
        }
    }
}

/// The name of the package that a debug package belongs to, if the name is that of a debug package:
/// `*-debuginfo`, `*-debuginfo-*` (the kernel's `-debuginfo-common-ARCH`) and `*-debugsource`, as
/// pungi has it.
#[must_use]
pub fn debugged(name: &str) -> Option<&str> {
    name.strip_suffix("-debuginfo")
        .or_else(|| name.strip_suffix("-debugsource"))
        .or_else(|| name.split_once("-debuginfo-").map(|(of, _)| of))
}

/// Whether a package is in the repositories of an architecture: its own packages, `noarch`
/// packages, and all sources.
#[must_use]
pub fn belongs_to(nevra: &Nevra, arch: Arch) -> bool {
    nevra.is_source() || arch.accepts(&nevra.arch)
}

/// One package of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SnapshotPackage {
    pub nevra: Nevra,
    /// SHA-256 of the file that clients get.
    pub digest: Sha256,
    /// The source package that it was built from; for a source package, itself.
    pub source: Nevra,
    /// For a `noarch` package, the architectures whose repositories leave it out.
    #[serde(default, skip_serializing_if = "ExcludedArches::is_empty")]
    pub without: ExcludedArches,
}

impl SnapshotPackage {
    /// A package of a build. `without` are the architectures whose repositories leave out its
    /// `noarch` packages because of the source package.
    #[must_use]
    pub fn of_build(nevra: Nevra, digest: Sha256, source: Nevra, without: &[Arch]) -> Self {
        let by_source = if nevra.arch == NOARCH { without.to_vec() } else { Vec::new() };
        Self { nevra, digest, source, without: ExcludedArches { by_source, held: Vec::new() } }
    }

    /// Whether the package is for the repositories of an architecture, even if requirements are
    /// missing there.
    #[must_use]
    pub fn is_meant_for(&self, arch: Arch) -> bool {
        belongs_to(&self.nevra, arch) && !self.without.by_source.contains(&arch)
    }
}

/// The architectures whose repositories leave out a `noarch` package.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct ExcludedArches {
    /// Because of its source package ([`crate::terms::without_noarch`]).
    pub by_source: Vec<Arch>,
    /// Because its requirements are not provided there ([`crate::missing_requirements::held`]);
    /// decided again for each publication.
    pub held: Vec<Arch>,
}

impl ExcludedArches {
    /// Whether all repositories contain the package.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_source.is_empty() && self.held.is_empty()
    }

    /// Whether the repositories of an architecture leave the package out.
    #[must_use]
    pub fn contains(&self, arch: Arch) -> bool {
        self.by_source.contains(&arch) || self.held.contains(&arch)
    }

    /// All of the architectures, in their order.
    #[must_use]
    pub fn arches(&self) -> Vec<Arch> {
        Arch::ALL.into_iter().filter(|arch| self.contains(*arch)).collect()
    }
}

/// An immutable set of packages in a defined order: two snapshots of the same packages are equal
/// and are stored as the same bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Snapshot {
    packages: Vec<SnapshotPackage>,
}

/// Why packages cannot be in one snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// Two files with one NEVRA.
    #[error(
        "{nevra} exists already with another content: sha256 {existing}, now {new}; raise its release and build it again"
    )]
    Conflict {
        /// The name that both have.
        nevra: Box<Nevra>,
        /// The digest that is in the snapshot, or came first.
        existing: Sha256,
        /// The digest that was to be added.
        new: Sha256,
    },
    /// Two packages whose names differ in the epoch alone have one file name.
    #[error(
        "{new} would have the same file name as {existing}; raise its release and build it again"
    )]
    FileName {
        /// The one that is in the snapshot, or came first.
        existing: Box<Nevra>,
        /// The one that was to be added.
        new: Box<Nevra>,
    },
}

impl Snapshot {
    /// A snapshot of exactly these packages.
    ///
    /// # Errors
    /// When two of them have one NEVRA or one file name, but are not the same file.
    pub fn from_packages(packages: Vec<SnapshotPackage>) -> Result<Self, SnapshotError> {
        let mut by_file: HashMap<String, SnapshotPackage> = HashMap::new();
        for package in packages {
            let existing = by_file.entry(package.nevra.file_name()).or_insert(package.clone());
            // For a package that a later build made again, the later build's settings apply.
            existing.without = package.without.clone();
            if existing.nevra != package.nevra {
                return Err(SnapshotError::FileName {
                    existing: existing.nevra.clone().into(),
                    new: package.nevra.into(),
                });
            }
            if existing.digest != package.digest {
                return Err(SnapshotError::Conflict {
                    nevra: package.nevra.into(),
                    existing: existing.digest,
                    new: package.digest,
                });
            }
        }
        let mut packages: Vec<_> = by_file.into_values().collect();
        packages.sort_by_cached_key(|p| (p.nevra.name.clone(), p.nevra.to_string()));
        Ok(Self { packages })
    }

    /// The same packages, with the digests of those that were signed again.
    #[must_use]
    pub fn signed_anew(mut self, digest: impl Fn(&Nevra) -> Option<Sha256>) -> Self {
        for package in &mut self.packages {
            package.digest = digest(&package.nevra).unwrap_or(package.digest);
        }
        self
    }

    /// The snapshot without withdrawn packages, which are named by their NEVRA and that of their
    /// source package, since another source package may have made a package of that name.
    #[must_use]
    pub fn without(mut self, withdrawn: &HashSet<(Nevra, Nevra)>) -> Self {
        if !withdrawn.is_empty() {
            self.packages.retain(|package| {
                !withdrawn.contains(&(package.nevra.clone(), package.source.clone()))
            });
        }
        self
    }

    /// Its packages, sorted by name.
    #[must_use]
    pub fn packages(&self) -> &[SnapshotPackage] {
        &self.packages
    }

    /// The snapshot with an accepted build added. Each source package keeps its `keep` latest
    /// versions and nothing of older ones; so a subpackage that is no longer built disappears with
    /// the build that made it. A build that is older than those is itself left out.
    ///
    /// A build is added whole, with all its architectures; of a `noarch` package that several of
    /// them made, the caller chooses one.
    ///
    /// # Errors
    /// As [`Self::from_packages`]; the snapshot's packages and the build's count together,
    /// including older ones.
    pub fn with_build(
        &self,
        build: &[SnapshotPackage],
        keep: NonZeroUsize,
    ) -> Result<Self, SnapshotError> {
        let mut next = Self::from_packages([self.packages.as_slice(), build].concat())?;
        let mut versions: HashMap<String, BTreeSet<Evr>> = HashMap::new();
        for SnapshotPackage { source, .. } in &next.packages {
            versions.entry(source.name.clone()).or_default().insert(source.evr.clone());
        }
        next.packages.retain(|SnapshotPackage { source, .. }| {
            let newer = versions[&source.name].range((Excluded(&source.evr), Unbounded)).count();
            newer < keep.get()
        });
        Ok(next)
    }

    /// The snapshot with the decision on packages with missing requirements: those in `held` are
    /// left out of these architectures, all others of none for that reason.
    #[must_use]
    pub fn with_held(mut self, held: &HashMap<Nevra, Vec<Arch>>) -> Self {
        for package in &mut self.packages {
            package.without.held = held.get(&package.nevra).cloned().unwrap_or_default();
        }
        self
    }

    /// The packages that have to go from this snapshot, and those that have to come, to have the
    /// other.
    #[must_use]
    pub fn delta_to(&self, next: &Self) -> SnapshotDelta {
        let before: HashSet<&SnapshotPackage> = self.packages.iter().collect();
        let after: HashSet<&SnapshotPackage> = next.packages.iter().collect();
        let gone = self.packages.iter().filter(|package| !after.contains(package));
        let come = next.packages.iter().filter(|package| !before.contains(package));
        SnapshotDelta {
            gone: gone.map(|package| package.nevra.clone()).collect(),
            come: come.cloned().collect(),
        }
    }

    /// The changes from this snapshot to the other.
    #[must_use]
    pub fn diff(&self, other: &Self) -> SnapshotDiff {
        let mut removed = lines(&self.packages, &other.packages);
        let mut diff = SnapshotDiff::default();
        for (line, mut added) in lines(&other.packages, &self.packages) {
            if let Some(from) = removed.get_mut(&line).and_then(Vec::pop) {
                diff.changed.extend(added.pop().map(|to| PackageChange { from, to }));
            }
            diff.added.append(&mut added);
        }
        diff.removed = removed.into_values().flatten().collect();
        diff
    }
}

/// The difference between two snapshots. A package with any change is removed and added again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SnapshotDelta {
    /// Packages that the new one has not, or has otherwise.
    pub gone: Vec<Nevra>,
    /// Packages that the old one had not, or had otherwise.
    pub come: Vec<SnapshotPackage>,
}

/// Revisions from one whole snapshot that is stored to the next.
const WHOLE_EACH: i64 = 256;

/// Whether a revision that follows another one is also stored as a whole snapshot, and not only as
/// its changes. `before` is 0 for the first revision. Revisions may leave numbers out.
#[must_use]
pub const fn is_stored_whole(before: i64, revision: i64) -> bool {
    before == 0 || before / WHOLE_EACH != revision / WHOLE_EACH
}

/// The packages of one name and architecture that `other` does not have, oldest first.
fn lines<'a>(
    packages: &'a [SnapshotPackage],
    other: &[SnapshotPackage],
) -> BTreeMap<(&'a str, &'a str), Vec<Nevra>> {
    let other: HashSet<_> = other.iter().map(|p| (&p.nevra, p.digest)).collect();
    let mut lines: BTreeMap<_, Vec<Nevra>> = BTreeMap::new();
    for package in packages.iter().filter(|p| !other.contains(&(&p.nevra, p.digest))) {
        let line = (package.nevra.name.as_str(), package.nevra.arch.as_str());
        lines.entry(line).or_default().push(package.nevra.clone());
    }
    for line in lines.values_mut() {
        line.sort_by(|a, b| a.evr.cmp(&b.evr));
    }
    lines
}

/// The difference of two snapshots. Sorted by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotDiff {
    /// In the new one only.
    pub added: Vec<Nevra>,
    /// In the old one only.
    pub removed: Vec<Nevra>,
    /// Packages with different versions in the two snapshots.
    pub changed: Vec<PackageChange>,
}

/// A package that was replaced by another version of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageChange {
    /// The package of the old snapshot.
    pub from: Nevra,
    /// The package of the new one.
    pub to: Nevra,
}

impl SnapshotDiff {
    /// Whether both snapshots have the same packages.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }

    /// Packages that a client would upgrade.
    pub fn upgraded(&self) -> impl Iterator<Item = &PackageChange> {
        self.changed.iter().filter(|change| change.to.evr > change.from.evr)
    }

    /// Packages whose version is lower than before, which clients install only with `distro-sync`.
    pub fn downgraded(&self) -> impl Iterator<Item = &PackageChange> {
        self.changed.iter().filter(|change| change.to.evr < change.from.evr)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ONE: NonZeroUsize = NonZeroUsize::MIN;

    fn package(nevra: &str, source: &str) -> SnapshotPackage {
        SnapshotPackage {
            nevra: nevra.parse().expect("a NEVRA"),
            digest: Sha256::compute(nevra.as_bytes()),
            source: source.parse().expect("a NEVRA"),
            without: ExcludedArches::default(),
        }
    }

    #[test]
    fn a_source_package_keeps_only_its_noarch_packages_from_an_architecture() {
        let (x86, arm) = (Arch::X86_64, Arch::Aarch64);
        let made = |nevra: &str| {
            let nevra: Nevra = nevra.parse().expect("a NEVRA");
            let source = "lib-1-1.src".parse().expect("a NEVRA");
            SnapshotPackage::of_build(nevra, Sha256::compute(b"x"), source, &[arm])
        };
        let meant = |nevra: &str| [x86, arm].map(|arch| made(nevra).is_meant_for(arch));
        assert_eq!(meant("lib-doc-1-1.noarch"), [true, false]);
        assert_eq!(meant("lib-1-1.aarch64"), [false, true]);
        assert_eq!(meant("lib-1-1.src"), [true, true]);
        assert!(made("lib-1-1.aarch64").without.is_empty());
        // What it lacks there is another matter, which is decided anew with each publication.
        let mut held = made("lib-doc-1-1.noarch");
        held.without.held = vec![x86];
        assert!(held.is_meant_for(x86) && held.without.contains(x86));
    }

    /// A build of `lib` with these binary packages of version `version`.
    fn build(version: &str, names: &[&str]) -> Vec<SnapshotPackage> {
        let source = format!("lib-{version}-1.src");
        let mut packages = vec![package(&source, &source)];
        packages.extend(names.iter().map(|name| {
            let (name, arch) = name.rsplit_once('.').expect("NAME.ARCH");
            package(&format!("{name}-{version}-1.{arch}"), &source)
        }));
        packages
    }

    fn names(snapshot: &Snapshot) -> Vec<String> {
        snapshot.packages().iter().map(|p| p.nevra.to_string()).collect()
    }

    #[test]
    fn what_was_taken_back_is_gone_and_an_older_version_is_taken_again() {
        let old = build("1", &["lib.x86_64"]);
        let newer = build("2", &["lib.x86_64", "lib-devel.x86_64"]);
        let shown = Snapshot::default().with_build(&newer, ONE).expect("fits");
        let withdrawn = newer.iter().map(|p| (p.nevra.clone(), p.source.clone())).collect();
        let without = shown.clone().without(&withdrawn);
        assert_eq!(without, Snapshot::default());
        let again = without.with_build(&old, ONE).expect("fits");
        assert_eq!(names(&again), ["lib-1-1.src", "lib-1-1.x86_64"]);
        // Another source's package of the same name stays.
        let stranger = package("lib-2-1.x86_64", "other-1-1.src");
        let theirs = Snapshot::from_packages(vec![stranger]).expect("one package");
        assert_eq!(theirs.clone().without(&withdrawn), theirs);
    }

    #[test]
    fn a_newer_build_replaces_all_of_the_older_one() {
        let first = Snapshot::default()
            .with_build(&build("1", &["lib.x86_64", "lib-doc.noarch", "lib-old.x86_64"]), ONE)
            .unwrap();
        let second = first.with_build(&build("2", &["lib.x86_64", "lib-doc.x86_64"]), ONE).unwrap();
        assert_eq!(names(&second), ["lib-2-1.src", "lib-2-1.x86_64", "lib-doc-2-1.x86_64"]);
        // An older build that arrives later changes nothing, nor does the same one again.
        assert_eq!(second.with_build(&build("1", &["lib.x86_64"]), ONE).unwrap(), second);
        let again = second.with_build(&build("2", &["lib.x86_64"]), ONE).unwrap();
        assert_eq!(again, second);

        let two = NonZeroUsize::new(2).unwrap();
        let third = first.with_build(&build("2", &["lib.x86_64"]), two).unwrap();
        let third = third.with_build(&build("3", &["lib.x86_64"]), two).unwrap();
        assert_eq!(
            names(&third),
            ["lib-2-1.src", "lib-2-1.x86_64", "lib-3-1.src", "lib-3-1.x86_64"]
        );
    }

    #[test]
    fn one_nevra_has_one_digest() {
        let snapshot = Snapshot::from_packages(build("1", &["lib.x86_64"])).unwrap();
        let mut other = build("1", &["lib.x86_64"]);
        other[1].digest = Sha256::compute(b"other");
        let error = snapshot.with_build(&other, ONE).unwrap_err().to_string();
        for part in [
            "lib-1-1.x86_64",
            &Sha256::compute(b"other").hex(),
            &Sha256::compute(b"lib-1-1.x86_64").hex(),
        ] {
            assert!(error.contains(part), "{error}");
        }
        let epoch = vec![package("lib-2:1-1.x86_64", "lib-2:1-1.src")];
        let error = snapshot.with_build(&epoch, ONE).unwrap_err().to_string();
        assert!(error.contains("lib-2:1-1.x86_64") && error.contains("lib-1-1.x86_64"), "{error}");
    }

    #[test]
    fn packages_go_where_clients_look() {
        let kind = |text: &str| RepositoryKind::for_package(&text.parse().unwrap());
        assert_eq!(kind("lib-1-1.x86_64"), RepositoryKind::Binary);
        assert_eq!(kind("kernel-debug-1-1.x86_64"), RepositoryKind::Binary);
        assert_eq!(kind("lib-debuginfo-1-1.x86_64"), RepositoryKind::Debug);
        assert_eq!(kind("lib-debugsource-1-1.x86_64"), RepositoryKind::Debug);
        assert_eq!(kind("kernel-debuginfo-common-x86_64-1-1.x86_64"), RepositoryKind::Debug);
        assert_eq!(kind("lib-debuginfo-tools-1-1.x86_64"), RepositoryKind::Debug);
        assert_eq!(debugged("lib-devel-debuginfo"), Some("lib-devel"));
        assert_eq!(debugged("kernel-debuginfo-common-x86_64"), Some("kernel"));
        assert_eq!(kind("lib-1-1.src"), RepositoryKind::Source);
        let arches = |text: &str| {
            Arch::ALL.into_iter().filter(|a| belongs_to(&text.parse().unwrap(), *a)).count()
        };
        assert_eq!(arches("lib-1-1.aarch64"), 1);
        assert_eq!(arches("lib-1-1.noarch"), 3);
        assert_eq!(arches("lib-1-1.src"), 3);
        assert_eq!(arches("lib-1-1.i686"), 0);
    }

    #[test]
    fn what_a_package_is_kept_from_is_part_of_a_snapshot() {
        let plain = package("a-1-1.noarch", "a-1-1.src");
        let old = r#"{"nevra":"a-1-1.noarch","digest":"DIGEST","source":"a-1-1.src"}"#
            .replace("DIGEST", &plain.digest.hex());
        assert_eq!(serde_json::to_string(&plain).unwrap(), old, "as snapshots always were");
        assert_eq!(serde_json::from_str::<SnapshotPackage>(&old).unwrap(), plain);
        let without = ExcludedArches { by_source: vec![Arch::Aarch64], held: Vec::new() };
        let kept = SnapshotPackage { without, ..plain.clone() };
        let text = serde_json::to_string(&kept).unwrap();
        assert_eq!(serde_json::from_str::<SnapshotPackage>(&text).unwrap(), kept);

        let snapshot = Snapshot::from_packages(vec![plain.clone()]).unwrap();
        let again = snapshot.with_build(std::slice::from_ref(&kept), ONE).unwrap();
        assert_eq!(again.packages(), [kept], "a later build has the word");
        let held = HashMap::from([(plain.nevra.clone(), vec![Arch::Ppc64le])]);
        let again = again.with_held(&held);
        let without = &again.packages()[0].without;
        assert_eq!(without.arches(), [Arch::Aarch64, Arch::Ppc64le]);
        assert!(without.contains(Arch::Ppc64le) && !without.contains(Arch::X86_64));
        let again = again.with_held(&HashMap::new());
        assert_eq!(again.packages()[0].without.arches(), [Arch::Aarch64]);
    }

    #[test]
    fn a_diff_tells_upgrades_from_downgrades() {
        let old = Snapshot::from_packages(build("1.9", &["lib.x86_64", "gone.x86_64"])).unwrap();
        let new = Snapshot::from_packages(build("1.10", &["lib.x86_64", "fresh.noarch"])).unwrap();
        let diff = old.diff(&new);
        assert_eq!(diff.added, ["fresh-1.10-1.noarch".parse().unwrap()]);
        assert_eq!(diff.removed, ["gone-1.9-1.x86_64".parse().unwrap()]);
        let upgraded: Vec<_> = diff.upgraded().map(|c| c.to.to_string()).collect();
        assert_eq!(upgraded, ["lib-1.10-1.src", "lib-1.10-1.x86_64"]);
        assert_eq!(diff.downgraded().count(), 0);
        assert_eq!(new.diff(&old).downgraded().count(), 2);
        assert!(old.diff(&old).is_empty());
    }

    fn builds() -> impl Strategy<Value = Vec<Vec<SnapshotPackage>>> {
        let build = (0..3_u8, 0..6_u8, 1..4_usize).prop_map(|(name, version, arches)| {
            let source = format!("p{name}-{version}-1.src");
            let arches = Arch::ALL.iter().take(arches);
            std::iter::once(package(&source, &source))
                .chain(arches.map(|arch| package(&format!("p{name}-{version}-1.{arch}"), &source)))
                .collect()
        });
        prop::collection::vec(build, 0..12)
    }

    #[test]
    fn a_whole_snapshot_is_stored_now_and_then() {
        let whole = is_stored_whole;
        assert!(whole(0, 1) && !whole(1, 2) && !whole(254, 255) && whole(255, 256));
        assert!(!whole(256, 257) && whole(255, 258), "256 was never shown");
        assert!(whole(1, 1_000));
    }

    /// A package as a row: from one revision on, until another.
    type Row = (SnapshotPackage, usize, Option<usize>);

    /// Writes a revision into rows.
    fn apply(rows: &mut Vec<Row>, revision: usize, delta: &SnapshotDelta) {
        let gone: HashSet<&Nevra> = delta.gone.iter().collect();
        for (package, _, until) in rows.iter_mut().filter(|(_, _, until)| until.is_none()) {
            if gone.contains(&package.nevra) {
                *until = Some(revision);
            }
        }
        rows.extend(delta.come.iter().map(|package| (package.clone(), revision, None)));
    }

    /// Reads a revision from rows.
    fn at(rows: &[Row], revision: usize) -> Snapshot {
        let is_there = |(_, since, until): &&Row| {
            *since <= revision && until.is_none_or(|until| until > revision)
        };
        let packages = rows.iter().filter(is_there).map(|(package, _, _)| package.clone());
        Snapshot::from_packages(packages.collect()).unwrap()
    }

    /// The change of a channel: a build is added, packages are signed again, withheld from an
    /// architecture, or withdrawn.
    fn changed(snapshot: &Snapshot, what: u8, build: &[SnapshotPackage]) -> Snapshot {
        let first = snapshot.packages().first().map(|package| package.nevra.clone());
        let is_first = |nevra: &Nevra| first.as_ref() == Some(nevra);
        match what {
            0 => {
                let anew = Sha256::compute(b"anew");
                snapshot.clone().signed_anew(|nevra| is_first(nevra).then_some(anew))
            }
            1 => {
                let held = first.into_iter().map(|nevra| (nevra, vec![Arch::Aarch64])).collect();
                snapshot.clone().with_held(&held)
            }
            2 => {
                let gone = snapshot.packages().iter().filter(|package| is_first(&package.nevra));
                let gone = gone.map(|package| (package.nevra.clone(), package.source.clone()));
                snapshot.clone().without(&gone.collect())
            }
            _ => snapshot.with_build(build, ONE).unwrap_or_else(|_| snapshot.clone()),
        }
    }

    proptest! {
        #[test]
        fn rows_of_deltas_are_every_snapshot(
            builds in builds(),
            what in prop::collection::vec(0..8_u8, 12),
        ) {
            let (mut rows, mut all) = (Vec::new(), vec![Snapshot::default()]);
            for (build, what) in builds.iter().zip(what) {
                let last = all.last().unwrap();
                let next = changed(last, what, build);
                apply(&mut rows, all.len(), &last.delta_to(&next));
                all.push(next);
            }
            for (revision, snapshot) in all.iter().enumerate() {
                prop_assert_eq!(&at(&rows, revision), snapshot);
                prop_assert_eq!(snapshot.delta_to(snapshot), SnapshotDelta::default());
            }
        }

        #[test]
        fn the_order_of_builds_does_not_matter(builds in builds(), keep in 1..4_usize) {
            let keep = NonZeroUsize::new(keep).unwrap();
            let add = |builds: &mut dyn Iterator<Item = &Vec<SnapshotPackage>>| {
                builds.fold(Snapshot::default(), |s, b| s.with_build(b, keep).unwrap())
            };
            let snapshot = add(&mut builds.iter());
            prop_assert_eq!(&add(&mut builds.iter().rev()), &snapshot);
            for name in ["p0", "p1", "p2"] {
                let kept: BTreeSet<_> = snapshot.packages().iter()
                    .filter(|p| p.source.name == name).map(|p| p.source.evr.clone()).collect();
                let all: BTreeSet<_> = builds.iter().flatten()
                    .filter(|p| p.source.name == name).map(|p| p.source.evr.clone()).collect();
                let latest: BTreeSet<_> = all.iter().rev().take(keep.get()).cloned().collect();
                prop_assert_eq!(kept, latest);
            }
        }

        #[test]
        fn a_diff_accounts_for_every_package(before in builds(), after in builds()) {
            let keep = NonZeroUsize::new(2).unwrap();
            let add = |builds: Vec<Vec<SnapshotPackage>>| {
                builds.iter().fold(Snapshot::default(), |s, b| s.with_build(b, keep).unwrap())
            };
            let (before, after) = (add(before), add(after));
            let diff = before.diff(&after);
            let gone: HashSet<_> =
                diff.removed.iter().chain(diff.changed.iter().map(|c| &c.from)).collect();
            let come = diff.added.iter().chain(diff.changed.iter().map(|c| &c.to));
            let mut result: Vec<_> = before.packages().iter().map(|p| &p.nevra)
                .filter(|n| !gone.contains(n)).chain(come).map(Nevra::to_string).collect();
            result.sort();
            let mut expected = names(&after);
            expected.sort();
            prop_assert_eq!(result, expected);
        }
    }
}
