//! Making the changes of a configuration, one after the other, up to the next script.

use rpmfarm_core::name::check_file;
use serde::{Deserialize, Serialize};

use super::config::{Change, Parameters};
use super::edit::{Edit, RunScript};
use super::tree::Tree;
use super::{ApplyError, ModifyError, changelog, files, lines, release, sections};
use crate::autospec::{AutospecValues, fill_in};
use crate::spec::Macros;

/// What a change may need to know beside the trees. It decides, together with the two commits,
/// what comes out: there is no clock in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Context {
    /// The package, as its repository is named.
    pub package: String,
    /// The time of changelog entries, in seconds since 1970: that of the newer of the commits.
    pub time: i64,
    /// Macros that are defined before the spec: `dist`, `rhel` and the target's others.
    pub macros: Vec<(String, String)>,
    /// `VERSION-RELEASE` of what was built of this package before, for `auto_increment`.
    pub built: Vec<String>,
    /// What the spec may be called where there are several.
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

/// What belongs into a changelog that is made of the history.
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
    /// Changes that [`take`] makes.
    Changes(Vec<Change>),
    /// A script, to be run in the build cage.
    Script(RunScript),
    /// A rebuild without a change: the release is raised above what was built. The number is
    /// that of `%autorelease`, for specs that have it.
    Bump(Option<u64>),
    /// `%autorelease` and `%autochangelog` are filled in.
    Autospec(AutospecValues),
}

/// A configuration as a list of steps: what is pure, and scripts in their places.
///
/// # Errors
/// When a script's name is no plain file name.
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

/// Takes a step that is no script. What belongs into the history is added to `notes`.
///
/// # Errors
/// The first change that does not fit; the tree is then of no use.
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
