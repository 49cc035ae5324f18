//! Which lists of published repositories are refused.
//!
//! Owns the names that they may have, and the bounds of their rules; what the rules mean is
//! `published_repositories`'s.

use std::collections::{BTreeMap, BTreeSet};

use super::check::is_plain;
use super::problem::TargetProblem;
use crate::published_repositories::{PublishedRepository, has_wildcard};
use crate::{Arch, name};

/// The most repositories of a target: each has documents of its own for each architecture.
const MAX_REPOSITORIES: usize = 32;

/// The most names and patterns of one list.
const MAX_RULES: usize = 20_000;

/// The most patterns of all lists together: each is compared with each name.
const MAX_PATTERNS: usize = 1_000;

/// The longest name or pattern, in bytes.
const MAX_RULE: usize = 200;

/// Names that lie beside the repositories of a channel.
const TAKEN: [&str; 4] = ["current", "generation.json", "packages", "repositories.json"];

/// What the ids of debug and source repositories in `.repo` files end in.
const SUFFIXES: [&str; 2] = ["-debug", "-source"];

const KEY: &str = "published_repositories";

/// All problems of the list; none for an empty one.
pub(super) fn problems(repositories: &[PublishedRepository]) -> Vec<TargetProblem> {
    let mut problems = Vec::new();
    let mut refuse = |field: &str, value: &str, what: String| {
        problems.push(TargetProblem {
            key: format!("{KEY}.{field}"),
            value: name::shown(value),
            what,
        });
    };
    if repositories.len() > MAX_REPOSITORIES {
        let what = format!("{MAX_REPOSITORIES} repositories are accepted at most");
        refuse("name", &repositories.len().to_string(), what);
    }
    let mut names = BTreeSet::new();
    for one in repositories {
        if let Some(what) = name_problem(&one.name) {
            refuse("name", &one.name, what.to_owned());
        } else if !names.insert(one.name.to_ascii_lowercase()) {
            let what = "is listed twice (small and capital letters are the same); remove one";
            refuse("name", &one.name, what.to_owned());
        }
        if one.packages.is_empty() && one.sources.is_empty() && !one.rest {
            let what = "has no rule, so nothing would be in it; write packages, sources or rest";
            refuse("name", &one.name, what.to_owned());
        }
    }
    for one in &names {
        let of_other = SUFFIXES.iter().filter_map(|suffix| one.strip_suffix(suffix));
        for other in of_other.filter(|other| names.contains(*other)) {
            let what =
                format!("is the name of a repository that belongs to {other}; choose another");
            refuse("name", one, what);
        }
    }
    let rests: Vec<&str> =
        repositories.iter().filter(|one| one.rest).map(|one| one.name.as_str()).collect();
    if rests.len() > 1 {
        let what = "only one repository can take the rest; remove the others".to_owned();
        refuse("rest", &rests.join(", "), what);
    }
    problems.extend(rules(repositories));
    problems
}

fn name_problem(name: &str) -> Option<&'static str> {
    if !is_plain(name) {
        Some("use letters, digits, `.`, `_` and `-`, at most 64")
    } else if Arch::ALL.iter().any(|arch| arch.as_str().eq_ignore_ascii_case(name)) {
        Some("is the name of an architecture; choose another")
    } else if TAKEN.iter().any(|taken| taken.eq_ignore_ascii_case(name)) {
        Some("is the name of something else in a channel's directory; choose another")
    } else {
        None
    }
}

/// The problems of names and patterns.
fn rules(repositories: &[PublishedRepository]) -> Vec<TargetProblem> {
    let mut problems = Vec::new();
    let mut refuse = |field: &str, value: &str, what: String| {
        let key = format!("{KEY}.{field}");
        problems.push(TargetProblem { key, value: name::shown(value), what });
    };
    let mut patterns = 0;
    let mut seen = BTreeMap::new();
    for one in repositories {
        for (field, list) in [("packages", &one.packages), ("sources", &one.sources)] {
            let key = format!("{}.{field}", name::shown(&one.name));
            if list.len() > MAX_RULES {
                let what = format!("{MAX_RULES} names and patterns are accepted at most");
                refuse(&key, &list.len().to_string(), what);
            }
            patterns += list.iter().filter(|text| has_wildcard(text)).count();
            for text in list {
                let is_bad = |c: char| c.is_whitespace() || c.is_control() || c == '/';
                if text.is_empty() || text.len() > MAX_RULE || text.chars().any(is_bad) {
                    let what = "write the name of a package, or a pattern with `*`, `?` and `[…]`";
                    refuse(&key, text, what.to_owned());
                } else if let Some(other) = seen.insert((field, text), &one.name) {
                    let what = format!("is listed in {other} already, where it counts; remove one");
                    refuse(&key, text, what);
                }
            }
        }
    }
    if patterns > MAX_PATTERNS {
        let what = format!(
            "{MAX_PATTERNS} patterns with `*`, `?` or `[…]` are accepted at most; write names"
        );
        refuse("packages", &patterns.to_string(), what);
    }
    problems
}
