//! Packages whose requirements are not to be had in the repositories of an architecture.
//!
//! Owns what follows from that for `noarch` packages, which are made once and shown everywhere: one
//! that requires a package of another architecture would break whoever installs it. It must not know
//! how requirements are looked up.

use std::collections::{BTreeMap, HashMap};

use crate::{Arch, Nevra};

/// What packages lack in the repositories of one architecture: a requirement that nobody provides
/// there, for each.
pub type Lacks = HashMap<Nevra, String>;

/// What is decided about packages that lack something.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Held {
    /// Packages that are kept from the repositories of these architectures.
    pub from: HashMap<Nevra, Vec<Arch>>,
    /// Packages that lack something on every architecture that would show them, with what: they are
    /// shown, for it may come from a repository that the target does not know, or later.
    pub everywhere: Lacks,
}

/// A package that lacks something in the repositories of an architecture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LackingPackage {
    /// The package.
    pub nevra: Nevra,
    /// The architecture; `None` when it is lacking on all, and the package is shown nevertheless.
    pub arch: Option<Arch>,
    /// What nobody provides there, as rpm prints it.
    pub requirement: String,
}

impl Held {
    /// What people are told of it, by package and architecture. `lacks` are those that it follows from.
    #[must_use]
    pub fn told(&self, lacks: &BTreeMap<Arch, Lacks>) -> Vec<LackingPackage> {
        let kept = self.from.iter().flat_map(|(nevra, arches)| {
            arches.iter().filter_map(|arch| {
                let requirement = lacks.get(arch)?.get(nevra)?.clone();
                Some(LackingPackage { nevra: nevra.clone(), arch: Some(*arch), requirement })
            })
        });
        let everywhere = self.everywhere.iter().map(|(nevra, requirement)| LackingPackage {
            nevra: nevra.clone(),
            arch: None,
            requirement: requirement.clone(),
        });
        let mut all: Vec<LackingPackage> = kept.chain(everywhere).collect();
        all.sort_by_cached_key(|lacking| (lacking.nevra.to_string(), lacking.arch));
        all
    }
}

/// Decides about `noarch` packages. `lacks` has each architecture of a target with what the packages
/// that it would show lack there; `shows` says whether it would show a package.
#[must_use]
pub fn held(lacks: &BTreeMap<Arch, Lacks>, shows: impl Fn(&Nevra, Arch) -> bool) -> Held {
    let mut held = Held::default();
    for (arch, of_arch) in lacks {
        for (nevra, requirement) in of_arch {
            let fine = lacks
                .iter()
                .any(|(other, of_other)| shows(nevra, *other) && !of_other.contains_key(nevra));
            if fine {
                held.from.entry(nevra.clone()).or_default().push(*arch);
            } else {
                held.everywhere.entry(nevra.clone()).or_insert_with(|| requirement.clone());
            }
        }
    }
    held
}

#[cfg(test)]
mod tests {
    use super::*;
    use Arch::{Aarch64, Ppc64le, X86_64};

    #[test]
    fn a_package_is_kept_from_where_it_cannot_be_installed() {
        let nevra = |name: &str| -> Nevra { format!("{name}-1-1.noarch").parse().unwrap() };
        let lacks = |names: &[&str]| -> Lacks {
            names.iter().map(|name| (nevra(name), "jit".to_owned())).collect()
        };
        let all = BTreeMap::from([
            (X86_64, lacks(&["never"])),
            (Aarch64, lacks(&["never", "script", "one-sided"])),
            (Ppc64le, lacks(&["never"])),
        ]);
        // `one-sided` is shown on aarch64 alone, by the word of its source package.
        let shows = |one: &Nevra, arch| one.name != "one-sided" || arch == Aarch64;
        let found = held(&all, shows);
        assert_eq!(found.from, HashMap::from([(nevra("script"), vec![Aarch64])]));
        assert_eq!(found.everywhere, lacks(&["never", "one-sided"]));
        let told: Vec<_> =
            found.told(&all).into_iter().map(|one| (one.nevra.name, one.arch)).collect();
        let expected = [("never", None), ("one-sided", None), ("script", Some(Aarch64))];
        assert_eq!(told, expected.map(|(name, arch)| (name.to_owned(), arch)));
        assert_eq!(held(&BTreeMap::new(), |_, _| true), Held::default());
    }
}
