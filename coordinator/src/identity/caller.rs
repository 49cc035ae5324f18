//! Who calls: what a connection showed, and who a call was found to come from.

use rpmfarm_core::{Sha256, Timestamp};
use tonic::{Request, Status};

/// What is known of the other side of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// No TLS: only on this host, unless a flag allows more.
    Plain,
    /// TLS, with the fingerprint of the certificate that it showed, if it showed one. That the
    /// certificate comes from the farm's CA and is within its time was checked.
    Tls(Option<Sha256>),
}

/// Who a call comes from, as far as its policy had to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// Anybody: what it calls is open.
    Anyone,
    /// Somebody with the farm's token; and the worker that it says it is.
    Token {
        /// `None` for people, and for workers from before they said it.
        worker: Option<String>,
    },
    /// A worker with a certificate.
    Worker {
        /// Its name in the farm's records.
        name: String,
        /// The certificate that it showed.
        certificate: Sha256,
        ends: Timestamp,
    },
}

impl Caller {
    /// The caller that the guard found.
    ///
    /// # Errors
    /// `INTERNAL` for a call that did not come past the guard: nothing is served then.
    pub fn from_request<T>(request: &Request<T>) -> Result<Self, Status> {
        let found = request.extensions().get::<Self>().cloned();
        found.ok_or_else(|| Status::internal("a call came past the guard"))
    }

    /// The worker that calls, where it is known.
    #[must_use]
    pub fn worker(&self) -> Option<&str> {
        match self {
            Self::Anyone => None,
            Self::Token { worker } => worker.as_deref(),
            Self::Worker { name, .. } => Some(name),
        }
    }

    /// Refuses what belongs to another worker. `what` is for the message.
    ///
    /// # Errors
    /// `PERMISSION_DENIED` when the caller is known to be another one than `owner`.
    pub fn must_be(&self, owner: &str, what: &str) -> Result<(), Status> {
        match self.worker() {
            Some(name) if name != owner => {
                Err(Status::permission_denied(format!("{what} is worker {owner}'s, not {name}'s")))
            }
            _ => Ok(()),
        }
    }
}
