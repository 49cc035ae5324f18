//! The simulation's model of the store is true: the same random steps have the same answers on
//! SQLite, on PostgreSQL and on the model, and lead to the same facts. What the simulation proves
//! with the model so holds for the real store.
//!
//! A seed is a run. `MODEL_SEED=7 cargo nextest run -E 'test(the_model_answers)'` runs that one.

#![allow(clippy::unwrap_used, reason = "a test ends there")]

mod accept;
#[path = "../common/mod.rs"]
mod common;
mod compare;
mod found;
mod steps;
mod tenure;

use std::collections::BTreeMap;

use common::on_postgres;
use rpmfarm_coordinator::bus::Bus;
use rpmfarm_coordinator::store as real;
use rpmfarm_core::{AttemptId, TaskId, Timestamp};
use rpmfarm_sim::{Rng, store as model};

const SEEDS: u64 = 4;
const STEPS: usize = 200;
const TARGET: &str = "lab";
const CHANNEL: &str = "testing";
const KEY: &str = "key";

/// Both stores, and what the next step is drawn from.
struct ModelPair {
    real: real::Store,
    model: model::Store,
    rng: Rng,
    now_us: i64,
    /// In every other run the clock only goes on.
    steady: bool,
    seed: u64,
    step: usize,
    /// Every attempt that was given to a worker, with its epoch.
    granted: Vec<(i64, i64)>,
    /// By task and round of requirements: the attempt that asked last.
    asked: BTreeMap<(TaskId, u32), AttemptId>,
    reached: Reached,
}

/// How often runs came to what must be compared.
#[derive(Debug, Default)]
struct Reached {
    accepted: usize,
    refused: usize,
    /// One NEVRA with two digests.
    conflicts: usize,
    published: usize,
    /// Revisions behind the newest, and with builds that had ended otherwise.
    not_published: usize,
    /// Failures after which something was tried again, and those that ended a build.
    pauses: usize,
    failed: usize,
    cancelled: usize,
    retried: usize,
    /// Rounds of requirements that were answered, and taken over from another attempt.
    rounds: usize,
    taken_over: usize,
    /// Attempts that were taken back because of what they found.
    postponed: usize,
    /// Reports on attempts that had ended.
    late: usize,
    /// Times at which the clock went back.
    jumps: usize,
    /// Stages that a coordinator took and did not get; fences that held and did not.
    taken: usize,
    not_taken: usize,
    stood: usize,
    fenced: usize,
}

impl Drop for ModelPair {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("MODEL_SEED={}, step {}", self.seed, self.step);
        }
    }
}

impl ModelPair {
    async fn run(seed: u64, real: real::Store, reached: Reached) -> Reached {
        let mut twins = Self {
            real,
            model: model::Store::new(),
            rng: Rng::new(seed),
            now_us: 1_750_000_000_000_000,
            steady: seed.is_multiple_of(2),
            seed,
            step: 0,
            granted: Vec::new(),
            asked: BTreeMap::new(),
            reached,
        };
        twins.start_builds().await;
        while twins.step < STEPS {
            twins.step += 1;
            twins.pass_time();
            twins.queue_due().await;
            twins.take_step().await;
            twins.compare().await;
        }
        twins.coordinate().await;
        twins.count();
        std::mem::take(&mut twins.reached)
    }

    /// The time as the real store has it.
    fn now(&self) -> Timestamp {
        Timestamp::from_us(self.now_us)
    }

    fn pass_time(&mut self) {
        let mut by = self.below(20);
        if !self.steady && self.rng.chance(50) {
            by = self.below(4_000) - 2_000;
        }
        self.reached.jumps += usize::from(by < 0);
        // Now and then two things happen in the same microsecond.
        self.now_us += by * 1_000_000;
    }

    /// The real store queues what is due by now.
    async fn queue_due(&self) {
        self.real.ready_task_insert_due(self.now(), 1_000).await.unwrap();
    }

    /// Counts what can be read from the facts.
    fn count(&mut self) {
        for build in self.builds() {
            let failures = self.model.failure_list(build, 0);
            let (pauses, ends): (Vec<_>, Vec<_>) =
                failures.iter().partition(|row| row.retry_us.is_some());
            self.reached.pauses += pauses.len();
            self.reached.failed += ends.len();
            self.reached.published += usize::from(self.model.publication_fetch(build).is_some());
        }
    }
}

fn seeds() -> Vec<u64> {
    match std::env::var("MODEL_SEED") {
        Ok(seed) => vec![seed.parse().expect("MODEL_SEED is a number")],
        Err(_) => (1..=SEEDS).collect(),
    }
}

/// The runs came to everything: equal answers to questions that never arise prove nothing.
fn judge(reached: &Reached) {
    eprintln!("{reached:?}");
    if std::env::var("MODEL_SEED").is_ok() {
        return;
    }
    let Reached {
        accepted,
        refused,
        conflicts,
        published,
        not_published,
        pauses,
        failed,
        cancelled,
        retried,
        rounds,
        taken_over,
        postponed,
        late,
        jumps,
        taken,
        not_taken,
        stood,
        fenced,
    } = *reached;
    let all = [
        accepted,
        refused,
        conflicts,
        not_published,
        pauses,
        failed,
        cancelled,
        retried,
        rounds,
        taken_over,
        postponed,
        late,
        jumps,
        taken,
        not_taken,
        stood,
        fenced,
    ];
    assert!(all.iter().all(|count| *count > 0), "never reached: {reached:?}");
    assert!(published >= 5, "{published} builds came to the end");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_model_answers_as_sqlite_does() {
    let dir = tempfile::tempdir().unwrap();
    let mut reached = Reached::default();
    for seed in seeds() {
        let url = format!("sqlite://{}", dir.path().join(format!("{seed}.db")).display());
        let store = real::Store::open(&url, Bus::default()).await.unwrap();
        reached = ModelPair::run(seed, store.clone(), reached).await;
        store.close().await;
    }
    judge(&reached);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_model_answers_as_postgresql_does() {
    on_postgres(async |postgres, _| {
        let mut reached = Reached::default();
        for seed in seeds() {
            let url = postgres.database(&format!("seed{seed}")).unwrap();
            let store = real::Store::open(&url, Bus::default()).await.unwrap();
            reached = ModelPair::run(seed, store.clone(), reached).await;
            store.close().await;
        }
        judge(&reached);
    })
    .await;
}
