//! The publish stage: publishes signed packages in the first channel of their target.
//!
//! A build that conflicts with the channel fails, one whose files are damaged waits, and the others
//! continue. When a target's key or the farm's address changes, the channel is published again,
//! with its packages signed with that key.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::num::NonZeroUsize;
use std::sync::Arc;

use anyhow::Context as _;
use rpmfarm_core::missing_requirements::{
    LackingPackage, MissingRequirements, WithheldPackages, held,
};
use rpmfarm_core::noarch::NOARCH;
use rpmfarm_core::signing::RepositoryId;
use rpmfarm_core::snapshot::{Snapshot, SnapshotError, SnapshotPackage};
use rpmfarm_core::terms::without_noarch;
use rpmfarm_core::{
    Arch, BuildId, Failure, FailureStage, Fault, Nevra, Sha256, Stage, Target, Timestamp,
};

use super::{
    PublishError, PublishRequest, PublishedPackage, Publisher, RepomdSignature, RepomdSigner,
    SignError,
};
use crate::blobs::Blobs;
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::planted_bugs::{PlantedBug, is_planted};
use crate::resolve::Resolver;
use crate::retry::Retries;
use crate::sign::{self, SignerClient, Signing};
use crate::store::{Build, FencedStore, Revision, SignedPackage, Store};
use crate::targets::{Targets, one_line};
use crate::wait_reasons::LocalWaitReasons;
use crate::work;

/// How many versions of a source package a channel shows.
const KEEP_VERSIONS: NonZeroUsize = NonZeroUsize::MIN;

/// The largest snapshot that is read into memory, in bytes.
const MAX_SNAPSHOT: u64 = 256 << 20;

/// How many packages of a channel one pass signs again, so that other targets do not wait for the
/// rest.
const ANEW: usize = 256;

/// The beginning of the wait reason of a build that cannot be published now.
const WAITS: &str = "not published yet";

/// A build that is signed, with its packages.
type SignedBuild = (BuildId, Vec<SignedPackage>);

/// Gives every target with signed, unpublished builds a new revision of its first channel.
#[derive(Clone)]
pub struct PublishStage {
    pub targets: Targets,
    /// The contents of channels.
    pub channels: Channels,
    /// Signs packages and pages.
    pub signing: Signing,
    /// Knows the packages of external repositories.
    pub resolver: Resolver,
    /// Where the reason is shown why a build is not published.
    pub waits: LocalWaitReasons,
    /// Records that a build cannot be published.
    pub retries: Retries,
    /// For the metric of how long it took.
    pub metrics: Metrics,
    /// The address under which users reach this farm, without a slash at its end.
    pub base_url: Arc<str>,
    /// The clock that is read while the stage works.
    pub clock: Clock,
}

impl work::Stage for PublishStage {
    const NAME: Stage = Stage::Publish;

    /// # Errors
    /// When a channel could not be published; the others are published nevertheless.
    async fn pass(&self, store: &FencedStore, _now: Timestamp) -> anyhow::Result<()> {
        let mut by_target = BTreeMap::<String, Vec<Build>>::new();
        for build in store.build_list_accepted().await? {
            by_target.entry(build.target.clone()).or_default().push(build);
        }
        let mut result = Ok(());
        for (name, target) in self.targets.all() {
            let builds = by_target.remove(&name).unwrap_or_default();
            let published = match target {
                Ok(target) => self.publish_signed(store, &target, &builds).await,
                Err(_) if builds.is_empty() => Ok(()),
                Err(problem) => {
                    let problem = one_line(&problem);
                    Err(anyhow::anyhow!("target `{name}` cannot be used: {problem}"))
                }
            };
            if let Err(error) = published {
                for build in &builds {
                    self.waits.set(build.id, format!("{WAITS}: {error:#}"));
                }
                result = Err(error.context(format!("publishing {name}")));
            }
        }
        for build in by_target.into_values().flatten() {
            self.waits.set(build.id, format!("target `{}` no longer exists", build.target));
        }
        result
    }
}

impl PublishStage {
    async fn publish_signed(
        &self,
        store: &FencedStore,
        target: &Arc<Target>,
        builds: &[Build],
    ) -> anyhow::Result<()> {
        let signed = signed_builds(store, target, builds).await?;
        let channel = target.first_channel();
        let withdrawn = self.withdrawn(store, target, channel).await?;
        if withdrawn.is_some() {
            self.sign_returning(store, target).await?;
        }
        if signed.is_empty() && withdrawn.is_none() && !self.is_due(store, target, channel).await? {
            return Ok(());
        }
        let shown = self.channels.load(store, target, channel).await?;
        let left = self.sign_anew(store, target, channel, &shown).await?;
        if left > 0 {
            self.wait_for_key(target, channel, builds, left);
            return Ok(());
        }
        self.publish_fitting(store, target, channel, signed, &shown).await?;
        if let Some(number) = withdrawn {
            store.pool_set_shown(&target.name, number).await?;
        }
        Ok(())
    }

    /// The number of the newest withdrawal from a target, if the channel was not published since.
    async fn withdrawn(
        &self,
        store: &FencedStore,
        target: &Target,
        channel: &str,
    ) -> anyhow::Result<Option<i64>> {
        let state = store.pool_fetch(&target.name).await?;
        if state.withdrawn <= state.shown {
            return Ok(None);
        }
        if self.channels.publisher.shown(&target.name, channel)?.is_none() {
            // No client has seen the channel yet.
            store.pool_set_shown(&target.name, state.withdrawn).await?;
            return Ok(None);
        }
        Ok(Some(state.withdrawn))
    }

    /// Shows for builds that they wait until so many packages of the channel are signed again.
    fn wait_for_key(&self, target: &Target, channel: &str, builds: &[Build], left: usize) {
        let (name, key) = (&target.name, &target.signing_key);
        for build in builds {
            let reason = format!(
                "{WAITS}: {left} packages of {channel} are signed again with the key `{key}` of \
                 {name} first"
            );
            self.waits.set(build.id, reason);
        }
    }

    /// Publishes signed builds. A build that cannot be published does not hold back the others of
    /// its target.
    async fn publish_fitting(
        &self,
        store: &FencedStore,
        target: &Target,
        channel: &str,
        mut signed: Vec<SignedBuild>,
        shown: &ChannelState,
    ) -> anyhow::Result<()> {
        while let Err(error) = self.publish(store, target, channel, &signed, shown).await {
            let place = signed.iter().position(|build| is_of(build, &error));
            let Some(place) = place.filter(|_| !is_planted(PlantedBug::OneBuildBlocksTarget))
            else {
                return Err(error);
            };
            self.keep_back(store, signed.remove(place).0, &error).await?;
        }
        Ok(())
    }

    /// Signs restored packages that are not signed with the target's key, which may have changed
    /// since.
    async fn sign_returning(&self, store: &FencedStore, target: &Target) -> anyhow::Result<()> {
        let builds: BTreeSet<BuildId> =
            store.returning_list(&target.name).await?.into_iter().map(|row| row.build).collect();
        for build in builds {
            let rows = store.package_list_of_build(build, &target.signing_key).await?;
            let unsigned = rows.into_iter().filter(|row| row.signature.is_none());
            let unsigned: Vec<_> = unsigned.map(|row| row.package).collect();
            if !unsigned.is_empty() {
                self.signing.sign_all(store, target, unsigned).await?;
            }
        }
        Ok(())
    }

    /// Handles a build that cannot be published: one that conflicts with the channel fails; one
    /// whose files are damaged waits until the files are repaired.
    async fn keep_back(
        &self,
        store: &FencedStore,
        build: BuildId,
        error: &anyhow::Error,
    ) -> anyhow::Result<()> {
        if error.is::<UnfitBuildError>() {
            let failure = Failure::new(Fault::Package, FailureStage::Publish, format!("{error:#}"));
            let now = self.clock.time();
            return Ok(self.retries.record(store, build, None, &failure, now).await?);
        }
        tracing::error!(build = build.0, error = format!("{error:#}"), "not published");
        self.waits.set(build, format!("{WAITS}: {error:#}"));
        Ok(())
    }

    /// Whether clients see a generation that was never recorded, because its publisher died before
    /// that, or because one of its builds was cancelled meanwhile. Then the channel is published
    /// again with the recorded content.
    async fn is_ahead(
        &self,
        store: &FencedStore,
        target: &Target,
        channel: &str,
    ) -> anyhow::Result<bool> {
        let Some(shown) = self.channels.publisher.shown(&target.name, channel)? else {
            return Ok(false);
        };
        if is_planted(PlantedBug::UnrecordedGeneration) {
            return Ok(false);
        }
        let recorded =
            store.channel_fetch(&target.name, channel).await?.map_or(0, |row| row.revision);
        Ok(shown.cast_signed() > recorded)
    }

    /// Whether a channel must be published although no build is to be added: clients see a
    /// generation that was never recorded, or an older address or key of the farm. When the signer
    /// is down this stays unknown, and the next pass asks again.
    async fn is_due(
        &self,
        store: &FencedStore,
        target: &Target,
        channel: &str,
    ) -> anyhow::Result<bool> {
        if self.is_ahead(store, target, channel).await? {
            return Ok(true);
        }
        if self.channels.publisher.shown(&target.name, channel)?.is_none() {
            return Ok(false);
        }
        let key = self.signing.signer.known_key(&target.signing_key).await;
        let Some(key) = key else { return Ok(false) };
        let (publisher, base_url) = (&self.channels.publisher, self.base_url());
        Ok(publisher.is_outdated(&target.name, channel, &base_url, &key.armored)?)
    }

    /// The base URL of the tree of all targets.
    fn base_url(&self) -> String {
        format!("{}/repo", self.base_url)
    }

    /// Signs some of the channel's packages with the target's key, where another key signed them.
    /// Returns how many are left for the next pass.
    async fn sign_anew(
        &self,
        store: &FencedStore,
        target: &Target,
        channel: &str,
        shown: &ChannelState,
    ) -> anyhow::Result<usize> {
        let unsigned = shown.unsigned();
        if unsigned.is_empty() {
            return Ok(0);
        }
        let mut packages = Vec::new();
        for nevra in unsigned.iter().take(ANEW) {
            let package = store.package_fetch(&target.name, nevra).await?;
            packages
                .push(package.with_context(|| format!("{nevra} is not a package of the farm"))?);
        }
        let key = &target.signing_key;
        let signed = self.signing.sign_all(store, target, packages).await.with_context(|| {
            format!(
                "the {} packages of {channel} have to be signed again, since signing_key of {} is \
                 `{key}` now",
                unsigned.len(),
                target.name
            )
        })?;
        let left = unsigned.len() - signed;
        tracing::info!(target = target.name, channel, key, signed, left, "packages signed again");
        // The new signatures are read in the next pass, which follows at once because this one has
        // written.
        Ok(unsigned.len())
    }

    /// Adds signed builds to a channel.
    async fn publish(
        &self,
        store: &FencedStore,
        target: &Target,
        channel: &str,
        signed: &[SignedBuild],
        shown: &ChannelState,
    ) -> anyhow::Result<()> {
        let based_on = shown.generation;
        let snapshot = next_snapshot(store, shown, signed).await?;
        let lacking = self.lacking(store, target, &snapshot).await;
        let snapshot = match &lacking {
            Some((held, _)) => snapshot.with_held(&held.from),
            None => snapshot,
        };
        let request = self.request(target, channel, shown, &snapshot).await?;
        let signer = TargetSigner { client: &self.signing.signer, key: &target.signing_key };
        // Asked while no other publisher can show anything: this coordinator must still run the
        // stage, and the channel must still be at the generation that was read.
        let begun = self.clock.instant();
        let may_show = async || may_show(store, &target.name, channel, based_on).await;
        let published = self.channels.publisher.publish_if(request, &signer, may_show).await?;
        let revision = Revision {
            target: target.name.clone(),
            channel: channel.into(),
            revision: published.generation.cast_signed(),
            snapshot: self.channels.blobs.put(&serde_json::to_vec(&snapshot)?)?,
            packages: i64::try_from(snapshot.packages().len())?,
            at: self.clock.time(),
        };
        record(store, &revision, signed).await?;
        if let Some((_, lacking)) = lacking {
            store.lacking_replace(&target.name, channel, &lacking).await?;
        }
        self.metrics.worked(Stage::Publish.as_str(), self.clock.instant() - begun);
        Ok(())
    }

    /// Sends the request to the publisher.
    async fn request(
        &self,
        target: &Target,
        channel: &str,
        shown: &ChannelState,
        snapshot: &Snapshot,
    ) -> anyhow::Result<PublishRequest> {
        let key = self.signing.signer.public_key(&target.signing_key).await?;
        Ok(PublishRequest {
            target: target.name.clone(),
            channel: channel.into(),
            base_url: self.base_url(),
            public_key: key.armored,
            arches: target.arches.clone(),
            compression: Default::default(),
            packages: published_packages(shown, snapshot)?,
            based_on: shown.generation,
            signed: self.signing.signer.revision(&target.name, channel).await?,
            now: self.clock.system(),
            prove_all: false,
        })
    }

    /// The requirements of `noarch` packages that nothing provides in the repositories of an
    /// architecture, and what follows for the packages. Empty for a target with one architecture,
    /// and when its external repositories cannot be read: then the earlier decisions stay.
    async fn lacking(
        &self,
        store: &FencedStore,
        target: &Target,
        snapshot: &Snapshot,
    ) -> Option<(WithheldPackages, Vec<LackingPackage>)> {
        if target.arches.len() < 2 {
            return None;
        }
        let noarch: HashMap<&Nevra, &SnapshotPackage> = snapshot
            .packages()
            .iter()
            .filter(|package| package.nevra.arch == NOARCH)
            .map(|package| (&package.nevra, package))
            .collect();
        let mut lacks = BTreeMap::<Arch, MissingRequirements>::new();
        let arches = target.arches.iter().filter(|_| !noarch.is_empty());
        for arch in arches {
            let shown = snapshot.packages().iter().filter(|package| package.is_meant_for(*arch));
            let shown = shown.map(|package| package.nevra.clone()).collect();
            let now = self.clock.system();
            match self.resolver.lacking(target, *arch, &**store, shown, now).await {
                Ok(found) => {
                    lacks.insert(*arch, found.into_iter().collect());
                }
                Err(error) => {
                    let target = &target.name;
                    tracing::warn!(
                        target,
                        %arch,
                        "missing requirements of packages are unknown: {error}"
                    );
                    return None;
                }
            }
        }
        let held = held(&lacks, |nevra, arch| {
            noarch.get(nevra).is_some_and(|package| package.is_meant_for(arch))
        });
        let lacking = held.lacking_packages(&lacks);
        Some((held, lacking))
    }
}

/// The builds whose packages are all signed.
async fn signed_builds(
    store: &FencedStore,
    target: &Target,
    builds: &[Build],
) -> anyhow::Result<Vec<SignedBuild>> {
    let mut signed = Vec::new();
    for build in builds {
        let rows = store.package_list_of_build(build.id, &target.signing_key).await?;
        anyhow::ensure!(!rows.is_empty(), "build {} has no packages", build.id);
        let is_signed = rows.iter().all(|row| row.signature.is_some());
        if is_signed || is_planted(PlantedBug::PublishUnsigned) {
            signed.push((build.id, rows));
        }
    }
    Ok(signed)
}

/// Records a revision that clients see already, with its builds. When the coordinator dies before
/// this, the next pass does it (`is_ahead`).
async fn record(
    store: &FencedStore,
    revision: &Revision,
    signed: &[SignedBuild],
) -> anyhow::Result<()> {
    let builds: Vec<BuildId> = signed.iter().map(|(build, _)| *build).collect();
    let recorded = store.revision_insert(revision, &builds).await?;
    let Revision { target, channel, revision, packages, .. } = revision;
    anyhow::ensure!(
        recorded,
        "revision {revision} of {channel} of {target} does not count: a build ended while it was \
         published, or a newer revision is recorded; the next pass tries again"
    );
    tracing::info!(target, channel, revision, packages, builds = builds.len(), "published");
    Ok(())
}

/// A build that conflicts with the content of the channel.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
struct UnfitBuildError {
    build: BuildId,
    reason: SnapshotError,
}

/// Whether a build is the reason for an error of publishing.
fn is_of((build, rows): &SignedBuild, error: &anyhow::Error) -> bool {
    if let Some(unfit) = error.downcast_ref::<UnfitBuildError>() {
        return unfit.build == *build;
    }
    match error.downcast_ref::<PublishError>() {
        Some(PublishError::Package { nevra, .. }) => {
            rows.iter().any(|row| row.package.nevra == **nevra)
        }
        _ => false,
    }
}

/// A channel's content, and which packages are signed with its target's key.
struct ChannelState {
    /// The generation that is shown. Read first, so that a later change is noticed when the new one
    /// is to be shown.
    generation: Option<u64>,
    snapshot: Snapshot,
    signed: Vec<SignedPackage>,
    /// Restored packages that must be in the channel again.
    returning: Vec<SignedBuild>,
}

/// The restored packages, by their builds.
async fn returning(store: &Store, target: &Target) -> anyhow::Result<Vec<SignedBuild>> {
    let mut by_build = BTreeMap::<BuildId, HashSet<Nevra>>::new();
    for row in store.returning_list(&target.name).await? {
        by_build.entry(row.build).or_default().insert(row.nevra);
    }
    let mut all = Vec::new();
    for (build, names) in by_build {
        let rows = store.package_list_of_build(build, &target.signing_key).await?;
        let back =
            |row: &SignedPackage| names.contains(&row.package.nevra) && row.signature.is_some();
        all.push((build, rows.into_iter().filter(back).collect()));
    }
    Ok(all)
}

/// Reads the contents of channels, as recorded and as shown to clients. Cheap to clone.
#[derive(Clone)]
pub struct Channels {
    /// The trees of files.
    pub publisher: Publisher,
    /// Where snapshots are stored.
    pub blobs: Blobs,
}

impl Channels {
    async fn load(
        &self,
        store: &Store,
        target: &Target,
        channel: &str,
    ) -> anyhow::Result<ChannelState> {
        let generation = self.publisher.shown(&target.name, channel)?;
        let withdrawn = store.withdrawal_list_names(&target.name).await?;
        let snapshot = self.snapshot(store, target, channel).await?.without(&withdrawn);
        let returning = returning(store, target).await?;
        let signed = store.package_list_signed(&target.name, &target.signing_key).await?;
        Ok(ChannelState { generation, snapshot, signed, returning })
    }

    /// The content of a channel now.
    async fn snapshot(
        &self,
        store: &Store,
        target: &Target,
        channel: &str,
    ) -> anyhow::Result<Snapshot> {
        let Some(revision) = store.channel_fetch(&target.name, channel).await? else {
            return Ok(Snapshot::default());
        };
        let bytes = self.blobs.read_small(revision.snapshot, MAX_SNAPSHOT)?;
        serde_json::from_slice(&bytes).context("the snapshot's blob is not a valid snapshot")
    }

    /// How many packages of a channel are not signed with the target's present `signing_key`,
    /// because it was another one when they were published.
    ///
    /// # Errors
    /// Database errors; a snapshot that cannot be read.
    pub async fn unsigned(
        &self,
        store: &Store,
        target: &Target,
        channel: &str,
    ) -> anyhow::Result<usize> {
        Ok(self.load(store, target, channel).await?.unsigned().len())
    }
}

impl ChannelState {
    /// The packages of the channel that are not signed with the key.
    fn unsigned(&self) -> Vec<&Nevra> {
        let signed: HashSet<&Nevra> = self.signed.iter().map(|row| &row.package.nevra).collect();
        let all = self.snapshot.packages().iter().map(|package| &package.nevra);
        all.filter(|nevra| !signed.contains(nevra)).collect()
    }
}

/// Whether a generation that is based on another one may be shown now. A generation that was shown
/// and not recorded, because its publisher died, is no obstacle: the new one is based on it.
async fn may_show(
    store: &FencedStore,
    target: &str,
    channel: &str,
    based_on: Option<u64>,
) -> Result<(), String> {
    if is_planted(PlantedBug::PublishUnchecked) {
        return Ok(());
    }
    store.check_fence().await.map_err(|error| error.to_string())?;
    let recorded = store.channel_fetch(target, channel).await.map_err(|error| error.to_string())?;
    let recorded = recorded.map_or(0, |row| row.revision.unsigned_abs());
    if recorded > based_on.unwrap_or(0) {
        return Err(format!("revision {recorded} is recorded, and the files are older"));
    }
    Ok(())
}

/// The present content of the channel, with these packages added build by build.
async fn next_snapshot(
    store: &Store,
    shown: &ChannelState,
    signed: &[SignedBuild],
) -> anyhow::Result<Snapshot> {
    let digests: HashMap<&Nevra, Sha256> = shown
        .signed
        .iter()
        .filter_map(|row| Some((&row.package.nevra, row.signature?.signed_digest)))
        .collect();
    // A package that was signed again has another digest than when the channel got it.
    let mut snapshot = shown.snapshot.clone().signed_anew(|nevra| digests.get(nevra).copied());
    // Restored packages come first, so that a newer version replaces them again.
    for (build, rows) in shown.returning.iter().chain(signed) {
        let srpm = store.srpm_fetch(*build).await?;
        let source = srpm
            .as_ref()
            .with_context(|| format!("build {build} has no source package"))?
            .nevra
            .clone();
        let by_source = srpm.map(|srpm| without_noarch(&srpm.terms)).unwrap_or_default();
        let added = rows
            .iter()
            .filter_map(|row| {
                let digest = row.signature?.signed_digest;
                let nevra = row.package.nevra.clone();
                Some(SnapshotPackage::of_build(nevra, digest, source.clone(), &by_source))
            })
            .collect::<Vec<_>>();
        snapshot = snapshot
            .with_build(&added, KEEP_VERSIONS)
            .map_err(|reason| UnfitBuildError { build: *build, reason })?;
    }
    Ok(snapshot)
}

fn published_packages(
    shown: &ChannelState,
    snapshot: &Snapshot,
) -> anyhow::Result<Vec<PublishedPackage>> {
    let by_nevra: HashMap<&Nevra, &SignedPackage> =
        shown.signed.iter().map(|row| (&row.package.nevra, row)).collect();
    snapshot
        .packages()
        .iter()
        .map(|package| {
            let row = by_nevra.get(&package.nevra).and_then(|row| row.signature);
            let signature =
                row.with_context(|| format!("{} has lost its signature", package.nevra))?;
            Ok(PublishedPackage {
                nevra: package.nevra.clone(),
                digest: signature.signed_digest,
                size: signature.signed_size,
                repodata: signature.repodata,
                without: package.without.arches(),
            })
        })
        .collect()
}

/// Signs `repomd.xml` with the target's key.
struct TargetSigner<'a> {
    client: &'a SignerClient,
    key: &'a str,
}

impl RepomdSigner for TargetSigner<'_> {
    async fn sign(
        &self,
        place: &RepositoryId,
        repomd: &[u8],
    ) -> Result<RepomdSignature, SignError> {
        let signature = self.client.sign_repomd(self.key, place, repomd.to_vec()).await?;
        let logged = Some(sign::logged(&signature)?);
        Ok(RepomdSignature { armored: String::from_utf8(signature.signature.to_vec())?, logged })
    }
}
