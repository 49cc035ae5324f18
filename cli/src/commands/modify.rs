//! `rpmfarm modify`: what a distribution's modifications change, before anything is built.

use clap::{Args, Subcommand};
use rpmfarm_core::name::{check_git_ref, check_package};
use rpmfarm_core::source::ActionState;
use rpmfarm_proto::v1::{ModificationAction, ModificationsPreview, PreviewModificationsRequest};

use super::Session;
use crate::document::source::ModificationsPreviewDocument;
use crate::exit::{Error, Exit};
use crate::out::StandardOutput;
use crate::show::escape;

/// What to do with them.
#[derive(Debug, Args)]
#[command(after_help = "\
Nothing is built, and no script is run: scripts run in the sandbox of a build.

Examples:
  rpmfarm modify show bash --target almalinux-9         the actions, in order
  rpmfarm modify check bash --target almalinux-9        do they all fit? exit code 1 if not
  rpmfarm modify diff bash --target almalinux-9 --ref c9 | less
  rpmfarm modify diff bash --with my-branch --json")]
pub(crate) struct Options {
    #[command(subcommand)]
    what: ModifyCommand,
}

#[derive(Debug, Subcommand)]
enum ModifyCommand {
    /// List the actions in order, with the state of each
    #[command(after_help = "Examples:\n  rpmfarm modify show bash --target almalinux-9")]
    Show(PackageOptions),
    /// Check that every action fits; exit code 1 when one does not
    #[command(after_help = "Examples:\n  rpmfarm modify check bash --target almalinux-9")]
    Check(PackageOptions),
    /// Print what changes as a unified diff
    #[command(after_help = "Examples:\n  rpmfarm modify diff bash --target almalinux-9")]
    Diff(PackageOptions),
}

/// The package.
#[derive(Debug, Args)]
struct PackageOptions {
    /// The package
    #[arg(value_parser = package)]
    package: String,
    /// Target [default: `target` of the configuration file, else the
    /// only one of the farm]
    #[arg(long, env = "RPMFARM_TARGET", hide_env_values = true)]
    target: Option<String>,
    /// Branch, tag or commit of the package [default: the target's own]
    #[arg(long = "ref", value_name = "REF", value_parser = git_ref)]
    git_ref: Option<String>,
    /// Branch, tag or commit of the modifications [default: the target's own]
    #[arg(long = "with", value_name = "REF", value_parser = git_ref)]
    modification_ref: Option<String>,
}

fn package(text: &str) -> Result<String, String> {
    check_package(text).map_err(|error| error.to_string())?;
    Ok(text.into())
}

fn git_ref(text: &str) -> Result<String, String> {
    check_git_ref(text).map_err(|error| error.to_string())?;
    Ok(text.into())
}

/// Sends the request, and shows the answer.
pub(crate) async fn run(options: Options, mut session: Session) -> Result<Exit, Error> {
    let (ModifyCommand::Show(which) | ModifyCommand::Check(which) | ModifyCommand::Diff(which)) =
        &options.what;
    let target = session.target(which.target.clone()).await?;
    let request = PreviewModificationsRequest {
        target,
        package: which.package.clone(),
        git_ref: which.git_ref.clone().unwrap_or_default(),
        modification_ref: which.modification_ref.clone().unwrap_or_default(),
    };
    let preview = session.client.preview_modifications(request).await?;
    let failed = preview.actions.iter().any(|action| state(action) == Some(ActionState::Failed));
    let out = &session.out;
    if out.json {
        out.document(&ModificationsPreviewDocument::from(&preview))?;
    } else {
        match options.what {
            ModifyCommand::Show(_) => show(&preview, out)?,
            ModifyCommand::Check(_) => check(&preview, out)?,
            ModifyCommand::Diff(_) => diff(&preview, out)?,
        }
    }
    Ok(if failed { Exit::PackageFailed } else { Exit::Done })
}

fn show(preview: &ModificationsPreview, out: &StandardOutput) -> Result<(), Error> {
    out.line(&format!(
        "{} at {} ({}): {}",
        escape::line(&preview.url),
        escape::line(&preview.git_ref),
        short(&preview.commit),
        escape::line(&preview.subject)
    ))?;
    let Some(modification) = &preview.modification else {
        return out.line("no modifications: it is built as upstream has it");
    };
    out.line(&format!(
        "modified by {} ({}, {}): {}",
        escape::line(&modification.url),
        short(&modification.commit),
        escape::line(&modification.config),
        escape::line(&modification.subject)
    ))?;
    for (number, action) in preview.actions.iter().enumerate() {
        let state = match state(action) {
            Some(ActionState::Sandbox) => "runs in the sandbox".to_owned(),
            Some(ActionState::AfterScript) => format!("only after a script: {}", action.message),
            Some(ActionState::Failed) => format!("does not fit: {}", action.message),
            Some(ActionState::NotTried) => "not tried".to_owned(),
            Some(ActionState::Applied) | None => action.state.clone(),
        };
        out.line(&format!(
            "{:>3}. {}: {}",
            number + 1,
            escape::line(&action.what),
            escape::line(&state)
        ))?;
    }
    Ok(())
}

fn check(preview: &ModificationsPreview, out: &StandardOutput) -> Result<(), Error> {
    if preview.modification.is_none() {
        return out.line("no modifications");
    }
    let of = |wanted: ActionState| {
        preview.actions.iter().filter(move |action| state(action) == Some(wanted))
    };
    for action in of(ActionState::Failed).chain(of(ActionState::AfterScript)) {
        let (place, message) = (escape::line(&action.place), escape::line(&action.message));
        out.line(&format!("{place}: {message}"))?;
    }
    let scripts = of(ActionState::Sandbox).count();
    let note = match scripts {
        0 => String::new(),
        1 => ", 1 script runs in the sandbox".to_owned(),
        count => format!(", {count} scripts run in the sandbox"),
    };
    let (applied, all) = (of(ActionState::Applied).count(), preview.actions.len());
    out.line(&format!("{applied} of {all} actions fit{note}"))
}

fn diff(preview: &ModificationsPreview, out: &StandardOutput) -> Result<(), Error> {
    for diff in &preview.diffs {
        out.text(&escape::lines(&diff.diff))?;
    }
    for action in &preview.actions {
        match state(action) {
            Some(ActionState::Sandbox) => {
                out.line(&format!("# {}: runs in the sandbox", escape::line(&action.what)))?
            }
            Some(ActionState::Failed | ActionState::AfterScript) => out.line(&format!(
                "# {}: {}",
                escape::line(&action.place),
                escape::line(&action.message)
            ))?,
            _ => {}
        }
    }
    Ok(())
}

/// The state of an action; `None` for a word that this program does not know.
fn state(action: &ModificationAction) -> Option<ActionState> {
    action.state.parse().ok()
}

/// The first digits of a commit's id.
fn short(commit: &str) -> &str {
    commit.get(..12).unwrap_or(commit)
}

#[cfg(test)]
mod tests {
    #[test]
    fn commits_are_shown_short() {
        assert_eq!(super::short(&"a".repeat(40)), "a".repeat(12));
        assert_eq!(super::short("abc"), "abc");
    }
}
