//! The changes that a configuration can contain, each with its settings.
//!
//! Owns the form of each action and the checks on it alone; `config` parses them. How a change is
//! applied belongs to the file of its action, and must not be known here.

use serde::{Deserialize, Serialize};

use super::number::PatchNumber;

/// One change.
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub find: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rfind: Option<String>,
    /// The text that replaces it.
    pub replace: String,
    /// The most replacements; -1 for all.
    #[serde(default = "all")]
    pub count: i64,
}

/// Deletes lines or blocks of lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeleteLine {
    /// `spec` or a file name.
    pub target: String,
    /// The lines; an item of several lines is a block.
    pub lines: Vec<String>,
}

/// Appends to the release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModifyRelease {
    /// `.alma.1`.
    pub suffix: String,
    /// Whether the action is applied at all.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Whether the number at the suffix's end is raised above those of earlier builds.
    #[serde(default)]
    pub auto_increment: bool,
}

/// Adds an entry to the changelog.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangelogEntry {
    pub name: String,
    pub email: String,
    pub line: Vec<String>,
}

/// Adds a patch or a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddFile {
    /// Patch or source.
    #[serde(rename = "type")]
    pub kind: FileType,
    /// Its name in `files/`.
    pub name: String,
    #[serde(default)]
    pub number: PatchNumber,
    /// Whether a tag is added to the spec.
    #[serde(default = "yes")]
    pub modify_spec: bool,
    /// Overrides the parameter of the same name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub insert_almalinux_line: Option<bool>,
    /// Whether the patch is applied without `-b`.
    #[serde(default)]
    pub no_backup: bool,
}

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

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeleteFile {
    pub file_name: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunScript {
    /// Its name in `scripts/`.
    pub script: String,
    #[serde(default)]
    pub cwd: WorkingDirectory,
}

/// Where a script runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WorkingDirectory {
    /// The checkout of the dist-git.
    #[default]
    Rpms,
    /// The checkout of the modifications.
    Autopatch,
}

/// Adds text to a section of the spec.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddLine {
    /// `spec`.
    pub target: String,
    /// The section's name; `global` is the part before the first section.
    pub section: String,
    pub location: Location,
    pub content: String,
    /// The subpackage to which the section belongs; `None` for the main package.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subpackage: Option<String>,
}

/// Where in a section.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Location {
    Top,
    Bottom,
}

const fn yes() -> bool {
    true
}

const fn all() -> i64 {
    -1
}

impl Edit {
    /// Checks what the types alone cannot.
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
