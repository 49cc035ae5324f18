//! Requirements as RPM headers and specs write them, parsed as far as the solver needs.

use rpmfarm_core::relation::{self, RelationError};
use serde::{Deserialize, Serialize};

/// A requirement that is not passed to the solver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum RequirementError {
    /// It has not the form of a requirement.
    #[error(
        "`{0}` is not a requirement (expected NAME, NAME OP VERSION with one of < <= = >= >, a path, or a rich dependency in parentheses)"
    )]
    Syntax(String),
    /// It is longer or nested deeper than the solver can handle.
    #[error(transparent)]
    OutOfBounds(#[from] RelationError),
}

/// The kinds of requirement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Requirement<'a> {
    /// A name, a capability such as `pkgconfig(x)`, or a path.
    Plain(&'a str),
    /// The same with a version.
    Versioned { name: &'a str, relation: Relation, evr: &'a str },
    /// A boolean dependency, in parentheses.
    Rich(&'a str),
}

/// How versions must compare; the values are libsolv's flags (`REL_GT`, `REL_EQ`, `REL_LT`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Relation(pub(crate) i32);

impl<'a> Requirement<'a> {
    pub(crate) fn parse(text: &'a str) -> Result<Self, RequirementError> {
        relation::check("requirement", text)?;
        let error = || RequirementError::Syntax(rpmfarm_core::name::shown(text));
        let trimmed = text.trim();
        if trimmed.chars().any(|c| c.is_control() && c != '\t') {
            return Err(error());
        }
        if trimmed.starts_with('(') {
            return Ok(Self::Rich(trimmed));
        }
        let words: Vec<&str> = trimmed.split_whitespace().collect();
        match words[..] {
            [name] => Ok(Self::Plain(name)),
            [name, relation, evr] => {
                let relation = Relation::parse(relation).ok_or_else(error)?;
                Ok(Self::Versioned { name, relation, evr })
            }
            _ => Err(error()),
        }
    }
}

impl Relation {
    fn parse(text: &str) -> Option<Self> {
        const GREATER: i32 = 1;
        const EQUAL: i32 = 2;
        const LESS: i32 = 4;
        Some(Self(match text {
            "<" => LESS,
            "<=" => LESS | EQUAL,
            "=" | "==" => EQUAL,
            ">=" => GREATER | EQUAL,
            ">" => GREATER,
            _ => return None,
        }))
    }
}

/// The paths that a requirement names, also inside a rich dependency.
pub(crate) fn paths(text: &str) -> impl Iterator<Item = &str> {
    text.split_whitespace()
        .map(|word| {
            let word = word.trim_start_matches('(');
            // A path may hold parentheses of its own: only unmatched ones belong to the rich
            // dependency around it.
            let surplus = word.matches(')').count().saturating_sub(word.matches('(').count());
            let mut end = word.len();
            for _ in 0..surplus {
                end = word[..end].strip_suffix(')').map_or(end, str::len);
            }
            &word[..end]
        })
        .filter(|word| word.starts_with('/'))
}

/// Whether primary.xml has this path, by the rule that createrepo_c and libsolv follow; all
/// other paths are in filelists.xml alone.
pub(crate) fn in_primary(path: &str) -> bool {
    path.contains("bin/") || path.starts_with("/etc/") || path == "/usr/lib/sendmail"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kinds_are_told_apart() {
        assert_eq!(
            Requirement::parse("pkgconfig(glib-2.0)"),
            Ok(Requirement::Plain("pkgconfig(glib-2.0)"))
        );
        assert_eq!(
            Requirement::parse("foo >= 1:2-3"),
            Ok(Requirement::Versioned { name: "foo", relation: Relation(3), evr: "1:2-3" })
        );
        assert_eq!(Requirement::parse("(a if b)"), Ok(Requirement::Rich("(a if b)")));
        for bad in ["", "foo >=", "foo 1", "foo => 1", "a b c d", "a\nb"] {
            assert!(Requirement::parse(bad).is_err(), "{bad}");
        }
        let deep = format!("{}a{}", "(".repeat(20_000), " or b)".repeat(20_000));
        let refused = Requirement::parse(&deep).expect_err("too deep");
        assert!(matches!(refused, RequirementError::OutOfBounds(_)), "{refused}");
    }

    #[test]
    fn paths_are_found_in_rich_dependencies() {
        let found: Vec<_> = paths("(/usr/bin/a or (/usr/share/b and c))").collect();
        assert_eq!(found, ["/usr/bin/a", "/usr/share/b"]);
        assert_eq!(paths("/opt/x(1)").collect::<Vec<_>>(), ["/opt/x(1)"]);
        assert_eq!(paths("gcc >= 4").count(), 0);
        assert!(in_primary("/usr/sbin/x") && !in_primary("/usr/share/x"));
    }
}
