//! The open connections with client certificates, so that those of a revoked certificate can be
//! cut.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use rpmfarm_core::Sha256;
use tokio_util::sync::CancellationToken;

/// The open connections with client certificates. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct CertificateConnections(Arc<Mutex<OpenConnections>>);

#[derive(Debug, Default)]
struct OpenConnections {
    last: u64,
    open: HashMap<u64, (Sha256, CancellationToken)>,
}

/// A connection's entry; removed when it is dropped.
#[derive(Debug)]
pub struct ConnectionGuard {
    connections: CertificateConnections,
    id: u64,
    /// Cancelled when the connection must be cut.
    pub cut: CancellationToken,
}

impl CertificateConnections {
    /// Registers a connection with a client certificate.
    #[must_use]
    pub fn add(&self, certificate: Sha256) -> ConnectionGuard {
        let mut inner = self.lock();
        inner.last += 1;
        let (id, cut) = (inner.last, CancellationToken::new());
        inner.open.insert(id, (certificate, cut.clone()));
        ConnectionGuard { connections: self.clone(), id, cut }
    }

    /// Cuts the connections of these certificates. Returns how many there were.
    pub fn cut(&self, certificates: &BTreeSet<Sha256>) -> usize {
        let inner = self.lock();
        let theirs = inner.open.values().filter(|(shown, _)| certificates.contains(shown));
        theirs.map(|(_, cut)| cut.cancel()).count()
    }

    /// Whether no connection is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lock().open.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, OpenConnections> {
        self.0.lock()
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.connections.lock().open.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_connections_of_these_certificates_are_cut() {
        let connections = CertificateConnections::default();
        let (one, other) = (Sha256::compute(b"one"), Sha256::compute(b"other"));
        let (first, second) = (connections.add(one), connections.add(one));
        let third = connections.add(other);
        assert_eq!(connections.cut(&BTreeSet::from([one])), 2);
        assert!(first.cut.is_cancelled() && second.cut.is_cancelled());
        assert!(!third.cut.is_cancelled());
        drop((first, second, third));
        assert!(connections.is_empty());
    }
}
