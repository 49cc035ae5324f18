//! The first certificate: for a token, once.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rpmfarm_core::enrolment::EnrolmentToken;
use rpmfarm_core::{Arch, Timestamp};
use rpmfarm_proto::v1::EnrolRequest;
use rpmfarm_proto::v1::enrolment_client::EnrolmentClient;
use tonic::transport::{Certificate, ClientTlsConfig};

use super::{CertificateRequest, Credentials, pin};
use crate::transfer::channel::{endpoint, passes, pause};

/// Tries when the answer got lost. The key stays the same, so that the token still counts.
const TRIES: u32 = 5;

/// How long one try may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Makes this host a worker.
///
/// # Errors
/// When the coordinator cannot be trusted or reached, or does not take the token.
pub async fn enrol(server: &str, token: &EnrolmentToken, arches: &[Arch]) -> Result<Credentials> {
    let found = pin::authority(server, token.authority).await?;
    let authority = pem::encode(&pem::Pem::new("CERTIFICATE", found));
    let CertificateRequest { key, request } = CertificateRequest::new()?;
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&authority));
    let channel = endpoint(server)?.tls_config(tls)?.timeout(PATIENCE).connect_lazy();
    let asked = EnrolRequest {
        token: token.to_string(),
        request,
        arches: arches.iter().map(ToString::to_string).collect(),
    };
    let mut tries = 0;
    let given = loop {
        match EnrolmentClient::new(channel.clone()).enrol(asked.clone()).await {
            Ok(given) => break given.into_inner(),
            Err(status) if passes(&status) && tries < TRIES => {
                tokio::time::sleep(pause(tries)).await;
                tries += 1;
            }
            Err(status) => bail!("the coordinator gives no certificate: {}", status.message()),
        }
    };
    rpmfarm_core::name::check_worker(&given.worker).context("the coordinator's answer")?;
    ensure!(!given.certificate.is_empty(), "the coordinator gave no certificate");
    Ok(Credentials {
        name: given.worker,
        coordinator: server.trim_end_matches('/').to_owned(),
        // Only the pinned CA is trusted, whatever the answer says.
        authority,
        certificate: given.certificate,
        key,
        issued: Timestamp::from_us(given.issued_us),
        ends: Timestamp::from_us(given.ends_us),
    })
}
