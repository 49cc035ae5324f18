//! The views of watched builds, made once for all watchers.
//!
//! Owns when a build is read again, and that a slow watcher delays no other. It must not know how a
//! build is shown.
//!
//! One task has all builds that are watched at this coordinator. It reads the builds whose facts
//! have changed according to the bus, at most a few times a second and several at once, and
//! compares phases and wait reasons in memory, for which nothing wakes it. Other changes, such as
//! wait reasons of other coordinators, are found in turn: every few seconds the builds that were
//! read the longest ago are read again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rpmfarm_core::task::Phase;
use rpmfarm_core::{AttemptId, BuildId, Sha256};
use rpmfarm_proto::{Message as _, v1};
use tokio::sync::mpsc;
use tonic::Status;

use super::view::{LiveView, Views};
use crate::bus::{Bus, BusListener, ChangeListener, ChangedBuilds};
use crate::clock::Clock;
use crate::store::Build;

/// How many builds are read together.
const PAGE: usize = 100;

/// The shortest and the longest time between two reads, and what each build that is watched adds:
/// in a large batch some build changes at any time, and a read costs as many statements for one as
/// for a page.
const SHORTEST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(2);
const EACH: Duration = Duration::from_millis(50);

/// How often a page of builds without reported changes is read.
const IN_TURN: Duration = Duration::from_secs(5);

/// The views that a watcher has not received yet: only the newest view of each build, so that a
/// slow watcher misses states that are over by then, and never an end.
#[derive(Debug, Default)]
struct Unsent {
    views: BTreeMap<BuildId, Arc<v1::Build>>,
    failed: Option<Status>,
}

/// The sending side of a watcher.
#[derive(Debug, Clone)]
struct Watcher {
    unsent: Arc<Mutex<Unsent>>,
    wake: mpsc::Sender<()>,
}

/// The receiving side of a watcher: the changes of some builds.
#[derive(Debug)]
pub(super) struct WatchedViews {
    unsent: Arc<Mutex<Unsent>>,
    woken: mpsc::Receiver<()>,
}

/// A watcher begins to watch builds.
#[derive(Debug)]
struct WatchRequest {
    builds: Vec<Build>,
    watcher: Watcher,
}

/// The views of builds that can be watched. Cheap to clone.
#[derive(Clone)]
pub struct SharedViews(Arc<SharedState>);

struct SharedState {
    views: Views,
    /// Carries the builds whose facts were written.
    facts: Bus,
    /// Woken when a worker has reported.
    progress: Bus,
    /// The task that reads; none before the first watcher.
    reader: Mutex<Option<mpsc::UnboundedSender<WatchRequest>>>,
}

impl Watcher {
    fn new() -> (Self, WatchedViews) {
        let (wake, woken) = mpsc::channel(1);
        let unsent = Arc::new(Mutex::new(Unsent::default()));
        (Self { unsent: unsent.clone(), wake }, WatchedViews { unsent, woken })
    }

    fn send(&self, build: BuildId, view: &Arc<v1::Build>) {
        self.unsent.lock().views.insert(build, view.clone());
        // A wake-up that is still pending covers this view, too.
        let _ = self.wake.try_send(());
    }

    fn fail(&self, status: &Status) {
        self.unsent.lock().failed = Some(status.clone());
        let _ = self.wake.try_send(());
    }

    fn is_gone(&self) -> bool {
        self.wake.is_closed()
    }
}

impl WatchedViews {
    /// Waits for changes and takes them: the newest view of each changed build, the newest build
    /// first.
    ///
    /// # Errors
    /// The failure that ended the reading of builds.
    pub(super) async fn next(&mut self) -> Result<Vec<Arc<v1::Build>>, Status> {
        let woken = self.woken.recv().await;
        let mut unsent = self.unsent.lock();
        if let Some(status) = unsent.failed.take() {
            return Err(status);
        }
        let views = std::mem::take(&mut unsent.views);
        if woken.is_none() && views.is_empty() {
            return Err(Status::unavailable("builds are not followed any more; watch them again"));
        }
        Ok(views.into_values().rev().collect())
    }
}

impl SharedViews {
    /// Views for watchers, which are read again when these buses wake.
    #[must_use]
    pub fn new(views: Views, facts: Bus, progress: Bus) -> Self {
        Self(Arc::new(SharedState { views, facts, progress, reader: Mutex::default() }))
    }

    /// Begins to watch builds. Their present views are sent first.
    pub(super) fn watch(&self, builds: Vec<Build>) -> WatchedViews {
        let (watcher, watched) = Watcher::new();
        let request = WatchRequest { builds, watcher };
        let mut reader = self.0.reader.lock();
        let refused = match &*reader {
            Some(requests) => requests.send(request).err().map(|error| error.0),
            None => Some(request),
        };
        if let Some(request) = refused {
            // The first one, or one after the task has panicked.
            *reader = Some(self.start(request));
        }
        watched
    }

    fn start(&self, first: WatchRequest) -> mpsc::UnboundedSender<WatchRequest> {
        let (sender, requests) = mpsc::unbounded_channel();
        let mut reader = ViewReader {
            views: self.0.views.clone(),
            facts: self.0.facts.follow(),
            progress: self.0.progress.listen(),
            requests,
            builds: BTreeMap::new(),
            stale: BTreeSet::new(),
            checked: Clock.instant(),
            in_turn: Clock.instant(),
        };
        reader.admit(first);
        tokio::spawn(reader.run());
        sender
    }
}

/// A watched build.
struct WatchedBuild {
    build: Build,
    watchers: Vec<Watcher>,
    /// The view that was sent last, and its digest; none before the first read.
    sent: Option<(Sha256, Arc<v1::Build>)>,
    /// Its state that is not in the database, as it was when the build was read.
    live: LiveState,
    /// When it was read last; `None` for never.
    read: Option<Instant>,
}

/// The state of a build that is shown, and known only in memory.
#[derive(Debug, Default, PartialEq, Eq)]
struct LiveState {
    /// Its running attempts, and how far they are.
    phases: Vec<(AttemptId, Option<Phase>)>,
    /// Why it waits.
    reason: String,
}

/// The task that reads the watched builds. It ends when no watcher can come any more.
struct ViewReader {
    views: Views,
    facts: ChangeListener,
    progress: BusListener,
    requests: mpsc::UnboundedReceiver<WatchRequest>,
    builds: BTreeMap<BuildId, WatchedBuild>,
    /// Those that have to be read again.
    stale: BTreeSet<BuildId>,
    /// When the task last determined which builds to read.
    checked: Instant,
    /// When a page of builds without reported changes was last read.
    in_turn: Instant,
}

/// The time between two reads, with so many builds watched.
fn pace(watched: usize) -> Duration {
    let watched = u32::try_from(watched).unwrap_or(u32::MAX);
    EACH.saturating_mul(watched).clamp(SHORTEST, LONGEST)
}

impl ViewReader {
    async fn run(mut self) {
        loop {
            self.note_changes(Clock.instant());
            if let Err(status) = self.read().await {
                self.fail(&status);
            }
            if !self.wait().await {
                return;
            }
        }
    }

    /// Waits until builds may have to be read. False when no watcher can come any more.
    async fn wait(&mut self) -> bool {
        self.leave_unwatched();
        if self.builds.is_empty() {
            let request = self.requests.recv().await;
            return self.admitted(request);
        }
        let in_turn = self.in_turn + IN_TURN;
        tokio::select! {
            request = self.requests.recv() => return self.admitted(request),
            () = self.facts.changed() => {}
            () = self.progress.woken() => {}
            () = Clock.sleep_until(in_turn) => {}
        }
        let rested = self.checked + pace(self.builds.len());
        tokio::select! {
            request = self.requests.recv() => self.admitted(request),
            () = Clock.sleep_until(rested) => true,
        }
    }

    /// Takes a request, and all that wait behind it. False for `None`: every sender of requests is gone.
    fn admitted(&mut self, request: Option<WatchRequest>) -> bool {
        let Some(request) = request else { return false };
        self.admit(request);
        while let Ok(request) = self.requests.try_recv() {
            self.admit(request);
        }
        true
    }

    /// A watcher of builds that are read already gets their views at once.
    fn admit(&mut self, WatchRequest { builds, watcher }: WatchRequest) {
        for build in builds {
            let id = build.id;
            let watched = self.builds.entry(id).or_insert_with(|| WatchedBuild {
                build,
                watchers: Vec::new(),
                sent: None,
                live: LiveState::default(),
                read: None,
            });
            match &watched.sent {
                Some((_, view)) => watcher.send(id, view),
                None => _ = self.stale.insert(id),
            }
            watched.watchers.push(watcher.clone());
        }
    }

    /// Forgets the builds that nobody watches any more.
    fn leave_unwatched(&mut self) {
        self.builds.retain(|_, watched| {
            watched.watchers.retain(|watcher| !watcher.is_gone());
            !watched.watchers.is_empty()
        });
    }

    /// Determines which builds have to be read again.
    fn note_changes(&mut self, now: Instant) {
        self.checked = now;
        match self.facts.take() {
            ChangedBuilds::Only(changed) => self.stale.extend(changed),
            ChangedBuilds::Any => self.stale.extend(self.builds.keys()),
        }
        let phases = self.views.fleet.phases();
        for (id, watched) in &self.builds {
            let attempts = watched.live.phases.iter().map(|(attempt, _)| *attempt);
            if self.live(*id, attempts, &phases) != watched.live {
                self.stale.insert(*id);
            }
        }
        if now.saturating_duration_since(self.in_turn) >= IN_TURN {
            self.in_turn = now;
            let mut oldest: Vec<(Option<Instant>, BuildId)> =
                self.builds.iter().map(|(id, watched)| (watched.read, *id)).collect();
            oldest.sort_unstable();
            self.stale.extend(oldest.into_iter().take(PAGE).map(|(_, id)| id));
        }
    }

    /// The state of a build in memory, with these attempts.
    fn live(
        &self,
        build: BuildId,
        attempts: impl Iterator<Item = AttemptId>,
        phases: &HashMap<AttemptId, Phase>,
    ) -> LiveState {
        LiveState {
            phases: attempts.map(|attempt| (attempt, phases.get(&attempt).copied())).collect(),
            reason: self.views.reasons.here(build),
        }
    }

    /// Reads the builds that are due, and sends the views that have changed.
    async fn read(&mut self) -> Result<(), Status> {
        let stale = std::mem::take(&mut self.stale);
        let rows: Vec<Build> = stale
            .iter()
            .filter_map(|id| self.builds.get(id))
            .map(|watched| watched.build.clone())
            .collect();
        for page in rows.chunks(PAGE) {
            // Taken before the facts are read, so that a change meanwhile is noticed the next time.
            let (phases, read) = (self.views.fleet.phases(), Clock.instant());
            let reasons: Vec<LiveState> =
                page.iter().map(|row| self.live(row.id, std::iter::empty(), &phases)).collect();
            let shown = self.views.live_builds(page).await?;
            for ((row, view), mut live) in page.iter().zip(shown).zip(reasons) {
                let phase = |attempt: AttemptId| (attempt, phases.get(&attempt).copied());
                live.phases = view.running.iter().copied().map(phase).collect();
                self.send_view(row.id, view, live, read);
            }
        }
        Ok(())
    }

    /// Sends the view of a build to its watchers, if it has changed. A build that has ended is not
    /// read again.
    fn send_view(&mut self, id: BuildId, view: LiveView, live: LiveState, read: Instant) {
        let Some(watched) = self.builds.get_mut(&id) else { return };
        (watched.live, watched.read) = (live, Some(read));
        let ended = view.shown.ended_us != 0;
        let digest = Sha256::compute(&view.shown.encode_to_vec());
        if watched.sent.as_ref().is_none_or(|(sent, _)| *sent != digest) {
            let view = Arc::new(view.shown);
            watched.watchers.iter().for_each(|watcher| watcher.send(id, &view));
            watched.sent = Some((digest, view));
        }
        if ended {
            self.builds.remove(&id);
        }
    }

    /// Ends all watches; a client decides whether to watch again.
    fn fail(&mut self, status: &Status) {
        for watched in std::mem::take(&mut self.builds).into_values() {
            watched.watchers.iter().for_each(|watcher| watcher.fail(status));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(id: i64, state: &str) -> Arc<v1::Build> {
        Arc::new(v1::Build { id, state: state.into(), ..v1::Build::default() })
    }

    fn states(views: &[Arc<v1::Build>]) -> Vec<(i64, &str)> {
        views.iter().map(|view| (view.id, view.state.as_str())).collect()
    }

    #[tokio::test]
    async fn a_watcher_that_lags_gets_the_newest_of_each_build() {
        let (watcher, mut watched) = Watcher::new();
        for number in 0..1000 {
            for build in [1, 2] {
                watcher.send(BuildId(build), &view(build, &format!("step {number}")));
            }
        }
        watcher.send(BuildId(1), &view(1, "published"));
        let views = watched.next().await.unwrap();
        assert_eq!(states(&views), [(2, "step 999"), (1, "published")]);
        watcher.send(BuildId(2), &view(2, "failed"));
        assert_eq!(states(&watched.next().await.unwrap()), [(2, "failed")]);
    }

    #[tokio::test]
    async fn a_watcher_learns_that_nobody_reads_any_more() {
        let (watcher, mut watched) = Watcher::new();
        watcher.send(BuildId(1), &view(1, "building"));
        drop(watcher);
        assert_eq!(states(&watched.next().await.unwrap()), [(1, "building")]);
        assert_eq!(watched.next().await.unwrap_err().code(), tonic::Code::Unavailable);

        let (watcher, mut watched) = Watcher::new();
        watcher.send(BuildId(1), &view(1, "building"));
        watcher.fail(&Status::internal("database: away"));
        assert_eq!(watched.next().await.unwrap_err().message(), "database: away");
        drop(watched);
        assert!(watcher.is_gone());
    }

    #[test]
    fn many_builds_are_read_less_often_than_one() {
        assert_eq!([0, 1, 5].map(pace), [SHORTEST; 3]);
        assert_eq!(pace(20), Duration::from_secs(1));
        assert_eq!([40, 34_288, usize::MAX].map(pace), [LONGEST; 3]);
    }
}
