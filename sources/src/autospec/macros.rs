//! The two macros in the text of a spec: whether a spec uses them and with which options, and the
//! spec with both filled in.
//!
//! Owns what is read from a spec and written into one. It must not know how release and changelog
//! are computed: it gets them as [`AutospecValues`].

use super::AutospecValues;
use super::changelog::{WIDTH, day};
use crate::modify::{ChangelogNote, wrapped};
use crate::spec::{Macros, Preamble, lines, names_macro, tag_value};

/// The parts of a spec, at one commit, that decide its release number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpecState {
    /// `VERSION`, or `EPOCH:VERSION`; `None` when the text alone does not give it.
    pub epoch_version: Option<String>,
    /// `-p` of `%autorelease`.
    pub prerelease: bool,
    /// `-b` minus one.
    pub base: u64,
    /// `-e` and `-s`, each preceded by a dot.
    pub tags: String,
}

/// Which of the two macros a spec uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MacroUse {
    /// `%autorelease`, in a release or wherever a macro puts it.
    pub release: bool,
    /// `%autochangelog`; also set when a spec with `%autorelease` has no changelog at all.
    pub changelog: bool,
}

/// Which of the two macros have to be filled in: neither in a spec that rpmautospec has processed.
/// Like that tool, it reads all lines before the changelog, since macros may assemble a release.
#[must_use]
pub fn uses(spec: &[String]) -> MacroUse {
    if spec.iter().any(|line| defines_autorelease(line)) {
        return MacroUse::default();
    }
    let changelog = spec.iter().position(|line| opens_changelog(line));
    let preamble = &spec[..changelog.unwrap_or(spec.len())];
    let release = preamble.iter().any(|line| names_macro(line, "autorelease"));
    let automatic = spec.iter().any(|line| names_macro(line, "autochangelog"));
    MacroUse { release, changelog: automatic || (release && changelog.is_none()) }
}

/// Whether a text that a spec includes names one of the two macros.
#[must_use]
pub fn names_any(text: &str) -> bool {
    names_macro(text, "autorelease") || names_macro(text, "autochangelog")
}

/// Whether a line defines `%autorelease` with parameters, as rpmautospec does it.
#[must_use]
pub fn defines_autorelease(line: &str) -> bool {
    let rest = line.trim_start().strip_prefix("%define").filter(|r| r.starts_with([' ', '\t']));
    let rest = rest.and_then(|rest| rest.trim_start().strip_prefix("autorelease"));
    rest.is_some_and(|rest| rest.trim_start().starts_with('('))
}

/// Whether a line opens the changelog; rpm allows further words after `%changelog`.
fn opens_changelog(line: &str) -> bool {
    line.split_whitespace().next().is_some_and(|word| word.eq_ignore_ascii_case("%changelog"))
}

/// Whether a line is `%autochangelog`.
fn is_autochangelog(line: &str) -> bool {
    let line = line.trim_start();
    let plain = line.strip_prefix("%autochangelog");
    plain.is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_'))
        || line.starts_with("%{autochangelog}")
        || line.starts_with("%{?autochangelog}")
}

impl SpecState {
    /// Reads a spec as of one commit.
    #[must_use]
    pub fn read(spec: &str, macros: &[(String, String)]) -> Self {
        let spec = lines(spec);
        let macros = macros.iter().map(|(name, body)| (name.as_str(), body.as_str())).collect();
        let found = Preamble::read(&spec, macros);
        let tags = found.tags;
        let epoch_version = match (tags.epoch, tags.version) {
            (Some(Ok(epoch)), Ok(version)) => Some(format!("{epoch}:{version}")),
            (None, Ok(version)) => Some(version),
            _ => None,
        };
        let mut state = Self { epoch_version, ..Self::default() };
        state.flags(autorelease_of(&spec), &found.macros);
        state
    }

    /// The options of `%autorelease`, as getopt reads them.
    fn flags(&mut self, text: &str, macros: &Macros) {
        let Some((_, arguments)) = text.split_once("autorelease") else { return };
        let arguments = arguments_of(arguments);
        let arguments = macros.expand(arguments).unwrap_or_else(|_| arguments.to_owned());
        let mut words = arguments.split_whitespace();
        let (mut extra, mut snapshot) = (String::new(), String::new());
        while let Some(word) = words.next() {
            let Some(mut flags) = word.strip_prefix('-') else { continue };
            while let Some(flag) = flags.chars().next() {
                flags = &flags[flag.len_utf8()..];
                let mut value = || match std::mem::take(&mut flags) {
                    "" => words.next().unwrap_or_default().to_owned(),
                    joined => joined.to_owned(),
                };
                match flag {
                    'p' => self.prerelease = true,
                    'b' => self.base = value().parse::<u64>().unwrap_or(1).saturating_sub(1),
                    'e' => extra = value(),
                    's' => snapshot = value(),
                    _ => {}
                }
            }
        }
        let tags = [extra, snapshot].into_iter().filter(|tag| !tag.is_empty());
        self.tags = tags.map(|tag| format!(".{tag}")).collect();
    }
}

/// The text that calls `%autorelease`: the value of `Release`, or the definition of a macro that
/// the value names, or else of any macro.
fn autorelease_of(spec: &[String]) -> &str {
    let release = spec.iter().find_map(|line| tag_value(line, "release")).unwrap_or_default();
    if names_macro(release, "autorelease") {
        return release;
    }
    let definitions = || spec.iter().filter(|line| names_macro(line, "autorelease"));
    let named = |line: &&String| {
        let mut words = line
            .split_whitespace()
            .skip_while(|word| !word.ends_with("define") && !word.ends_with("global"));
        words.nth(1).is_some_and(|name| names_macro(release, name))
    };
    definitions().find(named).or_else(|| definitions().next()).map_or("", String::as_str)
}

/// The arguments of a macro, within its braces or on its line.
fn arguments_of(text: &str) -> &str {
    let mut open = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            '{' => open += 1,
            '}' if open == 0 => return &text[..at],
            '}' => open -= 1,
            _ => {}
        }
    }
    text
}

/// The spec with both macros filled in. `notes` are the entries of modifications, which precede
/// those of the history; `time` is their date in seconds since 1970.
#[must_use]
pub fn fill_in(
    spec: &str,
    generated: &AutospecValues,
    notes: &[ChangelogNote],
    time: i64,
) -> String {
    let all = lines(spec);
    if all.iter().any(|line| defines_autorelease(line)) {
        return spec.to_owned();
    }
    let uses = uses(&all);
    let included = generated.included;
    if uses == MacroUse::default() && !included {
        return spec.to_owned();
    }
    let mut out = String::new();
    if uses.release || included {
        // In comments, percent signs are doubled: rpm expands macros there as well.
        out.push_str("## Set by rpmfarm: the release number of this commit\n");
        out.push_str(&format!(
            "%define autorelease(e:s:pb:n) %{{?-p:0.}}%{{lua:print({} + \
             tonumber(rpm.expand(\"%{{?-b*}}%{{!?-b:1}}\")) - 1)}}\
             %{{?-e:.%{{-e*}}}}%{{?-s:.%{{-s*}}}}%{{!?-n:%{{?dist}}}}\n",
            generated.release
        ));
    }
    let opens = all.iter().position(|line| opens_changelog(line));
    let stands = all.iter().position(|line| is_autochangelog(line));
    // Which lines of the spec are kept, and whether a changelog section has to be opened for the
    // entries.
    let (kept, follows, opened) = match (opens, stands) {
        (Some(opens), Some(_)) => (opens + 1, true, true),
        (None, Some(stands)) => (stands, true, false),
        (None, None) if uses.release => (all.len(), true, false),
        (_, None) => (all.len(), false, false),
    };
    let changelog = with_notes(generated, notes, time);
    if !follows && (uses.changelog || included) {
        out.push_str("## Set by rpmfarm: the changelog of the commits\n");
        out.push_str(&format!("%define autochangelog {}\n", in_lua(&changelog)));
    }
    for line in &all[..kept] {
        out.push_str(line);
        out.push('\n');
    }
    if follows {
        out.push_str(if opened { "" } else { "%changelog\n" });
        let text = changelog.iter().map(Part::in_spec).collect::<String>();
        out.push_str(text.trim_end());
        out.push('\n');
    }
    out
}

/// A piece of a changelog.
enum Part {
    /// Text for a spec, in which percent signs are doubled.
    Text(String),
    Macros(&'static str),
}

impl Part {
    fn in_spec(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::Macros(macros) => macros,
        }
    }
}

fn with_notes(generated: &AutospecValues, notes: &[ChangelogNote], time: i64) -> Vec<Part> {
    let mut parts = Vec::new();
    for note in notes {
        parts.push(Part::Text(format!("* {} {} <{}> - ", day(time), note.name, note.email)));
        parts.push(Part::Macros("%{version}-%{release}"));
        let lines = note.lines.iter().flat_map(|line| wrapped(line, WIDTH));
        let lines: String = lines.map(|line| format!("\n{line}")).collect();
        parts.push(Part::Text(format!("{lines}\n\n")));
    }
    parts.push(Part::Text(generated.changelog.trim_end().to_owned()));
    parts
}

/// A changelog as the body of a macro. It is written in hexadecimal digits, since rpm would
/// interpret its braces, backslashes and percent signs.
fn in_lua(changelog: &[Part]) -> String {
    let hex = |text: &str| {
        let digits: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
        format!("text(\"{digits}\")")
    };
    let parts: Vec<String> = changelog
        .iter()
        .map(|part| match part {
            Part::Text(text) => hex(&text.replace("%%", "%")),
            Part::Macros(macros) => format!("rpm.expand({})", hex(macros)),
        })
        .collect();
    format!(
        "%{{lua:local function text(hex) return (hex:gsub(\"..\", function(two) \
         return string.char(tonumber(two, 16)) end)) end print({})}}",
        parts.join(" .. ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spec_s_state() {
        let state = |text: &str| SpecState::read(text, &[("v".into(), "3".into())]);
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
        for spec in [
            "%global pre rc1\n%define rel %autorelease -pb5 -e %{pre} -s git\nVersion: 3.1\nRelease: %{rel}",
            "%if 1\n%global other %autorelease -b 9\n%endif\n%{!?rel: %global rel %{autorelease -np -e rc1 -s git -b5}}\nRelease: %{?rel}",
            "%global baserelease %{autorelease -n -b 5 -p -e rc1 -s git}\nRelease: %{baserelease}%{?dist}",
        ] {
            let found = state(spec);
            assert_eq!(
                (found.prerelease, found.base, &*found.tags),
                (true, 4, ".rc1.git"),
                "{spec}"
            );
        }
        // Flags are searched for where a letter of two bytes may lie.
        assert_eq!(state("Version: 1\nRelease: %autorelease a\u{e9} -b 2").base, 1);
    }

    #[test]
    fn both_macros_are_filled_in() {
        let generated =
            AutospecValues { release: 4, changelog: "* entry\n- x".into(), included: false };
        let note =
            ChangelogNote { name: "F".into(), email: "f@e".into(), lines: vec!["Debrand".into()] };
        let spec = "Release: %autorelease\n%changelog\n%autochangelog\n";
        let filled = fill_in(spec, &generated, &[note], 1_795_478_400);
        assert!(filled.contains("%{lua:print(4 + "), "{filled}");
        assert!(filled.contains("%{!?-n:%{?dist}}\nRelease: %autorelease\n"), "{filled}");
        let changelog = "%changelog\n* Tue Nov 24 2026 F <f@e> - %{version}-%{release}\n\
                         - Debrand\n\n* entry\n- x\n";
        assert!(filled.ends_with(changelog), "{filled}");
        let plain = "Release: 1\n%changelog\n* entry\n";
        assert_eq!(fill_in(plain, &generated, &[], 0), plain);
        let done = "%define autorelease(e:) 3\nRelease: %autorelease\n%changelog\n%autochangelog\n";
        assert_eq!(fill_in(done, &generated, &[], 0), done);
        // The changelog ends a spec; comments and conditions before the macro go with it.
        for spec in [
            "%changelog\n# comment\n%autochangelog\n",
            "%changelog\n%if 1\n  %{?autochangelog}\n%else\n* old\n%endif\n",
            "%Changelog  \n\n%{autochangelog} # x\n* old\n",
            "%autochangelog\n",
        ] {
            let filled = fill_in(spec, &generated, &[], 0);
            let lines: Vec<&str> = filled.lines().collect();
            assert_eq!(lines[1..], ["* entry", "- x"], "{filled}");
            assert!(lines[0].trim_end().eq_ignore_ascii_case("%changelog"), "{filled}");
        }
        let none = fill_in("Release: %autorelease\n%files\n", &generated, &[], 0);
        assert!(none.ends_with("%files\n%changelog\n* entry\n- x\n"), "{none}");
    }

    #[test]
    fn both_macros_are_found_wherever_they_are() {
        for (spec, release, changelog) in [
            ("%define rel %autorelease\nRelease: %{rel}\n%changelog\n* x", true, false),
            ("%global rel %{autorelease -n}\n%changelog\n* x", true, false),
            ("%{!?rel:%global rel %autorelease}\n%changelog", true, false),
            ("Release: %{?autorelease}%{!?autorelease:1}\n%changelog", true, false),
            ("%{lua: print(rpm.expand('%autorelease'))}\n%changelog", true, false),
            ("Release: %autorelease\n", true, true),
            ("Release: 1\n%changelog\n%autochangelog", false, true),
            ("%global log %autochangelog\nRelease: 1\n%changelog\n%{log}", false, true),
            ("Release: 1\n%changelog\n* x\n- Use %%autorelease", false, false),
            ("Release: 1\n", false, false),
            ("%global autorelease_base 3\nRelease: %autorelease\n%changelog", true, false),
            ("  %define autorelease (e:) 3\nRelease: %autorelease\n", false, false),
        ] {
            assert_eq!(uses(&lines(spec)), MacroUse { release, changelog }, "{spec}");
        }
    }

    #[test]
    fn a_changelog_that_a_macro_puts_somewhere() {
        let generated =
            AutospecValues { release: 1, changelog: "* A\n- 5%% {".into(), included: false };
        let note =
            ChangelogNote { name: "F".into(), email: "f@e".into(), lines: vec!["Debrand".into()] };
        let spec = "%global log %autochangelog\n%changelog\n%{log}\n";
        let filled = fill_in(spec, &generated, &[note], 1_795_478_400);
        let (head, rest) = filled.split_at(filled.len() - spec.len());
        assert_eq!(rest, spec);
        assert!(head.contains("\n%define autochangelog %{lua:local function text(hex)"), "{head}");
        let hex = |text: &str| text.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
        for text in ["* A\n- 5% {", "%{version}-%{release}", "\n- Debrand\n\n"] {
            assert!(head.contains(&format!("text(\"{}\")", hex(text))), "{text}: {head}");
        }
        // Where a file that the spec includes uses them, both are there.
        let included = AutospecValues { included: true, ..generated };
        let filled = fill_in("%include x\n%changelog\n", &included, &[], 0);
        assert!(
            filled.contains("%define autorelease(") && filled.contains("%define autochangelog ")
        );
    }
}
