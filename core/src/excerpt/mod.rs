//! Reading a build log while it is written: which section of rpmbuild runs, and which lines say why
//! it failed.
//!
//! A log and its lines can be of any length; the part that is kept is bounded.

mod words;

use std::collections::VecDeque;

use crate::FailureStage;

use words::{TraceLine, is_cause, is_consequence, is_end_of_script, is_heading, is_suspect};

words! {
    /// A part of rpmbuild, as it announces them in its log.
    #[derive(Default)]
    pub enum BuildSection: "part of a build" {
        /// Before the first announced section: the spec is read, requirements are checked.
        #[default]
        Start = "spec",
        /// `%prep`.
        Prep = "prep",
        /// `%generate_buildrequires`.
        Requires = "requires",
        /// `%conf` and `%build`.
        Build = "build",
        /// `%install`.
        Install = "install",
        /// `%check`.
        Check = "check",
        /// Files are collected and packages written.
        Files = "files",
    }
}

impl BuildSection {
    fn announced(line: &str) -> Option<Self> {
        if line.starts_with("Processing files:") {
            return Some(Self::Files);
        }
        let section = line.strip_prefix("Executing(%")?.split_once(')')?.0;
        match section {
            "mkbuilddir" | "prep" => Some(Self::Prep),
            "generate_buildrequires" => Some(Self::Requires),
            "conf" | "build" => Some(Self::Build),
            "install" => Some(Self::Install),
            "check" => Some(Self::Check),
            _ => None,
        }
    }
}

impl From<BuildSection> for FailureStage {
    fn from(part: BuildSection) -> Self {
        match part {
            BuildSection::Start => Self::Spec,
            BuildSection::Prep => Self::Prep,
            BuildSection::Requires => Self::Requires,
            BuildSection::Build => Self::Build,
            BuildSection::Install => Self::Install,
            BuildSection::Check => Self::Check,
            BuildSection::Files => Self::Files,
        }
    }
}

/// How many lines an excerpt has at most.
pub const LINES: usize = 10;
/// How many characters of a line are kept.
const WIDTH: usize = 300;
/// How many causes are kept; further ones are consequences of the first.
const CAUSES: usize = 7;
/// How many lines are kept that may be causes.
const SUSPECTS: usize = 3;

/// Reads a log. Feed it the whole log, in pieces of any size.
#[derive(Debug, Clone, Default)]
pub struct LogReader {
    part: BuildSection,
    partial: Vec<u8>,
    number: u64,
    /// Lines that say what went wrong, the first ones of this section.
    causes: Vec<Line>,
    /// Lines that may say what went wrong, the last ones of this section: scripts often try things
    /// that they can do without.
    suspects: VecDeque<Line>,
    /// Lines in which tools report the failure of another tool, the last ones of this section.
    consequences: VecDeque<Line>,
    /// The first of them.
    first: Option<Line>,
    /// The last line of this part before the first consequence.
    complaint: Option<Line>,
    /// The last commands of this part that its shell traced, without what only ended the script.
    command: Option<String>,
    /// The status with which the script ended itself, as its shell traced it.
    exit: Option<u8>,
    /// The last lines, whatever their content.
    last: VecDeque<Line>,
    /// Lines after a heading whose list belongs to it.
    listing: bool,
    /// Whether rpmbuild repeats its messages at the end, warnings first.
    summing_up: bool,
    no_space: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Line {
    number: u64,
    text: String,
}

impl LogReader {
    /// A reader at the beginning of a log.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a piece of the log.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.extend(&bytes[..end]);
            self.end_line();
            bytes = &bytes[end + 1..];
        }
        self.extend(bytes);
    }

    /// The section that runs, or that was the last to run.
    #[must_use]
    pub fn part(&self) -> BuildSection {
        self.part
    }

    /// Whether the log says that a disk was full.
    #[must_use]
    pub fn saw_no_space(&self) -> bool {
        self.no_space
    }

    /// The line that most likely says why the last section failed.
    #[must_use]
    pub fn cause(&self) -> Option<&str> {
        let line = self.causes.first().or_else(|| self.suspects.back());
        let line = line.or_else(|| self.complaint_before_the_end());
        let line = line.or(self.first.as_ref());
        line.map(|line| line.text.as_str())
    }

    /// The command of the script that failed: the last one that its shell traced before the script
    /// ended. It may have several lines; of a pipeline it is one of its commands.
    #[must_use]
    pub fn command(&self) -> Option<&str> {
        self.ended_badly().then_some(self.command.as_deref()).flatten()
    }

    /// The exit status of the failed command, as far as the log says: with which the script exited,
    /// or which `make` reports for its recipe.
    #[must_use]
    pub fn status(&self) -> Option<u8> {
        let of_make = || words::status_of_make(&self.first.as_ref()?.text);
        self.exit.filter(|_| self.ended_badly()).or_else(of_make)
    }

    /// Whether rpmbuild says that a script failed.
    fn ended_badly(&self) -> bool {
        self.consequences.iter().any(|line| is_end_of_script(&line.text))
    }

    /// The lines of a list that belong to the cause.
    #[must_use]
    pub fn listed(&self) -> Vec<&str> {
        let Some(first) = self.causes.first().filter(|line| is_heading(&line.text)) else {
            return Vec::new();
        };
        let listed =
            |line: &&Line| line.text.starts_with([' ', '\t']) && line.number > first.number;
        self.causes.iter().skip(1).take_while(listed).map(|line| line.text.trim()).collect()
    }

    /// For a script that failed, its last output, or the command that failed without output.
    fn complaint_before_the_end(&self) -> Option<&Line> {
        let end = self.first.as_ref()?;
        self.complaint.as_ref().filter(|_| is_end_of_script(&end.text))
    }

    /// The lines that matter, in the order of the log; at most [`LINES`].
    #[must_use]
    pub fn excerpt(&self) -> Vec<String> {
        let mut lines: Vec<&Line> = self.causes.iter().chain(&self.consequences).collect();
        let room = |lines: &[&Line]| LINES.saturating_sub(lines.len());
        lines.extend(self.suspects.iter().rev().take(room(&lines)));
        if self.causes.is_empty() && self.suspects.is_empty() {
            // Nothing is known to be a cause, so the last lines before the end are shown.
            lines.extend(self.last.iter().rev().take(room(&lines)));
        }
        lines.sort();
        lines.dedup();
        lines.into_iter().take(LINES).map(|line| line.text.clone()).collect()
    }

    fn extend(&mut self, bytes: &[u8]) {
        // Characters have at most four bytes.
        let room = (WIDTH * 4).saturating_sub(self.partial.len());
        self.partial.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn end_line(&mut self) {
        let bytes = std::mem::take(&mut self.partial);
        let text = clean(&String::from_utf8_lossy(&bytes));
        self.number += 1;
        if let Some(part) = BuildSection::announced(&text) {
            self.enter(part);
        } else if !text.is_empty() {
            self.keep(text);
        }
    }

    /// A new section has begun, so the ones before ended successfully, whatever they printed.
    fn enter(&mut self, part: BuildSection) {
        if part != self.part {
            self.causes.clear();
            self.suspects.clear();
            self.consequences.clear();
            self.complaint = None;
            (self.first, self.command, self.exit) = (None, None, None);
            self.last.clear();
            self.no_space = false;
        }
        self.part = part;
        (self.listing, self.summing_up) = (false, false);
    }

    fn keep(&mut self, text: String) {
        let line = Line { number: self.number, text };
        let text = line.text.as_str();
        self.no_space |= text.contains("No space left on device");
        let listed = self.listing && line.text.starts_with([' ', '\t']);
        self.listing = listed || is_heading(text);
        if (listed || is_cause(text)) && self.causes.len() < CAUSES {
            // rpmbuild repeats its errors at the end.
            let repeated = self.causes.iter().any(|known| known.text.trim() == text.trim());
            if !repeated {
                self.causes.push(line.clone());
            }
        } else if is_consequence(text) {
            self.first.get_or_insert_with(|| line.clone());
            push(&mut self.consequences, line.clone(), LINES - CAUSES);
        } else if is_suspect(text) {
            push(&mut self.suspects, line.clone(), SUSPECTS);
        }
        if self.consequences.is_empty() {
            self.follow(&line);
        }
        self.summing_up |= line.text.starts_with("RPM build warnings:");
        if !self.summing_up {
            push(&mut self.last, line, LINES);
        }
    }
}

impl LogReader {
    /// Follows the commands and the output of a script, until a line says that it failed.
    fn follow(&mut self, line: &Line) {
        // A line of rpm's own code at the end of each script.
        if line.text == "++ jobs -p" {
            return;
        }
        // The exit of a script is not a command of interest.
        match words::traced(&line.text) {
            Some(TraceLine::End(status)) => {
                self.exit = status;
                return;
            }
            Some(TraceLine::Command(command)) => {
                self.command = Some(command.to_owned());
                self.exit = None;
            }
            None => {}
        }
        self.complaint = Some(line.clone());
    }
}

fn push(lines: &mut VecDeque<Line>, line: Line, limit: usize) {
    if lines.len() == limit {
        lines.pop_front();
    }
    lines.push_back(line);
}

/// A line without control characters (colours, carriage returns), and not too long.
fn clean(line: &str) -> String {
    let mut text = String::new();
    let mut chars = line.trim_end().chars();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' {
            // An escape sequence ends with a letter.
            chars.by_ref().find(char::is_ascii_alphabetic);
        } else if c == '\t' || !c.is_control() {
            text.push(c);
        }
    }
    text.chars().take(WIDTH).collect()
}

#[cfg(test)]
mod tests;
