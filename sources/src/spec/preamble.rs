//! The preamble of a spec: its macros, and the tags of the main package.

use std::cell::Cell;

use rpmfarm_core::Evr;

use super::condition::holds;
use super::expand::{Macros, UnknownValueError};
use super::{is_header, tag_value};

/// The most bytes that all expansions of a preamble may read.
const MAX_WORK: usize = 16 * 1024 * 1024;

/// The longest condition that is evaluated, in bytes.
const MAX_CONDITION: usize = 4096;

/// Epoch, version and release of the main package. Each is a result of its own: one may need rpm
/// while another does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionTags {
    /// `Epoch`; `None` when the spec sets none.
    pub epoch: Option<Result<String, UnknownValueError>>,
    /// `Version`.
    pub version: Result<String, UnknownValueError>,
    /// `Release`.
    pub release: Result<String, UnknownValueError>,
}

impl VersionTags {
    /// `EPOCH:VERSION-RELEASE`, or without the epoch.
    ///
    /// # Errors
    /// When a part is unknown: its value needs a macro that only a build root defines.
    pub fn evr(&self) -> Result<String, UnknownValueError> {
        let (version, release) = (self.version.clone()?, self.release.clone()?);
        Ok(match &self.epoch {
            Some(epoch) => format!("{}:{version}-{release}", epoch.clone()?),
            None => format!("{version}-{release}"),
        })
    }

    /// The same in the form that rpm compares; `None` when a part is unknown.
    #[must_use]
    pub fn parsed_evr(&self) -> Option<Evr> {
        let epoch = match &self.epoch {
            Some(epoch) => epoch.as_ref().ok()?.parse().ok()?,
            None => 0,
        };
        let part = |part: &Result<String, UnknownValueError>| {
            part.as_ref().ok().filter(|text| !text.is_empty() && !text.contains('%')).cloned()
        };
        Some(Evr::new(epoch, part(&self.version)?, part(&self.release)?))
    }
}

/// The values of a preamble.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preamble {
    /// The macros that are defined at its end.
    pub macros: Macros,
    /// `Name`, if its value is known.
    pub name: Option<String>,
    pub tags: VersionTags,
}

/// Epoch, version and release of a spec, with macros that are defined before it.
#[must_use]
pub fn version_tags(lines: &[String], macros: Macros) -> VersionTags {
    Preamble::read(lines, macros).tags
}

impl Preamble {
    /// Reads the lines before the first section.
    #[must_use]
    pub fn read(lines: &[String], macros: Macros) -> Self {
        let missing = |tag: &str| Err(UnknownValueError(format!("there is no {tag}")));
        let mut reader = PreambleReader {
            found: Self {
                macros,
                name: None,
                tags: VersionTags {
                    epoch: None,
                    version: missing("Version"),
                    release: missing("Release"),
                },
            },
            branches: Vec::new(),
            left: Cell::new(MAX_WORK),
        };
        let mut rest = lines.iter();
        while let Some(line) = rest.next() {
            if is_header(line) && reader.taken() {
                break;
            }
            let mut line = line.clone();
            let is_definition = is_definition(&line);
            let mut open = open_braces(&line);
            while line.ends_with('\\') || is_definition && open > 0 {
                let Some(next) = rest.next() else { break };
                line.truncate(line.strip_suffix('\\').map_or(line.len(), str::len));
                line.push('\n');
                line.push_str(next);
                open += open_braces(next);
            }
            reader.line(&line);
        }
        reader.found
    }
}

/// Whether a line begins a definition, which continues on the next lines while braces are open.
fn is_definition(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with("%global") || line.starts_with("%define")
}

/// How many more braces a line opens than it closes.
fn open_braces(line: &str) -> i64 {
    line.bytes().map(|b| i64::from(b == b'{') - i64::from(b == b'}')).sum()
}

/// The number in a definition of `%autorelease` as rpmautospec writes it.
fn autorelease_number(body: &str) -> Option<u64> {
    let (_, number) = body.split_once("release_number =")?;
    number.split([';', '\n']).next()?.trim().parse().ok()
}

/// One level of `%if`.
struct ConditionBranch {
    /// Whether its lines are active.
    taken: bool,
    /// Whether a branch of it was active: then `%else` is not.
    done: bool,
}

struct PreambleReader {
    found: Preamble,
    branches: Vec<ConditionBranch>,
    /// How many bytes expansions may still read.
    left: Cell<usize>,
}

impl PreambleReader {
    fn expand(&self, text: &str) -> Result<String, UnknownValueError> {
        self.found.macros.expand_within(text, &self.left)
    }

    fn taken(&self) -> bool {
        self.branches.iter().all(|branch| branch.taken)
    }

    fn line(&mut self, line: &str) {
        let text = line.trim_start();
        if text.starts_with('%') && self.directive(text) {
            return;
        }
        if text.starts_with('#') || !self.taken() {
            return;
        }
        // A macro before a tag (`%{?x:Release: 1}`) is not expanded.
        for tag in ["name", "epoch", "version", "release"] {
            if let Some(value) = tag_value(text, tag) {
                self.tag(tag, value);
            }
        }
    }

    /// Reads a line that begins with `%`. Returns false when it is not a directive.
    fn directive(&mut self, text: &str) -> bool {
        let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        match word {
            "%if" => self.begin(self.holds(rest)),
            // The architecture of the build is unknown here; x86_64 is in every list.
            "%ifarch" => self.begin(self.names_x86(rest)),
            "%ifnarch" => self.begin(!self.names_x86(rest)),
            "%ifos" => self.begin(rest.contains("linux")),
            "%ifnos" => self.begin(!rest.contains("linux")),
            "%elif" | "%elifarch" | "%elifos" => {
                let holds = match word {
                    "%elif" => self.holds(rest),
                    "%elifarch" => self.names_x86(rest),
                    _ => rest.contains("linux"),
                };
                if let Some(branch) = self.branches.last_mut() {
                    branch.taken = holds && !branch.done;
                    branch.done |= branch.taken;
                }
            }
            "%else" => {
                if let Some(branch) = self.branches.last_mut() {
                    branch.taken = !branch.done;
                    branch.done = true;
                }
            }
            "%endif" => {
                self.branches.pop();
            }
            "%global" | "%define" if self.taken() => self.define(word, rest),
            "%undefine" if self.taken() => self.found.macros.unset(rest.trim()),
            "%bcond" | "%bcond_with" | "%bcond_without" if self.taken() => {
                let mut words = rest.split_whitespace();
                let name = words.next().unwrap_or_default();
                let on = match word {
                    "%bcond" => self.holds(words.next().unwrap_or("0")),
                    word => word == "%bcond_without",
                };
                if on {
                    self.found.macros.set(&format!("with_{name}"), "1");
                }
            }
            "%global" | "%define" | "%undefine" | "%bcond" | "%bcond_with" | "%bcond_without" => {}
            _ => return self.conditional_definition(text),
        }
        true
    }

    /// `%{!?name: %global name body}` and the like.
    fn conditional_definition(&mut self, text: &str) -> bool {
        let Some(inside) = text.strip_prefix("%{").and_then(|t| t.trim_end().strip_suffix('}'))
        else {
            return false;
        };
        let Some((condition, body)) = inside.split_once(':') else { return false };
        let body = body.trim();
        let (word, rest) = body.split_once(char::is_whitespace).unwrap_or((body, ""));
        if !["%global", "%define"].contains(&word) {
            return false;
        }
        let name = condition.trim_start_matches(['?', '!']);
        let wanted = self.found.macros.has(name) != condition.contains('!');
        if self.taken() && wanted {
            self.define(word, rest);
        }
        true
    }

    fn define(&mut self, word: &str, rest: &str) {
        let rest = rest.trim_start();
        let (name, body) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        let body = body.trim();
        if let Some((name, _)) = name.split_once('(') {
            // Only rpm can expand a macro with parameters, except the definition that rpmautospec
            // writes.
            match autorelease_number(body).filter(|_| name == "autorelease") {
                Some(number) => self.found.macros.set(name, &format!("{number}%{{?dist}}")),
                None => self.found.macros.unset(name),
            }
            return;
        }
        // `%global` expands at once; a body that cannot be expanded is kept, so that its use is an
        // unknown value.
        let expanded = match word {
            "%global" => self.expand(body).ok(),
            _ => None,
        };
        let body = expanded.unwrap_or_else(|| body.to_owned());
        self.found.macros.set(name, &body);
    }

    fn tag(&mut self, tag: &str, value: &str) {
        // The arguments of a macro without braces are the rest of its line.
        let value = if value.starts_with("%autorelease ") { "%{autorelease }" } else { value };
        let value = self.expand(value).map(|value| value.trim().to_owned());
        match &value {
            Ok(value) => self.found.macros.set(tag, value),
            Err(_) => self.found.macros.unset(tag),
        }
        match tag {
            "name" => self.found.name = value.ok(),
            "epoch" => self.found.tags.epoch = Some(value),
            "version" => self.found.tags.version = value,
            _ => self.found.tags.release = value,
        }
    }

    fn begin(&mut self, taken: bool) {
        self.branches.push(ConditionBranch { taken, done: taken });
    }

    /// A condition that cannot be evaluated counts as false.
    fn holds(&self, text: &str) -> bool {
        if text.len() > MAX_CONDITION {
            return false;
        }
        let text = self.with_conditions(text);
        self.expand(&text).and_then(|text| holds(&text)).unwrap_or(false)
    }

    /// `%{with x}`, `%{without x}` and `%{defined x}` as numbers.
    fn with_conditions(&self, text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("%{") {
            out.push_str(before);
            let Some((inside, behind)) = after.split_once('}') else {
                out.push_str("%{");
                out.push_str(after);
                return out;
            };
            let value = match inside.split_once(' ').map(|(word, name)| (word, name.trim())) {
                Some(("with", name)) => Some(self.found.macros.has(&format!("with_{name}"))),
                Some(("without", name)) => Some(!self.found.macros.has(&format!("with_{name}"))),
                Some(("defined", name)) => Some(self.found.macros.has(name)),
                Some(("undefined", name)) => Some(!self.found.macros.has(name)),
                _ => None,
            };
            match value {
                Some(value) => {
                    out.push(if value { '1' } else { '0' });
                    rest = behind;
                }
                None => {
                    out.push_str("%{");
                    rest = after;
                }
            }
        }
        out.push_str(rest);
        out
    }

    fn names_x86(&self, text: &str) -> bool {
        let text = self.expand(text).unwrap_or_else(|_| text.to_owned());
        text.split([' ', '\t', ',']).any(|word| word == "x86_64")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::spec::lines;

    fn evr(spec: &str) -> Result<String, UnknownValueError> {
        let macros = [("dist", ".el9"), ("rhel", "9")].into_iter().collect();
        version_tags(&lines(spec), macros).evr()
    }

    #[test]
    fn tags_of_the_main_package() {
        for (spec, expected) in [
            ("Version: 1.0\nRelease: 2%{?dist}\n", "1.0-2.el9"),
            ("%global v 3\nEpoch: 1\nVersion: %{v}.1\nRelease: 1\n", "1:3.1-1"),
            ("%global a %{b}\n%define b 2\nVersion: 1\nRelease: %a\n", "1-2"),
            ("%if 0%{?rhel} >= 9\nVersion: 9\n%else\nVersion: 8\n%endif\nRelease: 1", "9-1"),
            ("%if 0%{?fedora}\nVersion: 9\n%else\nVersion: 8\n%endif\nRelease: 1", "8-1"),
            ("%if 0\n%elif 1\nVersion: 2\n%else\nVersion: 3\n%endif\nRelease: 1", "2-1"),
            ("%{!?rel: %global rel 7}\nVersion: 1\nRelease: %{rel}", "1-7"),
            ("%bcond_without x\n%if %{with x}\nVersion: 1\n%endif\nRelease: 1", "1-1"),
            ("Version: 1\nRelease: 1\n%package x\nVersion: 2\n", "1-1"),
            (
                "%define autorelease(b:) %{lua:\n  release_number = 7;\n}%{?dist}\n\
                 Version: 1\nRelease: %autorelease\n",
                "1-7.el9",
            ),
            ("%global x %{expand:\nVersion: 0\n}\nVersion: 1\nRelease: 1", "1-1"),
        ] {
            assert_eq!(evr(spec), Ok(expected.to_owned()), "{spec}");
        }
    }

    #[test]
    fn what_needs_rpm_is_unknown() {
        for spec in [
            "Version: %(date)\nRelease: 1",
            "Version: 1\nRelease: %autorelease",
            "%global autorelease 1\nVersion: 1\nRelease: %autorelease -b 3",
            "Version: 1",
            "%global v %(x)\nVersion: %{v}\nRelease: 1",
        ] {
            assert!(evr(spec).is_err(), "{spec}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read(spec in "(%if |%endif|%else|%global |a|%\\{|\\}|\\n|\\\\|Version: ){0,30}") {
            let _ = evr(&spec);
        }
    }

    #[test]
    fn long_specs_end() {
        let tags = "Version: 1\nRelease: 2\n";
        let lines = "\\\n".repeat(400_000);
        assert_eq!(evr(&format!("{tags}{lines}\n")).as_deref(), Ok("1-2"));
        let conditions = format!("%if {}\n%endif\n", "%{".repeat(400_000));
        assert_eq!(evr(&format!("{conditions}{tags}")).as_deref(), Ok("1-2"));
        // Macros that stand for others take from what all may take.
        let many = "%define a %nil\n".to_owned()
            + &(0..30).map(|_| "%{a}").collect::<String>()
            + &"Name: %{b}\n".repeat(100_000);
        let spec = format!("%define b {}\n{many}{tags}", "%{a}".repeat(10_000));
        assert!(evr(&spec).is_ok_and(|evr| evr == "1-2"), "plain texts are told all the same");
    }
}
