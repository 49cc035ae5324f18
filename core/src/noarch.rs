//! `noarch` packages: where they are built, which one of several is used, and whether all
//! architectures made the same.
//!
//! A package with only `noarch` subpackages is built once. A `noarch` subpackage of another package
//! is made by every architecture's build, or by some of them: one is used, and those that several
//! made must agree as far as Koji compares them, because users of all architectures install the
//! same one.
//!
//! Packages are compared as Koji compares them, and the first architecture's is used.
//! `terms::without_noarch` and, at each publication, the requirements that no package provides
//! determine which repositories leave one out.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::task::TaskKind;
use crate::{Arch, Failure, FailureStage, Fault, Nevra};

/// The architecture word of such packages.
pub const NOARCH: &str = "noarch";

/// The architectures that a package is built on, of those that are `wanted`: all of them, or for a
/// package with only `noarch` subpackages the first that a worker runs natively. Where none does,
/// it is the first.
#[must_use]
pub fn build_on(wanted: &[Arch], all_noarch: bool, native: &[Arch]) -> Vec<Arch> {
    if !all_noarch {
        return wanted.to_vec();
    }
    let preferred = wanted.iter().find(|arch| native.contains(arch));
    preferred.or(wanted.first()).copied().into_iter().collect()
}

/// The content of a package, without what depends on where and when it was built.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageContent {
    /// Path → file.
    pub files: BTreeMap<String, PackageFile>,
    /// `requires`, `provides`, … → the package's relations, as rpm prints them.
    pub relations: BTreeMap<String, BTreeSet<String>>,
    /// Scriptlet or trigger → its text, behind a line with the program that runs it.
    pub scripts: BTreeMap<String, String>,
    /// Further tags of the header; `None` in descriptions of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<HeaderTags>,
}

/// Further tags of a header that Koji compares.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeaderTags {
    /// `summary`, `description`, `group`, `license`, `url` → text.
    pub texts: BTreeMap<String, String>,
    /// `requires`, … → each with rpm's flags in hex behind it, which say for which scriptlet it is
    /// needed and who found it.
    pub flagged: BTreeMap<String, BTreeSet<String>>,
}

/// A file of a package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageFile {
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
    /// What `rpm -V` compares (`%verify`); absent in descriptions from before it was compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<u32>,
    /// The number of a device; absent as above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<u16>,
}

/// The `noarch` packages that one build made, by their NEVRA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoarchPackages {
    /// rpm's target: an architecture, or `noarch`.
    pub on: String,
    /// NEVRA → content.
    pub packages: BTreeMap<String, PackageContent>,
}

/// One difference between two builds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    /// The file or the part of the package that differs.
    pub what: String,
    /// How it differs, with both rpm targets.
    pub how: String,
    /// Whether Koji refuses a build for it.
    pub refused: bool,
}

/// Scriptlets whose texts Koji compares, and relations. `rpmdiff` of koji leaves all others alone,
/// and of files what it ignores by the hub's wish: size, digest, time and number of links.
const COMPARED_SCRIPTS: [&str; 4] = ["%pre", "%post", "%preun", "%postun"];
const COMPARED_RELATIONS: [&str; 4] = ["requires", "provides", "conflicts", "obsoletes"];

/// Compares each package that several builds made: that of the first build with that of each other
/// one. A package that only one build makes is used as it is: so firmware for one machine is
/// shipped to all (EL's grub2 and edk2).
#[must_use]
pub fn differences(made: &[NoarchPackages]) -> Vec<Difference> {
    let mut first = BTreeMap::<&str, (&str, &PackageContent)>::new();
    let mut all = Vec::new();
    for NoarchPackages { on, packages } in made {
        for (nevra, content) in packages {
            match first.get(nevra.as_str()) {
                Some((at, one)) => {
                    ComparedPackage { nevra, on: [at, on] }.compare(one, content, &mut all)
                }
                None => {
                    first.insert(nevra, (on.as_str(), content));
                }
            }
        }
    }
    all
}

/// A package that two builds made.
struct ComparedPackage<'a> {
    nevra: &'a str,
    /// Where each was built, as differences say it.
    on: [&'a str; 2],
}

impl ComparedPackage<'_> {
    fn compare(&self, one: &PackageContent, other: &PackageContent, all: &mut Vec<Difference>) {
        for (path, pair) in sides(&one.files, &other.files) {
            let what = format!("{path} of {}", self.nevra);
            match pair {
                (Some(one), Some(other)) => self.compare_files(&what, one, other, all),
                (one, _) => all.push(self.one_sided(what, one.is_some(), true)),
            }
        }
        let none = BTreeSet::new();
        for (kind, pair) in sides(&one.relations, &other.relations) {
            let (one, other) = (pair.0.unwrap_or(&none), pair.1.unwrap_or(&none));
            let refused = COMPARED_RELATIONS.contains(&kind);
            for text in one.symmetric_difference(other) {
                let what = format!("{kind} `{text}` of {}", self.nevra);
                all.push(self.one_sided(what, one.contains(text), refused));
            }
        }
        for (name, (one, other)) in sides(&one.scripts, &other.scripts) {
            let compared = COMPARED_SCRIPTS.contains(&name);
            let text = |script: Option<&String>| script.map(|script| text_of(script).to_owned());
            if one != other {
                self.differs(name, compared && text(one) != text(other), all);
            }
        }
        let (Some(one), Some(other)) = (&one.tags, &other.tags) else { return };
        for (name, (one, other)) in sides(&one.texts, &other.texts) {
            if one != other {
                self.differs(name, true, all);
            }
        }
        for (kind, pair) in sides(&one.flagged, &other.flagged) {
            let (one, other) = (pair.0.unwrap_or(&none), pair.1.unwrap_or(&none));
            // Files that are only on one side were named already.
            let plain = |text: &String| text.rsplit_once(' ').map(|(text, _)| text.to_owned());
            let names = |set: &BTreeSet<String>| set.iter().filter_map(plain).collect();
            let (plain_one, plain_other): (BTreeSet<String>, BTreeSet<String>) =
                (names(one), names(other));
            for text in plain_one.intersection(&plain_other) {
                let of = |set: &BTreeSet<String>| -> BTreeSet<String> {
                    set.iter().filter(|all| plain(all).as_ref() == Some(text)).cloned().collect()
                };
                if of(one) != of(other) {
                    let what = format!("flags of {kind} `{text}`");
                    self.differs(&what, COMPARED_RELATIONS.contains(&kind), all);
                }
            }
        }
    }

    fn compare_files(
        &self,
        what: &str,
        one: &PackageFile,
        other: &PackageFile,
        all: &mut Vec<Difference>,
    ) {
        let both = format!("({}, {})", self.on[0], self.on[1]);
        let mut push = |changed: Vec<String>, refused| {
            if !changed.is_empty() {
                let how = format!("{} {both}", changed.join(", "));
                all.push(Difference { what: what.to_owned(), how, refused });
            }
        };
        push(one.changed(other), true);
        push(one.differs_inside(other), false);
    }

    fn differs(&self, what: &str, refused: bool, all: &mut Vec<Difference>) {
        let how = format!("differs ({}, {})", self.on[0], self.on[1]);
        all.push(Difference { what: format!("{what} of {}", self.nevra), how, refused });
    }

    fn one_sided(&self, what: String, on_first: bool, refused: bool) -> Difference {
        let [a, b] = self.on;
        let (on, off) = if on_first { (a, b) } else { (b, a) };
        Difference { what, how: format!("is on {on} and not on {off}"), refused }
    }
}

/// A script without the line that names its program.
fn text_of(script: &str) -> &str {
    script.split_once('\n').map_or(script, |(_, text)| text)
}

impl PackageFile {
    /// What differs from another file, among what Koji compares.
    fn changed(&self, other: &Self) -> Vec<String> {
        let mut changed = Vec::new();
        if self.mode != other.mode {
            changed.push(format!("mode {:06o} and {:06o}", self.mode, other.mode));
        }
        if self.owner != other.owner {
            changed.push(format!("owner {} and {}", self.owner, other.owner));
        }
        if self.flags != other.flags {
            changed.push(format!("flags {} and {}", self.flags, other.flags));
        }
        if let (Some(one), Some(other)) = (self.verify, other.verify)
            && one != other
        {
            changed.push(format!("verify flags {one:#x} and {other:#x}"));
        }
        if let (Some(one), Some(other)) = (self.device, other.device)
            && one != other
        {
            changed.push(format!("device {one} and {other}"));
        }
        changed
    }

    /// What else differs from another file: it may have been made at build time, with dates in it.
    fn differs_inside(&self, other: &Self) -> Vec<String> {
        let mut changed = Vec::new();
        if self.content != other.content {
            changed.push("content differs".to_owned());
        }
        if self.capabilities != other.capabilities {
            changed.push("capabilities differ".to_owned());
        }
        changed
    }
}

/// The values of both maps under each key of either.
fn sides<'a, V>(
    first: &'a BTreeMap<String, V>,
    other: &'a BTreeMap<String, V>,
) -> BTreeMap<&'a str, (Option<&'a V>, Option<&'a V>)> {
    let keys = first.keys().chain(other.keys());
    keys.map(|key| (key.as_str(), (first.get(key), other.get(key)))).collect()
}

/// How many things one line names.
const NAMED: usize = 3;
/// Lines of an excerpt, and of notes.
const LINES: usize = 10;

/// The first `NAMED` entries, and the number of the others.
fn named<'a>(differences: impl Iterator<Item = &'a Difference>) -> String {
    let mut named: Vec<&str> = Vec::new();
    for difference in differences {
        if !named.contains(&difference.what.as_str()) {
            named.push(&difference.what);
        }
    }
    let more = named.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", named[..named.len().min(NAMED)].join(", "))
}

/// The verdict on packages in which Koji would find a difference; `None` when it would accept them.
/// `package` names the source package.
#[must_use]
pub fn verdict(package: &str, differences: &[Difference]) -> Option<Failure> {
    let refused = || differences.iter().filter(|difference| difference.refused);
    refused().next()?;
    let message = format!(
        "noarch packages differ between architectures: {}; make them the same, or packages of \
         their architectures, or set `noarch_may_differ = true` in [packages.{package}] of the \
         target, to take those of the first architecture",
        named(refused())
    );
    let lines = refused().map(|difference| format!("{}: {}", difference.what, difference.how));
    Some(
        Failure::new(Fault::Package, FailureStage::Accept, message)
            .with_excerpt(lines.take(LINES).collect()),
    )
}

/// Notes on differences that are accepted, a line each.
#[must_use]
pub fn notes(differences: &[Difference]) -> Vec<String> {
    let mut lines: Vec<String> = differences
        .iter()
        .take(LINES)
        .map(|difference| format!("{}: {}", difference.what, difference.how))
        .collect();
    let more = differences.len().saturating_sub(LINES);
    if more > 0 {
        lines.push(format!("{more} more differences between noarch packages of architectures"));
    }
    lines
}

/// A package that a task made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoarchCandidate<'a> {
    pub kind: TaskKind,
    pub arch: Arch,
    pub nevra: &'a Nevra,
}

/// Of packages that several tasks made, the indexes of those that are used: for each NEVRA the one
/// of the first architecture in `order` that has it, and after them that of the task for `noarch`.
/// That task adds nothing that an architecture makes itself, because one NEVRA must not stand for
/// two packages.
#[must_use]
pub fn taken(order: &[Arch], made: &[NoarchCandidate<'_>]) -> Vec<usize> {
    let rank = |candidate: &NoarchCandidate<'_>| {
        let place = order.iter().position(|one| *one == candidate.arch).unwrap_or(usize::MAX);
        (candidate.kind == TaskKind::Noarch, place)
    };
    let of_arches: BTreeSet<&str> = made
        .iter()
        .filter(|one| one.kind != TaskKind::Noarch && one.nevra.arch != NOARCH)
        .map(|one| one.nevra.name.as_str())
        .collect();
    let mut best = BTreeMap::<String, usize>::new();
    for (index, one) in made.iter().enumerate() {
        let NoarchCandidate { kind, nevra, .. } = one;
        let doubled = nevra.arch != NOARCH || of_arches.contains(nevra.name.as_str());
        if *kind == TaskKind::Noarch && doubled {
            continue;
        }
        let kept = best.entry(nevra.to_string()).or_insert(index);
        if rank(one) < rank(&made[*kept]) {
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

    fn file(content: &str) -> PackageFile {
        PackageFile {
            mode: 0o100_644,
            owner: "root:root".into(),
            capabilities: String::new(),
            flags: 0,
            content: content.into(),
            verify: None,
            device: None,
        }
    }

    fn content(files: &[(&str, PackageFile)], requires: &[&str]) -> PackageContent {
        PackageContent {
            files: files.iter().map(|(path, file)| ((*path).to_owned(), file.clone())).collect(),
            relations: BTreeMap::from([(
                "requires".into(),
                requires.iter().map(|text| (*text).to_owned()).collect(),
            )]),
            ..PackageContent::default()
        }
    }

    fn made(arch: Arch, packages: &[(&str, PackageContent)]) -> NoarchPackages {
        let packages = packages.iter().map(|(nevra, c)| ((*nevra).to_owned(), c.clone())).collect();
        NoarchPackages { on: arch.to_string(), packages }
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
    fn each_kind_of_difference_is_refused_where_koji_refuses_it() {
        let a = || ("/usr/share/a", file("1"));
        let base = PackageContent {
            scripts: BTreeMap::from([("%post".into(), "/bin/sh\ntrue".into())]),
            tags: Some(HeaderTags {
                texts: BTreeMap::from([("summary".into(), "S".into())]),
                flagged: BTreeMap::from([("requires".into(), ["x 0x0".to_owned()].into())]),
            }),
            ..content(&[a(), ("/usr/share/b", file("2"))], &["x"])
        };
        let with_a = |a: PackageFile| PackageContent {
            files: BTreeMap::from([("/usr/share/a".into(), a), ("/usr/share/b".into(), file("2"))]),
            ..base.clone()
        };
        let with_script = |name: &str, text: &str| PackageContent {
            scripts: base.scripts.clone().into_iter().chain([(name.into(), text.into())]).collect(),
            ..base.clone()
        };
        let with_relation = |kind: &str, all: &[&str]| PackageContent {
            relations: base
                .relations
                .clone()
                .into_iter()
                .chain([(kind.into(), all.iter().map(|text| (*text).to_owned()).collect())])
                .collect(),
            ..base.clone()
        };
        let tags = |text: &str, flagged: &str| PackageContent {
            tags: Some(HeaderTags {
                texts: BTreeMap::from([("summary".into(), text.into())]),
                flagged: BTreeMap::from([("requires".into(), [flagged.to_owned()].into())]),
            }),
            ..base.clone()
        };
        let verified = PackageFile { verify: Some(1), device: Some(1), ..file("1") };
        let one_file =
            PackageContent { files: [a()].map(|(p, f)| (p.to_owned(), f)).into(), ..base.clone() };
        let file_a = "/usr/share/a of d-1-1.noarch";
        let cases: Vec<(PackageContent, &str, &str, bool)> = vec![
            (with_a(file("9")), file_a, "content differs (x86_64, aarch64)", false),
            (
                with_a(PackageFile { capabilities: "cap_chown=ep".into(), ..file("1") }),
                file_a,
                "capabilities differ (x86_64, aarch64)",
                false,
            ),
            (
                with_a(PackageFile { mode: 0o100_755, ..file("1") }),
                file_a,
                "mode 100644 and 100755 (x86_64, aarch64)",
                true,
            ),
            (
                with_a(PackageFile { owner: "bin:root".into(), ..file("1") }),
                file_a,
                "owner root:root and bin:root (x86_64, aarch64)",
                true,
            ),
            (
                with_a(PackageFile { flags: 2, ..file("1") }),
                file_a,
                "flags 0 and 2 (x86_64, aarch64)",
                true,
            ),
            (one_file, "/usr/share/b of d-1-1.noarch", "is on x86_64 and not on aarch64", true),
            (
                with_relation("requires", &["x", "y"]),
                "requires `y` of d-1-1.noarch",
                "is on aarch64 and not on x86_64",
                true,
            ),
            (
                with_relation("obsoletes", &["old"]),
                "obsoletes `old` of d-1-1.noarch",
                "is on aarch64 and not on x86_64",
                true,
            ),
            (
                with_relation("recommends", &["y"]),
                "recommends `y` of d-1-1.noarch",
                "is on aarch64 and not on x86_64",
                false,
            ),
            (
                with_script("%post", "/bin/sh\nfalse"),
                "%post of d-1-1.noarch",
                "differs (x86_64, aarch64)",
                true,
            ),
            (
                with_script("%post", "/bin/bash\ntrue"),
                "%post of d-1-1.noarch",
                "differs (x86_64, aarch64)",
                false,
            ),
            (
                with_script("%posttrans", "/bin/sh\ntrue"),
                "%posttrans of d-1-1.noarch",
                "differs (x86_64, aarch64)",
                false,
            ),
            (tags("T", "x 0x0"), "summary of d-1-1.noarch", "differs (x86_64, aarch64)", true),
            (
                tags("S", "x 0x200"),
                "flags of requires `x` of d-1-1.noarch",
                "differs (x86_64, aarch64)",
                true,
            ),
        ];
        for (other, what, how, refused) in cases {
            let sides = [
                made(X86_64, &[("d-1-1.noarch", base.clone())]),
                made(Aarch64, &[("d-1-1.noarch", other)]),
            ];
            let found = differences(&sides);
            assert_eq!(found, [Difference { what: what.into(), how: how.into(), refused }]);
            assert_eq!(notes(&found), [format!("{what}: {how}")]);
            let Some(failure) = verdict("d", &found) else {
                assert!(!refused, "{what}");
                continue;
            };
            assert!(refused, "{what}");
            assert_eq!((failure.fault, failure.stage.as_str()), (Fault::Package, "accept"));
            assert!(failure.message.contains(what), "{}", failure.message);
            assert!(failure.message.contains("noarch_may_differ = true"), "{}", failure.message);
            assert_eq!(failure.excerpt, [format!("{what}: {how}")]);
        }
        // What an older description does not have says nothing.
        let of = |file: &PackageFile| made(X86_64, &[("d-1-1.noarch", with_a(file.clone()))]);
        assert_eq!(differences(&[of(&verified), of(&file("1"))]), []);
        let changed = PackageFile { verify: Some(3), device: Some(2), ..file("1") };
        assert!(differences(&[of(&verified), of(&changed)])[0].refused);
    }

    #[test]
    fn a_package_that_only_one_architecture_makes_is_taken() {
        let one = || content(&[("/a", file("1"))], &[]);
        let other = || content(&[("/b", file("1"))], &[]);
        assert_eq!(differences(&[]), []);
        let sides = [
            made(X86_64, &[]),
            made(Ppc64le, &[("d-1-1.noarch", one())]),
            made(Aarch64, &[("e-1-1.noarch", one())]),
        ];
        assert_eq!(differences(&sides), []);
        // Those that make it are compared with each other.
        let sides = [
            made(X86_64, &[]),
            made(Ppc64le, &[("d-1-1.noarch", one())]),
            made(Aarch64, &[("d-1-1.noarch", other())]),
        ];
        let found = differences(&sides);
        assert_eq!(found[0].how, "is on ppc64le and not on aarch64");
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn a_verdict_is_one_line_however_much_differs() {
        let many: Vec<(String, PackageFile)> =
            (0..40).map(|n| (format!("/{n}"), file("1"))).collect();
        let many: Vec<(&str, PackageFile)> =
            many.iter().map(|(p, f)| (p.as_str(), f.clone())).collect();
        let sides = [
            made(X86_64, &[("d-1-1.noarch", content(&many, &[]))]),
            made(Aarch64, &[("d-1-1.noarch", content(&[], &[]))]),
            made(Ppc64le, &[("d-1-1.noarch", content(&[], &[]))]),
        ];
        let failure = verdict("d", &differences(&sides)).unwrap();
        assert!(failure.message.contains(" and 37 more;"), "{}", failure.message);
        assert_eq!(notes(&differences(&sides)).len(), LINES + 1);
        assert!(!failure.message.contains('\n'));
        assert_eq!(failure.excerpt.len(), LINES);
    }

    fn taken_of(order: &[Arch], made: &[(TaskKind, Arch, &str)]) -> Vec<usize> {
        let nevras: Vec<Nevra> = made.iter().map(|(.., name)| name.parse().unwrap()).collect();
        let all: Vec<NoarchCandidate<'_>> = made
            .iter()
            .zip(&nevras)
            .map(|((kind, arch, _), nevra)| NoarchCandidate { kind: *kind, arch: *arch, nevra })
            .collect();
        taken(order, &all)
    }

    #[test]
    fn the_first_architecture_of_the_target_gives_the_package() {
        let made = |arch: Arch, nevra: &'static str| (TaskKind::Build, arch, nevra);
        let (a, b) = ("a-1-1.noarch", "b-1-1.noarch");
        let all = [made(Ppc64le, a), made(X86_64, a), made(Aarch64, b), made(Aarch64, a)];
        assert_eq!(taken_of(&[X86_64, Aarch64, Ppc64le], &all), [1, 2]);
        assert_eq!(taken_of(&[Aarch64, X86_64, Ppc64le], &all), [2, 3]);
        assert_eq!(taken_of(&[], &all), [0, 2]);
        assert!(taken_of(&[X86_64], &[]).is_empty());
    }

    #[test]
    fn the_pass_for_noarch_gives_what_no_architecture_makes() {
        let all = [
            (TaskKind::Noarch, X86_64, "k-doc-1-1.noarch"),
            (TaskKind::Noarch, X86_64, "k-1-1.noarch"),
            (TaskKind::Noarch, X86_64, "k-data-1-1.noarch"),
            (TaskKind::Build, Aarch64, "k-data-1-1.noarch"),
            (TaskKind::Build, Aarch64, "k-1-1.aarch64"),
        ];
        assert_eq!(taken_of(&[X86_64, Aarch64], &all), [0, 3, 4]);
    }

    fn any_content() -> impl Strategy<Value = PackageContent> {
        let file = (0..3_u16, "[a-b]{0,2}")
            .prop_map(|(mode, content)| PackageFile { mode, ..file(&content) });
        let files = prop::collection::btree_map("/[a-c]", file, 0..3);
        let relations =
            prop::collection::btree_map("[pr]", prop::collection::btree_set("[a-c]", 0..3), 0..2);
        let scripts = prop::collection::btree_map("post", "[ab]", 0..2);
        (files, relations, scripts).prop_map(|(files, relations, scripts)| PackageContent {
            files,
            relations,
            scripts,
            tags: None,
        })
    }

    fn any_made(arch: Arch) -> impl Strategy<Value = NoarchPackages> {
        let packages = prop::collection::btree_map("[a-c]-1-1.noarch", any_content(), 0..3);
        packages.prop_map(move |packages| NoarchPackages { on: arch.to_string(), packages })
    }

    /// Without kinds of relations that the package has none of: they say nothing.
    fn bare(content: &PackageContent) -> PackageContent {
        let mut content = content.clone();
        content.relations.retain(|_, texts| !texts.is_empty());
        content
    }

    /// Whether what both make is the same.
    fn same(a: &NoarchPackages, b: &NoarchPackages) -> bool {
        let both = |(nevra, one): (&String, &PackageContent)| {
            b.packages.get(nevra).is_none_or(|other| bare(one) == bare(other))
        };
        a.packages.iter().all(both)
    }

    proptest! {
        #[test]
        fn nothing_differs_exactly_when_all_that_several_make_is_the_same(
            a in any_made(X86_64), b in any_made(Aarch64), c in any_made(Ppc64le),
        ) {
            let all_same = same(&a, &b) && same(&a, &c) && same(&b, &c);
            prop_assert_eq!(differences(&[a.clone(), b.clone(), c]).is_empty(), all_same);
            // Which side is called the first one changes what is said, not that something is.
            let count = |made: &[NoarchPackages]| {
                let found = differences(made);
                (found.len(), found.iter().filter(|difference| difference.refused).count())
            };
            prop_assert_eq!(count(&[a.clone(), b.clone()]), count(&[b, a]));
        }

        #[test]
        fn each_nevra_is_taken_once_whatever_the_order_of_acceptance(
            made in prop::collection::vec((0..3_usize, "[a-c]"), 0..9), seed in 0..9_usize,
        ) {
            let made: Vec<(Arch, String)> = made.into_iter()
                .map(|(arch, name)| (Arch::ALL[arch], format!("{name}-1-1.noarch")))
                .collect::<BTreeSet<_>>().into_iter().collect();
            let chosen = |made: &[(Arch, String)]| -> BTreeSet<(Arch, String)> {
                let all: Vec<(TaskKind, Arch, &str)> = made.iter()
                    .map(|(arch, nevra)| (TaskKind::Build, *arch, nevra.as_str())).collect();
                taken_of(&Arch::ALL, &all).into_iter().map(|index| made[index].clone()).collect()
            };
            let mut turned = made.clone();
            turned.rotate_left(if made.is_empty() { 0 } else { seed % made.len() });
            prop_assert_eq!(chosen(&made), chosen(&turned));
            let names: BTreeSet<&String> = made.iter().map(|(_, nevra)| nevra).collect();
            prop_assert_eq!(chosen(&made).len(), names.len());
        }
    }
}
