//! `rpmfarm priority`: makes builds more or less urgent.

use clap::Args;
use rpmfarm_core::queue::PriorityClass;

use super::{Session, build};
use crate::exit::{Error, Exit};

/// Builds and their new priority.
#[derive(Debug, Args)]
#[command(after_help = "\
Tasks that wait get a new place in their queues; running tasks continue.

Examples:
  rpmfarm priority security 7
  rpmfarm priority mass 8 9 10")]
pub(crate) struct Options {
    /// security, interactive, tracking or mass
    #[arg(value_name = "CLASS")]
    priority: PriorityClass,
    /// Numbers of builds
    #[arg(required = true, value_name = "BUILD", value_parser = clap::value_parser!(i64).range(1..))]
    builds: Vec<i64>,
}

/// Changes one build after the other; stops at the first that has ended.
pub(crate) async fn run(options: Options, mut session: Session) -> Result<Exit, Error> {
    let mut builds = Vec::new();
    for id in options.builds {
        builds.push(session.client.set_priority(id, options.priority).await?);
    }
    build::print(&builds, &session.out)?;
    Ok(Exit::Done)
}
