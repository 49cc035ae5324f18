//! Why builds wait, in a line each, as the passes found it at their last look. Lost with the
//! process and found again at the next look.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use rpmfarm_core::BuildId;

/// The reasons. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Waits(Arc<Mutex<HashMap<BuildId, String>>>);

impl Waits {
    /// A build waits for this.
    pub fn set(&self, build: BuildId, reason: impl Into<String>) {
        self.lock().insert(build, reason.into());
    }

    /// A build waits no more.
    pub fn clear(&self, build: BuildId) {
        self.lock().remove(&build);
    }

    /// A build does not wait for what begins with these words any more; what another pass said of
    /// it stays.
    pub fn clear_said(&self, build: BuildId, beginning: &str) {
        let mut reasons = self.lock();
        if reasons.get(&build).is_some_and(|reason| reason.starts_with(beginning)) {
            reasons.remove(&build);
        }
    }

    /// What a build waits for; empty when nothing is known.
    #[must_use]
    pub fn reason(&self, build: BuildId) -> String {
        self.lock().get(&build).cloned().unwrap_or_default()
    }

    /// All reasons that are known here.
    #[must_use]
    pub fn all(&self) -> HashMap<BuildId, String> {
        self.lock().clone()
    }

    /// Forgets all of them: another coordinator runs the passes that knew.
    pub fn clear_all(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> parking_lot::MutexGuard<'_, HashMap<BuildId, String>> {
        self.0.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_takes_back_only_what_it_said() {
        let waits = Waits::default();
        waits.set(BuildId(1), "not signed yet: the signer does not answer");
        waits.clear_said(BuildId(1), "not published yet");
        assert_ne!(waits.reason(BuildId(1)), "");
        waits.clear_said(BuildId(1), "not signed yet");
        assert_eq!(waits.reason(BuildId(1)), "");
    }
}
