//! `rpmfarm target`: what can be rebuilt for.

use clap::{Args, Subcommand};
use rpmfarm_proto::v1::Target;

use super::Session;
use crate::document::{TargetDocument, Targets};
use crate::exit::{Error, Exit};
use crate::out::Out;
use crate::show::escape;
use crate::show::table::{cell, table};

/// What to show.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rpmfarm target list
  rpmfarm target show lab
  rpmfarm target show lab --json | jq .definition")]
pub(crate) struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List the targets
    #[command(after_help = "Examples:\n  rpmfarm target list\n  rpmfarm target list --json")]
    List,
    /// Show one target with its whole definition
    #[command(after_help = "Examples:\n  rpmfarm target show lab")]
    Show {
        /// Name of the target
        target: String,
    },
}

/// Prints targets.
pub(crate) async fn run(options: Options, mut session: Session) -> Result<Exit, Error> {
    match options.what {
        What::List => list(&session.client.targets().await?, &session.out)?,
        What::Show { target } => show(&session.client.target(&target).await?, &session.out)?,
    }
    Ok(Exit::Done)
}

fn list(targets: &[Target], out: &Out) -> Result<(), Error> {
    if out.json {
        return out.document(&Targets::from(targets));
    }
    if targets.is_empty() {
        return out.line("no targets");
    }
    let row = |target: &Target| {
        let about = match target.problems.as_slice() {
            [] => target.description.clone(),
            [first, ..] => format!("takes no builds: {first}"),
        };
        vec![
            cell(&target.name),
            cell(target.arches.join(" ")),
            cell(target.channels.join(" ")),
            cell(&target.dist),
            cell(about),
        ]
    };
    let rows = targets.iter().map(row).collect();
    out.text(&table(out, &["TARGET", "ARCHES", "CHANNELS", "DIST", "ABOUT"], rows))
}

fn show(target: &Target, out: &Out) -> Result<(), Error> {
    if out.json {
        return out.document(&TargetDocument::from(target));
    }
    let mut text = format!(
        "{}: {}\n  arches     {}\n  channels   {}\n  dist       {}\n",
        console::style(escape::line(&target.name)).bold(),
        escape::line(&target.description),
        escape::line(&target.arches.join(" ")),
        escape::line(&target.channels.join(" ")),
        escape::line(&target.dist),
    );
    for problem in &target.problems {
        let label = console::style("problem").red();
        text.push_str(&format!("  {label}    {}\n", escape::line(problem)));
    }
    if !target.definition.is_empty() {
        text.push_str(&format!("\n{}\n", definition(&target.definition)));
    }
    out.text(&text)
}

/// The definition, indented; as it came when it is no JSON.
fn definition(json: &str) -> String {
    let value = serde_json::from_str::<serde_json::Value>(json);
    let pretty = value.and_then(|value| serde_json::to_string_pretty(&value));
    escape::lines(&pretty.unwrap_or_else(|_| json.to_owned()))
}
