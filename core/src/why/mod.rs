//! Why a build is in its state, and when it continues: the answer of `rpmfarm why`.
//!
//! Owns the order of the reasons, their words and the estimates of times. `worker` says why a task
//! waits for a worker, `build` why a build waits. Neither knows where the facts come from.

mod build;
mod worker;

pub use build::{
    BuildFacts, Failed, NOT_ACCEPTED, Reason, TaskFacts, held_by_pause, next_try, reasons,
};
pub use worker::{
    Ahead, Running, UNKNOWN, WaitReason, WorkerSummary, about, starts_in, why, why_none,
};

words! {
    /// A reason, as a word for programs.
    pub enum ReasonCode: "reason" {
        /// The build has ended.
        Ended = "ended",
        /// Its batch is paused: nothing more of it begins.
        Paused = "paused",
        /// Its sources are being fetched.
        Import = "import",
        /// It failed and will be tried again at a time.
        Retry = "retry",
        /// It waits for other builds, or until packages can be fetched.
        Packages = "packages",
        /// Its build root is being solved and fetched.
        Lock = "lock",
        /// No worker for the architecture is connected.
        NoWorker = "no-worker",
        /// The architecture is only emulated.
        OnlyEmulated = "only-emulated",
        /// The workers for the architecture take no new work.
        NoneTakes = "no-worker-takes-work",
        /// Only the worker that made the first packages could repeat it.
        OnlyMaker = "no-other-worker",
        /// It needs more than any worker has.
        TooMuch = "needs-too-much",
        /// It is queued.
        Queue = "queue",
        /// A worker builds it.
        Runs = "runs",
        /// Its results are being checked.
        Accept = "accept",
        /// It claims names of others, and waits for a person.
        Claim = "claim",
        /// Its packages are being signed.
        Sign = "sign",
        /// Its packages are being published.
        Publish = "publish",
    }
}
