//! Why packages of a farm may differ from those of plain rpmbuild: a rule for each reason.
//!
//! Owns the reasons. A difference that no rule explains makes the run fail.

use std::collections::BTreeSet;

use super::compare::Difference;
use super::release::matches;

/// A reason, and the differences that it explains.
struct Rule {
    tag: &'static str,
    /// A pattern of the file's path; `*` where the tag has no files.
    path: &'static str,
    /// A pattern of the package's file name.
    package: &'static str,
    reason: &'static str,
}

/// In words, what two builds by plain rpmbuild prove.
pub const NOT_REPEATABLE: &str =
    "two builds by plain rpmbuild differ here as well: the package's own build is not repeatable";

/// A difference that follows from that of a file, which has a reason of its own.
pub const FOLLOWS: &str = "follows from a file whose difference is explained";

/// The owners of files in a source package.
const OWNER: &str = "a source package names who ran rpmbuild; the group is `mock` under mock and the user's own on \
     the farm, and whoever installs the source package gets the files";

/// The text of the spec with its macros expanded.
const SPEC: &str = "a source package holds its spec with the macros expanded; on the farm none of them knows the \
     worker's processors (`make -j1`), so that every worker makes the same source package";

/// Times of files, where the target does not clamp them.
const MADE: &str = "both are times of the build in which the file was made; two builds by plain rpmbuild may make \
     it in the same second";

/// The longest time between the builds of a farm and of plain rpmbuild, in seconds.
const A_DAY: u64 = 86_400;

/// The rules that need no second build.
const RULES: &[Rule] = &[
    Rule { tag: "Filegroupname", path: "*", package: "*.src.rpm", reason: OWNER },
    Rule { tag: "Spec", path: "*", package: "*.src.rpm", reason: SPEC },
    Rule { tag: "Fileusername", path: "*", package: "*.src.rpm", reason: OWNER },
];

/// Tags whose value is made of the files: the installed size, the debug packages' build ids.
const OF_FILES: [&str; 4] = ["Size", "Longsize", "Filesizes", "Filedigests"];

/// Gives each difference its reason, if there is one. `repeated` are the differences between two
/// builds by plain rpmbuild of the same sources in the same root.
pub fn explain(found: &mut [Difference], repeated: &[Difference]) {
    let varying: BTreeSet<_> = repeated.iter().map(Difference::place).collect();
    for one in found.iter_mut() {
        one.reason = if varying.contains(&one.place()) {
            Some(NOT_REPEATABLE.to_owned())
        } else {
            by_rule(one).map(str::to_owned)
        };
    }
    let explained: BTreeSet<String> = found
        .iter()
        .filter(|one| one.reason.is_some() && !one.path.is_empty())
        .map(|one| one.package.clone())
        .collect();
    for one in found.iter_mut() {
        let of_files = one.path.is_empty() && OF_FILES.contains(&one.tag.as_str());
        if one.reason.is_none() && of_files && explained.contains(&one.package) {
            one.reason = Some(FOLLOWS.to_owned());
        }
    }
}

/// Explains again the stored differences of an earlier run: there may be more rules by now.
pub fn explain_again(kept: &mut [Difference]) {
    for one in kept.iter_mut().filter(|one| one.reason.is_none()) {
        one.reason = by_rule(one).map(str::to_owned);
    }
}

fn by_rule(one: &Difference) -> Option<&'static str> {
    let applies = |rule: &&Rule| {
        rule.tag == one.tag && matches(rule.path, &one.path) && matches(rule.package, &one.package)
    };
    let made = || {
        let time = |text: &str| text.trim().parse::<u64>().ok();
        let apart = time(&one.farm)?.abs_diff(time(&one.plain)?);
        (one.tag == "Filemtimes" && apart < A_DAY).then_some(MADE)
    };
    RULES.iter().find(applies).map(|rule| rule.reason).or_else(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn difference(tag: &str, path: &str) -> Difference {
        Difference {
            package: "a-1-1.x86_64.rpm".into(),
            tag: tag.into(),
            path: path.into(),
            farm: "1".into(),
            plain: "2".into(),
            reason: None,
        }
    }

    #[test]
    fn what_plain_rpmbuild_does_not_repeat_is_explained() {
        let mut found = [difference("Filedigests", "/usr/x"), difference("Filedigests", "/usr/y")];
        explain(&mut found, &[difference("Filedigests", "/usr/x")]);
        assert_eq!(found[0].reason.as_deref(), Some(NOT_REPEATABLE));
        assert_eq!(found[1].reason, None);
    }

    #[test]
    fn sizes_follow_from_files_that_are_explained() {
        let mut found = [difference("Size", ""), difference("Filesizes", "/usr/x")];
        explain(&mut found, &[difference("Filesizes", "/usr/x")]);
        assert_eq!(found[0].reason.as_deref(), Some(FOLLOWS));
        let mut alone = [difference("Size", "")];
        explain(&mut alone, &[]);
        assert_eq!(alone[0].reason, None);
    }

    #[test]
    fn rules_are_for_their_packages_alone() {
        let of = |package: &str| Difference {
            package: package.into(),
            ..difference("Filegroupname", "/a.spec")
        };
        let mut found = [of("a-1-1.src.rpm"), of("a-1-1.x86_64.rpm")];
        explain(&mut found, &[]);
        assert_eq!(found[0].reason.as_deref(), Some(OWNER));
        assert_eq!(found[1].reason, None);
        found[0].reason = None;
        explain_again(&mut found);
        assert_eq!(found[0].reason.as_deref(), Some(OWNER));
        assert_eq!(found[1].reason, None);
    }
}
