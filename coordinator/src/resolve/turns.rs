//! Examines batches: their new facts are read, and the work that their orders decide is begun.
//!
//! The examination of a batch without new facts only queries for new facts. The solved root of a
//! task is not kept: it is locked at once when it is the task's turn, and solved again when its
//! turn comes later.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use rpmfarm_core::{BatchId, BuildId, Fault, Lock, Sha256, Timestamp, time};
use tracing::Instrument as _;

use super::batch_order::{BatchFacts, BatchOrder, SharedOrder, Solved, Turn, TurnAction};
use super::batches::{Examination, with};
use super::pass::{LockFailure, LockRequest, Recorded, ResolveStage, span};
use super::pool_news::{self, KnownPools};
use crate::blobs::Blobs;
use crate::blocking;
use crate::planted_bugs::{PlantedBug, is_planted};
use crate::store::{self, BatchMemberRow, BatchScope, FencedStore, PoolUpdate};

/// The largest lock that is read into memory, in bytes.
const MAX_LOCK: u64 = 64 << 20;

impl ResolveStage {
    /// Requests the examination of each batch that has new facts or work to do.
    pub(super) async fn request_examinations(
        &self,
        store: &FencedStore,
        now: Timestamp,
    ) -> anyhow::Result<()> {
        if self.batches.begin(store.fence().epoch()) {
            *self.work.pools.lock().await = KnownPools::default();
        }
        self.read_pools(store).await?;
        let mut heads = store.batch_head_list().await?;
        if self.batches.is_search_due(now) {
            for (batch, _) in store.batch_list_to_order(now).await? {
                if let Err(at) = heads.binary_search_by_key(&batch, |(batch, _)| *batch) {
                    store.batch_head_insert(batch).await?;
                    heads.insert(at, (batch, 0));
                }
            }
        }
        for batch in self.batches.due(&heads, now) {
            self.request_examination(store, batch);
        }
        Ok(())
    }

    /// Requests the examination of a batch, outside of the pass.
    pub(super) fn request_examination(&self, store: &FencedStore, batch: BatchId) {
        let (stage, store) = (self.clone(), store.clone());
        self.work.examinations.ask(batch, move || {
            let (stage, store) = (stage.clone(), store.clone());
            async move {
                let examined = stage.examine(&store, batch).await;
                if examined.is_err() {
                    stage.batches.set_busy(batch);
                }
                examined
            }
        });
    }

    /// Reads the new facts of a batch, and begins the work that its order decides.
    async fn examine(&self, store: &FencedStore, batch: BatchId) -> anyhow::Result<()> {
        if !self.batches.is_under(store.fence().epoch()) {
            return Ok(());
        }
        let order = match self.batches.begin_examination(batch, self.clock.time()) {
            Some(begun) => {
                self.read_news(store, batch, &begun).await?;
                begun.order
            }
            None => self.load(store, batch).await?,
        };
        if self.forget_ended(store, batch, &order).await? {
            return Ok(());
        }
        if !self.batches.may_begin(batch) {
            // Its work is begun when it is listed again.
            self.batches.set_busy(batch);
            return Ok(());
        }
        let now = self.clock.time();
        let (turns, is_busy) = with(&order, move |order| order.decide(now)).await?;
        if is_busy {
            self.batches.set_busy(batch);
        }
        for turn in turns {
            self.start(store, &order, turn);
        }
        Ok(())
    }

    /// Reads all facts of a batch that is not known yet.
    async fn load(&self, store: &FencedStore, batch: BatchId) -> anyhow::Result<SharedOrder> {
        // Before the facts, so that facts which change meanwhile are read once more.
        let cursor = store.batch_head_fetch(batch).await?;
        let mode = store.batch_order_mode(batch).await?;
        let learned = store.batch_learned_list(batch).await?;
        let mut order = BatchOrder::new(mode, learned);
        let all = |rows: &[BatchMemberRow], claims: &ClaimNames| order.without_srpm(rows, claims);
        let facts = read_facts(store, BatchScope::Whole(batch), all).await?;
        let read = read_lock(self.blobs.clone());
        let apply = move || {
            order.apply(facts, read);
            order
        };
        let order = blocking::compute(apply).await?;
        Ok(self.batches.insert(batch, order, cursor, self.clock.time()))
    }

    /// Reads the facts of the builds that have new events; those of all builds when they were read
    /// long ago.
    async fn read_news(
        &self,
        store: &FencedStore,
        batch: BatchId,
        begun: &Examination,
    ) -> anyhow::Result<()> {
        let events = store.batch_event_list(batch, begun.cursor).await?;
        let cursor = events.last().map_or(begun.cursor, |(seq, _)| *seq);
        let builds: BTreeSet<BuildId> = events.into_iter().map(|(_, build)| build).collect();
        let builds: Vec<BuildId> = builds.into_iter().collect();
        let scope = match builds.as_slice() {
            _ if begun.is_old => BatchScope::Whole(batch),
            [] => return Ok(()),
            some => BatchScope::Builds(some),
        };
        let order = Arc::clone(&begun.order);
        let unknown =
            |rows: &[BatchMemberRow], claims: &ClaimNames| order.lock().without_srpm(rows, claims);
        let facts = read_facts(store, scope, unknown).await?;
        // After the facts, so that the packages of a build that these facts accept are known.
        self.read_pools(store).await?;
        let read = read_lock(self.blobs.clone());
        with(&begun.order, move |order| order.apply(facts, read)).await?;
        self.batches.set_read(batch, cursor, begun.is_old.then(|| self.clock.time()));
        Ok(())
    }

    /// Forgets a batch whose builds have all ended, with its events. False when a build has not
    /// ended.
    async fn forget_ended(
        &self,
        store: &FencedStore,
        batch: BatchId,
        order: &SharedOrder,
    ) -> anyhow::Result<bool> {
        let has_ended = order.lock().has_ended();
        let Some(newest) = self.batches.cursor(batch).filter(|_| has_ended) else {
            return Ok(false);
        };
        let forgotten = store.batch_event_delete(batch, newest).await;
        // After an error they may be deleted nevertheless: the events of a batch that is opened
        // again then count from the beginning.
        if !matches!(forgotten, Ok(false)) {
            self.batches.forget(batch);
        }
        forgotten?;
        Ok(true)
    }

    /// Reads which packages were added to the targets or removed, and passes their names to the
    /// orders.
    async fn read_pools(&self, store: &FencedStore) -> anyhow::Result<()> {
        let mut known = self.work.pools.lock().await;
        let states = store.pool_list_versions().await?;
        for (target, changes, version) in known.changed(states) {
            let update = store.pool_fetch_update(&target, Some(version)).await?;
            let version = update.version;
            let names = self.names_of(&target, update).await?;
            let (batches, of) = (self.batches.clone(), target.clone());
            blocking::compute(move || batches.touch(&of, names.as_deref())).await?;
            known.set(target, changes, version);
        }
        Ok(())
    }

    /// The names of packages that were added or removed, and of the provides of those added. `None`
    /// when they are not known.
    async fn names_of(
        &self,
        target: &str,
        update: PoolUpdate,
    ) -> anyhow::Result<Option<Vec<String>>> {
        if update.is_whole {
            return Ok(None);
        }
        let blobs = self.blobs.clone();
        let read = blocking::run(move || pool_news::names(&blobs, &update)).await?;
        let read = read.inspect_err(|error| {
            tracing::warn!(target, %error, "what new packages provide cannot be read");
        });
        Ok(read.ok())
    }

    /// Begins work that an order has decided, when there is a slot for it.
    fn start(&self, store: &FencedStore, order: &SharedOrder, turn: Turn) {
        let locks = &self.work.locks;
        let Some(slot) = locks.reserve_for(&turn.build.target, turn.task.id) else { return };
        let (stage, store, order) = (self.clone(), store.clone(), Arc::clone(order));
        let span = span(&turn.task);
        let work = async move {
            stage.take_turn(&store, &order, &turn).await?;
            stage.request_examination(&store, turn.build.batch);
            Ok(())
        };
        slot.spawn(work.instrument(span));
    }

    async fn take_turn(
        &self,
        store: &FencedStore,
        order: &SharedOrder,
        turn: &Turn,
    ) -> anyhow::Result<()> {
        match &turn.action {
            TurnAction::Refuse(failure) => self.failed(store, &turn.task, failure).await,
            TurnAction::Solve { .. } => self.solve_turn(store, order, turn).await,
        }
    }

    /// Solves the root of a task, and locks it if it is its turn.
    async fn solve_turn(
        &self,
        store: &FencedStore,
        order: &SharedOrder,
        turn: &Turn,
    ) -> anyhow::Result<()> {
        let Turn { task, build, .. } = turn;
        let wanted = LockRequest::read(store, task, turn.rounds > 0).await?;
        match self.solve(store, build, task.arch, wanted.requirements.clone()).await {
            Ok(lock) => self.lock_turn(store, order, turn, &wanted, lock).await,
            // A failure of the farm says nothing about the package: solving is tried again.
            Err(LockFailure { failure, .. }) if failure.fault == Fault::Farm => {
                self.failed(store, task, &failure).await
            }
            Err(LockFailure { failure, missing }) => {
                let turn = turn.clone();
                let apply = move |order: &mut BatchOrder| {
                    order.apply_solved(&turn, Solved::Missing(&missing, &failure));
                };
                with(order, apply).await
            }
        }
    }

    /// Passes a solved root to the order, and locks it if it is the task's turn.
    async fn lock_turn(
        &self,
        store: &FencedStore,
        order: &SharedOrder,
        turn: &Turn,
        wanted: &LockRequest,
        lock: Lock,
    ) -> anyhow::Result<()> {
        let (of, requires) = (turn.clone(), wanted.requires());
        let apply = move |order: &mut BatchOrder| {
            let rank_us = order.apply_solved(&of, Solved::Root(&lock, &requires));
            (rank_us, lock)
        };
        let (rank_us, lock) = with(order, apply).await?;
        let planted = is_planted(PlantedBug::LockBeforeNeeded).then_some(turn.rank_us);
        let Some(rank_us) = rank_us.or(planted) else { return Ok(()) };
        tracing::debug!(rank_us, "its turn has come");
        let task = turn.task.clone();
        let urgency = Some(time::span(rank_us));
        match self.record(store, &task, &turn.build, wanted, (&lock, urgency)).await? {
            Recorded::Locked => with(order, move |order| order.set_locked(&task)).await,
            Recorded::Withdrawn => with(order, move |order| order.set_pending(&task)).await,
            Recorded::Failed => Ok(()),
        }
    }
}

/// The names that builds claim, by build.
type ClaimNames = HashMap<BuildId, Vec<String>>;

/// Reads facts of builds. `unknown` returns the builds whose source packages must be read, too.
async fn read_facts(
    store: &FencedStore,
    scope: BatchScope<'_>,
    unknown: impl FnOnce(&[BatchMemberRow], &ClaimNames) -> Vec<BuildId>,
) -> store::Result<BatchFacts> {
    let members = store.batch_member_list(scope).await?;
    let claimed = members.iter().filter(|row| row.is_claimed && row.is_open);
    let claimed: Vec<BuildId> = claimed.map(|row| row.build.id).collect();
    let claims = match claimed.as_slice() {
        [] => HashMap::new(),
        claimed => store.claim_list_names(claimed).await?,
    };
    let tasks = store.batch_task_list(scope).await?;
    let srpms = match unknown(&members, &claims).as_slice() {
        [] => HashMap::new(),
        wanted => store.srpm_list(wanted).await?,
    };
    Ok(BatchFacts { members, tasks, srpms, claims })
}

/// A reader of locks. It returns `None` for a lock that is gone or cannot be read: the needs of its
/// task are not known then.
fn read_lock(blobs: Blobs) -> impl Fn(Sha256) -> Option<Lock> {
    move |digest| Lock::from_bytes(&blobs.read_small(digest, MAX_LOCK).ok()?).ok()
}
