//! Which faults happen, and how often: one profile for each kind of bad day, chosen by the seed.

use crate::rng::Rng;

/// A fault that begins at a moment, and lasts for some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// `kill -9` of a coordinator.
    CoordinatorDies,
    /// `kill -9` of a worker.
    WorkerDies,
    /// SIGSTOP of a worker.
    WorkerFreezes,
    /// SIGSTOP of a coordinator.
    CoordinatorFreezes,
    /// SIGTERM of a coordinator: it announces its shutdown.
    CoordinatorStops,
    /// The host of a coordinator is gone for good.
    CoordinatorLost,
    /// A coordinator's heartbeats do not reach the database; everything else does.
    BeatsLost,
    /// No message passes between a worker and a coordinator.
    Partition,
    /// Only the worker's messages pass.
    DeafWorker,
    /// Only the coordinator's messages pass.
    MuteWorker,
    /// A connection is reset.
    Reset,
    /// The wall clock of a coordinator jumps, by up to a day.
    ClockJumps,
    /// A worker's disk is full.
    DiskFull,
    /// The disk of the blobs and the repositories is full.
    DataFull,
    /// The database does not answer.
    DatabaseDown,
    /// The signer does not answer.
    SignerDown,
    /// The sources of a build are lost from the disk before any attempt has fetched them.
    BundleLost,
    /// A signed file of a build that is not published is damaged on the disk.
    FileRots,
}

use Fault::{
    BeatsLost, BundleLost, ClockJumps, CoordinatorDies, CoordinatorFreezes, CoordinatorLost,
    CoordinatorStops, DataFull, DatabaseDown, DeafWorker, DiskFull, FileRots, MuteWorker,
    Partition, Reset, SignerDown, WorkerDies, WorkerFreezes,
};

/// The kind of a bad day. Rates are per mille.
#[derive(Debug, Clone)]
pub(crate) struct Profile {
    pub(crate) name: &'static str,
    /// Rates of lost and of duplicated messages.
    pub(crate) loss: u32,
    pub(crate) duplicates: u32,
    /// The delay of a message, in milliseconds.
    pub(crate) delay_ms: (u64, u64),
    /// Whether messages of a connection may be reordered.
    pub(crate) reorders: bool,
    /// The weights of the faults, and the mean time between them, in milliseconds.
    pub(crate) faults: Vec<(Fault, u64)>,
    pub(crate) every_ms: u64,
    /// Rate of farms with two coordinators.
    pub(crate) pairs: u32,
    /// Rate of pieces of a stage's work during which its coordinator is stopped.
    pub(crate) pauses: u32,
    /// Rate of publications during which their coordinator is stopped for long.
    pub(crate) rivals: u32,
    /// Rate of file writes that fill the disk of the blobs and the repositories.
    pub(crate) fills: u32,
    /// Rate of commits before or after which the coordinator dies.
    pub(crate) dies_at_commit: u32,
    /// Rate of commits whose answer is lost.
    pub(crate) answer_lost: u32,
    /// Rate of imports and downloads that fail through the farm's own fault.
    pub(crate) farm_fails: u32,
    /// Rate of workers that lie, are slow, or crash all the time.
    pub(crate) liars: u32,
    pub(crate) slow: u32,
    pub(crate) crashing: u32,
    /// How long faults happen, in seconds.
    pub(crate) faulty_s: (u64, u64),
    /// User actions in a minute: cancels, retries, new requests.
    pub(crate) actions: u64,
    /// The pace of passes, in milliseconds.
    pub(crate) pace_ms: u64,
}

impl Profile {
    fn calm(name: &'static str) -> Self {
        Self {
            name,
            loss: 0,
            duplicates: 0,
            delay_ms: (0, 5),
            reorders: false,
            faults: Vec::new(),
            every_ms: 10_000,
            pairs: 500,
            pauses: 0,
            rivals: 0,
            fills: 0,
            dies_at_commit: 0,
            answer_lost: 0,
            farm_fails: 0,
            liars: 0,
            slow: 100,
            crashing: 0,
            faulty_s: (40, 120),
            actions: 4,
            pace_ms: 8_000,
        }
    }

    /// The profile of a seed.
    pub(crate) fn generate(rng: &mut Rng) -> Self {
        match rng.below(12) {
            0 => Self::calm("calm"),
            1 => Self::lossy(),
            2 => Self::crashes(),
            3 => Self::partitions(),
            4 => Self { liars: 500, ..Self::calm("liars") },
            5 => Self::workers(),
            6 => Self::clocks(),
            7 => Self::farm(),
            8 => Self::users(),
            9 => Self::pairs(),
            10 => Self::rivals(),
            _ => Self { reorders: rng.chance(300), ..Self::everything() },
        }
    }

    fn lossy() -> Self {
        Self {
            loss: 50,
            duplicates: 50,
            delay_ms: (1, 600),
            reorders: true,
            answer_lost: 5,
            faults: vec![(Reset, 1)],
            ..Self::calm("lossy")
        }
    }

    fn crashes() -> Self {
        Self {
            dies_at_commit: 15,
            faults: vec![(CoordinatorDies, 2), (WorkerDies, 2), (CoordinatorFreezes, 1)],
            every_ms: 6_000,
            farm_fails: 400,
            crashing: 200,
            ..Self::calm("crashes")
        }
    }

    fn partitions() -> Self {
        Self {
            delay_ms: (1, 300),
            faults: vec![(Partition, 3), (DeafWorker, 2), (MuteWorker, 2), (Reset, 1)],
            ..Self::calm("partitions")
        }
    }

    fn workers() -> Self {
        Self {
            faults: vec![(DiskFull, 3), (WorkerFreezes, 2), (WorkerDies, 1)],
            slow: 400,
            ..Self::calm("workers")
        }
    }

    fn clocks() -> Self {
        Self {
            faults: vec![(ClockJumps, 4), (CoordinatorDies, 2), (WorkerDies, 1)],
            farm_fails: 150,
            actions: 10,
            ..Self::calm("clocks")
        }
    }

    fn farm() -> Self {
        Self {
            faults: vec![
                (DatabaseDown, 2),
                (SignerDown, 2),
                (DataFull, 2),
                (BundleLost, 2),
                (FileRots, 3),
                (CoordinatorDies, 1),
            ],
            answer_lost: 20,
            fills: 20,
            farm_fails: 300,
            ..Self::calm("farm")
        }
    }

    fn users() -> Self {
        Self {
            dies_at_commit: 5,
            faults: vec![(CoordinatorDies, 1), (CoordinatorFreezes, 1)],
            actions: 16,
            ..Self::calm("users")
        }
    }

    fn pairs() -> Self {
        Self {
            delay_ms: (1, 100),
            pairs: 1000,
            pauses: 30,
            fills: 5,
            dies_at_commit: 2,
            answer_lost: 3,
            farm_fails: 20,
            faults: vec![
                (CoordinatorDies, 2),
                (CoordinatorFreezes, 4),
                (CoordinatorStops, 2),
                (CoordinatorLost, 1),
                (BeatsLost, 3),
                (ClockJumps, 2),
                (DatabaseDown, 1),
                (DataFull, 1),
                (WorkerDies, 3),
                (Partition, 1),
                (Reset, 1),
            ],
            every_ms: 10_000,
            // Long enough for publications while one coordinator is stopped.
            faulty_s: (120, 300),
            actions: 8,
            ..Self::calm("pairs")
        }
    }

    /// Two coordinators of which each publishes while the other one is stopped in the middle of a
    /// publication. Other faults are rare, so that much is published.
    fn rivals() -> Self {
        Self {
            delay_ms: (1, 50),
            pairs: 1000,
            rivals: 500,
            faults: vec![(CoordinatorDies, 1), (BeatsLost, 1)],
            every_ms: 40_000,
            faulty_s: (200, 400),
            actions: 16,
            ..Self::calm("rivals")
        }
    }

    fn everything() -> Self {
        Self {
            loss: 20,
            duplicates: 20,
            delay_ms: (1, 400),
            dies_at_commit: 3,
            answer_lost: 3,
            pairs: 700,
            pauses: 5,
            fills: 5,
            farm_fails: 150,
            faults: vec![
                (CoordinatorDies, 2),
                (WorkerDies, 3),
                (WorkerFreezes, 2),
                (CoordinatorFreezes, 1),
                (CoordinatorStops, 1),
                (CoordinatorLost, 1),
                (BeatsLost, 1),
                (Partition, 2),
                (DeafWorker, 1),
                (MuteWorker, 1),
                (Reset, 2),
                (ClockJumps, 2),
                (DiskFull, 2),
                (DataFull, 1),
                (DatabaseDown, 1),
                (SignerDown, 1),
                (BundleLost, 1),
            ],
            every_ms: 5_000,
            liars: 150,
            slow: 200,
            crashing: 100,
            actions: 10,
            ..Self::calm("everything")
        }
    }

    /// A fault by weight.
    pub(crate) fn fault(&self, rng: &mut Rng) -> Option<Fault> {
        let all = self.faults.iter().map(|(_, weight)| weight).sum();
        let mut at = rng.below(all);
        self.faults.iter().find_map(|(fault, weight)| {
            if at < *weight {
                return Some(*fault);
            }
            at -= weight;
            None
        })
    }
}
