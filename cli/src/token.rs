//! The token, which guards the calls that write, and on other hosts than the coordinator's own also
//! those that read: where it is searched for, and how it is read.

use std::io;
use std::path::{Path, PathBuf};

use crate::exit::{Error, reason};

/// Where a coordinator on the same host keeps its token.
const HOST_TOKEN: &str = "/var/lib/rpmfarm/token";

/// The source of the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TokenSource {
    /// From the environment.
    Given(String),
    /// From the named file.
    File(PathBuf),
    /// No source is named: the user's file, if it exists, or else the host's.
    Search(Vec<PathBuf>),
}

/// A token, and where it was found.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Token {
    /// The token itself. Never printed.
    pub(crate) secret: String,
    pub(crate) origin: String,
}

impl TokenSource {
    /// An option takes precedence over the environment, and that over a configuration file.
    pub(crate) fn choose(
        option: Option<PathBuf>,
        configured: Option<PathBuf>,
        user_directory: Option<&Path>,
    ) -> Self {
        let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        if let Some(file) = option {
            return Self::File(file);
        }
        if let Some(token) = set("RPMFARM_TOKEN") {
            return Self::Given(token);
        }
        if let Some(file) = set("RPMFARM_TOKEN_FILE").map(PathBuf::from).or(configured) {
            return Self::File(file);
        }
        let own = user_directory.map(|dir| dir.join("token"));
        Self::Search(own.into_iter().chain([HOST_TOKEN.into()]).collect())
    }

    /// Reads the token for a call to `server`.
    ///
    /// The host's own token goes only to a coordinator on this host: somebody who makes a user call
    /// another address must not get it.
    ///
    /// # Errors
    /// When there is no file, or it cannot be read, or does not hold a token.
    pub(crate) fn read(&self, server: &str) -> Result<Token, Error> {
        match self {
            Self::Given(secret) => checked(secret, "the variable RPMFARM_TOKEN".into()),
            Self::File(path) => read_file(path)?
                .ok_or_else(|| Error::Token(format!("there is no token file {}", path.display()))),
            Self::Search(paths) => search(paths, server),
        }
    }
}

fn search(paths: &[PathBuf], server: &str) -> Result<Token, Error> {
    let local = is_local(server);
    let usable = paths.iter().filter(|path| local || path.as_path() != Path::new(HOST_TOKEN));
    let mut tried = Vec::new();
    for path in usable {
        if let Some(token) = read_file(path)? {
            return Ok(token);
        }
        tried.push(path.display().to_string());
    }
    Err(Error::Token(format!(
        "this needs a token for {server} and none was found (searched for {}); copy the coordinator's token there, or name it with --token-file or RPMFARM_TOKEN",
        tried.join(", ")
    )))
}

fn read_file(path: &Path) -> Result<Option<Token>, Error> {
    match std::fs::read_to_string(path) {
        Ok(text) => checked(&text, path.display().to_string()).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::Token(format!(
            "cannot read the token {}: {}; run as its owner, or name another one with --token-file or RPMFARM_TOKEN",
            path.display(),
            reason(&error)
        ))),
    }
}

fn checked(text: &str, origin: String) -> Result<Token, Error> {
    let secret = text.trim();
    if secret.is_empty() || !secret.chars().all(|c| c.is_ascii_graphic()) {
        return Err(Error::Token(format!(
            "{origin} holds no token (one word of ASCII letters, digits and signs)"
        )));
    }
    Ok(Token { secret: secret.into(), origin })
}

/// Whether an address is on this host.
pub(crate) fn is_local(server: &str) -> bool {
    let rest = server.split_once("://").map_or(server, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_is_this_host_only() {
        for local in ["http://127.0.0.1:7878", "http://localhost", "http://[::1]:1/", "127.0.0.2"] {
            assert!(is_local(local), "{local}");
        }
        for remote in [
            "http://farm.example:7878",
            "http://127.0.0.1.example",
            "http://localhost@farm.example",
            "http://10.0.0.1/127.0.0.1",
        ] {
            assert!(!is_local(remote), "{remote}");
        }
    }

    #[test]
    fn the_hosts_token_stays_on_the_host() {
        let source = TokenSource::Search(vec![HOST_TOKEN.into()]);
        let error = source.read("http://farm.example:7878").err();
        let message = error.map(|error| error.to_string()).unwrap_or_default();
        assert!(message.contains("none was found") && !message.contains(HOST_TOKEN), "{message}");
    }

    #[test]
    fn a_token_is_one_word() {
        assert_eq!(checked(" abc\n", "x".into()).expect("a word").secret, "abc");
        for bad in ["", " \n", "two words", "a\u{1b}b", "é"] {
            assert!(checked(bad, "x".into()).is_err(), "{bad:?}");
        }
    }
}
