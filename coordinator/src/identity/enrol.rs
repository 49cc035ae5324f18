//! Makes hosts workers: tokens given out, redeemed for certificates, and certificates renewed.

use std::sync::Arc;

use rpmfarm_core::enrolment::{
    MAX_TOKEN_SECONDS, NoToken, Redeemed, TOKEN_SECONDS, Token, TokenRefusal, redeem,
};
use rpmfarm_core::name::{self, NameError};
use rpmfarm_core::remedy::Remedy;
use rpmfarm_core::{Arch, Sha256};

use super::Authority;
use super::authority::{BadRequest, Issued};
use crate::commands::command;
use crate::store::{Certificate, Invitation, Store, StoreError};

/// Gives certificates to workers.
pub struct Enrolment {
    /// The farm's CA.
    pub authority: Arc<Authority>,
    /// The coordinator's address for workers: `https://HOST:PORT`.
    pub address: String,
    /// How long a worker's certificate holds, in seconds.
    pub certificate_seconds: u64,
}

/// Why somebody gets no token or certificate.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// A bad name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A time that no token should hold.
    #[error("a token for {0} s: at most {MAX_TOKEN_SECONDS} s (7 days)")]
    Valid(u64),
    /// A text that is no token, or another farm's.
    #[error("{0}")]
    Token(String),
    /// A token that does not count any more.
    #[error("{refusal}; make a new one: rpmfarm worker enrol {worker}")]
    Refused {
        /// Why.
        refusal: TokenRefusal,
        /// For whom it was.
        worker: String,
    },
    /// An architecture that the worker was not invited for.
    #[error("the token makes a worker for {invited}, not for {asked}")]
    Arch {
        /// What is allowed.
        invited: String,
        /// What was asked for.
        asked: Arch,
    },
    /// A request that is none.
    #[error(transparent)]
    Request(#[from] BadRequest),
    /// The certificate with which a further one was asked for does not count any more.
    #[error("the certificate of worker {0} does not count any more")]
    Ended(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn no_token(error: &NoToken) -> EnrolError {
    let command = command(&Remedy::EnrolWorker);
    EnrolError::Token(format!("{error}; `{command}` makes one"))
}

/// A list of architectures for people.
fn listed(arches: &[Arch]) -> String {
    arches.iter().map(|arch| arch.as_str()).collect::<Vec<_>>().join(", ")
}

impl Enrolment {
    /// Makes a token for a worker. `valid_seconds` 0 stands for an hour; no architectures for any.
    ///
    /// # Errors
    /// For a bad name or time, and database errors.
    pub async fn invite(
        &self,
        store: &Store,
        worker: &str,
        arches: &[Arch],
        valid_seconds: u64,
        now_us: i64,
    ) -> Result<(Token, Invitation), EnrolError> {
        name::check_worker(worker)?;
        let seconds = if valid_seconds == 0 { TOKEN_SECONDS } else { valid_seconds };
        if seconds > MAX_TOKEN_SECONDS {
            return Err(EnrolError::Valid(seconds));
        }
        let token = Token::new(rand::random(), self.authority.fingerprint());
        let invitation = Invitation {
            worker: worker.into(),
            arches: arches.to_vec(),
            created_us: now_us,
            expires_us: now_us + seconds.cast_signed() * 1_000_000,
            used: None,
        };
        store.add_invitation(token.digest(), &invitation).await?;
        Ok((token, invitation))
    }

    /// Gives a certificate for a token.
    ///
    /// # Errors
    /// When the token does not count, or the request is bad; and database errors.
    pub async fn enrol(
        &self,
        store: &Store,
        token: &str,
        request: &str,
        arches: &[Arch],
        now_us: i64,
    ) -> Result<Certificate, EnrolError> {
        let token = token.parse::<Token>().map_err(|error| no_token(&error))?;
        if token.authority != self.authority.fingerprint() {
            return Err(EnrolError::Token("the enrolment token is another farm's".into()));
        }
        let digest = token.digest();
        // Twice at most: when another call used the token in between, the second look says so.
        for _ in 0..2 {
            let invitation = store.invitation(digest).await?.ok_or_else(|| {
                EnrolError::Token("this farm has given out no such enrolment token".into())
            })?;
            let worker = invitation.worker.clone();
            let refused = |refusal| EnrolError::Refused { refusal, worker: worker.clone() };
            let used = invitation.used.map(|(used, _)| used);
            let key = Authority::key_of(request)?;
            match redeem(invitation.expires_us, used, key, now_us).map_err(refused)? {
                Redeemed::Again => {
                    let given = invitation.used.map(|(_, certificate)| certificate);
                    return self.given(store, given, &worker).await;
                }
                Redeemed::First => {}
            }
            let allowed = &invitation.arches;
            if let Some(asked) = arches.iter().find(|arch| !allowed.contains(arch))
                && !allowed.is_empty()
            {
                return Err(EnrolError::Arch { invited: listed(allowed), asked: *asked });
            }
            let (issued, certificate) = self.issue(request, &worker, now_us)?;
            if store.enrol(digest, allowed, issued.key, &certificate, now_us).await? {
                tracing::info!(worker, fingerprint = %certificate.fingerprint, "worker enrolled");
                return Ok(certificate);
            }
        }
        Err(EnrolError::Token("the enrolment token is being used by another call".into()))
    }

    /// The certificate that was given before, if it still counts.
    async fn given(
        &self,
        store: &Store,
        fingerprint: Option<Sha256>,
        worker: &str,
    ) -> Result<Certificate, EnrolError> {
        let row = match fingerprint {
            Some(fingerprint) => store.certificate(fingerprint).await?,
            None => None,
        };
        row.filter(|row| row.ended.is_none())
            .map(|row| row.certificate)
            .ok_or_else(|| EnrolError::Ended(worker.into()))
    }

    /// Gives a further certificate to the worker that showed one.
    ///
    /// # Errors
    /// When the one it showed does not count any more, or the request is bad; and database errors.
    pub async fn renew(
        &self,
        store: &Store,
        worker: &str,
        shown: Sha256,
        request: &str,
        now_us: i64,
    ) -> Result<Certificate, EnrolError> {
        let (_, certificate) = self.issue(request, worker, now_us)?;
        if !store.renew(shown, &certificate).await? {
            return Err(EnrolError::Ended(worker.into()));
        }
        tracing::info!(worker, fingerprint = %certificate.fingerprint, "certificate renewed");
        Ok(certificate)
    }

    fn issue(
        &self,
        request: &str,
        worker: &str,
        now_us: i64,
    ) -> Result<(Issued, Certificate), BadRequest> {
        let seconds = self.certificate_seconds;
        let issued = self.authority.worker(request, worker, now_us, seconds)?;
        let certificate = Certificate {
            fingerprint: issued.fingerprint,
            worker: worker.into(),
            serial: issued.serial.clone(),
            pem: issued.pem.clone(),
            issued_us: now_us,
            ends_us: now_us.saturating_add(seconds.cast_signed().saturating_mul(1_000_000)),
        };
        Ok((issued, certificate))
    }
}
