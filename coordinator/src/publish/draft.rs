//! A generation that is being made: its repositories are written into a directory that no client
//! reads yet.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use rpmfarm_core::published_repositories::PublishedRepository;
use rpmfarm_core::snapshot::RepositoryKind;
use rpmfarm_core::{Arch, Sha256};
use rpmfarm_repodata::{
    Compression, Fragments, PreviousState, RepodataError, RepomdRecord, assemble, repomd,
};

use super::disk;
use super::error::{PublishError, Result, io_at};
use super::layout::{PACKAGES, RepositoryPlace};
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
    /// The repositories of the channel; empty where it is one.
    pub(super) repositories: &'a [PublishedRepository],
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
        let names: Vec<Option<&str>> = match self.repositories {
            [] => vec![None],
            named => named.iter().map(|one| Some(one.name.as_str())).collect(),
        };
        let mut states = Vec::new();
        for (repository, name) in names.into_iter().enumerate() {
            for kind in RepositoryKind::ALL {
                let place = RepositoryPlace { name, arch, kind };
                states.push(self.write_repository(place, repository)?);
            }
        }
        Ok(states)
    }

    fn write_repository(
        &self,
        place: RepositoryPlace<'_>,
        repository: usize,
    ) -> Result<RepositoryState> {
        let root = place.below(self.dir);
        let repodata = root.join("repodata");
        disk::make_dir(&repodata)?;
        let link = root.join(PACKAGES);
        std::os::unix::fs::symlink(place.packages_to_pool(), &link).map_err(io_at(&link))?;

        let before = self.previous.as_ref().and_then(|(manifest, dir)| {
            let state = manifest.repository(place)?;
            Some((state, place.below(dir).join("repodata")))
        });
        let members = self.members(place, repository);
        let documents = self.assemble(&members, &repodata, before.as_ref())?;
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
        let RepositoryPlace { name, arch, kind } = place;
        Ok(RepositoryState { name: name.map(str::to_owned), arch, kind, documents, files })
    }

    /// The packages of a repository. `repository` is its place in the list of the channel's.
    fn members(&self, place: RepositoryPlace<'_>, repository: usize) -> Vec<&PublishedPackage> {
        let is_in = |package: &&PublishedPackage| {
            package.repository == repository
                && RepositoryKind::for_package(&package.nevra) == place.kind
                && package.is_on(place.arch)
        };
        self.packages.iter().filter(is_in).collect()
    }

    fn assemble(
        &self,
        members: &[&PublishedPackage],
        repodata: &Path,
        before: Option<&(&RepositoryState, PathBuf)>,
    ) -> Result<Vec<rpmfarm_repodata::AssembledDocument>> {
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
