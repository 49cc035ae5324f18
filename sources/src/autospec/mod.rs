//! `%autorelease` and `%autochangelog`: the release number and the changelog that follow from a
//! package's git history, as rpmautospec defines them.
//!
//! Owns the rules over a list of commits: `message` reads the message of a commit, `changelog`
//! writes the entries, `macros` reads specs and fills in the macros. It must not know how a history
//! is read; [`crate::spec`] finds the versions of old specs, without running anything of them.

mod changelog;
mod macros;
mod message;

use std::collections::BTreeMap;

use message::magic;

pub use macros::{MacroUse, SpecState, defines_autorelease, fill_in, names_any, uses};

/// One commit of a history.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Commit {
    /// `NAME <EMAIL>` of the author.
    pub author: String,
    /// The committer's time in seconds since 1970.
    pub time: i64,
    pub message: String,
    /// Identifies the whole content of the commit.
    pub tree: String,
    /// The spec; `None` when the commit has no spec.
    pub spec: Option<SpecState>,
    /// Identifies the content of the file `changelog`; empty when the commit has no such file.
    pub changelog: String,
    /// Indexes of its parents in the history.
    pub parents: Vec<usize>,
}

/// A history: the commit to build comes first, and each commit before its parents.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    pub commits: Vec<Commit>,
    /// The contents of the file `changelog`, by name.
    pub changelogs: BTreeMap<String, String>,
}

/// The values that a history gives.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct AutospecValues {
    /// The value of `%autorelease`, before `-b`.
    pub release: u64,
    /// The entries of `%autochangelog`.
    pub changelog: String,
    /// Whether a file that the spec includes uses the macros, so that both have to be defined for
    /// it.
    #[serde(default)]
    pub included: bool,
}

/// The release number and the changelog of the first commit of a history.
#[must_use]
pub fn generate(history: &History) -> AutospecValues {
    let releases = releases(history);
    AutospecValues {
        release: releases.first().copied().unwrap_or(1),
        changelog: changelog::entries(history, &releases).join("\n\n"),
        included: false,
    }
}

/// How many commits with the same version lead to each commit, itself among them.
fn releases(history: &History) -> Vec<u64> {
    let commits = &history.commits;
    let mut releases = vec![0_u64; commits.len()];
    for at in (0..commits.len()).rev() {
        let commit = &commits[at];
        let version = |commit: &Commit| commit.spec.as_ref().and_then(|s| s.epoch_version.clone());
        let own = version(commit);
        let of_parents = commit.parents.iter().filter(|parent| **parent > at).map(|parent| {
            let theirs = commits.get(*parent).and_then(version);
            // Like rpmautospec, treat a version that is unknown as unchanged.
            let same = own.is_none() || theirs.is_none() || own == theirs;
            if same { releases.get(*parent).copied().unwrap_or(0) } else { 0 }
        });
        let before = of_parents.max().unwrap_or(0);
        let counted = before.saturating_add(u64::from(commit.spec.is_some()));
        releases[at] = counted.max(magic(&commit.message).release);
    }
    releases
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A linear history, newest first: version (none for no spec), message, changelog.
    fn linear(commits: &[(Option<&str>, &str, &str)]) -> History {
        let commit =
            |(at, (version, message, changelog)): (usize, &(Option<&str>, &str, &str))| Commit {
                author: "A <a@example.org>".into(),
                time: 1_795_478_400 - 86_400 * i64::try_from(at).unwrap(),
                message: (*message).to_owned(),
                tree: at.to_string(),
                spec: version.map(|version| SpecState {
                    epoch_version: (!version.is_empty()).then(|| version.to_owned()),
                    ..SpecState::default()
                }),
                changelog: (*changelog).to_owned(),
                parents: if at + 1 < commits.len() { vec![at + 1] } else { Vec::new() },
            };
        let changelogs = commits
            .iter()
            .filter(|(.., changelog)| !changelog.is_empty())
            .map(|(.., changelog)| ((*changelog).to_owned(), format!("text of {changelog}\n")))
            .collect();
        History { commits: commits.iter().enumerate().map(commit).collect(), changelogs }
    }

    #[test]
    fn the_release_counts_commits_of_a_version() {
        for (commits, release) in [
            (vec![(Some("1"), "a", "")], 1),
            (vec![(Some("1"), "c", ""), (Some("1"), "b", ""), (Some("1"), "a", "")], 3),
            (vec![(Some("2"), "c", ""), (Some("1"), "b", ""), (Some("1"), "a", "")], 1),
            (vec![(Some("1"), "c", ""), (Some("2"), "b", ""), (Some("1"), "a", "")], 1),
            // A commit with an unknown version does not restart the count.
            (vec![(Some("1"), "c", ""), (Some(""), "b", ""), (Some("1"), "a", "")], 3),
            // A retired package.
            (vec![(Some("1"), "c", ""), (None, "b", ""), (Some("1"), "a", "")], 2),
            (vec![(Some("1"), "b\n\n[bump release: 7]", ""), (Some("1"), "a", "")], 7),
            (
                vec![
                    (Some("1"), "b", ""),
                    (Some("1"), "a\n\n[skip changelog, bump release 4]", ""),
                ],
                5,
            ),
        ] {
            assert_eq!(generate(&linear(&commits)).release, release, "{commits:?}");
        }
    }

    #[test]
    fn merges_take_the_longer_way() {
        let mut history = linear(&[
            (Some("1"), "merge", ""),
            (Some("1"), "left", ""),
            (Some("1"), "right", ""),
            (Some("1"), "base", ""),
        ]);
        history.commits[0].parents = vec![1, 2];
        history.commits[1].parents = vec![3];
        let generated = generate(&history);
        assert_eq!(generated.release, 3);
        assert!(generated.changelog.contains("unresolvable merge"), "{}", generated.changelog);
        history.commits[0].tree = "2".into();
        let generated = generate(&history);
        let subjects: Vec<_> =
            generated.changelog.lines().filter(|line| line.starts_with('-')).collect();
        assert_eq!(subjects, ["- right", "- base"]);
    }

    #[test]
    fn the_changelog_is_made_of_the_messages() {
        let history = linear(&[
            (Some("1"), "Fix it 100%\n\nNot shown", "first"),
            (Some("1"), "Hidden\n\n[skip changelog]", "first"),
            (
                Some("1"),
                "- Update to\n  1\n\n- one point\n  goes on\n- another\n\nNot shown",
                "first",
            ),
            (Some("0"), "A long\n\n... story\ntold\n- and a point", "first"),
            (Some("0"), "Old", "first"),
            (Some("0"), "Older", ""),
        ]);
        assert_eq!(
            generate(&history).changelog,
            "* Tue Nov 24 2026 A <a@example.org> - 1-3\n- Fix it 100%%\n\n\
             * Sun Nov 22 2026 A <a@example.org> - 1-1\n- Update to 1\n- one point goes on\n- another\n\n\
             * Sat Nov 21 2026 A <a@example.org> - 0-3\n- A long story told\n- and a point\n\n\
             text of first"
        );
    }

    #[test]
    fn a_changelog_that_was_removed_ends_it_without_its_text() {
        let history = linear(&[
            (Some("1"), "New", ""),
            (Some("1"), "Remove the changelog", ""),
            (Some("1"), "Old", "first"),
            (Some("1"), "Older", ""),
        ]);
        let changelog = generate(&history).changelog;
        assert!(changelog.contains("- Remove the changelog"), "{changelog}");
        assert!(
            !changelog.contains("text of first") && !changelog.contains("Older"),
            "{changelog}"
        );
    }

    #[test]
    fn numbers_end_where_they_end() {
        let most = u64::MAX;
        let bump = format!("x\n\n[bump release: {most}]");
        let mut history = linear(&[(Some("1"), "y", ""), (Some("1"), &bump, "")]);
        let release = format!("Version: 1\nRelease: %autorelease -b {most}");
        history.commits[0].spec = Some(SpecState::read(&release, &[]));
        let generated = generate(&history);
        assert_eq!(generated.release, most);
        assert!(generated.changelog.contains(&format!(" - 1-{most}")), "{generated:?}");
    }
}
