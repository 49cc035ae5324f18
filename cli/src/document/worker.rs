//! A worker as JSON.

use rpmfarm_proto::v1::Worker;
use serde::Serialize;

use super::known;
use crate::show::time;

/// A worker.
#[derive(Debug, Serialize)]
pub(crate) struct WorkerDocument {
    name: String,
    version: Option<String>,
    arches: Vec<String>,
    /// alive, stale, gone.
    liveness: String,
    /// It finishes what it has and takes nothing new.
    draining: bool,
    /// Why it takes nothing new for now.
    unready: Option<String>,
    slots: u32,
    busy: u32,
    cpus: u32,
    memory_mib: u64,
    disk_free_mib: u64,
    heard_at: Option<String>,
    /// What it runs, each as BUILD/TASK PACKAGE.
    running: Vec<String>,
}

impl From<&Worker> for WorkerDocument {
    fn from(worker: &Worker) -> Self {
        Self {
            name: worker.name.clone(),
            version: known(&worker.version),
            arches: worker.arches.clone(),
            liveness: worker.liveness.clone(),
            draining: worker.draining,
            unready: known(&worker.unready),
            slots: worker.slots,
            busy: worker.busy,
            cpus: worker.cpus,
            memory_mib: worker.memory_mib,
            disk_free_mib: worker.disk_free_mib,
            heard_at: time::rfc3339(worker.heard_us),
            running: worker.running.clone(),
        }
    }
}
