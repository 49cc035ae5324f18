//! The messages about a task that waits for others of its batch, or is refused because they are
//! missing.

use super::hope::Lack;
use super::mode::OrderMode;
use super::progress::{Blocker, Blockers};
use crate::name::counted;
use crate::{BuildId, Failure};

/// How many awaited builds a text names.
const NAMED: usize = 5;

/// Why a build waits: `waits for foo-devel, which build 41 (foo) makes; order: requires`. `None`
/// when it waits for no build.
#[must_use]
pub fn waits_for(mode: OrderMode, blockers: &Blockers) -> Option<String> {
    let what = match blockers {
        Blockers::Members(members) => of_members(members),
        Blockers::Srpms(count) => format!(
            "{} of its batch, for no spec that has been read names what is missing",
            counted(*count, "source package")
        ),
        Blockers::Anybody => {
            "any other build of its batch, for no spec has to name what is missing".to_owned()
        }
        Blockers::Nobody => return None,
    };
    Some(format!("waits for {what}; order: {mode}"))
}

fn of_members(members: &[Blocker]) -> String {
    let mut parts: Vec<String> = members.iter().take(NAMED).map(of_member).collect();
    let more = members.len().saturating_sub(parts.len());
    if more > 0 {
        parts.push(counted(more, "more build"));
    }
    let last = parts.pop().unwrap_or_default();
    if parts.is_empty() { last } else { format!("{}, and for {last}", parts.join(", for ")) }
}

fn of_member(Blocker { build, package, wanted }: &Blocker) -> String {
    match wanted {
        Some(wanted) => format!("{wanted}, which build {build} ({package}) makes"),
        None => format!("packages of build {build} ({package})"),
    }
}

/// The failure of a task that is refused, with the outcome of the builds of its batch that were to
/// make the missing requirements. `package` returns the package of a build.
#[must_use]
pub fn refusal<'a>(
    failure: &Failure,
    lacks: &[Lack],
    package: impl Fn(BuildId) -> Option<&'a str>,
) -> Failure {
    let named = |build: &BuildId| format!("build {build} ({})", package(*build).unwrap_or("?"));
    let reasons: Vec<String> = lacks.iter().filter_map(|lack| of_lack(lack, named)).collect();
    if reasons.is_empty() {
        return failure.clone();
    }
    let message = format!("{} ({})", failure.message, reasons.join("; "));
    Failure { message, ..failure.clone() }
}

fn of_lack(
    Lack { requirement, lost, circle }: &Lack,
    named: impl Fn(&BuildId) -> String,
) -> Option<String> {
    if let Some(newest) = lost.last() {
        return Some(format!(
            "{}, from the same request, was to provide `{requirement}` and ended without it",
            named(newest)
        ));
    }
    let first = circle.first()?;
    Some(format!(
        "{}, from the same request, is to provide `{requirement}` and cannot begin either",
        named(first)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FailureStage, Fault};

    fn blocker(build: i64, wanted: Option<&str>) -> Blocker {
        Blocker {
            build: BuildId(build),
            package: format!("p{build}"),
            wanted: wanted.map(str::to_owned),
        }
    }

    #[test]
    fn who_waits_is_told_for_what_for_whom_and_by_which_order() {
        let text = |blockers: Blockers| waits_for(OrderMode::Requires, &blockers);
        let members = |members: Vec<Blocker>| text(Blockers::Members(members)).expect("it waits");
        assert_eq!(
            members(vec![blocker(41, Some("foo-devel"))]),
            "waits for foo-devel, which build 41 (p41) makes; order: requires"
        );
        assert_eq!(
            members(vec![blocker(1, Some("a")), blocker(2, None)]),
            "waits for a, which build 1 (p1) makes, and for packages of build 2 (p2); order: requires"
        );
        let many = members((1..=7).map(|build| blocker(build, None)).collect());
        assert!(many.ends_with("build 5 (p5), and for 2 more builds; order: requires"), "{many}");
        let srpms = text(Blockers::Srpms(1)).expect("it waits");
        assert!(srpms.starts_with("waits for 1 source package of its batch"), "{srpms}");
        let anybody = waits_for(OrderMode::Unordered, &Blockers::Anybody).expect("it waits");
        assert!(anybody.ends_with("; order: none"), "{anybody}");
        assert_eq!(text(Blockers::Nobody), None);
    }

    #[test]
    fn a_refusal_names_the_lost_build_that_was_to_make_what_is_missing() {
        let failure =
            Failure::new(Fault::Package, FailureStage::Resolve, "no build root for x86_64");
        let lack = |lost: &[i64], circle: &[i64]| Lack {
            requirement: "foo-devel >= 2".into(),
            lost: lost.iter().copied().map(BuildId).collect(),
            circle: circle.iter().copied().map(BuildId).collect(),
        };
        let refused = |lacks: &[Lack]| refusal(&failure, lacks, |_| Some("foo")).message;
        assert_eq!(
            refused(&[lack(&[7], &[])]),
            "no build root for x86_64 (build 7 (foo), from the same request, was to provide \
             `foo-devel >= 2` and ended without it)"
        );
        assert_eq!(
            refused(&[lack(&[], &[8, 9])]),
            "no build root for x86_64 (build 8 (foo), from the same request, is to provide \
             `foo-devel >= 2` and cannot begin either)"
        );
        assert_eq!(refusal(&failure, &[lack(&[], &[])], |_| None), failure);
        assert_eq!(refusal(&failure, &[], |_| None), failure);
    }
}
