//! The commits at which a package's branches were last observed.

use super::TagPattern;
use crate::{Target, Timestamp};

/// The commit at which a branch was last observed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackRef {
    /// Name of the package.
    pub package: String,
    /// Address of the repository.
    pub repository: String,
    pub branch: String,
    /// The commit; empty for modifications that did not exist.
    pub commit_id: String,
    pub since: Timestamp,
}

/// The last observation of a package's tracked branch; for a pattern of tags, the newest tag.
/// `asked` is the reference of the request, empty for the target's default branch.
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
    match TagPattern::parse(&git_ref) {
        Some(pattern) => of_repository()
            .filter(|seen| pattern.evr(package, &seen.branch).is_some())
            .max_by(|one, other| pattern.compare(package, &one.branch, &other.branch)),
        None => of_repository().find(|seen| seen.branch == git_ref),
    }
}

/// The last observation of a package's modifications, with an empty commit when there were none;
/// `None` when they were never polled.
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
