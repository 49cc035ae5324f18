//! Rules that a simulation can break on purpose, to show that it would notice: the code that has a rule
//! asks here whether it is broken.
//!
//! Without the feature `simulation`, which no program of a farm is built with, none is, and the compiler
//! removes the question.

rpmfarm_core::words! {
    /// A rule that is broken.
    pub enum PlantedBug: "planted bug" {
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
        ForeignFiles = "foreign-files",
        /// A lost worker is recorded as the package's fault.
        LostWorkerAsPackageFault = "lost-worker-as-package-fault",
        /// A file that a worker broke is recorded as the package's fault.
        BrokenFileAsPackageFault = "broken-file-as-package-fault",
        /// Builds are published before all their packages are signed.
        PublishUnsigned = "publish-unsigned",
        /// An upload becomes a blob without its digest being compared.
        UnverifiedUpload = "unverified-upload",
        /// A generation is shown before it lies complete in its place.
        ShowBeforePlaced = "show-before-placed",
        /// The generations that readers are at are removed at once.
        RemoveGenerationsInUse = "remove-generations-in-use",
        /// A publisher does not check whether another was faster.
        PublishUnchecked = "publish-unchecked",
        /// A revision is recorded by whoever comes late, although the channel is beyond it.
        RecordOldRevision = "record-old-revision",
        /// A NEVRA is accepted with a second digest.
        TwoDigests = "two-digests",
        /// Requirements that a lost attempt had found are never locked for the next one.
        LostRequirements = "lost-requirements",
        /// A coordinator that was stopped, and whose stage another has by now, still writes for it.
        UnfencedWrite = "unfenced-write",
        /// The stages of a coordinator that is gone stay its own.
        StagesNotTakenOver = "stages-not-taken-over",
        /// Nobody judges the workers of a coordinator that is gone.
        OrphanedWorkers = "orphaned-workers",
        /// A generation that a full disk cut short is shown.
        ShowTruncated = "show-truncated",
        /// Silent workers keep what they hold.
        LeasesNeverEnd = "leases-never-end",
        /// Facts have the time of the wall clock, however it jumps.
        WallClock = "wall-clock",
        /// A retry is waited for that was set by a clock which has jumped back since.
        FarFutureRetry = "far-future-retry",
        /// Passes look only when a bell rings, and no bell rings for a time that has come.
        NoPoll = "no-poll",
        /// An attempt that cannot be put together holds back all of its worker's.
        OneAttemptBlocksWorker = "one-attempt-blocks-worker",
        /// A build whose files are damaged keeps its whole target from being published.
        OneBuildBlocksTarget = "one-build-blocks-target",
        /// The number of a generation that was signed and never shown is used again.
        ReuseGenerationNumber = "reuse-generation-number",
        /// What clients see and nobody recorded stays so, when there is nothing else to publish.
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

/// Whether a rule is broken: none is.
#[cfg(not(feature = "simulation"))]
#[must_use]
pub const fn is_planted(_: PlantedBug) -> bool {
    false
}

/// From now on this rule is broken, for what runs on this thread.
#[cfg(feature = "simulation")]
pub fn plant(bug: Option<PlantedBug>) {
    PLANTED.set(bug);
}
