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

    /// URL of the directory that holds `repodata/`, with `{arch}` for the architecture; or a list
    /// of such URLs, of which the next is tried when one fails. Left out where `mirrorlist` or
    /// `metalink` is given.
    #[serde(default)]
    pub baseurl: BaseUrls,

    /// URL of a list of mirrors, with `{arch}`: each line is a URL as in `baseurl`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirrorlist: Option<Template>,

    /// URL of a metalink of `repomd.xml`, with `{arch}`: mirrors by their preference, and the
    /// digests that `repomd.xml` may have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metalink: Option<Template>,

    /// Whether every package must be signed by one of `keys`; checked when the package enters the
    /// farm's cache.
    #[serde(default = "yes")]
    pub gpgcheck: bool,

    /// Whether `repomd.xml.asc` must exist and be made by one of `keys`.
    #[serde(default)]
    pub repo_gpgcheck: bool,

    /// The public keys: each a file (absolute, or relative to the target file), or the armored key
    /// itself.
    #[serde(default)]
    pub keys: Vec<KeySource>,

    /// The priority when several repositories have a package of the same name: the lowest number
    /// wins, whatever the versions are.
    #[serde(default = "default_priority")]
    pub priority: u32,

    /// Of the same package in two repositories of one priority, the one of the lower cost is used.
    #[serde(default = "default_cost")]
    pub cost: u32,

    /// Packages that are hidden, by dnf's patterns: `name`, `name.arch`, `name-version`,
    /// `name-version-release` with `*`, `?` and `[…]` as in a shell. dnf's own names of the key,
    /// `exclude` and `excludepkgs`, mean the same.
    #[serde(default, alias = "exclude", alias = "excludepkgs")]
    pub excludes: Vec<String>,

    /// If there are any, the only packages that are visible, by the same patterns.
    #[serde(default)]
    pub includepkgs: Vec<String>,

    /// Shows its packages whatever module streams are active, as dnf's key of this name.
    #[serde(default)]
    pub module_hotfixes: bool,

    /// Refuses metadata that are older than so many days: a server may show an old state of the
    /// repository, with its valid signatures, to withhold updates. 0 means any age, for
    /// repositories that rarely change.
    #[serde(default)]
    pub max_age_days: u32,

    /// Accepts a repository over plain `http` without any check of signatures: whoever is on the
    /// network path can then change the build roots.
    #[serde(default)]
    pub insecure: bool,
}

impl Default for Repository {
    /// The defaults; without an id and a URL.
    fn default() -> Self {
        Self {
            id: String::new(),
            baseurl: BaseUrls::default(),
            mirrorlist: None,
            metalink: None,
            gpgcheck: yes(),
            repo_gpgcheck: false,
            keys: Vec::new(),
            priority: default_priority(),
            cost: default_cost(),
            excludes: Vec::new(),
            includepkgs: Vec::new(),
            module_hotfixes: false,
            max_age_days: 0,
            insecure: false,
        }
    }
}

impl Repository {
    /// The URLs of `baseurl` for one architecture, each ending in `/`.
    #[must_use]
    pub fn urls(&self, arch: Arch) -> Vec<String> {
        let expand = |template: &Template| {
            let mut url = template.expand(&[("arch", arch.as_str())]);
            if !url.ends_with('/') {
                url.push('/');
            }
            url
        };
        self.baseurl.templates().iter().map(expand).collect()
    }
}

const fn yes() -> bool {
    true
}

/// dnf's default.
const fn default_cost() -> u32 {
    1000
}

/// One URL or several, as a target file has them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "OneOrMany", into = "OneOrMany")]
pub struct BaseUrls(Vec<Template>);

#[derive(Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a URL, or a list of URLs")]
enum OneOrMany {
    One(Template),
    Many(Vec<Template>),
}

impl BaseUrls {
    /// The URLs, in the order in which they are tried.
    #[must_use]
    pub fn templates(&self) -> &[Template] {
        &self.0
    }
}

impl From<&str> for BaseUrls {
    fn from(url: &str) -> Self {
        Self(vec![Template::from(url)])
    }
}

impl From<OneOrMany> for BaseUrls {
    fn from(urls: OneOrMany) -> Self {
        match urls {
            OneOrMany::One(url) => Self(vec![url]),
            OneOrMany::Many(urls) => Self(urls),
        }
    }
}

impl From<BaseUrls> for OneOrMany {
    fn from(BaseUrls(urls): BaseUrls) -> Self {
        match <[Template; 1]>::try_from(urls) {
            Ok([url]) => Self::One(url),
            Err(urls) => Self::Many(urls),
        }
    }
}

/// dnf's default.
const fn default_priority() -> u32 {
    99
}

/// The source of a public key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum KeySource {
    /// A file with an armored or binary key, relative to the directory of the target file.
    File(PathBuf),
    /// The armored key itself.
    Armored(String),
}

/// The first line of an armored public key.
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
