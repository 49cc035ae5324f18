//! The calls by which workers get certificates.

use std::sync::Arc;

use rpmfarm_core::Arch;
use rpmfarm_proto::v1;
use rpmfarm_proto::v1::enrolment_server::Enrolment as EnrolmentApi;
use tonic::{Request, Response, Status};

use super::internal;
use super::request_checks::few;
use crate::clock;
use crate::identity::enrol::EnrolError;
use crate::identity::{Caller, Enrolment};
use crate::store::{Certificate, Store};

#[derive(Clone)]
pub struct EnrolmentService {
    pub store: Store,
    /// Enrols workers; `None` without TLS.
    pub enrolment: Option<Arc<Enrolment>>,
}

impl From<EnrolError> for Status {
    fn from(error: EnrolError) -> Self {
        let message = error.to_string();
        match error {
            EnrolError::Name(_)
            | EnrolError::Valid(_)
            | EnrolError::Arch { .. }
            | EnrolError::Request(_) => Self::invalid_argument(message),
            EnrolError::Token(_) | EnrolError::Refused { .. } => Self::unauthenticated(message),
            EnrolError::Ended(_) => Self::permission_denied(message),
            EnrolError::Store(error) => internal(error),
        }
    }
}

/// The enrolment of a farm that listens with TLS.
///
/// # Errors
/// `FAILED_PRECONDITION` with the remedy when it does not.
pub fn enrolment(known: Option<&Enrolment>) -> Result<&Enrolment, Status> {
    known.ok_or_else(|| {
        Status::failed_precondition(
            "this coordinator has no port with TLS for workers; start it with --listen-tls",
        )
    })
}

/// Reads architectures of a message.
///
/// # Errors
/// `INVALID_ARGUMENT` for an unknown one.
pub fn arches(names: &[String]) -> Result<Vec<Arch>, Status> {
    few(names, "architecture")?;
    let parse = |name: &String| {
        name.parse().map_err(|error| Status::invalid_argument(format!("architecture: {error}")))
    };
    names.iter().map(parse).collect()
}

fn credentials(enrolment: &Enrolment, certificate: Certificate) -> v1::Credentials {
    v1::Credentials {
        worker: certificate.worker,
        certificate: certificate.pem,
        authority: enrolment.authority.pem().into(),
        issued_us: certificate.issued.as_us(),
        ends_us: certificate.ends.as_us(),
    }
}

#[tonic::async_trait]
impl EnrolmentApi for EnrolmentService {
    async fn enrol(
        &self,
        request: Request<v1::EnrolRequest>,
    ) -> Result<Response<v1::Credentials>, Status> {
        let v1::EnrolRequest { token, request, arches: named } = request.into_inner();
        let enrolment = enrolment(self.enrolment.as_deref())?;
        let arches = arches(&named)?;
        let certificate =
            enrolment.enrol(&self.store, &token, &request, &arches, clock::now()).await?;
        Ok(Response::new(credentials(enrolment, certificate)))
    }

    async fn renew(
        &self,
        request: Request<v1::RenewRequest>,
    ) -> Result<Response<v1::Credentials>, Status> {
        let caller = Caller::from_request(&request)?;
        let Caller::Worker { name, certificate, .. } = caller else {
            return Err(Status::unauthenticated("only a worker with a certificate renews it"));
        };
        let enrolment = enrolment(self.enrolment.as_deref())?;
        let request = request.into_inner().request;
        let renewed =
            enrolment.renew(&self.store, &name, certificate, &request, clock::now()).await?;
        Ok(Response::new(credentials(enrolment, renewed)))
    }
}
