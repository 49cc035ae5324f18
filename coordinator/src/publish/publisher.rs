//! The steps of one publication: proof, draft, signatures, rename.
//!
//! Owns the order of these steps, the signatures of a draft and the renames. Before the first step
//! it checks the generation that clients see now. `draft` writes the repodata.

use std::collections::HashSet;
use std::fs::File;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rpmfarm_core::published_repositories::PublishedRepository;
use rpmfarm_core::signing::{LogHead, RepositoryId};
use rpmfarm_core::{Arch, Nevra, Sha256, name};
use rpmfarm_repodata::{Compression, Fragments, PackageFile};
use rpmfarm_rpmfile::Certs;

use super::draft::GenerationDraft;
use super::error::{ProofError, PublishError, Result, io_at};
use super::layout::{ChannelLayout, RepositoryPlace};
use super::manifest::{
    self, GenerationManifest, PackageListing, PublishedPackage, RepositoryState, content_of,
};
use super::pool::PackageProver;
use super::{clients, current_generation, disk, lock};
use crate::blobs::{BlobError, Blobs};
use crate::blocking;
use crate::planted_bugs::{PlantedBug, is_planted};
use crate::pool_path::href;

/// A request for a new generation of a channel.
#[derive(Debug, Clone)]
pub struct PublishRequest {
    /// Name of the target.
    pub target: String,
    /// Name of the channel.
    pub channel: String,
    /// The base URL of the tree of all targets, as `https://farm.example/repo`.
    pub base_url: String,
    /// The target's public key, ASCII-armored.
    pub public_key: String,
    /// The architectures that have repositories.
    pub arches: Vec<Arch>,
    /// How the documents are compressed.
    pub compression: Compression,
    /// The repositories of the channel; empty where it is one.
    pub repositories: Vec<PublishedRepository>,
    /// All packages of the channel, in any order.
    pub packages: Vec<PublishedPackage>,
    /// The generation that was shown when the packages were chosen ([`Publisher::shown`]): if
    /// another one is shown now, nothing is published.
    pub based_on: Option<u64>,
    /// The highest revision of the channel that was ever signed, even if it was never shown. The
    /// next one is above it, because the signer signs each revision once.
    pub signed: u64,
    /// The time in the repodata, at which the signatures must be valid.
    pub now: SystemTime,
    /// Whether all packages are read and proved again, not only those that are new in the channel.
    pub prove_all: bool,
}

/// The result of a request: the generation that the channel shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublishOutcome {
    /// The generation that is shown.
    pub generation: u64,
    /// Whether it is a new one; false when the channel showed the same content before.
    pub is_new: bool,
}

/// Signs `repomd.xml`; the keys are elsewhere.
pub trait RepomdSigner: Sync {
    /// A detached, ASCII-armored signature of these bytes with the target's key.
    fn sign(
        &self,
        place: &RepositoryId,
        repomd: &[u8],
    ) -> impl Future<Output = std::result::Result<RepomdSignature, SignError>> + Send;
}

/// A signature of `repomd.xml`.
#[derive(Debug, Clone)]
pub struct RepomdSignature {
    /// The signature, ASCII-armored.
    pub armored: String,
    /// Its position in the signer's log; `None` for a signer without a log.
    pub logged: Option<LogHead>,
}

/// Why a signer did not sign.
pub type SignError = Box<dyn std::error::Error + Send + Sync>;

/// The steps of a publication, in this order, for progress and for tests of crashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublishStep {
    /// The new packages are proved and in the pool.
    Pooled,
    /// The repodata are written.
    Written,
    /// Each `repomd.xml` is signed.
    Signed,
    /// The draft is complete, synced and in its place.
    Placed,
    Shown,
}

/// Publishes into one tree of repositories. Cheap to clone.
#[derive(Clone)]
pub struct Publisher {
    repos: PathBuf,
    blobs: Blobs,
    keep: u64,
    on_step: Arc<dyn Fn(PublishStep) + Send + Sync>,
}

/// How many generations stay readable: a client that reads `repomd.xml` and fetches the documents
/// more than four publications later must start again.
const KEEP: u64 = 5;

/// The file beside each `repomd.xml` with the position of its signature in the signer's log.
const LOGGED: &str = "signer-log.json";

/// Stores the repodata fragments of a signed package in the form that publishing reads; returns the
/// digest of their blob. Blocks on the disk.
///
/// # Errors
/// When the blob is missing or its headers cannot be described.
pub fn describe(blobs: &Blobs, nevra: &Nevra, digest: Sha256, size: u64) -> Result<Sha256> {
    let path = blobs.path(digest);
    if !path.exists() {
        return Err(BlobError::Missing(digest).into());
    }
    let fragments = Fragments::of_rpm(&path, &PackageFile { digest, size, href: href(nevra) })?;
    Ok(blobs.put(&fragments.to_bytes())?)
}

impl Publisher {
    /// A publisher of the blobs of `blobs` below `repos`.
    #[must_use]
    pub fn new(repos: impl Into<PathBuf>, blobs: Blobs) -> Self {
        let on_step = Arc::new(|step| tracing::debug!(?step, "publishing"));
        Self { repos: repos.into(), blobs, keep: KEEP, on_step }
    }

    /// Keeps the documents of so many generations readable, including the newest.
    #[must_use]
    pub fn keep(self, generations: u64) -> Self {
        Self { keep: generations.max(1), ..self }
    }

    /// Has `on_step` called after each step.
    #[must_use]
    pub fn on_step(self, on_step: impl Fn(PublishStep) + Send + Sync + 'static) -> Self {
        Self { on_step: Arc::new(on_step), ..self }
    }

    /// The generation that a channel shows; `None` before the first.
    ///
    /// # Errors
    /// When a name is not a plain file name, or when the disk fails.
    pub fn shown(&self, target: &str, channel: &str) -> Result<Option<u64>> {
        current_generation::generation(&ChannelLayout::new(&self.repos, target, channel)?)
    }

    /// The head of the signer's log when the generation that a channel shows was signed; `None`
    /// before the first generation, or for one of an older version.
    ///
    /// # Errors
    /// When a name is not a plain file name, or when the disk fails.
    pub fn logged(&self, target: &str, channel: &str) -> Result<Option<LogHead>> {
        let layout = ChannelLayout::new(&self.repos, target, channel)?;
        let Some(shown) = current_generation::generation(&layout)? else { return Ok(None) };
        Ok(GenerationManifest::read(&layout.generation(shown))?.logged)
    }

    /// Whether clients see an older address or key than the farm has, or repositories by other
    /// rules, so that the channel must be published again. False before the first generation.
    ///
    /// # Errors
    /// When a name is not a plain file name, or when the disk fails.
    pub fn is_outdated(
        &self,
        target: &str,
        channel: &str,
        base_url: &str,
        public_key: &str,
        repositories: &[PublishedRepository],
    ) -> Result<bool> {
        let layout = ChannelLayout::new(&self.repos, target, channel)?;
        let Some(shown) = current_generation::generation(&layout)? else { return Ok(false) };
        Ok(!clients::are_right(&layout, base_url, public_key, repositories)
            || !manifest::has_repositories(&layout.generation(shown), repositories))
    }

    /// Makes a channel show exactly the packages of the request, or fails and changes nothing that
    /// clients see. Repeating a request changes nothing.
    ///
    /// # Errors
    /// When a package fails its proof, the signer does not sign, another publisher works on the
    /// target or has published meanwhile, or the disk fails. Clients see what they saw before.
    pub async fn publish(
        &self,
        request: PublishRequest,
        signer: &impl RepomdSigner,
    ) -> Result<PublishOutcome> {
        self.publish_if(request, signer, async || Ok(())).await
    }

    /// The same, but `may_show` is asked at last: when only the renames are left, and no other
    /// publisher can do theirs. When it returns a reason, nothing changes.
    ///
    /// # Errors
    /// As [`Self::publish`]; and [`PublishError::Stopped`].
    pub async fn publish_if(
        &self,
        request: PublishRequest,
        signer: &impl RepomdSigner,
        may_show: impl AsyncFnOnce() -> std::result::Result<(), String>,
    ) -> Result<PublishOutcome> {
        let publisher = self.clone();
        let mut written = match run_on_disk(move || publisher.write(request)).await? {
            PreparedPublication::Shown(generation) => {
                return Ok(PublishOutcome { generation, is_new: false });
            }
            PreparedPublication::Written(written) => written,
        };
        written.sign(signer).await?;
        (self.on_step)(PublishStep::Signed);
        let ready = run_on_disk(move || written.settle()).await?;
        may_show().await.map_err(|reason| PublishError::Stopped {
            target: ready.written.layout.target.clone(),
            channel: ready.written.layout.channel.clone(),
            reason,
        })?;
        let publisher = self.clone();
        run_on_disk(move || publisher.show(ready)).await
    }

    /// Everything before the signatures.
    fn write(&self, mut request: PublishRequest) -> Result<PreparedPublication> {
        let layout = ChannelLayout::new(&self.repos, &request.target, &request.channel)?;
        let certs = Certs::from_armored(&request.public_key).map_err(|error| {
            PublishError::Key { target: layout.target.clone(), reason: error.to_string() }
        })?;
        check_repositories(&request)?;
        sort(&mut request.packages)?;
        let listing = PackageListing::from_packages(&request.packages, &request.repositories);
        disk::make_dir(&layout.generations())?;
        // Held for the check and the cleaning only, so that a publisher that is paused in the
        // middle of its draft does not block others. The draft's base is checked again before it is
        // shown.
        let lock = lock::acquire(&layout)?;
        let shown = current_generation::generation(&layout)?;
        let previous = shown.and_then(|number| readable(&layout, number));
        let content = content_of(
            &request.base_url,
            &request.public_key,
            &request.arches,
            request.compression,
            &request.repositories,
            &listing,
        );
        if let (Some(shown), Some(previous)) = (shown, &previous)
            && previous.content == content
        {
            self.prove(&layout, &request, &certs, &listing, Some(previous))?;
            write_clients(&layout, &request)?;
            return Ok(PreparedPublication::Shown(shown));
        }
        if shown != request.based_on && !is_planted(PlantedBug::PublishUnchecked) {
            let PublishRequest { target, channel, based_on, .. } = request;
            return Err(PublishError::Moved { target, channel, based_on, shown });
        }
        current_generation::clean(&layout, shown)?;
        let dir = current_generation::draft(&layout)?;
        drop(lock);
        self.prove(&layout, &request, &certs, &listing, previous.as_ref())?;
        (self.on_step)(PublishStep::Pooled);

        let signed = if is_planted(PlantedBug::ReuseGenerationNumber) { 0 } else { request.signed };
        let generation = shown.unwrap_or(0).max(signed) + 1;
        let previous = previous.as_ref().map(|m| (m, layout.generation(m.generation)));
        let repositories = self.write_repositories(&request, dir.path(), generation, previous)?;
        (self.on_step)(PublishStep::Written);
        let manifest = GenerationManifest {
            generation,
            content,
            repositories,
            packages: listing,
            logged: None,
        };
        Ok(PreparedPublication::Written(Box::new(WrittenDraft {
            layout,
            request,
            certs,
            dir,
            manifest,
        })))
    }

    /// Writes the repositories of a generation into a draft's directory. `previous` is the
    /// generation before, with its directory.
    fn write_repositories(
        &self,
        request: &PublishRequest,
        dir: &Path,
        generation: u64,
        previous: Option<(&GenerationManifest, PathBuf)>,
    ) -> Result<Vec<RepositoryState>> {
        let draft = GenerationDraft {
            dir,
            generation,
            time: seconds(request.now),
            compression: request.compression,
            keep: self.keep,
            packages: &request.packages,
            repositories: &request.repositories,
            blobs: &self.blobs,
            previous,
        };
        draft.write(&request.arches)
    }

    fn prove(
        &self,
        layout: &ChannelLayout,
        request: &PublishRequest,
        certs: &Certs,
        listing: &PackageListing,
        previous: Option<&GenerationManifest>,
    ) -> Result<()> {
        let PublishRequest { arches, now, prove_all: all, .. } = request;
        let (blobs, now, all) = (&self.blobs, *now, *all);
        let proof = PackageProver { layout, blobs, arches, certs, now, all };
        let known: HashSet<&str> = previous.iter().flat_map(|m| m.packages.lines()).collect();
        for (package, line) in request.packages.iter().zip(listing.lines()) {
            if known.contains(line) && !request.prove_all {
                proof.still_there(package)?;
            } else {
                proof.admit(package)?;
            }
        }
        Ok(())
    }

    /// Puts a written generation in its place and points clients to it, each by one rename.
    fn show(&self, ready: SignedDraft) -> Result<PublishOutcome> {
        let SignedDraft { written, lock } = ready;
        let WrittenDraft { layout, request, dir, manifest, .. } = written;
        let generation = manifest.generation;
        let place = layout.generation(generation);
        if is_planted(PlantedBug::ShowBeforePlaced) {
            current_generation::show(&layout, generation)?;
            (self.on_step)(PublishStep::Shown);
        }
        std::fs::rename(dir.path(), &place).map_err(io_at(&place))?;
        // The directory was renamed, so there is nothing to remove.
        dir.keep();
        // Synced first: after a loss of power the link must not lead to a directory that was lost.
        disk::sync(&layout.generations())?;
        write_clients(&layout, &request)?;
        // These links lead through `current`, which is switched after them: until then clients see
        // what they saw.
        for top in request.top_directories() {
            let to = Path::new("current").join(top);
            disk::relink(&layout.channel().join(top), &to)?;
        }
        (self.on_step)(PublishStep::Placed);
        current_generation::show(&layout, generation)?;
        (self.on_step)(PublishStep::Shown);
        current_generation::unlink_gone(&layout)?;
        let keep = if is_planted(PlantedBug::RemoveGenerationsInUse) { 1 } else { self.keep };
        current_generation::forget(&layout, generation, keep)?;
        drop(lock);
        Ok(PublishOutcome { generation, is_new: true })
    }
}

/// The state of a publication before its signatures.
enum PreparedPublication {
    /// Nothing to do: this generation shows it all.
    Shown(u64),
    /// To be signed and shown.
    Written(Box<WrittenDraft>),
}

/// A draft that waits for its signatures. It is removed when this is dropped.
struct WrittenDraft {
    layout: ChannelLayout,
    request: PublishRequest,
    certs: Certs,
    dir: current_generation::DraftDir,
    manifest: GenerationManifest,
}

/// A draft that is complete, signed and synced, with the target's lock held: no other publisher
/// shows anything of the target.
struct SignedDraft {
    written: WrittenDraft,
    lock: File,
}

impl WrittenDraft {
    /// Does the steps after the signatures that no client sees, and checks that the channel still
    /// shows the generation on which the draft is based.
    fn settle(self) -> Result<SignedDraft> {
        let dir = self.dir.path();
        self.manifest.write(dir)?;
        manifest::write_repositories(dir, &self.request.repositories)?;
        for PublishedRepository { name, .. } in &self.request.repositories {
            for arch in &self.request.arches {
                disk::sync(&dir.join(name).join(arch.as_str()))?;
            }
        }
        for top in self.request.top_directories() {
            disk::sync(&dir.join(top))?;
        }
        disk::sync(dir)?;
        // The draft's directory is private, and its files may be; a generation is for everyone.
        disk::readable_by_all(dir)?;
        // Held from here to the renames, so that the answer of `may_show` stays true.
        let lock = lock::acquire(&self.layout)?;
        let shown = current_generation::generation(&self.layout)?;
        if shown != self.request.based_on && !is_planted(PlantedBug::PublishUnchecked) {
            let PublishRequest { target, channel, based_on, .. } = self.request;
            return Err(PublishError::Moved { target, channel, based_on, shown });
        }
        // A publisher that died between its two renames leaves a directory under this name.
        disk::remove(&self.layout.generation(self.manifest.generation))?;
        Ok(SignedDraft { written: self, lock })
    }

    /// Signs each `repomd.xml`, and checks each signature as a client would. The position in the
    /// signer's log is stored beside it, so that anybody with a copy of the repository can check
    /// later whether the log still continues from there.
    async fn sign(&mut self, signer: &impl RepomdSigner) -> Result<()> {
        let mut last: Option<LogHead> = None;
        for state in &self.manifest.repositories {
            let at = state.place();
            let repodata = at.below(self.dir.path()).join("repodata");
            let page = repodata.join("repomd.xml");
            let repomd = std::fs::read(&page).map_err(io_at(&page))?;
            let refused =
                |reason: String| PublishError::Signer { repository: self.name(at), reason };
            let place = RepositoryId {
                target: self.layout.target.clone(),
                channel: self.layout.channel.clone(),
                path: at.path(),
            };
            let signed = signer.sign(&place, &repomd).await;
            let signed = signed.map_err(|error| refused(error.to_string()))?;
            let RepomdSignature { armored, logged } = signed;
            rpmfarm_rpmfile::verify_detached(&repomd, &armored, &self.certs, self.request.now)
                .map_err(|error| refused(error.to_string()))?;
            disk::write(&page.with_extension("xml.asc"), armored.as_bytes())?;
            if let Some(logged) = &logged {
                let text =
                    serde_json::to_vec(logged).expect("a position has no key that JSON lacks");
                disk::write(&repodata.join(LOGGED), &text)?;
            }
            disk::sync(&repodata)?;
            // The later position in one log covers the earlier ones.
            last = logged.or(last);
        }
        self.manifest.logged = last;
        Ok(())
    }

    fn name(&self, place: RepositoryPlace<'_>) -> String {
        format!("{}/{}/{}", self.layout.target, self.layout.channel, place.path())
    }
}

/// Runs work that blocks on the disk, on a thread for it.
async fn run_on_disk<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    blocking::run(work).await.expect("publishing does not panic")
}

impl PublishRequest {
    /// The directories of a generation that clients find in the channel: its architectures, or its
    /// repositories where it has several.
    fn top_directories(&self) -> Vec<&str> {
        match &self.repositories[..] {
            [] => self.arches.iter().map(|arch| arch.as_str()).collect(),
            named => named.iter().map(|one| one.name.as_str()).collect(),
        }
    }
}

/// Checks the names of repositories, which become directories, and that each package is in one of
/// them.
fn check_repositories(request: &PublishRequest) -> Result<()> {
    let mut names = request.repositories.iter().map(|one| &one.name);
    if let Some(bad) = names.find(|name| name::check_package(name).is_err()) {
        return Err(PublishError::Name(name::shown(bad)));
    }
    let count = request.repositories.len().max(1);
    match request.packages.iter().find(|package| package.repository >= count) {
        Some(package) => Err(ProofError::Repository { count }.for_package(&package.nevra)),
        None => Ok(()),
    }
}

fn write_clients(layout: &ChannelLayout, request: &PublishRequest) -> Result<()> {
    let PublishRequest { base_url, public_key, repositories, .. } = request;
    clients::write(layout, base_url, public_key, repositories)
}

/// Sorts packages in the order of the repodata, and refuses two with the same path in the pool.
fn sort(packages: &mut [PublishedPackage]) -> Result<()> {
    packages.sort_by_cached_key(|package| (package.nevra.name.clone(), package.nevra.file_name()));
    for pair in packages.windows(2) {
        if pair[0].nevra.file_name() == pair[1].nevra.file_name() {
            return Err(ProofError::Twice.for_package(&pair[1].nevra));
        }
    }
    Ok(())
}

/// The manifest of the generation that is shown. When it cannot be read, everything is proved and
/// written again, which costs only time.
fn readable(layout: &ChannelLayout, generation: u64) -> Option<GenerationManifest> {
    let dir = layout.generation(generation);
    match GenerationManifest::read(&dir) {
        Ok(manifest) => Some(manifest),
        Err(error) => {
            tracing::warn!(%error, "the generation before is not used");
            None
        }
    }
}

fn seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
