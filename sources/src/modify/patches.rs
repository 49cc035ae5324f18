//! Naming an added patch or source in the spec: its tag, and the line that applies it, in the
//! style and the place that the spec has.
//!
//! The places are those of the autopatch tool: after the last tag of the kind, but after the
//! `%endif` (and the line behind it) when that tag stands in a condition; and after the last
//! line that applies a patch, or after its condition, or else after `%setup`.

use super::ApplyError;
use super::edit::{AddFile, FileType};
use super::number::PatchNumber;

/// How a spec applies patches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PatchStyle {
    /// `%patch12 -p1`
    Numbered,
    /// `%patch -P 12 -p1`
    Spaced,
    /// `%patch -P12 -p1`
    Joined,
    /// `ApplyPatch FILE`, of kernels.
    Function,
    /// A macro or a list of patches applies them: no line is needed.
    ByItself,
}

/// The package to which the patch is added.
pub(super) struct PatchContext<'a> {
    pub(super) package: &'a str,
    /// The file that is changed, for messages.
    pub(super) file: &'a str,
    /// Whether the tags are in a `*.patches` file.
    pub(super) is_list: bool,
    /// Whether comment lines are added before the tags.
    pub(super) comments: bool,
}

/// Adds the tag of a file, and for a patch the line that applies it.
pub(super) fn add(
    lines: &mut Vec<String>,
    file: &AddFile,
    at: &PatchContext<'_>,
) -> Result<(), ApplyError> {
    let last = last_tag(lines, file.kind).ok_or_else(|| ApplyError::NoPlace {
        file: at.file.to_owned(),
        what: match file.kind {
            FileType::Patch => "Patch or Source tag".to_owned(),
            FileType::Source => "Source tag".to_owned(),
        },
    })?;
    let number = number(lines, file, &last)?;
    let mut new = Vec::new();
    let tag = file.kind.tag();
    let comment = format!("# AlmaLinux {tag}");
    if at.comments && !has_comment(lines, &comment) {
        new.extend([String::new(), comment]);
    }
    new.push(format!("{tag}{number}: {}", file.name));
    lines.splice(last.after..last.after, new);
    if file.kind == FileType::Patch && !at.is_list {
        apply(lines, file, &number, at)?;
    }
    Ok(())
}

/// The number as written: empty when the tags of the spec have none.
fn number(lines: &[String], file: &AddFile, last: &LastTag) -> Result<String, ApplyError> {
    let Some(latest) = last.number else { return Ok(String::new()) };
    match file.number {
        PatchNumber::Latest => Ok((latest + 1).to_string()),
        PatchNumber::Is(number) => {
            let taken = |line: &String| tag_number(line, file.kind) == Some(Some(number));
            // Real specs use a source number twice, in different conditions.
            if file.kind == FileType::Patch && lines.iter().any(taken) {
                return Err(ApplyError::NumberTaken(format!("{}{number}", file.kind.tag())));
            }
            Ok(number.to_string())
        }
    }
}

/// Whether the comment is in the file, ignoring case.
fn has_comment(lines: &[String], comment: &str) -> bool {
    lines.iter().any(|line| line.trim_end().eq_ignore_ascii_case(comment))
}

/// The number of a `Patch12:` or `Source:` line; the inner `None` when the tag has no number.
#[allow(clippy::option_option, reason = "a tag without a number is a tag")]
fn tag_number(line: &str, kind: FileType) -> Option<Option<u32>> {
    let (number, _) = line.strip_prefix(kind.tag())?.split_once(':')?;
    match number {
        "" => Some(None),
        number if number.bytes().all(|b| b.is_ascii_digit()) => number.parse().ok().map(Some),
        _ => None,
    }
}

/// The last tag of a kind.
#[derive(Debug, PartialEq, Eq)]
struct LastTag {
    /// Its number; `None` when it has none.
    number: Option<u32>,
    /// The index of the line before which a new tag is inserted.
    after: usize,
}

fn last_tag(lines: &[String], kind: FileType) -> Option<LastTag> {
    let mut conditions = ConditionScan::default();
    for (at, line) in lines.iter().enumerate().rev() {
        conditions.pass(at, line);
        if let Some(number) = tag_number(line, kind) {
            let after = match conditions.end {
                // As in the original tool: after the line that follows the `%endif`.
                Some(end) if conditions.inside => (end + 2).min(lines.len()),
                _ => at + 1,
            };
            return Some(LastTag { number, after });
        }
    }
    // The spec has no patch yet: the tag goes after the sources, numbered on from theirs.
    (kind == FileType::Patch).then(|| last_tag(lines, FileType::Source)).flatten()
}

/// Whether a scan from the end of a spec is inside of a block that ends with `%endif` or `popd`,
/// and the last such line that it passed.
#[derive(Default)]
struct ConditionScan {
    inside: bool,
    end: Option<usize>,
}

impl ConditionScan {
    fn pass(&mut self, at: usize, line: &str) {
        if word(line, "%endif") || word(line, "popd") {
            self.inside = true;
            self.end = Some(at);
        } else if self.inside && (line.starts_with("%i") || line.starts_with("push")) {
            self.inside = false;
        }
    }
}

/// Whether a line begins with this word.
fn word(line: &str, word: &str) -> bool {
    line.strip_prefix(word)
        .is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
}

/// Inserts the line that applies a patch.
fn apply(
    lines: &mut Vec<String>,
    file: &AddFile,
    number: &str,
    at: &PatchContext<'_>,
) -> Result<(), ApplyError> {
    let by_macro = ["%autosetup", "%forgeautosetup", "%autopatch"];
    let style = if at.package == "kernel" {
        Some(PatchStyle::Function)
    } else if lines.iter().any(|line| by_macro.iter().any(|name| line.contains(name))) {
        Some(PatchStyle::ByItself)
    } else {
        lines.iter().rev().find_map(|line| style_of(line))
    };
    if style == Some(PatchStyle::ByItself) {
        return Ok(());
    }
    let (style, after) = match (style, last_applied(lines)) {
        (Some(style), Some(after)) => (style, after),
        (_, None) => (PatchStyle::Spaced, after_setup(lines, at)?),
        (None, Some(after)) => (PatchStyle::Spaced, after),
    };
    let comment = "# Applying AlmaLinux Patch".to_owned();
    let mut new = Vec::new();
    if at.comments && !has_comment(lines, &comment) {
        new.extend([String::new(), comment]);
    }
    new.push(applying(style, number, file));
    lines.splice(after..after, new);
    Ok(())
}

fn applying(style: PatchStyle, number: &str, file: &AddFile) -> String {
    let mut line = match style {
        PatchStyle::Numbered => format!("%patch{number} -p1"),
        PatchStyle::Spaced => format!("%patch -P {number} -p1"),
        PatchStyle::Joined => format!("%patch -P{number} -p1"),
        PatchStyle::Function | PatchStyle::ByItself => return format!("ApplyPatch {}", file.name),
    };
    if !file.no_backup {
        // The name without its last suffix, and without further dots.
        let stem = file.name.rsplit_once('.').map_or("", |(stem, _)| stem);
        line.push_str(&format!(" -b .{}", stem.replace('.', "")));
    }
    line
}

fn after_setup(lines: &[String], at: &PatchContext<'_>) -> Result<usize, ApplyError> {
    let setup = lines.iter().rposition(|line| word(line, "%setup"));
    setup.map(|setup| setup + 1).ok_or_else(|| ApplyError::NoPlace {
        file: at.file.to_owned(),
        what: "line that applies a patch, nor %setup or %autosetup".to_owned(),
    })
}

/// The index of the line before which a line that applies a patch is inserted.
fn last_applied(lines: &[String]) -> Option<usize> {
    let mut conditions = ConditionScan::default();
    for (at, line) in lines.iter().enumerate().rev() {
        let was_inside = conditions.inside;
        conditions.pass(at, line);
        if was_inside && !conditions.inside {
            // That condition contains no line that applies a patch.
            conditions.end = None;
        }
        if style_of(line).is_some() {
            return Some(conditions.end.unwrap_or(at) + 1);
        }
    }
    None
}

fn style_of(line: &str) -> Option<PatchStyle> {
    let line = line.trim();
    if line.starts_with("ApplyOptionalPatch") || line.starts_with("ApplyPatch") {
        return Some(PatchStyle::Function);
    }
    let rest = line.strip_prefix("%patch")?;
    let digit = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
    if digit(rest) {
        return Some(PatchStyle::Numbered);
    }
    let spaced = rest.trim_start();
    let number = spaced.strip_prefix("-P").filter(|_| spaced.len() < rest.len())?;
    let after = number.trim_start();
    match (digit(number), number.len() > after.len()) {
        (true, _) => Some(PatchStyle::Joined),
        (false, true) if digit(after) || after.starts_with("-p") => Some(PatchStyle::Spaced),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::lines;

    fn added(
        spec: &str,
        kind: FileType,
        name: &str,
        number: PatchNumber,
    ) -> Result<String, ApplyError> {
        let mut all = lines(spec);
        let file = AddFile {
            kind,
            name: name.to_owned(),
            number,
            modify_spec: true,
            insert_almalinux_line: None,
            no_backup: false,
        };
        let place = PatchContext { package: "x", file: "x.spec", is_list: false, comments: true };
        add(&mut all, &file, &place)?;
        Ok(all.join("\n"))
    }

    #[test]
    fn after_the_last_of_its_kind_in_the_spec_s_own_style() {
        for (spec, expected) in [
            (
                "Source0: a\nPatch1: b\n\n%prep\n%setup\n%patch1 -p1\n",
                "Source0: a\nPatch1: b\n\n# AlmaLinux Patch\nPatch1000: n.patch\n\n%prep\n%setup\n%patch1 -p1\n\n# Applying AlmaLinux Patch\n%patch1000 -p1 -b .n",
            ),
            (
                "Source0: a\nPatch1: b\n%prep\n%setup\n%patch -P1 -p1\n%build",
                "Source0: a\nPatch1: b\n\n# AlmaLinux Patch\nPatch1000: n.patch\n%prep\n%setup\n%patch -P1 -p1\n\n# Applying AlmaLinux Patch\n%patch -P1000 -p1 -b .n\n%build",
            ),
            (
                "Source0: a\n%prep\n%setup\n",
                "Source0: a\n\n# AlmaLinux Patch\nPatch1000: n.patch\n%prep\n%setup\n\n# Applying AlmaLinux Patch\n%patch -P 1000 -p1 -b .n",
            ),
            (
                "Source: a\nPatch: b\n%prep\n%autosetup -p1",
                "Source: a\nPatch: b\n\n# AlmaLinux Patch\nPatch: n.patch\n%prep\n%autosetup -p1",
            ),
            (
                "Source0: a\n%if 1\nPatch1: b\n%endif\n\nName: x\n%prep\n%if 1\n%patch1\n%endif\n",
                "Source0: a\n%if 1\nPatch1: b\n%endif\n\n\n# AlmaLinux Patch\nPatch1000: n.patch\nName: x\n%prep\n%if 1\n%patch1\n%endif\n\n# Applying AlmaLinux Patch\n%patch1000 -p1 -b .n",
            ),
        ] {
            let result = added(spec, FileType::Patch, "n.patch", PatchNumber::Is(1000));
            assert_eq!(result.as_deref(), Ok(expected), "{spec}");
        }
    }

    #[test]
    fn numbers() {
        let spec = "Source0: a\nSource3: b\nPatch3: c\n%autosetup";
        let latest = added(spec, FileType::Source, "n", PatchNumber::Latest).unwrap();
        assert!(latest.contains("\nSource4: n\n"), "{latest}");
        assert!(added(spec, FileType::Source, "n", PatchNumber::Is(3)).is_ok());
        let error = added(spec, FileType::Patch, "n", PatchNumber::Is(3)).unwrap_err();
        assert_eq!(error, ApplyError::NumberTaken("Patch3".to_owned()));
        let error = added("Name: x", FileType::Patch, "n", PatchNumber::Latest).unwrap_err();
        assert_eq!(error.to_string(), "x.spec has no Patch or Source tag");
        let error = added("Source0: a", FileType::Patch, "n", PatchNumber::Latest).unwrap_err();
        assert!(error.to_string().contains("%setup"), "{error}");
    }

    #[test]
    fn styles() {
        for (line, style) in [
            ("%patch1 -p1", Some(PatchStyle::Numbered)),
            ("  %patch -P 1", Some(PatchStyle::Spaced)),
            ("%patch -P12", Some(PatchStyle::Joined)),
            ("ApplyPatch x.patch", Some(PatchStyle::Function)),
            ("%patchlist", None),
            ("%patch -p1", None),
        ] {
            assert_eq!(style_of(line), style, "{line}");
        }
    }
}
