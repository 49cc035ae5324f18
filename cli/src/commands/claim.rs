//! `rpmfarm claim`: decisions on builds that make names of other source packages.

use clap::{Args, Subcommand};
use rpmfarm_core::name::counted;
use rpmfarm_proto::v1;

use super::Session;
use super::build::submitter;
use crate::config::filled;
use crate::document::BuildsDocument;
use crate::document::packages::{ClaimDetailsDocument, ClaimListDocument};
use crate::exit::{Error, Exit};
use crate::show::table::{Column, cell, column, number, state, table};
use crate::show::{escape, time, wrap};

/// What to do.
#[derive(Debug, Args)]
#[command(after_help = "\
A build that claims something owned by another source package (a name, something provided or
obsoleted, a file of the base root) is kept out of the pool and the channels until somebody decides.
A package that is known to replace another one can be listed in the target:
[packages.NAME] may_own = [...]

Examples:
  rpmfarm claim list
  rpmfarm claim show 7
  rpmfarm claim approve 7 --reason 'replaces gcc'
  rpmfarm claim refuse 7 --reason 'nobody knows why it provides gcc'")]
pub(crate) struct Options {
    #[command(subcommand)]
    what: Option<ClaimCommand>,
}

#[derive(Debug, Subcommand)]
enum ClaimCommand {
    /// List the builds that wait for a decision
    List(ListOptions),
    /// Show the claims of a build, their owners, and the packages whose roots would change
    Show {
        /// Number of the build
        #[arg(value_parser = clap::value_parser!(i64).range(1..))]
        build: i64,
    },
    /// Approve the claims of a build; its source package is the owner from then on
    Approve(DecideOptions),
    /// Refuse the claims; the build then fails
    Refuse(DecideOptions),
}

#[derive(Debug, Default, Args)]
struct ListOptions {
    /// Only builds of this target
    #[arg(long, env = "RPMFARM_TARGET", hide_env_values = true)]
    target: Option<String>,
    /// Also builds that were decided on
    #[arg(long)]
    all: bool,
}

#[derive(Debug, Args)]
struct DecideOptions {
    /// Number of the build
    #[arg(value_parser = clap::value_parser!(i64).range(1..))]
    build: i64,
    /// The reason, for the record
    #[arg(long)]
    reason: String,
}

const LIST: [Column; 5] = [
    column("BUILD"),
    column("TARGET").rank(1),
    column("PACKAGE"),
    column("STATE"),
    column("CLAIMS").wrapped(),
];

/// Runs the subcommand.
pub(crate) async fn run(options: Options, session: Session) -> Result<Exit, Error> {
    match options.what.unwrap_or(ClaimCommand::List(ListOptions::default())) {
        ClaimCommand::List(options) => list(options, session).await,
        ClaimCommand::Show { build } => show(build, session).await,
        ClaimCommand::Approve(options) => decide(options, true, session).await,
        ClaimCommand::Refuse(options) => decide(options, false, session).await,
    }
}

async fn list(options: ListOptions, mut session: Session) -> Result<Exit, Error> {
    let target = filled(options.target).unwrap_or_default();
    let request = v1::ListClaimsRequest { target, all: options.all };
    let builds = session.client.claims(request).await?;
    let out = session.out;
    if out.json {
        out.document(&ClaimListDocument::from(builds.as_slice()))?;
    } else if builds.is_empty() {
        out.line("no build waits for a decision")?;
    } else {
        let rows: Vec<_> = builds.iter().map(row).collect();
        out.text(&table(&out, &LIST, &rows))?;
    }
    Ok(Exit::Done)
}

fn row(build: &v1::ClaimedBuild) -> Vec<crate::show::table::Cell> {
    let first: Vec<&str> = build.claims.iter().map(|claim| claim.text.as_str()).collect();
    let more = (build.count as usize).saturating_sub(first.len());
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    vec![
        number(build.build),
        cell(&build.target),
        cell(&build.package),
        state(&build.state),
        cell(format!("{}{more}", first.join("; "))),
    ]
}

async fn show(build: i64, mut session: Session) -> Result<Exit, Error> {
    let details = session.client.claim(build).await?;
    let out = &session.out;
    if out.json {
        out.document(&ClaimDetailsDocument::from(&details))?;
        return Ok(Exit::Done);
    }
    let build = details.build.clone().unwrap_or_default();
    out.line(&format!(
        "build {}: {} for {}, {}",
        build.build,
        escape::line(&build.package),
        escape::line(&build.target),
        escape::line(&build.state)
    ))?;
    let width = out.width();
    for claim in &build.claims {
        out.text(&wrap::hanging("  ", &claim.text, 4, width))?;
    }
    for v1::ClaimDecision { word, who, reason, at_us } in &build.decisions {
        let line = format!("{word} by {who}, {}: {reason}", time::point(*at_us));
        out.text(&wrap::hanging("  ", &line, 4, width))?;
    }
    let affected = &details.affected;
    let count = counted(affected.len(), "package");
    out.line(&format!("roots of {count} hold what is claimed{}", end(affected.len())))?;
    for v1::AffectedPackage { package, build, holds } in affected {
        let line = format!("{package} (build {build}): {}", holds.join(", "));
        out.text(&wrap::hanging("  ", &line, 4, width))?;
    }
    Ok(Exit::Done)
}

const fn end(count: usize) -> &'static str {
    if count == 0 { "" } else { ":" }
}

async fn decide(
    options: DecideOptions,
    approve: bool,
    mut session: Session,
) -> Result<Exit, Error> {
    let DecideOptions { build, reason } = options;
    let request = v1::DecideClaimRequest { build, approve, reason, who: submitter() };
    let build = session.client.decide_claim(request).await?;
    if session.out.json {
        session.out.document(&BuildsDocument::new(std::slice::from_ref(&build), time::now()))?;
    } else {
        let (package, state) = (escape::line(&build.package), escape::line(&build.state));
        session.out.line(&format!("build {}: {package}, {state}", build.id))?;
    }
    Ok(Exit::Done)
}
