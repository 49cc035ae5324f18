//! Debian's release as a graph.
//!
//! Of alternatives the first existing package is used; recommended packages are not installed.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::Path;

use anyhow::Context as _;

use super::distribution::{Distribution, Source};
use super::takes::takes_us;
use crate::apt::Apt;
use crate::cache::Cache;

/// Debian's name of the architecture.
const ARCH: &str = "amd64";
/// The packages of every build root beside those marked `Essential`.
const BASE: [&str; 2] = ["build-essential", "debhelper"];
const BUILD_DEPENDS: [&str; 3] = ["Build-Depends", "Build-Depends-Arch", "Build-Depends-Indep"];

/// Reads the release of the lab's recipes with apt.
pub(super) fn read() -> anyhow::Result<Distribution> {
    let apt = Apt::open(&Cache::open(None)?, ARCH, false)?;
    let (packages, sources) = apt.release_indexes(ARCH)?;
    Ok(distribution(&text(&packages)?, &text(&sources)?))
}

fn distribution(packages: &str, sources: &str) -> Distribution {
    let binaries = Binaries::read(packages);
    let mut requires: HashMap<&str, Vec<Vec<&str>>> = HashMap::new();
    for stanza in sources.split("\n\n").filter(|stanza| !field(stanza, "Package").is_empty()) {
        if field(stanza, "Extra-Source-Only") != "yes" {
            let fields = BUILD_DEPENDS.iter().flat_map(|name| clauses(stanza, name));
            requires.insert(field(stanza, "Package"), fields.collect());
        }
    }
    for binary in &binaries.all {
        requires.entry(binary.source).or_default();
    }
    let mut names: Vec<&str> = requires.keys().copied().collect();
    names.sort_unstable();
    with_roots(&binaries, &names, &requires)
}

fn with_roots(
    binaries: &Binaries<'_>,
    names: &[&str],
    requires: &HashMap<&str, Vec<Vec<&str>>>,
) -> Distribution {
    let number: HashMap<&str, usize> = names.iter().copied().zip(0..).collect();
    let mut sizes = vec![0_u64; names.len()];
    for binary in &binaries.all {
        sizes[number[binary.source]] += binary.size;
    }
    let base = binaries.base();
    let sources_of = |found: &BTreeSet<usize>| -> Vec<usize> {
        let sources = found.iter().map(|binary| number[binaries.all[*binary].source]);
        sources.collect::<BTreeSet<usize>>().into_iter().collect()
    };
    let source = |(name, takes_us): (&&str, i64)| {
        let picked = requires[*name].iter().filter_map(|clause| binaries.pick(clause));
        let beyond = sources_of(&binaries.closure(picked, &base));
        Source { name: (*name).to_owned(), takes_us, beyond }
    };
    let sources = names.iter().zip(takes_us(&sizes)).map(source).collect();
    Distribution { title: "Debian 12", sources, base: sources_of(&base) }
}

fn text(path: &Path) -> anyhow::Result<String> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// All binary packages, with their dependencies.
struct Binaries<'a> {
    all: Vec<Binary<'a>>,
    /// By name, and by provided names that no package has.
    by_name: HashMap<&'a str, usize>,
}

struct Binary<'a> {
    source: &'a str,
    name: &'a str,
    is_essential: bool,
    /// The installed size in KiB.
    size: u64,
    depends: Vec<Vec<&'a str>>,
}

impl<'a> Binaries<'a> {
    fn read(packages: &'a str) -> Self {
        let stanzas = || packages.split("\n\n").filter(|text| !field(text, "Package").is_empty());
        let all: Vec<Binary<'a>> = stanzas().map(Binary::read).collect();
        let mut by_name: HashMap<&str, usize> = all.iter().map(|one| one.name).zip(0..).collect();
        for (stanza, at) in stanzas().zip(0..) {
            for provided in clauses(stanza, "Provides").into_iter().flatten() {
                by_name.entry(provided).or_insert(at);
            }
        }
        Self { all, by_name }
    }

    /// The first existing alternative.
    fn pick(&self, alternatives: &[&str]) -> Option<usize> {
        alternatives.iter().find_map(|name| self.by_name.get(name)).copied()
    }

    /// The base root: the essential and the named packages, with all of their dependencies.
    fn base(&self) -> BTreeSet<usize> {
        let essential = (0..self.all.len()).filter(|at| self.all[*at].is_essential);
        let named = BASE.iter().filter_map(|name| self.by_name.get(name)).copied();
        self.closure(essential.chain(named), &BTreeSet::new())
    }

    /// These packages with all of their dependencies, without packages that are installed already.
    fn closure(
        &self,
        roots: impl Iterator<Item = usize>,
        there: &BTreeSet<usize>,
    ) -> BTreeSet<usize> {
        let mut found = BTreeSet::new();
        let mut due: Vec<usize> = roots.collect();
        while let Some(at) = due.pop() {
            if !there.contains(&at) && found.insert(at) {
                due.extend(self.all[at].depends.iter().filter_map(|clause| self.pick(clause)));
            }
        }
        found
    }
}

impl<'a> Binary<'a> {
    fn read(stanza: &'a str) -> Self {
        let name = field(stanza, "Package");
        // `Source: gcc-12 (12.2.0-14)`; absent when the names are the same.
        let source = field(stanza, "Source").split_whitespace().next().unwrap_or(name);
        let depends = ["Depends", "Pre-Depends"].iter().flat_map(|name| clauses(stanza, name));
        Self {
            source,
            name,
            is_essential: field(stanza, "Essential") == "yes",
            size: field(stanza, "Installed-Size").parse().unwrap_or(1),
            depends: depends.collect(),
        }
    }
}

/// A field of a stanza with the lines that continue it; empty when it is absent.
fn field<'a>(stanza: &'a str, name: &str) -> &'a str {
    let is_field = |at: &usize| {
        let begins_line = *at == 0 || stanza.as_bytes()[at - 1] == b'\n';
        begins_line && stanza[at + name.len()..].starts_with(':')
    };
    let Some(at) = stanza.match_indices(name).map(|(at, _)| at).find(is_field) else { return "" };
    let value = &stanza[at + name.len() + 1..];
    let mut ends = value.match_indices('\n').map(|(at, _)| at);
    let end = ends.find(|at| !value[at + 1..].starts_with([' ', '\t']));
    value[..end.unwrap_or(value.len())].trim()
}

/// The alternatives of each clause of a relation field that apply to this architecture.
fn clauses<'a>(stanza: &'a str, name: &str) -> Vec<Vec<&'a str>> {
    let clauses = field(stanza, name).split(',');
    let clauses = clauses.map(|clause| clause.split('|').filter_map(alternative).collect());
    clauses.filter(|alternatives: &Vec<&str>| !alternatives.is_empty()).collect()
}

/// `python3:any (>= 3.9) [amd64 !hurd-any] <!nocheck>`: the name, if the relation applies.
fn alternative(text: &str) -> Option<&str> {
    let text = text.trim();
    let end = text.find([' ', '(', ':', '[', '<', '\n']).unwrap_or(text.len());
    // Versions contain `<`, too.
    let rest = text.split_once(')').map_or(&text[end..], |(_, rest)| rest);
    let arches = rest.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    let is_of_arch = arches.is_none_or(|(arches, _)| counts_here(arches));
    // No build profile is active.
    let is_of_profile = rest.split_once('<').is_none_or(|(_, profiles)| profiles.contains('!'));
    (end > 0 && is_of_arch && is_of_profile).then(|| &text[..end])
}

fn counts_here(arches: &str) -> bool {
    const HERE: [&str; 4] = ["amd64", "any", "linux-any", "any-amd64"];
    let mut words = arches.split_whitespace();
    if arches.contains('!') {
        return words.filter_map(|word| word.strip_prefix('!')).all(|word| !HERE.contains(&word));
    }
    words.any(|word| HERE.contains(&word))
}

#[cfg(test)]
mod tests {
    use rpmfarm_core::batch::OrderMode;

    use super::*;

    #[test]
    fn relations_apply_by_architecture_and_profile() {
        for (text, name) in [
            ("libc6 (>= 2.36)", Some("libc6")),
            (" python3:any (>= 3.9) [amd64 arm64]", Some("python3")),
            ("x (<< 2) | y", Some("x")),
            ("x [arm64]", None),
            ("x [!amd64]", None),
            ("x [!hurd-any]", Some("x")),
            ("x <!nocheck>", Some("x")),
            ("x <cross>", None),
            ("", None),
        ] {
            assert_eq!(alternative(text), name, "{text}");
        }
    }

    #[test]
    fn a_root_has_the_requirements_with_their_dependencies() {
        let packages = "Package: bash\nEssential: yes\nDepends: libc6\n\n\
            Package: libc6\nSource: glibc (2.36)\nInstalled-Size: 12000\n\n\
            Package: libfoo-dev\nSource: foo\nDepends: libfoo1,\n libbar | nothing\nProvides: foo-dev\n\n\
            Package: libfoo1\nSource: foo\nDepends: libc6\n\n\
            Package: libbar\nSource: bar\n";
        let sources = "Package: app\nBuild-Depends: nothing | foo-dev (>= 1),\n gone\n\n\
            Package: foo\nBuild-Depends-Indep: libbar <!nodoc>\n\n\
            Package: glibc\n\n\
            Package: old\nExtra-Source-Only: yes\n";
        let all = distribution(packages, sources);
        let names: Vec<&str> = all.sources.iter().map(|source| source.name.as_str()).collect();
        assert_eq!(names, ["app", "bar", "bash", "foo", "glibc"]);
        let needs = |at: usize, mode| -> Vec<&str> {
            all.needs(at, mode).map(|need| all.name(need)).collect()
        };
        assert_eq!(needs(0, OrderMode::Requires), ["bar", "foo"]);
        assert_eq!(needs(0, OrderMode::Bootstrap), ["bar", "foo", "bash", "glibc"]);
        assert_eq!(needs(3, OrderMode::Requires), ["bar"]);
        assert!(all.sources.iter().all(|source| source.takes_us > 0));
    }
}
