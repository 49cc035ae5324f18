//! The repositories that a target publishes its packages in, when it names several.
//!
//! Owns which of them each package of a snapshot is in, by the rules of the target file
//! (docs/decisions/0031). A package is in one repository, or in none: then no rule names it, and
//! people are shown that. It must not know of files, repodata or architectures.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use crate::snapshot::{RepositoryKind, SnapshotPackage, debugged};
use crate::{Nevra, glob};

/// One of the repositories that a target's channels consist of, `[[published_repositories]]`, with
/// the rules for what is in it.
///
/// A binary package is in the first repository of which `packages` matches its name; else in the
/// first of which `sources` matches the name of its source package; else in the one with `rest`. So
/// `packages` are exceptions from `sources`, wherever they stand in the file. A debug package is
/// where the package is that it belongs to, and a source package where its main package is; the
/// patterns are not compared with these.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishedRepository {
    /// Its name in paths, addresses and `.repo` files, as `BaseOS`: letters, digits, `.`, `_` and
    /// `-`.
    pub name: String,

    /// Names of binary packages, as patterns with `*`, `?` and `[…]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub packages: Vec<String>,

    /// Names of source packages whose binary packages are in this repository, as patterns.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<String>,

    /// Takes every package that no rule names. Without such a repository these packages are in
    /// none, until a rule names them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rest: bool,
}

/// A package of a snapshot that no rule names: it is in no repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnplacedPackage {
    pub nevra: Nevra,
    /// The source package that it was built from.
    pub source: Nevra,
}

/// The rules of all repositories of a target, ready to be applied.
#[derive(Debug)]
pub struct PlacementRules<'a> {
    packages: NameRules<'a>,
    sources: NameRules<'a>,
    rest: Option<usize>,
}

/// Names and patterns, each with the place of its repository in the list.
#[derive(Debug, Default)]
struct NameRules<'a> {
    /// Names without wildcards: thousands of them cost no more than one.
    names: HashMap<&'a str, usize>,
    /// Patterns with their text before the first wildcard, in the order of the repositories.
    patterns: Vec<(&'a str, &'a str, usize)>,
}

/// The repositories of a source's binary packages, without debug packages, by their names. `None`
/// for a package in no repository.
type PlacesOfSource<'a> = BTreeMap<&'a str, Option<usize>>;

/// Whether a text is a pattern, and not the name of one package.
pub(crate) fn has_wildcard(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

impl<'a> NameRules<'a> {
    fn new(lists: impl Iterator<Item = &'a [String]>) -> Self {
        let mut rules = Self::default();
        for (place, list) in lists.enumerate() {
            for text in list {
                match text.find(['*', '?', '[']) {
                    Some(at) => rules.patterns.push((&text[..at], text, place)),
                    None => {
                        rules.names.entry(text).or_insert(place);
                    }
                }
            }
        }
        rules
    }

    /// The first repository with a rule for a name.
    fn find(&self, name: &str) -> Option<usize> {
        let matches = |(before, pattern, _): &&(&str, &str, usize)| {
            name.starts_with(before) && glob::is_like(pattern, name)
        };
        let by_pattern = self.patterns.iter().find(matches).map(|(_, _, place)| *place);
        let by_name = self.names.get(name).copied();
        by_name.into_iter().chain(by_pattern).min()
    }
}

impl<'a> PlacementRules<'a> {
    /// The rules of these repositories, in their order.
    #[must_use]
    pub fn new(repositories: &'a [PublishedRepository]) -> Self {
        Self {
            packages: NameRules::new(repositories.iter().map(|one| one.packages.as_slice())),
            sources: NameRules::new(repositories.iter().map(|one| one.sources.as_slice())),
            rest: repositories.iter().position(|one| one.rest),
        }
    }

    /// For each of the packages the place of its repository in the list; `None` for one that no
    /// rule names. The packages are all of a snapshot: where debug and source packages are depends
    /// on the others of the same source.
    #[must_use]
    pub fn place(&self, packages: &[SnapshotPackage]) -> Vec<Option<usize>> {
        let mut by_source: HashMap<&Nevra, PlacesOfSource<'_>> = HashMap::new();
        for SnapshotPackage { nevra, source, .. } in packages {
            if RepositoryKind::for_package(nevra) == RepositoryKind::Binary {
                let places = by_source.entry(source).or_default();
                let by_rule = || self.by_rule(&nevra.name, &source.name);
                places.entry(&nevra.name).or_insert_with(by_rule);
            }
        }
        let none = PlacesOfSource::new();
        let place = |package: &SnapshotPackage| {
            let places = by_source.get(&package.source).unwrap_or(&none);
            self.place_among(package, places)
        };
        packages.iter().map(place).collect()
    }

    /// The place of a package, by those of the binary packages of its source.
    fn place_among(&self, package: &SnapshotPackage, places: &PlacesOfSource<'_>) -> Option<usize> {
        let SnapshotPackage { nevra, source, .. } = package;
        let of_name = |name: &str| places.get(name).copied();
        let followed = match RepositoryKind::for_package(nevra) {
            RepositoryKind::Binary => of_name(&nevra.name),
            RepositoryKind::Debug => debugged(&nevra.name).and_then(of_name),
            RepositoryKind::Source => None,
        };
        followed.unwrap_or_else(|| self.home(&source.name, places))
    }

    /// The place of a source package: that of its main package, which has its name, else the first
    /// that has one of its packages. One without packages is where a package of its name would be.
    fn home(&self, source: &str, places: &PlacesOfSource<'_>) -> Option<usize> {
        if places.is_empty() {
            return self.by_rule(source, source);
        }
        let main = places.get(source).copied().flatten();
        main.or_else(|| places.values().flatten().min().copied())
    }

    fn by_rule(&self, name: &str, source: &str) -> Option<usize> {
        self.packages.find(name).or_else(|| self.sources.find(source)).or(self.rest)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Sha256;
    use crate::snapshot::ExcludedArches;

    fn package(nevra: &str, source: &str) -> SnapshotPackage {
        SnapshotPackage {
            nevra: nevra.parse().unwrap(),
            digest: Sha256::compute(nevra.as_bytes()),
            source: format!("{source}-1-1.src").parse().unwrap(),
            without: ExcludedArches::default(),
        }
    }

    fn repository(name: &str, packages: &[&str], sources: &[&str]) -> PublishedRepository {
        let texts = |all: &[&str]| all.iter().map(|text| (*text).to_owned()).collect();
        PublishedRepository {
            name: name.into(),
            packages: texts(packages),
            sources: texts(sources),
            rest: false,
        }
    }

    /// The repositories of an Enterprise Linux.
    fn split() -> Vec<PublishedRepository> {
        vec![
            repository("BaseOS", &["python3-libs"], &["bash", "kernel*"]),
            PublishedRepository {
                rest: true,
                ..repository("AppStream", &["kernel-rt*"], &["python3"])
            },
            repository("CRB", &["*-devel", "glibc-static"], &[]),
        ]
    }

    /// The repositories of packages, by their NAME.ARCH.
    fn places(
        repositories: &[PublishedRepository],
        packages: &[SnapshotPackage],
    ) -> BTreeMap<String, String> {
        let places = PlacementRules::new(repositories).place(packages);
        let name = |place: Option<usize>| {
            place.map_or_else(|| "none".to_owned(), |place| repositories[place].name.clone())
        };
        let keys = packages.iter().map(|one| format!("{}.{}", one.nevra.name, one.nevra.arch));
        keys.zip(places.into_iter().map(name)).collect()
    }

    #[test]
    fn names_of_packages_go_before_names_of_sources_and_these_before_the_rest() {
        let packages: Vec<SnapshotPackage> = [
            ("bash", "bash"),
            ("bash-devel", "bash"),
            ("python3", "python3"),
            ("python3-libs", "python3"),
            ("kernel-core", "kernel"),
            ("kernel-rt-core", "kernel"),
            ("hello", "hello"),
        ]
        .map(|(name, source)| package(&format!("{name}-1-1.x86_64"), source))
        .to_vec();
        let found = places(&split(), &packages);
        for (name, place) in [
            ("bash", "BaseOS"),
            ("bash-devel", "CRB"),
            ("python3", "AppStream"),
            ("python3-libs", "BaseOS"),
            ("kernel-core", "BaseOS"),
            ("kernel-rt-core", "AppStream"),
            ("hello", "AppStream"),
        ] {
            assert_eq!(found[&format!("{name}.x86_64")], place, "{name}");
        }
        let mut without_rest = split();
        without_rest[1].rest = false;
        let found = places(&without_rest, &packages);
        assert_eq!(found["hello.x86_64"], "none");
        assert_eq!(found["python3.x86_64"], "AppStream");
        // The first of two patterns, be it the longer one or not.
        let twice = [repository("one", &["a*"], &[]), repository("two", &["ab"], &[])];
        let found = places(&twice, &[package("ab-1-1.noarch", "x")]);
        assert_eq!(found["ab.noarch"], "one");
    }

    #[test]
    fn debug_packages_follow_theirs_and_a_source_package_its_main_one() {
        let python: Vec<SnapshotPackage> = [
            "python3-1-1.src",
            "python3-1-1.x86_64",
            "python3-libs-1-1.x86_64",
            "python3-debuginfo-1-1.x86_64",
            "python3-libs-debuginfo-1-1.x86_64",
            "python3-debugsource-1-1.x86_64",
            "python3-devel-1-1.x86_64",
        ]
        .map(|nevra| package(nevra, "python3"))
        .to_vec();
        let found = places(&split(), &python);
        assert_eq!(found["python3-libs-debuginfo.x86_64"], "BaseOS");
        for name in ["python3.src", "python3-debuginfo.x86_64", "python3-debugsource.x86_64"] {
            assert_eq!(found[name], "AppStream", "{name}");
        }
        // Without a package of the source's name, the first repository with one of its packages;
        // a debug package that belongs to none of the packages goes there, too.
        let kernel: Vec<SnapshotPackage> = [
            "kernel-1-1.src",
            "kernel-devel-1-1.x86_64",
            "kernel-core-1-1.x86_64",
            "kernel-rt-core-1-1.x86_64",
            "kernel-core-debuginfo-1-1.x86_64",
            "kernel-rt-core-debuginfo-1-1.x86_64",
            "kernel-debuginfo-common-x86_64-1-1.x86_64",
        ]
        .map(|nevra| package(nevra, "kernel"))
        .to_vec();
        let found = places(&split(), &kernel);
        assert_eq!(found["kernel-rt-core-debuginfo.x86_64"], "AppStream");
        for name in ["kernel.src", "kernel-core-debuginfo.x86_64"] {
            assert_eq!(found[name], "BaseOS", "{name}");
        }
        assert_eq!(found["kernel-debuginfo-common-x86_64.x86_64"], "BaseOS");
        // Rules are not compared with debug packages, and what is held takes its debug package
        // along.
        let one = [repository("one", &["a-*", "b"], &[])];
        let of_a = ["a-1-1.noarch", "a-debuginfo-1-1.noarch", "b-1-1.noarch", "a-1-1.src"]
            .map(|nevra| package(nevra, "a"));
        let found = places(&one, &of_a);
        assert_eq!(
            (found["a.noarch"].as_str(), found["a-debuginfo.noarch"].as_str()),
            ("none", "none")
        );
        assert_eq!(found["a.src"], "one", "with b, where clients look for its source");
        let alone = [package("a-1-1.src", "a")];
        assert_eq!(places(&split(), &alone)["a.src"], "AppStream");
        assert_eq!(places(&one, &alone)["a.src"], "none");
    }

    const NAMES: [&str; 4] = ["a", "ab", "b", "c"];

    fn packages() -> impl Strategy<Value = Vec<SnapshotPackage>> {
        let suffix = prop::sample::select(vec!["", "-libs", "-debuginfo", "-debugsource"]);
        let arch = prop::sample::select(vec!["x86_64", "aarch64", "noarch", "src"]);
        let one =
            (prop::sample::select(&NAMES[..]), suffix, arch, prop::sample::select(&NAMES[..]))
                .prop_map(|(name, suffix, arch, source)| match arch {
                    "src" => package(&format!("{source}-1-1.src"), source),
                    _ => package(&format!("{name}{suffix}-1-1.{arch}"), source),
                });
        prop::collection::vec(one, 0..20)
    }

    fn repositories() -> impl Strategy<Value = Vec<PublishedRepository>> {
        let pattern = prop::sample::select(vec!["a", "ab", "a*", "*-libs", "b?libs", "c", "*"]);
        let patterns = || prop::collection::vec(pattern.clone().prop_map(str::to_owned), 0..3);
        let one = (patterns(), patterns());
        (prop::collection::vec(one, 1..4), 0..6_usize).prop_map(|(all, rest)| {
            let all = all.into_iter().enumerate();
            all.map(|(place, (packages, sources))| PublishedRepository {
                name: format!("r{place}"),
                packages,
                sources,
                rest: place == rest,
            })
            .collect()
        })
    }

    proptest! {
        #[test]
        fn each_package_is_in_one_repository_or_in_none_because_no_rule_names_it(
            packages in packages(),
            repositories in repositories(),
        ) {
            let places = PlacementRules::new(&repositories).place(&packages);
            prop_assert_eq!(places.len(), packages.len());
            let by_hand = |list: &[String], name: &str| {
                list.iter().any(|pattern| glob::is_like(pattern, name))
            };
            for (package, place) in packages.iter().zip(places) {
                prop_assert!(place.is_none_or(|place| place < repositories.len()));
                let (name, source) = (&package.nevra.name, &package.source.name);
                let rest = repositories.iter().position(|one| one.rest);
                if RepositoryKind::for_package(&package.nevra) == RepositoryKind::Binary {
                    let expected = repositories
                        .iter()
                        .position(|one| by_hand(&one.packages, name))
                        .or_else(|| repositories.iter().position(|one| by_hand(&one.sources, source)))
                        .or(rest);
                    prop_assert_eq!(place, expected);
                }
                prop_assert!(place.is_some() || rest.is_none());
            }
        }

        #[test]
        fn the_order_of_packages_and_what_other_sources_have_do_not_matter(
            packages in packages(),
            repositories in repositories(),
        ) {
            let rules = PlacementRules::new(&repositories);
            let places = rules.place(&packages);
            let reversed: Vec<SnapshotPackage> = packages.iter().rev().cloned().collect();
            let again: Vec<Option<usize>> = rules.place(&reversed).into_iter().rev().collect();
            prop_assert_eq!(&again, &places);
            for name in NAMES {
                let of_it: Vec<usize> = (0..packages.len())
                    .filter(|at| packages[*at].source.name == name).collect();
                let alone: Vec<SnapshotPackage> =
                    of_it.iter().map(|at| packages[*at].clone()).collect();
                let expected: Vec<Option<usize>> = of_it.iter().map(|at| places[*at]).collect();
                prop_assert_eq!(rules.place(&alone), expected);
            }
        }
    }
}
