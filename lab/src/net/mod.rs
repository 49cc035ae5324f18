//! Bad networks, made on this host: a link between namespaces that delays, loses and cuts
//! packets, and a proxy that stalls, slows, cuts and spoils TCP connections.
//!
//! Owns the weather. It must not know what travels through it.

mod link;
mod proxy;
mod spoil;
mod tun;

pub use link::{Direction, Link, Weather};
pub use proxy::Proxy;
