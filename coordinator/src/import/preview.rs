//! A preview of modifications, without look-aside files and without a build.

pub use rpmfarm_core::source::ActionState;
use rpmfarm_core::source::Modification;
use rpmfarm_sources::modify::{self, Edit, FileDiff, Step, Tree};

use super::commit::{FetchedModifications, ImportContext, ImportJob, context};
use super::failure::ImportError;
use super::sources::CommitSources;
use super::watch::ImportTimer;

/// The changes that modifications would make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preview {
    pub url: String,
    /// The branch, tag or commit id that was followed.
    pub git_ref: String,
    /// The full id of its commit.
    pub commit: String,
    /// The first line of its commit message.
    pub subject: String,
    /// The modifications; `None` when the package has none.
    pub modification: Option<Modification>,
    /// The first line of the modifications' commit message.
    pub modification_subject: String,
    /// Each action, in order, with its state.
    pub actions: Vec<PreviewedAction>,
    /// The changes by the actions that could be applied.
    pub diffs: Vec<FileDiff>,
}

/// One action of a preview.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreviewedAction {
    /// The action's place in the configuration.
    pub place: String,
    /// The effect of the action, in words.
    pub what: String,
    /// Its state: applied, for the sandbox, or failed.
    pub state: ActionState,
    /// Why the action cannot be applied; empty when it can.
    pub message: String,
}

/// Fetches both commits and applies the actions that can be applied without a script.
pub(super) fn preview(
    job: &ImportJob,
    shared: &ImportContext,
    watch: &ImportTimer,
) -> Result<Preview, ImportError> {
    let checkout = job.checkout(shared, watch)?;
    let changes = FetchedModifications::fetch(job, shared, watch)?;
    let meta = checkout.meta()?;
    let limit = watch.limits().committed_file;
    let files = checkout.files()?;
    let sources = CommitSources { checkout: &checkout, files: &files, limit };
    let mut tree = sources.tree().with_spec(&job.target.spec_names(&job.package));
    let mut preview = Preview {
        url: checkout.url.clone(),
        git_ref: checkout.git_ref.clone(),
        commit: checkout.commit.to_string(),
        subject: meta.subject,
        modification: changes.as_ref().map(|changes| changes.modification.clone()),
        modification_subject: String::new(),
        actions: Vec::new(),
        diffs: Vec::new(),
    };
    if let Some(changes) = &changes {
        preview.modification_subject.clone_from(&changes.subject);
        let of_modifications = changes.sources(limit);
        let modifications = of_modifications.tree();
        let context = context(job, meta.at, Some(changes));
        preview.actions = actions(changes, &mut tree, &modifications, &context);
    }
    preview.diffs = modify::diff(&tree)
        .map_err(|error| ImportError::Broken(format!("the changes cannot be shown: {error}")))?;
    Ok(preview)
}

fn actions(
    changes: &FetchedModifications,
    tree: &mut Tree<'_>,
    modifications: &Tree<'_>,
    context: &modify::Context,
) -> Vec<PreviewedAction> {
    let (mut scripted, mut failed) = (false, false);
    let mut actions = Vec::new();
    for change in &changes.config.changes {
        let (state, message) = match &change.edit {
            _ if failed => (ActionState::NotTried, String::new()),
            Edit::RunScript(script) => {
                scripted = true;
                script_state(&script.script, modifications)
            }
            _ => {
                let step = Step::Changes(vec![change.clone()]);
                let parameters = &changes.config.parameters;
                let notes = &mut Vec::new();
                match modify::apply_step(&step, parameters, tree, modifications, context, notes) {
                    Ok(()) => (ActionState::Applied, String::new()),
                    Err(error) if scripted => (ActionState::AfterScript, error.why.to_string()),
                    Err(error) => (ActionState::Failed, error.why.to_string()),
                }
            }
        };
        failed |= matches!(state, ActionState::Failed);
        let (place, what) = (change.place.clone(), change.edit.describe());
        actions.push(PreviewedAction { place, what, state, message });
    }
    actions
}

/// The state of a script: it runs in a cage, if the modifications contain it.
fn script_state(script: &str, modifications: &Tree<'_>) -> (ActionState, String) {
    if modifications.has(&format!("scripts/{script}")) {
        return (ActionState::Sandbox, "runs in the sandbox".to_owned());
    }
    (ActionState::Failed, "is not in scripts/ of the modifications".to_owned())
}
