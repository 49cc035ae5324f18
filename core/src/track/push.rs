//! A push: a branch of a repository that points to another commit than before.
//!
//! Whoever tells of it, and however often, it is the same push: the repository, the branch and the
//! commit, for as long as the branch stays there. A branch that comes back to a commit which it
//! has left is pushed again; so each push has a number beside.

use crate::digest::Sha256;

/// A branch at a commit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Push {
    /// Address of the repository.
    pub repository: String,
    /// The branch, or tag, that is followed.
    pub branch: String,
    /// The full id of the commit.
    pub commit: String,
}

/// A push of which nothing has become yet, with all that decides on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenPush {
    /// Its number.
    pub id: i64,
    /// Name of the package.
    pub package: String,
    /// Address of the repository.
    pub repository: String,
    /// The branch.
    pub branch: String,
    /// The commit.
    pub commit_id: String,
    /// The commit before it; empty when none was seen.
    pub before_id: String,
    /// Whether it is a push to the package's modifications.
    pub modifies: bool,
    /// webhook, poll.
    pub told_by: String,
    /// When it was seen.
    pub seen_us: i64,
    /// When a maintainer approved it; 0 when nobody has.
    pub approved_us: i64,
    /// The storm that holds it; 0 for none.
    pub storm: i64,
    /// When the package was last built because of a push; 0 for never.
    pub started_us: i64,
    /// Not 0 when the branch was at this commit before, and has left it: the push that led away.
    pub left_by: i64,
    /// Whether the package is followed.
    pub followed: bool,
    /// What it is followed for; empty for the target's own.
    pub git_ref: String,
}

impl OpenPush {
    /// Whether it goes back to a commit that the branch has left.
    #[must_use]
    pub const fn returns(&self) -> bool {
        self.left_by != 0
    }

    /// Its identity.
    #[must_use]
    pub fn push(&self) -> Push {
        Push {
            repository: self.repository.clone(),
            branch: self.branch.clone(),
            commit: self.commit_id.clone(),
        }
    }
}

/// A build that may have what was pushed: it has its sources, or is to get them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushedBuild {
    /// Its number.
    pub id: i64,
    /// Name of the package.
    pub package: String,
    /// Branch, tag or commit that was asked for; empty for the target's own.
    pub git_ref: String,
    /// The commit of the modifications that was asked for; empty for what their branch has.
    pub modification_ref: String,
    /// The commit; empty while it is not known.
    pub commit_id: String,
    /// The commit of its modifications; empty when there are none, or they are not known yet.
    pub modification: String,
    /// Whether it is published, or may still be.
    pub stands: bool,
}

/// What is known of a branch before it is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Before<'a> {
    /// The commit seen last; none when it was never looked at.
    pub commit: Option<&'a str>,
    /// The commit that a webhook has named since.
    pub told: Option<&'a str>,
    /// What is there at the first look is to be built as well.
    pub build_first: bool,
}

/// What a look at a branch means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Nothing has happened.
    Same,
    /// The first look: what is there is where following begins.
    Begin,
    /// Somebody has pushed.
    Pushed,
    /// The branch is not there (any more).
    Gone,
}

/// Tells what a look found: old ref × new ref → change.
///
/// The first look makes no push of what was there long before, unless a webhook told of just that
/// commit: then the push came between the order to follow and the first look.
#[must_use]
pub fn change(before: &Before<'_>, now: Option<&str>) -> Change {
    match (before.commit, now) {
        (_, None) => Change::Gone,
        (Some(old), Some(new)) if old == new => Change::Same,
        (Some(_), Some(_)) => Change::Pushed,
        (None, Some(new)) if before.build_first || before.told == Some(new) => Change::Pushed,
        (None, Some(_)) => Change::Begin,
    }
}

/// The key of the request that builds these pushes, each with its number: the same pushes, in
/// whatever order, give the same key, and so the same builds.
#[must_use]
pub fn request_key(target: &str, pushes: &[(i64, Push)]) -> String {
    let mut sorted: Vec<&(i64, Push)> = pushes.iter().collect();
    sorted.sort();
    sorted.dedup();
    let mut text = target.to_owned();
    for (number, Push { repository, branch, commit }) in sorted {
        // None of them can hold a line break: they come from refs and URLs that were checked.
        text.push_str(&format!("\n{number}\n{repository}\n{branch}\n{commit}"));
    }
    format!("push:{}", Sha256::of(text.as_bytes()).hex())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn looks() {
        let seen = Before { commit: Some("a"), told: None, build_first: false };
        let fresh = Before { commit: None, ..seen };
        for (before, now, expected) in [
            (seen, Some("a"), Change::Same),
            (seen, Some("b"), Change::Pushed),
            (seen, None, Change::Gone),
            (fresh, None, Change::Gone),
            (fresh, Some("a"), Change::Begin),
            (Before { told: Some("a"), ..fresh }, Some("a"), Change::Pushed),
            (Before { told: Some("b"), ..fresh }, Some("a"), Change::Begin),
            (Before { build_first: true, ..fresh }, Some("a"), Change::Pushed),
            (Before { build_first: true, ..seen }, Some("a"), Change::Same),
            (Before { told: Some("b"), ..seen }, Some("a"), Change::Same),
        ] {
            assert_eq!(change(&before, now), expected, "{before:?} {now:?}");
        }
    }

    fn push() -> impl Strategy<Value = (i64, Push)> {
        (0i64..3, "[a-c]{1,2}", "[a-c]{1,2}", "[a-c]{1,2}").prop_map(
            |(number, repository, branch, commit)| (number, Push { repository, branch, commit }),
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
