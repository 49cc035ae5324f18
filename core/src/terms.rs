//! The terms of a spec on one architecture: what rpm answers when it reads the spec with that
//! architecture as its target (`rpmspec --target`).
//!
//! Owns the form in which a worker reports these answers, which architectures build a package, and
//! in whose repositories its `noarch` packages are. It must not know who asked rpm.
//!
//! The task of an SRPM asks rpm; the answers are in the column `srpms.terms`. Requirements that
//! depend on the machine are found by the worker, in the same rounds as those of
//! `%generate_buildrequires`. A task of kind `noarch` exists for `ExclusiveArch: noarch x86_64`.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde::{Deserialize, Serialize};

use crate::Arch;
use crate::noarch::{self, NOARCH};
use crate::task::TaskKind;

/// The terms of a spec for one rpm target.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Terms {
    /// Its build requirements, as rpm prints them, without those that rpm provides itself.
    pub requires: Vec<String>,
    /// Packages that must not be in its root (`BuildConflicts`).
    pub conflicts: Vec<String>,
    /// Names of the binary packages that it makes.
    pub predicts: Vec<String>,
    /// Names that the spec says these packages provide and obsolete.
    pub provides: Vec<String>,
    /// `ExclusiveArch`; empty when the spec has none.
    pub exclusive: Vec<String>,
    /// `ExcludeArch`; empty when the spec has none.
    pub excluded: Vec<String>,
    /// Whether the whole package says `BuildArch: noarch`.
    pub noarch: bool,
}

/// The terms of a spec by rpm target: an architecture, or [`NOARCH`].
pub type AllTerms = BTreeMap<String, Terms>;

/// The words that begin and end rpm's answers for one target.
const TARGET: &str = "target";
const END: &str = "end";

/// Reads the answers, one on each line after a word that says what it is: `target ARCH` begins
/// those of a target, `end` ends them. A target whose answers do not end is left out, because rpm
/// could not read the spec with it.
#[must_use]
pub fn parse(text: &str) -> AllTerms {
    let mut all = AllTerms::new();
    let mut current: Option<(String, Terms)> = None;
    // As in a source package's header, which has no duplicates.
    let mut seen = HashSet::new();
    for line in text.lines() {
        let (word, value) = line.split_once(' ').unwrap_or((line, ""));
        let value = value.trim();
        match (word, &mut current) {
            (TARGET, _) => {
                current = Some((value.to_owned(), Terms::default()));
                seen.clear();
            }
            (END, current) => all.extend(current.take()),
            (_, Some((_, terms))) if !value.is_empty() && seen.insert((word, value)) => {
                terms.add(word, value);
            }
            _ => {}
        }
    }
    all
}

impl Terms {
    fn add(&mut self, word: &str, value: &str) {
        let list = match word {
            "requires" if value.starts_with("rpmlib(") => return,
            "requires" => &mut self.requires,
            "conflicts" => &mut self.conflicts,
            "makes" => &mut self.predicts,
            "provides" => &mut self.provides,
            "exclusive" => &mut self.exclusive,
            "excluded" => &mut self.excluded,
            "builds" => {
                self.noarch |= value == NOARCH;
                return;
            }
            _ => return,
        };
        list.push(value.to_owned());
    }

    /// Whether `ExclusiveArch` and `ExcludeArch` allow this architecture. `ExclusiveArch: noarch`
    /// means that a package has no architecture, not where it is built.
    #[must_use]
    pub fn builds_on(&self, arch: Arch) -> bool {
        let names = |words: &[String]| words.iter().any(|word| word == arch.as_str());
        let only_noarch = self.exclusive.iter().all(|word| word == NOARCH);
        (only_noarch || names(&self.exclusive)) && !names(&self.excluded)
    }

    /// Whether the spec must be built again with rpm's target `noarch`: it has architectures, and
    /// names `noarch` beside them in `ExclusiveArch` (EL's kernel makes kernel-doc so). Koji has a
    /// task of its own for that.
    fn has_noarch_pass(&self) -> bool {
        let names = |words: &[String]| words.iter().any(|word| word == NOARCH);
        !self.noarch && names(&self.exclusive) && !names(&self.excluded)
    }
}

/// The architectures whose repositories leave out the `noarch` packages of a source package,
/// because of its `ExclusiveArch` and `ExcludeArch`: their requirements may be missing there. It is
/// the rule of pungi as distributions configure it: `noarch` in `ExclusiveArch` beside others names
/// no architecture; alone it names all. Where the lists are unknown, no architecture leaves them
/// out.
#[must_use]
pub fn without_noarch(all: &AllTerms) -> Vec<Arch> {
    let of = |arch: Arch| all.get(arch.as_str()).or_else(|| all.values().next());
    let is_without = |arch: &Arch| of(*arch).is_some_and(|terms| !terms.builds_on(*arch));
    Arch::ALL.into_iter().filter(is_without).collect()
}

/// The build tasks of a package: one for each `wanted` architecture that it allows; a single one
/// for a package that has no architecture; and one of kind [`TaskKind::Noarch`] where the spec
/// wants a build for `noarch` that makes packages which no architecture makes. `native` are the
/// architectures that some worker runs without emulation. `terms` has all wanted architectures, or
/// those of the source package's header.
#[must_use]
pub fn tasks<'a>(
    wanted: &[Arch],
    native: &[Arch],
    terms: impl Fn(Arch) -> &'a Terms,
    in_noarch: Option<&Terms>,
) -> Vec<(TaskKind, Arch)> {
    let allowed: Vec<Arch> =
        wanted.iter().copied().filter(|arch| terms(*arch).builds_on(*arch)).collect();
    let all_noarch = allowed.iter().all(|arch| terms(*arch).noarch);
    // `ExclusiveArch: noarch` without `BuildArch: noarch`: rpm refuses every architecture.
    let only_in_noarch = |arch: &Arch| {
        let Terms { exclusive, noarch, .. } = terms(*arch);
        in_noarch.is_some()
            && !noarch
            && !exclusive.is_empty()
            && exclusive.iter().all(|word| word == NOARCH)
    };
    let on_arches: Vec<Arch> =
        allowed.iter().copied().filter(|arch| !only_in_noarch(arch)).collect();
    let on_arches = noarch::build_on(&on_arches, all_noarch, native);
    let made: BTreeSet<&String> =
        on_arches.iter().flat_map(|arch| &terms(*arch).predicts).collect();
    let wants_pass = allowed.iter().any(|arch| terms(*arch).has_noarch_pass());
    let pass = in_noarch
        .filter(|terms| wants_pass && terms.predicts.iter().any(|name| !made.contains(name)))
        .and_then(|_| noarch::build_on(&allowed, true, native).first().copied());
    let builds = on_arches.into_iter().map(|arch| (TaskKind::Build, arch));
    builds.chain(pass.map(|arch| (TaskKind::Noarch, arch))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use Arch::{Aarch64, Ppc64le, X86_64};

    fn words(list: &[&str]) -> Vec<String> {
        list.iter().map(|word| (*word).to_owned()).collect()
    }

    fn lists(exclusive: &[&str], excluded: &[&str]) -> Terms {
        Terms {
            exclusive: words(exclusive),
            excluded: words(excluded),
            predicts: words(&["a"]),
            ..Terms::default()
        }
    }

    #[test]
    fn the_answers_of_rpm_are_read_by_target() {
        let text = "target aarch64\nrequires gcc(aarch-64)\nrequires gcc(aarch-64)\n\
                    requires rpmlib(CompressedFileNames) <= 3.0.4-1\nrequires  cmake >= 3\n(none)\n\
                    conflicts foo\nexclusive noarch\nexcluded s390x\nbuilds noarch\nmakes a\n\
                    makes a-doc\nprovides a-static\nend\ntarget ppc64le\nrequires x\ntarget noarch\nmakes d\nend\n";
        let all = parse(text);
        assert_eq!(all.keys().collect::<Vec<_>>(), ["aarch64", "noarch"], "ppc64le has no end");
        let terms = &all["aarch64"];
        assert_eq!(terms.requires, ["gcc(aarch-64)", "cmake >= 3"]);
        assert_eq!(terms.conflicts, ["foo"]);
        assert_eq!(terms.predicts, ["a", "a-doc"]);
        assert_eq!(terms.provides, ["a-static"]);
        assert_eq!((&*terms.exclusive[0], &*terms.excluded[0]), ("noarch", "s390x"));
        assert!(terms.noarch && !all["noarch"].noarch);
        assert_eq!(parse("requires lost\nend\n"), AllTerms::new());
    }

    #[test]
    fn lists_of_architectures_choose_who_builds() {
        let on =
            |terms: &Terms| Arch::ALL.into_iter().filter(|arch| terms.builds_on(*arch)).count();
        assert_eq!(on(&lists(&[], &[])), 3);
        assert_eq!(on(&lists(&["x86_64", "s390x"], &[])), 1);
        assert_eq!(on(&lists(&[], &["x86_64", "i686"])), 2);
        assert_eq!(on(&lists(&["noarch"], &["x86_64"])), 2);
        assert_eq!(on(&lists(&["s390x"], &[])), 0);
        assert_eq!(on(&lists(&["x86_64"], &["x86_64"])), 0);
    }

    #[test]
    fn tasks_are_those_of_koji() {
        let all = Arch::ALL;
        let of = |terms: &Terms, in_noarch: Option<&Terms>| {
            tasks(&all, &[Aarch64], |_| terms, in_noarch)
        };
        let build = |arch| (TaskKind::Build, arch);
        assert_eq!(of(&lists(&[], &[]), None), [build(X86_64), build(Aarch64), build(Ppc64le)]);
        let noarch = Terms { noarch: true, ..lists(&["noarch", "x86_64", "ppc64le"], &[]) };
        assert_eq!(of(&noarch, None), [build(X86_64)], "aarch64 is native and not allowed");
        assert_eq!(of(&noarch, Some(&noarch)), [build(X86_64)], "no pass beside it");

        let kernel = lists(&["noarch", "x86_64", "aarch64"], &[]);
        let doc = Terms { predicts: words(&["a-doc"]), ..kernel.clone() };
        let pass = (TaskKind::Noarch, Aarch64);
        assert_eq!(of(&kernel, Some(&doc)), [build(X86_64), build(Aarch64), pass]);
        assert_eq!(of(&kernel, None).len(), 2, "of an old worker nothing is known");
        let excluded = lists(&["noarch", "x86_64"], &["noarch"]);
        assert_eq!(of(&excluded, Some(&doc)), [build(X86_64)]);
        // Whatever it would make in the pass is made on the architectures.
        assert_eq!(of(&kernel, Some(&kernel)).len(), 2);
        // No architecture of its own, and no `BuildArch: noarch` either.
        assert_eq!(of(&lists(&["noarch"], &[]), Some(&doc)), [pass]);
        assert_eq!(of(&lists(&["s390x", "noarch"], &[]), Some(&doc)), []);
    }

    #[test]
    fn noarch_packages_are_where_their_source_package_wants_them() {
        let without = |exclusive: &[&str], excluded: &[&str]| {
            without_noarch(&[("x86_64".to_owned(), lists(exclusive, excluded))].into())
        };
        assert_eq!(without(&[], &[]), []);
        assert_eq!(without(&["x86_64", "noarch"], &[]), [Aarch64, Ppc64le]);
        assert_eq!(without(&["noarch"], &[]), []);
        assert_eq!(without(&["noarch"], &["ppc64le"]), [Ppc64le]);
        let java = ["aarch64", "ppc64le", "s390x", "x86_64", "noarch"];
        assert_eq!(without(&java, &[]), []);
        assert_eq!(without(&[], &["aarch64", "i686"]), [Aarch64]);
        assert_eq!(without_noarch(&AllTerms::new()), []);
        // Each architecture has its own list.
        let all =
            [("x86_64".to_owned(), lists(&[], &[])), ("aarch64".into(), lists(&[], &["aarch64"]))];
        assert_eq!(without_noarch(&all.into()), [Aarch64]);
    }

    #[test]
    fn each_architecture_is_asked_for_itself() {
        // `%ifarch aarch64` around an ExcludeArch, and around a BuildArch.
        let here = lists(&[], &[]);
        let there = lists(&[], &["aarch64"]);
        let of = |arch| if arch == Aarch64 { &there } else { &here };
        let kinds = tasks(&[X86_64, Aarch64], &[], of, None);
        assert_eq!(kinds, [(TaskKind::Build, X86_64)]);
        let there = Terms { noarch: true, ..here.clone() };
        let of = |arch| if arch == Aarch64 { &there } else { &here };
        let kinds = tasks(&[X86_64, Aarch64], &[], of, None);
        assert_eq!(kinds, [(TaskKind::Build, X86_64), (TaskKind::Build, Aarch64)]);
    }
}
