//! `rpmfarm cancel`: stops builds.

use clap::Args;

use super::Session;
use crate::document::BuildsDocument;
use crate::exit::{Error, Exit};
use crate::show::{escape, time};

/// Builds to cancel.
#[derive(Debug, Args)]
#[command(after_help = "\
What a build has published stays published.

Examples:
  rpmfarm cancel 7
  rpmfarm cancel 7 8 9")]
pub(crate) struct Options {
    /// Numbers of builds
    #[arg(required = true, value_name = "BUILD", value_parser = clap::value_parser!(i64).range(1..))]
    builds: Vec<i64>,
}

/// Cancels one build after the other; stops at the first that cannot be cancelled.
pub(crate) async fn run(options: Options, mut session: Session) -> Result<Exit, Error> {
    let mut builds = Vec::new();
    for id in options.builds {
        let build = session.client.cancel(id).await?;
        if !session.out.json {
            let (package, state) = (escape::line(&build.package), escape::line(&build.state));
            session.out.line(&format!("build {id}: {package}, {state}"))?;
        }
        builds.push(build);
    }
    if session.out.json {
        session.out.document(&BuildsDocument::new(&builds, time::now()))?;
    }
    Ok(Exit::Done)
}
