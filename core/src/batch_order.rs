//! The order of builds in one batch: which builds wait for which before their roots are solved.
//!
//! A build whose root would hold packages that another build of its batch is about to replace waits
//! for that build. A build with requirements that nothing provides waits as long as another build
//! may still provide them, and fails at once when none can. A circle is broken at the build that
//! needs least.
//!
//! The requirements that a build finds while it runs (`%generate_buildrequires`, requirements under
//! conditions) are decided in the same way: [`waits_for`].
//!
//! All architectures are decided together: a build may wait for another on one architecture, and be
//! awaited by it on another, and that circle is seen only from both.

use std::collections::{BTreeMap, BTreeSet};

use crate::lock::LockedPackage;
use crate::name::counted;
use crate::owners::Claim;
use crate::{Arch, BuildId, Failure, Fault};

/// How many awaited builds a text names.
const NAMED: usize = 5;

/// A build that has not been accepted yet, as the other builds of its batch see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchMember {
    pub build: BuildId,
    /// Name of its source package.
    pub package: String,
    /// Names of the packages that its spec makes, and of what they provide and obsolete by the
    /// spec; empty before its SRPM is made.
    pub predicts: Vec<String>,
    /// Whether work on it is under way that waits for no turn: it is being built, or will be tried
    /// again later.
    pub in_progress: bool,
}

impl BatchMember {
    /// A build with the names that its spec predicts, without those that it claims from others and
    /// nobody has approved. `is_moving` says whether work on it is under way that waits for no
    /// turn.
    #[must_use]
    pub fn new(
        build: BuildId,
        package: String,
        mut predicts: Vec<String>,
        claims: &[Claim],
        is_moving: bool,
    ) -> Self {
        // A claimed name belongs to another source package until a person has decided, so no build
        // waits for it.
        predicts.retain(|name| claims.iter().all(|claim| claim.what != *name));
        Self { build, package, predicts, in_progress: is_moving || !claims.is_empty() }
    }
}

/// A build of a batch that has ended without its packages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostBatchMember {
    pub build: BuildId,
    /// Name of its source package.
    pub package: String,
    /// As in [`BatchMember`].
    pub predicts: Vec<String>,
}

/// The result of solving a build that has no lock for an architecture yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SolvedMember {
    pub build: BuildId,
    pub arch: Arch,
    /// Its build requirements, including those that were found while it was built.
    pub requires: Vec<String>,
    /// Its root at present.
    pub root: SolveOutcome,
}

/// The result of solving a root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SolveOutcome {
    /// The packages of the root.
    Packages(Vec<LockedPackage>),
    /// There is no root: nothing provides these requirements of the build. Empty when the reason is
    /// another one, as a conflict, or a requirement of a package of the root.
    Unsolvable(Vec<String>),
}

impl SolveOutcome {
    /// The packages; empty when there is no root.
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

/// The decision on a build that was solved for an architecture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BatchDecision {
    /// Take the lock, or the failure, that solving resulted in.
    Proceed,
    /// Wait for these builds.
    WaitFor(Vec<BuildId>),
}

/// Decides for all solved builds of one batch, on all architectures. `members` are all its builds
/// that are neither accepted nor ended, including the solved ones.
///
/// When no member is in progress, at least one build proceeds: a batch cannot wait for itself
/// forever.
#[must_use]
pub fn decide_batch(
    solved: &[SolvedMember],
    members: &[BatchMember],
) -> BTreeMap<(BuildId, Arch), BatchDecision> {
    let helpful: BTreeSet<BuildId> = solved
        .iter()
        .filter(|build| build.root.is_solved())
        .map(|build| build.build)
        .chain(members.iter().filter(|member| member.in_progress).map(|member| member.build))
        .collect();
    let needs: Vec<BTreeSet<BuildId>> =
        solved.iter().map(|build| needs(build, members, &helpful)).collect();
    let moves =
        members.iter().any(|member| member.in_progress) || needs.iter().any(BTreeSet::is_empty);
    let first = if moves { None } else { breaks_circle(solved, &needs) };
    let turn = |(build, needs): (&SolvedMember, BTreeSet<BuildId>)| {
        let breaks = first == Some(build.build) && build.root.is_solved();
        let turn = if needs.is_empty() || breaks {
            BatchDecision::Proceed
        } else {
            BatchDecision::WaitFor(needs.into_iter().collect())
        };
        ((build.build, build.arch), turn)
    };
    solved.iter().zip(needs).map(turn).collect()
}

fn needs(
    build: &SolvedMember,
    members: &[BatchMember],
    helpful: &BTreeSet<BuildId>,
) -> BTreeSet<BuildId> {
    let others = members.iter().filter(|member| member.build != build.build);
    match &build.root {
        SolveOutcome::Packages(root) => others
            .filter(|member| will_replace(member, root) || will_provide(member, &build.requires))
            .map(|member| member.build)
            .collect(),
        // Whatever is missing, a build that itself cannot proceed will not provide it.
        SolveOutcome::Unsolvable(missing) => {
            let others: Vec<&BatchMember> =
                others.filter(|member| helpful.contains(&member.build)).collect();
            providers(missing, &others)
        }
    }
}

/// The builds that may provide the missing packages: those whose specs say so, or all when a spec
/// cannot say it. Empty when no build can provide one of the requirements, because then waiting
/// does not help.
fn providers(missing: &[String], others: &[&BatchMember]) -> BTreeSet<BuildId> {
    let mut found = BTreeSet::new();
    for requirement in missing {
        let mut able = others
            .iter()
            .filter(|member| {
                is_generated(requirement) || will_provide(member, std::slice::from_ref(requirement))
            })
            .map(|member| member.build)
            .peekable();
        if able.peek().is_none() {
            return BTreeSet::new();
        }
        found.extend(able);
    }
    if missing.is_empty() { others.iter().map(|member| member.build).collect() } else { found }
}

/// Whether rpm generates such a provide from a package's files, so that no spec needs to name it:
/// `python3dist(wheel)`, `pkgconfig(zlib)`, `libfoo.so.1`, `/usr/bin/foo`, and rich requirements,
/// which may contain one of these.
fn is_generated(requirement: &str) -> bool {
    let name = requirement.split_whitespace().next().unwrap_or_default();
    name.starts_with('/') || name.contains('(') || name.contains(".so")
}

/// The builds that a running attempt has to wait for because of the requirements that it found;
/// empty when its next lock can be made. `members` are as in [`decide_batch`], which also decides
/// which builds help which, once the task waits with the others.
#[must_use]
pub fn waits_for(found: &SolvedMember, members: &[BatchMember]) -> Vec<BuildId> {
    let all = members.iter().map(|member| member.build).collect();
    needs(found, members, &all).into_iter().collect()
}

/// Decides on a running attempt that found requirements: it proceeds with the result of solving, or
/// waits for other builds of its batch. `fault` is whose fault it is that there is no root, if
/// there is none.
#[must_use]
pub fn decide_round(
    found: &SolvedMember,
    members: &[BatchMember],
    fault: Option<Fault>,
) -> BatchDecision {
    let blockers = waits_for(found, members);
    // A failure of the farm says nothing about the package: solving is tried again.
    let is_farms = fault == Some(Fault::Farm);
    if blockers.is_empty() || is_farms {
        BatchDecision::Proceed
    } else {
        BatchDecision::WaitFor(blockers)
    }
}

/// What a build waits for from another: a package of its root, or a requirement. `None` when that
/// is not known.
#[must_use]
pub fn wanted(build: &SolvedMember, member: &BatchMember) -> Option<String> {
    let required = required_of(&build.requires, &member.predicts);
    let in_root = || {
        build.root.packages().iter().find(|package| {
            package.source == member.package || member.predicts.contains(&package.nevra.name)
        })
    };
    required.map(str::to_owned).or_else(|| in_root().map(|package| package.nevra.name.clone()))
}

/// `waits for foo-devel from build 41 (foo)`.
#[must_use]
pub fn waits_for_text(waits: &SolvedMember, builds: &[BuildId], members: &[BatchMember]) -> String {
    let name = |id: &BuildId| {
        let member = members.iter().find(|member| member.build == *id);
        let what = member.and_then(|member| wanted(waits, member));
        format!(
            "{} from build {id} ({})",
            what.as_deref().unwrap_or("packages"),
            member.map_or("?", |member| member.package.as_str())
        )
    };
    let names: Vec<String> = builds.iter().take(NAMED).map(name).collect();
    let more = builds.len().saturating_sub(names.len());
    let more =
        if more > 0 { format!(" and {}", counted(more, "more build")) } else { String::new() };
    format!("waits for {}{more}", names.join(", "))
}

/// The requirements of a build that its failure names. Empty when the failure is not the package's
/// fault: then no other build of the batch is the cause.
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

/// The failure, attributed to a build of the same batch that should have made the missing package.
/// `None` when that build would have made none of it.
#[must_use]
pub fn put_down_to(
    failure: &Failure,
    lacking: &[String],
    lost: &LostBatchMember,
) -> Option<Failure> {
    let missing = required_of(lacking, &lost.predicts)?;
    let message = format!(
        "{} (build {} ({}), from the same request, was to provide `{missing}` and ended without \
         it)",
        failure.message, lost.build, lost.package
    );
    Some(Failure { message, ..failure.clone() })
}

fn will_replace(member: &BatchMember, root: &[LockedPackage]) -> bool {
    root.iter().any(|package| {
        package.source == member.package || member.predicts.contains(&package.nevra.name)
    })
}

fn will_provide(member: &BatchMember, requires: &[String]) -> bool {
    required_of(requires, &member.predicts).is_some()
}

/// The first requirement, by its name, that another build's spec predicts.
#[must_use]
pub fn required_of<'a>(requires: &'a [String], predicts: &[String]) -> Option<&'a str> {
    requires
        .iter()
        .filter_map(|requirement| requirement.split_whitespace().next())
        .find(|name| predicts.iter().any(|predicted| predicted == name))
}

/// Of builds that all wait for each other, the one that is solvable on some architecture and waits
/// there for the fewest builds; of equal ones the oldest.
fn breaks_circle(solved: &[SolvedMember], needs: &[BTreeSet<BuildId>]) -> Option<BuildId> {
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

    fn member(build: i64, package: &str, predicts: &[&str]) -> BatchMember {
        BatchMember {
            build: BuildId(build),
            package: package.into(),
            predicts: predicts.iter().map(ToString::to_string).collect(),
            in_progress: false,
        }
    }

    fn moving(member: BatchMember) -> BatchMember {
        BatchMember { in_progress: true, ..member }
    }

    fn solved(build: i64, requires: &[&str], root: Option<&[&str]>) -> SolvedMember {
        let package = |name: &&str| LockedPackage {
            nevra: format!("{name}-1-1.noarch").parse().expect("a NEVRA"),
            digest: Sha256::compute(name.as_bytes()),
            size: 1,
            source: format!("{name}-source"),
            origin: "base".into(),
            location: String::new(),
            base: String::new(),
            module: String::new(),
        };
        SolvedMember {
            build: BuildId(build),
            arch: Arch::X86_64,
            requires: requires.iter().map(ToString::to_string).collect(),
            root: match root {
                Some(names) => SolveOutcome::Packages(names.iter().map(package).collect()),
                None => SolveOutcome::Unsolvable(Vec::new()),
            },
        }
    }

    fn lacks(build: i64, missing: &[&str]) -> SolvedMember {
        let missing = missing.iter().map(ToString::to_string).collect();
        SolvedMember { root: SolveOutcome::Unsolvable(missing), ..solved(build, &[], None) }
    }

    const fn key(build: i64) -> (BuildId, Arch) {
        (BuildId(build), Arch::X86_64)
    }

    fn wait(builds: &[i64]) -> BatchDecision {
        BatchDecision::WaitFor(builds.iter().copied().map(BuildId).collect())
    }

    #[test]
    fn programs_wait_for_the_library_in_their_batch() {
        let members = [
            member(1, "foo", &["foo", "foo-devel"]),
            member(2, "a", &["a"]),
            member(3, "b", &["b"]),
        ];
        let all = [
            solved(1, &["gcc"], Some(&["gcc"])),
            solved(2, &["foo-devel >= 1"], None),
            solved(3, &["gcc"], Some(&["gcc", "foo-devel"])),
        ];
        let decisions = decide_batch(&all, &members);
        assert_eq!(decisions[&key(1)], BatchDecision::Proceed);
        // Not solvable: whatever moves may help, and so may `b`.
        assert_eq!(decisions[&key(2)], wait(&[1, 3]));
        // Needed by way of another package: seen in the root.
        assert_eq!(decisions[&key(3)], wait(&[1]));
    }

    #[test]
    fn what_is_waited_for_has_a_name() {
        let lib = member(1, "foo-source", &["foo", "foo-devel"]);
        assert_eq!(wanted(&solved(2, &["foo-devel >= 1"], None), &lib), Some("foo-devel".into()));
        let by_root = solved(3, &["gcc"], Some(&["gcc", "foo"]));
        assert_eq!(wanted(&by_root, &lib), Some("foo".into()));
        assert_eq!(wanted(&solved(4, &["bar"], None), &lib), None);
    }

    #[test]
    fn what_nobody_will_provide_is_told_at_once() {
        let all = [solved(1, &["nothing"], None)];
        assert_eq!(decide_batch(&all, &[member(1, "a", &["a"])])[&key(1)], BatchDecision::Proceed);
        // Two that are stuck do not wait for each other.
        let all = [solved(1, &["x"], None), solved(2, &["y"], None)];
        let decisions = decide_batch(&all, &[member(1, "a", &[]), member(2, "b", &[])]);
        assert!(decisions.values().all(|turn| *turn == BatchDecision::Proceed));
    }

    #[test]
    fn what_no_build_of_the_batch_can_provide_is_not_waited_for() {
        let under_way =
            [moving(member(1, "lib", &["lib", "lib-devel"])), member(2, "app", &["app"])];
        let of = |missing: &[&str]| decide_batch(&[lacks(2, missing)], &under_way)[&key(2)].clone();
        assert_eq!(of(&["lib-devel >= 2"]), wait(&[1]));
        assert_eq!(of(&["nobody-has-this"]), BatchDecision::Proceed);
        assert_eq!(
            of(&["lib-devel >= 2", "nobody-has-this"]),
            BatchDecision::Proceed,
            "one is enough"
        );
        // What packages provide by their files, no spec has to name.
        for generated in ["python3dist(x)", "/usr/bin/x", "libx.so.1()(64bit)", "(a or b)"] {
            assert_eq!(of(&[generated]), wait(&[1]), "{generated}");
        }
        // Not missing, but in conflict: a build in progress may change that.
        assert_eq!(of(&[]), wait(&[1]));
    }

    #[test]
    fn what_is_found_while_building_waits_like_what_the_spec_says() {
        let members =
            [member(1, "lib", &["lib", "lib-devel", "lib-static"]), member(2, "app", &["app"])];
        let waits = |found: SolvedMember| waits_for(&found, &members);
        assert_eq!(waits(lacks(2, &["lib-devel"])), [BuildId(1)]);
        assert_eq!(waits(lacks(2, &["crate(lib) >= 1"])), [BuildId(1)]);
        assert_eq!(waits(lacks(2, &["nobody-has-this"])), []);
        assert_eq!(waits(solved(2, &["lib-static"], Some(&["gcc", "old"]))), [BuildId(1)]);
        assert_eq!(waits(solved(2, &["x(lib)"], Some(&["lib"]))), [BuildId(1)], "an older one");
        assert_eq!(waits(solved(2, &["gcc"], Some(&["gcc"]))), []);
    }

    #[test]
    fn a_source_in_the_root_counts_whatever_its_packages_are_named() {
        let members = [moving(member(1, "foo-source", &[])), member(2, "b", &[])];
        let decisions = decide_batch(&[solved(2, &[], Some(&["foo"]))], &members);
        assert_eq!(decisions[&key(2)], wait(&[1]));
    }

    #[test]
    fn a_circle_is_broken_once_and_only_when_nothing_else_moves() {
        let members = [member(1, "a", &["a"]), member(2, "b", &["b"])];
        let all = [solved(1, &["b"], Some(&["b"])), solved(2, &["a"], Some(&["a"]))];
        let decisions_now = decide_batch(&all, &members);
        assert_eq!(decisions_now[&key(1)], BatchDecision::Proceed);
        assert_eq!(decisions_now[&key(2)], wait(&[1]));

        let mut more = members.to_vec();
        more.push(moving(member(3, "c", &[])));
        assert_eq!(decide_batch(&all, &more)[&key(1)], wait(&[2]));
    }

    #[test]
    fn a_circle_through_two_architectures_is_one() {
        // `a` is built for x86_64 already and waits for `b` on aarch64; `b` the other way round.
        let members = [member(1, "a", &["a"]), member(2, "b", &["b"])];
        let on = |arch, solved: SolvedMember| SolvedMember { arch, ..solved };
        let all = [
            on(Arch::Aarch64, solved(1, &["b"], Some(&["b"]))),
            on(Arch::X86_64, solved(2, &["a"], Some(&["a"]))),
        ];
        let decisions_now = decide_batch(&all, &members);
        assert_eq!(decisions_now[&(BuildId(1), Arch::Aarch64)], BatchDecision::Proceed);
        assert_eq!(decisions_now[&(BuildId(2), Arch::X86_64)], wait(&[1]));
        // A package that neither build provides fails at once.
        let all =
            [on(Arch::Aarch64, solved(1, &["b"], None)), on(Arch::X86_64, solved(2, &["a"], None))];
        assert!(decide_batch(&all, &members).values().all(|turn| *turn == BatchDecision::Proceed));
    }

    proptest::proptest! {
        /// Whatever the needs, somebody always goes: a batch cannot hang by itself.
        #[test]
        fn no_batch_hangs(edges in proptest::collection::vec((0_i64..6, 0_i64..6), 0..30),
                          stuck in proptest::collection::vec((0_i64..6, 0_usize..3), 0..8),
                          waiting in proptest::collection::vec((0_i64..6, 0_usize..3), 1..18)) {
            let name = |build: i64| format!("p{build}");
            let members: Vec<BatchMember> = (0..6)
                .filter(|b| waiting.iter().any(|(build, _)| build == b))
                .map(|b| member(b, &name(b), &[&name(b)]))
                .collect();
            let all: Vec<SolvedMember> = waiting.iter().map(|(b, arch)| {
                let needs: Vec<String> =
                    edges.iter().filter(|(from, _)| from == b).map(|(_, to)| name(*to)).collect();
                let needs: Vec<&str> = needs.iter().map(String::as_str).collect();
                let root = (!stuck.contains(&(*b, *arch))).then_some(&needs[..]);
                SolvedMember { arch: Arch::ALL[*arch], ..solved(*b, &needs, root) }
            }).collect();
            let decisions = decide_batch(&all, &members);
            proptest::prop_assert!(decisions.values().any(|turn| *turn == BatchDecision::Proceed));
        }
    }

    #[test]
    fn what_a_build_claims_of_others_is_not_waited_for() {
        let claim = Claim {
            kind: crate::owners::ClaimKind::Name,
            what: "libx".into(),
            package: "x-1-1.noarch".parse().expect("a NEVRA"),
            owners: BTreeSet::new(),
        };
        let predicts = || vec!["x".to_owned(), "libx".to_owned()];
        let plain = BatchMember::new(BuildId(1), "x".into(), predicts(), &[], false);
        assert_eq!((plain.predicts.len(), plain.in_progress), (2, false));
        // A person decides on it: that is a move that waits for no turn.
        let claiming = BatchMember::new(BuildId(1), "x".into(), predicts(), &[claim], false);
        assert_eq!((claiming.predicts, claiming.in_progress), (vec!["x".to_owned()], true));
        assert!(BatchMember::new(BuildId(1), "x".into(), predicts(), &[], true).in_progress);
    }

    #[test]
    fn a_round_waits_unless_it_is_the_farms_fault() {
        let members = [member(1, "foo", &["foo-devel"]), member(2, "a", &["a"])];
        let found = solved(2, &["foo-devel >= 2"], Some(&["foo-devel"]));
        assert_eq!(decide_round(&found, &members, None), wait(&[1]));
        assert_eq!(decide_round(&found, &members, Some(Fault::Package)), wait(&[1]));
        assert_eq!(decide_round(&found, &members, Some(Fault::Farm)), BatchDecision::Proceed);
        assert_eq!(decide_round(&found, &members[1..], None), BatchDecision::Proceed);
    }

    #[test]
    fn who_waits_is_told_for_what_and_for_whom() {
        let members: Vec<BatchMember> = (1..8)
            .map(|id| member(id, "foo", &["foo-devel"]))
            .chain([member(8, "a", &["a"])])
            .collect();
        let found = solved(8, &["foo-devel"], Some(&[]));
        let text = |builds: &[i64]| {
            let builds: Vec<BuildId> = builds.iter().copied().map(BuildId).collect();
            waits_for_text(&found, &builds, &members)
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
            "no build root (build 7 (foo), from the same request, was to provide \
             `foo-devel` and ended without it)"
        );
        assert_eq!((blamed.fault, blamed.excerpt), (of_package.fault, of_package.excerpt.clone()));
        for fault in [Fault::Farm, Fault::Worker] {
            assert_eq!(lacking(&failure(fault), &requires), Vec::<String>::new());
        }
    }
}
