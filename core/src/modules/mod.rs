//! Modules of Enterprise Linux 8 and 9: the streams and defaults in a repository's `modules.yaml`,
//! and which of them a target or a package chooses.
//!
//! Owns what the metadata mean. Which streams are active together is decided by a solver
//! (`rpmfarm_solv`); the caller provides the text.

mod choice;
mod defaults;
mod yaml;

pub use choice::{ChoiceError, ModuleChoice, ModuleName, StreamName};
pub use defaults::{Defaults, DefaultsError, default_streams};
pub use yaml::ModulesError;

use crate::Nevra;

/// The content of a repository's `modules.yaml`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Modules {
    /// Every stream in each of its versions and contexts, in the order of the file.
    pub streams: Vec<Stream>,
    pub defaults: Vec<Defaults>,
}

/// One version of one stream of a module: a document `modulemd`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream {
    /// Name of the module.
    pub name: String,
    /// Name of the stream.
    pub stream: String,
    /// Its version; the higher is the newer.
    pub version: u64,
    /// Which of several builds of one version this is; they differ in what they were built for.
    pub context: String,
    /// Whether the context is a name that stays from version to version.
    pub static_context: bool,
    /// Architecture; `None` for all.
    pub arch: Option<String>,
    /// The modules that must be active with it, each with the permitted streams: an empty list
    /// stands for any, a name that begins with `-` for any but this.
    pub requires: Vec<(String, Vec<String>)>,
    /// The packages that belong to it.
    pub artifacts: Vec<Nevra>,
    /// Names of packages that belonged to the module once and now do not.
    pub demodularized: Vec<String>,
}

impl Stream {
    /// `NAME:STREAM`.
    #[must_use]
    pub fn name_stream(&self) -> String {
        format!("{}:{}", self.name, self.stream)
    }
}
