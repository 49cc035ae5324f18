//! Dist-git as an importer reads it: each package at upstream's current version.

use std::collections::BTreeSet;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use rpmfarm_coordinator::blobs::Blobs;
use rpmfarm_coordinator::clock::Clock;
use rpmfarm_coordinator::import::{ImportError, ImportRequest, ImportedCommit, SimulatedUpstream};
use rpmfarm_core::Sha256;
use rpmfarm_core::source::{SourceBundle, SourceFile, SourceRecord};

use super::OutsideWorld;
use crate::scenario::Defect;

/// Upstream.
pub(crate) struct Upstream {
    pub(crate) outside: OutsideWorld,
    pub(crate) blobs: Blobs,
}

impl SimulatedUpstream for Upstream {
    fn import<'a>(
        &'a self,
        order: ImportRequest<'a>,
    ) -> BoxFuture<'a, Result<ImportedCommit, ImportError>> {
        self.import_package(order.package).boxed()
    }
}

impl Upstream {
    async fn import_package(&self, package: &str) -> Result<ImportedCommit, ImportError> {
        let (took, answers) = self.outside.answer(20, 1_500);
        Clock.sleep(took).await;
        let url = format!("http://git/{package}.git");
        if !answers {
            return Err(ImportError::Server { url, why: "it does not answer".into() });
        }
        let (version, defect) = {
            let truth = self.outside.lock();
            let source = truth.scenario.source(package);
            (source.version, source.defect)
        };
        if defect == Defect::NoSource {
            return Err(ImportError::NoRepository { package: package.into(), url, status: 404 });
        }
        let text = spec_text(package, version);
        let commit = Sha256::compute(text.as_bytes()).hex()[..40].to_owned();
        let digest = self.blobs.put(text.as_bytes())?;
        let size = text.len() as u64;
        let name = format!("{package}.spec");
        let bundle = SourceBundle {
            package: package.into(),
            url,
            commit,
            spec: SourceFile { name, digest, size, executable: false },
            sources: Vec::new(),
            modification: None,
            plan: None,
        };
        Ok(ImportedCommit {
            digest: self.blobs.put(&bundle.to_bytes())?,
            bundle,
            git_ref: "sim".into(),
            subject: format!("Update to {version}"),
            cves: BTreeSet::new(),
            committed_at: 1_700_000_000,
            record: SourceRecord { git_ref: "sim".into(), ..SourceRecord::default() },
        })
    }
}

/// The text of a spec.
pub(crate) fn spec_text(package: &str, version: u64) -> String {
    format!("Name: {package}\nVersion: {version}\n")
}
