//! Bad networks on this host: a link between namespaces that delays, loses and cuts packets, and a
//! proxy that stalls, slows, cuts and damages TCP connections.
//!
//! Owns the faults of the network. It must not know what is sent through it.

mod link;
mod proxy;
mod spoil;
mod tun;

pub use link::{Direction, Link, Weather};
pub use proxy::Proxy;
