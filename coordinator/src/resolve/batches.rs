//! The orders of all open batches, in the memory of the coordinator that resolves.
//!
//! Owns which batches are known, up to which event they were read, and which must be examined. It
//! answers questions about batches; on a coordinator that does not resolve, the answers are empty.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rpmfarm_core::batch::{Blockers, Loss, Progress, StuckCircle};
use rpmfarm_core::{BatchId, BuildId, StageEpoch, Timestamp};

use super::batch_order::{BatchOrder, SharedOrder};
use crate::blocking;

/// All facts of a batch are read again after this time, and batches without events are searched
/// for: a coordinator of an older version writes none.
const READ_AGAIN: Duration = Duration::from_secs(600);

/// The orders of the open batches. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Batches(Arc<Mutex<KnownBatches>>);

#[derive(Debug, Default)]
struct KnownBatches {
    /// The epoch of the lease under which all of this was read.
    epoch: Option<StageEpoch>,
    orders: BTreeMap<BatchId, KnownBatch>,
    of_build: HashMap<BuildId, BatchId>,
    /// The batches that are not paused, as last listed.
    listed: BTreeSet<BatchId>,
    /// When batches without events were searched for last.
    searched: Option<Timestamp>,
}

/// A batch whose order is known.
#[derive(Debug)]
struct KnownBatch {
    order: SharedOrder,
    /// The number of the newest event that was read.
    cursor: i64,
    /// Whether there may be something to do without an event.
    is_busy: bool,
    /// When all of its facts were read.
    read: Timestamp,
}

/// The data with which the examination of a batch begins.
#[derive(Debug, Clone)]
pub(super) struct Examination {
    pub(super) order: SharedOrder,
    /// The number of the newest event that was read.
    pub(super) cursor: i64,
    /// Whether the facts of all of it are to be read again.
    pub(super) is_old: bool,
}

impl Batches {
    /// The progress of a batch; `None` when this coordinator does not order it.
    #[must_use]
    pub fn progress(&self, batch: BatchId) -> Option<Progress> {
        self.order(batch).map(|order| order.lock().progress())
    }

    /// The lost builds of a batch, each with the builds that failed because of it.
    #[must_use]
    pub fn losses(&self, batch: BatchId) -> Option<Vec<Loss>> {
        self.order(batch).map(|order| order.lock().losses())
    }

    /// The circles of a batch that nothing can begin.
    #[must_use]
    pub fn stuck(&self, batch: BatchId) -> Option<Vec<StuckCircle>> {
        self.order(batch).map(|order| order.lock().stuck())
    }

    /// The builds of its batch for which a build waits.
    #[must_use]
    pub fn blockers(&self, build: BuildId) -> Option<Blockers> {
        self.order_of_build(build).map(|order| order.lock().blockers(build))
    }

    /// Why a build waits for others of its batch, in one line; `None` when it waits for no build.
    #[must_use]
    pub fn reason(&self, build: BuildId) -> Option<String> {
        self.order_of_build(build)?.lock().reason(build)
    }

    /// Why builds wait for others of their batches.
    #[must_use]
    pub fn reasons(&self) -> Vec<(BuildId, String)> {
        self.orders().into_iter().flat_map(|(_, order)| order.lock().reasons()).collect()
    }

    /// Forgets all orders: another coordinator keeps them now.
    pub fn clear(&self) {
        *self.0.lock() = KnownBatches::default();
    }

    /// Records that a target's external repositories have new metadata: waiting tasks are solved
    /// again when their turn comes.
    pub async fn touch_all(&self, target: &str) {
        let (batches, target) = (self.clone(), target.to_owned());
        if let Err(error) = blocking::compute(move || batches.touch(&target, None)).await {
            tracing::error!(%error, "new metadata were not passed to the orders of batches");
        }
    }
}

/// For the stage, which keeps them.
impl Batches {
    /// Forgets what was read under another lease than this one.
    pub(super) fn begin(&self, epoch: StageEpoch) -> bool {
        let mut known = self.0.lock();
        let is_new = known.epoch != Some(epoch);
        if is_new {
            *known = KnownBatches { epoch: Some(epoch), ..KnownBatches::default() };
        }
        is_new
    }

    /// Whether the known orders were read under this lease. Work that began under another lease
    /// must stop.
    pub(super) fn is_under(&self, epoch: StageEpoch) -> bool {
        self.0.lock().epoch == Some(epoch)
    }

    /// The unpaused batches that must be examined, with their newest events: batches that are not
    /// known yet, that have unread events, or that have work to do.
    pub(super) fn due(&self, heads: &[(BatchId, i64)], now: Timestamp) -> Vec<BatchId> {
        let mut known = self.0.lock();
        known.listed = heads.iter().map(|(batch, _)| *batch).collect();
        let is_due = |(batch, newest): &&(BatchId, i64)| {
            known.orders.get(batch).is_none_or(|one| {
                one.is_busy || one.cursor < *newest || now.since(one.read) > READ_AGAIN
            })
        };
        heads.iter().filter(is_due).map(|(batch, _)| *batch).collect()
    }

    /// Whether tasks of a batch may begin: it was not paused when batches were last listed.
    pub(super) fn may_begin(&self, batch: BatchId) -> bool {
        self.0.lock().listed.contains(&batch)
    }

    /// Whether it is time to search for batches without events.
    pub(super) fn is_search_due(&self, now: Timestamp) -> bool {
        let mut known = self.0.lock();
        let is_due = known.searched.is_none_or(|last| now.since(last) > READ_AGAIN);
        if is_due {
            known.searched = Some(now);
        }
        is_due
    }

    /// The order of a batch.
    pub(super) fn order(&self, batch: BatchId) -> Option<SharedOrder> {
        self.0.lock().orders.get(&batch).map(|one| Arc::clone(&one.order))
    }

    /// The number of the newest event of a batch that was read.
    pub(super) fn cursor(&self, batch: BatchId) -> Option<i64> {
        self.0.lock().orders.get(&batch).map(|one| one.cursor)
    }

    /// Begins the examination of a known batch: news from now on is not missed.
    pub(super) fn begin_examination(&self, batch: BatchId, now: Timestamp) -> Option<Examination> {
        let mut known = self.0.lock();
        let one = known.orders.get_mut(&batch)?;
        one.is_busy = false;
        let (order, cursor) = (Arc::clone(&one.order), one.cursor);
        Some(Examination { order, cursor, is_old: now.since(one.read) > READ_AGAIN })
    }

    /// Adds the order of a batch that was not known.
    pub(super) fn insert(
        &self,
        batch: BatchId,
        order: BatchOrder,
        cursor: i64,
        read: Timestamp,
    ) -> SharedOrder {
        let builds = order.builds();
        let order = Arc::new(Mutex::new(order));
        let one = KnownBatch { order: Arc::clone(&order), cursor, is_busy: false, read };
        let mut known = self.0.lock();
        known.of_build.extend(builds.into_iter().map(|build| (build, batch)));
        known.orders.insert(batch, one);
        order
    }

    /// Events of a batch were read up to this one; with a time also all of its facts.
    pub(super) fn set_read(&self, batch: BatchId, cursor: i64, whole: Option<Timestamp>) {
        if let Some(one) = self.0.lock().orders.get_mut(&batch) {
            one.cursor = cursor;
            one.read = whole.unwrap_or(one.read);
        }
    }

    /// There is something to do for a batch, or under way.
    pub(super) fn set_busy(&self, batch: BatchId) {
        if let Some(one) = self.0.lock().orders.get_mut(&batch) {
            one.is_busy = true;
        }
    }

    /// Forgets a batch that has ended.
    pub(super) fn forget(&self, batch: BatchId) {
        let mut known = self.0.lock();
        let Some(one) = known.orders.remove(&batch) else { return };
        for build in one.order.lock().builds() {
            known.of_build.remove(&build);
        }
    }

    /// Packages of these names have come to a target or have left it; of any name without them.
    pub(super) fn touch(&self, target: &str, names: Option<&[String]>) {
        for (batch, order) in self.orders() {
            if order.lock().touch(target, names) {
                self.set_busy(batch);
            }
        }
    }

    fn orders(&self) -> Vec<(BatchId, SharedOrder)> {
        let known = self.0.lock();
        known.orders.iter().map(|(batch, one)| (*batch, Arc::clone(&one.order))).collect()
    }

    fn order_of_build(&self, build: BuildId) -> Option<SharedOrder> {
        let known = self.0.lock();
        let batch = known.of_build.get(&build)?;
        known.orders.get(batch).map(|one| Arc::clone(&one.order))
    }
}

/// Runs work with an order on a thread for computations.
pub(super) async fn with<T: Send + 'static>(
    order: &SharedOrder,
    work: impl FnOnce(&mut BatchOrder) -> T + Send + 'static,
) -> anyhow::Result<T> {
    let order = Arc::clone(order);
    Ok(blocking::compute(move || work(&mut order.lock())).await?)
}

#[cfg(test)]
mod tests {
    use rpmfarm_core::batch::OrderMode;

    use super::*;

    const NOW: Timestamp = Timestamp::from_us(1_000_000);

    fn order() -> BatchOrder {
        BatchOrder::new(OrderMode::Requires, HashMap::new())
    }

    #[test]
    fn a_batch_without_news_is_not_examined() {
        let batches = Batches::default();
        assert!(batches.begin(StageEpoch(1)));
        let (one, two) = (BatchId(1), BatchId(2));
        assert_eq!(batches.due(&[(one, 3), (two, 1)], NOW), [one, two], "they are not known");
        batches.insert(one, order(), 3, NOW);
        batches.insert(two, order(), 0, NOW);
        assert_eq!(batches.due(&[(one, 3), (two, 1)], NOW), [two], "there is an event");
        batches.set_busy(one);
        batches.set_read(two, 1, None);
        assert_eq!(batches.due(&[(one, 3), (two, 1)], NOW), [one]);
        assert!(batches.begin_examination(one, NOW).is_some_and(|begun| !begun.is_old));
        assert_eq!(batches.due(&[(one, 3), (two, 1)], NOW), []);
        batches.set_busy(one);
        assert_eq!(batches.due(&[(two, 1)], NOW), [], "it is paused");
        assert!(!batches.may_begin(one) && batches.may_begin(two) && batches.order(one).is_some());
        assert_eq!(batches.due(&[(one, 3), (two, 1)], NOW), [one]);
        assert!(batches.begin_examination(one, NOW).is_some());
        let later = NOW + READ_AGAIN + Duration::from_secs(1);
        assert_eq!(batches.due(&[(one, 3), (two, 1)], later), [one, two], "of older versions");
    }

    #[test]
    fn what_was_read_under_another_lease_is_forgotten() {
        let batches = Batches::default();
        batches.begin(StageEpoch(1));
        batches.insert(BatchId(1), order(), 3, NOW);
        assert!(!batches.begin(StageEpoch(1)));
        assert!(batches.progress(BatchId(1)).is_some());
        assert!(batches.begin(StageEpoch(2)));
        assert!(batches.is_under(StageEpoch(2)) && !batches.is_under(StageEpoch(1)));
        assert_eq!(batches.progress(BatchId(1)), None);
    }
}
