//! What the poll of a package's repositories means: pushes, problems, and when to poll again.
//!
//! A poll reads the package's branch or tag, and then its modifications, so that pushes to both are
//! observed together.

use std::time::Duration;

use super::host::HostResponse;
use super::push::{PreviousRef, Push, RefChange, change};
use super::schedule::{Jitter, NextPoll, PollFinding, is_hint_believed, next};
use super::seen::{self, TrackRef};
use super::{RefTip, TagPattern};
use crate::name::shown;
use crate::{Target, Timestamp};

/// A polled package, with the facts that decide on the result.
#[derive(Debug, Clone, Copy)]
pub struct PolledPackage<'a> {
    /// The target that it is tracked for.
    pub target: &'a Target,
    pub package: &'a str,
    /// The tracked branch or tag; empty for the target's default branch.
    pub git_ref: &'a str,
    /// Whether the commit of the first poll is built as well.
    pub build_first: bool,
    /// The time between polls so far; `None` before the first.
    pub interval: Option<Duration>,
    /// How often in a row the repository could not be read.
    pub failures: u32,
    /// A webhook whose push was not observed yet.
    pub hint: Option<WebhookHint<'a>>,
    /// The last observed commits of its branches.
    pub seen: &'a [TrackRef],
}

/// The content of a webhook about a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WebhookHint<'a> {
    pub hinted_at: Timestamp,
    /// The commit of the package; empty for none.
    pub commit: &'a str,
    /// The commit of its modifications; empty for none.
    pub modification: &'a str,
}

/// The result of polling a package's modifications.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModificationsTip {
    /// The package has no repository for them.
    Nowhere,
    At {
        /// Address of the repository.
        repository: String,
        branch: String,
        /// The commit; `None` when there is no such repository or branch.
        commit: Option<String>,
    },
    /// They cannot be read, for this reason.
    Hidden(String),
}

/// The result of a poll.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PollOutcome {
    /// When the next poll is.
    pub next: NextPoll,
    /// How often in a row the repository could not be read; 0 when it could.
    pub failures: u32,
    /// The reason, in one line.
    pub problem: String,
    /// Whether the push of a webhook was not observed yet.
    pub hinted: bool,
    /// The observations of the package and of its modifications, without those that could not be
    /// read.
    pub observations: Vec<RefObservation>,
}

/// An observed branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefObservation {
    /// The branch and its commit; an empty commit for modifications that do not exist.
    pub push: Push,
    pub change: RefChange,
    /// Whether it is the branch of the modifications.
    pub modifies: bool,
    /// webhook, poll.
    pub told_by: &'static str,
}

/// The result for one of the two repositories.
struct TipFinding {
    change: RefChange,
    observation: Option<RefObservation>,
    problem: String,
    /// Whether a webhook named another commit.
    is_not_yet: bool,
}

impl PolledPackage<'_> {
    /// The result of an answer of upstream: `git_ref` was polled, and points to `tip`.
    #[must_use]
    pub fn answered(
        &self,
        git_ref: &str,
        tip: Option<RefTip>,
        modified: ModificationsTip,
        jitter: Jitter,
        now: Timestamp,
    ) -> PollOutcome {
        let package = self.package(git_ref, tip);
        let modifications = self.modifications(modified);
        let is_not_yet = package.is_not_yet || modifications.is_not_yet;
        let problem = [modifications.problem, package.problem].into_iter().find(|p| !p.is_empty());
        let observations: Vec<RefObservation> =
            package.observation.into_iter().chain(modifications.observation).collect();

        let believed = self.hint.filter(|hint| is_hint_believed(hint.hinted_at, now));
        let has_pushed = observations.iter().any(|one| one.change == RefChange::Pushed);
        let finding = match believed.filter(|_| is_not_yet) {
            Some(hint) => PollFinding::NotYet { hinted_at: hint.hinted_at },
            None if has_pushed => PollFinding::Observed(RefChange::Pushed),
            None => PollFinding::Observed(package.change),
        };
        PollOutcome {
            next: next(&self.target.track.pace(), self.interval, finding, jitter, now),
            failures: u32::from(problem.is_some()),
            problem: shown(&problem.unwrap_or_default()),
            hinted: matches!(finding, PollFinding::NotYet { .. }),
            observations,
        }
    }

    /// The result when upstream could not be read, by this error and what it says about the host.
    #[must_use]
    pub fn failed(
        &self,
        error: &str,
        answer: HostResponse,
        jitter: Jitter,
        now: Timestamp,
    ) -> PollOutcome {
        let failures = self.failures.saturating_add(1);
        let finding = match answer {
            HostResponse::Well => PollFinding::Failed(failures),
            // The failure of a host says nothing about the package: the package keeps its interval,
            // and waits with all others until the host is asked again.
            HostResponse::Ill(_) => PollFinding::Observed(RefChange::Begin),
        };
        PollOutcome {
            next: next(&self.target.track.pace(), self.interval, finding, jitter, now),
            failures,
            problem: shown(error),
            hinted: self.hint.is_some_and(|hint| is_hint_believed(hint.hinted_at, now)),
            observations: Vec::new(),
        }
    }

    fn package(&self, git_ref: &str, tip: Option<RefTip>) -> TipFinding {
        let hinted_commit = self.hint.map(|hint| hint.commit).filter(|commit| !commit.is_empty());
        let change = self.change_of_package(git_ref, tip.as_ref(), hinted_commit);
        let commit = tip.as_ref().map(|tip| tip.commit.as_str());
        let is_not_yet = hinted_commit.is_some() && hinted_commit != commit;
        let problem = if change == RefChange::Gone { self.gone(git_ref) } else { String::new() };
        let observation = tip.map(|RefTip { name: branch, commit }| {
            let push = Push { repository: self.target.git_url(self.package), branch, commit };
            RefObservation { push, change, modifies: false, told_by: told_by(hinted_commit) }
        });
        TipFinding { change, observation, problem, is_not_yet }
    }

    fn modifications(&self, modified: ModificationsTip) -> TipFinding {
        let hinted_commit =
            self.hint.map(|hint| hint.modification).filter(|commit| !commit.is_empty());
        let nothing = |problem: String, is_not_yet: bool| TipFinding {
            change: RefChange::Same,
            observation: None,
            problem,
            is_not_yet,
        };
        let (repository, branch, commit) = match modified {
            ModificationsTip::Nowhere => return nothing(String::new(), false),
            ModificationsTip::Hidden(why) => {
                return nothing(format!("modifications: {why}"), hinted_commit.is_some());
            }
            ModificationsTip::At { repository, branch, commit } => (repository, branch, commit),
        };
        let before = seen::modifications(self.target, self.package, self.seen);
        let before = before.map(|seen| seen.commit_id.as_str());
        let change = change_of_modifications(before, commit.as_deref(), hinted_commit);
        let is_not_yet = hinted_commit.is_some() && hinted_commit != commit.as_deref();
        let problem = match change {
            RefChange::Gone => lost(&repository, &branch, self.package),
            _ => String::new(),
        };
        let push = Push { repository, branch, commit: commit.unwrap_or_default() };
        let observation =
            RefObservation { push, change, modifies: true, told_by: told_by(hinted_commit) };
        TipFinding { change, observation: Some(observation), problem, is_not_yet }
    }

    /// Whether the observation is a push. With a pattern of tags, a tag that is older than the
    /// newest observed one is ignored: upstream has withdrawn a tag.
    fn change_of_package(
        &self,
        git_ref: &str,
        tip: Option<&RefTip>,
        hinted_commit: Option<&str>,
    ) -> RefChange {
        let before = seen::upstream(self.target, self.package, self.git_ref, self.seen);
        if let (Some(pattern), Some(tip), Some(seen)) = (TagPattern::parse(git_ref), tip, before)
            && pattern.compare(self.package, &tip.name, &seen.branch).is_lt()
        {
            return RefChange::Same;
        }
        // A newer tag is a push even if it points to the same commit.
        let same_name = |seen: &&TrackRef| tip.is_none_or(|tip| tip.name == seen.branch);
        let commit = match before.filter(same_name) {
            Some(seen) => Some(seen.commit_id.as_str()),
            None => before.map(|_| ""),
        };
        let before = PreviousRef { commit, hinted_commit, build_first: self.build_first };
        change(&before, tip.map(|tip| tip.commit.as_str()))
    }

    fn gone(&self, git_ref: &str) -> String {
        let (repository, package) = (self.target.git_url(self.package), self.package);
        match TagPattern::parse(git_ref) {
            Some(_) => format!("{repository} has no tag `{git_ref}` with {{nvr}} of {package}"),
            None => format!("{repository} has no branch or tag `{git_ref}`"),
        }
    }
}

const fn told_by(hinted_commit: Option<&str>) -> &'static str {
    if hinted_commit.is_some() { "webhook" } else { "poll" }
}

/// Whether the observation of modifications is a push. Absent modifications are recorded as an
/// empty commit, so new ones are a push. Modifications that have disappeared are not: a package
/// does not lose its changes because a server lost them.
fn change_of_modifications(
    before: Option<&str>,
    now: Option<&str>,
    hinted_commit: Option<&str>,
) -> RefChange {
    match (before, now) {
        (None, None) => RefChange::Begin,
        (Some(""), None) => RefChange::Same,
        _ => change(&PreviousRef { commit: before, hinted_commit, build_first: false }, now),
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
    use crate::track::schedule::BELIEVED;

    const NOW: Timestamp = Timestamp::ZERO;

    const fn at(us: i64) -> Timestamp {
        Timestamp::from_us(us)
    }

    fn target() -> Target {
        let text = include_str!("../../../deploy/targets/lab.toml");
        Target { modifications: None, ..Target::parse("lab.toml", text).unwrap() }
    }

    fn polled<'a>(target: &'a Target, git_ref: &'a str, seen: &'a [TrackRef]) -> PolledPackage<'a> {
        let (package, hint) = ("a", None);
        let (build_first, interval, failures) = (false, None, 0);
        PolledPackage { target, package, git_ref, build_first, interval, failures, hint, seen }
    }

    fn answered(
        polled: &PolledPackage<'_>,
        tip: Option<(&str, &str)>,
        now: Timestamp,
    ) -> PollOutcome {
        let tip = tip.map(|(name, commit)| RefTip { name: name.into(), commit: commit.into() });
        let (jitter, modified) = (Jitter::new(1, "a", 1), ModificationsTip::Nowhere);
        polled.answered(polled.git_ref, tip, modified, jitter, now)
    }

    fn seen(target: &Target, branch: &str, commit: &str) -> TrackRef {
        TrackRef {
            package: "a".into(),
            repository: target.git_url("a"),
            branch: branch.into(),
            commit_id: commit.into(),
            since: at(1),
        }
    }

    #[test]
    fn a_tag_that_upstream_withdrew_is_no_push() {
        let target = target();
        let known = [seen(&target, "v/a-2-1", "two")];
        let polled = polled(&target, "v/{nvr}", &known);
        for (tag, commit, change) in [
            ("v/a-1-1", "one", RefChange::Same),
            ("v/a-2-1", "two", RefChange::Same),
            ("v/a-2-1", "moved", RefChange::Pushed),
            ("v/a-3-1", "two", RefChange::Pushed),
        ] {
            let outcome = answered(&polled, Some((tag, commit)), NOW);
            assert_eq!(outcome.observations[0].change, change, "{tag} {commit}");
            assert_eq!((outcome.failures, outcome.problem.as_str()), (0, ""));
        }
        let outcome = answered(&polled, None, NOW);
        assert!(outcome.observations.is_empty() && outcome.failures == 1);
        assert!(outcome.problem.ends_with("has no tag `v/{nvr}` with {nvr} of a"), "{outcome:?}");
    }

    #[test]
    fn a_hint_is_believed_until_it_is_seen_or_too_old() {
        let target = target();
        let known = [seen(&target, "c9s", "old")];
        let hint = Some(WebhookHint { hinted_at: at(1), commit: "new", modification: "" });
        let polled = PolledPackage { hint, ..polled(&target, "c9s", &known) };
        let outcome = answered(&polled, Some(("c9s", "new")), at(2));
        assert_eq!((outcome.hinted, outcome.observations[0].told_by), (false, "webhook"));
        assert_eq!(outcome.observations[0].change, RefChange::Pushed);
        let not_yet = |now| answered(&polled, Some(("c9s", "old")), now).hinted;
        assert!(not_yet(at(2)) && not_yet(at(0) + BELIEVED));
        assert!(!not_yet(at(1) + BELIEVED));
        let failed = |now| {
            let jitter = Jitter::new(1, "a", 1);
            polled.failed("no answer", HostResponse::Ill(None), jitter, now).hinted
        };
        assert!(failed(at(0) + BELIEVED) && !failed(at(1) + BELIEVED));
    }

    #[test]
    fn what_hides_modifications_is_the_problem() {
        let (target, jitter) = (target(), Jitter::new(1, "a", 1));
        let hint = Some(WebhookHint { hinted_at: at(1), commit: "", modification: "m" });
        let polled = PolledPackage { hint, ..polled(&target, "c9s", &[]) };
        let hidden = ModificationsTip::Hidden("no access".into());
        let outcome = polled.answered("c9s", None, hidden, jitter, at(2));
        assert_eq!((outcome.problem.as_str(), outcome.failures), ("modifications: no access", 1));
        assert!(outcome.hinted && outcome.observations.is_empty());
    }

    #[test]
    fn a_host_that_is_ill_does_not_slow_a_package_down() {
        let (target, jitter) = (target(), Jitter::new(1, "a", 1));
        let interval = target.track.pace().shortest * 2;
        let polled =
            PolledPackage { interval: Some(interval), failures: 3, ..polled(&target, "c9s", &[]) };
        let ill = polled.failed("busy", HostResponse::Ill(Some(9)), jitter, NOW);
        assert_eq!((ill.next.interval, ill.failures), (interval, 4));
        let own = polled.failed("no such repository", HostResponse::Well, jitter, NOW);
        assert!(own.next.interval > interval);
    }

    #[test]
    fn modifications_that_come_are_a_push_and_those_that_go_are_none() {
        for (before, now, hinted_commit, expected) in [
            (None, None, None, RefChange::Begin),
            (None, Some("a"), None, RefChange::Begin),
            (None, Some("a"), Some("a"), RefChange::Pushed),
            (Some(""), None, None, RefChange::Same),
            (Some(""), Some("a"), None, RefChange::Pushed),
            (Some("a"), Some("a"), None, RefChange::Same),
            (Some("a"), Some("b"), None, RefChange::Pushed),
            (Some("a"), None, None, RefChange::Gone),
        ] {
            assert_eq!(
                change_of_modifications(before, now, hinted_commit),
                expected,
                "{before:?} {now:?}"
            );
        }
    }
}
