//! Imports from a real git server and a look-aside server that can misbehave.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod lookaside;
mod modifications;
mod refusals;
mod sources;
mod trees;
mod upstream;

use std::time::Duration;

use rpmfarm_coordinator::blobs::Blobs;
use rpmfarm_coordinator::import::{ImportError, ImportLimits, Imported, Importer};
use rpmfarm_core::Target;
use upstream::Upstream;

/// An importer with a directory of its own, and the upstream that it imports from.
struct Scene {
    upstream: Upstream,
    target: Target,
    blobs: Blobs,
    importer: Importer,
    dir: tempfile::TempDir,
}

/// Limits that a test can wait for, on a machine that is busy.
fn quick() -> ImportLimits {
    ImportLimits {
        time: Duration::from_secs(60),
        silence: Duration::from_secs(20),
        backoff: Duration::from_millis(20),
        tries: 3,
        ..ImportLimits::default()
    }
}

impl Scene {
    async fn new() -> Self {
        Self::with(quick()).await
    }

    async fn with(limits: ImportLimits) -> Self {
        let upstream = Upstream::start().await;
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(dir.path().join("blobs")).unwrap();
        let importer = Importer::new(dir.path(), blobs.clone(), limits).unwrap();
        let target = upstream.target().target();
        Self { upstream, target, blobs, importer, dir }
    }

    /// Stores blobs elsewhere from now on.
    fn use_blobs_at(&mut self, dir: &std::path::Path) {
        self.blobs = Blobs::open(dir).unwrap();
        self.importer = Importer::new(self.dir.path(), self.blobs.clone(), quick()).unwrap();
    }

    async fn import(&self, git_ref: Option<&str>) -> Result<Imported, ImportError> {
        self.importer.import(&self.target, "hello", git_ref).await
    }

    /// The import's error, as it is told.
    async fn refusal(&self, git_ref: Option<&str>) -> (rpmfarm_core::Fault, String) {
        let failure: rpmfarm_core::Failure = self.import(git_ref).await.unwrap_err().into();
        assert_eq!(failure.stage.as_str(), "import");
        assert!(!failure.message.contains('\n'), "{failure}");
        (failure.fault, failure.message)
    }

    fn text(&self, imported: &Imported, name: &str) -> String {
        let mut files = imported.bundle.sources.iter().chain([&imported.bundle.spec]);
        let file = files.find(|file| file.name == name).unwrap_or_else(|| panic!("no {name}"));
        let bytes = self.blobs.read_small(file.digest, file.size).unwrap();
        assert_eq!(bytes.len() as u64, file.size);
        String::from_utf8(bytes).unwrap()
    }
}
