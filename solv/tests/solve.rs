//! The solver with real metadata; dnf is the reference for its choices.

#![allow(clippy::unwrap_used, reason = "a step that fails is the failure of its test")]

mod common;

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use common::{dnf, fragments, metadata, pool, repository, solve};
use rpmfarm_core::Arch;
use rpmfarm_solv::{
    Fragment, MissingRequirement, Pool, PoolError, Repository, RepositoryFiles, Requirer,
    SolveError, SolveRequest, SolverCache,
};

/// One package that is only its name and its dependencies.
fn package(name: &str, version: &str, dependencies: &[&str]) -> String {
    with_files(name, version, dependencies, &[])
}

fn with_files(name: &str, version: &str, dependencies: &[&str], files: &[&str]) -> String {
    format!(
        "%package -n {name}\nVersion: {version}\nSummary: s\n{}\n%description -n {name}\nd\n%files -n {name}\n{}\n",
        dependencies.join("\n"),
        files.join("\n")
    )
}

fn spec(packages: &[String], files: &[&str]) -> String {
    let install: String = files
        .iter()
        .map(|file| {
            format!("mkdir -p $(dirname %{{buildroot}}{file})\necho > %{{buildroot}}{file}\n")
        })
        .collect();
    format!(
        "Name: set\nVersion: 1\nRelease: 1\nSummary: s\nLicense: MIT\nBuildArch: noarch\nAutoReqProv: no\n%description\nd\n{}\n%install\n{install}\n",
        packages.concat()
    )
}

struct Repositories {
    _dir: tempfile::TempDir,
    upstream: PathBuf,
    farm: PathBuf,
}

/// Two repositories that all tests read.
static REPOSITORIES: LazyLock<Repositories> = LazyLock::new(|| {
    let dir = tempfile::tempdir().unwrap();
    let (upstream, farm) = (dir.path().join("upstream"), dir.path().join("farm"));
    let packages = [
        package(
            "app",
            "1.0",
            &[
                "Requires: lib >= 2",
                "Requires: (plugin-x if feature-x)",
                "Requires: (plugin-y if feature-y)",
                "Requires: (one or two)",
                "Requires: /usr/share/table/data",
                "Requires: /usr/bin/tool",
                "Recommends: weak",
            ],
        ),
        package("lib", "3.0", &["Provides: pkgconfig(lib) = 3.0"]),
        package("feature-x", "1", &[]),
        package("feature-y", "1", &[]),
        package("plugin-x", "1", &[]),
        package("plugin-y", "1", &[]),
        package("one", "1", &[]),
        package("two", "1", &["Epoch: 2"]),
        package("weak", "1", &[]),
        with_files("table", "1", &[], &["/usr/share/table/data", "/usr/share/table/other"]),
        with_files("tool", "1", &[], &["/usr/bin/tool"]),
        package("enemy", "1", &["Conflicts: app"]),
        package("successor", "9", &["Obsoletes: predecessor < 9", "Provides: predecessor = 9"]),
        package("predecessor", "1", &[]),
        package("broken", "1", &["Requires: nowhere >= 4", "Requires: /usr/share/nowhere"]),
        package("needs-broken", "1", &["Requires: broken"]),
        package("needs-new-lib", "1", &["Requires: lib >= 3"]),
    ];
    let files = ["/usr/share/table/data", "/usr/share/table/other", "/usr/bin/tool"];
    repository(&upstream, &spec(&packages, &files));
    repository(&farm, &spec(&[package("lib", "2.5", &["Provides: pkgconfig(lib) = 2.5"])], &[]));
    Repositories { _dir: dir, upstream, farm }
});

fn both() -> [(&'static Path, i32); 2] {
    [(&REPOSITORIES.upstream, 99), (&REPOSITORIES.farm, 10)]
}

#[test]
fn picks_what_dnf_picks() {
    let mut pool = pool(&both());
    for install in [
        &["app"][..],
        &["app", "feature-x"],
        &["app", "two", "feature-y", "feature-x"],
        &["/usr/share/table/other"],
        &["pkgconfig(lib)", "/usr/bin/tool"],
        &["lib >= 3"],
        &["needs-new-lib"],
        &["predecessor"],
        &["app", "weak"],
    ] {
        let expected = dnf(&both(), install).unwrap_or_else(|e| panic!("{install:?}: {e}"));
        assert_eq!(solve(&mut pool, install), Ok(expected), "{install:?}");
    }
    for install in
        [&["app", "enemy"][..], &["needs-broken"], &["no-such-package"], &["/usr/share/nowhere"]]
    {
        assert!(dnf(&both(), install).is_err(), "{install:?}");
        assert!(solve(&mut pool, install).is_err(), "{install:?}");
    }
}

#[test]
fn the_repository_with_priority_wins_over_a_higher_version() {
    let chosen = |repositories: &[(&Path, i32)]| solve(&mut pool(repositories), &["lib"]).unwrap();
    let [upstream, farm] = both();
    assert!(chosen(&[upstream, farm]).contains("lib-2.5-1.noarch"));
    assert!(chosen(&[upstream, (farm.0, 99)]).contains("lib-3.0-1.noarch"));
}

#[test]
fn rich_requirements_of_the_request_itself() {
    let mut pool = pool(&both());
    let got = solve(&mut pool, &["(plugin-x if feature-x)", "feature-x"]).unwrap();
    assert!(got.contains("plugin-x-1-1.noarch"));
    let got = solve(&mut pool, &["(plugin-x if feature-x)", "feature-y"]).unwrap();
    assert!(!got.contains("plugin-x-1-1.noarch"));
    let got = solve(&mut pool, &["(/usr/share/table/other or no-such-package)"]).unwrap();
    assert!(got.contains("table-1-1.noarch"));
    let error = solve(&mut pool, &["(no-such or neither-this)"]).unwrap_err();
    assert!(error.contains("no-such") && error.contains("neither-this"), "{error}");
    let error = solve(&mut pool, &["(a if"]).unwrap_err();
    assert!(error.contains("`(a if` is not a requirement"), "{error}");
}

#[test]
fn everything_that_is_missing_is_named_with_who_requires_it() {
    let mut pool = pool(&both());
    let request =
        SolveRequest { install: vec!["needs-broken", "absent >= 2", "app"], ..Default::default() };
    let Err(SolveError::Unsolvable(found)) = pool.solve(&request) else { panic!("solved") };
    let by = Requirer::Package("broken-1-1.noarch".parse().unwrap());
    for missing in [
        MissingRequirement { requirement: "nowhere >= 4".into(), by: by.clone() },
        MissingRequirement { requirement: "/usr/share/nowhere".into(), by },
        MissingRequirement { requirement: "absent >= 2".into(), by: Requirer::Request },
    ] {
        assert!(found.missing.contains(&missing), "{missing:?} not in {found:?}");
    }
    assert_eq!(found.missing.len(), 3, "{found:?}");
    let line = found.to_string();
    assert!(line.contains("nothing provides `absent >= 2`, required by the build"), "{line}");
    assert!(!line.contains('\n'), "{line}");
    let chain = "requires broken, but none of the providers can be installed";
    assert!(found.details.iter().any(|text| text.contains(chain)), "{found:?}");
}

#[test]
fn conflicts_are_said_in_words() {
    let mut pool = pool(&both());
    let request = SolveRequest { install: vec!["app", "enemy"], ..Default::default() };
    let Err(SolveError::Unsolvable(found)) = pool.solve(&request) else { panic!("solved") };
    assert!(found.missing.is_empty(), "{found:?}");
    let words = "package enemy-1-1.noarch conflicts with app";
    assert!(found.conflicts.iter().any(|text| text.contains(words)), "{found:?}");

    let request = SolveRequest { install: vec!["app"], forbid: vec!["lib"], ..Default::default() };
    assert!(matches!(pool.solve(&request), Err(SolveError::Unsolvable(_))));
}

#[test]
fn pinned_packages_stay_and_pins_do_not_outlive_the_pool() {
    let mut pool = pool(&both());
    let solution = |pool: &mut Pool, install: Vec<&'static str>, pinned| {
        pool.solve(&SolveRequest { install, pinned, forbid: vec![] })
    };
    let base = solution(&mut pool, vec!["lib", "two"], vec![]).unwrap();
    let pins: Vec<_> = base.packages.iter().map(|p| p.id).collect();
    let all = solution(&mut pool, vec!["app"], pins.clone()).unwrap();
    for package in &base.packages {
        assert!(all.packages.contains(package));
    }
    assert!(!all.packages.iter().any(|p| p.nevra.name == "one"), "`two` was there already");
    // The pinned library is too old, and there cannot be two.
    let error = solution(&mut pool, vec!["needs-new-lib"], pins.clone()).unwrap_err();
    assert!(matches!(error, SolveError::Unsolvable(_)), "{error}");

    pool.add_repository(Repository { id: "own".into(), ..Default::default() }).unwrap();
    pool.add_packages("own", &fragments(&REPOSITORIES.farm)).unwrap();
    let error = solution(&mut pool, vec!["app"], pins).unwrap_err();
    assert!(matches!(error, SolveError::StalePin), "{error}");
}

#[test]
fn own_packages_come_go_and_are_replaced() {
    let mut pool = pool(&[(&REPOSITORIES.farm, 99)]);
    pool.add_repository(Repository { id: "own".into(), priority: 1, ..Repository::default() })
        .unwrap();
    assert!(solve(&mut pool, &["/usr/share/table/other"]).is_err());
    let fragments = fragments(&REPOSITORIES.upstream);
    let count = pool.len();
    pool.add_packages("own", &fragments).unwrap();
    assert_eq!(pool.len(), count + fragments.len());
    let got = solve(&mut pool, &["/usr/share/table/other", "app"]).unwrap();
    assert!(got.contains("table-1-1.noarch") && got.contains("lib-3.0-1.noarch"), "{got:?}");

    pool.add_packages("own", &fragments).unwrap();
    assert_eq!(pool.len(), count + fragments.len(), "replaced, not doubled");
    assert_eq!(solve(&mut pool, &["/usr/share/table/other", "app"]), Ok(got));

    let nevra = "table-1-1.noarch".parse().unwrap();
    pool.remove_packages("own", &[nevra]).unwrap();
    let error = solve(&mut pool, &["app"]).unwrap_err();
    let missing = "nothing provides `/usr/share/table/data`, required by app-1.0-1.noarch";
    assert!(error.contains(missing), "{error}");
}

#[test]
fn a_malformed_fragment_adds_nothing() {
    let mut pool = pool(&[(&REPOSITORIES.farm, 99)]);
    pool.add_repository(Repository { id: "own".into(), ..Default::default() }).unwrap();
    let count = pool.len();
    let mut fragments = fragments(&REPOSITORIES.upstream);
    fragments[3].primary.truncate(100);
    let error = pool.add_packages("own", &fragments).unwrap_err().to_string();
    assert!(error.contains("repository `own`: malformed"), "{error}");
    assert_eq!(pool.len(), count);
    assert!(solve(&mut pool, &["lib"]).is_ok());
    assert!(pool.add_packages("none", &fragments).is_err());
}

#[test]
fn solutions_carry_what_a_lock_needs() {
    let mut pool = pool(&both());
    let request = SolveRequest { install: vec!["two", "lib"], ..Default::default() };
    let solution = pool.solve(&request).unwrap();
    let names: Vec<_> = solution.packages.iter().map(|p| p.nevra.to_string()).collect();
    assert_eq!(names, ["lib-2.5-1.noarch", "two-2:1-1.noarch"]);
    for package in &solution.packages {
        let dir = match package.repository.as_str() {
            "farm" => &REPOSITORIES.farm,
            "upstream" => &REPOSITORIES.upstream,
            other => panic!("{other}"),
        };
        let bytes = std::fs::read(dir.join(&package.location)).unwrap();
        assert_eq!(package.size, bytes.len() as u64);
        assert_eq!(package.digest, rpmfarm_core::Sha256::compute(&bytes));
        assert_eq!(package.source, "set");
    }
}

#[test]
fn excluded_packages_are_not_there() {
    let dir = &REPOSITORIES.upstream;
    let mut pool = Pool::new(Arch::X86_64);
    let excludes = vec!["plugin-*".to_owned(), "one.noarch".to_owned()];
    let about =
        Repository { id: "upstream".into(), priority: 99, excludes, ..Repository::default() };
    pool.load_repository(about, &metadata(dir, "primary"), Some(&metadata(dir, "filelists")))
        .unwrap();
    assert!(solve(&mut pool, &["plugin-x"]).is_err());
    assert!(solve(&mut pool, &["app"]).unwrap().contains("two-2:1-1.noarch"));
    assert!(solve(&mut pool, &["app", "feature-x"]).is_err());
}

/// libsolv makes a map of a bit for each package that is left, and sets bits by the places of
/// packages among all that were read: without care it forgets the files of the last ones.
#[test]
fn files_are_found_behind_many_excluded_packages() {
    let dir = tempfile::tempdir().unwrap();
    let head = |name: &str, more: &str| {
        format!(
            "%package -n {name}\nSummary: x\n{more}\n%description -n {name}\nx\n%files -n {name}\n"
        )
    };
    let mut spec =
        "Name: many\nVersion: 1\nRelease: 1\nSummary: x\nLicense: x\nBuildArch: noarch\n\
                    %description\nx\n%install\nmkdir -p %{buildroot}/usr/share/owned\n"
            .to_owned();
    (0..80).for_each(|number| spec += &head(&format!("a{number:02}"), ""));
    spec += &head("z-owner", "");
    spec += "/usr/share/owned\n";
    spec += &head("z-user", "Requires: /usr/share/owned");
    let repository = dir.path().join("many");
    common::repository(&repository, &spec);
    let mut pool = Pool::new(Arch::X86_64);
    let about =
        Repository { id: "many".into(), excludes: vec!["a??".into()], ..Repository::default() };
    let (primary, filelists) =
        (metadata(&repository, "primary"), metadata(&repository, "filelists"));
    pool.load_repository(about, &primary, Some(&filelists)).unwrap();
    let found = solve(&mut pool, &["z-user"]).unwrap();
    assert_eq!(found, ["z-owner-1-1.noarch", "z-user-1-1.noarch"].map(str::to_owned).into());
}

#[test]
fn other_architectures_and_broken_files_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let plain = common::run(
        std::process::Command::new("gzip")
            .arg("-dc")
            .arg(metadata(&REPOSITORIES.upstream, "primary")),
    );
    let primary = dir.path().join("primary.xml");
    std::fs::write(&primary, plain.replace("<arch>noarch</arch>", "<arch>ppc64le</arch>")).unwrap();
    let about = |id: &str| Repository { id: id.into(), ..Default::default() };
    let mut pool = Pool::new(Arch::X86_64);
    pool.load_repository(about("ppc"), &primary, None).unwrap();
    assert!(solve(&mut pool, &["lib"]).is_err());

    std::fs::write(&primary, &plain[..plain.len() / 2]).unwrap();
    let count = pool.len();
    let error = pool.load_repository(about("torn"), &primary, None).unwrap_err().to_string();
    assert!(error.contains("repository `torn`: cannot read"), "{error}");
    assert_eq!(pool.len(), count);
    let error = pool.load_repository(about("gone"), &dir.path().join("x.xml"), None).unwrap_err();
    assert!(error.to_string().contains("No such file"), "{error}");
    assert!(pool.load_repository(about("ppc"), &primary, None).is_err());
}

#[test]
fn what_nobody_provides_is_found_with_those_that_rest_on_it() {
    let dir = tempfile::tempdir().unwrap();
    let packages = [
        package("jit", "1", &[]),
        package("script", "1", &["Requires: jit >= 1", "Requires: lib"]),
        package("suite", "1", &["Requires: script"]),
        package("rich", "1", &["Requires: (no-such if jit)"]),
        package("path", "1", &["Requires: /usr/share/table/other"]),
        package("typo", "1", &["Requires: no-such-package"]),
        package("weak", "1", &["Recommends: no-such-package"]),
    ];
    repository(dir.path(), &spec(&packages, &[]));
    let mut pool = pool(&[(&REPOSITORIES.upstream, 99)]);
    let own = Repository { id: "own".into(), priority: 1, ..Repository::default() };
    pool.add_repository(own).unwrap();
    pool.add_packages("own", &fragments(dir.path())).unwrap();
    let mut lacking = |without: &[&str]| {
        let names = ["jit", "script", "suite", "rich", "path", "typo", "weak"];
        let shown = names.into_iter().filter(|name| !without.contains(name));
        let shown = shown.map(|name| format!("{name}-1-1.noarch").parse().unwrap()).collect();
        let mut found = pool.lacking("own", &shown).unwrap();
        found.sort_by_key(|(nevra, _)| nevra.to_string());
        found.into_iter().map(|(nevra, what)| format!("{} {what}", nevra.name)).collect::<Vec<_>>()
    };
    assert_eq!(lacking(&[]), ["typo no-such-package"]);
    let all = ["script jit >= 1", "suite script", "typo no-such-package"];
    assert_eq!(lacking(&["jit"]), all);
    // Packages that are not shown themselves are not checked.
    assert_eq!(lacking(&["jit", "script", "suite", "typo"]), [""; 0]);
    assert!(pool.lacking("none", &Default::default()).is_err());
}

#[test]
fn a_solve_apart_leaves_packages_out_and_the_pool_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let own = [package("lib", "9", &["Provides: pkgconfig(lib) = 9"]), package("extra", "1", &[])];
    repository(dir.path(), &spec(&own, &[]));
    let mut pool = pool(&[(&REPOSITORIES.upstream, 99)]);
    let about = Repository { id: "own".into(), priority: 1, ..Repository::default() };
    pool.add_repository(about).unwrap();
    pool.add_packages("own", &fragments(dir.path())).unwrap();
    let request = |name| SolveRequest { install: vec![name], ..SolveRequest::default() };
    let names = |packages: &[rpmfarm_solv::Package]| {
        packages.iter().map(|package| package.nevra.to_string()).collect::<Vec<_>>()
    };
    let apart = pool.solve_apart(&request("lib"), "own", |_, _| false).unwrap().packages;
    assert_eq!(names(&apart), ["lib-3.0-1.noarch"]);
    assert!(pool.solve_apart(&request("extra"), "own", |_, _| false).is_err());
    let some = pool.solve_apart(&request("extra"), "own", |nevra, _| nevra.name == "extra");
    assert_eq!(names(&some.unwrap().packages), ["extra-1-1.noarch"]);
    // By the source package too.
    let all = pool.solve_apart(&request("lib"), "own", |_, source| source == "set").unwrap();
    assert_eq!(names(&all.packages), ["lib-9-1.noarch"]);
    // The pool has not changed, and the packages of the separate solve can be pinned.
    assert_eq!(names(&pool.solve(&request("lib")).unwrap().packages), ["lib-9-1.noarch"]);
    let pinned = apart.iter().map(|package| package.id).collect();
    let on_top = SolveRequest { install: vec!["one"], pinned, ..SolveRequest::default() };
    assert_eq!(
        names(&pool.solve(&on_top).unwrap().packages),
        ["lib-3.0-1.noarch", "one-1-1.noarch"]
    );
    // Also when other packages were added since; packages that were added or removed themselves
    // cannot.
    assert!(pool.renewed(&all.packages, "own").is_none());
    pool.remove_packages("own", &["extra-1-1.noarch".parse().unwrap()]).unwrap();
    let pinned = pool.renewed(&apart, "own").unwrap().iter().map(|package| package.id).collect();
    let on_top = SolveRequest { install: vec!["one"], pinned, ..SolveRequest::default() };
    assert_eq!(pool.solve(&on_top).unwrap().packages.len(), 2);
}

#[test]
fn a_pool_tells_who_has_what() {
    let mut pool = pool(&both());
    let asked = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let found_names =
        |found: &std::collections::BTreeMap<String, Vec<rpmfarm_solv::PoolPackage>>| {
            let all = found.iter().flat_map(|(what, held)| held.iter().map(move |one| (what, one)));
            all.map(|(what, one)| format!("{what}: {} of {}", one.nevra.name, one.source))
                .collect::<std::collections::BTreeSet<_>>()
                .into_iter()
                .collect::<Vec<_>>()
        };
    assert_eq!(found_names(&pool.named(&asked(&["lib", "nobody"]))), ["lib: lib of set"]);
    let capabilities = ["pkgconfig(lib)", "predecessor", "/usr/bin/tool", "nobody"];
    let found = pool.providing(&asked(&capabilities), &asked(&[])).unwrap();
    let expected = [
        "/usr/bin/tool: tool of set",
        "pkgconfig(lib): lib of set",
        "predecessor: predecessor of set",
        "predecessor: successor of set",
    ];
    assert_eq!(found_names(&found), expected);
    // A path that no package requires is looked up where a build has required it.
    let path = "/usr/share/table/other";
    assert!(pool.providing(&asked(&[path]), &asked(&[])).unwrap().is_empty());
    let found = pool.providing(&asked(&[path]), &asked(&[path])).unwrap();
    assert_eq!(found_names(&found), ["/usr/share/table/other: table of set"]);
    let found = pool.having(&asked(&["/usr/bin/tool", path]));
    assert_eq!(found_names(&found), ["/usr/bin/tool: tool of set"], "programs are always known");
}

/// The metadata files of a repository for a cache, in a state of this name.
fn files(dir: &Path, state: &str) -> RepositoryFiles {
    RepositoryFiles {
        digest: rpmfarm_core::Sha256::compute(state.as_bytes()),
        primary: metadata(dir, "primary"),
        filelists: Some(metadata(dir, "filelists")),
    }
}

/// A pool of both repositories by way of a cache.
fn cached(cache: &SolverCache, excludes: &[&str]) -> Pool {
    let mut pool = Pool::new(Arch::X86_64);
    for (dir, priority) in both() {
        let id = common::id(dir);
        let files = files(dir, &id);
        let excludes = excludes.iter().map(|&pattern| pattern.to_owned()).collect();
        let about = Repository { id, priority, excludes, ..Repository::default() };
        pool.load_cached_repository(about, &files, cache).unwrap();
    }
    pool
}

/// The names of the files in a directory.
fn kept(dir: &Path) -> Vec<PathBuf> {
    let mut all: Vec<_> =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    all.sort();
    all
}

fn ends(path: &Path, end: &str) -> bool {
    path.to_string_lossy().ends_with(end)
}

#[test]
fn a_cached_pool_solves_as_one_of_the_metadata() {
    let dir = tempfile::tempdir().unwrap();
    let cache = SolverCache::new(dir.path().join("solver"));
    let mut plain = pool(&both());
    // The first makes the files, the second reads them.
    for turn in 0..2 {
        let mut pool = cached(&cache, &[]);
        assert_eq!(pool.len(), plain.len(), "turn {turn}");
        for install in [
            &["app"][..],
            &["app", "two", "feature-y", "feature-x"],
            &["/usr/share/table/other"],
            &["pkgconfig(lib)", "/usr/bin/tool"],
            &["predecessor"],
            &["needs-broken"],
            &["/usr/share/nowhere"],
        ] {
            assert_eq!(solve(&mut pool, install), solve(&mut plain, install), "{install:?}");
        }
        let request = SolveRequest { install: vec!["app", "two"], ..SolveRequest::default() };
        let [found, expected] = [&mut pool, &mut plain].map(|pool| pool.solve(&request).unwrap());
        for (found, expected) in found.packages.iter().zip(&expected.packages) {
            assert_eq!(found.digest, expected.digest);
            assert_eq!((found.size, &found.location), (expected.size, &expected.location));
            assert_eq!((&found.source, &found.base), (&expected.source, &expected.base));
        }
        let asked = ["/usr/bin/tool".to_owned(), "/usr/share/table/other".to_owned()].into();
        assert_eq!(pool.having(&asked), plain.having(&asked));
        assert_eq!(pool.take_warnings(), [""; 0]);
        // Packages of each, and file lists, as a package requires a path that only these have.
        let files = kept(&dir.path().join("solver"));
        assert_eq!(files.iter().filter(|path| ends(path, ".solv")).count(), 2, "{files:?}");
        assert_eq!(files.iter().filter(|path| ends(path, ".solvx")).count(), 2, "{files:?}");
        assert_eq!(files.len(), 4, "{files:?}");
    }
}

#[test]
fn cached_file_lists_are_read_when_they_are_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let cache = SolverCache::new(dir.path());
    let load = || {
        let mut pool = Pool::new(Arch::X86_64);
        let about = Repository { id: "farm".into(), ..Repository::default() };
        pool.load_cached_repository(about, &files(&REPOSITORIES.farm, "1"), &cache).unwrap();
        pool
    };
    let mut pool = load();
    pool.prepare_for(["lib", "/usr/bin/no-such"]).unwrap();
    assert!(solve(&mut pool, &["lib"]).is_ok());
    assert!(solve(&mut pool, &["/usr/bin/no-such"]).is_err());
    assert!(!kept(dir.path()).iter().any(|path| ends(path, ".solvx")));
    pool.prepare_for(["lib", "(/usr/share/no-such if lib)"]).unwrap();
    assert!(kept(dir.path()).iter().any(|path| ends(path, ".solvx")));
    // Files that are removed while they are used are made anew.
    let mut pool = load();
    kept(dir.path()).iter().for_each(|path| std::fs::remove_file(path).unwrap());
    assert!(solve(&mut pool, &["/usr/share/no-such"]).is_err());
    assert!(solve(&mut pool, &["lib"]).is_ok());
    assert_eq!(kept(dir.path()).len(), 2);
}

#[test]
fn damaged_and_foreign_cache_files_are_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let cache = SolverCache::new(dir.path());
    let expected = solve(&mut cached(&cache, &[]), &["app"]);
    assert!(expected.is_ok());
    let whole: Vec<_> =
        kept(dir.path()).into_iter().map(|path| (std::fs::read(&path).unwrap(), path)).collect();
    type Damage = fn(&[u8]) -> Vec<u8>;
    let damages: [Damage; 5] = [
        |bytes| bytes[..bytes.len() / 2].to_vec(),
        |_| Vec::new(),
        |_| b"something else".repeat(100),
        |bytes| [&bytes[1..], b"x"].concat(),
        |bytes| bytes.iter().map(|byte| byte ^ 0x55).collect(),
    ];
    for (number, damage) in damages.iter().enumerate() {
        for (bytes, path) in &whole {
            std::fs::write(path, damage(bytes)).unwrap();
        }
        let mut pool = cached(&cache, &[]);
        assert_eq!(solve(&mut pool, &["app"]), expected, "{number}");
        assert_eq!(pool.take_warnings(), [""; 0]);
        for (bytes, path) in &whole {
            assert_eq!(&std::fs::read(path).unwrap(), bytes, "{number}: {}", path.display());
        }
    }
}

#[test]
fn a_cache_that_cannot_be_written_costs_a_warning() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let mut pool = cached(&SolverCache::new(&file), &[]);
    let warnings = pool.take_warnings();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].contains("solver data in "), "{warnings:?}");
    assert!(solve(&mut pool, &["app"]).is_ok());
}

#[test]
fn excluded_packages_are_not_in_a_cached_pool_either() {
    let dir = tempfile::tempdir().unwrap();
    let cache = SolverCache::new(dir.path());
    for _ in 0..2 {
        assert!(solve(&mut cached(&cache, &[]), &["plugin-x"]).is_ok());
        // The first and the last of its packages, so that places are missing at both ends.
        let mut pool = cached(&cache, &["plugin-*", "app", "needs-new-lib"]);
        assert!(solve(&mut pool, &["plugin-x"]).is_err());
        let found = solve(&mut pool, &["/usr/share/table/other"]).unwrap();
        assert_eq!(found, ["table-1-1.noarch".to_owned()].into());
    }
}

#[test]
fn two_packages_of_one_checksum_are_refused_by_name() {
    let mut pool = pool(&[(&REPOSITORIES.farm, 99)]);
    pool.add_repository(Repository { id: "own".into(), ..Default::default() }).unwrap();
    let all = fragments(&REPOSITORIES.upstream);
    let of = |name: &str| {
        let place = all.iter().position(|f| f.primary.contains(&format!("<name>{name}</name>")));
        all[place.unwrap()].clone()
    };
    let (one, table) = (of("one"), of("table"));
    let mut other = one.clone();
    other.primary = other.primary.replace("<name>one</name>", "<name>other</name>");
    let count = pool.len();
    let refused = |pool: &mut Pool, fragments: &[Fragment]| match pool
        .add_packages("own", fragments)
        .unwrap_err()
    {
        PoolError::SameChecksum { twins, .. } => twins,
        error => panic!("{error}"),
    };
    // In one batch, by another name and by the same.
    let batch = [table.clone(), one.clone(), other.clone(), one.clone()];
    let twins = refused(&mut pool, &batch);
    assert_eq!(twins.iter().map(|twin| twin.place).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(twins[0].package.to_string(), "other-1-1.noarch");
    assert_eq!(twins[0].other.to_string(), "one-1-1.noarch");
    let error = pool.add_packages("own", &batch).unwrap_err().to_string();
    let message = "repository `own`: other-1-1.noarch has the checksum of one-1-1.noarch, ";
    assert!(error.starts_with(message), "{error}");
    assert_eq!(pool.len(), count);
    // In one after the other.
    pool.add_packages("own", &[table, one.clone()]).unwrap();
    assert_eq!(refused(&mut pool, &[other.clone()])[0].place, 0);
    assert_eq!(pool.len(), count + 2);
    let owner = solve(&mut pool, &["/usr/share/table/other"]).unwrap();
    assert_eq!(owner, ["table-1-1.noarch".to_owned()].into());
    // A package does not conflict with itself, nor with one that was removed.
    pool.add_packages("own", &[one]).unwrap();
    pool.remove_packages("own", &["one-1-1.noarch".parse().unwrap()]).unwrap();
    pool.add_packages("own", &[other]).unwrap();
    assert!(solve(&mut pool, &["other"]).is_ok());
}

#[test]
fn file_lists_of_another_package_are_refused() {
    let mut pool = pool(&[(&REPOSITORIES.farm, 99)]);
    pool.add_repository(Repository { id: "own".into(), ..Default::default() }).unwrap();
    let all = fragments(&REPOSITORIES.upstream);
    let (first, second) = (all[0].clone(), all[1].clone());
    for filelists in
        [second.filelists.clone(), [&*first.filelists, &*second.filelists].concat(), "x".into()]
    {
        let wrong = Fragment { filelists, ..first.clone() };
        let error = pool.add_packages("own", &[wrong, second.clone()]).unwrap_err().to_string();
        assert!(error.contains("its file lists are not those of one package"), "{error}");
    }
    let none = Fragment { filelists: String::new(), ..first };
    pool.add_packages("own", &[none, second]).unwrap();
}

#[test]
fn a_repository_that_lists_a_package_twice_has_it_once() {
    let dir = tempfile::tempdir().unwrap();
    let text = |kind: &str| {
        let file = metadata(&REPOSITORIES.upstream, kind);
        common::run(std::process::Command::new("gzip").arg("-dc").arg(file))
    };
    let twice = |kind: &str, end: &str| {
        let text = text(kind);
        let (start, stop) = (text.find("<package ").unwrap(), text.rfind(end).unwrap());
        let path = dir.path().join(format!("{kind}.xml"));
        let packages = &text[start..stop];
        std::fs::write(&path, [&text[..start], packages, packages, &text[stop..]].concat())
            .unwrap();
        path
    };
    let (primary, filelists) =
        (twice("primary", "</metadata>"), twice("filelists", "</filelists>"));
    let mut once = pool(&[(&REPOSITORIES.upstream, 99)]);
    let about = Repository { id: "upstream".into(), ..Repository::default() };
    let mut pool = Pool::new(Arch::X86_64);
    pool.load_repository(about.clone(), &primary, Some(&filelists)).unwrap();
    let cache = SolverCache::new(dir.path().join("solver"));
    let digest = rpmfarm_core::Sha256::compute(b"1");
    let files = RepositoryFiles { digest, primary, filelists: Some(filelists) };
    let mut cached = Pool::new(Arch::X86_64);
    cached.load_cached_repository(about, &files, &cache).unwrap();
    for pool in [&mut pool, &mut cached] {
        assert_eq!(pool.len(), once.len());
        for install in [&["app"][..], &["/usr/share/table/other"]] {
            assert_eq!(solve(pool, install), solve(&mut once, install));
        }
        let warnings = pool.take_warnings();
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains("have the checksum of another one"), "{warnings:?}");
    }
}
