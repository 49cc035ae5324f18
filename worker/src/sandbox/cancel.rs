//! A flag that ends work early, with the reason. Cheap to read from any thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// Why work was ended from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The coordinator does not want it any more.
    Unwanted,
    /// The coordinator has not answered for too long.
    LeaseLost,
    /// The worker shuts down.
    Shutdown,
}

/// The flag. Clones share it; the first reason stays.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicU8>);

impl Cancel {
    /// A flag that is not raised.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    pub fn raise(&self, why: Why) {
        let code = match why {
            Why::Unwanted => 1,
            Why::LeaseLost => 2,
            Why::Shutdown => 3,
        };
        // A flag that is already up keeps its first reason.
        let _ = self.0.compare_exchange(0, code, Ordering::AcqRel, Ordering::Acquire);
    }

    /// The reason, once raised.
    #[must_use]
    pub fn raised(&self) -> Option<Why> {
        match self.0.load(Ordering::Acquire) {
            1 => Some(Why::Unwanted),
            2 => Some(Why::LeaseLost),
            3 => Some(Why::Shutdown),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_reason_stays() {
        let cancel = Cancel::new();
        assert_eq!(cancel.raised(), None);
        cancel.clone().raise(Why::LeaseLost);
        cancel.raise(Why::Unwanted);
        assert_eq!(cancel.raised(), Some(Why::LeaseLost));
    }
}
