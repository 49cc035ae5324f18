//! What a new content of a channel would break, with packages made by rpmbuild.

#![allow(clippy::unwrap_used, reason = "a step that fails is the failure of its test")]

#[allow(dead_code, reason = "other tests use all of it")]
mod common;

use std::collections::HashSet;
use std::path::Path;

use common::{fragments, metadata, repository};
use rpmfarm_core::proof::{Problem, ProblemKind};
use rpmfarm_core::{Arch, Nevra};
use rpmfarm_solv::{Pool, ProofFindings, ProofQuestion, Repository};

const FARM: &str = "farm";

/// A package that is only its name, its dependencies and its files.
struct Made<'a> {
    name: &'a str,
    version: &'a str,
    lines: &'a [&'a str],
    files: &'a [&'a str],
}

const fn made<'a>(name: &'a str, version: &'a str, lines: &'a [&'a str]) -> Made<'a> {
    Made { name, version, lines, files: &[] }
}

/// A repository of these packages, all of one source package.
fn write(dir: &Path, source: &str, packages: &[Made<'_>]) {
    let mut spec = format!(
        "Name: {source}-set\nVersion: 1\nRelease: 1\nSummary: s\nLicense: MIT\nBuildArch: noarch\n\
         AutoReqProv: no\n%description\nd\n"
    );
    for Made { name, version, lines, files } in packages {
        spec += &format!(
            "%package -n {name}\nVersion: {version}\nSummary: s\n{}\n%description -n {name}\nd\n\
             %files -n {name}\n{}\n",
            lines.join("\n"),
            files.join("\n")
        );
    }
    spec += "%install\n";
    for file in packages.iter().flat_map(|package| package.files) {
        spec += &format!("mkdir -p $(dirname %{{buildroot}}{file})\necho > %{{buildroot}}{file}\n");
    }
    repository(dir, &spec);
}

/// A pool with a distribution and with packages of the farm.
struct Farm {
    dir: tempfile::TempDir,
    pool: Pool,
    sources: usize,
}

impl Farm {
    fn new(distribution: &[Made<'_>]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().join("base");
        write(&base, "base", distribution);
        let mut pool = Pool::new(Arch::X86_64);
        let about = Repository { id: "base".into(), ..Repository::default() };
        let (primary, filelists) = (metadata(&base, "primary"), metadata(&base, "filelists"));
        pool.load_repository(about, &primary, Some(&filelists)).unwrap();
        pool.add_repository(Repository { id: FARM.into(), ..Repository::default() }).unwrap();
        Self { dir, pool, sources: 0 }
    }

    /// Adds packages of one source package.
    fn add(&mut self, source: &str, packages: &[Made<'_>]) -> Vec<Nevra> {
        self.sources += 1;
        let dir = self.dir.path().join(format!("{source}-{}", self.sources));
        write(&dir, source, packages);
        self.pool.add_packages(FARM, &fragments(&dir)).unwrap();
        let nevra = |one: &Made<'_>| format!("{}-{}-1.noarch", one.name, one.version);
        packages.iter().map(|one| nevra(one).parse().unwrap()).collect()
    }

    fn find(&mut self, before: &[&[Nevra]], after: &[&[Nevra]], is_closed: bool) -> ProofFindings {
        let set = |lists: &[&[Nevra]]| -> HashSet<Nevra> {
            lists.iter().copied().flatten().cloned().collect()
        };
        let (before, after) = (set(before), set(after));
        let question =
            ProofQuestion { repositories: &[FARM], before: &before, after: &after, is_closed };
        self.pool.prove(&question).unwrap()
    }
}

fn kinds(problems: &[Problem]) -> Vec<(ProblemKind, String)> {
    problems.iter().map(|one| (one.kind, one.package.to_string())).collect()
}

const SHELL: Made<'_> = made("shell", "1", &["Provides: sh"]);

#[test]
fn what_the_old_content_provided_and_the_new_one_does_not_is_lost() {
    let mut farm = Farm::new(&[SHELL]);
    let app = farm.add("app", &[made("app", "1", &["Requires: engine = 1", "Requires: sh"])]);
    let old = farm.add("lib", &[made("lib", "1", &["Provides: engine = 1"])]);
    let new = farm.add("lib", &[made("lib", "2", &["Provides: engine = 2"])]);
    let found = farm.find(&[&app, &old], &[&app, &new], true);
    assert_eq!(kinds(&found.after), [(ProblemKind::Lost, "app-1-1.noarch".into())]);
    let problem = &found.after[0];
    assert_eq!((problem.what.as_str(), problem.other.as_ref()), ("engine = 1", Some(&old[0])));
    assert!(problem.chain.iter().any(|line| line.contains("lib-1-1.noarch provides")));
    assert_eq!(found.before, []);
    // The same where the rest of the world is not known.
    assert_eq!(farm.find(&[&app, &old], &[&app, &new], false).after, found.after);
    // Beside the old version nothing is lost.
    assert_eq!(farm.find(&[&app, &old], &[&app, &old, &new], true).after, []);
    // Nothing of the pool has changed for later questions.
    assert_eq!(farm.find(&[&app, &old], &[&app, &new], true), found);
}

#[test]
fn what_is_new_must_install_and_what_was_broken_stays_known() {
    let mut farm = Farm::new(&[SHELL, made("enemy", "1", &["Conflicts: shell"])]);
    let good = farm.add("good", &[made("good", "1", &["Requires: sh"])]);
    let lacks = farm.add("lacks", &[made("lacks", "1", &["Requires: nowhere >= 4"])]);
    let torn = farm.add("torn", &[made("torn", "1", &["Requires: enemy", "Requires: sh"])]);
    let rich = farm.add("rich", &[made("rich", "1", &["Requires: (nowhere or nobody)"])]);
    let all = [&good[..], &lacks, &torn, &rich];
    let found = farm.find(&[], &all, true);
    let mut names = kinds(&found.after);
    names.sort();
    assert_eq!(
        names,
        [
            (ProblemKind::Requires, "lacks-1-1.noarch".into()),
            (ProblemKind::Install, "rich-1-1.noarch".into()),
            (ProblemKind::Install, "torn-1-1.noarch".into()),
        ]
    );
    assert_eq!(farm.find(&[], &all, false).after, [], "without a distribution nobody knows");
    assert_eq!(farm.find(&all, &all, true), ProofFindings::default(), "nothing changes");

    // The next version of each is no better.
    let later = farm.add("torn", &[made("torn", "2", &["Requires: enemy", "Requires: sh"])]);
    let found = farm.find(&[&torn, &lacks], &[&later, &lacks], true);
    let old: Vec<_> = kinds(&found.before);
    assert!(old.contains(&(ProblemKind::Install, "torn-1-1.noarch".into())), "{old:?}");
    assert!(old.contains(&(ProblemKind::Requires, "lacks-1-1.noarch".into())), "{old:?}");
    let new = rpmfarm_core::proof::new_problems(&found.before, found.after);
    assert_eq!(new, []);
}

#[test]
fn who_has_the_old_packages_must_be_able_to_upgrade() {
    let mut farm = Farm::new(&[SHELL]);
    let tools = made("app-tools", "1", &["Requires: app = 1"]);
    let old = farm.add("app", &[made("app", "1", &[]), tools]);
    let new = farm.add("app", &[made("app", "2", &[])]);
    let found = farm.find(&[&old], &[&new], true);
    let upgrades = kinds(&found.after);
    assert_eq!(upgrades.len(), 1, "{:?}", found.after);
    assert_eq!(upgrades[0].0, ProblemKind::Upgrade);
    let text = format!("{} {}", found.after[0], found.after[0].chain.join(" "));
    assert!(text.contains("app-tools-1-1.noarch") && text.contains("app = 1"), "{text}");

    let heir = made("app", "3", &["Obsoletes: app-tools < 3"]);
    let replaced = farm.add("app", &[heir]);
    assert_eq!(farm.find(&[&old], &[&replaced], true).after, [], "it is replaced");
    let both =
        farm.add("app", &[made("app", "4", &[]), made("app-tools", "4", &["Requires: app = 4"])]);
    assert_eq!(farm.find(&[&old], &[&both], true).after, [], "both are upgraded");
    assert_eq!(farm.find(&[&both], &[&old], true).after, [], "a rollback is no upgrade");
    assert_eq!(farm.find(&[&old], &[], true).after, [], "it is gone as a whole");
}

#[test]
fn packages_that_exclude_each_other_upgrade_one_by_one() {
    let mut farm = Farm::new(&[SHELL]);
    let version = |version| {
        [
            made("app-full", version, &["Conflicts: app-small"]),
            made("app-small", version, &["Conflicts: app-full"]),
        ]
    };
    let old = farm.add("app", &version("1"));
    let new = farm.add("app", &version("2"));
    assert_eq!(farm.find(&[&old], &[&new], true).after, []);
}

#[test]
fn packages_that_share_a_path_are_found() {
    let files = |name, version, lines, files| Made { name, version, lines, files };
    let common = &["/usr/share/common/data", "/usr/share/common/other"];
    let mut farm = Farm::new(&[
        files("system", "1", &[], &["/usr/share/common/data"]),
        files("replaced", "1", &[], &["/usr/share/common/other"]),
    ]);
    let one = farm.add("one", &[files("one", "1", &[], common)]);
    let two = farm.add("two", &[files("two", "1", &["Conflicts: one"], common)]);
    let three = farm.add("three", &[files("three", "1", &[], &["/usr/share/common/other"])]);
    let heir = farm.add("replaced", &[files("replaced", "2", &[], &["/usr/share/elsewhere"])]);
    let found = farm.find(&[&one], &[&one, &two, &three, &heir], true);
    let mut pairs: Vec<_> = found
        .shared
        .iter()
        .map(|pair| (pair.package.name.as_str(), pair.other.name.as_str(), pair.external.is_some()))
        .collect();
    pairs.sort_unstable();
    let expected = [("three", "one", false), ("three", "two", false), ("two", "system", true)];
    // Which of two new packages comes first is not promised.
    let swapped: Vec<_> = pairs
        .iter()
        .map(|pair| if *pair == ("two", "three", false) { expected[1] } else { *pair })
        .collect();
    assert_eq!(swapped.iter().collect::<HashSet<_>>(), expected.iter().collect::<HashSet<_>>());
    assert_eq!(farm.find(&[&one, &two], &[&two], true).shared, [], "nothing is new");
}

#[test]
fn debug_packages_see_more_than_others() {
    let mut farm = Farm::new(&[SHELL]);
    let source = farm.add("app", &[made("app-debugsource", "1", &[])]);
    let debug = farm.add("more", &[made("app-debuginfo", "1", &["Requires: app-debugsource"])]);
    let app = farm.add("other", &[made("app", "1", &["Requires: app-debugsource"])]);
    let found = farm.find(&[], &[&source, &debug, &app], true);
    assert_eq!(kinds(&found.after), [(ProblemKind::Requires, "app-1-1.noarch".into())]);
}
