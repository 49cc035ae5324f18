//! The pair that pushes lead to: a commit of a package, and a commit of its modifications.

use super::TagPattern;
use super::push::{OpenPush, PushedBuild};
use super::seen::{self, TrackRef};
use crate::Target;

/// The pair to be built because of a push.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PushPair {
    /// The package's commit, or its tag; empty for the target's default branch.
    pub git_ref: String,
    /// The commit of its modifications; empty for their branch.
    pub modification: String,
}

/// The two commits that make a build's sources.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommitPair {
    /// The branch, or tag, of the commit; empty when it was never observed.
    pub branch: String,
    /// The package's commit; empty when it was never observed.
    pub commit: String,
    /// The reference for the build: the commit, or the tag of a pattern.
    pub git_ref: String,
    /// The commit of its modifications: empty when there are none, `None` when they were never
    /// observed.
    pub modification: Option<String>,
}

impl CommitPair {
    /// The form in which it is recorded.
    #[must_use]
    pub fn to_build(&self) -> PushPair {
        PushPair {
            git_ref: self.git_ref.clone(),
            modification: self.modification.clone().unwrap_or_default(),
        }
    }

    /// Whether a build with sources has this pair.
    pub(super) fn is_of(&self, build: &PushedBuild) -> bool {
        !self.commit.is_empty()
            && build.commit_id == self.commit
            && self.modification.as_ref().is_none_or(|commit| *commit == build.modification)
    }

    /// Whether a build without sources may turn out to have this pair.
    pub(super) fn may_be_of(&self, build: &PushedBuild) -> bool {
        let or_none = |asked: &str, known: &[&String]| {
            asked.is_empty() || known.iter().any(|known| *known == asked)
        };
        build.commit_id.is_empty()
            && or_none(&build.git_ref, &[&self.branch, &self.commit, &self.git_ref])
            && self
                .modification
                .as_ref()
                .is_none_or(|commit| or_none(&build.modification_ref, &[commit]))
    }
}

/// The pair for these pushes: the pushed commit, and for the other repository the last observed
/// one.
pub(super) fn pair(
    target: &Target,
    package: &str,
    push: &OpenPush,
    beside: Option<&OpenPush>,
    known: &[TrackRef],
) -> CommitPair {
    let pushes = || std::iter::once(push).chain(beside);
    let asked = &push.git_ref;
    let git_ref = Some(asked.as_str()).filter(|asked| !asked.is_empty());
    let followed = target.git_ref(package, git_ref).unwrap_or_default();
    let at = match pushes().find(|push| !push.modifies) {
        Some(push) => Some((push.branch.clone(), push.commit_id.clone())),
        None => seen::upstream(target, package, asked, known)
            .map(|seen| (seen.branch.clone(), seen.commit_id.clone())),
    };
    let modification = match pushes().find(|push| push.modifies) {
        Some(push) => Some(push.commit_id.clone()),
        None if target.modifications_of(package).is_none() => Some(String::new()),
        None => seen::modifications(target, package, known).map(|seen| seen.commit_id.clone()),
    };
    match at {
        Some((branch, commit)) => {
            // The version in a tag is compared with the version of the build.
            let is_tag = TagPattern::parse(&followed).is_some();
            let git_ref = if is_tag { branch.clone() } else { commit.clone() };
            CommitPair { branch, commit, git_ref, modification }
        }
        None => CommitPair { git_ref: asked.clone(), modification, ..CommitPair::default() },
    }
}
