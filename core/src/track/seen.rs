//! What is known of a package's branches: the last that was seen of each.

use super::Pattern;
use crate::Target;

/// The commit that a branch was last seen to point to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackRef {
    /// Name of the package.
    pub package: String,
    /// Address of the repository.
    pub repository: String,
    /// The branch.
    pub branch: String,
    /// The commit; empty for modifications that were not there.
    pub commit_id: String,
    /// Since when, in microseconds.
    pub at_us: i64,
}

/// What was last seen of the branch that a package is followed for; of a pattern of tags, the
/// newest tag. `asked` is what was asked for, empty for the target's own.
#[must_use]
pub fn upstream<'s>(
    target: &Target,
    package: &str,
    asked: &str,
    seen: &'s [TrackRef],
) -> Option<&'s TrackRef> {
    let repository = target.git_url(package);
    let git_ref = target.git_ref(package, Some(asked).filter(|asked| !asked.is_empty())).ok()?;
    let of_repository =
        || seen.iter().filter(|seen| seen.package == package && seen.repository == repository);
    match Pattern::of(&git_ref) {
        Some(pattern) => of_repository()
            .filter(|seen| pattern.evr(package, &seen.branch).is_some())
            .max_by(|one, other| pattern.compare(package, &one.branch, &other.branch)),
        None => of_repository().find(|seen| seen.branch == git_ref),
    }
}

/// What was last seen of a package's modifications, with an empty commit when there were none;
/// nothing when they were never looked at.
#[must_use]
pub fn modifications<'s>(
    target: &Target,
    package: &str,
    seen: &'s [TrackRef],
) -> Option<&'s TrackRef> {
    let (repository, branch) = target.modifications_of(package)?;
    seen.iter().find(|seen| {
        seen.package == package && seen.repository == repository && seen.branch == branch
    })
}
