//! Enrolment of workers: invitation tokens, their exchange for certificates, and the renewal of
//! certificates.

use std::sync::Arc;
use std::time::Duration;

use rpmfarm_core::enrolment::{
    EnrolmentToken, MAX_TOKEN_SECONDS, Redemption, RedemptionError, TOKEN_SECONDS, TokenError,
    redeem,
};
use rpmfarm_core::name::{self, NameError};
use rpmfarm_core::remedy::Remedy;
use rpmfarm_core::{Arch, Sha256, Timestamp};

use super::Authority;
use super::authority::{CsrError, IssuedCertificate};
use crate::commands::command;
use crate::store::{Certificate, Invitation, Store, StoreError};

/// Gives certificates to workers.
pub struct Enrolment {
    pub authority: Arc<Authority>,
    /// The coordinator's address for workers: `https://HOST:PORT`.
    pub address: String,
    /// How long a worker's certificate holds, in seconds.
    pub certificate_seconds: u64,
}

/// Why a token or certificate is not given.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    #[error(transparent)]
    Name(#[from] NameError),
    /// A period of validity that is too long for a token.
    #[error("a token for {0} s: at most {MAX_TOKEN_SECONDS} s (7 days)")]
    Valid(u64),
    /// A text that is not a token, or is the token of another farm.
    #[error("{0}")]
    Token(String),
    /// A token that is no longer valid.
    #[error("{refusal}; make a new one: rpmfarm worker enrol {worker}")]
    Refused {
        refusal: RedemptionError,
        /// The worker that the token was made for.
        worker: String,
    },
    /// An architecture that the worker was not invited for.
    #[error("the token makes a worker for {invited}, not for {asked}")]
    Arch { invited: String, asked: Arch },
    /// A malformed request, or one that is not signed by its own key.
    #[error(transparent)]
    Request(#[from] CsrError),
    /// The certificate that asks for its renewal is no longer valid.
    #[error("the certificate of worker {0} is no longer valid")]
    Ended(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn no_token(error: &TokenError) -> EnrolError {
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
        now: Timestamp,
    ) -> Result<(EnrolmentToken, Invitation), EnrolError> {
        name::check_worker(worker)?;
        let seconds = if valid_seconds == 0 { TOKEN_SECONDS } else { valid_seconds };
        if seconds > MAX_TOKEN_SECONDS {
            return Err(EnrolError::Valid(seconds));
        }
        let token = EnrolmentToken::new(rand::random(), self.authority.fingerprint());
        let invitation = Invitation {
            worker: worker.into(),
            arches: arches.to_vec(),
            created: now,
            expires: now + Duration::from_secs(seconds),
            used: None,
        };
        store.invitation_insert(token.digest(), &invitation).await?;
        Ok((token, invitation))
    }

    /// Gives a certificate for a token.
    ///
    /// # Errors
    /// When the token is not valid, or the request is bad; and database errors.
    pub async fn enrol(
        &self,
        store: &Store,
        token: &str,
        request: &str,
        arches: &[Arch],
        now: Timestamp,
    ) -> Result<Certificate, EnrolError> {
        let token = token.parse::<EnrolmentToken>().map_err(|error| no_token(&error))?;
        if token.authority != self.authority.fingerprint() {
            return Err(EnrolError::Token("the enrolment token is another farm's".into()));
        }
        let digest = token.digest();
        // At most twice: when another call used the token in between, the second round reads that.
        for _ in 0..2 {
            let invitation = store.invitation_fetch(digest).await?.ok_or_else(|| {
                EnrolError::Token("this farm has given out no such enrolment token".into())
            })?;
            let worker = invitation.worker.clone();
            let refused = |refusal| EnrolError::Refused { refusal, worker: worker.clone() };
            let used = invitation.used.map(|(used, _)| used);
            let key = Authority::key_of(request)?;
            match redeem(invitation.expires, used, key, now).map_err(refused)? {
                Redemption::Again => {
                    let given = invitation.used.map(|(_, certificate)| certificate);
                    return self.given(store, given, &worker).await;
                }
                Redemption::First => {}
            }
            let allowed = &invitation.arches;
            if let Some(asked) = arches.iter().find(|arch| !allowed.contains(arch))
                && !allowed.is_empty()
            {
                return Err(EnrolError::Arch { invited: listed(allowed), asked: *asked });
            }
            let (issued, certificate) = self.issue(request, &worker, now)?;
            if store.worker_enrol(digest, allowed, issued.key, &certificate, now).await? {
                tracing::info!(worker, fingerprint = %certificate.fingerprint, "worker enrolled");
                return Ok(certificate);
            }
        }
        Err(EnrolError::Token("the enrolment token is being used by another call".into()))
    }

    /// The certificate that was given for the token before, if it is still valid.
    async fn given(
        &self,
        store: &Store,
        fingerprint: Option<Sha256>,
        worker: &str,
    ) -> Result<Certificate, EnrolError> {
        let row = match fingerprint {
            Some(fingerprint) => store.certificate_fetch(fingerprint).await?,
            None => None,
        };
        row.filter(|row| row.ended.is_none())
            .map(|row| row.certificate)
            .ok_or_else(|| EnrolError::Ended(worker.into()))
    }

    /// Gives a new certificate to a worker that showed a valid one.
    ///
    /// # Errors
    /// When the certificate is no longer valid, or the request is bad; and database errors.
    pub async fn renew(
        &self,
        store: &Store,
        worker: &str,
        shown: Sha256,
        request: &str,
        now: Timestamp,
    ) -> Result<Certificate, EnrolError> {
        let (_, certificate) = self.issue(request, worker, now)?;
        if !store.certificate_renew(shown, &certificate).await? {
            return Err(EnrolError::Ended(worker.into()));
        }
        tracing::info!(worker, fingerprint = %certificate.fingerprint, "certificate renewed");
        Ok(certificate)
    }

    fn issue(
        &self,
        request: &str,
        worker: &str,
        now: Timestamp,
    ) -> Result<(IssuedCertificate, Certificate), CsrError> {
        let seconds = self.certificate_seconds;
        let issued = self.authority.worker(request, worker, now, seconds)?;
        let certificate = Certificate {
            fingerprint: issued.fingerprint,
            worker: worker.into(),
            serial: issued.serial.clone(),
            pem: issued.pem.clone(),
            issued: now,
            ends: now + Duration::from_secs(seconds),
        };
        Ok((issued, certificate))
    }
}
