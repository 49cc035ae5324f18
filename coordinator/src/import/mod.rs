//! Import: a commit of upstream's dist-git becomes a source bundle.
//!
//! Owns the way from a package's name to blobs: git, look-aside caches, and the limits and checks
//! on both. Nothing that upstream sends is trusted. Files from the top:
//!
//! - `pass` is the stage, [`ImportStage`]: which builds are imported, and what is recorded.
//!   `version_check` and `security` check what was imported. They alone know of builds and of the
//!   store.
//! - `request` is the request for an import, and its result.
//! - [`Importer`] is the engine; `lanes` say where and when its imports run, `watch` how they are
//!   stopped, and `limits` what they may use.
//! - `commit` is one import, with `git`, `lookaside`, `sources` (a commit as a tree of files) and
//!   `index` (look-aside files that are known); `preview` stops before anything is stored.
//! - `failure` says why there are no sources, and whose fault that is.
//!
//! libgit2 blocks and its handles stay on one thread, so each import runs on a thread of its own,
//! on a lane of the package's git host. Of a repository there is one import at a time, and so
//! nothing else touches what is cached for it meanwhile.

mod commit;
mod failure;
mod git;
mod index;
mod lanes;
mod limits;
mod lookaside;
mod pass;
mod preview;
mod request;
mod security;
mod sources;
mod version_check;
mod watch;

use std::path::Path;
use std::sync::Arc;

use rpmfarm_core::Target;

pub use failure::ImportError;
pub use git::{PackError, PackGuard, PackLimits};
pub use limits::ImportLimits;
pub use pass::ImportStage;
pub use preview::{ActionState, Preview, PreviewedAction};
pub use request::{ImportRequest, ImportedCommit};

use crate::blobs::Blobs;
use crate::http::Http;
use commit::{ImportContext, ImportJob, make_dir};
use lanes::ImportLanes;

/// Imports commits. Cheap to clone.
#[derive(Clone)]
pub struct Importer {
    upstream: CommitSource,
}

/// Where commits come from.
#[derive(Clone)]
enum CommitSource {
    /// Git hosts and look-aside caches.
    Hosts(Arc<ImportLanes>),
    /// A simulation.
    #[cfg(feature = "simulation")]
    Simulated(Arc<dyn SimulatedUpstream>),
}

/// The upstream of a simulation.
#[cfg(feature = "simulation")]
pub trait SimulatedUpstream: Send + Sync {
    /// Imports a commit, and stores all its files as blobs.
    fn import<'a>(
        &'a self,
        order: ImportRequest<'a>,
    ) -> futures_util::future::BoxFuture<'a, Result<ImportedCommit, ImportError>>;
}

impl Importer {
    /// An importer. Cached repositories and the index of look-aside files are kept below
    /// `data_dir`, in `git/` and `lookaside/`.
    ///
    /// Its imports must run within a tokio runtime, which does their network input and output.
    ///
    /// # Errors
    /// When the directories or the HTTP client cannot be made.
    pub fn new(data_dir: &Path, blobs: Blobs, limits: ImportLimits) -> Result<Self, ImportError> {
        let broken = |error: &dyn std::error::Error| ImportError::Broken(error.to_string());
        git::register().map_err(|error| broken(&error))?;
        let repositories = data_dir.join("git");
        make_dir(&repositories)?;
        let shared = ImportContext {
            http: Arc::new(Http::new().map_err(|error| broken(&error))?),
            blobs,
            index: index::ChecksumIndex::new(data_dir.join("lookaside")),
            repositories,
        };
        Ok(Self { upstream: CommitSource::Hosts(Arc::new(ImportLanes::new(shared, limits))) })
    }

    /// An importer from a simulated upstream.
    #[cfg(feature = "simulation")]
    #[must_use]
    pub fn simulated(upstream: Arc<dyn SimulatedUpstream>) -> Self {
        Self { upstream: CommitSource::Simulated(upstream) }
    }

    /// Stops all imports, for good.
    pub fn stop(&self) {
        match &self.upstream {
            CommitSource::Hosts(lanes) => lanes.stop(),
            #[cfg(feature = "simulation")]
            CommitSource::Simulated(_) => {}
        }
    }

    /// Imports the commit that a branch, tag or full commit id points to now; without one, that of
    /// the target's default branch. Dropping the future stops the import.
    ///
    /// # Errors
    /// Why it cannot be imported; [`ImportError::fault`] says whose fault that is.
    pub async fn import(
        &self,
        target: &Target,
        package: &str,
        git_ref: Option<&str>,
    ) -> Result<ImportedCommit, ImportError> {
        self.import_as(ImportRequest { git_ref, ..ImportRequest::new(target, package) }).await
    }

    /// The same for a request with all its options.
    ///
    /// # Errors
    /// As [`Importer::import`].
    pub async fn import_as(&self, order: ImportRequest<'_>) -> Result<ImportedCommit, ImportError> {
        let lanes = match &self.upstream {
            CommitSource::Hosts(lanes) => lanes.as_ref(),
            #[cfg(feature = "simulation")]
            CommitSource::Simulated(upstream) => return upstream.import(order).await,
        };
        let job = ImportJob::new(order)?;
        let repository = job.repository();
        lanes.run(&repository, move |shared, watch| job.run(shared, watch)).await
    }

    /// Shows what the modifications of a package would change. Fetches both commits and nothing
    /// else.
    ///
    /// # Errors
    /// When one of them cannot be fetched, or the configuration cannot be read. An action that
    /// cannot be applied is part of the preview, not an error.
    pub async fn preview(&self, order: ImportRequest<'_>) -> Result<Preview, ImportError> {
        let lanes = match &self.upstream {
            CommitSource::Hosts(lanes) => lanes.as_ref(),
            #[cfg(feature = "simulation")]
            CommitSource::Simulated(_) => return Err(ImportError::Cancelled),
        };
        let job = ImportJob::new(order)?;
        let repository = job.repository();
        lanes.run(&repository, move |shared, watch| preview::preview(&job, shared, watch)).await
    }
}
