//! A generation that is being made: its repositories are written into a directory that no client
//! reads yet.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use rpmfarm_core::snapshot::RepositoryKind;
use rpmfarm_core::{Arch, Sha256};
use rpmfarm_repodata::{
    Compression, Fragments, PreviousState, RepodataError, RepomdRecord, assemble, repomd,
};

use super::disk;
use super::error::{PublishError, Result, io_at};
use super::layout::{self, PACKAGES, PACKAGES_TO_POOL};
use super::manifest::{GenerationManifest, PublishedPackage, RepositoryState};
use super::pool::MAX_FRAGMENTS;
use crate::blobs::Blobs;

/// The inputs of a generation.
pub(super) struct GenerationDraft<'a> {
    /// The directory of the draft.
    pub(super) dir: &'a Path,
    pub(super) generation: u64,
    /// The time of the repodata, in seconds since 1970.
    pub(super) time: i64,
    pub(super) compression: Compression,
    /// How many generations' documents stay readable.
    pub(super) keep: u64,
    pub(super) packages: &'a [PublishedPackage],
    pub(super) blobs: &'a Blobs,
    /// The previous generation, and its directory.
    pub(super) previous: Option<(&'a GenerationManifest, PathBuf)>,
}

impl GenerationDraft<'_> {
    /// Writes the repositories of all architectures, each architecture on a thread of its own,
    /// because compression is most of the work.
    pub(super) fn write(&self, arches: &[Arch]) -> Result<Vec<RepositoryState>> {
        std::thread::scope(|scope| {
            let threads: Vec<_> =
                arches.iter().map(|arch| scope.spawn(|| self.write_arch(*arch))).collect();
            let mut states = Vec::new();
            for thread in threads {
                states.extend(thread.join().expect("writing repodata does not panic")?);
            }
            Ok(states)
        })
    }

    fn write_arch(&self, arch: Arch) -> Result<Vec<RepositoryState>> {
        RepositoryKind::ALL.into_iter().map(|kind| self.write_repository(arch, kind)).collect()
    }

    fn write_repository(&self, arch: Arch, kind: RepositoryKind) -> Result<RepositoryState> {
        let root = layout::repository(self.dir, arch, kind);
        let repodata = root.join("repodata");
        disk::make_dir(&repodata)?;
        let link = root.join(PACKAGES);
        std::os::unix::fs::symlink(PACKAGES_TO_POOL, &link).map_err(io_at(&link))?;

        let before = self.previous.as_ref().and_then(|(manifest, dir)| {
            let state = manifest.repository(arch, kind)?;
            Some((state, layout::repository(dir, arch, kind).join("repodata")))
        });
        let documents = self.assemble(arch, kind, &repodata, before.as_ref())?;
        let records: Vec<RepomdRecord> = documents.iter().map(|d| d.record.clone()).collect();
        let page = repomd::write(self.generation, self.time, &records);
        disk::write(&repodata.join("repomd.xml"), page.as_bytes())?;

        let own: Vec<String> = records.iter().map(RepomdRecord::file_name).collect();
        for name in &own {
            disk::sync(&repodata.join(name))?;
        }
        let mut files = match &before {
            Some((state, dir)) => self.keep_readable(state, dir, &repodata)?,
            None => BTreeMap::new(),
        };
        files.insert(self.generation, own);
        disk::sync(&repodata)?;
        disk::sync(&root)?;
        Ok(RepositoryState { arch, kind, documents, files })
    }

    fn assemble(
        &self,
        arch: Arch,
        kind: RepositoryKind,
        repodata: &Path,
        before: Option<&(&RepositoryState, PathBuf)>,
    ) -> Result<Vec<rpmfarm_repodata::AssembledDocument>> {
        let members: Vec<&PublishedPackage> = self
            .packages
            .iter()
            .filter(|package| {
                RepositoryKind::for_package(&package.nevra) == kind && package.is_on(arch)
            })
            .collect();
        let order: Vec<Sha256> = members.iter().map(|package| package.digest).collect();
        let stored: HashMap<Sha256, Sha256> =
            members.iter().map(|package| (package.digest, package.repodata)).collect();
        let load = |digest: Sha256| -> Result<Fragments> {
            let bytes = self.blobs.read_small(stored[&digest], MAX_FRAGMENTS)?;
            Ok(Fragments::from_bytes(&bytes)?)
        };
        let previous =
            before.map(|(state, dir)| PreviousState { dir, documents: &state.documents });
        match assemble(repodata, &order, self.compression, previous, load) {
            Err(PublishError::Repodata(error @ RepodataError::Damaged { .. })) => {
                tracing::warn!(%error, "previous repodata are not used");
                assemble(repodata, &order, self.compression, None, load)
            }
            other => other,
        }
    }

    /// Links the documents of the last generations into this one, for clients that still read
    /// these.
    fn keep_readable(
        &self,
        before: &RepositoryState,
        from: &Path,
        to: &Path,
    ) -> Result<BTreeMap<u64, Vec<String>>> {
        let others = usize::try_from(self.keep).unwrap_or(usize::MAX).saturating_sub(1);
        let newest = before.files.iter().rev().take(others);
        let kept: BTreeMap<_, _> =
            newest.map(|(generation, names)| (*generation, names.clone())).collect();
        for name in kept.values().flatten() {
            let (from, to) = (from.join(name), to.join(name));
            // An unchanged document has the same name and exists already.
            if !to.exists() {
                fs::hard_link(&from, &to).map_err(io_at(&from))?;
            }
        }
        Ok(kept)
    }
}
