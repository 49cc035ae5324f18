//! Several coordinators on one database: which are alive, which runs which stage, and how they wake
//! and inform each other.
//!
//! Every coordinator answers calls and serves the workers that are connected to it. Each stage's
//! pass runs on one of them, under a lease in the database; a coordinator that sees another's
//! heartbeat stand still takes its stages (`core::stage_lease`). Every write of a stage compares
//! the lease's epoch ([`FencedStore`]), so that a coordinator that was paused can decide nothing
//! after its stage was taken. With SQLite the same code runs with one holder.
//!
//! `heartbeat` keeps the leases, `notify` wakes the others, `instance_lock` makes a coordinator the
//! same one after a restart. State that is in memory here and shown by the others is in
//! [`crate::snapshots`].
//!
//! Dispatch runs on each coordinator for the workers that are connected to it. Publishing queries
//! the lease once more while it holds the target's lock. NOTIFY of PostgreSQL is a wake-up only: a
//! coordinator that misses it reads the same facts a little later.

pub mod heartbeat;
mod instance_lock;
pub mod notify;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use rpmfarm_core::Stage;
use rpmfarm_core::stage_lease::{HeartbeatMonitor, may_begin};

pub use instance_lock::InstanceLock;

use crate::store::{CoordinatorRow, Fence, FencedStore, Store};

/// The stages that run on one coordinator at a time. Dispatch is not among them: each coordinator
/// grants tasks to the workers that are connected to it, and the database decides which of two
/// grants was first.
pub const STAGES: [Stage; 8] = [
    Stage::Poll,
    Stage::Decide,
    Stage::Import,
    Stage::Plan,
    Stage::Resolve,
    Stage::Accept,
    Stage::Sign,
    Stage::Publish,
];

/// This coordinator among the others. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Peers(Arc<PeersShared>);

#[derive(Debug)]
struct PeersShared {
    me: CoordinatorRow,
    _instance_lock: Option<InstanceLock>,
    takeover: Duration,
    /// Whether this is the only coordinator that can have this database (SQLite).
    alone: bool,
    began: Instant,
    state: Mutex<PeersState>,
}

#[derive(Debug, Default)]
struct PeersState {
    watch: HeartbeatMonitor,
    /// When the last confirmed heartbeat was sent, since `began`.
    confirmed: Option<Duration>,
    held: BTreeMap<Stage, Fence>,
    others: Vec<CoordinatorRow>,
    /// The other coordinators that are dead, and since when this one knows.
    dead: BTreeMap<String, Duration>,
    /// The last error of the database, while it is down.
    down: Option<String>,
}

/// The coordinator that judges a worker's silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SilenceOwner {
    /// This coordinator: the worker is connected here, or nowhere.
    Local,
    /// Another coordinator, which is alive.
    Peer,
    /// The worker's coordinator has been known to be dead for so long; the silence counts from
    /// then.
    Dead(Duration),
}

impl Peers {
    /// This coordinator, before it has read the others' heartbeats. The lock of its directory is
    /// held as long as any part of this coordinator works; `alone` says that no other coordinator
    /// can have its database.
    #[must_use]
    pub fn new(
        me: CoordinatorRow,
        instance_lock: Option<InstanceLock>,
        takeover: Duration,
        alone: bool,
        now: Instant,
    ) -> Self {
        let state = Mutex::default();
        Self(Arc::new(PeersShared {
            me,
            _instance_lock: instance_lock,
            takeover,
            alone,
            began: now,
            state,
        }))
    }

    #[must_use]
    pub fn own_id(&self) -> &str {
        &self.0.me.id
    }

    /// Whether other coordinators are known to be alive.
    #[must_use]
    pub fn has_others(&self, now: Instant) -> bool {
        let now = self.since(now);
        let state = self.lock();
        state.others.iter().any(|row| state.watch.is_alive(&row.id, now, self.0.takeover))
    }

    /// The other coordinators, and whether each is alive.
    #[must_use]
    pub fn others(&self, now: Instant) -> Vec<(CoordinatorRow, bool)> {
        let now = self.since(now);
        let state = self.lock();
        let alive = |row: &CoordinatorRow| state.watch.is_alive(&row.id, now, self.0.takeover);
        state.others.iter().map(|row| (row.clone(), alive(row))).collect()
    }

    /// The fence for work on a stage that may begin now; `None` when another coordinator runs the
    /// stage.
    #[must_use]
    pub fn fence(&self, stage: Stage, now: Instant) -> Option<Fence> {
        let now = self.since(now);
        let state = self.lock();
        let fence = state.held.get(&stage)?;
        let confirmed = state.confirmed?;
        let may = self.0.alone || may_begin(confirmed, now, self.0.takeover);
        may.then(|| fence.clone())
    }

    /// The store for work on a stage that may begin now; `None` when another coordinator runs the
    /// stage.
    #[must_use]
    pub fn fenced(&self, store: &Store, stage: Stage, now: Instant) -> Option<FencedStore> {
        self.fence(stage, now).map(|fence| FencedStore::new(store, fence))
    }

    /// The stages that this coordinator runs now.
    #[must_use]
    pub fn stages(&self, now: Instant) -> Vec<Stage> {
        STAGES.into_iter().filter(|stage| self.fence(*stage, now).is_some()).collect()
    }

    /// The judge of the silence of a worker that is connected to a coordinator; `None` stands for a
    /// worker that never connected.
    #[must_use]
    pub fn silence_owner(&self, owner: Option<&str>, now: Instant) -> SilenceOwner {
        match owner {
            None => SilenceOwner::Local,
            Some(owner) if owner == self.0.me.id => SilenceOwner::Local,
            Some(owner) => {
                let now = self.since(now);
                let state = self.lock();
                if state.watch.is_alive(owner, now, self.0.takeover) {
                    return SilenceOwner::Peer;
                }
                // A coordinator without a row was dead, or had ended, before this coordinator began
                // to read the heartbeats, which is at its start.
                let since = state.dead.get(owner).copied().unwrap_or_default();
                SilenceOwner::Dead(now.saturating_sub(since))
            }
        }
    }

    /// The last error of the database; `None` while it answers.
    #[must_use]
    pub fn database_down(&self) -> Option<String> {
        self.lock().down.clone()
    }

    fn since(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.0.began)
    }

    fn lock(&self) -> MutexGuard<'_, PeersState> {
        self.0.state.lock()
    }
}
