//! Patterns of tags: `imports/c9/{nvr}` stands for the newest tag of a package, in rpm's order of
//! versions.
//!
//! Git allows no `~`, `^` or `:` in a name, so upstreams write something else in the tags of such
//! versions, each in its own way: `%7E`, `_7E`, `_` or `-`. If the text were compared unchanged, a
//! release candidate would count as newer than its release.

use std::cmp::Ordering;

use crate::Evr;
use crate::name::percent_decoded;

/// The variable that makes a reference a pattern.
const NVR: &str = "{nvr}";

/// Words after a `~` in the versions of distributions, when digits or the end follow them.
const BEFORE_RELEASE: [&str; 9] =
    ["alpha", "beta", "rc", "pre", "preview", "dev", "test", "a", "b"];

/// A pattern of tags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagPattern {
    before: String,
    after: String,
}

impl TagPattern {
    /// Reads a reference; `None` when it is not a pattern.
    #[must_use]
    pub fn parse(git_ref: &str) -> Option<Self> {
        let (before, after) = git_ref.split_once(NVR)?;
        Some(Self { before: before.to_owned(), after: after.to_owned() })
    }

    /// The prefix of every tag of a package.
    #[must_use]
    pub fn prefix(&self, package: &str) -> String {
        format!("{}{package}-", self.before)
    }

    /// The NAME-VERSION-RELEASE in a tag, unchanged, if the tag matches.
    #[must_use]
    pub fn nvr<'t>(&self, tag: &'t str) -> Option<&'t str> {
        tag.strip_prefix(&self.before)?.strip_suffix(&self.after)
    }

    /// Version and release in a tag of a package, and the epoch where it has one. Substitutes for
    /// characters that tags cannot have are replaced; where a substitute is ambiguous, as `_` is,
    /// the text after it decides.
    #[must_use]
    pub fn evr(&self, package: &str, tag: &str) -> Option<Evr> {
        let rest = self.nvr(tag)?.strip_prefix(package)?.strip_prefix('-')?;
        // Servers list the commit of an annotated tag as `TAG^{}`.
        if rest.contains(['/', '{']) {
            return None;
        }
        let rest = percent_decoded(rest);
        let (version, release) = rest.rsplit_once('-')?;
        let version = match version.split_once('-') {
            None => version.to_owned(),
            // A hyphen stands for a tilde only within a version, because a hyphen may also be part
            // of the name.
            Some((number, rest)) => {
                let is_number = number.starts_with(|c: char| c.is_ascii_digit());
                (is_number && !rest.contains('-') && begins_before_release(rest))
                    .then(|| format!("{number}~{rest}"))?
            }
        };
        let (epoch, version) = match version.split_once(':') {
            Some((epoch, version)) => (epoch.parse().ok()?, version.to_owned()),
            None => (0, version),
        };
        let (version, release) = (unescaped(&version), unescaped(release));
        let plain = |part: &str| !part.is_empty() && !part.contains([':', '/', '-']);
        (plain(&version) && plain(&release)).then(|| Evr::new(epoch, version, release))
    }

    /// The order of two tags of a package; one that does not match the pattern comes first. Tags of
    /// the same version and release are ordered by their text, so that one of them is always the
    /// newest.
    #[must_use]
    pub fn compare(&self, package: &str, one: &str, other: &str) -> Ordering {
        let evrs = (self.evr(package, one), self.evr(package, other));
        evrs.0.cmp(&evrs.1).then_with(|| one.cmp(other))
    }

    /// The newest of some tags.
    #[must_use]
    pub fn newest<'t>(
        &self,
        package: &str,
        tags: impl IntoIterator<Item = &'t str>,
    ) -> Option<&'t str> {
        tags.into_iter()
            .filter(|tag| self.evr(package, tag).is_some())
            .max_by(|one, other| self.compare(package, one, other))
    }
}

/// A version or release in which each `_` is replaced by what it stands for: the percent sign of an
/// escape, a tilde, a caret, or itself.
fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('_') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let digits = after.get(..2).unwrap_or_default();
        let (sign, length) = match () {
            () if digits.eq_ignore_ascii_case("7e") => ('~', 2),
            () if digits.eq_ignore_ascii_case("5e") => ('^', 2),
            () if begins_before_release(after) => ('~', 0),
            () if begins_snapshot(after) => ('^', 0),
            () => ('_', 0),
        };
        out.push(sign);
        rest = &after[length..];
    }
    out.push_str(rest);
    out
}

/// Whether a text begins with a word for a pre-release, as `rc1`.
fn begins_before_release(text: &str) -> bool {
    let letters = text.bytes().take_while(u8::is_ascii_alphabetic).count();
    let (word, rest) = text.split_at(letters);
    let word = word.to_ascii_lowercase();
    // A single letter counts only with a number after it.
    let has_number = rest.starts_with(|c: char| c.is_ascii_digit());
    BEFORE_RELEASE.contains(&word.as_str()) && (word.len() > 1 || has_number)
}

/// Whether a text begins with the name of a snapshot after a release: a date, or `git`.
fn begins_snapshot(text: &str) -> bool {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let is_date = digits == 8 && (text.starts_with("19") || text.starts_with("20"));
    is_date || text.starts_with("git")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_by_rpm_of_this_package_alone() {
        let pattern = TagPattern::parse("imports/c9/{nvr}").unwrap();
        let tags = [
            "imports/c9/gcc-11.4.1-9.el9",
            "imports/c9/gcc-11.4.1-10.el9",
            "imports/c9/gcc-11.4.1-10.el9~beta",
            "imports/c9/gcc-toolset-13-13.1-1.el9",
            "imports/c9/gcc-99",
            "imports/c9-beta/gcc-99-1.el9",
            "imports/c9/gcc-98-1.el9/x",
            "imports/c9/gcc--1",
            "imports/c9/gcc-97-1.el9^{}",
            "v99",
        ];
        assert_eq!(pattern.newest("gcc", tags), Some(tags[1]));
        assert_eq!(pattern.newest("gcc-toolset-13", tags), Some(tags[3]));
        assert_eq!(pattern.newest("bash", tags), None);
        assert_eq!(pattern.prefix("gcc"), "imports/c9/gcc-");
        assert_eq!(pattern.nvr(tags[1]), Some("gcc-11.4.1-10.el9"));
        assert_eq!(pattern.compare("gcc", tags[0], tags[1]), Ordering::Less);
        assert_eq!(TagPattern::parse("c9s"), None);
    }

    #[test]
    fn what_stands_for_characters_that_tags_cannot_have() {
        let pattern = TagPattern::parse("imports/r9/{nvr}").unwrap();
        for (tag, evr) in [
            ("2.0%7Erc1-1.el9", "2.0~rc1-1.el9"),
            ("2.0%7erc1-1.el9", "2.0~rc1-1.el9"),
            ("2.0_7Erc1-1.el9", "2.0~rc1-1.el9"),
            ("2.0_rc1-1.el9", "2.0~rc1-1.el9"),
            ("2.0-rc1-1.el9", "2.0~rc1-1.el9"),
            ("2.0_beta-1.el9", "2.0~beta-1.el9"),
            ("2.0_b2-1.el9", "2.0~b2-1.el9"),
            ("2.0%5E20240101git1-1.el9", "2.0^20240101git1-1.el9"),
            ("2.0_20240101git1-1.el9", "2.0^20240101git1-1.el9"),
            ("2.0_5Egit1-1.el9", "2.0^git1-1.el9"),
            ("1%3A2.0-1.el9", "1:2.0-1.el9"),
            ("2.0-0.1_rc1.el9", "2.0-0.1~rc1.el9"),
            // These are in versions and releases as they are.
            ("2.0_1-1.el9_4.2", "2.0_1-1.el9_4.2"),
            ("2.0_p1-1.el9", "2.0_p1-1.el9"),
            ("2.0-1.module_el8.9.0+1+abc", "2.0-1.module_el8.9.0+1+abc"),
            ("2.0-1.module+el8.9.0+1+abc", "2.0-1.module+el8.9.0+1+abc"),
        ] {
            let read = pattern.evr("x", &format!("imports/r9/x-{tag}")).unwrap();
            assert_eq!(read.to_string(), evr, "{tag}");
        }
        for none in ["2.0-next-1.el9", "toolset-13-1", "x%3A2.0-1", "2.0%2F-1", "2.0-1-1", "_-"] {
            assert_eq!(pattern.evr("x", &format!("imports/r9/x-{none}")), None, "{none}");
        }
        for escape in ["%7E", "_7E", "_", "-"] {
            let tags = ["2.0", &format!("2.0{escape}rc1"), &format!("2.0{escape}rc2"), "1.9"]
                .map(|version| format!("imports/r9/x-{version}-1.el9"));
            let mut sorted = tags.clone();
            sorted.sort_by(|one, other| pattern.compare("x", one, other));
            let order = [3, 1, 2, 0].map(|at: usize| tags[at].clone());
            assert_eq!(sorted, order, "{escape}");
        }
    }
}
