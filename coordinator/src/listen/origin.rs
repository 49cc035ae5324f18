//! Where requests come from: what a connection tells the calls that it carries.

use std::net::IpAddr;

/// Where a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestOrigin {
    /// The connection, by a number of its own.
    pub connection: u64,
    /// What counts as the other side's address.
    pub network: IpAddr,
}
