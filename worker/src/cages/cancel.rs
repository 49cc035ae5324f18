//! A flag that ends work early, with the reason. Cheap to read from any thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// Why work was ended from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelReason {
    /// The coordinator does not want it any more.
    Unwanted,
    /// The coordinator has not answered for too long.
    LeaseLost,
    /// The worker shuts down.
    Shutdown,
}

/// The flag. Clones share it; the first reason stays.
#[derive(Debug, Clone, Default)]
pub struct CancelFlag(Arc<AtomicU8>);

impl CancelFlag {
    /// A flag that is not raised.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    pub fn raise(&self, why: CancelReason) {
        let code = match why {
            CancelReason::Unwanted => 1,
            CancelReason::LeaseLost => 2,
            CancelReason::Shutdown => 3,
        };
        // A flag that is already up keeps its first reason.
        let _ = self.0.compare_exchange(0, code, Ordering::AcqRel, Ordering::Acquire);
    }

    /// The reason, once raised.
    #[must_use]
    pub fn raised(&self) -> Option<CancelReason> {
        match self.0.load(Ordering::Acquire) {
            1 => Some(CancelReason::Unwanted),
            2 => Some(CancelReason::LeaseLost),
            3 => Some(CancelReason::Shutdown),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_reason_stays() {
        let cancel = CancelFlag::new();
        assert_eq!(cancel.raised(), None);
        cancel.clone().raise(CancelReason::LeaseLost);
        cancel.raise(CancelReason::Unwanted);
        assert_eq!(cancel.raised(), Some(CancelReason::LeaseLost));
    }
}
