//! Modifications: what a distribution changes of upstream's sources before it builds them.
//!
//! Owns the form of AlmaLinux's autopatch repositories (`config.yaml`, `files/`, `scripts/`),
//! what each action does to a dist-git tree, and what is said when one does not fit. The meaning
//! of the actions is that of the autopatch tool, so that repositories are used as they are. It
//! must not know where trees come from, and it runs nothing: a script is a [`Step::Script`] that
//! whoever applies the changes runs in the build cage, in its place.

mod apply;
mod changelog;
mod config;
mod describe;
mod diff;
mod edit;
mod files;
mod lines;
mod nearest;
mod number;
mod patches;
mod plan;
mod release;
mod sections;
mod tree;

pub use apply::{ChangelogNote, Context, Step, apply_step, steps};
pub use changelog::wrapped;
pub use config::{Change, Config, ConfigError, Parameters};
pub use diff::{FileDiff, diff};
pub use edit::{
    AddFile, AddLine, ChangelogEntry, DeleteFile, DeleteLine, Edit, FileType, Location,
    ModifyRelease, Replace, RunScript, WorkingDirectory,
};
pub use number::PatchNumber;
pub use plan::{MAX_PLAN, PlanError, PlannedFile, PlannedNode, ScriptPlan};
pub use tree::{FileChange, Node, ReadFiles, Tree, TreeError};

/// An action that could not be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {why}")]
pub struct ModifyError {
    /// The action in its configuration, `config.yaml: actions[2].replace[0]`.
    pub place: String,
    /// Why it cannot be applied.
    pub why: ApplyError,
}

/// Why an action cannot be applied to the tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// The text was not found.
    #[error("`{}` is not in {file}{}", rpmfarm_core::name::shown(.wanted), nearest::shown(.nearest))]
    NoMatch {
        /// The file that was searched.
        file: String,
        /// The first line of what was searched for.
        wanted: String,
        /// The most similar lines, with their numbers from 1.
        nearest: Vec<(usize, String)>,
    },
    /// No file has this name.
    #[error("no file matches `{target}`{}", nearest::or_files(.nearest))]
    NoFile {
        /// The name that was searched for.
        target: String,
        /// The files with the most similar names.
        nearest: Vec<String>,
    },
    /// More than one spec.
    #[error("{} spec files ({}): it is not clear which one is meant", .0.len(), .0.join(", "))]
    ManySpecs(Vec<String>),
    /// The file exists already.
    #[error("{0} is in the package already")]
    FileExists(String),
    /// The file to add is not in the modifications repository.
    #[error("{0} is not in the modifications repository")]
    NotThere(String),
    /// An invalid name.
    #[error(transparent)]
    Name(#[from] rpmfarm_core::name::NameError),
    /// A file that is not text.
    #[error("{0} is not UTF-8 text")]
    NotText(String),
    /// The spec has no line of this kind, so that there is no place for a new one.
    #[error("{file} has no {what}")]
    NoPlace {
        file: String,
        /// What was searched for.
        what: String,
    },
    /// The number is in use.
    #[error("{0} is in the spec already; choose another number, or `Latest`")]
    NumberTaken(String),
    /// An invalid regular expression.
    #[error("`{pattern}` is not a regular expression: {why}")]
    Pattern {
        /// The expression as written.
        pattern: String,
        why: String,
    },
    /// The text does not give the release, which `auto_increment` needs.
    #[error("auto_increment needs the package's release, which {0}")]
    Release(#[from] crate::spec::UnknownValueError),
    /// The tree cannot be read.
    #[error(transparent)]
    Tree(#[from] TreeError),
}
