//! What connections may take: how many there are, and how long one may do nothing.

use std::net::IpAddr;
use std::time::Duration;

use crate::keyed_semaphore::PermitLimits;

/// Files that are kept for the database, blobs, repositories and upstream, whatever connects.
const KEPT_FILES: u64 = 512;

/// Connections that there may be at least, however few files the system allows.
const LEAST: usize = 64;

/// This host may have so many times the connections of another: a proxy or many commands may be
/// on it.
const LOOPBACK_FACTOR: usize = 4;

/// The limits of a listener.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionLimits {
    /// Connections at once, over all listeners.
    pub connections: usize,
    /// Of these, from one address (of IPv6, from one network of 64 bits).
    pub of_one: usize,
    /// From being accepted to the end of the TLS handshake, and from there to the first request.
    pub first_request: Duration,
    /// With no request under way.
    pub idle: Duration,
    /// With an answer of which the other side takes nothing.
    pub stalled: Duration,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            connections: 4096,
            of_one: 256,
            first_request: Duration::from_secs(10),
            idle: Duration::from_secs(300),
            stalled: Duration::from_secs(60),
        }
    }
}

impl ConnectionLimits {
    /// The same with no more connections than so many open files leave room for.
    #[must_use]
    pub fn within(self, files: u64) -> Self {
        let room = usize::try_from(files.saturating_sub(KEPT_FILES)).unwrap_or(usize::MAX);
        Self { connections: self.connections.min(room.max(LEAST)), ..self }
    }

    /// The bounds for an address.
    pub(super) fn bounds(&self, address: IpAddr) -> PermitLimits {
        let factor = if address.is_loopback() { LOOPBACK_FACTOR } else { 1 };
        PermitLimits { all: self.connections, of_one: self.of_one.saturating_mul(factor) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_files_for_everything_else() {
        let limits = ConnectionLimits::default();
        assert_eq!(limits.within(1 << 20).connections, 4096);
        assert_eq!(limits.within(1024).connections, 512);
        assert_eq!(limits.within(256).connections, LEAST);
    }

    #[test]
    fn this_host_may_have_more_connections_than_another() {
        let of = |text: &str| ConnectionLimits::default().bounds(text.parse().unwrap()).of_one;
        assert_eq!((of("192.0.2.1"), of("127.0.0.1"), of("::1")), (256, 1024, 1024));
    }
}
