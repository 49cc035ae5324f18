//! The order of batches: the consequences of the facts of builds, which do not depend on the
//! coordinator that read them.

use std::collections::BTreeSet;
use std::time::Duration;

use rpmfarm_coordinator::parts::Parts;
use rpmfarm_coordinator::resolve::{Batches, ResolveStage};
use rpmfarm_coordinator::store::{BuildRequest, NewTask, Srpm};
use rpmfarm_coordinator::work::Stage as _;
use rpmfarm_core::batch::{Blocker, Blockers, OrderMode};
use rpmfarm_core::task::TaskKind;
use rpmfarm_core::{Arch, BatchId, BuildId, Stage, Timestamp};

use crate::builds::{import, new_build, srpm};
use crate::scene::Scene;

const NOW: Timestamp = Timestamp::from_us(1_000_000_000);

/// How long a decision may take: roots are solved, and packages fetched.
const PATIENCE: Duration = Duration::from_secs(60);

/// A batch on a farm of one coordinator.
struct BatchOnFarm {
    farm: Parts,
    stage: ResolveStage,
    builds: Vec<BuildId>,
}

impl BatchOnFarm {
    /// Asks for builds of these packages, whose sources are there.
    async fn new(scene: &Scene, packages: &[&str]) -> Self {
        Self::in_order(scene, packages, OrderMode::default()).await
    }

    /// The same, in an order.
    async fn in_order(scene: &Scene, packages: &[&str], order: OrderMode) -> Self {
        let farm = scene.open_farm().await;
        let builds: Vec<_> = packages.iter().map(|package| new_build("t", package)).collect();
        let request =
            BuildRequest { builds: &builds, submitter: "ann", key: "", bump: false, order };
        let builds = farm.store.build_insert_request(&request, NOW).await.unwrap().ids;
        for build in &builds {
            farm.store.import_insert(*build, &import(NOW)).await.unwrap();
        }
        let stage = farm.resolve();
        Self { farm, stage, builds }
    }

    /// Accepts the source package of a build, with its requirements and the names that its spec
    /// makes.
    async fn accept_srpm(&self, at: usize, requires: &[&str], predicts: &[&str]) {
        let texts = |list: &[&str]| list.iter().map(ToString::to_string).collect();
        let srpm = Srpm {
            requires: texts(requires),
            predicts: texts(predicts),
            ..srpm(&format!("p{at}-1-1.src"))
        };
        let task = NewTask { kind: TaskKind::Build, arch: Arch::X86_64 };
        let mut tx = self.farm.store.write().await.unwrap();
        tx.srpm_insert(self.builds[at], &srpm).await.unwrap();
        tx.task_insert(self.builds[at], &[task], NOW).await.unwrap();
        tx.commit().await.unwrap();
    }

    async fn pass(&self) {
        let store = self.farm.fenced(Stage::Resolve).expect("there is no other coordinator");
        self.stage.pass(&store, NOW).await.unwrap();
    }

    /// Another coordinator resolves from now on, which has read nothing yet.
    fn take_over(&mut self) {
        self.farm = Parts { batches: Batches::default(), ..self.farm.clone() };
        self.stage = self.farm.resolve();
    }

    /// Which builds have locks, by their places in the request.
    async fn locked(&self) -> BTreeSet<usize> {
        let mut locked = BTreeSet::new();
        for (at, build) in self.builds.iter().enumerate() {
            for task in self.farm.store.task_list(*build).await.unwrap() {
                if self.farm.store.lock_fetch(task.id).await.unwrap().is_some() {
                    locked.insert(at);
                }
            }
        }
        locked
    }

    async fn id(&self) -> BatchId {
        self.farm.store.build_fetch(self.builds[0]).await.unwrap().unwrap().batch
    }

    fn reason(&self, at: usize) -> String {
        self.farm.batches.reason(self.builds[at]).unwrap_or_default()
    }

    /// Runs passes until something is so.
    async fn until(&self, what: &str, is_so: impl AsyncFn() -> bool) {
        let mut bus = self.farm.bus.listen();
        let begun = std::time::Instant::now();
        loop {
            self.pass().await;
            if is_so().await {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{what} does not come: {:?}", self.locked().await);
            // An examination without new work wakes no pass.
            let _ = tokio::time::timeout(Duration::from_millis(20), bus.woken()).await;
        }
    }

    async fn until_locked(&self, expected: &[usize]) {
        let expected: BTreeSet<usize> = expected.iter().copied().collect();
        self.until("a lock", async || self.locked().await.is_superset(&expected)).await;
        assert_eq!(self.locked().await, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_waits_for_its_library_whoever_resolves() {
    for is_taken_over in [false, true] {
        let scene = Scene::new().await;
        let mut batch = BatchOnFarm::new(&scene, &["library", "program", "other"]).await;
        batch.accept_srpm(0, &["compiler"], &["lib", "lib-devel"]).await;
        batch.accept_srpm(1, &["lib-devel"], &["program"]).await;
        batch.until_locked(&[0]).await;
        if is_taken_over {
            batch.take_over();
        }
        batch.accept_srpm(2, &["compiler"], &["other"]).await;
        batch.until_locked(&[0, 2]).await;
        let library = batch.builds[0];
        let text =
            format!("waits for lib-devel, which build {library} (library) makes; order: requires");
        batch.until("the reason", async || batch.reason(1) == text).await;
        let wanted = Some("lib-devel".to_owned());
        let blocker = Blocker { build: library, package: "library".into(), wanted };
        let blockers = batch.farm.batches.blockers(batch.builds[1]);
        assert_eq!(blockers, Some(Blockers::Members(vec![blocker])));

        // Without the library the build continues with the older one.
        assert!(batch.farm.store.build_cancel(library, NOW).await.unwrap());
        batch.until_locked(&[0, 1, 2]).await;
        assert_eq!(batch.reason(1), "");
        let id = batch.id().await;
        let of_batch = |batch: &BatchOnFarm| {
            let progress = batch.farm.batches.progress(id).unwrap_or_default();
            (progress.building, progress.lost)
        };
        batch.until("the loss", async || of_batch(&batch) == (2, 1)).await;
        // One that is retried is a member again.
        assert!(batch.farm.store.build_retry(library, NOW).await.unwrap());
        batch.until("the retried build", async || of_batch(&batch) == (3, 0)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_no_order_a_program_goes_with_the_library_that_is_there() {
    let scene = Scene::new().await;
    let packages = ["library", "program"];
    let batch = BatchOnFarm::in_order(&scene, &packages, OrderMode::Unordered).await;
    batch.accept_srpm(0, &["compiler"], &["lib", "lib-devel"]).await;
    batch.accept_srpm(1, &["lib-devel"], &["program"]).await;
    batch.until_locked(&[0, 1]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_circle_goes_whole_whoever_resolves() {
    for is_taken_over in [false, true] {
        let scene = Scene::new().await;
        let mut batch = BatchOnFarm::new(&scene, &["cc", "dyn"]).await;
        batch.accept_srpm(0, &["dynamic"], &["compiler"]).await;
        // It is not known yet that the other build makes its requirement.
        batch.until_locked(&[0]).await;
        if is_taken_over {
            batch.take_over();
            batch.pass().await;
        }
        batch.accept_srpm(1, &["compiler"], &["dynamic"]).await;
        batch.until_locked(&[0, 1]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_lost_build_was_to_make_is_named_where_it_is_missing() {
    for is_taken_over in [false, true] {
        let scene = Scene::new().await;
        let mut batch = BatchOnFarm::new(&scene, &["new", "app", "later"]).await;
        batch.accept_srpm(0, &["compiler"], &["new", "new-devel"]).await;
        batch.accept_srpm(1, &["new-devel >= 2"], &["app"]).await;
        batch.until_locked(&[0]).await;
        let store = batch.farm.store.clone();
        assert!(store.build_cancel(batch.builds[0], NOW).await.unwrap());
        batch.pass().await;
        if is_taken_over {
            batch.take_over();
        }
        // A spec that was not read yet might name it.
        batch.until("an examination", async || !batch.reason(1).is_empty()).await;
        assert!(store.build_is_open(batch.builds[1]).await.unwrap());
        batch.accept_srpm(2, &["compiler"], &["later"]).await;
        let app = batch.builds[1];
        batch.until("the refusal", async || !store.build_is_open(app).await.unwrap()).await;
        let failures = store.failure_list(app, None).await.unwrap();
        let message = &failures[0].failure.message;
        let lost = format!(
            "(build {} (new), from the same request, was to provide `new-devel >= 2` and ended \
             without it)",
            batch.builds[0]
        );
        assert!(message.starts_with("no build root for x86_64"), "{message}");
        assert!(message.ends_with(&lost), "{message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn news_of_a_repository_are_news_for_what_waits() {
    let scene = Scene::new().await;
    let batch = BatchOnFarm::new(&scene, &["app", "later"]).await;
    batch.accept_srpm(0, &["late"], &["app"]).await;
    batch.until("the reason", async || !batch.reason(0).is_empty()).await;
    scene.build("repo", &[("late", "1", "")]);
    scene.index("repo", &[]);
    let store = batch.farm.fenced(Stage::Resolve).expect("there is no other coordinator");
    batch.farm.refresh().pass(&store).await;
    batch.until_locked(&[0]).await;
}

/// An examination without events has the same statements, however many tasks wait.
#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_waits_costs_no_statement() {
    let mut costs = Vec::new();
    for count in [2_usize, 12] {
        let scene = Scene::new().await;
        let names: Vec<String> = (0..count).map(|at| format!("p{at}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let batch = BatchOnFarm::new(&scene, &names).await;
        batch.accept_srpm(0, &["compiler"], &["lib-devel"]).await;
        for at in 1..count {
            batch.accept_srpm(at, &["lib-devel"], &["x"]).await;
        }
        batch.until_locked(&[0]).await;
        let all_wait = async || (1..count).all(|at| !batch.reason(at).is_empty());
        batch.until("the reasons", all_wait).await;
        let cost = async || {
            let before = batch.farm.store.statements();
            batch.pass().await;
            batch.farm.store.statements() - before
        };
        // Passes beside which the last works end cost more.
        let mut least = u64::MAX;
        for _ in 0..50 {
            least = least.min(cost().await);
            tokio::task::yield_now().await;
        }
        costs.push(least);
    }
    assert_eq!(costs[0], costs[1]);
    assert!(costs[0] <= 8, "{costs:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_has_ended_leaves_no_events() {
    let scene = Scene::new().await;
    let batch = BatchOnFarm::new(&scene, &["app", "other"]).await;
    batch.accept_srpm(0, &["compiler"], &["app"]).await;
    batch.until_locked(&[0]).await;
    let (store, id) = (&batch.farm.store, batch.id().await);
    assert!(!store.batch_event_list(id, 0).await.unwrap().is_empty());
    for build in &batch.builds {
        assert!(store.build_cancel(*build, NOW).await.unwrap());
    }
    batch.until("the end", async || store.batch_head_list().await.unwrap().is_empty()).await;
    assert!(store.batch_event_list(id, 0).await.unwrap().is_empty());
    // It is opened again, and counts from the beginning.
    assert!(store.build_retry(batch.builds[1], NOW).await.unwrap());
    assert_eq!(store.batch_head_list().await.unwrap(), [(id, 1)]);
    batch.accept_srpm(1, &["compiler"], &["other"]).await;
    batch.until_locked(&[0, 1]).await;
}
