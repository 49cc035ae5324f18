//! The contents of channels, as recorded and as shown to clients.
//!
//! Owns how a channel's packages are kept: as rows that each revision changes, in memory as the
//! rows were last read or written, and now and then whole in the blob store. What belongs into a
//! channel is decided elsewhere.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use anyhow::Context as _;
use parking_lot::Mutex;
use rpmfarm_core::snapshot::{Snapshot, SnapshotPackage, is_stored_whole};
use rpmfarm_core::{BuildId, Nevra, Sha256, Target, Timestamp};

use super::keys;
use super::publisher::Publisher;
use crate::blobs::Blobs;
use crate::store::{ChannelChange, ChannelHead, Revision, SignedPackage, Store};

/// The largest snapshot that is read into memory, in bytes.
const MAX_SNAPSHOT: u64 = 256 << 20;

/// A build that is signed, with its packages.
pub(super) type SignedBuild = (BuildId, Vec<SignedPackage>);

/// A channel's content, and which packages are signed with keys of its target.
pub(super) struct ChannelState {
    /// The generation that is shown. Read first, so that a later change is noticed when the new one
    /// is to be shown.
    pub(super) generation: Option<u64>,
    pub(super) snapshot: Snapshot,
    pub(super) signed: Vec<SignedPackage>,
    /// Those of the signed packages that an earlier key of the target has signed, and not the
    /// present one.
    pub(super) outdated: Vec<Nevra>,
    /// Restored packages that must be in the channel again.
    pub(super) returning: Vec<SignedBuild>,
    /// The changes of the next revision.
    rows: Arc<ChannelRows>,
}

/// The packages of a channel as its rows have them.
#[derive(Debug, Default)]
struct ChannelRows {
    /// The revision that the rows stand for; 0 when there are none.
    revision: i64,
    snapshot: Snapshot,
}

/// The packages of channels in memory. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct ChannelContents(Arc<Mutex<HashMap<(String, String), KnownRows>>>);

/// Rows in memory, with the digest of their packages as it was recorded with the revision.
#[derive(Debug, Clone)]
struct KnownRows {
    digest: Sha256,
    rows: Arc<ChannelRows>,
}

impl ChannelContents {
    /// The known rows of a channel, if they are those of this head.
    fn at(&self, target: &str, channel: &str, head: ChannelHead) -> Option<Arc<ChannelRows>> {
        let known = self.0.lock().get(&(target.to_owned(), channel.to_owned())).cloned()?;
        let is_it = known.rows.revision == head.revision && known.digest == head.snapshot;
        is_it.then_some(known.rows)
    }

    fn keep(&self, target: &str, channel: &str, known: KnownRows) {
        self.0.lock().insert((target.to_owned(), channel.to_owned()), known);
    }
}

/// A revision that clients see and that is to be recorded.
pub(super) struct NextRevision {
    pub(super) revision: Revision,
    pub(super) change: ChannelChange,
    snapshot: Snapshot,
}

/// How many packages of a channel are to be signed again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignedAgain {
    /// No key of the target has signed them: nothing is published before they are signed.
    pub unknown: usize,
    /// A key has signed them that is among `previous_keys`.
    pub earlier: usize,
}

/// Reads the contents of channels, as recorded and as shown to clients. Cheap to clone.
#[derive(Clone)]
pub struct Channels {
    /// The trees of files.
    pub publisher: Publisher,
    /// Where whole snapshots are stored.
    pub blobs: Blobs,
    /// The contents that were last read or written.
    pub contents: ChannelContents,
}

impl Channels {
    pub(super) async fn load(
        &self,
        store: &Store,
        target: &Target,
        channel: &str,
    ) -> anyhow::Result<ChannelState> {
        let (name, key) = (&target.name, &target.signing_key);
        let generation = self.publisher.shown(name, channel)?;
        let withdrawn = store.withdrawal_list_names(name).await?;
        // Before the rows: these stand for this revision or for a later one.
        let newest = store.channel_fetch(name, channel).await?;
        let rows = self.rows(store, name, channel).await?;
        let (snapshot, mut signed) = match newest.filter(|newest| newest.revision > rows.revision) {
            None => (rows.snapshot.clone(), store.channel_list_signed(name, channel, key).await?),
            // Revisions of coordinators from before there were rows are missing in them.
            Some(newest) => {
                let snapshot = self.stored_whole(&newest)?;
                let packages = snapshot.packages().iter().map(|package| &package.nevra);
                let packages: Vec<&Nevra> = packages.collect();
                let signed = store.package_list_signed(name, key, &packages).await?;
                (snapshot, signed)
            }
        };
        let returning = returning(store, target).await?;
        let snapshot = snapshot.without(&withdrawn);
        let outdated = keys::add_earlier_signatures(store, target, &snapshot, &mut signed).await?;
        Ok(ChannelState { generation, snapshot, signed, outdated, returning, rows })
    }

    /// The packages of a channel as its rows have them, read when they are not in memory.
    async fn rows(
        &self,
        store: &Store,
        target: &str,
        channel: &str,
    ) -> anyhow::Result<Arc<ChannelRows>> {
        let Some(head) = store.channel_fetch_head(target, channel).await? else {
            return Ok(Arc::default());
        };
        let revision = head.revision;
        if let Some(known) = self.contents.at(target, channel, head) {
            return Ok(known);
        }
        let packages = store.channel_list_packages(target, channel, revision).await?;
        let snapshot = Snapshot::from_packages(packages)?;
        anyhow::ensure!(
            Sha256::compute(&serde_json::to_vec(&snapshot)?) == head.snapshot,
            "the rows of channel_packages are not revision {revision} of {channel} of {target} as \
             it was recorded; restore the database from a backup"
        );
        let rows = Arc::new(ChannelRows { revision, snapshot });
        let known = KnownRows { digest: head.snapshot, rows: rows.clone() };
        self.contents.keep(target, channel, known);
        Ok(rows)
    }

    /// A snapshot that is stored as a whole, in the order in which packages are now.
    fn stored_whole(&self, revision: &Revision) -> anyhow::Result<Snapshot> {
        let bytes = self.blobs.read_small(revision.snapshot, MAX_SNAPSHOT)?;
        let packages = serde_json::from_slice::<Vec<SnapshotPackage>>(&bytes)
            .context("the snapshot's blob is not a valid snapshot")?;
        Ok(Snapshot::from_packages(packages)?)
    }

    /// The revision after the one that a channel was loaded at. It is stored as a whole where it is
    /// due.
    pub(super) fn next_revision(
        &self,
        (target, channel): (&str, &str),
        shown: &ChannelState,
        (generation, snapshot): (u64, Snapshot),
        at: Timestamp,
    ) -> anyhow::Result<NextRevision> {
        let (rows, revision) = (&shown.rows, generation.cast_signed());
        let bytes = serde_json::to_vec(&snapshot)?;
        let digest = if is_stored_whole(rows.revision, revision) {
            self.blobs.put(&bytes)?
        } else {
            Sha256::compute(&bytes)
        };
        let (target, channel) = (target.to_owned(), channel.to_owned());
        let packages = i64::try_from(snapshot.packages().len())?;
        let change =
            ChannelChange { base: rows.revision, delta: rows.snapshot.delta_to(&snapshot) };
        let revision = Revision { target, channel, revision, snapshot: digest, packages, at };
        Ok(NextRevision { revision, change, snapshot })
    }

    /// Keeps the content of a recorded revision. A revision that was recorded before does not
    /// change.
    pub(super) fn recorded(&self, next: NextRevision) {
        let NextRevision { revision, change, snapshot } = next;
        if change.base != revision.revision {
            let rows = Arc::new(ChannelRows { revision: revision.revision, snapshot });
            let known = KnownRows { digest: revision.snapshot, rows };
            self.contents.keep(&revision.target, &revision.channel, known);
        }
    }

    /// How many packages of a channel are to be signed again, because `signing_key` of the target
    /// was another one when they were published.
    ///
    /// # Errors
    /// Database errors; a snapshot that cannot be read.
    pub async fn to_be_signed_again(
        &self,
        store: &Store,
        target: &Target,
        channel: &str,
    ) -> anyhow::Result<SignedAgain> {
        let state = self.load(store, target, channel).await?;
        Ok(SignedAgain { unknown: state.unsigned().len(), earlier: state.outdated.len() })
    }
}

impl ChannelState {
    /// Whether packages have to leave the channel or come back, whatever builds are added.
    pub(super) fn is_changed(&self) -> bool {
        !self.returning.is_empty() || self.snapshot != self.rows.snapshot
    }

    /// The packages of the channel that no key of the target has signed.
    pub(super) fn unsigned(&self) -> Vec<&Nevra> {
        keys::unsigned(&self.snapshot, &self.signed)
    }
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
