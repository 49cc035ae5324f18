//! The facts about a worker and its host that are reported to the coordinator.

use std::path::PathBuf;
use std::sync::Arc;

use rpmfarm_core::task::{AttemptReport, WorkerState};

use crate::arches::Arches;
use crate::disk::free_mib;

/// The name and the abilities of this worker.
#[derive(Debug, Clone)]
pub struct WorkerIdentity {
    /// Its name, unique in the farm.
    pub name: String,
    /// Architectures that it builds for.
    pub arches: Arc<Arches>,
    pub slots: u32,
    /// Slots of SRPM tasks, in addition to those of builds.
    pub srpm_slots: u32,
    pub data: PathBuf,
    /// MiB that must be free there for new work.
    pub room_mib: u64,
    /// Labels that packages may need.
    pub labels: Vec<String>,
}

impl WorkerIdentity {
    #[must_use]
    pub fn state(&self, draining: bool, attempts: Vec<AttemptReport>) -> WorkerState {
        let disk_free_mib = free_mib(&self.data).unwrap_or(0);
        WorkerState {
            name: self.name.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
            protocol: rpmfarm_core::worker_standing::PROTOCOL,
            arches: self.arches.working(),
            emulated: self.arches.emulated(),
            slots: self.slots,
            srpm_slots: self.srpm_slots,
            cpus: cpus(),
            memory_mib: memory_mib(),
            disk_free_mib,
            labels: self.labels.clone(),
            draining,
            unready: self.unready(disk_free_mib),
            attempts,
        }
    }

    /// Why the worker takes no new attempts with so many MiB free; empty when it does.
    fn unready(&self, free_mib: u64) -> String {
        let (room, data) = (self.room_mib, self.data.display());
        if free_mib >= room {
            return String::new();
        }
        format!("disk full: {free_mib} MiB free in {data}, new work needs {room} (--reserve)")
    }
}

/// Processors of this host.
#[must_use]
pub fn cpus() -> u32 {
    std::thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(1))
}

/// Memory of this host in MiB; 0 when it does not say.
#[must_use]
pub fn memory_mib() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = total.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) / 1024
}
