//! The request for an import, and its result: what the stage and the engine share.

use std::collections::BTreeSet;

use rpmfarm_core::source::{SourceBundle, SourceRecord};
use rpmfarm_core::{Sha256, Target};

/// An imported commit. The bundle and all its files are blobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportedCommit {
    /// The list of files, with the full commit id.
    pub bundle: SourceBundle,
    /// The digest of the bundle's own blob.
    pub digest: Sha256,
    /// The branch, tag or commit id that was followed.
    pub git_ref: String,
    /// The first line of the commit's message.
    pub subject: String,
    /// The CVE ids in the messages of the commit and of the modifications' commit.
    pub cves: BTreeSet<String>,
    /// The committer's time in seconds since 1970.
    pub committed_at: i64,
    /// The record of where every file came from.
    pub record: SourceRecord,
}

/// A request for an import.
#[derive(Debug, Clone)]
pub struct ImportRequest<'a> {
    pub target: &'a Target,
    pub package: &'a str,
    /// Branch, tag or full commit id; `None` for the target's default branch.
    pub git_ref: Option<&'a str>,
    /// The branch, tag or commit id of the modifications; `None` for the target's default.
    pub modification_ref: Option<&'a str>,
    /// Whether the release is raised, for a rebuild without a change.
    pub bump: bool,
    /// `VERSION-RELEASE` of earlier builds of the package, which a raised release must exceed.
    pub built: Vec<String>,
}

impl<'a> ImportRequest<'a> {
    /// A request for the target's default branch.
    #[must_use]
    pub const fn new(target: &'a Target, package: &'a str) -> Self {
        let built = Vec::new();
        Self { target, package, git_ref: None, modification_ref: None, bump: false, built }
    }
}
