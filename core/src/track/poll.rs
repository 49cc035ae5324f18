//! What a poll of a package's repositories means: pushes, problems, and when to poll again.
//!
//! A poll asks for the package's branch or tag, and then for its modifications: what was pushed to both
//! is seen together.

use super::host::Answer;
use super::push::{Before, Change, Push, change};
use super::schedule::{Jitter, Look, Next, is_hint_believed, next};
use super::seen::{self, TrackRef};
use super::{Pattern, Tip};
use crate::Target;
use crate::name::shown;

/// A package that is polled, with what decides on the outcome.
#[derive(Debug, Clone, Copy)]
pub struct PolledPackage<'a> {
    /// The target that it is followed for.
    pub target: &'a Target,
    /// Its name.
    pub package: &'a str,
    /// The branch or tag that it is followed for; empty for the target's own.
    pub git_ref: &'a str,
    /// Whether what is there at the first poll is built as well.
    pub build_first: bool,
    /// The time between polls so far, in microseconds; 0 before the first.
    pub interval_us: i64,
    /// How often in a row it could not be read.
    pub failures: u32,
    /// What a webhook has told of it, and is not seen yet.
    pub hint: Option<WebhookHint<'a>>,
    /// What was last seen of its branches.
    pub seen: &'a [TrackRef],
}

/// What a webhook has told of a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WebhookHint<'a> {
    /// When it came, in microseconds.
    pub told_us: i64,
    /// The commit of the package that it told of; empty for none.
    pub commit: &'a str,
    /// The commit of its modifications that it told of; empty for none.
    pub modification: &'a str,
}

/// What was found of a package's modifications.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModificationsTip {
    /// The package has no place for any.
    Nowhere,
    /// Where they are.
    At {
        /// Address of the repository.
        repository: String,
        /// The branch.
        branch: String,
        /// What it points to; nothing when there is no such repository or branch.
        commit: Option<String>,
    },
    /// They cannot be read, for this reason.
    Hidden(String),
}

/// What a poll has led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PollOutcome {
    /// When the next one is.
    pub next: Next,
    /// How often in a row it could not be read; 0 when it could.
    pub failures: u32,
    /// Why not, in one line.
    pub problem: String,
    /// Whether a webhook's push is still to be seen.
    pub hinted: bool,
    /// What was seen of the package and of its modifications; nothing of what could not be read.
    pub saw: Vec<RefObservation>,
}

/// A branch that was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefObservation {
    /// Where it points to; an empty commit for modifications that are not there.
    pub push: Push,
    /// What that means.
    pub change: Change,
    /// Whether it is the modifications'.
    pub modifies: bool,
    /// webhook, poll.
    pub told_by: &'static str,
}

/// What one of the two repositories has shown.
struct Found {
    change: Change,
    saw: Option<RefObservation>,
    problem: String,
    /// Whether a webhook told of another commit.
    is_not_yet: bool,
}

impl PolledPackage<'_> {
    /// What it means that upstream answered: `git_ref` was asked for, and points to `tip`.
    #[must_use]
    pub fn answered(
        &self,
        git_ref: &str,
        tip: Option<Tip>,
        modified: ModificationsTip,
        jitter: Jitter,
        now_us: i64,
    ) -> PollOutcome {
        let package = self.package(git_ref, tip);
        let modifications = self.modifications(modified);
        let is_not_yet = package.is_not_yet || modifications.is_not_yet;
        let problem = [modifications.problem, package.problem].into_iter().find(|p| !p.is_empty());
        let saw: Vec<RefObservation> = package.saw.into_iter().chain(modifications.saw).collect();

        let believed = self.hint.filter(|hint| is_hint_believed(hint.told_us, now_us));
        let has_pushed = saw.iter().any(|saw| saw.change == Change::Pushed);
        let look = match believed.filter(|_| is_not_yet) {
            Some(hint) => Look::NotYet { told_us: hint.told_us },
            None if has_pushed => Look::Saw(Change::Pushed),
            None => Look::Saw(package.change),
        };
        PollOutcome {
            next: next(&self.target.track.pace(), self.interval_us, look, jitter, now_us),
            failures: u32::from(problem.is_some()),
            problem: shown(&problem.unwrap_or_default()),
            hinted: matches!(look, Look::NotYet { .. }),
            saw,
        }
    }

    /// What it means that upstream could not be read, by this error, which says so of the host.
    #[must_use]
    pub fn failed(&self, error: &str, answer: Answer, jitter: Jitter, now_us: i64) -> PollOutcome {
        let failures = self.failures.saturating_add(1);
        let look = match answer {
            Answer::Well => Look::Failed(failures),
            // A host that is ill says nothing of the package: it keeps its pace, and waits with all
            // others until the host is asked again.
            Answer::Ill(_) => Look::Saw(Change::Begin),
        };
        PollOutcome {
            next: next(&self.target.track.pace(), self.interval_us, look, jitter, now_us),
            failures,
            problem: shown(error),
            hinted: self.hint.is_some_and(|hint| is_hint_believed(hint.told_us, now_us)),
            saw: Vec::new(),
        }
    }

    fn package(&self, git_ref: &str, tip: Option<Tip>) -> Found {
        let told = self.hint.map(|hint| hint.commit).filter(|commit| !commit.is_empty());
        let change = self.change_of_package(git_ref, tip.as_ref(), told);
        let commit = tip.as_ref().map(|tip| tip.commit.as_str());
        let is_not_yet = told.is_some() && told != commit;
        let problem = if change == Change::Gone { self.gone(git_ref) } else { String::new() };
        let saw = tip.map(|Tip { name: branch, commit }| {
            let push = Push { repository: self.target.git_url(self.package), branch, commit };
            RefObservation { push, change, modifies: false, told_by: told_by(told) }
        });
        Found { change, saw, problem, is_not_yet }
    }

    fn modifications(&self, modified: ModificationsTip) -> Found {
        let told = self.hint.map(|hint| hint.modification).filter(|commit| !commit.is_empty());
        let nothing = |problem: String, is_not_yet: bool| Found {
            change: Change::Same,
            saw: None,
            problem,
            is_not_yet,
        };
        let (repository, branch, commit) = match modified {
            ModificationsTip::Nowhere => return nothing(String::new(), false),
            ModificationsTip::Hidden(why) => {
                return nothing(format!("modifications: {why}"), told.is_some());
            }
            ModificationsTip::At { repository, branch, commit } => (repository, branch, commit),
        };
        let before = seen::modifications(self.target, self.package, self.seen);
        let before = before.map(|seen| seen.commit_id.as_str());
        let change = change_of_modifications(before, commit.as_deref(), told);
        let is_not_yet = told.is_some() && told != commit.as_deref();
        let problem = match change {
            Change::Gone => lost(&repository, &branch, self.package),
            _ => String::new(),
        };
        let push = Push { repository, branch, commit: commit.unwrap_or_default() };
        let saw = RefObservation { push, change, modifies: true, told_by: told_by(told) };
        Found { change, saw: Some(saw), problem, is_not_yet }
    }

    /// What was found means a push, or nothing. With a pattern of tags, a tag that is older than the
    /// newest that was seen is ignored: upstream has withdrawn a tag.
    fn change_of_package(&self, git_ref: &str, tip: Option<&Tip>, told: Option<&str>) -> Change {
        let before = seen::upstream(self.target, self.package, self.git_ref, self.seen);
        if let (Some(pattern), Some(tip), Some(seen)) = (Pattern::of(git_ref), tip, before)
            && pattern.compare(self.package, &tip.name, &seen.branch).is_lt()
        {
            return Change::Same;
        }
        // A newer tag is a push even if it is of the same commit.
        let same_name = |seen: &&TrackRef| tip.is_none_or(|tip| tip.name == seen.branch);
        let commit = match before.filter(same_name) {
            Some(seen) => Some(seen.commit_id.as_str()),
            None => before.map(|_| ""),
        };
        let before = Before { commit, told, build_first: self.build_first };
        change(&before, tip.map(|tip| tip.commit.as_str()))
    }

    fn gone(&self, git_ref: &str) -> String {
        let (repository, package) = (self.target.git_url(self.package), self.package);
        match Pattern::of(git_ref) {
            Some(_) => format!("{repository} has no tag `{git_ref}` with {{nvr}} of {package}"),
            None => format!("{repository} has no branch or tag `{git_ref}`"),
        }
    }
}

const fn told_by(told: Option<&str>) -> &'static str {
    if told.is_some() { "webhook" } else { "poll" }
}

/// What a look at modifications means. That there were none is remembered as an empty commit:
/// those that come after it are a push. Those that have gone are none: a package does not lose its
/// changes because a server forgot them.
fn change_of_modifications(before: Option<&str>, now: Option<&str>, told: Option<&str>) -> Change {
    match (before, now) {
        (None, None) => Change::Begin,
        (Some(""), None) => Change::Same,
        _ => change(&Before { commit: before, told, build_first: false }, now),
    }
}

fn lost(repository: &str, branch: &str, package: &str) -> String {
    format!(
        "modifications: {repository} had a branch `{branch}` and has none now; put it back, or \
         set packages.{package}.unmodified = true"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::track::schedule::BELIEVED_US;

    fn target() -> Target {
        let text = include_str!("../../../deploy/targets/lab.toml");
        Target { modifications: None, ..Target::parse("lab.toml", text).unwrap() }
    }

    fn polled<'a>(target: &'a Target, git_ref: &'a str, seen: &'a [TrackRef]) -> PolledPackage<'a> {
        let (package, hint) = ("a", None);
        let (build_first, interval_us, failures) = (false, 0, 0);
        PolledPackage { target, package, git_ref, build_first, interval_us, failures, hint, seen }
    }

    fn answered(polled: &PolledPackage<'_>, tip: Option<(&str, &str)>, now_us: i64) -> PollOutcome {
        let tip = tip.map(|(name, commit)| Tip { name: name.into(), commit: commit.into() });
        let (jitter, modified) = (Jitter::new(1, "a", 1), ModificationsTip::Nowhere);
        polled.answered(polled.git_ref, tip, modified, jitter, now_us)
    }

    fn seen(target: &Target, branch: &str, commit: &str) -> TrackRef {
        TrackRef {
            package: "a".into(),
            repository: target.git_url("a"),
            branch: branch.into(),
            commit_id: commit.into(),
            at_us: 1,
        }
    }

    #[test]
    fn a_tag_that_upstream_withdrew_is_no_push() {
        let target = target();
        let known = [seen(&target, "v/a-2-1", "two")];
        let polled = polled(&target, "v/{nvr}", &known);
        for (tag, commit, change) in [
            ("v/a-1-1", "one", Change::Same),
            ("v/a-2-1", "two", Change::Same),
            ("v/a-2-1", "moved", Change::Pushed),
            ("v/a-3-1", "two", Change::Pushed),
        ] {
            let outcome = answered(&polled, Some((tag, commit)), 0);
            assert_eq!(outcome.saw[0].change, change, "{tag} {commit}");
            assert_eq!((outcome.failures, outcome.problem.as_str()), (0, ""));
        }
        let outcome = answered(&polled, None, 0);
        assert!(outcome.saw.is_empty() && outcome.failures == 1);
        assert!(outcome.problem.ends_with("has no tag `v/{nvr}` with {nvr} of a"), "{outcome:?}");
    }

    #[test]
    fn a_hint_is_believed_until_it_is_seen_or_too_old() {
        let target = target();
        let known = [seen(&target, "c9s", "old")];
        let hint = Some(WebhookHint { told_us: 1, commit: "new", modification: "" });
        let polled = PolledPackage { hint, ..polled(&target, "c9s", &known) };
        let told = answered(&polled, Some(("c9s", "new")), 2);
        assert_eq!((told.hinted, told.saw[0].told_by), (false, "webhook"));
        assert_eq!(told.saw[0].change, Change::Pushed);
        let not_yet = |now_us| answered(&polled, Some(("c9s", "old")), now_us).hinted;
        assert!(not_yet(2) && not_yet(BELIEVED_US));
        assert!(!not_yet(BELIEVED_US + 1));
        let failed = |now_us| {
            let jitter = Jitter::new(1, "a", 1);
            polled.failed("no answer", Answer::Ill(None), jitter, now_us).hinted
        };
        assert!(failed(BELIEVED_US) && !failed(BELIEVED_US + 1));
    }

    #[test]
    fn what_hides_modifications_is_the_problem() {
        let (target, jitter) = (target(), Jitter::new(1, "a", 1));
        let hint = Some(WebhookHint { told_us: 1, commit: "", modification: "m" });
        let polled = PolledPackage { hint, ..polled(&target, "c9s", &[]) };
        let hidden = ModificationsTip::Hidden("no access".into());
        let outcome = polled.answered("c9s", None, hidden, jitter, 2);
        assert_eq!((outcome.problem.as_str(), outcome.failures), ("modifications: no access", 1));
        assert!(outcome.hinted && outcome.saw.is_empty());
    }

    #[test]
    fn a_host_that_is_ill_does_not_slow_a_package_down() {
        let (target, jitter) = (target(), Jitter::new(1, "a", 1));
        let interval_us = target.track.pace().shortest_us * 2;
        let polled = PolledPackage { interval_us, failures: 3, ..polled(&target, "c9s", &[]) };
        let ill = polled.failed("busy", Answer::Ill(Some(9)), jitter, 0);
        assert_eq!((ill.next.interval_us, ill.failures), (interval_us, 4));
        let own = polled.failed("no such repository", Answer::Well, jitter, 0);
        assert!(own.next.interval_us > interval_us);
    }

    #[test]
    fn modifications_that_come_are_a_push_and_those_that_go_are_none() {
        for (before, now, told, expected) in [
            (None, None, None, Change::Begin),
            (None, Some("a"), None, Change::Begin),
            (None, Some("a"), Some("a"), Change::Pushed),
            (Some(""), None, None, Change::Same),
            (Some(""), Some("a"), None, Change::Pushed),
            (Some("a"), Some("a"), None, Change::Same),
            (Some("a"), Some("b"), None, Change::Pushed),
            (Some("a"), None, None, Change::Gone),
        ] {
            assert_eq!(change_of_modifications(before, now, told), expected, "{before:?} {now:?}");
        }
    }
}
