//! `rpmfarm channel`: what the next content of a channel would break, and accepting it.

use clap::{Args, Subcommand};
use rpmfarm_proto::v1;

use super::Session;
use super::build::submitter;
use crate::document::channel_problems::{AcceptedProblemDocument, ChannelProblemsDocument};
use crate::exit::{Error, Exit};
use crate::out::StandardOutput;
use crate::show::{escape, time, wrap};

/// What to do.
#[derive(Debug, Args)]
#[command(after_help = "\
Before a channel changes, the farm looks for what the change would break: requirements that nothing
provides any more, packages that cannot be installed or upgraded, files that two packages have with
different content. A build that would bring a new problem is held back; docs/proof.md has the rules.

Examples:
  rpmfarm channel problems lab testing
  rpmfarm channel accept-problem lab testing --kind lost --package app --reason 'rebuilt tomorrow'
  rpmfarm channel accept-problem lab testing --kind files --package app --what /usr/bin/app \\
      --until 2026-12-31 --reason 'nobody installs both'")]
pub(crate) struct Options {
    #[command(subcommand)]
    what: ChannelCommand,
}

#[derive(Debug, Subcommand)]
enum ChannelCommand {
    /// Show what the next content of a channel would break
    Problems(ChannelSelection),
    /// Accept a problem, so that it holds nothing back
    AcceptProblem(AcceptOptions),
}

#[derive(Debug, Args)]
struct ChannelSelection {
    /// Name of the target
    target: String,
    /// Name of the channel
    channel: String,
}

#[derive(Debug, Args)]
struct AcceptOptions {
    #[command(flatten)]
    which: ChannelSelection,
    /// The kind of problem: requires, lost, install, upgrade, files or owner
    #[arg(long)]
    kind: String,
    /// Name of the package that has it, without version
    #[arg(long)]
    package: String,
    /// The requirement, path or reason, as `channel problems --json` shows it [default: any]
    #[arg(long, default_value_t, hide_default_value = true)]
    what: String,
    /// The end of the acceptance [default: it has no end]
    #[arg(long, value_name = "DATE", value_parser = time::parse)]
    until: Option<i64>,
    /// The reason, for the record
    #[arg(long)]
    reason: String,
}

/// Runs the subcommand.
pub(crate) async fn run(options: Options, session: Session) -> Result<Exit, Error> {
    match options.what {
        ChannelCommand::Problems(options) => problems(options, session).await,
        ChannelCommand::AcceptProblem(options) => accept(options, session).await,
    }
}

async fn problems(which: ChannelSelection, mut session: Session) -> Result<Exit, Error> {
    let ChannelSelection { target, channel } = which;
    let request = v1::GetProblemsRequest { target, channel };
    let found = session.client.channel_problems(request).await?;
    if session.out.json {
        session.out.document(&ChannelProblemsDocument::from(&found))?;
    } else {
        print(&found, &session.out)?;
    }
    Ok(Exit::Done)
}

fn print(found: &v1::ChannelProblems, out: &StandardOutput) -> Result<(), Error> {
    let v1::ChannelProblems { target, channel, proved_us, total, .. } = found;
    let name = format!("{} of {}", escape::line(channel), escape::line(target));
    if *proved_us == 0 {
        return out.line(&format!("{name} was never proved"));
    }
    let at = time::point(*proved_us);
    if !found.unproven.is_empty() {
        let line = format!("{name} could not be checked, {at}: {}", found.unproven);
        out.text(&wrap::hanging("", &line, 2, out.width()))?;
    } else if *total == 0 {
        out.line(&format!("no new problems in {name}, {at}"))?;
    } else {
        out.line(&format!("{total} new in {name}, {at}:"))?;
    }
    for problem in &found.problems {
        let accepted = if problem.accepted { " (accepted)" } else { "" };
        let arches = problem.arches.join(", ");
        let line = format!("{}: {} on {arches}{accepted}", problem.kind, problem.text);
        out.text(&wrap::hanging("  ", &line, 4, out.width()))?;
        for line in &problem.chain {
            out.text(&wrap::hanging("      ", line, 8, out.width()))?;
        }
    }
    for one in &found.accepted {
        out.text(&wrap::hanging("", &accepted_line(one), 2, out.width()))?;
    }
    Ok(())
}

fn accepted_line(one: &v1::AcceptedProblem) -> String {
    let v1::AcceptedProblem { kind, package, what, until_us, who, reason, .. } = one;
    let what = if what.is_empty() { String::new() } else { format!(" {what}") };
    let until = match until_us {
        0 => String::new(),
        until => format!(" until {}", time::point(*until)),
    };
    format!("accepted: {kind} of {package}{what}{until}, by {who}: {reason}")
}

async fn accept(options: AcceptOptions, mut session: Session) -> Result<Exit, Error> {
    let AcceptOptions { which, kind, package, what, until, reason } = options;
    let ChannelSelection { target, channel } = which;
    let request = v1::AcceptProblemRequest {
        target,
        channel,
        kind,
        package,
        what,
        until_us: until.unwrap_or_default(),
        who: submitter(),
        reason,
    };
    let accepted = session.client.accept_problem(request).await?;
    if session.out.json {
        session.out.document(&AcceptedProblemDocument::from(&accepted))?;
    } else {
        session.out.text(&wrap::hanging("", &accepted_line(&accepted), 2, session.out.width()))?;
    }
    Ok(Exit::Done)
}
