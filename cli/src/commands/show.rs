//! `rpmfarm show`: everything about one build.

use clap::Args;

use super::Session;
use crate::document::BuildDocument;
use crate::exit::{Error, Exit};
use crate::show::{build, time};

/// A build.
#[derive(Debug, Args)]
#[command(after_help = "\
Shows stages with their times, tasks by architecture, packages, where they are published; for a
failed build what failed, whose fault it is, the lines of the log that show it, and what to do.

Examples:
  rpmfarm show 7
  rpmfarm show 7 --json | jq -r '.failure.message'")]
pub(crate) struct Options {
    /// Number of the build
    #[arg(value_parser = clap::value_parser!(i64).range(1..))]
    build: i64,
}

pub(crate) async fn run(options: Options, mut session: Session) -> Result<Exit, Error> {
    let shown = session.client.build(options.build).await?;
    let now = time::now();
    if session.out.json {
        session.out.document(&BuildDocument::new(&shown, now))?;
    } else {
        session.out.text(&build::text(&shown, &session.out, now))?;
    }
    Ok(Exit::Done)
}
