//! The names of the stages that run on one coordinator at a time, each once: of their leases, in the
//! log, and in what operators see.
//!
//! Dispatch is not among them: each coordinator gives tasks to the workers that it hears, and the
//! database decides who of two was first.

/// Asks upstream for pushes.
pub const POLL: &str = "poll";
/// Decides what becomes of pushes.
pub const DECIDE: &str = "decide";
/// Fetches sources.
pub const IMPORT: &str = "import";
/// Makes tasks.
pub const PLAN: &str = "plan";
/// Makes locks.
pub const RESOLVE: &str = "resolve";
/// Accepts results.
pub const ACCEPT: &str = "accept";
/// Has packages signed.
pub const SIGN: &str = "sign";
/// Publishes.
pub const PUBLISH: &str = "publish";

/// All of them, in the order of a build's way.
pub const ALL: [&str; 8] = [POLL, DECIDE, IMPORT, PLAN, RESOLVE, ACCEPT, SIGN, PUBLISH];

/// Those whose passes know why builds wait.
pub const KNOW_WAITS: [&str; 3] = [RESOLVE, SIGN, PUBLISH];
