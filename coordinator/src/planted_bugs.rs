//! Rules that a simulation can break on purpose, to show that an invariant catches it: the code of
//! a rule asks here whether it is broken.
//!
//! Without the feature `simulation`, with which no program of a farm is built, no rule is broken
//! and the compiler removes the question.

rpmfarm_core::words! {
    /// A rule that is broken.
    pub enum PlantedBug: "planted bug" {
        /// A build is cancelled although it has ended.
        CancelAfterEnd = "cancel-after-end",
        /// A repeated request makes new builds.
        RequestTwice = "request-twice",
        /// A build that was cancelled while it was published is published nevertheless.
        PublishCancelled = "publish-cancelled",
        /// A task that a worker holds is given to another.
        GrantTwice = "grant-twice",
        /// An attempt ends although it is not live under its epoch.
        LateReport = "late-report",
        /// A task that is accepted is granted again and accepted again.
        AcceptTwice = "accept-twice",
        /// Acceptance takes files that another attempt of the task has uploaded.
        ForeignFiles = "foreign-files",
        /// A lost worker is recorded as the package's fault.
        LostWorkerAsPackageFault = "lost-worker-as-package-fault",
        /// A file that the worker damaged is recorded as the package's fault.
        BrokenFileAsPackageFault = "broken-file-as-package-fault",
        /// Builds are published before all their packages are signed.
        PublishUnsigned = "publish-unsigned",
        /// An upload becomes a blob although its digest was not compared.
        UnverifiedUpload = "unverified-upload",
        /// A generation is shown before it is complete and in its place.
        ShowBeforePlaced = "show-before-placed",
        /// Generations that clients still read are removed at once.
        RemoveGenerationsInUse = "remove-generations-in-use",
        /// A publisher does not check whether another one has published meanwhile.
        PublishUnchecked = "publish-unchecked",
        /// A late publisher records its revision although the channel has a higher one.
        RecordOldRevision = "record-old-revision",
        /// A NEVRA is accepted with a second digest.
        TwoDigests = "two-digests",
        /// Requirements that a lost attempt had found are never locked for the next one.
        LostRequirements = "lost-requirements",
        /// A coordinator that was paused still writes for a stage that another one has taken.
        UnfencedWrite = "unfenced-write",
        /// The stages of a dead coordinator are never taken over.
        StagesNotTakenOver = "stages-not-taken-over",
        /// Nobody judges the silence of workers of a dead coordinator.
        OrphanedWorkers = "orphaned-workers",
        /// A generation that was truncated by a full disk is shown.
        ShowTruncated = "show-truncated",
        /// Silent workers keep their attempts.
        LeasesNeverEnd = "leases-never-end",
        /// Facts have the time of the wall clock, even when it jumps.
        WallClock = "wall-clock",
        /// A retry is awaited whose time was set before the clock jumped back.
        FarFutureRetry = "far-future-retry",
        /// Passes run only when they are woken, and nothing wakes them for a time that has come.
        NoPoll = "no-poll",
        /// An attempt whose assignment cannot be composed blocks all other attempts of its worker.
        OneAttemptBlocksWorker = "one-attempt-blocks-worker",
        /// A build whose files are damaged keeps its whole target from being published.
        OneBuildBlocksTarget = "one-build-blocks-target",
        /// The number of a generation that was signed and never shown is used again.
        ReuseGenerationNumber = "reuse-generation-number",
        /// A generation that clients see and that was never recorded stays unrecorded when there is
        /// nothing else to publish.
        UnrecordedGeneration = "unrecorded-generation",
        /// A task gets its lock although the builds that it needs are not accepted.
        LockBeforeNeeded = "lock-before-needed",
    }
}

#[cfg(feature = "simulation")]
std::thread_local! {
    static PLANTED: std::cell::Cell<Option<PlantedBug>> = const { std::cell::Cell::new(None) };
}

/// Whether a rule is broken.
#[cfg(feature = "simulation")]
#[must_use]
pub fn is_planted(bug: PlantedBug) -> bool {
    PLANTED.try_with(|planted| planted.get() == Some(bug)).unwrap_or(false)
}

/// Without the feature no rule is broken.
#[cfg(not(feature = "simulation"))]
#[must_use]
pub const fn is_planted(_: PlantedBug) -> bool {
    false
}

/// Breaks this rule for everything that runs on this thread from now on; `None` breaks none.
#[cfg(feature = "simulation")]
pub fn plant(bug: Option<PlantedBug>) {
    PLANTED.set(bug);
}
