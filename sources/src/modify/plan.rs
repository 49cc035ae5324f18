//! The part of the modifications that runs in the build cage when scripts are among them: a tree of
//! files, and the steps from the first script on.

use rpmfarm_core::Sha256;
use rpmfarm_core::name::{NameError, check_part};
use rpmfarm_core::source::SourceFile;
use serde::{Deserialize, Serialize};

use super::{ChangelogNote, Context, Parameters, Step};
use crate::distgit::LookasideFile;

/// The largest plan that is accepted, in bytes.
pub const MAX_PLAN: u64 = 64 << 20;

/// A blob of a source bundle, for a package whose sources are complete only after scripts have run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScriptPlan {
    pub parameters: Parameters,
    /// Values that the remaining modifications may need.
    pub context: Context,
    /// The package's sources at the point where the first script begins.
    pub tree: Vec<PlannedFile>,
    pub modifications: Vec<PlannedFile>,
    /// The look-aside files that were fetched: each with its line of the list and its blob.
    pub lookaside: Vec<(LookasideFile, SourceFile)>,
    /// The changelog entries of earlier steps.
    pub notes: Vec<ChangelogNote>,
    /// The remaining steps, from the first script on.
    pub steps: Vec<Step>,
}

/// One entry of a tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedFile {
    /// Its path, each part a plain file name.
    pub path: String,
    #[serde(flatten)]
    pub node: PlannedNode,
}

/// The kinds of entries of a planned tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlannedNode {
    File {
        /// SHA-256 of the file, its key in the blob store.
        digest: Sha256,
        /// Its size in bytes.
        size: u64,
        /// Whether git has it as executable (mode 100755).
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        executable: bool,
    },
    /// A symlink with its target.
    Link(String),
}

/// Why stored bytes are not a plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// They are not JSON, or do not have the form of a plan.
    #[error(transparent)]
    Form(#[from] serde_json::Error),
    /// A path in the plan leads out of the tree.
    #[error(transparent)]
    Path(#[from] NameError),
}

impl ScriptPlan {
    /// The plan as it is stored.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a plan has no map with keys that JSON lacks")
    }

    /// Parses a stored plan.
    ///
    /// # Errors
    /// When the bytes are not a plan, or a path in it leads out of the tree.
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
