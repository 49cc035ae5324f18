//! `rpmfarm repo`: the repositories that the farm publishes.

use clap::{Args, Subcommand};
use rpmfarm_proto::v1::Channel;

use super::Session;
use crate::document::ChannelsDocument;
use crate::exit::{Error, Exit};
use crate::out::StandardOutput;
use crate::show::table::{Column, cell, column, number, table};
use crate::show::{escape, time};

/// The columns of the list.
const COLUMNS: [Column; 6] = [
    column("TARGET").cut(10),
    column("CHANNEL"),
    column("REVISION").rank(2),
    column("PACKAGES").rank(3),
    column("PUBLISHED").rank(1),
    column("ADDRESS").wrapped(),
];

/// What to show.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  rpmfarm repo                       all channels
  rpmfarm repo list --target lab
  rpmfarm repo show --target lab testing     how dnf uses it"
)]
pub(crate) struct Options {
    #[command(subcommand)]
    what: Option<RepoCommand>,
    #[command(flatten)]
    list: ListOptions,
}

#[derive(Debug, Subcommand)]
enum RepoCommand {
    /// List channels, their revisions and addresses
    #[command(
        after_help = "Examples:\n  rpmfarm repo list\n  rpmfarm repo list --target lab --json"
    )]
    List(ListOptions),
    /// Show channels, and how dnf uses them
    #[command(
        after_help = "Examples:\n  rpmfarm repo show\n  rpmfarm repo show --target lab testing"
    )]
    Show(ShowOptions),
}

#[derive(Debug, Args)]
struct ListOptions {
    /// Only channels of this target
    #[arg(long)]
    target: Option<String>,
}

#[derive(Debug, Args)]
struct ShowOptions {
    /// Only this channel, like testing or stable
    channel: Option<String>,
    /// Only channels of this target
    #[arg(long)]
    target: Option<String>,
}

pub(crate) async fn run(options: Options, mut session: Session) -> Result<Exit, Error> {
    let (target, channel, details) = match options.what {
        None => (options.list.target, None, false),
        Some(RepoCommand::List(list)) => (list.target, None, false),
        Some(RepoCommand::Show(show)) => (show.target, show.channel, true),
    };
    let mut channels = session.client.channels(target.as_deref().unwrap_or_default()).await?;
    if let Some(name) = &channel {
        channels.retain(|channel| &channel.name == name);
        if channels.is_empty() {
            return Err(Error::NotFound(format!(
                "there is no channel `{name}` (rpmfarm repo list)"
            )));
        }
    }
    let out = session.out;
    if out.json {
        out.document(&ChannelsDocument::from(channels.as_slice()))?;
    } else if channels.is_empty() {
        out.line("no channels")?;
    } else if details {
        let texts: Vec<_> = channels.iter().map(|channel| text(channel, time::now())).collect();
        out.text(&texts.join("\n"))?;
    } else {
        list(&channels, &out)?;
    }
    Ok(Exit::Done)
}

fn list(channels: &[Channel], out: &StandardOutput) -> Result<(), Error> {
    let now = time::now();
    let row = |channel: &Channel| {
        vec![
            cell(&channel.target),
            cell(&channel.name),
            number(channel.revision),
            number(channel.packages),
            cell(published(channel, now)),
            cell(&channel.repo_url),
        ]
    };
    out.text(&table(out, &COLUMNS, &channels.iter().map(row).collect::<Vec<_>>()))
}

fn published(channel: &Channel, now: i64) -> String {
    if channel.published_us == 0 { "not yet".into() } else { time::ago(channel.published_us, now) }
}

fn text(channel: &Channel, now: i64) -> String {
    let line = |text: &str| escape::line(text);
    let (target, name) = (line(&channel.target), line(&channel.name));
    let (repo, key) = (line(&channel.repo_url), line(&channel.key_url));
    let file = format!("/etc/yum.repos.d/rpmfarm-{target}-{name}.repo");
    format!(
        "{title}
  revision   {revision}, {packages} packages, published {published}
  .repo file {repo}
  key        {key}
  use with dnf:
    curl -fsSo {file} {repo}
    rpm --import {key}
    dnf install PACKAGE
",
        title = console::style(format!("{target} {name}")).bold(),
        revision = channel.revision,
        packages = channel.packages,
        published = published(channel, now),
    )
}
