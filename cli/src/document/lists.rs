//! The documents around lists, and the small ones.

use rpmfarm_proto::v1;
use serde::Serialize;

use super::{BuildDocument, ChannelDocument, TargetDocument, WorkerDocument};

#[derive(Debug, Serialize)]
pub(crate) struct BuildsDocument {
    builds: Vec<BuildDocument>,
}

impl BuildsDocument {
    /// Builds as they are at `now`.
    pub(crate) fn new(builds: &[v1::Build], now: i64) -> Self {
        Self { builds: builds.iter().map(|build| BuildDocument::new(build, now)).collect() }
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct TargetsDocument {
    targets: Vec<TargetDocument>,
}

impl From<&[v1::Target]> for TargetsDocument {
    fn from(targets: &[v1::Target]) -> Self {
        Self { targets: targets.iter().map(Into::into).collect() }
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct ChannelsDocument {
    channels: Vec<ChannelDocument>,
}

impl From<&[v1::Channel]> for ChannelsDocument {
    fn from(channels: &[v1::Channel]) -> Self {
        Self { channels: channels.iter().map(Into::into).collect() }
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct WorkersDocument {
    workers: Vec<WorkerDocument>,
}

impl From<&[v1::Worker]> for WorkersDocument {
    fn from(workers: &[v1::Worker]) -> Self {
        Self { workers: workers.iter().map(Into::into).collect() }
    }
}

/// A line of a log.
#[derive(Debug, Serialize)]
pub(crate) struct LogLineDocument {
    /// Where it begins in the log, in bytes.
    pub(crate) offset: u64,
    /// Without its line break; bytes that are no UTF-8 are replaced.
    pub(crate) line: String,
}

#[derive(Debug, Serialize)]
pub(crate) struct VersionsDocument {
    /// Of `rpmfarm`, which prints this.
    pub(crate) client: &'static str,
    /// Address of the coordinator.
    pub(crate) server: String,
    /// Of the coordinator; null when it cannot be reached.
    pub(crate) coordinator: Option<String>,
}
