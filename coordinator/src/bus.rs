//! The bus, which wakes the passes when something was written, and the messages that wake the
//! passes of other coordinators. `peers` sends these.
//!
//! For passes it carries no data except the steps of builds that have new work, where they are
//! known, so that passes of other steps need not read the database. A pass that wakes reads the
//! facts that lack its result, so a wake-up that comes twice, or is missed because a poll came
//! first, changes nothing. It also carries the builds whose facts have changed ([`Bus::follow`]),
//! for those who show builds: a follower that is too far behind learns only that any build may have
//! changed.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use rpmfarm_core::BuildId;
use rpmfarm_core::next_step::NextStep;
use tokio::sync::{Notify, mpsc, watch};

/// How many messages wait to be sent; further ones are dropped.
const WAITING: usize = 256;

/// Changes that are remembered for those who have not read them yet.
const REMEMBERED: usize = 65_536;

/// The builds that may have changed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChangedBuilds {
    /// These and no others; it may be none.
    Only(BTreeSet<BuildId>),
    /// Any of them.
    Any,
}

impl ChangedBuilds {
    /// These changes and others.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Only(mut builds), Self::Only(others)) => {
                builds.extend(others);
                Self::Only(builds)
            }
            _ => Self::Any,
        }
    }
}

/// The passes for which something is news.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// Those that do these steps of builds; it may be none.
    Steps(BTreeSet<NextStep>),
    /// All.
    All,
}

/// How often the bus was woken.
#[derive(Debug, Clone, Copy, Default)]
struct Rings {
    /// In total, for any reason.
    count: u64,
    /// For all passes.
    all: u64,
    /// For those that do a step.
    of_step: [u64; NextStep::ALL.len()],
}

impl Rings {
    fn add(&mut self, news: &News) {
        self.count += 1;
        match news {
            News::All => self.all += 1,
            News::Steps(steps) => {
                for step in steps {
                    self.of_step[*step as usize] += 1;
                }
            }
        }
    }

    /// Whether the bus was woken since then for all passes or for one of these steps; without
    /// steps, for any reason.
    fn concern(&self, steps: Option<&[NextStep]>, before: &Self) -> bool {
        let Some(steps) = steps else { return self.count != before.count };
        let rang = |step: &NextStep| {
            let step = *step as usize;
            self.of_step[step] != before.of_step[step]
        };
        self.all != before.all || steps.iter().any(rang)
    }
}

/// A message to the other coordinators: to read the facts again, never the facts themselves.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum PeerMessage {
    /// Facts were written, of these builds.
    Facts(ChangedBuilds),
    /// The worker's session shall read again what the worker should have.
    WakeSession(String),
    /// All sessions shall do so. Only coordinators of older versions send it.
    WakeSessions,
    /// A worker has reported progress.
    Progress,
}

/// Takes messages for the other coordinators. Cheap to clone. The default one drops them.
#[derive(Debug, Clone, Default)]
pub struct PeerNotifier(Option<PeerQueue>);

#[derive(Debug, Clone)]
struct PeerQueue {
    sender: mpsc::Sender<PeerMessage>,
    /// Whether a message about facts was dropped, so that its builds are no longer known.
    lost: Arc<AtomicBool>,
}

/// The messages that are to be sent.
#[derive(Debug)]
pub struct PeerMessages {
    receiver: mpsc::Receiver<PeerMessage>,
    lost: Arc<AtomicBool>,
}

impl PeerNotifier {
    /// A notifier and the receiver of its messages.
    #[must_use]
    pub fn new() -> (Self, PeerMessages) {
        let (sender, receiver) = mpsc::channel(WAITING);
        let lost = Arc::new(AtomicBool::new(false));
        (Self(Some(PeerQueue { sender, lost: lost.clone() })), PeerMessages { receiver, lost })
    }

    /// Queues a message; drops it when the queue is full.
    pub fn send(&self, word: PeerMessage) {
        let Some(PeerQueue { sender, lost }) = &self.0 else { return };
        let names_builds = matches!(word, PeerMessage::Facts(_));
        // A dropped message does no harm: the other coordinators read the facts periodically.
        if sender.try_send(word).is_err() && names_builds {
            lost.store(true, Ordering::Relaxed);
        }
    }
}

impl PeerMessages {
    /// The next message; `None` when no more can come.
    pub async fn next(&mut self) -> Option<PeerMessage> {
        self.receiver.recv().await
    }

    /// The next message, if one is queued.
    #[must_use]
    pub fn try_next(&mut self) -> Option<PeerMessage> {
        self.receiver.try_recv().ok()
    }

    /// The messages that are queued, those about facts combined into one. When a message about
    /// facts was dropped, that one says that any build may have changed.
    pub fn gather(&mut self, first: PeerMessage) -> BTreeSet<PeerMessage> {
        let (mut words, mut facts) = (BTreeSet::new(), None::<ChangedBuilds>);
        let mut next = Some(first);
        while let Some(word) = next {
            match word {
                PeerMessage::Facts(changed) => {
                    facts = Some(match facts {
                        Some(known) => known.and(changed),
                        None => changed,
                    });
                }
                word => _ = words.insert(word),
            }
            next = self.try_next();
        }
        if self.lost.swap(false, Ordering::Relaxed) {
            facts = Some(ChangedBuilds::Any);
        }
        words.extend(facts.map(PeerMessage::Facts));
        words
    }

    /// Records that messages could not be sent: the next message tells the other coordinators that
    /// any build may have changed.
    pub fn lose(&self) {
        self.lost.store(true, Ordering::Relaxed);
    }
}

/// The last changes, numbered among all changes.
#[derive(Debug, Default)]
struct RecentChanges {
    /// How many there were in all.
    count: u64,
    /// The last of them, the newest at the end.
    builds: VecDeque<BuildId>,
    /// The number after the newest change whose builds are not known.
    unknown: u64,
}

impl RecentChanges {
    fn add(&mut self, changed: &ChangedBuilds) {
        let ChangedBuilds::Only(builds) = changed else {
            self.count += 1;
            self.unknown = self.count;
            // Every follower reads this change as "any build", so the earlier changes are not
            // needed.
            self.builds.clear();
            return;
        };
        for build in builds {
            self.count += 1;
            self.builds.push_back(*build);
        }
        let excess = self.builds.len().saturating_sub(REMEMBERED);
        self.builds.drain(..excess);
    }

    /// The changes after this number.
    fn since(&self, place: u64) -> ChangedBuilds {
        let missed = usize::try_from(self.count.saturating_sub(place)).unwrap_or(usize::MAX);
        if place < self.unknown || missed > self.builds.len() {
            return ChangedBuilds::Any;
        }
        ChangedBuilds::Only(self.builds.iter().rev().take(missed).copied().collect())
    }
}

/// Wakes everyone who listens. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Bus {
    wakes: Arc<WakeCounter>,
    /// The builds whose facts have changed.
    changes: watch::Sender<RecentChanges>,
    /// Tells the other coordinators that something was written here.
    notifier: PeerNotifier,
    /// The steps for which it is used; `None` for all.
    steps: Option<&'static [NextStep]>,
}

/// The state that the clones of a bus share.
#[derive(Debug, Default)]
struct WakeCounter {
    /// How often the bus was woken.
    rings: Mutex<Rings>,
    /// Wakes those who listen in the order in which they came, so that a simulation can repeat it.
    notify: Notify,
}

impl Default for Bus {
    fn default() -> Self {
        Self {
            wakes: Arc::default(),
            changes: watch::Sender::new(RecentChanges::default()),
            notifier: PeerNotifier::default(),
            steps: None,
        }
    }
}

impl Bus {
    /// A bus that also notifies the other coordinators.
    #[must_use]
    pub fn with_notifier(notifier: PeerNotifier) -> Self {
        Self { notifier, ..Self::default() }
    }

    /// The same bus for passes that do these steps of builds: its listeners are not woken for other
    /// steps, and a wake-up from it wakes only those passes.
    #[must_use]
    pub fn for_steps(&self, steps: &'static [NextStep]) -> Self {
        Self { steps: Some(steps), ..self.clone() }
    }

    /// Wakes the listeners of this process that these steps concern, and all listeners of the other
    /// coordinators, after facts of these builds were written.
    pub fn written(&self, builds: BTreeSet<BuildId>, news: &News) {
        let changed = ChangedBuilds::Only(builds);
        self.note(&changed);
        self.ring(news);
        self.notifier.send(PeerMessage::Facts(changed));
    }

    /// Wakes all listeners of this process, after another coordinator has written facts.
    pub fn heard(&self, changed: &ChangedBuilds) {
        self.note(changed);
        self.ring(&News::All);
    }

    /// Wakes the listeners of this process; other coordinators are not notified, nor are followers
    /// of builds.
    pub fn wake(&self) {
        self.ring(&match self.steps {
            Some(steps) => News::Steps(steps.iter().copied().collect()),
            None => News::All,
        });
    }

    fn note(&self, changed: &ChangedBuilds) {
        if *changed != ChangedBuilds::Only(BTreeSet::new()) {
            self.changes.send_modify(|changes| changes.add(changed));
        }
    }

    fn ring(&self, news: &News) {
        self.wakes.rings.lock().add(news);
        self.wakes.notify.notify_waiters();
    }

    /// Listens from now on. Call this before reading the facts, so that no write between the two is
    /// missed.
    #[must_use]
    pub fn listen(&self) -> BusListener {
        let heard = *self.wakes.rings.lock();
        BusListener { wakes: Arc::clone(&self.wakes), heard, steps: self.steps }
    }

    /// Follows which builds change from now on. Follow first and read the facts then, so that
    /// nothing falls between.
    #[must_use]
    pub fn follow(&self) -> ChangeListener {
        let changes = self.changes.subscribe();
        let place = changes.borrow().count;
        ChangeListener { changes, place }
    }
}

#[derive(Debug)]
pub struct BusListener {
    wakes: Arc<WakeCounter>,
    /// The counts of wake-ups that this listener has seen.
    heard: Rings,
    /// The steps for which it wakes; `None` for any facts.
    steps: Option<&'static [NextStep]>,
}

impl BusListener {
    /// Waits until the bus was woken since the last call.
    pub async fn woken(&mut self) {
        loop {
            // Listens before the counts are read, so that a wake-up in between is not missed.
            let notified = self.wakes.notify.notified();
            let now = *self.wakes.rings.lock();
            let before = std::mem::replace(&mut self.heard, now);
            if now.concern(self.steps, &before) {
                return;
            }
            notified.await;
        }
    }
}

/// Remembers how far the changes of builds were read.
#[derive(Debug)]
pub struct ChangeListener {
    changes: watch::Receiver<RecentChanges>,
    place: u64,
}

impl ChangeListener {
    /// Waits until builds have changed that were not taken yet.
    pub async fn changed(&mut self) {
        // The sender exists as long as the coordinator's parts; without it no change can come.
        if self.changes.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// The builds that have changed since they were taken last.
    #[must_use]
    pub fn take(&mut self) -> ChangedBuilds {
        let changes = self.changes.borrow_and_update();
        let place = std::mem::replace(&mut self.place, changes.count);
        changes.since(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(ids: impl IntoIterator<Item = i64>) -> ChangedBuilds {
        ChangedBuilds::Only(ids.into_iter().map(BuildId).collect())
    }

    fn write(bus: &Bus, ids: impl IntoIterator<Item = i64>) {
        bus.written(ids.into_iter().map(BuildId).collect(), &News::All);
    }

    /// Whether the wake-ups so far wake a listener.
    fn wakes(listener: &mut BusListener) -> bool {
        use futures_util::FutureExt as _;
        listener.woken().now_or_never().is_some()
    }

    #[test]
    fn passes_wake_for_their_steps_and_for_what_concerns_all() {
        let bus = Bus::default();
        let accept = bus.for_steps(&[NextStep::Accept]);
        let (mut accepts, mut others) =
            (accept.listen(), bus.for_steps(&[NextStep::Plan, NextStep::Lock]).listen());
        let mut everyone = bus.listen();
        let mut heard = || [&mut accepts, &mut others, &mut everyone].map(wakes);
        let write = |steps: &[NextStep]| {
            bus.written(BTreeSet::new(), &News::Steps(steps.iter().copied().collect()));
        };
        assert_eq!(heard(), [false, false, false]);
        write(&[NextStep::Accept]);
        assert_eq!(heard(), [true, false, true]);
        write(&[NextStep::Accept, NextStep::Lock]);
        write(&[]);
        assert_eq!(heard(), [true, true, true]);
        write(&[]);
        assert_eq!(heard(), [false, false, true]);
        accept.wake();
        assert_eq!(heard(), [true, false, true]);
        bus.wake();
        assert_eq!(heard(), [true, true, true]);
        bus.heard(&only([]));
        assert_eq!(heard(), [true, true, true]);
        assert_eq!(heard(), [false, false, false]);
    }

    #[tokio::test]
    async fn each_follower_is_told_once_of_what_changed_after_it_began() {
        let bus = Bus::default();
        write(&bus, [1]);
        let mut early = bus.follow();
        write(&bus, [2, 3]);
        write(&bus, [3]);
        let mut late = bus.follow();
        write(&bus, [4]);
        early.changed().await;
        assert_eq!(early.take(), only([2, 3, 4]));
        assert_eq!(early.take(), only([]));
        assert_eq!(late.take(), only([4]));
    }

    #[test]
    fn who_is_too_far_behind_is_told_that_any_may_have_changed() {
        let bus = Bus::default();
        let (mut behind, remembered) = (bus.follow(), i64::try_from(REMEMBERED).unwrap());
        write(&bus, 0..=remembered);
        assert_eq!(behind.take(), ChangedBuilds::Any);
        write(&bus, 1..=remembered);
        assert_eq!(behind.take(), only(1..=remembered));
    }

    #[test]
    fn unknown_changes_are_any() {
        let bus = Bus::default();
        let mut follower = bus.follow();
        write(&bus, [1]);
        bus.heard(&ChangedBuilds::Any);
        write(&bus, [2]);
        assert_eq!(follower.take(), ChangedBuilds::Any);
        bus.heard(&only([3]));
        assert_eq!(follower.take(), only([3]));
    }

    #[test]
    fn what_concerns_no_build_wakes_passes_alone() {
        let bus = Bus::default();
        let (mut passes, followers) = (bus.listen(), bus.follow());
        write(&bus, []);
        assert!(wakes(&mut passes));
        assert!(!followers.changes.has_changed().unwrap());
    }

    #[test]
    fn words_on_facts_are_gathered_and_none_is_lost() {
        let (notifier, mut words) = PeerNotifier::new();
        let facts = |id| PeerMessage::Facts(only([id]));
        notifier.send(facts(2));
        notifier.send(PeerMessage::WakeSessions);
        let gathered = words.gather(facts(1));
        assert_eq!(gathered, [PeerMessage::Facts(only([1, 2])), PeerMessage::WakeSessions].into());
        for _ in 0..=WAITING {
            notifier.send(facts(3));
        }
        let gathered = words.gather(facts(3));
        assert_eq!(gathered, [PeerMessage::Facts(ChangedBuilds::Any)].into());
        assert_eq!(words.gather(facts(4)), [facts(4)].into());
    }
}
