//! Work that blocks on the disk or computes for long, on a thread of its own so that it delays no
//! task of the runtime.

use tokio::task::JoinError;

/// Runs blocking work on a thread for it.
///
/// # Errors
/// When the work panicked.
pub async fn run<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JoinError> {
    #[cfg(feature = "simulation")]
    if let Some(_turn) = crate::simulation::begin_disk_step().await {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await
}

/// Computes, on a thread for that.
///
/// # Errors
/// When it panicked.
pub async fn compute<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JoinError> {
    // In a simulation it takes no time, and is no step that others may come between.
    #[cfg(feature = "simulation")]
    if crate::simulation::is_active() {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await
}
