//! The order of builds in one batch: who waits for whom before its root is solved.
//!
//! A build whose root would hold packages that another build of its batch is about to replace
//! waits for that one. A build whose requirements nobody provides waits as long as another one
//! may still provide them, and fails at once when none can. A circle is broken at the build that
//! needs least.
//!
//! What a build finds while it runs (`%generate_buildrequires`, requirements under conditions) is
//! asked the same question: [`waits_for`].
//!
//! All architectures are decided on together: what a build waits for on one may itself wait for
//! it on another, and only whoever sees both sees the circle.

use std::collections::{BTreeMap, BTreeSet};

use crate::lock::LockedPackage;
use crate::name::counted;
use crate::owners::Claim;
use crate::{Arch, BuildId, Failure, Fault};

/// Builds that a text names of those that one waits for.
const NAMED: usize = 5;

/// A build that has not been accepted yet, as others of its batch see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mate {
    /// Its number.
    pub build: BuildId,
    /// Name of its source package.
    pub package: String,
    /// Names of the packages that its spec says it makes, and of what it says they provide and
    /// obsolete; empty before its SRPM is there.
    pub predicts: Vec<String>,
    /// Something of it is under way that waits for no turn: it is built, or is tried again later.
    pub moves: bool,
}

impl Mate {
    /// A build with what its spec predicts, and what it claims of others' names without approval.
    /// `is_moving` says whether something of it is under way that waits for no turn.
    #[must_use]
    pub fn new(
        build: BuildId,
        package: String,
        mut predicts: Vec<String>,
        claims: &[Claim],
        is_moving: bool,
    ) -> Self {
        // What it claims is others' until a person has decided, so nobody waits for that.
        predicts.retain(|name| claims.iter().all(|claim| claim.what != *name));
        Self { build, package, predicts, moves: is_moving || !claims.is_empty() }
    }
}

/// A build of a batch that has ended without its packages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostBatchMember {
    /// Its number.
    pub build: BuildId,
    /// Name of its source package.
    pub package: String,
    /// As in [`Mate`].
    pub predicts: Vec<String>,
}

/// What solving said of a build that has no lock for an architecture yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Solved {
    /// Its number.
    pub build: BuildId,
    /// The architecture.
    pub arch: Arch,
    /// Its build requirements, those that were found while it was built among them.
    pub requires: Vec<String>,
    /// Its root as of now.
    pub root: Root,
}

/// What solving a root gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Root {
    /// The packages of the root.
    Packages(Vec<LockedPackage>),
    /// There is no root: nobody provides these requirements of the build. Empty when the reason is
    /// another one, as a conflict or what a package of the root lacks.
    Unsolvable(Vec<String>),
}

impl Root {
    /// The packages; none when there is no root.
    fn packages(&self) -> &[LockedPackage] {
        match self {
            Self::Packages(packages) => packages,
            Self::Unsolvable(_) => &[],
        }
    }

    const fn is_solved(&self) -> bool {
        matches!(self, Self::Packages(_))
    }
}

/// What is to be done with a build that was solved for an architecture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turn {
    /// Take the lock, or the failure, that solving gave.
    Go,
    /// Wait for these builds.
    WaitFor(Vec<BuildId>),
}

/// Decides for all solved builds of one batch, on all architectures. `mates` are all its builds
/// that are neither accepted nor ended, the solved ones among them.
///
/// When no mate moves, some build goes: a batch cannot hang by itself.
#[must_use]
pub fn turns(solved: &[Solved], mates: &[Mate]) -> BTreeMap<(BuildId, Arch), Turn> {
    let helpful: BTreeSet<BuildId> = solved
        .iter()
        .filter(|build| build.root.is_solved())
        .map(|build| build.build)
        .chain(mates.iter().filter(|mate| mate.moves).map(|mate| mate.build))
        .collect();
    let needs: Vec<BTreeSet<BuildId>> =
        solved.iter().map(|build| needs(build, mates, &helpful)).collect();
    let moves = mates.iter().any(|mate| mate.moves) || needs.iter().any(BTreeSet::is_empty);
    let first = if moves { None } else { breaks_circle(solved, &needs) };
    let turn = |(build, needs): (&Solved, BTreeSet<BuildId>)| {
        let breaks = first == Some(build.build) && build.root.is_solved();
        let turn = if needs.is_empty() || breaks {
            Turn::Go
        } else {
            Turn::WaitFor(needs.into_iter().collect())
        };
        ((build.build, build.arch), turn)
    };
    solved.iter().zip(needs).map(turn).collect()
}

fn needs(build: &Solved, mates: &[Mate], helpful: &BTreeSet<BuildId>) -> BTreeSet<BuildId> {
    let others = mates.iter().filter(|mate| mate.build != build.build);
    match &build.root {
        Root::Packages(root) => others
            .filter(|mate| will_replace(mate, root) || will_provide(mate, &build.requires))
            .map(|mate| mate.build)
            .collect(),
        // Whatever is missing, one that is itself stuck will not bring it.
        Root::Unsolvable(missing) => {
            let others: Vec<&Mate> = others.filter(|mate| helpful.contains(&mate.build)).collect();
            providers(missing, &others)
        }
    }
}

/// The builds that may provide what is missing: those whose specs say so, or all when a spec cannot
/// say it. None when nobody can provide one of the requirements, for then there is nothing to wait
/// for.
fn providers(missing: &[String], others: &[&Mate]) -> BTreeSet<BuildId> {
    let mut found = BTreeSet::new();
    for requirement in missing {
        let mut able = others
            .iter()
            .filter(|mate| {
                is_generated(requirement) || will_provide(mate, std::slice::from_ref(requirement))
            })
            .map(|mate| mate.build)
            .peekable();
        if able.peek().is_none() {
            return BTreeSet::new();
        }
        found.extend(able);
    }
    if missing.is_empty() { others.iter().map(|mate| mate.build).collect() } else { found }
}

/// Whether packages get such a provide from their files when they are built, so that no spec need
/// name it: `python3dist(wheel)`, `pkgconfig(zlib)`, `libfoo.so.1`, `/usr/bin/foo`, and rich
/// requirements, which may hold one of these.
fn is_generated(requirement: &str) -> bool {
    let name = requirement.split_whitespace().next().unwrap_or_default();
    name.starts_with('/') || name.contains('(') || name.contains(".so")
}

/// The builds that a running attempt has to wait for with what it found, solved as if it had
/// waited: empty when its next lock can be made. `mates` as in [`turns`]. Which of several that
/// cannot be solved is helped by whom is decided by [`turns`], once the task waits with the others.
#[must_use]
pub fn waits_for(found: &Solved, mates: &[Mate]) -> Vec<BuildId> {
    let all = mates.iter().map(|mate| mate.build).collect();
    needs(found, mates, &all).into_iter().collect()
}

/// Decides on a running attempt that found requirements: it goes on with what solving gave, or waits
/// for others of its batch. `fault` is whose fault it is that there is no root, if there is none.
#[must_use]
pub fn turn_of_round(found: &Solved, mates: &[Mate], fault: Option<Fault>) -> Turn {
    let blockers = waits_for(found, mates);
    // What the farm could not solve says nothing about the package: it is tried again.
    let is_farms = fault == Some(Fault::Farm);
    if blockers.is_empty() || is_farms { Turn::Go } else { Turn::WaitFor(blockers) }
}

/// What a build waits for of another: a package of its root, or a requirement. `None` when it is
/// not known which.
#[must_use]
pub fn wanted(build: &Solved, mate: &Mate) -> Option<String> {
    let required = required_of(&build.requires, &mate.predicts);
    let in_root = || {
        build.root.packages().iter().find(|package| {
            package.source == mate.package || mate.predicts.contains(&package.nevra.name)
        })
    };
    required.map(str::to_owned).or_else(|| in_root().map(|package| package.nevra.name.clone()))
}

/// `waits for foo-devel from build 41 (foo)`.
#[must_use]
pub fn waits_for_text(waits: &Solved, builds: &[BuildId], mates: &[Mate]) -> String {
    let name = |id: &BuildId| {
        let mate = mates.iter().find(|mate| mate.build == *id);
        let what = mate.and_then(|mate| wanted(waits, mate));
        format!(
            "{} from build {id} ({})",
            what.as_deref().unwrap_or("packages"),
            mate.map_or("?", |mate| mate.package.as_str())
        )
    };
    let names: Vec<String> = builds.iter().take(NAMED).map(name).collect();
    let more = builds.len().saturating_sub(names.len());
    let more =
        if more > 0 { format!(" and {}", counted(more, "more build")) } else { String::new() };
    format!("waits for {}{more}", names.join(", "))
}

/// The requirements of a build that its failure names. None when the failure is not the package's:
/// then no other build of the batch is to blame.
#[must_use]
pub fn lacking(failure: &Failure, requires: &[String]) -> Vec<String> {
    if failure.fault != Fault::Package {
        return Vec::new();
    }
    let said = format!("{}\n{}", failure.message, failure.excerpt.join("\n"));
    let is_said = |requirement: &&String| {
        requirement.split_whitespace().next().is_some_and(|name| said.contains(name))
    };
    requires.iter().filter(is_said).cloned().collect()
}

/// The failure, put down to a build of the same batch that was to make what is lacking. `None` when that
/// build was to make nothing of it.
#[must_use]
pub fn put_down_to(
    failure: &Failure,
    lacking: &[String],
    lost: &LostBatchMember,
) -> Option<Failure> {
    let missing = required_of(lacking, &lost.predicts)?;
    let message = format!(
        "{} (build {} ({}), asked for together with this one, was to make `{missing}` and has ended \
         without)",
        failure.message, lost.build, lost.package
    );
    Some(Failure { message, ..failure.clone() })
}

fn will_replace(mate: &Mate, root: &[LockedPackage]) -> bool {
    root.iter().any(|package| {
        package.source == mate.package || mate.predicts.contains(&package.nevra.name)
    })
}

fn will_provide(mate: &Mate, requires: &[String]) -> bool {
    required_of(requires, &mate.predicts).is_some()
}

/// The first requirement, by its name, that is among what another's spec says it makes.
#[must_use]
pub fn required_of<'a>(requires: &'a [String], predicts: &[String]) -> Option<&'a str> {
    requires
        .iter()
        .filter_map(|requirement| requirement.split_whitespace().next())
        .find(|name| predicts.iter().any(|predicted| predicted == name))
}

/// Of builds that all wait for each other, the one that is solvable somewhere and waits there for
/// the fewest; of equals the oldest.
fn breaks_circle(solved: &[Solved], needs: &[BTreeSet<BuildId>]) -> Option<BuildId> {
    solved
        .iter()
        .zip(needs)
        .filter(|(build, _)| build.root.is_solved())
        .min_by_key(|(build, needs)| (needs.len(), build.build))
        .map(|(build, _)| build.build)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Sha256;

    fn mate(build: i64, package: &str, predicts: &[&str]) -> Mate {
        Mate {
            build: BuildId(build),
            package: package.into(),
            predicts: predicts.iter().map(ToString::to_string).collect(),
            moves: false,
        }
    }

    fn moving(mate: Mate) -> Mate {
        Mate { moves: true, ..mate }
    }

    fn solved(build: i64, requires: &[&str], root: Option<&[&str]>) -> Solved {
        let package = |name: &&str| LockedPackage {
            nevra: format!("{name}-1-1.noarch").parse().expect("a NEVRA"),
            digest: Sha256::of(name.as_bytes()),
            size: 1,
            source: format!("{name}-source"),
            origin: "base".into(),
            location: String::new(),
            base: String::new(),
            module: String::new(),
        };
        Solved {
            build: BuildId(build),
            arch: Arch::X86_64,
            requires: requires.iter().map(ToString::to_string).collect(),
            root: match root {
                Some(names) => Root::Packages(names.iter().map(package).collect()),
                None => Root::Unsolvable(Vec::new()),
            },
        }
    }

    fn lacks(build: i64, missing: &[&str]) -> Solved {
        let missing = missing.iter().map(ToString::to_string).collect();
        Solved { root: Root::Unsolvable(missing), ..solved(build, &[], None) }
    }

    const fn key(build: i64) -> (BuildId, Arch) {
        (BuildId(build), Arch::X86_64)
    }

    fn wait(builds: &[i64]) -> Turn {
        Turn::WaitFor(builds.iter().copied().map(BuildId).collect())
    }

    #[test]
    fn programs_wait_for_the_library_in_their_batch() {
        let mates =
            [mate(1, "foo", &["foo", "foo-devel"]), mate(2, "a", &["a"]), mate(3, "b", &["b"])];
        let all = [
            solved(1, &["gcc"], Some(&["gcc"])),
            solved(2, &["foo-devel >= 1"], None),
            solved(3, &["gcc"], Some(&["gcc", "foo-devel"])),
        ];
        let turns = turns(&all, &mates);
        assert_eq!(turns[&key(1)], Turn::Go);
        // Not solvable: whatever moves may help, and so may `b`.
        assert_eq!(turns[&key(2)], wait(&[1, 3]));
        // Needed by way of another package: seen in the root.
        assert_eq!(turns[&key(3)], wait(&[1]));
    }

    #[test]
    fn what_is_waited_for_has_a_name() {
        let lib = mate(1, "foo-source", &["foo", "foo-devel"]);
        assert_eq!(wanted(&solved(2, &["foo-devel >= 1"], None), &lib), Some("foo-devel".into()));
        let by_root = solved(3, &["gcc"], Some(&["gcc", "foo"]));
        assert_eq!(wanted(&by_root, &lib), Some("foo".into()));
        assert_eq!(wanted(&solved(4, &["bar"], None), &lib), None);
    }

    #[test]
    fn what_nobody_will_provide_is_told_at_once() {
        let all = [solved(1, &["nothing"], None)];
        assert_eq!(turns(&all, &[mate(1, "a", &["a"])])[&key(1)], Turn::Go);
        // Two that are stuck do not wait for each other.
        let all = [solved(1, &["x"], None), solved(2, &["y"], None)];
        let turns = turns(&all, &[mate(1, "a", &[]), mate(2, "b", &[])]);
        assert!(turns.values().all(|turn| *turn == Turn::Go));
    }

    #[test]
    fn what_no_build_of_the_batch_can_provide_is_not_waited_for() {
        let under_way = [moving(mate(1, "lib", &["lib", "lib-devel"])), mate(2, "app", &["app"])];
        let of = |missing: &[&str]| turns(&[lacks(2, missing)], &under_way)[&key(2)].clone();
        assert_eq!(of(&["lib-devel >= 2"]), wait(&[1]));
        assert_eq!(of(&["nobody-has-this"]), Turn::Go);
        assert_eq!(of(&["lib-devel >= 2", "nobody-has-this"]), Turn::Go, "one is enough");
        // What packages provide by their files, no spec has to name.
        for generated in ["python3dist(x)", "/usr/bin/x", "libx.so.1()(64bit)", "(a or b)"] {
            assert_eq!(of(&[generated]), wait(&[1]), "{generated}");
        }
        // Not missing, but in conflict: what is under way may change that.
        assert_eq!(of(&[]), wait(&[1]));
    }

    #[test]
    fn what_is_found_while_building_waits_like_what_the_spec_says() {
        let mates = [mate(1, "lib", &["lib", "lib-devel", "lib-static"]), mate(2, "app", &["app"])];
        let waits = |found: Solved| waits_for(&found, &mates);
        assert_eq!(waits(lacks(2, &["lib-devel"])), [BuildId(1)]);
        assert_eq!(waits(lacks(2, &["crate(lib) >= 1"])), [BuildId(1)]);
        assert_eq!(waits(lacks(2, &["nobody-has-this"])), []);
        assert_eq!(waits(solved(2, &["lib-static"], Some(&["gcc", "old"]))), [BuildId(1)]);
        assert_eq!(waits(solved(2, &["x(lib)"], Some(&["lib"]))), [BuildId(1)], "an older one");
        assert_eq!(waits(solved(2, &["gcc"], Some(&["gcc"]))), []);
    }

    #[test]
    fn a_source_in_the_root_counts_whatever_its_packages_are_named() {
        let mates = [moving(mate(1, "foo-source", &[])), mate(2, "b", &[])];
        let turns = turns(&[solved(2, &[], Some(&["foo"]))], &mates);
        assert_eq!(turns[&key(2)], wait(&[1]));
    }

    #[test]
    fn a_circle_is_broken_once_and_only_when_nothing_else_moves() {
        let mates = [mate(1, "a", &["a"]), mate(2, "b", &["b"])];
        let all = [solved(1, &["b"], Some(&["b"])), solved(2, &["a"], Some(&["a"]))];
        let turns_now = turns(&all, &mates);
        assert_eq!(turns_now[&key(1)], Turn::Go);
        assert_eq!(turns_now[&key(2)], wait(&[1]));

        let mut more = mates.to_vec();
        more.push(moving(mate(3, "c", &[])));
        assert_eq!(turns(&all, &more)[&key(1)], wait(&[2]));
    }

    #[test]
    fn a_circle_through_two_architectures_is_one() {
        // `a` is built for x86_64 already and waits for `b` on aarch64; `b` the other way round.
        let mates = [mate(1, "a", &["a"]), mate(2, "b", &["b"])];
        let on = |arch, solved: Solved| Solved { arch, ..solved };
        let all = [
            on(Arch::Aarch64, solved(1, &["b"], Some(&["b"]))),
            on(Arch::X86_64, solved(2, &["a"], Some(&["a"]))),
        ];
        let turns_now = turns(&all, &mates);
        assert_eq!(turns_now[&(BuildId(1), Arch::Aarch64)], Turn::Go);
        assert_eq!(turns_now[&(BuildId(2), Arch::X86_64)], wait(&[1]));
        // What neither can bring to the other is told at once.
        let all =
            [on(Arch::Aarch64, solved(1, &["b"], None)), on(Arch::X86_64, solved(2, &["a"], None))];
        assert!(turns(&all, &mates).values().all(|turn| *turn == Turn::Go));
    }

    proptest::proptest! {
        /// Whatever the needs, somebody always goes: a batch cannot hang by itself.
        #[test]
        fn no_batch_hangs(edges in proptest::collection::vec((0_i64..6, 0_i64..6), 0..30),
                          stuck in proptest::collection::vec((0_i64..6, 0_usize..3), 0..8),
                          waiting in proptest::collection::vec((0_i64..6, 0_usize..3), 1..18)) {
            let name = |build: i64| format!("p{build}");
            let mates: Vec<Mate> = (0..6)
                .filter(|b| waiting.iter().any(|(build, _)| build == b))
                .map(|b| mate(b, &name(b), &[&name(b)]))
                .collect();
            let all: Vec<Solved> = waiting.iter().map(|(b, arch)| {
                let needs: Vec<String> =
                    edges.iter().filter(|(from, _)| from == b).map(|(_, to)| name(*to)).collect();
                let needs: Vec<&str> = needs.iter().map(String::as_str).collect();
                let root = (!stuck.contains(&(*b, *arch))).then_some(&needs[..]);
                Solved { arch: Arch::ALL[*arch], ..solved(*b, &needs, root) }
            }).collect();
            let turns = turns(&all, &mates);
            proptest::prop_assert!(turns.values().any(|turn| *turn == Turn::Go));
        }
    }

    #[test]
    fn what_a_build_claims_of_others_is_not_waited_for() {
        let claim = Claim {
            kind: crate::owners::Kind::Name,
            what: "libx".into(),
            package: "x-1-1.noarch".parse().expect("a NEVRA"),
            owners: BTreeSet::new(),
        };
        let predicts = || vec!["x".to_owned(), "libx".to_owned()];
        let plain = Mate::new(BuildId(1), "x".into(), predicts(), &[], false);
        assert_eq!((plain.predicts.len(), plain.moves), (2, false));
        // A person decides on it: that is a move that waits for no turn.
        let claiming = Mate::new(BuildId(1), "x".into(), predicts(), &[claim], false);
        assert_eq!((claiming.predicts, claiming.moves), (vec!["x".to_owned()], true));
        assert!(Mate::new(BuildId(1), "x".into(), predicts(), &[], true).moves);
    }

    #[test]
    fn a_round_waits_unless_it_is_the_farms_fault() {
        let mates = [mate(1, "foo", &["foo-devel"]), mate(2, "a", &["a"])];
        let found = solved(2, &["foo-devel >= 2"], Some(&["foo-devel"]));
        assert_eq!(turn_of_round(&found, &mates, None), wait(&[1]));
        assert_eq!(turn_of_round(&found, &mates, Some(Fault::Package)), wait(&[1]));
        assert_eq!(turn_of_round(&found, &mates, Some(Fault::Farm)), Turn::Go);
        assert_eq!(turn_of_round(&found, &mates[1..], None), Turn::Go);
    }

    #[test]
    fn who_waits_is_told_for_what_and_for_whom() {
        let mates: Vec<Mate> = (1..8)
            .map(|id| mate(id, "foo", &["foo-devel"]))
            .chain([mate(8, "a", &["a"])])
            .collect();
        let found = solved(8, &["foo-devel"], Some(&[]));
        let text = |builds: &[i64]| {
            let builds: Vec<BuildId> = builds.iter().copied().map(BuildId).collect();
            waits_for_text(&found, &builds, &mates)
        };
        assert_eq!(text(&[1]), "waits for foo-devel from build 1 (foo)");
        assert_eq!(text(&[9]), "waits for packages from build 9 (?)");
        assert!(text(&[1, 2, 3, 4, 5, 6, 7]).ends_with("build 5 (foo) and 2 more builds"));
    }

    #[test]
    fn a_failure_is_put_down_to_the_lost_build_that_was_to_make_what_is_missing() {
        let failure = |fault: Fault| {
            let stage = crate::FailureStage::Resolve;
            Failure::new(fault, stage, "no build root")
                .with_excerpt(vec!["nothing provides foo-devel >= 2 needed by a".to_owned()])
        };
        let requires = ["foo-devel >= 2".to_owned(), "bar".to_owned()];
        let of_package = failure(Fault::Package);
        let lacks = lacking(&of_package, &requires);
        assert_eq!(lacks, ["foo-devel >= 2"]);
        let lost = |package: &str, predicts: &[&str]| LostBatchMember {
            build: BuildId(7),
            package: package.into(),
            predicts: predicts.iter().map(ToString::to_string).collect(),
        };
        assert_eq!(put_down_to(&of_package, &lacks, &lost("bar", &["bar"])), None);
        let blamed = put_down_to(&of_package, &lacks, &lost("foo", &["foo", "foo-devel"]));
        let blamed = blamed.expect("it is to blame");
        assert_eq!(
            blamed.message,
            "no build root (build 7 (foo), asked for together with this one, was to make \
             `foo-devel` and has ended without)"
        );
        assert_eq!((blamed.fault, blamed.excerpt), (of_package.fault, of_package.excerpt.clone()));
        for fault in [Fault::Farm, Fault::Worker] {
            assert_eq!(lacking(&failure(fault), &requires), Vec::<String>::new());
        }
    }
}
