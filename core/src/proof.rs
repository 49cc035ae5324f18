//! The problems that a new content of a channel would bring its users, and what follows from them.
//!
//! Owns which problems count (those that the content before did not have), which build caused one,
//! and whether a person has accepted it. It must not know how problems are found: the solver and
//! the headers of packages say what is missing or in conflict.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Arch, BuildId, Nevra, Timestamp};

/// How many problems of one proof are kept; of more the number is.
pub const MAX_PROBLEMS: usize = 200;
/// How many lines of a chain are kept.
pub const MAX_CHAIN: usize = 12;
/// The longest text of a problem, in characters.
const MAX_TEXT: usize = 400;

words! {
    /// What is wrong with a package in a content of a channel.
    pub enum ProblemKind: "kind of problem" {
        /// It requires something that nothing provides.
        Requires = "requires",
        /// It requires something that a package provided which is gone.
        Lost = "lost",
        /// It cannot be installed for another reason.
        Install = "install",
        /// Who has it installed cannot upgrade.
        Upgrade = "upgrade",
        /// It has a file that another package has with different content.
        Files = "files",
        /// A package of its name is made by another source package.
        Owner = "owner",
    }
}

words! {
    /// What problems of a target's proofs do.
    pub enum ClosureRule: "rule of `closure`" {
        /// What causes one is not published.
        Refuse = "refuse",
        /// They are shown and published.
        Warn = "warn",
    }
}

/// One problem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    pub kind: ProblemKind,
    /// The package that has it.
    pub package: Nevra,
    /// The requirement, the path, or the reason in words.
    pub what: String,
    /// The other package: the one that is gone, or that has the same file or name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other: Option<Nevra>,
    /// The architectures on which it was found.
    pub arches: Vec<Arch>,
    /// How one thing leads to the other, in the solver's words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chain: Vec<String>,
}

impl Problem {
    /// A problem on one architecture, with texts of a bounded length.
    #[must_use]
    pub fn new(kind: ProblemKind, package: Nevra, what: &str, arch: Arch) -> Self {
        let what = shortened(what);
        Self { kind, package, what, other: None, arches: vec![arch], chain: Vec::new() }
    }

    /// The same with another package that it is about.
    #[must_use]
    pub fn with_other(mut self, other: Nevra) -> Self {
        self.other = Some(other);
        self
    }

    /// The same with the lines that explain it, as many as are kept.
    #[must_use]
    pub fn with_chain(mut self, chain: impl IntoIterator<Item = String>) -> Self {
        self.chain = chain.into_iter().take(MAX_CHAIN).map(|line| shortened(&line)).collect();
        self
    }

    /// What must be equal for two contents to have the same problem. Versions are left out: a new
    /// version of a package that lacks the same as the one before is no worse.
    fn key(&self) -> (ProblemKind, &str, &str, &str, &str) {
        let what = match self.kind {
            ProblemKind::Requires | ProblemKind::Lost if !self.what.starts_with('(') => {
                self.what.split_whitespace().next().unwrap_or_default()
            }
            // Their texts are about versions.
            ProblemKind::Install | ProblemKind::Upgrade => "",
            _ => self.what.as_str(),
        };
        let other = match self.kind {
            ProblemKind::Files | ProblemKind::Owner => self.other.as_ref(),
            _ => None,
        };
        let other = other.map_or("", |other| other.name.as_str());
        (self.kind, &self.package.name, &self.package.arch, what, other)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, package, what, other, .. } = self;
        let other = other.as_ref().map_or_else(|| "another package".into(), Nevra::to_string);
        match kind {
            ProblemKind::Requires => write!(f, "{package} requires `{what}`: nothing provides it"),
            ProblemKind::Lost => {
                write!(f, "{package} requires `{what}`: {other}, which provided it, would be gone")
            }
            ProblemKind::Install => write!(f, "{package} cannot be installed: {what}"),
            ProblemKind::Upgrade => write!(f, "{package} cannot be upgraded: {what}"),
            ProblemKind::Files => {
                write!(f, "{package} and {other} both have {what}, with different content")
            }
            ProblemKind::Owner => write!(
                f,
                "{package} has the name of {other}, which another source package makes ({what})"
            ),
        }
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(MAX_TEXT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// The problems that the content before did not have, those of several architectures as one.
/// Sorted.
#[must_use]
pub fn new_problems(before: &[Problem], after: Vec<Problem>) -> Vec<Problem> {
    let known: HashSet<_> =
        before.iter().flat_map(|one| one.arches.iter().map(|arch| (one.key(), *arch))).collect();
    let mut merged = BTreeMap::<(ProblemKind, String, String, String), Problem>::new();
    for problem in after {
        let is_new = |arch: &Arch| !known.contains(&(problem.key(), *arch));
        let arches: Vec<Arch> = problem.arches.iter().copied().filter(is_new).collect();
        if arches.is_empty() {
            continue;
        }
        let other = problem.other.as_ref().map(Nevra::to_string).unwrap_or_default();
        let key = (problem.kind, problem.package.to_string(), problem.what.clone(), other);
        let one = merged.entry(key).or_insert_with(|| Problem { arches: Vec::new(), ..problem });
        one.arches.extend(arches);
        one.arches.sort_unstable();
        one.arches.dedup();
    }
    merged.into_values().collect()
}

/// A problem that a person accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptedProblem {
    pub kind: ProblemKind,
    /// Name of the package, without version; of two that share a file, either.
    pub package: String,
    /// The requirement, the path, or the reason; empty for any.
    pub what: String,
    /// The end of the acceptance; `None` when it has no end.
    pub until: Option<Timestamp>,
}

impl AcceptedProblem {
    /// Whether it is about a problem, at this time.
    #[must_use]
    pub fn covers(&self, problem: &Problem, now: Timestamp) -> bool {
        let other = problem.other.as_ref().filter(|_| problem.kind == ProblemKind::Files);
        let mut packages = other.into_iter().chain([&problem.package]);
        self.kind == problem.kind
            && packages.any(|nevra| nevra.name == self.package)
            && (self.what.is_empty() || self.what == problem.what)
            && self.until.is_none_or(|until| now < until)
    }
}

/// The problems that nobody has accepted.
#[must_use]
pub fn unaccepted(
    problems: &[Problem],
    accepted: &[AcceptedProblem],
    now: Timestamp,
) -> Vec<Problem> {
    let is_accepted = |problem: &Problem| accepted.iter().any(|one| one.covers(problem, now));
    problems.iter().filter(|problem| !is_accepted(problem)).cloned().collect()
}

/// A build that is to be published, as far as the cause of problems depends on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvenBuild {
    pub build: BuildId,
    /// Name of its source package.
    pub source: String,
    pub packages: HashSet<Nevra>,
}

/// Which builds cause problems, each with the first one.
///
/// A package that is gone went because of the build of its source package. Of two builds that do
/// not go together the later one is the cause. What no build caused, as when a package is withdrawn,
/// is in none of the lists. `source_of` is the name of the source package of a package of either
/// content.
#[must_use]
pub fn causes(
    problems: &[Problem],
    builds: &[ProvenBuild],
    source_of: impl Fn(&Nevra) -> Option<String>,
) -> BTreeMap<BuildId, Problem> {
    let mut causes = BTreeMap::new();
    for problem in problems {
        if let Some(build) = cause(problem, builds, &source_of) {
            causes.entry(build).or_insert_with(|| problem.clone());
        }
    }
    causes
}

fn cause(
    problem: &Problem,
    builds: &[ProvenBuild],
    source_of: &impl Fn(&Nevra) -> Option<String>,
) -> Option<BuildId> {
    let made = |nevra: &Nevra| {
        builds.iter().filter(|one| one.packages.contains(nevra)).map(|one| one.build).max()
    };
    let replaced = |nevra: &Nevra| {
        let source = source_of(nevra)?;
        builds.iter().filter(|one| one.source == source).map(|one| one.build).max()
    };
    let of_package = || made(&problem.package).or_else(|| replaced(&problem.package));
    let Some(other) = &problem.other else { return of_package() };
    match problem.kind {
        ProblemKind::Lost => replaced(other).or_else(of_package),
        _ => made(&problem.package).max(made(other)).or_else(of_package),
    }
}

/// Packages that would be in a channel beside one of the same name that another source package
/// makes. `members` are the package, the name of its source package, and whether the content before
/// had it.
#[must_use]
pub fn foreign_names<'a>(
    members: impl IntoIterator<Item = (&'a Nevra, &'a str, bool)>,
    arch: Arch,
) -> Vec<Problem> {
    let mut by_name = BTreeMap::<&str, Vec<(&Nevra, &str, bool)>>::new();
    for member in members {
        by_name.entry(&member.0.name).or_default().push(member);
    }
    let mut found = Vec::new();
    for of_name in by_name.into_values() {
        let sources: BTreeSet<&str> = of_name.iter().map(|(_, source, _)| *source).collect();
        if sources.len() < 2 {
            continue;
        }
        for (nevra, source, was_there) in &of_name {
            let other = of_name.iter().find(|(_, other, _)| other != source);
            if let Some((other, of_other, _)) = other.filter(|_| !was_there) {
                let what = format!("{source} beside {of_other}");
                let problem = Problem::new(ProblemKind::Owner, (*nevra).clone(), &what, arch);
                found.push(problem.with_other((*other).clone()));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn nevra(text: &str) -> Nevra {
        text.parse().unwrap()
    }

    fn requires(package: &str, what: &str) -> Problem {
        Problem::new(ProblemKind::Requires, nevra(package), what, Arch::X86_64)
    }

    #[test]
    fn what_a_new_version_lacks_as_the_old_one_did_is_not_new() {
        let before = [requires("app-1-1.x86_64", "lib = 1")];
        let after = vec![
            requires("app-2-1.x86_64", "lib = 2"),
            requires("app-2-1.x86_64", "other"),
            requires("tool-1-1.x86_64", "lib = 1"),
        ];
        let new = new_problems(&before, after.clone());
        assert_eq!(new, [after[1].clone(), after[2].clone()]);
        assert_eq!(new_problems(&after, after.clone()), []);
    }

    #[test]
    fn a_problem_of_several_architectures_is_one() {
        let on = |arch| Problem::new(ProblemKind::Requires, nevra("a-1-1.noarch"), "x", arch);
        let new = new_problems(
            &[on(Arch::Ppc64le)],
            vec![on(Arch::X86_64), on(Arch::Aarch64), on(Arch::Ppc64le)],
        );
        assert_eq!(new.len(), 1);
        let mut arches = vec![Arch::X86_64, Arch::Aarch64];
        arches.sort_unstable();
        assert_eq!(new[0].arches, arches);
    }

    #[test]
    fn the_build_that_replaced_the_provider_is_the_cause() {
        let build = |number, source: &str, packages: &[&str]| ProvenBuild {
            build: BuildId(number),
            source: source.to_owned(),
            packages: packages.iter().map(|name| nevra(name)).collect(),
        };
        let builds = [
            build(3, "lib", &["lib-2-1.x86_64"]),
            build(4, "app", &["app-2-1.x86_64"]),
            build(5, "tool", &["tool-1-1.x86_64"]),
        ];
        let source_of = |nevra: &Nevra| Some(nevra.name.replace("-devel", ""));
        let lost = |package: &str, other: &str| {
            Problem::new(ProblemKind::Lost, nevra(package), "so.1", Arch::X86_64)
                .with_other(nevra(other))
        };
        let caused = |problem: Problem| {
            causes(&[problem], &builds, source_of).into_keys().next().map(|build| build.0)
        };
        assert_eq!(caused(lost("old-1-1.x86_64", "lib-devel-1-1.x86_64")), Some(3));
        assert_eq!(caused(lost("app-2-1.x86_64", "withdrawn-1-1.x86_64")), Some(4));
        assert_eq!(caused(lost("old-1-1.x86_64", "withdrawn-1-1.x86_64")), None);
        assert_eq!(caused(requires("tool-1-1.x86_64", "x")), Some(5));
        let files =
            Problem::new(ProblemKind::Files, nevra("app-2-1.x86_64"), "/usr/bin/x", Arch::X86_64);
        assert_eq!(caused(files.with_other(nevra("tool-1-1.x86_64"))), Some(5), "the later one");
    }

    #[test]
    fn an_accepted_problem_is_one_of_its_package_until_its_time() {
        let problem = requires("app-2-1.x86_64", "lib");
        let accepted = |what: &str, until| AcceptedProblem {
            kind: ProblemKind::Requires,
            package: "app".into(),
            what: what.into(),
            until,
        };
        let (at, all) = (Timestamp::from_us, std::slice::from_ref(&problem));
        let left = |one: AcceptedProblem, now| unaccepted(all, &[one], at(now));
        assert_eq!(left(accepted("lib", None), 5), []);
        assert_eq!(left(accepted("", Some(at(6))), 5), []);
        assert_eq!(left(accepted("", Some(at(5))), 5), all);
        assert_eq!(left(accepted("other", None), 5), all);
        let shared = Problem { kind: ProblemKind::Files, ..problem.clone() };
        let shared = [shared.with_other(nevra("tool-1-1.x86_64"))];
        let of_tool = AcceptedProblem {
            kind: ProblemKind::Files,
            package: "tool".into(),
            ..accepted("", None)
        };
        assert_eq!(unaccepted(&shared, &[of_tool], at(5)), [], "either of the two is named");
        let of_files = AcceptedProblem { kind: ProblemKind::Files, ..accepted("", None) };
        assert_eq!(left(of_files, 5), all);
    }

    #[test]
    fn a_name_of_two_sources_is_a_problem_of_the_new_one() {
        let (old, new) = (nevra("name-1-1.x86_64"), nevra("name-2-1.x86_64"));
        let found = foreign_names([(&old, "one", true), (&new, "two", false)], Arch::X86_64);
        assert_eq!(found.len(), 1);
        assert_eq!((&found[0].package, found[0].other.as_ref()), (&new, Some(&old)));
        assert!(found[0].to_string().contains("two beside one"), "{}", found[0]);
        assert_eq!(foreign_names([(&old, "one", true), (&new, "one", false)], Arch::X86_64), []);
        assert_eq!(foreign_names([(&old, "one", true), (&new, "two", true)], Arch::X86_64), []);
    }

    #[test]
    fn texts_are_bounded() {
        let long = "é".repeat(5000);
        let problem = requires("a-1-1.x86_64", &long).with_chain(vec![long; 50]);
        assert_eq!(problem.what.chars().count(), MAX_TEXT + 1);
        assert_eq!(problem.chain.len(), MAX_CHAIN);
        let json = serde_json::to_string(&problem).unwrap();
        assert_eq!(serde_json::from_str::<Problem>(&json).unwrap(), problem);
    }

    fn any_problems() -> impl Strategy<Value = Vec<Problem>> {
        let kinds = prop::sample::select(ProblemKind::ALL.to_vec());
        let arches = prop::sample::select(Arch::ALL.to_vec());
        let one = (kinds, 0..3_u8, 1..3_u8, 0..3_u8, arches).prop_map(
            |(kind, name, version, what, arch)| {
                let package = nevra(&format!("p{name}-{version}-1.noarch"));
                Problem::new(kind, package, &format!("w{what}"), arch)
            },
        );
        prop::collection::vec(one, 0..12)
    }

    proptest! {
        #[test]
        fn what_was_there_is_never_new_and_nothing_else_is_lost(
            before in any_problems(), after in any_problems(),
        ) {
            let new = new_problems(&before, after.clone());
            for problem in &after {
                let arch = problem.arches[0];
                let known = before.iter().any(|one| one.key() == problem.key() && one.arches.contains(&arch));
                let found = new.iter().any(|one| {
                    one.kind == problem.kind && one.package == problem.package
                        && one.what == problem.what && one.arches.contains(&arch)
                });
                prop_assert_eq!(found, !known, "{}", problem);
            }
            prop_assert_eq!(new_problems(&after, after.clone()), vec![]);
            let all = new_problems(&[], after);
            prop_assert!(new.len() <= all.len());
        }

        #[test]
        fn accepting_one_problem_leaves_those_of_other_packages(
            problems in any_problems(), at in 0..12_usize,
        ) {
            let Some(problem) = problems.get(at) else { return Ok(()) };
            let one = AcceptedProblem {
                kind: problem.kind,
                package: problem.package.name.clone(),
                what: problem.what.clone(),
                until: None,
            };
            let left = unaccepted(&problems, &[one], Timestamp::from_us(0));
            prop_assert!(!left.contains(problem));
            for other in problems.iter().filter(|other| other.package.name != problem.package.name) {
                prop_assert!(left.contains(other));
            }
        }
    }
}
