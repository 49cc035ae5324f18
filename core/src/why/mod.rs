//! Why a build is where it is, and when it goes on: what people ask first.
//!
//! Owns the order of the reasons, their words and the estimates of times. `worker` says why a task waits
//! for a worker, `build` why a build waits. Neither knows where facts come from.

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
        /// Its sources are fetched.
        Import = "import",
        /// Something failed and is tried again at a time.
        Retry = "retry",
        /// It waits for other builds, or until packages can be had.
        Packages = "packages",
        /// Its build root is solved and fetched.
        Lock = "lock",
        /// No worker for the architecture is connected.
        NoWorker = "no-worker",
        /// The architecture is only emulated.
        OnlyEmulated = "only-emulated",
        /// The workers for the architecture take nothing new.
        NoneTakes = "no-worker-takes-work",
        /// Only the worker that made it the first time could make it again.
        OnlyMaker = "no-other-worker",
        /// It needs more than any worker has.
        TooMuch = "needs-too-much",
        /// It is queued.
        Queue = "queue",
        /// A worker builds it.
        Runs = "runs",
        /// Its results are checked.
        Accept = "accept",
        /// It takes names of others, and waits for a person.
        Claim = "claim",
        /// Its packages are signed.
        Sign = "sign",
        /// Its packages are published.
        Publish = "publish",
    }
}
