//! External repositories: what build roots are solved against besides the farm's own builds.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Template;
use crate::Arch;

/// One RPM repository, `[[repositories]]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Repository {
    /// Its name in locks and messages: letters, digits, `.`, `_`, `-`. `farm` is taken by the
    /// farm's own builds.
    pub id: String,

    /// URL of the directory that holds `repodata/`, with `{arch}` for the architecture.
    pub baseurl: Template,

    /// Every package must be signed by one of `keys`; checked when it enters the farm's cache.
    #[serde(default = "yes")]
    pub gpgcheck: bool,

    /// `repomd.xml.asc` must be there and be made by one of `keys`.
    #[serde(default)]
    pub repo_gpgcheck: bool,

    /// The public keys: each a file (absolute, or relative to the target file), or the armored
    /// key itself.
    #[serde(default)]
    pub keys: Vec<KeySource>,

    /// Which repository wins when several have a package of the same name: the one with the
    /// lowest number, whatever the versions are.
    #[serde(default = "default_priority")]
    pub priority: u32,

    /// Names of packages that are treated as if they were not there; `*` and `?` as in a shell.
    #[serde(default)]
    pub excludes: Vec<String>,

    /// Shows its packages whatever module streams are active, as dnf's key of this name.
    #[serde(default)]
    pub module_hotfixes: bool,

    /// Accepts a repository that is reached by plain `http` and checks no signature at all:
    /// whoever sits in between can then change what goes into the build roots.
    #[serde(default)]
    pub insecure: bool,
}

impl Repository {
    /// The URL for one architecture, ending in `/`.
    #[must_use]
    pub fn url(&self, arch: Arch) -> String {
        let mut url = self.baseurl.expand(&[("arch", arch.as_str())]);
        if !url.ends_with('/') {
            url.push('/');
        }
        url
    }
}

const fn yes() -> bool {
    true
}

/// As dnf has it when nothing is said.
const fn default_priority() -> u32 {
    99
}

/// Where a public key comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum KeySource {
    /// A file with an armored or binary key, relative to the directory of the target file.
    File(PathBuf),
    /// The armored key itself.
    Armored(String),
}

/// How an armored public key begins.
const ARMOR: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";

impl KeySource {
    /// The file to read, if it is one; `targets` is the directory of the target file.
    #[must_use]
    pub fn file(&self, targets: &Path) -> Option<PathBuf> {
        match self {
            Self::File(path) => Some(targets.join(path)),
            Self::Armored(_) => None,
        }
    }
}

impl From<String> for KeySource {
    fn from(text: String) -> Self {
        if text.trim_start().starts_with(ARMOR) {
            Self::Armored(text)
        } else {
            Self::File(text.into())
        }
    }
}

impl From<KeySource> for String {
    fn from(key: KeySource) -> Self {
        match key {
            KeySource::File(path) => path.to_string_lossy().into_owned(),
            KeySource::Armored(text) => text,
        }
    }
}
