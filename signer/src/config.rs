//! What the signer is told: a TOML file, and options that win over it.

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Deserialize;

/// The configuration of `serve`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Directory of the keys.
    pub keys: PathBuf,
    /// Where to listen.
    pub socket: PathBuf,
    /// The log of everything signed.
    pub audit_log: PathBuf,
    /// Users that may ask, beside root and the signer's own.
    pub allow_uids: Vec<u32>,
    /// Keys that are made at start when they are not there.
    pub create: Vec<NewKey>,
}

/// A key to be made.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewKey {
    /// Its name.
    pub name: String,
    /// Its user id, as `Example Linux <security@example.com>`.
    pub uid: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            keys: "/var/lib/rpmfarm/signer/keys".into(),
            socket: "/run/rpmfarm/signer.sock".into(),
            audit_log: "/var/lib/rpmfarm/signer/audit.jsonl".into(),
            allow_uids: Vec::new(),
            create: Vec::new(),
        }
    }
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read or is no such configuration.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("reading the configuration {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("the configuration {}", path.display()))
    }
}

impl std::str::FromStr for NewKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = "expected NAME=UID, as `lab=Example Linux <security@example.com>`";
        let (name, uid) = text.split_once('=').ok_or(expected)?;
        if name.is_empty() || uid.trim().is_empty() {
            return Err(expected.to_owned());
        }
        Ok(Self { name: name.to_owned(), uid: uid.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_documents() {
        let text = "keys = '/k'\nallow_uids = [990]\n[[create]]\nname = 'lab'\nuid = 'Lab <l@x>'\n";
        let config: Config = toml::from_str(text).unwrap();
        assert_eq!((config.keys, config.allow_uids), ("/k".into(), vec![990]));
        assert_eq!(config.create, ["lab=Lab <l@x>".parse::<NewKey>().unwrap()]);
        assert_eq!(config.socket, Config::default().socket);
        assert!(toml::from_str::<Config>("kyes = '/k'").is_err());
        for bad in ["lab", "=Lab <l@x>", "lab=", "lab= "] {
            assert!(bad.parse::<NewKey>().is_err(), "{bad}");
        }
    }
}
