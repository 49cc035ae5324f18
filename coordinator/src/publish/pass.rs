//! The publish stage: publishes signed packages in the first channel of their target.
//!
//! Targets are published in parallel, each as often as `core` says (`publish_time`): builds that
//! end together are published together. A build that conflicts with the channel fails, one whose
//! files are damaged waits, and the others continue. When a target's key or the farm's address
//! changes, the channel is published again, with its packages signed with that key: before anything
//! else, or while builds are published, when the earlier key is one of the target's `previous_keys`.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use rpmfarm_core::missing_requirements::{
    LackingPackage, MissingRequirements, WithheldPackages, held,
};
use rpmfarm_core::noarch::NOARCH;
use rpmfarm_core::proof::Problem;
use rpmfarm_core::publish_time::SignedWork;
use rpmfarm_core::snapshot::{Snapshot, SnapshotPackage};
use rpmfarm_core::{
    Arch, BatchId, BuildId, Failure, FailureStage, Fault, Nevra, Sha256, Stage, Target, Timestamp,
};

use super::channels::{ChannelState, Channels, SignedBuild};
use super::gathering::Gathering;
use super::keys::TargetSigner;
use super::next_content::{
    UnfitBuildError, farm_packages, is_of, next_snapshot, proven_builds, published_packages,
};
use super::placement::Placement;
use super::proof::{Contents, ProofRefusedError, Proofs};
use super::{PublishRequest, PublishedPackage};
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::planted_bugs::{PlantedBug, is_planted};
use crate::resolve::Resolver;
use crate::retry::Retries;
use crate::sign::Signing;
use crate::store::{Build, ChannelChange, FencedStore, Revision};
use crate::targets::Targets;
use crate::wait_reasons::LocalWaitReasons;
use crate::work::{self, CoalescedTasks};

/// How many packages of a channel are signed again in one step; builds that wait show how many are
/// left.
const ANEW: usize = 256;

/// A file that was proved longer ago is read again before it is published, because the disk may
/// have lost it since.
const PROOF_LASTS: Duration = Duration::from_secs(24 * 60 * 60);

/// After work on a target, the pass pauses for as long as the work took, and at least so long, so
/// that packages which are signed one by one do not cause it to be read all the time.
const REST: Duration = Duration::from_millis(200);

/// The longest such time.
const LONGEST_REST: Duration = Duration::from_secs(1);

/// The beginning of the wait reason of a build that cannot be published now.
const WAITS: &str = "not published yet";

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
    /// Finds out what a new content would break for users.
    pub proofs: Proofs,
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
    /// The work that is under way.
    pub work: PublishWork,
}

/// The work that is under way for each target, and the facts that are kept from pass to pass. Cheap
/// to clone.
#[derive(Debug, Clone)]
pub struct PublishWork {
    targets: CoalescedTasks<String>,
    gathering: Gathering,
}

impl Default for PublishWork {
    fn default() -> Self {
        Self { targets: CoalescedTasks::new("publish"), gathering: Gathering::default() }
    }
}

impl work::Stage for PublishStage {
    const NAME: Stage = Stage::Publish;

    /// Requests the work on each target, which is done outside of the pass: a target whose packages
    /// are large delays no other.
    async fn pass(&self, store: &FencedStore, _now: Timestamp) -> anyhow::Result<()> {
        let waiting: BTreeSet<String> = store.target_list_accepted().await?.into_iter().collect();
        let targets = self.targets.all();
        for gone in waiting.iter().filter(|name| !targets.contains_key(*name)) {
            self.wait_for_target(store, gone).await?;
        }
        let now = self.clock.instant();
        for name in targets.into_keys() {
            if self.work.gathering.has_to_be_read(&name, waiting.contains(&name), now) {
                self.ask(store, name);
            }
        }
        Ok(())
    }
}

impl PublishStage {
    /// Sets the wait reason of the builds of a target that no longer exists.
    async fn wait_for_target(&self, store: &FencedStore, name: &str) -> anyhow::Result<()> {
        for build in store.build_list_accepted_of_target(name).await? {
            self.waits.set(build.id, format!("target `{name}` is not there any more"));
        }
        Ok(())
    }

    fn ask(&self, store: &FencedStore, name: String) {
        let (stage, store) = (self.clone(), store.clone());
        self.work.targets.ask(name.clone(), move || {
            let (stage, store, name) = (stage.clone(), store.clone(), name.clone());
            async move {
                let begun = stage.clock.instant();
                stage.publish_target(&store, &name).await?;
                let took = stage.clock.instant() - begun;
                stage.clock.sleep(took.clamp(REST, LONGEST_REST)).await;
                Ok(())
            }
        });
    }

    /// Publishes the signed builds of all targets, one target after the other.
    ///
    /// # Errors
    /// When a channel could not be published; the others are published nevertheless.
    pub async fn publish_all(&self, store: &FencedStore) -> anyhow::Result<()> {
        let mut result = Ok(());
        for name in self.targets.all().into_keys() {
            if let Err(error) = self.publish_target(store, &name).await {
                result = Err(error);
            }
        }
        result
    }

    /// Publishes the signed builds of a target, if they are due.
    ///
    /// # Errors
    /// When its channel could not be published; then the reason is the wait reason of its builds.
    pub async fn publish_target(&self, store: &FencedStore, name: &str) -> anyhow::Result<()> {
        let builds = store.build_list_accepted_of_target(name).await?;
        let published = match self.targets.get(name) {
            Ok(target) => self.publish_signed(store, &target, &builds).await,
            Err(_) if builds.is_empty() => Ok(()),
            Err(error) => Err(error.into()),
        };
        if let Err(error) = &published {
            for build in &builds {
                self.waits.set(build.id, format!("{WAITS}: {error:#}"));
            }
        }
        published.with_context(|| format!("publishing {name}"))
    }

    async fn publish_signed(
        &self,
        store: &FencedStore,
        target: &Arc<Target>,
        builds: &[Build],
    ) -> anyhow::Result<()> {
        let signed = self.gathered(store, target, builds).await?;
        let channel = target.first_channel();
        let withdrawn = self.withdrawn(store, target, channel).await?;
        if withdrawn.is_some() {
            self.sign_returning(store, target).await?;
        }
        let is_asked = !signed.is_empty()
            || withdrawn.is_some()
            || self.is_due(store, target, channel).await?;
        let changes_key = self.changes_key(target, channel);
        if !is_asked && !changes_key {
            return Ok(());
        }
        let shown = self.channels.load(store, target, channel).await?;
        let left = self.sign_anew(store, target, channel, &shown.unsigned()).await?;
        if left > 0 {
            self.wait_for_key(target, channel, builds, left);
            self.work.gathering.read_again(&target.name);
            return Ok(());
        }
        let is_signed = shown.generation.is_some() && shown.outdated.is_empty();
        if is_asked || is_signed {
            self.publish_fitting(store, target, channel, signed, &shown).await?;
        }
        if let Some(number) = withdrawn {
            store.pool_set_shown(&target.name, number).await?;
        }
        if changes_key {
            self.change_key(store, target, channel, &shown.outdated).await?;
        }
        Ok(())
    }

    /// Whether a channel may have packages that an earlier key of the target has signed.
    fn changes_key(&self, target: &Target, channel: &str) -> bool {
        let (name, key) = (&target.name, &target.signing_key);
        !target.previous_keys.is_empty() && !self.work.gathering.has_changed_key(name, channel, key)
    }

    /// Signs some of the packages again that an earlier key of the target has signed. Clients know
    /// that key, so they are published when all are signed, or with the next build.
    async fn change_key(
        &self,
        store: &FencedStore,
        target: &Target,
        channel: &str,
        outdated: &[Nevra],
    ) -> anyhow::Result<()> {
        let gathering = &self.work.gathering;
        if outdated.is_empty() {
            gathering.changed_key(&target.name, channel, &target.signing_key);
            return Ok(());
        }
        let outdated: Vec<&Nevra> = outdated.iter().collect();
        self.sign_anew(store, target, channel, &outdated).await?;
        gathering.read_again(&target.name);
        Ok(())
    }

    /// The signed builds of a target with their packages; none while more are to come soon.
    async fn gathered(
        &self,
        store: &FencedStore,
        target: &Target,
        builds: &[Build],
    ) -> anyhow::Result<Vec<SignedBuild>> {
        let signed = self.find_signed(store, target, builds).await?;
        if signed.is_empty() {
            return Ok(Vec::new());
        }
        let (name, gathering) = (&target.name, &self.work.gathering);
        let accepted = store.problem_accept_newest(name, target.first_channel()).await?;
        if gathering.are_held(name, &signed, (self.clock.instant(), accepted)) {
            return Ok(Vec::new());
        }
        let work = SignedWork {
            waited: gathering.waited(name, self.clock.instant()),
            more_to_come: more_to_come(store, name, builds, &signed).await?,
            last_took: gathering.last_took(name),
        };
        if !work.is_due() {
            return Ok(Vec::new());
        }
        // Read again, because one of their packages may have been withdrawn meanwhile.
        let all = builds.iter().map(|build| build.id);
        let signed: Vec<BuildId> = all.filter(|build| signed.contains(build)).collect();
        signed_builds(store, target, &signed).await
    }

    /// The signed builds of a target. Only those are queried whose signatures are not known yet.
    async fn find_signed(
        &self,
        store: &FencedStore,
        target: &Target,
        builds: &[Build],
    ) -> anyhow::Result<HashSet<BuildId>> {
        let (name, key, gathering) = (&target.name, &target.signing_key, &self.work.gathering);
        let all: Vec<BuildId> = builds.iter().map(|build| build.id).collect();
        let known = gathering.known(name, key, &all);
        if all.len() == known.len() {
            return Ok(known);
        }
        let is_new = |build: &BuildId| !known.contains(build);
        let new: Vec<BuildId> = all.into_iter().filter(is_new).collect();
        let unsigned = store.build_list_unsigned(&new, key).await?;
        let is_perhaps =
            |build: &BuildId| !unsigned.contains(build) || is_planted(PlantedBug::PublishUnsigned);
        let perhaps: Vec<BuildId> = new.into_iter().filter(is_perhaps).collect();
        let signed = signed_builds(store, target, &perhaps).await?;
        let signed: Vec<BuildId> = signed.into_iter().map(|(build, _)| build).collect();
        gathering.add(name, &signed, self.clock.instant());
        Ok(known.into_iter().chain(signed).collect())
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
        let mut held = Vec::new();
        while let Err(error) = self.publish(store, target, channel, &signed, shown, &held).await {
            let refused = error.downcast_ref::<ProofRefusedError>();
            if let Some(refused) = refused.filter(|refused| !refused.builds.is_empty()) {
                self.hold(target, refused);
                signed.retain(|(build, _)| !refused.builds.contains_key(build));
                held.extend(refused.problems.iter().cloned());
                if signed.is_empty()
                    && !shown.is_changed()
                    && !self.is_due(store, target, channel).await?
                {
                    return Ok(());
                }
                continue;
            }
            let place = signed.iter().position(|build| is_of(build, &error));
            let Some(place) = place.filter(|_| !is_planted(PlantedBug::OneBuildBlocksTarget))
            else {
                return Err(error);
            };
            self.keep_back(store, signed.remove(place).0, &error).await?;
        }
        Ok(())
    }

    /// Shows for builds that they are held back, because they would bring problems.
    fn hold(&self, target: &Target, refused: &ProofRefusedError) {
        for (build, reason) in &refused.builds {
            self.waits.set(*build, format!("{WAITS}: {reason}"));
        }
        let (held, now) = (refused.builds.keys().copied(), self.clock.instant());
        self.work.gathering.hold(&target.name, held, (now, refused.accepted));
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
    /// generation that was never recorded, an older address or key of the farm, or repositories by
    /// older rules. When the signer
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
        let keys = self.signing.signer.known_keys(target).await;
        let Some(keys) = keys else { return Ok(false) };
        let (publisher, base_url) = (&self.channels.publisher, self.base_url());
        let repositories = &target.published_repositories;
        Ok(publisher.is_outdated(&target.name, channel, &base_url, &keys, repositories)?)
    }

    /// The base URL of the tree of all targets.
    fn base_url(&self) -> String {
        format!("{}/repo", self.base_url)
    }

    /// Signs some of these packages of a channel, which another key has signed, with the target's
    /// key. Returns how many are left for the next pass.
    async fn sign_anew(
        &self,
        store: &FencedStore,
        target: &Target,
        channel: &str,
        unsigned: &[&Nevra],
    ) -> anyhow::Result<usize> {
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
        held: &[Problem],
    ) -> anyhow::Result<()> {
        let based_on = shown.generation;
        let snapshot = next_snapshot(store, shown, signed).await?;
        let placement = Placement::new(target, &snapshot);
        let lacking = self.lacking(store, target, &snapshot, &placement).await;
        let snapshot = match &lacking {
            Some((held, _)) => snapshot.with_held(&held.from),
            None => snapshot,
        };
        let farm = farm_packages(shown, signed);
        let before = Placement::new(target, &shown.snapshot).placed(&shown.snapshot);
        let after = placement.placed(&snapshot);
        let contents =
            Contents { target, channel, before: &before, after: &after, packages: &farm };
        self.proofs.require(store, contents, &proven_builds(signed, &after), held).await?;
        let packages = self.packages(store, shown, signed, (&snapshot, &placement)).await?;
        let request = self.request(target, channel, shown.generation, packages).await?;
        let signer = TargetSigner { client: &self.signing.signer, target };
        // Asked while no other publisher can show anything: this coordinator must still run the
        // stage, and the channel must still be at the generation that was read.
        let begun = self.clock.instant();
        let may_show = async || may_show(store, &target.name, channel, based_on).await;
        let published = self.channels.publisher.publish_if(request, &signer, may_show).await?;
        let next = (published.generation, snapshot);
        let at = self.clock.time();
        let next = self.channels.next_revision((target.name.as_str(), channel), shown, next, at)?;
        // Before the revision: when the coordinator dies in between, the channel is published again.
        store.unplaced_replace(&target.name, channel, &placement.unplaced, at).await?;
        record(store, &next.revision, &next.change, signed).await?;
        self.channels.recorded(next);
        if let Some((_, lacking)) = lacking {
            store.lacking_replace(&target.name, channel, &lacking).await?;
        }
        let took = self.clock.instant() - begun;
        self.metrics.worked(Stage::Publish.as_str(), took);
        self.work.gathering.published(&target.name, took);
        Ok(())
    }

    /// Sends the request to the publisher.
    async fn request(
        &self,
        target: &Target,
        channel: &str,
        based_on: Option<u64>,
        packages: Vec<PublishedPackage>,
    ) -> anyhow::Result<PublishRequest> {
        let public_key = self.signing.signer.public_keys(target).await?;
        Ok(PublishRequest {
            target: target.name.clone(),
            channel: channel.into(),
            base_url: self.base_url(),
            public_key,
            arches: target.arches.clone(),
            compression: Default::default(),
            repositories: target.published_repositories.clone(),
            packages,
            based_on,
            signed: self.signing.signer.revision(&target.name, channel).await?,
            now: self.clock.system(),
            prove_all: false,
        })
    }

    /// The packages of a snapshot in the publisher's form. A new package is not read again if it
    /// was proved recently.
    async fn packages(
        &self,
        store: &FencedStore,
        shown: &ChannelState,
        signed: &[SignedBuild],
        (snapshot, placement): (&Snapshot, &Placement),
    ) -> anyhow::Result<Vec<PublishedPackage>> {
        let new = shown.returning.iter().chain(signed).flat_map(|(_, rows)| rows);
        let new: BTreeSet<Sha256> =
            new.filter_map(|row| Some(row.signature?.signed_digest)).collect();
        let since = self.clock.time() - PROOF_LASTS;
        let proofs = store.blob_proof_list(&new, since).await?;
        published_packages(shown, signed, (snapshot, placement), &proofs)
    }

    /// The requirements of `noarch` packages that nothing provides in the repositories of an
    /// architecture, and what follows for the packages. Empty for a target with one architecture,
    /// and when its external repositories cannot be read: then the earlier decisions stay.
    async fn lacking(
        &self,
        store: &FencedStore,
        target: &Target,
        snapshot: &Snapshot,
        placement: &Placement,
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
            let is_shown = |package: &&SnapshotPackage| {
                package.is_meant_for(*arch) && placement.of(&package.nevra).is_some()
            };
            let shown = snapshot.packages().iter().filter(is_shown);
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
    builds: &[BuildId],
) -> anyhow::Result<Vec<SignedBuild>> {
    if builds.is_empty() {
        return Ok(Vec::new());
    }
    let key = &target.signing_key;
    let mut packages = store.package_list_of_builds(&target.name, builds, key).await?;
    let mut signed = Vec::new();
    for build in builds {
        let rows = packages.remove(build).unwrap_or_default();
        anyhow::ensure!(!rows.is_empty(), "build {build} has no packages");
        let is_signed = rows.iter().all(|row| row.signature.is_some());
        if is_signed || is_planted(PlantedBug::PublishUnsigned) {
            signed.push((*build, rows));
        }
    }
    Ok(signed)
}

/// Whether others of the batches of signed builds are being signed, or their results accepted.
async fn more_to_come(
    store: &FencedStore,
    target: &str,
    builds: &[Build],
    signed: &HashSet<BuildId>,
) -> anyhow::Result<bool> {
    let (signed, unsigned): (Vec<&Build>, Vec<&Build>) =
        builds.iter().partition(|build| signed.contains(&build.id));
    let batches: HashSet<BatchId> = signed.iter().map(|build| build.batch).collect();
    if unsigned.iter().any(|build| batches.contains(&build.batch)) {
        return Ok(true);
    }
    let accepting = store.batch_list_accepting(target).await?;
    Ok(accepting.iter().any(|batch| batches.contains(batch)))
}

/// Records a revision that clients see already, with its builds. When the coordinator dies before
/// this, the next pass does it (`is_ahead`).
async fn record(
    store: &FencedStore,
    revision: &Revision,
    change: &ChannelChange,
    signed: &[SignedBuild],
) -> anyhow::Result<()> {
    let builds: Vec<BuildId> = signed.iter().map(|(build, _)| *build).collect();
    let recorded = store.revision_insert(revision, change, &builds).await?;
    let Revision { target, channel, revision, packages, .. } = revision;
    anyhow::ensure!(
        recorded,
        "revision {revision} of {channel} of {target} does not count: a build ended while it was \
         published, or a newer revision is recorded; the next pass tries again"
    );
    tracing::info!(target, channel, revision, packages, builds = builds.len(), "published");
    Ok(())
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
