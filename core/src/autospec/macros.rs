//! The two macros in the text of a spec: whether they are there and with which options, and the
//! spec with both filled in.
//!
//! Owns what is read of a spec and written into one. It must not know how release and changelog
//! come about: it gets them as [`Generated`].

use super::Generated;
use super::changelog::{WIDTH, day};
use crate::modify::{Note, wrapped};
use crate::spec::{Preamble, lines, names_macro, tag_value};

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
    use super::*;

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
}
