//! The modifications of a target: a second repository for each package.

use serde::{Deserialize, Serialize};

use super::Template;

/// `[modifications]`: a repository in the form of AlmaLinux's autopatch for each package that the
/// distribution changes. A package without such a repository, or without its branch, is built as
/// upstream has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Modifications {
    /// URL of a package's modifications, with `{name}` for the package. The rules of `upstream.url`
    /// apply.
    pub url: Template,

    /// The branch of the modifications. `{name}` is the package.
    #[serde(rename = "ref")]
    pub git_ref: Template,

    /// The configuration at the root of the repository: `config.yaml`, or another `config-….yaml`.
    #[serde(default = "default_config")]
    pub config: String,

    /// Accepts a server over plain `http`.
    #[serde(default)]
    pub insecure: bool,
}

/// The default name of the configuration at the root of a modifications repository.
pub const MODIFICATIONS_CONFIG: &str = "config.yaml";

/// Whether a file at the root of a modifications repository is a configuration.
#[must_use]
pub fn is_modifications_config(path: &str) -> bool {
    path.starts_with("config") && path.ends_with(".yaml") && !path.contains('/')
}

fn default_config() -> String {
    MODIFICATIONS_CONFIG.to_owned()
}
