//! `rpmfarm version`: of this command and of the coordinator.

use clap::Args;

use crate::client::Client;
use crate::config::Settings;
use crate::document::VersionsDocument;
use crate::exit::{Error, Exit};
use crate::out::StandardOutput;
use crate::show::escape;

/// Nothing to choose.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rpmfarm version
  rpmfarm version --json | jq -r .client")]
pub(crate) struct Options {}

/// Prints both versions; a coordinator that cannot be reached is not an error here.
pub(crate) async fn run(settings: &Settings, out: &StandardOutput) -> Result<Exit, Error> {
    let client = env!("CARGO_PKG_VERSION");
    let coordinator = coordinator(settings).await;
    if out.json {
        out.document(&VersionsDocument {
            client,
            server: settings.server.clone(),
            coordinator: coordinator.ok(),
        })?;
        return Ok(Exit::Done);
    }
    let at = &settings.server;
    let other = match coordinator {
        Ok(version) => format!("coordinator {} at {at}", escape::line(&version)),
        Err(error) => format!("coordinator unknown: {}", escape::line(&error.to_string())),
    };
    out.line(&format!("rpmfarm {client}\n{other}"))?;
    Ok(Exit::Done)
}

async fn coordinator(settings: &Settings) -> Result<String, Error> {
    Ok(Client::connect(settings).await?.info().await?.version)
}
