//! `rpmfarm target`: the targets that packages can be rebuilt for.

use clap::{Args, Subcommand};
use rpmfarm_proto::v1::Target;

use super::Session;
use crate::document::{TargetDocument, TargetsDocument};
use crate::exit::{Error, Exit};
use crate::out::StandardOutput;
use crate::show::table::{Column, cell, column, lines, table};
use crate::show::{escape, wrap};

/// The columns of the list.
const COLUMNS: [Column; 5] = [
    column("TARGET"),
    column("ARCHES").rank(2).cut(8),
    column("CHANNELS").rank(1).cut(8),
    column("DIST").rank(3),
    column("ABOUT").wrapped(),
];

/// What to show.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rpmfarm target list
  rpmfarm target show lab
  rpmfarm target show lab --json | jq .definition")]
pub(crate) struct Options {
    #[command(subcommand)]
    what: TargetCommand,
}

#[derive(Debug, Subcommand)]
enum TargetCommand {
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

pub(crate) async fn run(options: Options, mut session: Session) -> Result<Exit, Error> {
    match options.what {
        TargetCommand::List => list(&session.client.targets().await?, &session.out)?,
        TargetCommand::Show { target } => {
            show(&session.client.target(&target).await?, &session.out)?
        }
    }
    Ok(Exit::Done)
}

fn list(targets: &[Target], out: &StandardOutput) -> Result<(), Error> {
    if out.json {
        return out.document(&TargetsDocument::from(targets));
    }
    if targets.is_empty() {
        return out.line("no targets");
    }
    let row = |target: &Target| {
        let about = match target.problems.as_slice() {
            [] => target.description.clone(),
            problems => format!("takes no builds: {}", problems.join("\n")),
        };
        vec![
            cell(&target.name),
            cell(target.arches.join(" ")),
            cell(target.channels.join(" ")),
            cell(&target.dist),
            lines(about),
        ]
    };
    let rows: Vec<_> = targets.iter().map(row).collect();
    out.text(&table(out, &COLUMNS, &rows))
}

fn show(target: &Target, out: &StandardOutput) -> Result<(), Error> {
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
        let width = out.width();
        text.push_str(&wrap::hanging(&format!("  {label}    "), problem, 13, width));
    }
    if !target.definition.is_empty() {
        text.push_str(&format!("\n{}\n", definition(&target.definition)));
    }
    out.text(&text)
}

/// The definition, indented; unchanged when it is not JSON.
fn definition(json: &str) -> String {
    let value = serde_json::from_str::<serde_json::Value>(json);
    let pretty = value.and_then(|value| serde_json::to_string_pretty(&value));
    escape::lines(&pretty.unwrap_or_else(|_| json.to_owned()))
}
