//! Protects the process's memory: no core dumps, no tracing by other processes of the same user.

use anyhow::Context;
use nix::sys::prctl::set_dumpable;
use nix::sys::resource::{Resource, setrlimit};

/// Protects the memory until the process ends. Must be called before any key is read.
///
/// # Errors
/// When the kernel refuses.
pub fn protect_memory() -> anyhow::Result<()> {
    set_dumpable(false).context("making the process undumpable")?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0).context("forbidding core dumps")
}
