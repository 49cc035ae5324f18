//! The origin of requests: the properties of their connection.

use std::net::IpAddr;

/// The origin of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestOrigin {
    /// The number of the connection.
    pub connection: u64,
    /// The client's address, or its network for IPv6.
    pub network: IpAddr,
}
