//! Snapshots of state in memory that the other coordinators show: workers, and why builds wait.
//! Also the hand-over of workers that have connected to another coordinator.
//!
//! Snapshots are written while other coordinators are alive, when they change, and at most once in
//! a period; the others read them to show them, never to decide.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rpmfarm_core::{BuildId, Stage, Timestamp};

use crate::bus::{PeerMessage, PeerNotifier};
use crate::clock::Now;
use crate::fleet::{Fleet, WorkerView};
use crate::peers::Peers;
use crate::resolve::Batches;
use crate::store::{self, Store};
use crate::wait_reasons::LocalWaitReasons;
use crate::work::LocalPass;

/// How often changes are written and read.
const PERIOD: Duration = Duration::from_secs(1);

/// The stages whose passes set wait reasons.
const KNOW_WAITS: [Stage; 3] = [Stage::Resolve, Stage::Sign, Stage::Publish];

const WORKER: &str = "worker";
const WAIT: &str = "wait";

/// The snapshots that were written last, by kind and subject.
#[derive(Debug, Default)]
struct WrittenSnapshots(Mutex<BTreeMap<(&'static str, String), String>>);

/// Shares the state in memory with the other coordinators, and reads theirs.
pub struct SnapshotPass {
    peers: Peers,
    fleet: Fleet,
    waits: LocalWaitReasons,
    batches: Batches,
    notifier: PeerNotifier,
    written: WrittenSnapshots,
}

impl SnapshotPass {
    /// The exchange for these workers and reasons, before anything was written.
    #[must_use]
    pub fn new(fleet: Fleet, reasons: WaitReasons, notifier: PeerNotifier) -> Self {
        let WaitReasons { peers, waits, batches } = reasons;
        Self { peers, fleet, waits, batches, notifier, written: WrittenSnapshots::default() }
    }

    /// Forgets workers that have connected to another coordinator.
    async fn let_go(&self, store: &Store, now: Instant) -> store::Result<()> {
        // Listed before the owners are read, so that a session that begins in between is not
        // forgotten.
        let sessions = self.fleet.sessions();
        if sessions.is_empty() || !self.peers.has_others(now) {
            return Ok(());
        }
        let owners = store.worker_owner_list().await?.into_iter();
        let owners: BTreeMap<_, _> = owners.map(|row| (row.worker, row.coordinator)).collect();
        let elsewhere = |owner: &String| owner != self.peers.own_id();
        for (worker, session) in sessions {
            if owners.get(&worker).is_some_and(elsewhere) {
                self.fleet.moved(&worker, session);
            }
        }
        Ok(())
    }

    /// Writes what has changed here, and reads the snapshots of the others.
    async fn exchange(&self, store: &Store, now: Instant) -> store::Result<()> {
        if !self.peers.has_others(now) {
            self.fleet.see_elsewhere(BTreeMap::new());
            return Ok(());
        }
        let here = self.peers.stages(now);
        if !KNOW_WAITS.iter().any(|stage| here.contains(stage)) {
            // Only the passes of these stages set wait reasons.
            self.waits.clear_all();
        }
        if !here.contains(&Stage::Resolve) {
            self.batches.clear();
        }
        let wanted = self.wanted(now);
        let changes = self.written.changes(&wanted);
        if !changes.is_empty() {
            store.peer_snapshot_write(self.peers.own_id(), &changes).await?;
            self.written.set(wanted);
            self.notifier.send(PeerMessage::Progress);
        }
        let alive: Vec<String> = self
            .peers
            .others(now)
            .into_iter()
            .filter_map(|(row, alive)| alive.then_some(row.id))
            .collect();
        let mut elsewhere = BTreeMap::new();
        for note in store.peer_snapshot_list(WORKER, self.peers.own_id()).await? {
            if let (true, Ok(view)) =
                (alive.contains(&note.coordinator), serde_json::from_str::<WorkerView>(&note.text))
            {
                elsewhere.insert(note.subject, view);
            }
        }
        self.fleet.see_elsewhere(elsewhere);
        Ok(())
    }

    fn wanted(&self, now: Instant) -> BTreeMap<(&'static str, String), String> {
        let mut wanted = BTreeMap::new();
        for (name, view) in self.fleet.connected(now) {
            let text = serde_json::to_string(&coarse(view)).expect("a state has no maps");
            wanted.insert((WORKER, name), text);
        }
        // The reason that a stage has set takes precedence over that of the batch.
        for (build, reason) in self.batches.reasons().into_iter().chain(self.waits.all()) {
            wanted.insert((WAIT, build.0.to_string()), reason);
        }
        wanted
    }
}

impl LocalPass for SnapshotPass {
    const NAME: &'static str = "notes";

    fn period(&self) -> Duration {
        PERIOD
    }

    async fn pass(&self, store: &Store, now: Now) -> anyhow::Result<()> {
        self.let_go(store, now.instant).await?;
        Ok(self.exchange(store, now.instant).await?)
    }
}

/// Leaves out what changes with each heartbeat and is not shown elsewhere.
fn coarse(mut view: WorkerView) -> WorkerView {
    view.state.disk_free_mib -= view.state.disk_free_mib % 1024;
    let us = view.heard_at.as_us();
    view.heard_at = Timestamp::from_us(us - us % 60_000_000);
    view
}

impl WrittenSnapshots {
    fn changes(
        &self,
        wanted: &BTreeMap<(&'static str, String), String>,
    ) -> Vec<(&'static str, String, Option<String>)> {
        let written = self.0.lock();
        let news = wanted.iter().filter(|(key, text)| written.get(*key) != Some(*text));
        let gone = written.keys().filter(|key| !wanted.contains_key(*key));
        news.map(|((kind, subject), text)| (*kind, subject.clone(), Some(text.clone())))
            .chain(gone.map(|(kind, subject)| (*kind, subject.clone(), None)))
            .collect()
    }

    fn set(&self, wanted: BTreeMap<(&'static str, String), String>) {
        *self.0.lock() = wanted;
    }
}

/// Why builds wait, known here or at another living coordinator. Cheap to clone.
#[derive(Clone)]
pub struct WaitReasons {
    pub peers: Peers,
    /// The reasons that are known here.
    pub waits: LocalWaitReasons,
    /// The builds for which builds wait in their batches, where this coordinator resolves.
    pub batches: Batches,
}

impl WaitReasons {
    /// Why a build waits, as far as this coordinator knows; empty when it has no reason.
    #[must_use]
    pub fn here(&self, build: BuildId) -> String {
        let reason = self.waits.reason(build);
        if reason.is_empty() { self.batches.reason(build).unwrap_or_default() } else { reason }
    }

    /// Why builds wait, where it is known here or at another living coordinator. The database is
    /// queried once, however many builds there are.
    pub async fn of_each(
        &self,
        store: &Store,
        builds: &[BuildId],
    ) -> store::Result<HashMap<BuildId, String>> {
        let here = builds.iter().map(|build| (*build, self.here(*build)));
        let mut known: HashMap<_, _> = here.filter(|(_, reason)| !reason.is_empty()).collect();
        let now = Instant::now();
        if known.len() == builds.len() || !self.peers.has_others(now) {
            return Ok(known);
        }
        let others = self.peers.others(now);
        let lives = |id: &str| others.iter().any(|(row, alive)| *alive && row.id == id);
        for note in store.peer_snapshot_list(WAIT, self.peers.own_id()).await? {
            let of = note.subject.parse().map(BuildId);
            if let (Ok(build), true) = (of, lives(&note.coordinator)) {
                known.entry(build).or_insert(note.text);
            }
        }
        Ok(known)
    }

    /// Why one build waits.
    pub async fn of_build(&self, store: &Store, build: BuildId) -> store::Result<String> {
        let here = self.here(build);
        let now = Instant::now();
        if !here.is_empty() || !self.peers.has_others(now) {
            return Ok(here);
        }
        let others = self.peers.others(now);
        let lives = |id: &str| others.iter().any(|(row, alive)| *alive && row.id == id);
        let notes =
            store.peer_snapshot_list_of(WAIT, &build.0.to_string(), self.peers.own_id()).await?;
        let found = notes.into_iter().find(|note| lives(&note.coordinator));
        Ok(found.map(|note| note.text).unwrap_or_default())
    }
}
