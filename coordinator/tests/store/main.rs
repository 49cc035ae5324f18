//! The store of facts, the same tests on SQLite and PostgreSQL.

#![allow(clippy::unwrap_used, reason = "a test ends there")]

mod attempts;
mod batch_events;
mod batches;
mod builds;
mod channels;
#[path = "../common/mod.rs"]
mod common;
mod keys;
mod owners;
mod packages;
mod plans;
mod pools;
mod proofs;
mod queries;
mod regressions;
mod schema;
mod states;
mod urgency;
mod workers;

use std::time::Duration;

use rpmfarm_coordinator::store::{NewBuild, NewTask, Store};
use rpmfarm_core::task::{Outcome, Success, TaskKind};
use rpmfarm_core::{Arch, BuildId, Sha256, TaskId, Timestamp};

use self::common::builds::{import, new_build};

const NOW: Timestamp = Timestamp::from_us(1_000_000);
const US: Duration = Duration::from_micros(1);

fn digest(text: &str) -> Sha256 {
    Sha256::compute(text.as_bytes())
}

async fn start(store: &Store, packages: &[&str], key: &str) -> Vec<BuildId> {
    let builds: Vec<NewBuild> = packages.iter().map(|package| new_build("lab", package)).collect();
    store.build_insert(&builds, "tester", key, NOW).await.unwrap().ids
}

/// A build with an import and one task of a kind, which has a lock.
async fn ready(store: &Store, kind: TaskKind) -> (BuildId, TaskId) {
    let build = start(store, &["hello"], "").await[0];
    let import = import(NOW);
    let task = NewTask { kind, arch: Arch::X86_64 };
    let task = common::builds::ready(store, build, &import, task).await;
    assert_eq!(store.import_fetch(build).await.unwrap(), Some(import));
    (build, task)
}

fn succeeded() -> Outcome {
    Outcome::Succeeded(Success::default())
}
