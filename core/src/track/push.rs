//! A push: a branch of a repository that points to another commit than before.
//!
//! Whoever reports it, and however often, it is the same push: the repository, the branch and the
//! commit, for as long as the branch stays there. A branch that returns to an earlier commit is
//! pushed again; so each push also has a number.

use crate::{BuildId, PushId, Sha256, StormId, Timestamp};

/// A branch at a commit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Push {
    /// Address of the repository.
    pub repository: String,
    /// The tracked branch or tag.
    pub branch: String,
    /// The full id of the commit.
    pub commit: String,
}

/// An open push, with everything that decides on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenPush {
    pub id: PushId,
    /// Name of the package.
    pub package: String,
    /// Address of the repository.
    pub repository: String,
    pub branch: String,
    pub commit_id: String,
    /// The commit before it; empty when none was observed.
    pub before_id: String,
    /// Whether it is a push to the package's modifications.
    pub modifies: bool,
    /// webhook, poll.
    pub told_by: String,
    /// When it was observed.
    pub seen_at: Timestamp,
    /// When a maintainer approved it.
    pub approved_at: Option<Timestamp>,
    /// The storm that holds it.
    pub storm: Option<StormId>,
    /// When the package was last built because of a push.
    pub started_at: Option<Timestamp>,
    /// For a branch that had been at this commit before: the push by which it left the commit.
    pub left_by: Option<PushId>,
    /// Whether the package is tracked.
    pub followed: bool,
    /// The tracked branch or tag; empty for the target's default branch.
    pub git_ref: String,
}

impl OpenPush {
    /// Whether it goes back to an earlier commit of the branch.
    #[must_use]
    pub const fn returns(&self) -> bool {
        self.left_by.is_some()
    }

    #[must_use]
    pub fn push(&self) -> Push {
        Push {
            repository: self.repository.clone(),
            branch: self.branch.clone(),
            commit: self.commit_id.clone(),
        }
    }
}

/// A build that may have the pushed commit: it has its sources, or will get them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushedBuild {
    pub id: BuildId,
    /// Name of the package.
    pub package: String,
    /// The requested branch, tag or commit; empty for the target's default branch.
    pub git_ref: String,
    /// The requested commit of the modifications; empty for their branch.
    pub modification_ref: String,
    /// The commit; empty while it is unknown.
    pub commit_id: String,
    /// The commit of its modifications; empty when there are none, or they are unknown.
    pub modification: String,
    /// Whether it is published, or may still be.
    pub stands: bool,
}

/// The last known state of a branch, before a poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PreviousRef<'a> {
    /// The last observed commit; `None` when it was never polled.
    pub commit: Option<&'a str>,
    /// The commit that a webhook has named since.
    pub hinted_commit: Option<&'a str>,
    /// Whether the commit of the first poll is to be built as well.
    pub build_first: bool,
}

/// The meaning of a poll of a branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefChange {
    Same,
    /// The first poll: tracking begins at this commit.
    Begin,
    Pushed,
    /// The branch does not exist (any more).
    Gone,
}

/// The change between the last commit and the present one.
///
/// The first poll is not a push, unless a webhook named just that commit: then the push came
/// between the request to track the package and the first poll.
#[must_use]
pub fn change(before: &PreviousRef<'_>, now: Option<&str>) -> RefChange {
    match (before.commit, now) {
        (_, None) => RefChange::Gone,
        (Some(old), Some(new)) if old == new => RefChange::Same,
        (Some(_), Some(_)) => RefChange::Pushed,
        (None, Some(new)) if before.build_first || before.hinted_commit == Some(new) => {
            RefChange::Pushed
        }
        (None, Some(_)) => RefChange::Begin,
    }
}

/// The key of the request that builds these pushes, each with its number: the same pushes, in any
/// order, give the same key, and so the same builds.
#[must_use]
pub fn request_key(target: &str, pushes: &[(PushId, Push)]) -> String {
    let mut sorted: Vec<&(PushId, Push)> = pushes.iter().collect();
    sorted.sort();
    sorted.dedup();
    let mut text = target.to_owned();
    for (number, Push { repository, branch, commit }) in sorted {
        // None of them can contain a line break: they come from refs and URLs that were checked.
        text.push_str(&format!("\n{number}\n{repository}\n{branch}\n{commit}"));
    }
    format!("push:{}", Sha256::compute(text.as_bytes()).hex())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn looks() {
        let seen = PreviousRef { commit: Some("a"), hinted_commit: None, build_first: false };
        let fresh = PreviousRef { commit: None, ..seen };
        for (before, now, expected) in [
            (seen, Some("a"), RefChange::Same),
            (seen, Some("b"), RefChange::Pushed),
            (seen, None, RefChange::Gone),
            (fresh, None, RefChange::Gone),
            (fresh, Some("a"), RefChange::Begin),
            (PreviousRef { hinted_commit: Some("a"), ..fresh }, Some("a"), RefChange::Pushed),
            (PreviousRef { hinted_commit: Some("b"), ..fresh }, Some("a"), RefChange::Begin),
            (PreviousRef { build_first: true, ..fresh }, Some("a"), RefChange::Pushed),
            (PreviousRef { build_first: true, ..seen }, Some("a"), RefChange::Same),
            (PreviousRef { hinted_commit: Some("b"), ..seen }, Some("a"), RefChange::Same),
        ] {
            assert_eq!(change(&before, now), expected, "{before:?} {now:?}");
        }
    }

    fn push() -> impl Strategy<Value = (PushId, Push)> {
        (0i64..3, "[a-c]{1,2}", "[a-c]{1,2}", "[a-c]{1,2}").prop_map(
            |(number, repository, branch, commit)| {
                (PushId(number), Push { repository, branch, commit })
            },
        )
    }

    proptest! {
        #[test]
        fn a_key_is_of_the_set(mut pushes in prop::collection::vec(push(), 1..5), other in push()) {
            let key = request_key("t", &pushes);
            pushes.reverse();
            pushes.push(pushes[0].clone());
            prop_assert_eq!(&request_key("t", &pushes), &key);
            prop_assert_ne!(&request_key("u", &pushes), &key);
            if !pushes.contains(&other) {
                pushes.push(other);
                prop_assert_ne!(&request_key("t", &pushes), &key);
            }
        }
    }
}
