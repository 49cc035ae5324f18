//! `rpmfarm why`: why a build is in its state, and when it continues.

use clap::Args;

use super::Session;
use crate::document::WhyDocument;
use crate::exit::{Error, Exit};
use crate::show::{time, why};

/// A build.
#[derive(Debug, Args)]
#[command(after_help = "\
Says for each task of the build what it waits for, how many tasks go first, and when it will start
as far as that is known from earlier builds.

Examples:
  rpmfarm why 7
  rpmfarm why 7 --json | jq -r '.reasons[] | \"\\(.code): \\(.text)\"'")]
pub(crate) struct Options {
    /// Number of the build
    #[arg(value_parser = clap::value_parser!(i64).range(1..))]
    build: i64,
}

pub(crate) async fn run(options: Options, mut session: Session) -> Result<Exit, Error> {
    let reply = session.client.why(options.build).await?;
    if session.out.json {
        session.out.document(&WhyDocument::from(&reply))?;
    } else {
        session.out.text(&why::text(&reply, session.out.width(), time::now()))?;
    }
    Ok(Exit::Done)
}
