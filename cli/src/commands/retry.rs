//! `rpmfarm retry`: retries failed builds.

use clap::Args;

use super::{Session, build, watch};
use crate::exit::{Error, Exit};

/// Builds to try again.
#[derive(Debug, Args)]
#[command(after_help = "\
The sources stay those of the first try: after a new commit, ask for a new build.

Examples:
  rpmfarm retry 7
  rpmfarm retry 7 8 --watch")]
pub(crate) struct Options {
    /// Numbers of builds
    #[arg(required = true, value_name = "BUILD", value_parser = clap::value_parser!(i64).range(1..))]
    builds: Vec<i64>,
    /// Follow the builds until they end
    #[arg(long)]
    watch: bool,
}

/// Retries one build after the other; stops at the first that cannot be retried.
pub(crate) async fn run(options: Options, mut session: Session) -> Result<Exit, Error> {
    let mut builds = Vec::new();
    for id in options.builds {
        builds.push(session.client.retry(id).await?);
    }
    if options.watch {
        return watch::follow_all(session, &builds).await;
    }
    build::print(&builds, &session.out)?;
    Ok(Exit::Done)
}
