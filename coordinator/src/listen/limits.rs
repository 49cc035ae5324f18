//! The limits on connections: how many there may be, and how long one may be idle.

use std::net::IpAddr;
use std::time::Duration;

use crate::keyed_semaphore::PermitLimits;

/// File descriptors that are reserved for the database, blobs, repositories and upstream.
const KEPT_FILES: u64 = 512;

/// The least number of connections, however few file descriptors the system allows.
const LEAST: usize = 64;

/// How many times the connections of another host this host may have: there may be a proxy or many
/// commands on it.
const LOOPBACK_FACTOR: usize = 4;

/// The limits of a listener.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionLimits {
    /// The number of connections at once, over all listeners.
    pub connections: usize,
    /// The number of connections from one address (of IPv6, from one network of 64 bits).
    pub of_one: usize,
    /// The time from the connection to the end of the TLS handshake, and from there to the first
    /// request.
    pub first_request: Duration,
    /// The time without a request under way.
    pub idle: Duration,
    /// The time during which the client takes nothing of an answer.
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
    /// The same, with at most as many connections as the limit of open files leaves room for.
    #[must_use]
    pub fn within(self, files: u64) -> Self {
        let room = usize::try_from(files.saturating_sub(KEPT_FILES)).unwrap_or(usize::MAX);
        Self { connections: self.connections.min(room.max(LEAST)), ..self }
    }

    /// The limits for an address.
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
