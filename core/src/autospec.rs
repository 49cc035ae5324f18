//! `%autorelease` and `%autochangelog`: the release number and the changelog that follow from a
//! package's git history, as rpmautospec defines them.
//!
//! Owns the rules over a list of commits. It must not know how a history is read; the versions of
//! old specs are told by [`crate::spec`], without running anything of them.

use std::collections::BTreeMap;

use crate::modify::{Note, wrapped};
use crate::spec::{Preamble, lines, names_macro, tag_value};

/// How long a line of a generated changelog may be, in characters.
const WIDTH: usize = 75;

/// What a spec says at one commit that counts for its release.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpecState {
    /// `VERSION`, or `EPOCH:VERSION`; none when it cannot be told.
    pub epoch_version: Option<String>,
    /// `-p` of `%autorelease`.
    pub prerelease: bool,
    /// `-b`, less one.
    pub base: u64,
    /// `-e` and `-s`, each with a dot before it.
    pub tags: String,
}

/// One commit of a history.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Commit {
    /// `NAME <EMAIL>` of the author.
    pub author: String,
    /// The committer's time in seconds since 1970.
    pub time: i64,
    /// The whole message.
    pub message: String,
    /// Names the whole content of the commit.
    pub tree: String,
    /// The spec; none when there is none.
    pub spec: Option<SpecState>,
    /// Names the content of the file `changelog`; empty when there is none.
    pub changelog: String,
    /// Where its parents are in the history.
    pub parents: Vec<usize>,
}

/// A history: the commit that is built comes first, and each before its parents.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    /// The commits.
    pub commits: Vec<Commit>,
    /// The contents of the file `changelog`, by name.
    pub changelogs: BTreeMap<String, String>,
}

/// What follows from a history.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Generated {
    /// The number that `%autorelease` stands for, before `-b`.
    pub release: u64,
    /// The entries of `%autochangelog`.
    pub changelog: String,
}

/// Which of the two macros a spec uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Uses {
    /// `%autorelease` in a release, without a definition of it.
    pub release: bool,
    /// `%autochangelog`.
    pub changelog: bool,
}

/// Tells which of the two macros are to be filled in.
#[must_use]
pub fn uses(spec: &[String]) -> Uses {
    let defined = spec.iter().any(|line| {
        let mut words = line.split_whitespace();
        matches!(words.next(), Some("%define" | "%global"))
            && words.next().is_some_and(|name| name.starts_with("autorelease"))
    });
    let release = spec
        .iter()
        .filter_map(|line| tag_value(line, "release"))
        .any(|value| names_macro(value, "autorelease"));
    let changelog = spec.iter().any(|line| is_autochangelog(line));
    Uses { release: release && !defined, changelog }
}

fn is_autochangelog(line: &str) -> bool {
    matches!(line.trim(), "%autochangelog" | "%{autochangelog}" | "%{?autochangelog}")
}

impl SpecState {
    /// Reads a spec as it was at some commit.
    #[must_use]
    pub fn of(spec: &str, macros: &[(String, String)]) -> Self {
        let spec = lines(spec);
        let macros = macros.iter().map(|(name, body)| (name.as_str(), body.as_str())).collect();
        let tags = Preamble::read(&spec, macros).tags;
        let epoch_version = match (tags.epoch, tags.version) {
            (Some(Ok(epoch)), Ok(version)) => Some(format!("{epoch}:{version}")),
            (None, Ok(version)) => Some(version),
            _ => None,
        };
        let release = spec.iter().find_map(|line| tag_value(line, "release")).unwrap_or_default();
        let mut state = Self { epoch_version, ..Self::default() };
        state.flags(release);
        state
    }

    /// The options of `%autorelease`.
    fn flags(&mut self, release: &str) {
        let Some((_, arguments)) = release.split_once("autorelease") else { return };
        let arguments = arguments.split('}').next().unwrap_or_default();
        let mut words = arguments.split_whitespace();
        let (mut extra, mut snapshot) = (String::new(), String::new());
        while let Some(word) = words.next() {
            let (flag, joined) = word.split_at_checked(2).unwrap_or((word, ""));
            let mut value = || match joined {
                "" => words.next().unwrap_or_default().to_owned(),
                joined => joined.to_owned(),
            };
            match flag {
                "-p" => self.prerelease = true,
                "-b" => self.base = value().parse::<u64>().unwrap_or(1).saturating_sub(1),
                "-e" => extra = value(),
                "-s" => snapshot = value(),
                _ => {}
            }
        }
        let tags = [extra, snapshot].into_iter().filter(|tag| !tag.is_empty());
        self.tags = tags.map(|tag| format!(".{tag}")).collect();
    }
}

/// What the lines in brackets of a commit's message ask for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Magic {
    skip_changelog: bool,
    /// The release is at least this.
    release: u64,
}

fn magic(message: &str) -> Magic {
    let mut magic = Magic::default();
    let inside = |line: &str| Some(line.trim().strip_prefix('[')?.strip_suffix(']')?.to_owned());
    for part in message
        .lines()
        .filter_map(inside)
        .flat_map(|text| text.split(',').map(str::to_owned).collect::<Vec<_>>())
    {
        let words: Vec<_> = part.split_whitespace().collect();
        match words.as_slice() {
            ["skip", "changelog", ..] => magic.skip_changelog = true,
            ["bump", rest @ ..] => {
                let rest = rest.concat();
                let number = rest.strip_prefix("release").map(|n| n.trim_start_matches(':'));
                let number = number.and_then(|number| number.parse().ok()).unwrap_or(0);
                magic.release = magic.release.max(number);
            }
            _ => {}
        }
    }
    magic
}

/// The release number and the changelog of the first commit of a history.
#[must_use]
pub fn generate(history: &History) -> Generated {
    let releases = releases(history);
    Generated {
        release: releases.first().copied().unwrap_or(1),
        changelog: entries(history, &releases).join("\n\n"),
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
            // A version that cannot be told may be the same.
            let same = own.is_none() || theirs.is_none() || own == theirs;
            if same { releases.get(*parent).copied().unwrap_or(0) } else { 0 }
        });
        let before = of_parents.max().unwrap_or(0);
        let counted = before.saturating_add(u64::from(commit.spec.is_some()));
        releases[at] = counted.max(magic(&commit.message).release);
    }
    releases
}

/// The entries from the newest on, down to where the history has a `changelog` of its own.
fn entries(history: &History, releases: &[u64]) -> Vec<String> {
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

fn day(time: i64) -> String {
    let time = jiff::Timestamp::from_second(time).unwrap_or_default();
    time.to_zoned(jiff::tz::TimeZone::UTC).strftime("%a %b %d %Y").to_string()
}

/// The points of an entry: the subject (which goes on in a body that begins with dots), and the
/// list that the body begins with.
fn items(message: &str) -> Vec<String> {
    let quoted = message.replace('%', "%%");
    let mut rest = quoted.lines().map(str::trim).skip_while(|line| line.is_empty()).peekable();
    let mut items: Vec<Vec<&str>> = vec![Vec::new()];
    while let Some(line) = rest.next_if(|line| !line.is_empty()) {
        let line =
            if items[0].is_empty() { line.trim_start_matches('-').trim_start() } else { line };
        items[0].push(line);
    }
    while rest.next_if(|line| line.is_empty()).is_some() {}
    let first = rest.peek().copied().unwrap_or_default();
    let dots = first.trim_start_matches(['.', '…']);
    if first.starts_with("...") || first.starts_with('…') {
        rest.next();
        items[0].push(dots.trim_start());
        while let Some(line) = rest.next_if(|line| !line.is_empty() && !line.starts_with('-')) {
            items[0].push(line);
        }
        rest.next_if(|line| line.is_empty());
    } else if !first.starts_with('-') {
        return vec![items[0].join(" ")];
    }
    for line in rest.take_while(|line| !line.is_empty()) {
        match line.strip_prefix('-') {
            Some(line) => items.push(vec![line.trim_start()]),
            None => items.last_mut().expect("there is the subject").push(line),
        }
    }
    items.into_iter().map(|lines| lines.join(" ").trim().to_owned()).collect()
}

/// The spec with both macros filled in. `notes` are the modifications' own entries, which come
/// before the history's; `time` is their date in seconds since 1970.
#[must_use]
pub fn fill_in(spec: &str, generated: &Generated, notes: &[Note], time: i64) -> String {
    let all = lines(spec);
    let uses = uses(&all);
    let mut out = String::new();
    if uses.release {
        // Comments have no single percent signs: rpm expands macros in them as well.
        out.push_str("## Set by rpmfarm: the release number of this commit\n");
        out.push_str(&format!(
            "%define autorelease(e:s:pb:n) %{{?-p:0.}}%{{lua:print({} + \
             tonumber(rpm.expand(\"%{{?-b*}}%{{!?-b:1}}\")) - 1)}}\
             %{{?-e:.%{{-e*}}}}%{{?-s:.%{{-s*}}}}%{{!?-n:%{{?dist}}}}\n",
            generated.release
        ));
    }
    let mut last_was_changelog = false;
    for line in all {
        if uses.changelog && is_autochangelog(&line) {
            if !last_was_changelog {
                out.push_str("%changelog\n");
            }
            for note in notes {
                let (day, evr) = (day(time), "%{version}-%{release}");
                out.push_str(&format!("* {day} {} <{}> - {evr}\n", note.name, note.email));
                for line in note.lines.iter().flat_map(|line| wrapped(line, WIDTH)) {
                    out.push_str(&format!("{line}\n"));
                }
                out.push('\n');
            }
            out.push_str(generated.changelog.trim_end());
            out.push('\n');
            break;
        }
        last_was_changelog =
            crate::spec::is_changelog(&line) || last_was_changelog && line.trim().is_empty();
        out.push_str(&line);
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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
            // One whose version cannot be told does not begin anew.
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
    fn a_spec_s_state() {
        let state = |text: &str| SpecState::of(text, &[("v".into(), "3".into())]);
        let one = state("Epoch: 2\nVersion: %{v}.1\nRelease: %autorelease -p -b 5 -e rc1 -sgit\n");
        let expected = SpecState {
            epoch_version: Some("2:3.1".into()),
            prerelease: true,
            base: 4,
            tags: ".rc1.git".into(),
        };
        assert_eq!(one, expected);
        assert_eq!(state("Version: 1\nRelease: %{autorelease -b2}").base, 1);
        assert_eq!(state("Version: %(x)\nRelease: 1").epoch_version, None);
        // Flags are looked for where a letter of two bytes may lie.
        assert_eq!(state("Version: 1\nRelease: %autorelease a\u{e9} -b 2").base, 1);
    }

    #[test]
    fn numbers_end_where_they_end() {
        let most = u64::MAX;
        let bump = format!("x\n\n[bump release: {most}]");
        let mut history = linear(&[(Some("1"), "y", ""), (Some("1"), &bump, "")]);
        let release = format!("Version: 1\nRelease: %autorelease -b {most}");
        history.commits[0].spec = Some(SpecState::of(&release, &[]));
        let generated = generate(&history);
        assert_eq!(generated.release, most);
        assert!(generated.changelog.contains(&format!(" - 1-{most}")), "{generated:?}");
    }

    #[test]
    fn both_macros_are_filled_in() {
        let generated = Generated { release: 4, changelog: "* entry\n- x".into() };
        let note = Note { name: "F".into(), email: "f@e".into(), lines: vec!["Debrand".into()] };
        let spec = "Release: %autorelease\n%changelog\n%autochangelog\n";
        let filled = fill_in(spec, &generated, &[note], 1_795_478_400);
        assert!(filled.contains("%{lua:print(4 + "), "{filled}");
        assert!(filled.contains("%{!?-n:%{?dist}}\nRelease: %autorelease\n"), "{filled}");
        let changelog = "%changelog\n* Tue Nov 24 2026 F <f@e> - %{version}-%{release}\n\
                         - Debrand\n\n* entry\n- x\n";
        assert!(filled.ends_with(changelog), "{filled}");
        let plain = "Release: 1\n%changelog\n* entry\n";
        assert_eq!(fill_in(plain, &generated, &[], 0), plain);
        let done = "%define autorelease(e:) 3\nRelease: %autorelease\n";
        assert_eq!(fill_in(done, &generated, &[], 0), done);
    }

    proptest! {
        #[test]
        fn any_message_gives_points_without_line_ends(message in "(a|-|\\.\\.\\.|\\n| |%|\\[skip changelog\\]){0,30}") {
            for item in items(&message) {
                prop_assert!(!item.contains('\n'));
            }
            let _ = magic(&message);
        }
    }
}
