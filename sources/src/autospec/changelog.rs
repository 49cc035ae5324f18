//! `%autochangelog`: one entry for each commit, back to the commit that added a file `changelog`.
//!
//! Owns which commits have an entry and the form of an entry. It must not know how releases are
//! counted: it gets the release of each commit.

use super::message::{items, magic};
use super::{Commit, History};
use crate::modify::wrapped;

/// The longest line of a generated changelog, in characters.
pub(super) const WIDTH: usize = 75;

/// The entries, newest first, back to where the history has a file `changelog`.
pub(super) fn entries(history: &History, releases: &[u64]) -> Vec<String> {
    let commits = &history.commits;
    let mut entries = Vec::new();
    let mut removed = false;
    let mut next = (!commits.is_empty()).then_some(0);
    while let Some(at) = next {
        let commit = &commits[at];
        let parents: Vec<_> =
            commit.parents.iter().copied().filter(|p| *p > at && *p < commits.len()).collect();
        let changed = match parents.as_slice() {
            [] => !commit.changelog.is_empty(),
            parents => parents.iter().all(|p| commits[*p].changelog != commit.changelog),
        };
        if changed && !commit.changelog.is_empty() {
            if !removed && let Some(text) = history.changelogs.get(&commit.changelog) {
                entries.push(text.trim_end().to_owned());
            }
            break;
        }
        let had = |p: &usize| !commits[*p].changelog.is_empty();
        removed |= commit.changelog.is_empty() && parents.iter().any(had);
        let same_tree = parents.iter().copied().find(|p| commits[*p].tree == commit.tree);
        let is_merge = parents.len() > 1;
        next = if is_merge { same_tree } else { parents.first().copied() };
        if is_merge && next.is_none() && !changed {
            entries.push(entry(
                commit,
                releases[at],
                &["RPMAUTOSPEC: unresolvable merge".to_owned()],
            ));
            break;
        }
        if !is_merge && commit.spec.is_some() && !magic(&commit.message).skip_changelog {
            entries.push(entry(commit, releases[at], &items(&commit.message)));
        }
    }
    entries
}

fn entry(commit: &Commit, release: u64, items: &[String]) -> String {
    let state = commit.spec.clone().unwrap_or_default();
    let evr = state.epoch_version.map_or_else(String::new, |version| {
        let pre = if state.prerelease { "0." } else { "" };
        format!(" - {version}-{pre}{}{}", release.saturating_add(state.base), state.tags)
    });
    let mut text = format!("* {} {}{evr}", day(commit.time), commit.author);
    for line in items.iter().flat_map(|item| wrapped(item, WIDTH)) {
        text.push('\n');
        text.push_str(&line);
    }
    text
}

/// The date of a changelog entry, from seconds since 1970.
pub(super) fn day(time: i64) -> String {
    let time = jiff::Timestamp::from_second(time).unwrap_or_default();
    time.to_zoned(jiff::tz::TimeZone::UTC).strftime("%a %b %d %Y").to_string()
}
