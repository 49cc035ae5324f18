//! A draft whose repodata are written, on its way to be shown: signed, complete, synced.
//!
//! Owns everything between the repodata and the rename that nobody sees. It must not know how a
//! draft came about, nor how it is shown.

use std::fs::File;

use rpmfarm_core::Arch;
use rpmfarm_core::signing::{Logged, Place};
use rpmfarm_core::snapshot::Kind;
use rpmfarm_rpmfile::Certs;

use super::error::{PublishError, Result, io_at};
use super::layout::{self, Layout};
use super::manifest::Manifest;
use super::publisher::{PublishRequest, SignRepomd, SignedRepomd};
use super::{disk, lock, shown};

/// Beside each `repomd.xml`: where its signature stands in the signer's log.
const LOGGED: &str = "signer-log.json";

/// A draft that waits for its signatures. Dropped, it leaves nothing.
pub(super) struct Written {
    pub(super) layout: Layout,
    pub(super) request: PublishRequest,
    pub(super) certs: Certs,
    pub(super) dir: shown::DraftDir,
    pub(super) manifest: Manifest,
}

/// A draft that is complete, signed and synced. While it is there, no other publisher shows
/// anything of the target.
pub(super) struct Ready {
    pub(super) written: Written,
    pub(super) lock: File,
}

impl Written {
    /// Everything after the signatures that nobody sees; and the channel must still show what the
    /// draft is based on.
    pub(super) fn settle(self) -> Result<Ready> {
        let dir = self.dir.path();
        self.manifest.write(dir)?;
        for arch in &self.request.arches {
            disk::sync(&dir.join(arch.as_str()))?;
        }
        disk::sync(dir)?;
        // Temporary directories are private, and so may be all that is written; a generation is for
        // everyone.
        disk::readable_by_all(dir)?;
        let lock = lock::take(&self.layout)?;
        let shown = shown::generation(&self.layout)?;
        if shown != self.request.based_on {
            let PublishRequest { target, channel, based_on, .. } = self.request;
            return Err(PublishError::Moved { target, channel, based_on, shown });
        }
        // One that died between its two renames leaves this place taken.
        disk::remove(&self.layout.generation(self.manifest.generation))?;
        Ok(Ready { written: self, lock })
    }

    /// Has each `repomd.xml` signed, and checks each signature as a client would. Where the signer's
    /// log stood is put beside it: whoever has a copy of the repository can tell later whether the
    /// log still goes on from there.
    pub(super) async fn sign(&mut self, signer: &impl SignRepomd) -> Result<()> {
        let mut last: Option<Logged> = None;
        for state in &self.manifest.repositories {
            let repodata =
                layout::repository(self.dir.path(), state.arch, state.kind).join("repodata");
            let page = repodata.join("repomd.xml");
            let repomd = std::fs::read(&page).map_err(io_at(&page))?;
            let refused = |reason: String| PublishError::Signer {
                repository: self.name(state.arch, state.kind),
                reason,
            };
            let place = Place {
                target: self.layout.target.clone(),
                channel: self.layout.channel.clone(),
                path: format!("{}/{}", state.arch, state.kind.dir()),
            };
            let signed = signer.sign(&place, &repomd).await;
            let signed = signed.map_err(|error| refused(error.to_string()))?;
            let SignedRepomd { armored, logged } = signed;
            rpmfarm_rpmfile::verify_detached(&repomd, &armored, &self.certs, self.request.now)
                .map_err(|error| refused(error.to_string()))?;
            disk::write(&page.with_extension("xml.asc"), armored.as_bytes())?;
            if let Some(logged) = &logged {
                let text =
                    serde_json::to_vec(logged).expect("a position has no key that JSON lacks");
                disk::write(&repodata.join(LOGGED), &text)?;
            }
            disk::sync(&repodata)?;
            // Of a signer the later line covers the earlier ones.
            last = logged.or(last);
        }
        self.manifest.logged = last;
        Ok(())
    }

    fn name(&self, arch: Arch, kind: Kind) -> String {
        format!("{}/{}/{arch}/{}", self.layout.target, self.layout.channel, kind.dir())
    }
}
