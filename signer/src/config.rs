//! The configuration of the signer: a TOML file, and options that take precedence over it.

use std::path::{Path, PathBuf};

use anyhow::Context;
use rpmfarm_core::signing::KeyBindings;
use serde::Deserialize;

/// The default rate of signatures a minute: a farm that signs a whole distribution again makes some
/// thousand.
const PER_MINUTE: u32 = 6000;

/// The configuration of `serve`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Directory of the keys.
    pub keys: PathBuf,
    pub socket: PathBuf,
    /// The log of everything signed.
    pub audit_log: PathBuf,
    /// Users that may request signatures, in addition to root and the signer's own.
    pub allow_uids: Vec<u32>,
    /// Keys that are made at start when they are missing.
    pub create: Vec<NewKey>,
    /// The targets that each key may sign for; a key without an entry signs for any.
    pub bind: KeyBindings,
    /// How many signatures are made in a minute, and at once.
    pub per_minute: u32,
    /// The coordinator's blob store, if the signer reads each package itself.
    pub blobs: Option<PathBuf>,
    /// Files with the public keys of acceptors: a header is signed only if one of them has accepted
    /// its package. Without any, the caller's acceptance is enough.
    pub acceptors: Vec<PathBuf>,
    /// Directory of the signer's memory, and of the operator's switch; by default that of the keys.
    pub state: Option<PathBuf>,
}

/// A key and its targets, as in `--bind`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyBinding {
    /// Name of the key.
    pub key: String,
    /// Names of the targets.
    pub targets: Vec<String>,
}

/// A text that is not a key with its targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected KEY=TARGET,TARGET…, as `lab=lab,lab-next`")]
pub struct KeyBindingError;

/// A key to be made.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewKey {
    pub name: String,
    /// Its user id, as `Example Linux <security@example.com>`.
    pub uid: String,
}

/// A text that is not the name of a key with its user id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected NAME=UID, as `lab=Example Linux <security@example.com>`")]
pub struct NewKeyError;

impl Default for Config {
    fn default() -> Self {
        Self {
            keys: "/var/lib/rpmfarm/signer/keys".into(),
            socket: "/run/rpmfarm/signer.sock".into(),
            audit_log: "/var/lib/rpmfarm/signer/audit.jsonl".into(),
            allow_uids: Vec::new(),
            create: Vec::new(),
            bind: KeyBindings::default(),
            per_minute: PER_MINUTE,
            blobs: None,
            acceptors: Vec::new(),
            state: None,
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

    /// The directory of journal and switch.
    #[must_use]
    pub fn state_dir(&self) -> &Path {
        self.state.as_deref().unwrap_or(&self.keys)
    }
}

impl std::str::FromStr for KeyBinding {
    type Err = KeyBindingError;

    fn from_str(text: &str) -> Result<Self, KeyBindingError> {
        let (key, targets) = text.split_once('=').ok_or(KeyBindingError)?;
        let targets: Vec<String> = targets.split(',').map(|name| name.trim().to_owned()).collect();
        let plain = |word: &str| rpmfarm_core::name::check_package(word).is_ok();
        if !plain(key) || !targets.iter().all(|target| plain(target)) {
            return Err(KeyBindingError);
        }
        Ok(Self { key: key.to_owned(), targets })
    }
}

impl std::str::FromStr for NewKey {
    type Err = NewKeyError;

    fn from_str(text: &str) -> Result<Self, NewKeyError> {
        let (name, uid) = text.split_once('=').ok_or(NewKeyError)?;
        if name.is_empty() || uid.trim().is_empty() {
            return Err(NewKeyError);
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
        assert_eq!((&config.keys, &config.allow_uids), (&"/k".into(), &vec![990]));
        assert_eq!(config.create, ["lab=Lab <l@x>".parse::<NewKey>().unwrap()]);
        assert_eq!(config.socket, Config::default().socket);
        assert_eq!((config.state_dir(), config.per_minute), (Path::new("/k"), PER_MINUTE));
        assert!(toml::from_str::<Config>("kyes = '/k'").is_err());
        let text = "state = '/s'\nblobs = '/b'\nacceptors = ['/a.pub']\nper_minute = 5\n[bind]\nlab = ['lab', 'next']\n";
        let config: Config = toml::from_str(text).unwrap();
        assert_eq!((config.state_dir(), config.per_minute), (Path::new("/s"), 5));
        assert_eq!(config.acceptors, [Path::new("/a.pub")]);
        assert!(config.bind.allow("lab", "next") && !config.bind.allow("lab", "prod"));
        let bind: KeyBinding = "lab=lab,next".parse().unwrap();
        assert_eq!((bind.key.as_str(), bind.targets.len()), ("lab", 2));
        for bad in ["lab", "=lab", "lab=", "lab=a,,b", "lab=a/b"] {
            assert!(bad.parse::<KeyBinding>().is_err(), "{bad}");
        }
        for bad in ["lab", "=Lab <l@x>", "lab=", "lab= "] {
            assert!(bad.parse::<NewKey>().is_err(), "{bad}");
        }
    }
}
