//! The caller: the credentials of a connection, and the identity that follows from them.

use rpmfarm_core::{Sha256, Timestamp};
use tonic::{Request, Status};

/// The facts about the other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// No TLS: only on this host, unless an option allows more.
    Plain,
    /// TLS, with the fingerprint of the client certificate if there was one. TLS has already
    /// checked that the certificate comes from the farm's CA and has not expired.
    Tls(Option<Sha256>),
}

/// Who a call comes from, as far as the policy of the call needed to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// Anybody: the call is open.
    Anyone,
    /// A caller with the farm's token, and the worker that the caller says it is.
    Token {
        /// `None` for people, and for older workers, which do not send a name.
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
    /// `INTERNAL` for a call that did not pass the guard; it is not served.
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

    /// Refuses access to something that belongs to another worker. `what` names it in the message.
    ///
    /// # Errors
    /// `PERMISSION_DENIED` when the caller is known and is not `owner`.
    pub fn must_be(&self, owner: &str, what: &str) -> Result<(), Status> {
        match self.worker() {
            Some(name) if name != owner => {
                Err(Status::permission_denied(format!("{what} is worker {owner}'s, not {name}'s")))
            }
            _ => Ok(()),
        }
    }
}
