//! Several coordinators on one database: who lives, who runs which stage, and how they wake and
//! inform each other.
//!
//! Every coordinator answers calls and serves the workers that are connected to it. Each stage's
//! pass runs on one of them, under a lease in the database; whoever looks takes the stages of one
//! whose beat stands still (`core::tenure`). Everything that a stage writes stands behind the
//! lease's epoch ([`FencedStore`]), so that a coordinator that was paused can decide nothing after
//! its stage was taken. With SQLite the same code runs with one holder.
//!
//! `beat` keeps the leases, `herald` wakes the others, `seat` is what makes a coordinator the same one
//! after a restart. What is in memory here and shown there is [`crate::peer_notes`]'s.

pub mod beat;
pub mod herald;
mod seat;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use rpmfarm_core::Stage;
use rpmfarm_core::tenure::{Watch, may_begin};

pub use seat::Seat;

use crate::store::{CoordinatorRow, Fence, FencedStore, Store};

/// The stages that run on one coordinator at a time. Dispatch is not among them: each coordinator
/// gives tasks to the workers that it hears, and the database decides who of two was first.
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
pub struct Peers(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    me: CoordinatorRow,
    _seat: Option<Seat>,
    takeover: Duration,
    /// Nobody else can have this database.
    alone: bool,
    began: Instant,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    watch: Watch,
    /// When the beat that the database confirmed last was sent, since `began`.
    confirmed: Option<Duration>,
    held: BTreeMap<Stage, Fence>,
    others: Vec<CoordinatorRow>,
    /// Others that are dead, and since when this one knows.
    dead: BTreeMap<String, Duration>,
    /// What the database said when it did not answer.
    down: Option<String>,
}

/// Who is to judge a worker's silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judge {
    /// This coordinator: it is connected here, or nowhere.
    Me,
    /// Another one that lives.
    Another,
    /// Its coordinator is dead, known here for so long: the silence counts from then.
    Orphaned(Duration),
}

impl Peers {
    /// This coordinator, which has not looked at the others yet. A seat is kept as long as
    /// anything of this coordinator works; `alone` says that nobody else can have its database.
    #[must_use]
    pub fn new(
        me: CoordinatorRow,
        seat: Option<Seat>,
        takeover: Duration,
        alone: bool,
        now: Instant,
    ) -> Self {
        let state = Mutex::default();
        Self(Arc::new(Inner { me, _seat: seat, takeover, alone, began: now, state }))
    }

    /// This coordinator's id.
    #[must_use]
    pub fn me(&self) -> &str {
        &self.0.me.id
    }

    /// Whether other coordinators live, as far as is known.
    #[must_use]
    pub fn has_others(&self, now: Instant) -> bool {
        let now = self.since(now);
        let state = self.lock();
        state.others.iter().any(|row| state.watch.is_alive(&row.id, now, self.0.takeover))
    }

    /// The other coordinators, and whether each lives.
    #[must_use]
    pub fn others(&self, now: Instant) -> Vec<(CoordinatorRow, bool)> {
        let now = self.since(now);
        let state = self.lock();
        let alive = |row: &CoordinatorRow| state.watch.is_alive(&row.id, now, self.0.takeover);
        state.others.iter().map(|row| (row.clone(), alive(row))).collect()
    }

    /// The fence for work on a stage that may begin now; `None` when it is not this
    /// coordinator's to do.
    #[must_use]
    pub fn fence(&self, stage: Stage, now: Instant) -> Option<Fence> {
        let now = self.since(now);
        let state = self.lock();
        let fence = state.held.get(&stage)?;
        let confirmed = state.confirmed?;
        let may = self.0.alone || may_begin(confirmed, now, self.0.takeover);
        may.then(|| fence.clone())
    }

    /// The store for work on a stage that may begin now; `None` when it is not this coordinator's
    /// to do.
    #[must_use]
    pub fn fenced(&self, store: &Store, stage: Stage, now: Instant) -> Option<FencedStore> {
        self.fence(stage, now).map(|fence| FencedStore::new(store, fence))
    }

    /// The stages that this coordinator runs now.
    #[must_use]
    pub fn stages(&self, now: Instant) -> Vec<Stage> {
        STAGES.into_iter().filter(|stage| self.fence(*stage, now).is_some()).collect()
    }

    /// Who judges a worker that is owned by a coordinator; `None` for one that never connected.
    #[must_use]
    pub fn judge(&self, owner: Option<&str>, now: Instant) -> Judge {
        match owner {
            None => Judge::Me,
            Some(owner) if owner == self.0.me.id => Judge::Me,
            Some(owner) => {
                let now = self.since(now);
                let state = self.lock();
                if state.watch.is_alive(owner, now, self.0.takeover) {
                    return Judge::Another;
                }
                // One that is gone from the database was dead, or has said good-bye, before this
                // coordinator looked; it looks since its start.
                let since = state.dead.get(owner).copied().unwrap_or_default();
                Judge::Orphaned(now.saturating_sub(since))
            }
        }
    }

    /// What the database said when it did not answer last; `None` while it answers.
    #[must_use]
    pub fn database_down(&self) -> Option<String> {
        self.lock().down.clone()
    }

    fn since(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.0.began)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock()
    }
}
