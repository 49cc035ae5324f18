//! The one table of who may make which call. A call without a row is not served.

/// Who may make a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// A call that only reads: anybody where reads are open at the listener, otherwise callers with
    /// the farm's token or a worker's certificate.
    Read,
    /// Callers with the farm's token.
    Token,
    /// A worker: with its certificate over TLS, with the farm's token without.
    Worker,
    /// A worker, or a caller with the farm's token.
    WorkerOrToken,
    /// Only a worker with a certificate.
    Certificate,
    /// Anybody over TLS: the message holds a one-time token, which the call itself checks.
    Invited,
}

use Access::{Certificate, Invited, Read, Token, Worker, WorkerOrToken};

/// Every call of every service that the coordinator serves.
pub const POLICY: &[(&str, Access)] = &[
    ("/rpmfarm.v1.Farm/GetInfo", Read),
    ("/rpmfarm.v1.Farm/ListTargets", Read),
    ("/rpmfarm.v1.Farm/GetTarget", Read),
    ("/rpmfarm.v1.Farm/StartBuilds", Token),
    ("/rpmfarm.v1.Farm/ListBuilds", Read),
    ("/rpmfarm.v1.Farm/GetBuild", Read),
    ("/rpmfarm.v1.Farm/WatchBuilds", Read),
    ("/rpmfarm.v1.Farm/ReadLog", Read),
    ("/rpmfarm.v1.Farm/CancelBuild", Token),
    ("/rpmfarm.v1.Farm/RetryBuild", Token),
    ("/rpmfarm.v1.Farm/SetPriority", Token),
    ("/rpmfarm.v1.Farm/WhyBuild", Read),
    ("/rpmfarm.v1.Farm/GetLock", Read),
    ("/rpmfarm.v1.Farm/ListFiles", Read),
    ("/rpmfarm.v1.Farm/ReadFile", Read),
    ("/rpmfarm.v1.Farm/ListChannels", Read),
    ("/rpmfarm.v1.Farm/ListWorkers", Read),
    ("/rpmfarm.v1.Batches/PlanBuilds", Token),
    ("/rpmfarm.v1.Batches/GetBatch", Read),
    ("/rpmfarm.v1.Batches/ListBatches", Read),
    ("/rpmfarm.v1.Batches/PauseBatch", Token),
    ("/rpmfarm.v1.Batches/ResumeBatch", Token),
    ("/rpmfarm.v1.Batches/CancelBatch", Token),
    ("/rpmfarm.v1.Batches/RetryBatch", Token),
    ("/rpmfarm.v1.Tracking/Track", Token),
    ("/rpmfarm.v1.Tracking/Untrack", Token),
    ("/rpmfarm.v1.Tracking/ListTracked", Read),
    ("/rpmfarm.v1.Tracking/GetTracked", Read),
    ("/rpmfarm.v1.Tracking/OrderPolicy", Token),
    ("/rpmfarm.v1.Tracking/ApprovePushes", Token),
    ("/rpmfarm.v1.Tracking/LookNow", Token),
    ("/rpmfarm.v1.Tracking/PlanPushes", Read),
    ("/rpmfarm.v1.Sources/PreviewModifications", Token),
    ("/rpmfarm.v1.Sources/GetSource", Read),
    ("/rpmfarm.v1.Sources/DiffSources", Read),
    ("/rpmfarm.v1.Packages/ListClaims", Read),
    ("/rpmfarm.v1.Packages/GetClaim", Token),
    ("/rpmfarm.v1.Packages/DecideClaim", Token),
    ("/rpmfarm.v1.Packages/Withdraw", Token),
    ("/rpmfarm.v1.Packages/Restore", Token),
    ("/rpmfarm.v1.Packages/GetImpact", Token),
    ("/rpmfarm.v1.Proofs/GetProblems", Read),
    ("/rpmfarm.v1.Proofs/AcceptProblem", Token),
    ("/rpmfarm.v1.Fleet/InviteWorker", Token),
    ("/rpmfarm.v1.Fleet/GetWorker", Read),
    ("/rpmfarm.v1.Fleet/SetWorkerState", Token),
    ("/rpmfarm.v1.Enrolment/Enrol", Invited),
    ("/rpmfarm.v1.Enrolment/Renew", Certificate),
    ("/rpmfarm.v1.Workers/Session", Worker),
    ("/rpmfarm.v1.Workers/AppendLog", Worker),
    ("/rpmfarm.v1.Workers/UploadOffset", Worker),
    ("/rpmfarm.v1.Workers/Upload", Worker),
    ("/rpmfarm.v1.Workers/KeepFiles", Worker),
    ("/rpmfarm.v1.Blobs/Fetch", WorkerOrToken),
];

/// Who may make the call of a path like `/rpmfarm.v1.Farm/GetInfo`; `None` for an unknown call.
#[must_use]
pub fn access(path: &str) -> Option<Access> {
    POLICY.iter().find(|(known, _)| *known == path).map(|(_, access)| *access)
}
