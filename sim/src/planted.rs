//! Rules that can be broken on purpose, to show that the simulation bites: each is a mutation of
//! the simulator's copy of a rule, and names the invariant that must catch it.

use std::fmt;

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

macro_rules! plants {
    ($($(#[doc = $doc:literal])* $plant:ident $word:literal $invariant:ident;)*) => {
        rpmfarm_core::words! {
            /// A rule that is broken.
            pub enum PlantedBug: "planted bug" {
                $($(#[doc = $doc])* $plant = $word,)*
            }
        }

        impl PlantedBug {
            /// The invariant that it breaks.
            #[must_use]
            pub const fn breaks(self) -> Invariant {
                match self { $(Self::$plant => Invariant::$invariant,)* }
            }
        }
    };
}

plants! {
    /// A build is cancelled although it has ended.
    CancelAfterEnd "cancel-after-end" I1;
    /// A request that comes again makes new builds.
    RequestTwice "request-twice" I1;
    /// A build that was cancelled while it was published is published too.
    PublishCancelled "publish-cancelled" I1;
    /// A task that a worker holds is given to another.
    GrantTwice "grant-twice" I2;
    /// An attempt ends although it is not live under its epoch.
    LateReport "late-report" I2;
    /// A task that is accepted is given away and accepted again.
    AcceptTwice "accept-twice" I2;
    /// Acceptance takes what any attempt of the task has uploaded.
    FilesOfTask "files-of-task" I3;
    /// A lost worker is recorded as the package's fault.
    LostIsPackages "lost-is-packages" I4;
    /// A file that a worker broke is recorded as the package's fault.
    BrokenIsPackages "broken-is-packages" I4;
    /// Builds are published before all their packages are signed.
    PublishUnsigned "publish-unsigned" I5;
    /// What a worker announced is accepted without being read.
    AcceptUnread "accept-unread" I5;
    /// A generation is shown before it lies complete in its place.
    ShowFirst "show-first" I6;
    /// The generations that readers are at are removed at once.
    ForgetAtOnce "forget-at-once" I6;
    /// A publisher does not look whether another was faster.
    PublishBlind "publish-blind" I7;
    /// A revision is recorded by whoever comes late, although the channel is beyond it.
    RevisionBack "revision-back" I7;
    /// A NEVRA is accepted with a second digest.
    TwoDigests "two-digests" I8;
    /// Requirements that a lost attempt had found are never locked for the next one.
    RoundOfTheDead "round-of-the-dead" I9;
    /// A coordinator that was stopped, and whose stage another has by now, still writes for it.
    LateWrite "late-write" I10;
    /// The stages of a coordinator that is gone stay its own.
    KeptByTheDead "kept-by-the-dead" I9;
    /// Nobody judges the workers of a coordinator that is gone.
    OrphansKept "orphans-kept" I9;
    /// A generation that a full disk cut short is shown.
    ShowHalf "show-half" I6;
    /// Silent workers keep what they hold.
    NoLeases "no-leases" I9;
    /// Facts have the time of the wall clock, however it jumps.
    WallClock "wall-clock" I1;
    /// A retry is waited for that was set by a clock which has jumped back since.
    FarRetry "far-retry" I9;
    /// Failed tasks are only looked for when a bell rings, and no bell rings for a time that has come.
    NoPoll "no-poll" I9;
}
