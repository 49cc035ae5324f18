//! One line for people about each change.

use rpmfarm_core::name::shown;

use super::edit::{Edit, FileType};
use super::number::PatchNumber;

impl Edit {
    /// One line for people: what the change does.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Replace(edit) => {
                let (how, find) = match (&edit.find, &edit.rfind) {
                    (Some(find), _) => ("", find),
                    (None, rfind) => ("the pattern ", rfind.as_ref().unwrap_or(&edit.replace)),
                };
                let times = match edit.count {
                    -1 => String::new(),
                    1 => ", once".to_owned(),
                    count => format!(", {count} times"),
                };
                let (find, new) = (first_line(find), first_line(&edit.replace));
                format!("replace {how}`{find}` by `{new}` in {}{times}", shown(&edit.target))
            }
            Self::DeleteLine(edit) => {
                let lines: Vec<_> =
                    edit.lines.iter().map(|line| format!("`{}`", first_line(line))).collect();
                format!("delete {} from {}", lines.join(", "), shown(&edit.target))
            }
            Self::ModifyRelease(edit) if !edit.enabled => {
                format!("add `{}` to the release (disabled)", shown(&edit.suffix))
            }
            Self::ModifyRelease(edit) => {
                let raised = if edit.auto_increment {
                    ", raised above the releases that were built"
                } else {
                    ""
                };
                format!("add `{}` to the release{raised}", shown(&edit.suffix))
            }
            Self::ChangelogEntry(edit) => {
                let line = edit.line.first().map(String::as_str).unwrap_or_default();
                format!("changelog: {} ({})", first_line(line), shown(&edit.name))
            }
            Self::AddFiles(edit) => {
                let kind = match edit.kind {
                    FileType::Patch => "patch",
                    FileType::Source => "source",
                };
                let number = match edit.number {
                    PatchNumber::Is(number) if edit.modify_spec => format!(" as number {number}"),
                    _ if edit.modify_spec => String::new(),
                    _ => ", not named in the spec".to_owned(),
                };
                format!("add the {kind} {}{number}", shown(&edit.name))
            }
            Self::DeleteFiles(edit) => format!("delete the file {}", shown(&edit.file_name)),
            Self::RunScript(edit) => format!("run the script {}", shown(&edit.script)),
            Self::AddLine(edit) => {
                let of = edit.subpackage.as_ref().map_or_else(String::new, |p| format!(" {p}"));
                let place = format!("%{}{of}", edit.section);
                format!("add `{}` to {}", first_line(&edit.content), shown(&place))
            }
        }
    }
}

/// The first line of a text, with dots when there are more.
fn first_line(text: &str) -> String {
    let mut lines = text.lines();
    let first = shown(lines.next().unwrap_or_default());
    if lines.next().is_some() { format!("{first} …") } else { first }
}
