//! Applies the changes of a configuration, one after the other, up to the next script.

use rpmfarm_core::name::check_file;
use serde::{Deserialize, Serialize};

use super::config::{Change, Parameters};
use super::edit::{Edit, RunScript};
use super::tree::Tree;
use super::{ApplyError, ModifyError, changelog, files, lines, release, sections};
use crate::autospec::{AutospecValues, fill_in};
use crate::spec::Macros;

/// Values that a change may need beside the trees. Together with the two commits they determine the
/// result: no clock is read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Context {
    /// The name of the package: that of its repository.
    pub package: String,
    /// The time of changelog entries, in seconds since 1970: that of the newer of the commits.
    pub time: i64,
    /// Macros that are defined before the spec: `dist`, `rhel` and the target's others.
    pub macros: Vec<(String, String)>,
    /// `VERSION-RELEASE` of earlier builds of this package, for `auto_increment`.
    pub built: Vec<String>,
    /// Names of the spec, in order of preference, for a tree with several.
    #[serde(default)]
    pub spec_names: Vec<String>,
}

impl Context {
    /// The macros, for expansions.
    #[must_use]
    pub fn macros(&self) -> Macros {
        self.macros.iter().map(|(name, body)| (name.as_str(), body.as_str())).collect()
    }

    /// The day of changelog entries, in UTC.
    #[must_use]
    pub fn date(&self) -> jiff::civil::Date {
        let time = jiff::Timestamp::from_second(self.time).unwrap_or_default();
        time.to_zoned(jiff::tz::TimeZone::UTC).date()
    }

    #[cfg(test)]
    pub(super) fn for_tests() -> Self {
        Self {
            package: "x".to_owned(),
            time: 1_795_478_400, // 2026-11-24
            macros: vec![("dist".to_owned(), ".el9".to_owned())],
            built: Vec::new(),
            spec_names: Vec::new(),
        }
    }
}

/// An entry for a changelog that is generated from the history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangelogNote {
    pub name: String,
    pub email: String,
    pub lines: Vec<String>,
}

/// A part of a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Changes that [`apply_step`] makes.
    Changes(Vec<Change>),
    /// A script, to be run in the build cage.
    Script(RunScript),
    /// A rebuild without a change: the release is raised above those of earlier builds. The number
    /// is that of `%autorelease`, for specs that use it.
    Bump(Option<u64>),
    /// `%autorelease` and `%autochangelog` are filled in.
    Autospec(AutospecValues),
}

/// A configuration as a list of steps: the scripts, and between them the changes that need no
/// script.
///
/// # Errors
/// When a script's name is not a plain file name.
pub fn steps(changes: &[Change]) -> Result<Vec<Step>, ModifyError> {
    let mut steps = Vec::new();
    for change in changes {
        match (&change.edit, steps.last_mut()) {
            (Edit::RunScript(script), _) => {
                check_file(&script.script).map_err(|error| ModifyError {
                    place: change.place.clone(),
                    why: error.into(),
                })?;
                steps.push(Step::Script(script.clone()));
            }
            (_, Some(Step::Changes(changes))) => changes.push(change.clone()),
            _ => steps.push(Step::Changes(vec![change.clone()])),
        }
    }
    Ok(steps)
}

/// Applies a step that is not a script. Entries for a generated changelog are added to `notes`.
///
/// # Errors
/// With the first change that cannot be applied; the tree is then unusable.
pub fn apply_step(
    step: &Step,
    parameters: &Parameters,
    tree: &mut Tree<'_>,
    modifications: &Tree<'_>,
    context: &Context,
    notes: &mut Vec<ChangelogNote>,
) -> Result<(), ModifyError> {
    let misfit = |place: &str, why| ModifyError { place: place.to_owned(), why };
    match step {
        Step::Changes(changes) => {
            notes.extend(apply(changes, parameters, tree, modifications, context)?);
            Ok(())
        }
        Step::Bump(number) => release::bump_tree(tree, context, *number)
            .map_err(|why| misfit("a rebuild's release", why)),
        Step::Autospec(generated) => autospec(generated, tree, notes, context.time)
            .map_err(|why| misfit("%autorelease and %autochangelog", why)),
        Step::Script(script) => {
            let why = ApplyError::NotThere(format!("the result of the script {}", script.script));
            Err(misfit("run_script", why))
        }
    }
}

fn autospec(
    generated: &AutospecValues,
    tree: &mut Tree<'_>,
    notes: &[ChangelogNote],
    time: i64,
) -> Result<(), ApplyError> {
    let path = tree.spec()?;
    let text = tree.text(&path)?;
    let filled = fill_in(&text, generated, notes, time);
    if filled != text {
        tree.write(&path, filled.into_bytes());
    }
    Ok(())
}

fn apply(
    changes: &[Change],
    parameters: &Parameters,
    tree: &mut Tree<'_>,
    modifications: &Tree<'_>,
    context: &Context,
) -> Result<Vec<ChangelogNote>, ModifyError> {
    let mut notes = Vec::new();
    for change in changes {
        one(change, parameters, tree, modifications, context)
            .map(|note| notes.extend(note))
            .map_err(|why| ModifyError { place: change.place.clone(), why })?;
    }
    Ok(notes)
}

fn one(
    change: &Change,
    parameters: &Parameters,
    tree: &mut Tree<'_>,
    modifications: &Tree<'_>,
    context: &Context,
) -> Result<Option<ChangelogNote>, ApplyError> {
    match &change.edit {
        Edit::Replace(edit) => lines::replace(edit, tree)?,
        Edit::DeleteLine(edit) => lines::delete(edit, tree)?,
        Edit::ModifyRelease(edit) => release::modify(edit, tree, context)?,
        Edit::ChangelogEntry(edit) => return changelog::add(edit, parameters, tree, context),
        Edit::AddFiles(edit) => files::add(edit, parameters, tree, modifications, context)?,
        Edit::DeleteFiles(edit) => files::delete(edit, tree, context)?,
        Edit::AddLine(edit) => sections::add(edit, tree)?,
        Edit::RunScript(edit) => {
            return Err(ApplyError::NotThere(format!("the result of the script {}", edit.script)));
        }
    }
    Ok(None)
}
