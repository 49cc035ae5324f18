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
    /// of such URLs, of which the next is asked when one fails. Left out where `mirrorlist` or
    /// `metalink` say where the repository lies.
    #[serde(default)]
    pub baseurl: BaseUrls,

    /// URL of a list of mirrors, with `{arch}`: lines that are each what `baseurl` would be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirrorlist: Option<Template>,

    /// URL of a metalink of `repomd.xml`, with `{arch}`: mirrors by their preference, and the
    /// digests that `repomd.xml` may have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metalink: Option<Template>,

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

    /// Of the same package in two repositories of one priority, that of the lower cost is taken.
    #[serde(default = "default_cost")]
    pub cost: u32,

    /// Packages that are treated as if they were not there, by dnf's patterns: `name`, `name.arch`,
    /// `name-version`, `name-version-release` with `*`, `?` and `[…]` as in a shell. dnf's own
    /// names of the key, `exclude` and `excludepkgs`, mean the same.
    #[serde(default, alias = "exclude", alias = "excludepkgs")]
    pub excludes: Vec<String>,

    /// If there are any, the only packages that are seen, by the same patterns.
    #[serde(default)]
    pub includepkgs: Vec<String>,

    /// Shows its packages whatever module streams are active, as dnf's key of this name.
    #[serde(default)]
    pub module_hotfixes: bool,

    /// Refuses metadata that are older than so many days: somebody may be showing an old state of the
    /// repository, with its valid signatures, to keep updates back. 0 means any age, for repositories
    /// that rarely change.
    #[serde(default)]
    pub max_age_days: u32,

    /// Accepts a repository that is reached by plain `http` and checks no signature at all:
    /// whoever sits in between can then change what goes into the build roots.
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

/// As dnf has it when nothing is said.
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
