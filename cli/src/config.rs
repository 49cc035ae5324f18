//! The settings of one call: options first, then the environment, then the user's file, then
//! the host's.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::args::Global;
use crate::exit::{Error, reason};
use crate::token::TokenSource;

/// The default address of the coordinator.
const DEFAULT_SERVER: &str = "http://127.0.0.1:7878";

/// The file for everybody on the host.
const HOST_FILE: &str = "/etc/rpmfarm/cli.toml";

/// A configuration file: everything in it is optional.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigFile {
    /// Address of the coordinator.
    server: Option<String>,
    /// File that holds the token.
    token_file: Option<PathBuf>,
    /// File with the certificate authority of the coordinator.
    ca_file: Option<PathBuf>,
    /// The target of `build` when none is named.
    target: Option<String>,
}

/// The settings of this call.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Address of the coordinator; of several, separated by commas.
    pub(crate) server: String,
    /// Where its token is.
    pub(crate) token: TokenSource,
    /// The certificate authority of the coordinator; the host's own when there is none.
    pub(crate) ca_file: Option<PathBuf>,
    /// The target of `build` when none is named.
    pub(crate) target: Option<String>,
}

impl Settings {
    /// The addresses of the coordinators, in the order in which they are tried.
    pub(crate) fn servers(&self) -> Vec<String> {
        let servers = self.server.split(',').map(str::trim).filter(|server| !server.is_empty());
        servers.map(str::to_owned).collect()
    }

    /// Reads the files and puts the settings together.
    ///
    /// # Errors
    /// When a file is there and cannot be read or understood.
    pub(crate) fn load(global: &Global) -> Result<Self, Error> {
        let user = user_directory();
        let own = user.as_deref().map(|dir| read(&dir.join("config.toml"))).transpose()?;
        let own = own.unwrap_or_default();
        let host = read(Path::new(HOST_FILE))?;
        Ok(Self {
            server: filled(global.server.clone())
                .or(own.server)
                .or(host.server)
                .unwrap_or_else(|| DEFAULT_SERVER.into()),
            token: TokenSource::choose(
                global.token_file.clone(),
                own.token_file.or(host.token_file),
                user.as_deref(),
            ),
            ca_file: filled_path(global.ca_file.clone())
                .or(own.ca_file)
                .or(host.ca_file)
                .or_else(|| user.map(|dir| dir.join("ca.pem")).filter(|file| file.exists())),
            target: own.target.or(host.target),
        })
    }
}

/// `$XDG_CONFIG_HOME/rpmfarm`, or its default.
fn user_directory() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("XDG_CONFIG_HOME")
        .or_else(|| set("HOME").map(|home| home.join(".config")))
        .map(|dir| dir.join("rpmfarm"))
}

fn read(path: &Path) -> Result<ConfigFile, Error> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(ConfigFile::default());
        }
        Err(error) => {
            return Err(Error::Usage(format!(
                "cannot read {}: {}",
                path.display(),
                reason(&error)
            )));
        }
    };
    toml::from_str(&text).map_err(|error| {
        let what = error.message();
        let line = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
        Error::Usage(format!("{} line {line}: {what}", path.display()))
    })
}

fn filled_path(value: Option<PathBuf>) -> Option<PathBuf> {
    value.filter(|value| !value.as_os_str().is_empty())
}

/// An empty variable of the environment counts as not set.
pub(crate) fn filled(value: Option<String>) -> Option<String> {
    value.filter(|value| !value.is_empty())
}
