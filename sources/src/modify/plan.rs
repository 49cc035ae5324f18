//! What is left to do in the build cage when scripts are among the changes: a tree, and the steps
//! from the first script on.

use rpmfarm_core::Sha256;
use rpmfarm_core::name::{NameError, check_part};
use rpmfarm_core::source::SourceFile;
use serde::{Deserialize, Serialize};

use super::{Context, Note, Parameters, Step};
use crate::distgit::LookasideFile;

/// The largest plan that is read, in bytes.
pub const MAX_PLAN: u64 = 64 << 20;

/// A blob of a source bundle: a package whose sources are not whole before scripts have run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The configuration's parameters.
    pub parameters: Parameters,
    /// What the changes may need to know.
    pub context: Context,
    /// The package's sources where the first script begins.
    pub tree: Vec<PlannedFile>,
    /// The modifications.
    pub modifications: Vec<PlannedFile>,
    /// The look-aside files that were fetched: what git says of each, and its blob.
    pub lookaside: Vec<(LookasideFile, SourceFile)>,
    /// What earlier steps have left for the changelog.
    pub notes: Vec<Note>,
    /// What is left, from the first script on.
    pub steps: Vec<Step>,
}

/// One entry of a tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedFile {
    /// Its path, each part a plain file name.
    pub path: String,
    /// What it is.
    #[serde(flatten)]
    pub node: PlannedNode,
}

/// What an entry of a planned tree is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlannedNode {
    /// A file.
    File {
        /// Its blob.
        digest: Sha256,
        /// Its size in bytes.
        size: u64,
        /// Whether git has it as a program (mode 100755).
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        executable: bool,
    },
    /// A symlink and what it says.
    Link(String),
}

/// Why stored bytes are not a plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// They are not JSON, or not of this form.
    #[error(transparent)]
    Form(#[from] serde_json::Error),
    /// A path in it leads elsewhere.
    #[error(transparent)]
    Path(#[from] NameError),
}

impl Plan {
    /// The bytes that are stored.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a plan has no map with keys that JSON lacks")
    }

    /// Reads the stored bytes.
    ///
    /// # Errors
    /// When they are not a plan, or a path in it leads elsewhere.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, PlanError> {
        let plan: Self = serde_json::from_slice(bytes)?;
        for file in plan.tree.iter().chain(&plan.modifications) {
            for part in file.path.split('/') {
                check_part(part)?;
            }
        }
        Ok(plan)
    }

    /// Names of its scripts, in order.
    pub fn scripts(&self) -> impl Iterator<Item = &str> {
        self.steps.iter().filter_map(|step| match step {
            Step::Script(script) => Some(script.script.as_str()),
            _ => None,
        })
    }
}
