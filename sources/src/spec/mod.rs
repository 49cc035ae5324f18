//! Spec files as text: values that can be determined without running anything of a spec.
//!
//! Owns the sections, a macro expander that knows `%global` and `%define`, conditions and the tags
//! of the main package. It never runs `%(command)` nor Lua: a value that needs them is
//! [`UnknownValueError`], and the caller leaves the macro to rpm, in the cage.

use std::collections::BTreeSet;

mod condition;
mod expand;
mod fixed;
mod preamble;
mod section;

pub use expand::{Macros, UnknownValueError};
pub use fixed::is_version_fixed;
pub use preamble::{Preamble, VersionTags, version_tags};
pub use section::{SectionHeader, header, is_header};

/// The lines of a text without their ends, `\r\n` as well as `\n`.
#[must_use]
pub fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

/// Whether this line opens the changelog.
#[must_use]
pub fn is_changelog(line: &str) -> bool {
    line.trim() == "%changelog"
}

/// Lines of the changelog that are only in the newer spec.
#[must_use]
pub fn new_changelog(older: &str, newer: &str) -> Vec<String> {
    let changelog = |spec: &str| -> Vec<String> {
        let lines = spec.lines().skip_while(|line| !is_changelog(line)).skip(1);
        lines.map(|line| line.trim_end().to_owned()).filter(|line| !line.is_empty()).collect()
    };
    let old: BTreeSet<_> = changelog(older).into_iter().collect();
    changelog(newer).into_iter().filter(|line| !old.contains(line)).collect()
}

/// The value of a tag when this line sets it: `Release: 1` and `release : 1` for `release`.
#[must_use]
pub fn tag_value<'a>(line: &'a str, tag: &str) -> Option<&'a str> {
    let (name, value) = line.split_once(':')?;
    name.trim().eq_ignore_ascii_case(tag).then(|| value.trim())
}

/// Whether this text names the macro `%NAME`, in braces, conditional or plain.
#[must_use]
pub fn names_macro(text: &str, name: &str) -> bool {
    text.match_indices('%').any(|(at, _)| {
        let rest = text[at + 1..].trim_start_matches(['{', '?', '!']);
        rest.strip_prefix(name).is_some_and(|after| {
            !after.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_and_macros_by_name() {
        assert_eq!(tag_value("Release:  1%{?dist} ", "release"), Some("1%{?dist}"));
        assert_eq!(tag_value("  release : 2", "release"), Some("2"));
        assert_eq!(tag_value("Requires: x", "release"), None);
        for text in ["%autorelease", "x %{autorelease}", "%{?autorelease}", "%autorelease -b 3"] {
            assert!(names_macro(text, "autorelease"), "{text}");
        }
        for text in ["autorelease", "%autoreleases", "%{?dist}"] {
            assert!(!names_macro(text, "autorelease"), "{text}");
        }
    }

    #[test]
    fn what_is_new_in_a_changelog() {
        let old = "Name: x\n%changelog\n* Mon A\n- one\n";
        let new = "Name: y\n%changelog\n* Tue B\n- two\n\n* Mon A\n- one\n";
        assert_eq!(new_changelog(old, new), ["* Tue B", "- two"]);
        assert!(new_changelog(new, old).is_empty());
    }
}
