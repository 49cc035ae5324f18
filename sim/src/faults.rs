//! Faults: how each begins and ends.

use rpmfarm_core::{BuildId, TaskId};

use crate::network::{Down, Up};
use crate::planted_bugs::Invariant;
use crate::profile::Fault;
use crate::trace::note;
use crate::world::{Event, S, World};

const DAY: i64 = 86_400 * 1_000_000;

/// How often an operator looks for builds that can never be published, after the faults.
const LOOKS: u64 = 60 * S;

/// Every other build must be published within this time.
const PATIENCE: u64 = 3_600 * S;

impl World {
    pub(crate) fn next_fault(&mut self) {
        if self.faulty && !self.profile.faults.is_empty() {
            let every = self.profile.every_ms * 1_000;
            let pause = self.rng.range(every / 5, every * 2);
            self.after(pause, Event::Fault);
        }
    }

    fn any_worker(&mut self) -> usize {
        usize::try_from(self.rng.below(self.workers.len() as u64)).unwrap_or(0)
    }

    pub(crate) fn any_coordinator(&mut self) -> usize {
        usize::try_from(self.rng.below(self.coordinators.len() as u64)).unwrap_or(0)
    }

    pub(crate) fn fault(&mut self) {
        if !self.faulty {
            return;
        }
        let Some(fault) = self.profile.fault(&mut self.rng) else { return };
        let w = self.any_worker();
        let c = self.any_coordinator();
        let length = self.rng.range(S / 2, 90 * S);
        let until = self.now + length;
        note!(self, "fault: {fault:?} (w{w}, c{c}, {} s)", length / S);
        match fault {
            Fault::CoordinatorDies => self.kill_coordinator(c),
            Fault::WorkerDies => self.kill_worker(w),
            Fault::WorkerFreezes => self.workers[w].frozen_until = until,
            Fault::CoordinatorFreezes => {
                self.coordinators[c].frozen_until = self.now + length / 2;
            }
            Fault::CoordinatorStops => self.stop_coordinator(c),
            Fault::CoordinatorLost => self.lose_coordinator(c),
            Fault::BeatsLost => {
                self.coordinators[c].beats_lost_until = self.now + length / 2;
            }
            Fault::Partition => {
                self.links[w][c].mute_until = until;
                self.links[w][c].deaf_until = until;
            }
            Fault::DeafWorker => self.links[w][c].deaf_until = until,
            Fault::MuteWorker => self.links[w][c].mute_until = until,
            Fault::Reset => {
                let connection = self.workers[w].connection;
                let uses = self.workers[w].uses;
                self.send_down(w, uses, connection, Down::Reset);
                self.send_up(w, connection, Up::Close);
            }
            Fault::ClockJumps => self.clock_jumps(c),
            Fault::DiskFull => self.workers[w].disk_full_until = until,
            Fault::DataFull => self.data_full_until = self.now + length / 3,
            Fault::DatabaseDown => self.database_down_until = self.now + length / 4,
            Fault::SignerDown => self.outside.lock().signer_down_until = until,
            Fault::BundleLost => self.lose_bundle(),
            Fault::FileRots => self.file_rots = true,
        }
    }

    fn clock_jumps(&mut self, c: usize) {
        let by = match self.rng.below(4) {
            0 => DAY,
            1 => -DAY,
            2 => self.rng.below(600).cast_signed() * 1_000_000,
            _ => -self.rng.below(600).cast_signed() * 1_000_000,
        };
        note!(self, "the clock of c{c} jumps by {} s", by / 1_000_000);
        let off = self.coordinators[c].clock_off + by;
        self.set_clock(c, off);
    }

    /// The sources of a build are deleted from the disk before any attempt has fetched them.
    fn lose_bundle(&mut self) {
        let facts = &self.facts;
        let is_tried = |build: BuildId| {
            let of_build = |task: &TaskId| facts.tasks.get(task).is_some_and(|t| t.build == build);
            facts.attempts.values().any(|attempt| of_build(&attempt.task))
        };
        let mut lost = facts.imports.iter().filter(|(build, _)| facts.open.contains(build));
        let Some((build, bundle)) = lost.rfind(|(build, _)| !is_tried(**build)) else {
            return;
        };
        // Another build of the same sources uses them too, and may have been imported.
        let is_shared = facts.imports.iter().any(|(other, of)| of == bundle && other != build);
        if is_shared {
            return;
        }
        let build = *build;
        if let Ok(digest) = bundle.parse() {
            let _ = std::fs::remove_file(self.storage.blobs.path(digest));
            note!(self, "the sources of build {build} are lost");
        }
    }

    /// A signed file of a build that no client sees yet is overwritten on the disk, as soon as there is
    /// one after the fault has come: most are published at once.
    pub(crate) fn damage_file(&mut self) {
        if !self.file_rots {
            return;
        }
        let facts = &self.facts;
        let of_open = |task: &TaskId| {
            let build = facts.tasks.get(task).map(|task| task.build);
            build.filter(|build| facts.open.contains(build))
        };
        let found = facts.packages.values().find_map(|package| {
            let build = of_open(&package.task)?;
            let signed = facts.signatures.get(&package.digest)?;
            // Other builds may have the same file: all builds of the package count as damaged.
            let package = facts.builds.get(&build)?.package.clone();
            Some((build, package, signed.parse().ok()?))
        });
        let Some((build, package, digest)) = found else { return };
        let path = self.storage.blobs.path(digest);
        let Ok(mut bytes) = std::fs::read(&path) else { return };
        if let Some(byte) = bytes.get_mut(20) {
            *byte ^= 1;
        }
        // A new file replaces it, so that its hard link in the pool stays unchanged.
        let written = std::fs::remove_file(&path).and_then(|()| std::fs::write(&path, bytes));
        if written.is_ok() {
            note!(self, "a file of build {build}, {package}, is damaged");
            self.damaged.insert(package);
            self.file_rots = false;
        }
    }

    /// An operator cancels the builds that cannot be published because their file is damaged, when
    /// no other build is open. The other builds must not wait for that.
    pub(crate) fn give_up(&mut self) {
        if self.damaged.is_empty() {
            return;
        }
        self.after(LOOKS, Event::GivesUp);
        let open = self.facts.open.iter().copied();
        let (damaged, good): (Vec<BuildId>, Vec<BuildId>) = open.partition(|build| {
            self.facts.builds.get(build).is_some_and(|row| self.damaged.contains(&row.package))
        });
        if good.is_empty() {
            let c = self.any_coordinator();
            for build in damaged {
                self.cancel(c, build);
            }
        } else if !damaged.is_empty() && self.now > self.faulty_until + PATIENCE {
            let message = format!("builds {good:?} wait although their files are good");
            self.violated(Invariant::I9, message);
        }
    }

    /// No fault happens from now on. The damage of earlier ones stays, but clocks are set right:
    /// signatures with a time in the future are invalid.
    pub(crate) fn stop_faults(&mut self) {
        note!(self, "faults stop");
        (self.faulty, self.file_rots) = (false, false);
        self.after(LOOKS, Event::GivesUp);
        self.database_down_until = 0;
        self.data_full_until = 0;
        {
            let mut truth = self.outside.lock();
            (truth.signer_down_until, truth.farm_fails) = (0, 0);
        }
        for c in 0..self.coordinators.len() {
            let coordinator = &mut self.coordinators[c];
            (coordinator.frozen_until, coordinator.beats_lost_until) = (0, 0);
            self.set_clock(c, 0);
        }
        for link in self.links.iter_mut().flatten() {
            (link.mute_until, link.deaf_until) = (0, 0);
        }
        for w in 0..self.workers.len() {
            let worker = &mut self.workers[w];
            (worker.frozen_until, worker.disk_full_until, worker.tamed) = (0, 0, true);
        }
    }
}
