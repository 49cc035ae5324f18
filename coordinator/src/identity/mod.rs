//! Who calls, and what callers may do: the farm's certificate authority, enrolment, certificates
//! and their revocation, and the one table of who may make which call.
//!
//! `authority` holds the CA's key and signs; `tls` is what the listener needs; `enrol` gives
//! certificates to workers; `policy` is the table and `guard` applies it to every call;
//! `revocation` cuts off revoked workers; `public_access` is what callers without a credential may
//! see at which address. Stages never read tokens or certificates: they are given the [`Caller`].

pub mod authority;
pub mod caller;
mod connections;
pub mod enrol;
pub mod guard;
pub mod policy;
pub mod public_access;
pub mod revocation;
pub mod tls;

pub use authority::Authority;
pub use caller::{Caller, Peer};
pub use connections::{CertificateConnections, ConnectionGuard};
pub use enrol::Enrolment;
