//! `rpmfarm list`: builds, newest first.

use clap::{Args, ValueEnum};
use rpmfarm_core::status::{BuildState, StateFilter};
use rpmfarm_proto::v1::{self, Build, ListBuildsRequest};

use super::Session;
use crate::client::Client;
use crate::document::BuildsDocument;
use crate::exit::{Error, Exit};
use crate::out;
use crate::show::table::{Column, cell, column, number, state, table};
use crate::show::{progress, time, wrap};

/// The columns; on a narrow terminal those of the highest ranks go first.
const COLUMNS: [Column; 9] = [
    column("BUILD"),
    column("PACKAGE").cut(10),
    column("VERSION").rank(1).cut(8),
    column("TARGET").rank(5).cut(8),
    column("PRIORITY").rank(6),
    column("STATE"),
    column("ASKED").rank(4),
    column("TOOK").rank(3),
    column("WHAT").rank(2).cut(20),
];

/// How many builds are requested at once with all of their details.
const PAGE: u32 = 200;

/// Rows of the table that are asked for at once.
const ROWS: u32 = 1000;

/// Which builds.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rpmfarm list --state failed
  rpmfarm list --target lab --package hello --limit 5
  rpmfarm list --state running --json | jq -r '.builds[] | \"\\(.id) \\(.package) \\(.state)\"'")]
pub(crate) struct Options {
    /// Only builds for this target
    #[arg(long)]
    target: Option<String>,
    /// Only builds of this package
    #[arg(long)]
    package: Option<String>,
    /// Only builds in this state
    #[arg(long)]
    state: Option<StateOption>,
    /// The most builds to list
    #[arg(long, default_value_t = 50, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
}

/// The states that matter for a list; what has not ended is running.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum StateOption {
    Running,
    Published,
    Failed,
    Cancelled,
}

impl From<StateOption> for StateFilter {
    fn from(state: StateOption) -> Self {
        match state {
            StateOption::Running => Self::Running,
            StateOption::Published => Self::In(BuildState::Published),
            StateOption::Failed => Self::In(BuildState::Failed),
            StateOption::Cancelled => Self::In(BuildState::Cancelled),
        }
    }
}

pub(crate) async fn run(options: Options, mut session: Session) -> Result<Exit, Error> {
    let out = session.out;
    // A table shows a few facts of each build, a document all.
    let builds = all(&mut session.client, &options, !out.json).await?;
    let now = time::now();
    if out.json {
        out.document(&BuildsDocument::new(&builds, now))?;
    } else if builds.is_empty() {
        out.line("no builds")?;
    } else {
        let rows: Vec<_> = builds.iter().map(|build| row(build, now)).collect();
        out.text(&table(&out, &COLUMNS, &rows))?;
    }
    Ok(Exit::Done)
}

/// Requests page after page.
async fn all(client: &mut Client, options: &Options, brief: bool) -> Result<Vec<Build>, Error> {
    let (limit, most) = (options.limit as usize, if brief { ROWS } else { PAGE });
    let mut request = ListBuildsRequest {
        target: options.target.clone().unwrap_or_default(),
        package: options.package.clone().unwrap_or_default(),
        state: options.state.map(StateFilter::from).unwrap_or_default().to_string(),
        limit: 0,
        before: 0,
        brief,
    };
    let mut builds: Vec<Build> = Vec::new();
    while builds.len() < limit {
        request.limit = most.min(u32::try_from(limit - builds.len()).unwrap_or(most));
        let v1::ListBuildsReply { builds: page, note } = client.builds(request.clone()).await?;
        if !note.is_empty() {
            out::note(wrap::hanging("rpmfarm: ", &note, 2, None).trim_end());
        }
        // A page that does not lead further would be requested forever.
        let Some(last) = page.last().map(|build| build.id) else { break };
        if request.before != 0 && last >= request.before {
            break;
        }
        request.before = last;
        builds.extend(page);
    }
    builds.truncate(limit);
    Ok(builds)
}

fn row(build: &Build, now: i64) -> Vec<crate::show::table::Cell> {
    let what = progress::build(build);
    let what = what.strip_prefix(build.state.as_str()).unwrap_or(&what);
    vec![
        number(build.id),
        cell(&build.package),
        cell(progress::version(build)),
        cell(&build.target),
        cell(&build.priority),
        state(&build.state),
        cell(time::ago(build.created_us, now)),
        number(time::duration(progress::last_try_took(build, now))),
        cell(what.trim_start_matches(':').trim()),
    ]
}
