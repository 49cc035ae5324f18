//! Faults that come at a moment, and their end.

use crate::network::{Down, Up};
use crate::profile::Fault;
use crate::trace::note;
use crate::world::{Event, S, World};

const DAY: i64 = 86_400 * 1_000_000;

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

    pub(crate) fn fault(&mut self) {
        if !self.faulty {
            return;
        }
        let Some(fault) = self.profile.fault(&mut self.rng) else { return };
        let w = self.any_worker();
        let c = usize::try_from(self.rng.below(2)).unwrap_or(0);
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
            Fault::Partition => {
                self.links[w].mute_until = until;
                self.links[w].deaf_until = until;
            }
            Fault::DeafWorker => self.links[w].deaf_until = until,
            Fault::MuteWorker => self.links[w].mute_until = until,
            Fault::Reset => {
                let connection = self.workers[w].connection;
                self.send_down(w, connection, Down::Reset);
                self.send_up(w, connection, Up::Close);
            }
            Fault::ClockJumps => self.clock_jumps(c),
            Fault::DiskFull => self.workers[w].disk_full_until = until,
            Fault::DatabaseDown => self.database_down_until = self.now + length / 4,
            Fault::SignerDown => self.signer_down_until = until,
        }
    }

    fn clock_jumps(&mut self, c: usize) {
        let by = match self.rng.below(4) {
            0 => DAY,
            1 => -DAY,
            2 => i64::try_from(self.rng.below(600)).unwrap_or(0) * 1_000_000,
            _ => -i64::try_from(self.rng.below(600)).unwrap_or(0) * 1_000_000,
        };
        note!(self, "the clock of c{c} jumps by {} s", by / 1_000_000);
        self.coordinators[c].clock_off += by;
    }

    /// From now on nothing goes wrong any more; what went wrong stays as it is.
    pub(crate) fn stop_faults(&mut self) {
        note!(self, "faults stop");
        self.faulty = false;
        self.database_down_until = 0;
        self.signer_down_until = 0;
        for c in 0..self.coordinators.len() {
            self.coordinators[c].frozen_until = 0;
        }
        for w in 0..self.workers.len() {
            self.links[w].mute_until = 0;
            self.links[w].deaf_until = 0;
            let worker = &mut self.workers[w];
            (worker.frozen_until, worker.disk_full_until, worker.tamed) = (0, 0, true);
        }
    }
}
