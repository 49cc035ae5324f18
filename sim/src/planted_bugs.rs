//! Which invariant each planted bug breaks. The bugs themselves are in the coordinator's code,
//! where the rules are (`rpmfarm_coordinator::planted_bugs`).

use std::fmt;

pub use rpmfarm_coordinator::planted_bugs::PlantedBug;

/// An invariant of the farm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Invariant {
    /// Every acknowledged build reaches exactly one end.
    I1,
    /// One accepted attempt per task, fenced by its epoch.
    I2,
    /// An artifact set never mixes attempts.
    I3,
    /// A fault of the infrastructure is never shown as a fault of the package.
    I4,
    /// Nothing is published without digest, acceptance and signature.
    I5,
    /// Every reader of a repository sees one closed snapshot.
    I6,
    /// Revisions of a repository only go forward.
    I7,
    /// One NEVRA in one target has one digest.
    I8,
    /// Once faults stop, the queue drains.
    I9,
    /// What is written for a stage is written under the epoch of its lease, which never falls.
    I10,
    /// No build starts before those of its batch that it needs.
    I11,
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// The invariant that a bug breaks.
#[must_use]
pub const fn broken_invariant(bug: PlantedBug) -> Invariant {
    match bug {
        PlantedBug::CancelAfterEnd
        | PlantedBug::RequestTwice
        | PlantedBug::PublishCancelled
        | PlantedBug::WallClock => Invariant::I1,
        PlantedBug::GrantTwice | PlantedBug::LateReport | PlantedBug::AcceptTwice => Invariant::I2,
        PlantedBug::ForeignFiles => Invariant::I3,
        PlantedBug::LostWorkerAsPackageFault | PlantedBug::BrokenFileAsPackageFault => {
            Invariant::I4
        }
        PlantedBug::UnverifiedUpload => Invariant::I5,
        PlantedBug::ShowBeforePlaced
        | PlantedBug::RemoveGenerationsInUse
        | PlantedBug::ShowTruncated => Invariant::I6,
        // A build is published, and its package that was not signed is missing.
        PlantedBug::PublishUnsigned
        | PlantedBug::PublishUnchecked
        | PlantedBug::RecordOldRevision => Invariant::I7,
        PlantedBug::TwoDigests => Invariant::I8,
        PlantedBug::LostRequirements
        | PlantedBug::StagesNotTakenOver
        | PlantedBug::OrphanedWorkers
        | PlantedBug::LeasesNeverEnd
        | PlantedBug::FarFutureRetry
        | PlantedBug::NoPoll
        | PlantedBug::OneAttemptBlocksWorker
        | PlantedBug::OneBuildBlocksTarget
        | PlantedBug::ReuseGenerationNumber
        | PlantedBug::UnrecordedGeneration => Invariant::I9,
        PlantedBug::UnfencedWrite => Invariant::I10,
        PlantedBug::LockBeforeNeeded => Invariant::I11,
    }
}
