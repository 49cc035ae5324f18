//! Packages with requirements that nothing provides in the repositories of an architecture.
//!
//! Owns the consequence for `noarch` packages, which are made once and shown on all architectures:
//! a package that requires one of another architecture would be broken for its users. It must not
//! know how requirements are looked up.

use std::collections::{BTreeMap, HashMap};

use crate::{Arch, Nevra};

/// For each package, a requirement that nothing provides in the repositories of one architecture.
pub type MissingRequirements = HashMap<Nevra, String>;

/// The decision on packages with missing requirements.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WithheldPackages {
    /// Packages that are left out of the repositories of these architectures.
    pub from: HashMap<Nevra, Vec<Arch>>,
    /// Packages with a requirement that is missing on every architecture that would show them. They
    /// are shown nevertheless, because the requirement may be provided by a repository that the
    /// target does not know, or later.
    pub everywhere: MissingRequirements,
}

/// A package with a requirement that is missing in the repositories of an architecture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LackingPackage {
    pub nevra: Nevra,
    /// The architecture; `None` when the requirement is missing on all, and the package is shown
    /// nevertheless.
    pub arch: Option<Arch>,
    /// The requirement, as rpm prints it.
    pub requirement: String,
}

impl WithheldPackages {
    /// The list for people, by package and architecture. `lacks` are the missing requirements of
    /// each architecture.
    #[must_use]
    pub fn lacking_packages(
        &self,
        lacks: &BTreeMap<Arch, MissingRequirements>,
    ) -> Vec<LackingPackage> {
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

/// Decides about `noarch` packages. `lacks` has for each architecture of a target the missing
/// requirements of the packages that it would show; `shows` says whether it would show a package.
#[must_use]
pub fn held(
    lacks: &BTreeMap<Arch, MissingRequirements>,
    shows: impl Fn(&Nevra, Arch) -> bool,
) -> WithheldPackages {
    let mut held = WithheldPackages::default();
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
        let lacks = |names: &[&str]| -> MissingRequirements {
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
        let named: Vec<_> = found
            .lacking_packages(&all)
            .into_iter()
            .map(|one| (one.nevra.name, one.arch))
            .collect();
        let expected = [("never", None), ("one-sided", None), ("script", Some(Aarch64))];
        assert_eq!(named, expected.map(|(name, arch)| (name.to_owned(), arch)));
        assert_eq!(held(&BTreeMap::new(), |_, _| true), WithheldPackages::default());
    }
}
