//! A target as JSON.

use rpmfarm_proto::v1::Target;
use serde::Serialize;
use serde_json::Value;

use super::known;

#[derive(Debug, Serialize)]
pub(crate) struct TargetDocument {
    name: String,
    description: Option<String>,
    arches: Vec<String>,
    channels: Vec<String>,
    dist: Option<String>,
    /// Problems with it; with any, it takes no builds.
    problems: Vec<String>,
    /// The whole definition, as the farm has it.
    definition: Option<Value>,
}

impl From<&Target> for TargetDocument {
    fn from(target: &Target) -> Self {
        Self {
            name: target.name.clone(),
            description: known(&target.description),
            arches: target.arches.clone(),
            channels: target.channels.clone(),
            dist: known(&target.dist),
            problems: target.problems.clone(),
            definition: serde_json::from_str(&target.definition).ok(),
        }
    }
}
