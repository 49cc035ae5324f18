//! The changes that a configuration can ask for, each with what it needs.
//!
//! Owns the form of each action and what is refused of it alone; `config` reads them. How a change
//! is made belongs to the file of its action, and must not be known here.

use serde::{Deserialize, Serialize};

use super::number::Number;

/// What a change does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Edit {
    /// `replace`.
    Replace(Replace),
    /// `delete_line`.
    DeleteLine(DeleteLine),
    /// `modify_release`.
    ModifyRelease(ModifyRelease),
    /// `changelog_entry`.
    ChangelogEntry(ChangelogEntry),
    /// `add_files`.
    AddFiles(AddFile),
    /// `delete_files`.
    DeleteFiles(DeleteFile),
    /// `run_script`.
    RunScript(RunScript),
    /// `add_line`.
    AddLine(AddLine),
}

/// Replaces text: `find` (as it is) or `rfind` (a regular expression).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Replace {
    /// `spec`, or a file name, which may be a pattern.
    pub target: String,
    /// The text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub find: Option<String>,
    /// The regular expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rfind: Option<String>,
    /// What comes in its place.
    pub replace: String,
    /// At most so many; -1 for all.
    #[serde(default = "all")]
    pub count: i64,
}

/// Deletes lines or blocks of lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeleteLine {
    /// `spec` or a file name.
    pub target: String,
    /// The lines; one of several lines is a block.
    pub lines: Vec<String>,
}

/// Adds to the release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModifyRelease {
    /// `.alma.1`.
    pub suffix: String,
    /// Whether it is done at all.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Whether the number at its end is raised over what was built before.
    #[serde(default)]
    pub auto_increment: bool,
}

/// Adds an entry to the changelog.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangelogEntry {
    /// Who.
    pub name: String,
    /// The address.
    pub email: String,
    /// What was done.
    pub line: Vec<String>,
}

/// Adds a patch or a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddFile {
    /// Which of the two.
    #[serde(rename = "type")]
    pub kind: FileType,
    /// Its name in `files/`.
    pub name: String,
    /// Its number.
    #[serde(default)]
    pub number: Number,
    /// Whether the spec names it.
    #[serde(default = "yes")]
    pub modify_spec: bool,
    /// In place of the parameter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub insert_almalinux_line: Option<bool>,
    /// Whether the patch is applied without `-b`.
    #[serde(default)]
    pub no_backup: bool,
}

/// What is added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileType {
    /// `patch`.
    Patch,
    /// `source`.
    Source,
}

impl FileType {
    /// The tag in the spec.
    #[must_use]
    pub const fn tag(self) -> &'static str {
        match self {
            Self::Patch => "Patch",
            Self::Source => "Source",
        }
    }
}

/// Deletes a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeleteFile {
    /// Its name.
    pub file_name: String,
}

/// Runs a script.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunScript {
    /// Its name in `scripts/`.
    pub script: String,
    /// Where it runs.
    #[serde(default)]
    pub cwd: WorkingDirectory,
}

/// Where a script runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WorkingDirectory {
    /// In the sources.
    #[default]
    Rpms,
    /// In the modifications.
    Autopatch,
}

/// Adds text to a section of the spec.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddLine {
    /// `spec`.
    pub target: String,
    /// The section's name; `global` is what comes before the first.
    pub section: String,
    /// Where in it.
    pub location: Location,
    /// The text.
    pub content: String,
    /// Whose section it is; none for the main package.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subpackage: Option<String>,
}

/// Where in a section.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Location {
    /// Its first line.
    Top,
    /// Its last line.
    Bottom,
}

const fn yes() -> bool {
    true
}

const fn all() -> i64 {
    -1
}

impl Edit {
    /// What the types alone do not refuse.
    pub(super) fn check(&self) -> Result<(), String> {
        match self {
            Self::Replace(replace) => replace.check(),
            Self::DeleteLine(delete) => {
                filled("target", &delete.target)?;
                if delete.lines.is_empty() {
                    return Err("`lines` must not be empty".to_owned());
                }
                delete.lines.iter().try_for_each(|line| filled("lines", line.trim()))
            }
            Self::ModifyRelease(modify) => modify.check(),
            Self::ChangelogEntry(entry) => {
                filled("name", &entry.name)?;
                filled("email", &entry.email)?;
                if entry.line.iter().all(String::is_empty) {
                    return Err("`line` must not be empty".to_owned());
                }
                Ok(())
            }
            Self::AddFiles(add) => filled("name", &add.name),
            Self::DeleteFiles(delete) => filled("file_name", &delete.file_name),
            Self::RunScript(run) => filled("script", &run.script),
            Self::AddLine(add) => {
                if add.target != "spec" {
                    return Err(format!(
                        "`target` is `{}`, but only `spec` has sections",
                        add.target
                    ));
                }
                filled("section", &add.section)?;
                filled("content", &add.content)
            }
        }
    }
}

fn filled(key: &str, value: &str) -> Result<(), String> {
    if value.is_empty() { Err(format!("`{key}` must not be empty")) } else { Ok(()) }
}

impl Replace {
    fn check(&self) -> Result<(), String> {
        filled("target", &self.target)?;
        match (&self.find, &self.rfind) {
            (Some(find), None) => filled("find", find),
            (None, Some(rfind)) => filled("rfind", rfind),
            (None, None) => Err("`find` or `rfind` is missing".to_owned()),
            _ => Err("`find` and `rfind` exclude each other".to_owned()),
        }?;
        match self.count {
            -1 | 1.. => Ok(()),
            count => Err(format!("`count` is {count}: write -1 for all, or 1 and more")),
        }
    }
}

impl ModifyRelease {
    fn check(&self) -> Result<(), String> {
        let suffix = &self.suffix;
        filled("suffix", suffix)?;
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._+~^%{}?!:".contains(c);
        if !suffix.chars().all(allowed) {
            return Err(format!("`{suffix}` cannot be part of a release"));
        }
        let numbered = suffix.ends_with(|c: char| c.is_ascii_digit());
        if self.auto_increment && !numbered {
            return Err(format!("with auto_increment, `{suffix}` must end with a number"));
        }
        Ok(())
    }
}
