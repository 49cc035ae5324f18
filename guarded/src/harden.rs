//! Keeping the process's memory to itself: no core dumps, no tracing by others of the same user.

use anyhow::Context;
use nix::sys::prctl::set_dumpable;
use nix::sys::resource::{Resource, setrlimit};

/// Shuts the process. For its whole life, and before any key is read.
///
/// # Errors
/// When the kernel refuses.
pub fn shut() -> anyhow::Result<()> {
    set_dumpable(false).context("making the process undumpable")?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0).context("forbidding core dumps")
}
