//! Rules that a simulation can break on purpose, to show that it would notice: the code that has a rule
//! asks here whether it is broken.
//!
//! Without the feature `simulation`, which no program of a farm is built with, none is, and the compiler
//! removes the question.

rpmfarm_core::words! {
    /// A rule that is broken.
    pub enum Bug: "planted bug" {
        /// A build is cancelled although it has ended.
        CancelAfterEnd = "cancel-after-end",
        /// A request that comes again makes new builds.
        RequestTwice = "request-twice",
        /// A build that was cancelled while it was published is published too.
        PublishCancelled = "publish-cancelled",
        /// A task that a worker holds is given to another.
        GrantTwice = "grant-twice",
        /// An attempt ends although it is not live under its epoch.
        LateReport = "late-report",
        /// A task that is accepted is given away and accepted again.
        AcceptTwice = "accept-twice",
        /// Acceptance takes files that another attempt of the task has uploaded.
        FilesOfTask = "files-of-task",
        /// A lost worker is recorded as the package's fault.
        LostIsPackages = "lost-is-packages",
        /// A file that a worker broke is recorded as the package's fault.
        BrokenIsPackages = "broken-is-packages",
        /// Builds are published before all their packages are signed.
        PublishUnsigned = "publish-unsigned",
        /// An upload becomes a blob without its digest being compared.
        TakeUnread = "take-unread",
        /// A generation is shown before it lies complete in its place.
        ShowFirst = "show-first",
        /// The generations that readers are at are removed at once.
        ForgetAtOnce = "forget-at-once",
        /// A publisher does not look whether another was faster.
        PublishBlind = "publish-blind",
        /// A revision is recorded by whoever comes late, although the channel is beyond it.
        RevisionBack = "revision-back",
        /// A NEVRA is accepted with a second digest.
        TwoDigests = "two-digests",
        /// Requirements that a lost attempt had found are never locked for the next one.
        RoundOfTheDead = "round-of-the-dead",
        /// A coordinator that was stopped, and whose stage another has by now, still writes for it.
        LateWrite = "late-write",
        /// The stages of a coordinator that is gone stay its own.
        KeptByTheDead = "kept-by-the-dead",
        /// Nobody judges the workers of a coordinator that is gone.
        OrphansKept = "orphans-kept",
        /// A generation that a full disk cut short is shown.
        ShowHalf = "show-half",
        /// Silent workers keep what they hold.
        NoLeases = "no-leases",
        /// Facts have the time of the wall clock, however it jumps.
        WallClock = "wall-clock",
        /// A retry is waited for that was set by a clock which has jumped back since.
        FarRetry = "far-retry",
        /// Passes look only when a bell rings, and no bell rings for a time that has come.
        NoPoll = "no-poll",
        /// An attempt that cannot be put together holds back all of its worker's.
        OneHoldsAll = "one-holds-all",
        /// A build whose files are damaged keeps its whole target from being published.
        OneStopsAll = "one-stops-all",
        /// The number of a generation that was signed and never shown is used again.
        NumberAgain = "number-again",
        /// What clients see and nobody recorded stays so, when there is nothing else to publish.
        StaysAhead = "stays-ahead",
    }
}

#[cfg(feature = "simulation")]
std::thread_local! {
    static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Whether a rule is broken.
#[cfg(feature = "simulation")]
#[must_use]
pub fn is(bug: Bug) -> bool {
    PLANTED.try_with(|planted| planted.get() == Some(bug)).unwrap_or(false)
}

/// Whether a rule is broken: none is.
#[cfg(not(feature = "simulation"))]
#[must_use]
pub const fn is(_: Bug) -> bool {
    false
}

/// From now on this rule is broken, for what runs on this thread.
#[cfg(feature = "simulation")]
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}
