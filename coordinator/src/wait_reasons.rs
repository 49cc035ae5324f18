//! Why builds wait, one line each, as the passes last found. Kept in memory only; the next pass
//! finds it again.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use rpmfarm_core::BuildId;

/// The reasons. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct LocalWaitReasons(Arc<Mutex<HashMap<BuildId, String>>>);

impl LocalWaitReasons {
    /// Sets the reason why a build waits.
    pub fn set(&self, build: BuildId, reason: impl Into<String>) {
        self.lock().insert(build, reason.into());
    }

    /// Removes the reason of a build that no longer waits.
    pub fn clear(&self, build: BuildId) {
        self.lock().remove(&build);
    }

    /// Removes the reason of a build if it begins with these words; a reason of another pass stays.
    pub fn clear_said(&self, build: BuildId, beginning: &str) {
        let mut reasons = self.lock();
        if reasons.get(&build).is_some_and(|reason| reason.starts_with(beginning)) {
            reasons.remove(&build);
        }
    }

    /// Why a build waits; empty when that is unknown.
    #[must_use]
    pub fn reason(&self, build: BuildId) -> String {
        self.lock().get(&build).cloned().unwrap_or_default()
    }

    /// All reasons of this coordinator.
    #[must_use]
    pub fn all(&self) -> HashMap<BuildId, String> {
        self.lock().clone()
    }

    /// Removes all reasons, because another coordinator runs the passes now.
    pub fn clear_all(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<BuildId, String>> {
        self.0.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_takes_back_only_what_it_said() {
        let waits = LocalWaitReasons::default();
        waits.set(BuildId(1), "not signed yet: the signer does not answer");
        waits.clear_said(BuildId(1), "not published yet");
        assert_ne!(waits.reason(BuildId(1)), "");
        waits.clear_said(BuildId(1), "not signed yet");
        assert_eq!(waits.reason(BuildId(1)), "");
    }
}
