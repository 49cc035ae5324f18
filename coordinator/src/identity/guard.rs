//! The guard of every gRPC call: finds out who calls, and admits the callers that the policy names.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::Response;
use rpmfarm_core::{Sha256, Timestamp, name};
use rpmfarm_proto::{AUTHORIZATION, WORKER};
use tonic::Status;

use super::policy::{self, Access};
use super::public_access::PublicAccess;
use super::{Caller, Peer};
use crate::clock;
use crate::store::{Certificate, Store};
use crate::token::FarmToken;

/// Decides which calls are admitted. Cheap to clone.
#[derive(Clone)]
pub struct Guard {
    /// Certificates, and the standing of workers.
    pub store: Store,
    /// The farm's token, for calls that write.
    pub token: FarmToken,
}

/// Passes a call on to its service with its [`Caller`], or answers with a refusal.
pub async fn guard(State(guard): State<Guard>, mut request: Request, next: Next) -> Response {
    // A request without this extension came over no listener of ours, so nothing is known of its
    // peer.
    let peer = request.extensions().get::<Peer>().copied().unwrap_or(Peer::Tls(None));
    let openness =
        request.extensions().get::<PublicAccess>().copied().unwrap_or(PublicAccess::CLOSED);
    let (path, headers) = (request.uri().path(), request.headers());
    let admitted = guard.admit(path, headers, peer, openness, clock::now()).await;
    match admitted {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(refusal) => refusal.into_http::<Body>(),
    }
}

impl Guard {
    /// The caller of a call, if it may make it.
    ///
    /// # Errors
    /// The refusal, in words for the caller.
    pub async fn admit(
        &self,
        path: &str,
        headers: &HeaderMap,
        peer: Peer,
        openness: PublicAccess,
        now: Timestamp,
    ) -> Result<Caller, Status> {
        let Some(access) = policy::access(path) else {
            return Err(Status::unimplemented(format!("there is no call {}", name::shown(path))));
        };
        // A certificate that was shown must be valid, whatever the call is.
        if let Peer::Tls(Some(certificate)) = peer {
            let caller = self.worker(certificate, now).await?;
            return match access {
                Access::Token => {
                    self.token(headers)?;
                    Ok(Caller::Token { worker: None })
                }
                Access::Read | Access::Invited => Ok(Caller::Anyone),
                Access::Worker | Access::WorkerOrToken | Access::Certificate => Ok(caller),
            };
        }
        let plain = peer == Peer::Plain;
        match access {
            Access::Read if openness.reads => Ok(Caller::Anyone),
            Access::Read => {
                self.reader(headers)?;
                Ok(Caller::Token { worker: None })
            }
            Access::Invited | Access::Certificate if plain => Err(Status::failed_precondition(
                "certificates are given over TLS only (--listen-tls)",
            )),
            Access::Invited => Ok(Caller::Anyone),
            Access::Worker | Access::WorkerOrToken if plain => {
                self.token(headers)?;
                let worker =
                    headers.get(WORKER).map(|name| name.to_str().unwrap_or("?").to_owned());
                if let Some(worker) = &worker {
                    name::check_worker(worker)
                        .map_err(|error| Status::invalid_argument(format!("{WORKER}: {error}")))?;
                    self.not_revoked(worker).await?;
                }
                Ok(Caller::Token { worker })
            }
            Access::Worker | Access::Certificate => Err(Status::unauthenticated(
                "over TLS a worker shows its certificate and this one shows none; enrol it \
                 (rpmfarm worker enrol NAME)",
            )),
            Access::Token | Access::WorkerOrToken => {
                self.token(headers)?;
                Ok(Caller::Token { worker: None })
            }
        }
    }

    fn token(&self, headers: &HeaderMap) -> Result<(), Status> {
        match headers.get(AUTHORIZATION).map(|value| value.to_str()) {
            Some(Ok(given)) if self.token.admits(given) => Ok(()),
            Some(_) => Err(Status::unauthenticated("the token is not this farm's")),
            None => Err(Status::unauthenticated("this call needs the farm's token")),
        }
    }

    /// Admits callers that may read where reads are not open.
    fn reader(&self, headers: &HeaderMap) -> Result<(), Status> {
        self.token(headers).map_err(|refusal| {
            Status::unauthenticated(format!(
                "{}; at this address reading needs it, too (the operator may open reads to \
                 everybody: --public-read)",
                refusal.message()
            ))
        })
    }

    /// The worker of a certificate that is still valid.
    async fn worker(&self, fingerprint: Sha256, now: Timestamp) -> Result<Caller, Status> {
        let Some(row) = self.store.certificate_fetch(fingerprint).await? else {
            return Err(Status::unauthenticated(format!(
                "the certificate {fingerprint} is not in the farm's records; enrol this worker \
                 again"
            )));
        };
        let Certificate { worker: name, ends, .. } = row.certificate;
        if let Some(reason) = row.ended {
            return Err(Status::permission_denied(format!(
                "the certificate of worker {name} is no longer valid: {reason}"
            )));
        }
        if ends <= now {
            return Err(Status::unauthenticated(format!(
                "the certificate of worker {name} has ended; enrol this worker again"
            )));
        }
        Ok(Caller::Worker { name, certificate: fingerprint, ends })
    }

    /// Refuses a worker that was revoked.
    ///
    /// # Errors
    /// `PERMISSION_DENIED` with the reason.
    pub async fn not_revoked(&self, worker: &str) -> Result<(), Status> {
        match self.store.standing_fetch(worker).await? {
            Some(row) if !row.standing.may_connect() => Err(Status::permission_denied(format!(
                "worker {} is revoked: {}",
                name::shown(worker),
                row.reason
            ))),
            _ => Ok(()),
        }
    }
}
