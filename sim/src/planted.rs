//! Which invariant each planted bug breaks. The bugs themselves are in the coordinator's code, where
//! the rules are (`rpmfarm_coordinator::planted`).

use std::fmt;

pub use rpmfarm_coordinator::planted::Bug;

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
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// The invariant that a bug breaks.
#[must_use]
pub const fn breaks(bug: Bug) -> Invariant {
    match bug {
        Bug::CancelAfterEnd | Bug::RequestTwice | Bug::PublishCancelled | Bug::WallClock => {
            Invariant::I1
        }
        Bug::GrantTwice | Bug::LateReport | Bug::AcceptTwice => Invariant::I2,
        Bug::FilesOfTask => Invariant::I3,
        Bug::LostIsPackages | Bug::BrokenIsPackages => Invariant::I4,
        Bug::TakeUnread => Invariant::I5,
        Bug::PublishUnsigned | Bug::ShowFirst | Bug::ForgetAtOnce | Bug::ShowHalf => Invariant::I6,
        Bug::PublishBlind | Bug::RevisionBack => Invariant::I7,
        Bug::TwoDigests => Invariant::I8,
        Bug::RoundOfTheDead
        | Bug::KeptByTheDead
        | Bug::OrphansKept
        | Bug::NoLeases
        | Bug::FarRetry
        | Bug::NoPoll
        | Bug::OneHoldsAll
        | Bug::OneStopsAll
        | Bug::NumberAgain
        | Bug::StaysAhead => Invariant::I9,
        Bug::LateWrite => Invariant::I10,
    }
}
