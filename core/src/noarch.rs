//! Packages of no architecture: where they are built, which build of several counts, and whether
//! what each architecture made is the same.
//!
//! A package that is nothing but `noarch` is built once. A `noarch` subpackage of one that has
//! architectures is made by every one of their builds: one is taken, and all must agree, for
//! whoever installs it gets the one whatever their own architecture is.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{Arch, Failure, Fault};

/// The architecture word of such packages.
pub const NOARCH: &str = "noarch";

/// The architectures that a package is built on, of those that are `wanted`: all of them, or for
/// one that makes nothing but `noarch` packages the first that a worker runs natively. Where none
/// does, it is the first.
#[must_use]
pub fn build_on(wanted: &[Arch], all_noarch: bool, native: &[Arch]) -> Vec<Arch> {
    if !all_noarch {
        return wanted.to_vec();
    }
    let preferred = wanted.iter().find(|arch| native.contains(arch));
    preferred.or(wanted.first()).copied().into_iter().collect()
}

/// What a package consists of, without what depends on where and when it was built.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// Path → file.
    pub files: BTreeMap<String, File>,
    /// `requires`, `provides`, … → the package's, as rpm prints them.
    pub relations: BTreeMap<String, BTreeSet<String>>,
    /// Scriptlet or trigger → its text, with the program that runs it.
    pub scripts: BTreeMap<String, String>,
}

/// A file of a package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// Type and permissions, as stat(2) has them.
    pub mode: u16,
    /// `USER:GROUP`.
    pub owner: String,
    /// Capabilities, as the header has them; mostly empty.
    pub capabilities: String,
    /// rpm's flags: `%config`, `%doc`, `%ghost`, …
    pub flags: u32,
    /// Digest of a regular file, target of a symbolic link, empty for everything else.
    pub content: String,
}

/// What the build on one architecture made of `noarch` packages, by their NEVRA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// The architecture.
    pub arch: Arch,
    /// NEVRA → content.
    pub packages: BTreeMap<String, Content>,
}

/// One difference between two architectures.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    /// The file, or what else of the package differs.
    pub what: String,
    /// How it differs, with both architectures.
    pub how: String,
}

/// Compares what each architecture made with what the first one did.
#[must_use]
pub fn differences(made: &[Made]) -> Vec<Difference> {
    let Some((first, others)) = made.split_first() else { return Vec::new() };
    others.iter().flat_map(|other| compare(first, other)).collect()
}

fn compare(first: &Made, other: &Made) -> Vec<Difference> {
    let mut all = Vec::new();
    let arches = [first.arch, other.arch];
    for (nevra, sides) in sides(&first.packages, &other.packages) {
        match sides {
            (Some(first), Some(other)) => all.extend(compare_contents(nevra, arches, first, other)),
            (first, _) => all.push(one_sided(nevra.to_owned(), arches, first.is_some(), "is made")),
        }
    }
    all
}

fn compare_contents(
    nevra: &str,
    arches: [Arch; 2],
    first: &Content,
    other: &Content,
) -> Vec<Difference> {
    let [a, b] = arches;
    let mut all = Vec::new();
    for (path, sides) in sides(&first.files, &other.files) {
        let what = format!("{path} of {nevra}");
        match sides {
            (Some(first), Some(other)) if first == other => {}
            (Some(first), Some(other)) => {
                all.push(Difference { what, how: format!("{} ({a}, {b})", first.changed(other)) });
            }
            (first, _) => all.push(one_sided(what, arches, first.is_some(), "is there")),
        }
    }
    let none = BTreeSet::new();
    for (kind, sides) in sides(&first.relations, &other.relations) {
        let (first, other) = (sides.0.unwrap_or(&none), sides.1.unwrap_or(&none));
        for text in first.symmetric_difference(other) {
            let what = format!("{kind} `{text}` of {nevra}");
            all.push(one_sided(what, arches, first.contains(text), "is there"));
        }
    }
    for (name, sides) in sides(&first.scripts, &other.scripts) {
        if sides.0 != sides.1 {
            let how = format!("differs ({a}, {b})");
            all.push(Difference { what: format!("{name} of {nevra}"), how });
        }
    }
    all
}

impl File {
    /// What of it is not as in another one.
    fn changed(&self, other: &Self) -> String {
        let mut changed = Vec::new();
        if self.mode != other.mode {
            changed.push(format!("mode {:06o} and {:06o}", self.mode, other.mode));
        }
        if self.owner != other.owner {
            changed.push(format!("owner {} and {}", self.owner, other.owner));
        }
        if self.content != other.content {
            changed.push("content differs".to_owned());
        }
        if self.flags != other.flags {
            changed.push(format!("flags {} and {}", self.flags, other.flags));
        }
        if self.capabilities != other.capabilities {
            changed.push("capabilities differ".to_owned());
        }
        changed.join(", ")
    }
}

fn one_sided(what: String, [a, b]: [Arch; 2], on_first: bool, is: &str) -> Difference {
    let (on, off) = if on_first { (a, b) } else { (b, a) };
    Difference { what, how: format!("{is} on {on} and not on {off}") }
}

/// The values of both maps under each key of either.
fn sides<'a, V>(
    first: &'a BTreeMap<String, V>,
    other: &'a BTreeMap<String, V>,
) -> BTreeMap<&'a str, (Option<&'a V>, Option<&'a V>)> {
    let keys = first.keys().chain(other.keys());
    keys.map(|key| (key.as_str(), (first.get(key), other.get(key)))).collect()
}

/// Things that a failure's one line names; its excerpt has more.
const NAMED: usize = 3;
/// Lines of an excerpt.
const LINES: usize = 10;

/// The verdict on packages that are not the same everywhere; none when they are.
#[must_use]
pub fn verdict(made: &[Made]) -> Option<Failure> {
    let differences = differences(made);
    if differences.is_empty() {
        return None;
    }
    let mut named: Vec<&str> = Vec::new();
    for difference in &differences {
        if !named.contains(&difference.what.as_str()) {
            named.push(&difference.what);
        }
    }
    let more = named.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let message = format!(
        "noarch packages differ between architectures: {}{more}; make them the same, or packages \
         of their architectures",
        named[..named.len().min(NAMED)].join(", ")
    );
    let lines =
        differences.iter().map(|difference| format!("{}: {}", difference.what, difference.how));
    Some(Failure::new(Fault::Package, "accept", message).with_excerpt(lines.take(LINES).collect()))
}

/// Of packages that several architectures made, given as architecture and NEVRA, the places of
/// those that are taken: of each NEVRA the one of the first architecture in `order` that has it.
#[must_use]
pub fn taken(order: &[Arch], made: &[(Arch, String)]) -> Vec<usize> {
    let rank = |arch: Arch| order.iter().position(|one| *one == arch).unwrap_or(usize::MAX);
    let mut best = BTreeMap::<&str, usize>::new();
    for (index, (arch, nevra)) in made.iter().enumerate() {
        let kept = best.entry(nevra).or_insert(index);
        if rank(*arch) < rank(made[*kept].0) {
            *kept = index;
        }
    }
    let mut places: Vec<usize> = best.into_values().collect();
    places.sort_unstable();
    places
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use Arch::{Aarch64, Ppc64le, X86_64};

    fn file(content: &str) -> File {
        File {
            mode: 0o100_644,
            owner: "root:root".into(),
            capabilities: String::new(),
            flags: 0,
            content: content.into(),
        }
    }

    fn content(files: &[(&str, File)], requires: &[&str]) -> Content {
        Content {
            files: files.iter().map(|(path, file)| ((*path).to_owned(), file.clone())).collect(),
            relations: BTreeMap::from([(
                "requires".into(),
                requires.iter().map(|text| (*text).to_owned()).collect(),
            )]),
            scripts: BTreeMap::new(),
        }
    }

    fn made(arch: Arch, packages: &[(&str, Content)]) -> Made {
        let packages = packages.iter().map(|(nevra, c)| ((*nevra).to_owned(), c.clone())).collect();
        Made { arch, packages }
    }

    #[test]
    fn noarch_is_built_once_and_natively_where_that_can_be() {
        let all = Arch::ALL;
        assert_eq!(build_on(&all, false, &[X86_64]), all);
        assert_eq!(build_on(&all, true, &[]), [X86_64]);
        assert_eq!(build_on(&all, true, &[Ppc64le, Aarch64]), [Aarch64]);
        assert_eq!(build_on(&[Ppc64le], true, &[X86_64]), [Ppc64le]);
        assert!(build_on(&[], true, &[X86_64]).is_empty());
    }

    #[test]
    fn each_kind_of_difference_is_named() {
        let base = content(&[("/usr/share/a", file("1")), ("/usr/share/b", file("2"))], &["x"]);
        let cases: Vec<(Content, &str, &str)> = vec![
            (
                content(&[("/usr/share/a", file("9")), ("/usr/share/b", file("2"))], &["x"]),
                "/usr/share/a of d-1-1.noarch",
                "content differs (x86_64, aarch64)",
            ),
            (
                content(
                    &[
                        ("/usr/share/a", File { mode: 0o100_755, ..file("1") }),
                        ("/usr/share/b", file("2")),
                    ],
                    &["x"],
                ),
                "/usr/share/a of d-1-1.noarch",
                "mode 100644 and 100755 (x86_64, aarch64)",
            ),
            (
                content(&[("/usr/share/a", file("1"))], &["x"]),
                "/usr/share/b of d-1-1.noarch",
                "is there on x86_64 and not on aarch64",
            ),
            (
                content(&[("/usr/share/a", file("1")), ("/usr/share/b", file("2"))], &["x", "y"]),
                "requires `y` of d-1-1.noarch",
                "is there on aarch64 and not on x86_64",
            ),
            (
                Content {
                    scripts: BTreeMap::from([("post".into(), "true".into())]),
                    ..base.clone()
                },
                "post of d-1-1.noarch",
                "differs (x86_64, aarch64)",
            ),
        ];
        for (other, what, how) in cases {
            let sides = [
                made(X86_64, &[("d-1-1.noarch", base.clone())]),
                made(Aarch64, &[("d-1-1.noarch", other)]),
            ];
            let found = differences(&sides);
            assert_eq!(found, [Difference { what: what.into(), how: how.into() }]);
            let failure = verdict(&sides).unwrap();
            assert_eq!((failure.fault, failure.stage.as_str()), (Fault::Package, "accept"));
            assert!(failure.message.contains(what), "{}", failure.message);
            assert_eq!(failure.excerpt, [format!("{what}: {how}")]);
        }
    }

    #[test]
    fn a_package_that_only_one_architecture_makes_is_a_difference() {
        let sides = [made(X86_64, &[]), made(Ppc64le, &[("d-1-1.noarch", Content::default())])];
        let failure = verdict(&sides).unwrap();
        assert_eq!(failure.excerpt, ["d-1-1.noarch: is made on ppc64le and not on x86_64"]);
        assert_eq!(verdict(&[made(X86_64, &[]), made(Ppc64le, &[])]), None);
        assert_eq!(verdict(&[]), None);
    }

    #[test]
    fn a_verdict_is_one_line_however_much_differs() {
        let many: Vec<(String, File)> = (0..40).map(|n| (format!("/{n}"), file("1"))).collect();
        let many: Vec<(&str, File)> = many.iter().map(|(p, f)| (p.as_str(), f.clone())).collect();
        let sides = [
            made(X86_64, &[("d-1-1.noarch", content(&many, &[]))]),
            made(Aarch64, &[("d-1-1.noarch", content(&[], &[]))]),
            made(Ppc64le, &[("d-1-1.noarch", content(&[], &[]))]),
        ];
        let failure = verdict(&sides).unwrap();
        assert!(failure.message.contains(" and 37 more;"), "{}", failure.message);
        assert!(!failure.message.contains('\n'));
        assert_eq!(failure.excerpt.len(), LINES);
    }

    #[test]
    fn the_first_architecture_of_the_target_gives_the_package() {
        let made = |arch: Arch, nevra: &str| (arch, nevra.to_owned());
        let all = [made(Ppc64le, "a"), made(X86_64, "a"), made(Aarch64, "b"), made(Aarch64, "a")];
        assert_eq!(taken(&[X86_64, Aarch64, Ppc64le], &all), [1, 2]);
        assert_eq!(taken(&[Aarch64, X86_64, Ppc64le], &all), [2, 3]);
        assert_eq!(taken(&[], &all), [0, 2]);
        assert!(taken(&[X86_64], &[]).is_empty());
    }

    fn any_content() -> impl Strategy<Value = Content> {
        let file =
            (0..3_u16, "[a-b]{0,2}").prop_map(|(mode, content)| File { mode, ..file(&content) });
        let files = prop::collection::btree_map("/[a-c]", file, 0..3);
        let relations =
            prop::collection::btree_map("[pr]", prop::collection::btree_set("[a-c]", 0..3), 0..2);
        let scripts = prop::collection::btree_map("post", "[ab]", 0..2);
        (files, relations, scripts).prop_map(|(files, relations, scripts)| Content {
            files,
            relations,
            scripts,
        })
    }

    fn any_made(arch: Arch) -> impl Strategy<Value = Made> {
        let packages = prop::collection::btree_map("[a-c]-1-1.noarch", any_content(), 0..3);
        packages.prop_map(move |packages| Made { arch, packages })
    }

    /// Without kinds of relations that the package has none of: they say nothing.
    fn bare(made: &Made) -> BTreeMap<String, Content> {
        let mut packages = made.packages.clone();
        for content in packages.values_mut() {
            content.relations.retain(|_, texts| !texts.is_empty());
        }
        packages
    }

    proptest! {
        #[test]
        fn nothing_differs_exactly_when_all_is_the_same(
            a in any_made(X86_64), b in any_made(Aarch64), c in any_made(Ppc64le),
        ) {
            let same = bare(&a) == bare(&b) && bare(&a) == bare(&c);
            prop_assert_eq!(verdict(&[a.clone(), b.clone(), c]).is_none(), same);
            // Which side is called the first one changes what is said, not that something is.
            prop_assert_eq!(
                differences(&[a.clone(), b.clone()]).len(), differences(&[b, a]).len()
            );
        }

        #[test]
        fn each_nevra_is_taken_once_whatever_the_order_of_acceptance(
            made in prop::collection::vec((0..3_usize, "[a-c]"), 0..9), seed in 0..9_usize,
        ) {
            let made: Vec<(Arch, String)> = made.into_iter()
                .map(|(arch, nevra)| (Arch::ALL[arch], nevra))
                .collect::<BTreeSet<_>>().into_iter().collect();
            let chosen = |made: &[(Arch, String)]| -> BTreeSet<(Arch, String)> {
                taken(&Arch::ALL, made).into_iter().map(|index| made[index].clone()).collect()
            };
            let mut turned = made.clone();
            turned.rotate_left(if made.is_empty() { 0 } else { seed % made.len() });
            prop_assert_eq!(chosen(&made), chosen(&turned));
            let names: BTreeSet<&String> = made.iter().map(|(_, nevra)| nevra).collect();
            prop_assert_eq!(chosen(&made).len(), names.len());
        }
    }
}
