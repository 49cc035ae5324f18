//! Patterns of tags: `imports/c9/{nvr}` stands for the newest that upstream has tagged of a
//! package, in rpm's order of versions.

use std::cmp::Ordering;

use crate::Evr;

/// The variable that makes a pattern of a reference.
const NVR: &str = "{nvr}";

/// A pattern of tags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    before: String,
    after: String,
}

impl Pattern {
    /// The pattern that a reference is, if it is one.
    #[must_use]
    pub fn of(git_ref: &str) -> Option<Self> {
        let (before, after) = git_ref.split_once(NVR)?;
        Some(Self { before: before.to_owned(), after: after.to_owned() })
    }

    /// What every tag of a package begins with.
    #[must_use]
    pub fn prefix(&self, package: &str) -> String {
        format!("{}{package}-", self.before)
    }

    /// The NAME-VERSION-RELEASE that a tag says, if it is one of the pattern.
    #[must_use]
    pub fn nvr<'t>(&self, tag: &'t str) -> Option<&'t str> {
        tag.strip_prefix(&self.before)?.strip_suffix(&self.after)
    }

    /// Version and release that a tag says of a package; tags have no epoch.
    #[must_use]
    pub fn evr(&self, package: &str, tag: &str) -> Option<Evr> {
        let rest = self.nvr(tag)?.strip_prefix(package)?.strip_prefix('-')?;
        let (version, release) = rest.split_once('-')?;
        // Servers list what an annotated tag stands for as `TAG^{}`.
        let plain = |part: &str| !part.is_empty() && !part.contains(['-', '/', '{']);
        (plain(version) && plain(release)).then(|| Evr::new(0, version, release))
    }

    /// The order of two tags of a package; one that is none of its comes first. Tags of the same
    /// version and release are ordered by their text, so that there is always one newest.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_by_rpm_of_this_package_alone() {
        let pattern = Pattern::of("imports/c9/{nvr}").unwrap();
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
        assert_eq!(Pattern::of("c9s"), None);
    }
}
