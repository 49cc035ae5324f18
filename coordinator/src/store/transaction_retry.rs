//! Repeats whole transactions that the database rolled back for reasons of its own.
//!
//! This is the only place where that is done. A transaction that was certainly rolled back is
//! repeated; a commit whose answer was lost is not, because it may have happened: passes read the
//! facts again, and a request is repeated under its key.

use std::time::Duration;

use super::{Result, StoreError};
use crate::clock::Clock;
use crate::random::RandomSource;

/// How often a transaction is tried.
const TRIES: u32 = 6;

/// The pause before the second try; it doubles, and varies by half at random, so that two
/// transactions that conflicted do not conflict again.
const PAUSE: Duration = Duration::from_millis(10);

/// Runs a transaction, and repeats it while it is rolled back by a deadlock, a failure to
/// serialise, or a connection that broke before the commit.
///
/// # Errors
/// That of the last try.
pub(super) async fn again<T, F>(work: impl Fn() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let mut tries = 0;
    loop {
        match work().await {
            Err(error) if error.rolled_back() && tries + 1 < TRIES => {
                let pause = (PAUSE * 2_u32.pow(tries)).mul_f64(RandomSource.draw_between(0.5, 1.5));
                tracing::info!(%error, ?pause, "the transaction is run again");
                Clock.sleep(pause).await;
                tries += 1;
            }
            result => return result,
        }
    }
}

impl StoreError {
    /// Whether the transaction was certainly rolled back and may well succeed when it is repeated.
    #[must_use]
    pub fn rolled_back(&self) -> bool {
        let Self::Database(error) = self else { return false };
        match error {
            sqlx::Error::Database(error) => error.code().is_some_and(|code| passes(&code)),
            sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed | sqlx::Error::Protocol(_) => true,
            _ => false,
        }
    }

    /// Whether another transaction held a lock for too long.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        let Self::Database(sqlx::Error::Database(error)) = self else { return false };
        error.code().is_some_and(|code| code == "55P03")
    }

    /// Whether the rows may be there already: the answer of the commit was lost, or another
    /// transaction with the same key was first.
    #[must_use]
    pub fn may_have_happened(&self) -> bool {
        match self {
            Self::Unanswered(_) => true,
            Self::Database(sqlx::Error::Database(error)) => error.is_unique_violation(),
            _ => false,
        }
    }

    /// Whether the database cannot be reached now; then the request itself may be valid.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Unanswered(_) => true,
            Self::Database(sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed) => true,
            error => error.rolled_back(),
        }
    }
}

/// Whether a code is of a temporary failure. SQLSTATEs: an idle transaction that was ended,
/// serialization, deadlock, a connection or server that goes down or comes up; and SQLite's codes
/// for a busy database.
fn passes(code: &str) -> bool {
    matches!(code, "25P03" | "40001" | "40P01" | "57P01" | "57P02" | "57P03" | "5" | "261" | "517")
        || code.starts_with("08")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn broken() -> StoreError {
        StoreError::Database(sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into()))
    }

    #[tokio::test]
    async fn what_was_rolled_back_is_tried_a_bounded_number_of_times() {
        let runs = AtomicU32::new(0);
        let run = || runs.fetch_add(1, Ordering::Relaxed) + 1;
        let result = again(|| async { if run() < 3 { Err(broken()) } else { Ok(7) } }).await;
        assert_eq!((result.unwrap(), runs.swap(0, Ordering::Relaxed)), (7, 3));
        let result: Result<()> = again(|| async { Err(broken()).inspect_err(|_| _ = run()) }).await;
        assert!(result.is_err());
        assert_eq!(runs.swap(0, Ordering::Relaxed), TRIES);
    }

    #[tokio::test]
    async fn an_unanswered_commit_is_not_tried_again() {
        let runs = AtomicU32::new(0);
        let result: Result<()> = again(|| async {
            runs.fetch_add(1, Ordering::Relaxed);
            Err(StoreError::Unanswered(sqlx::Error::WorkerCrashed))
        })
        .await;
        assert!(result.unwrap_err().is_outage());
        assert_eq!(runs.into_inner(), 1);
    }

    #[test]
    fn codes() {
        for code in ["40001", "40P01", "57P01", "08006", "5"] {
            assert!(passes(code), "{code}");
        }
        for code in ["23505", "42601", "22001", "1"] {
            assert!(!passes(code), "{code}");
        }
    }
}
