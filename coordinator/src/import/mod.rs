//! Import: a commit of upstream's dist-git becomes a source bundle.
//!
//! Owns the way from a package's name to blobs: git, look-aside caches, and the limits and checks
//! on both. Everything that upstream sends is a stranger's. It must not know of builds, tasks or
//! the store of facts: the pass that calls it records what it returns.
//!
//! libgit2 blocks and its handles stay on one thread, so imports run on lanes: threads with a
//! bounded queue each. A package always takes the same lane, and so nothing else touches its
//! cached repository meanwhile.

mod commit;
mod failure;
mod git;
mod index;
mod lanes;
mod limits;
mod lookaside;
pub mod pass;
mod watch;

use std::path::Path;
use std::sync::Arc;

use rpmfarm_core::source::SourceBundle;
use rpmfarm_core::{Sha256, Target};

pub use failure::ImportError;
pub use limits::ImportLimits;

use crate::blobs::Blobs;
use crate::http::Http;
use commit::{Job, Shared, make_dir};
use lanes::Lanes;

/// An imported commit. The bundle and all its files are blobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// The files, with the full commit id.
    pub bundle: SourceBundle,
    /// The bundle's own blob.
    pub digest: Sha256,
    /// The branch, tag or commit id that was followed.
    pub git_ref: String,
    /// The first line of the commit's message.
    pub subject: String,
    /// The committer's time in seconds since 1970.
    pub committed_at: i64,
}

/// Imports commits. Cheap to clone.
#[derive(Clone)]
pub struct Importer {
    lanes: Arc<Lanes>,
}

impl Importer {
    /// Starts the lanes. Cached repositories and the index of look-aside files are kept below
    /// `data_dir`, in `git/` and `lookaside/`.
    ///
    /// Must be called within a tokio runtime, which then does the network's part.
    ///
    /// # Errors
    /// When the directories, the threads or the HTTP client cannot be made.
    pub fn new(data_dir: &Path, blobs: Blobs, limits: ImportLimits) -> Result<Self, ImportError> {
        let broken = |error: &dyn std::error::Error| ImportError::Broken(error.to_string());
        git::register().map_err(|error| broken(&error))?;
        let repositories = data_dir.join("git");
        make_dir(&repositories)?;
        let shared = Shared {
            http: Arc::new(Http::new().map_err(|error| broken(&error))?),
            blobs,
            index: index::Index::new(data_dir.join("lookaside")),
            repositories,
        };
        let lanes = Lanes::start(shared, limits).map_err(|error| broken(&error))?;
        Ok(Self { lanes: Arc::new(lanes) })
    }

    /// Imports what a branch, tag or full commit id points to now; without one, what the target
    /// names. Dropping the future stops the import.
    ///
    /// # Errors
    /// Why it cannot be imported, and [`ImportError::fault`] says whose fault that is.
    pub async fn import(
        &self,
        target: &Target,
        package: &str,
        git_ref: Option<&str>,
    ) -> Result<Imported, ImportError> {
        self.lanes.run(Job::new(target, package, git_ref)?).await
    }
}
