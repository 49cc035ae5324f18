//! The subcommands, one a file.

pub(crate) mod batch;
pub(crate) mod build;
pub(crate) mod cancel;
pub(crate) mod channel;
pub(crate) mod claim;
pub(crate) mod completions;
pub(crate) mod doctor;
pub(crate) mod files;
pub(crate) mod list;
pub(crate) mod lock;
pub(crate) mod log;
pub(crate) mod man;
pub(crate) mod modify;
pub(crate) mod package;
pub(crate) mod priority;
pub(crate) mod repo;
pub(crate) mod retry;
pub(crate) mod show;
pub(crate) mod source;
pub(crate) mod target;
pub(crate) mod track;
pub(crate) mod version;
pub(crate) mod watch;
pub(crate) mod why;
pub(crate) mod worker;

use crate::args::{Cli, Command};
use crate::client::Client;
use crate::config::{Settings, filled};
use crate::exit::{Error, Exit};
use crate::out::StandardOutput;

/// The parts that most subcommands need.
pub(crate) struct Session {
    pub(crate) client: Client,
    pub(crate) settings: Settings,
    pub(crate) out: StandardOutput,
}

impl Session {
    /// The target that a call is for: the one that the command line or the configuration names, or
    /// the only one of the farm.
    pub(crate) async fn target(&mut self, given: Option<String>) -> Result<String, Error> {
        if let Some(target) = filled(given).or_else(|| self.settings.target.take()) {
            return Ok(target);
        }
        let mut names: Vec<String> =
            self.client.targets().await?.into_iter().map(|target| target.name).collect();
        match names.len() {
            0 => Err(Error::Usage("no target: the farm has none yet (docs/targets.md)".into())),
            1 => Ok(names.remove(0)),
            _ => Err(Error::Usage(format!(
                "no target: name one of {} with --target, RPMFARM_TARGET or `target` in the \
                 configuration file",
                names.join(", ")
            ))),
        }
    }
}

/// Does what the command line says.
pub(crate) async fn run(cli: Cli, out: StandardOutput) -> Result<Exit, Error> {
    match cli.command {
        Command::Completions(options) => return completions::run(&options, &out),
        Command::Man(options) => return man::run(&options, &out),
        _ => {}
    }
    let settings = Settings::load(&cli.global)?;
    match cli.command {
        Command::Doctor(options) => return Box::pin(doctor::run(&options, &settings, &out)).await,
        Command::Version(_) => return Box::pin(version::run(&settings, &out)).await,
        _ => {}
    }
    let client = Client::connect(&settings).await?;
    Box::pin(call(cli.command, Session { client, settings, out })).await
}

/// The subcommands that need the coordinator.
async fn call(command: Command, session: Session) -> Result<Exit, Error> {
    match command {
        Command::Target(options) => target::run(options, session).await,
        Command::Build(options) => Box::pin(build::run(options, session)).await,
        Command::Batch(options) => Box::pin(batch::run(options, session)).await,
        Command::List(options) => list::run(options, session).await,
        Command::Show(options) => show::run(options, session).await,
        Command::Why(options) => why::run(options, session).await,
        Command::Priority(options) => priority::run(options, session).await,
        Command::Watch(options) => Box::pin(watch::run(options, session)).await,
        Command::Log(options) => log::run(options, session).await,
        Command::Cancel(options) => cancel::run(options, session).await,
        Command::Retry(options) => retry::run(options, session).await,
        Command::Files(options) => files::run(options, session).await,
        Command::Lock(options) => lock::run(options, session).await,
        Command::Modify(options) => modify::run(options, session).await,
        Command::Source(options) => source::run(options, session).await,
        Command::Repo(options) => repo::run(options, session).await,
        Command::Channel(options) => channel::run(options, session).await,
        Command::Track(options) => track::run(options, session).await,
        Command::Claim(options) => claim::run(options, session).await,
        Command::Package(options) => Box::pin(package::run(options, session)).await,
        Command::Worker(options) => worker::run(options, session).await,
        Command::Doctor(_) | Command::Completions(_) | Command::Man(_) | Command::Version(_) => {
            unreachable!("done without the coordinator")
        }
    }
}
