//! The connections over which certificates were shown, so that those of a revoked one can be cut.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use rpmfarm_core::Sha256;
use tokio_util::sync::CancellationToken;

/// The connections over which certificates were shown. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Connections(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    last: u64,
    open: HashMap<u64, (Sha256, CancellationToken)>,
}

/// A connection's place among them; dropped, it is gone.
#[derive(Debug)]
pub struct Place {
    connections: Connections,
    id: u64,
    /// Cancelled when the connection is to be broken.
    pub cut: CancellationToken,
}

impl Connections {
    /// A connection on which a certificate was shown.
    #[must_use]
    pub fn add(&self, certificate: Sha256) -> Place {
        let mut inner = self.lock();
        inner.last += 1;
        let (id, cut) = (inner.last, CancellationToken::new());
        inner.open.insert(id, (certificate, cut.clone()));
        Place { connections: self.clone(), id, cut }
    }

    /// Breaks the connections of these certificates. Answers how many there were.
    pub fn cut(&self, certificates: &BTreeSet<Sha256>) -> usize {
        let inner = self.lock();
        let theirs = inner.open.values().filter(|(shown, _)| certificates.contains(shown));
        theirs.map(|(_, cut)| cut.cancel()).count()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lock().open.is_empty()
    }

    fn lock(&self) -> parking_lot::MutexGuard<'_, Inner> {
        self.0.lock()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.lock().open.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_connections_of_these_certificates_are_cut() {
        let connections = Connections::default();
        let (one, other) = (Sha256::of(b"one"), Sha256::of(b"other"));
        let (first, second) = (connections.add(one), connections.add(one));
        let third = connections.add(other);
        assert_eq!(connections.cut(&BTreeSet::from([one])), 2);
        assert!(first.cut.is_cancelled() && second.cut.is_cancelled());
        assert!(!third.cut.is_cancelled());
        drop((first, second, third));
        assert!(connections.is_empty());
    }
}
