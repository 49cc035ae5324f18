//! Renews the certificate before it expires. Builds are not affected.

use std::time::Duration;

use anyhow::{Context as _, Result};
use rpmfarm_core::Timestamp;
use rpmfarm_core::enrolment::renewal;
use rpmfarm_daemon::now_us;
use rpmfarm_proto::v1::RenewRequest;

use super::{CertificateRequest, Credentials, IdentityFile};
use crate::transfer::CoordinatorConnection;
use crate::transfer::channel::pause;

/// The longest time between two reads of the clock, which may be set.
const PERIOD: Duration = Duration::from_secs(600);

/// How long the coordinator may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Renews the certificate whenever it is due. Never returns.
pub async fn keep(
    connection: CoordinatorConnection,
    file: IdentityFile,
    mut credentials: Credentials,
) {
    let mut tries = 0;
    loop {
        let now = Timestamp::from_us(now_us());
        let left = renewal(credentials.issued, credentials.ends).since(now);
        if !left.is_zero() {
            tokio::time::sleep(left.min(PERIOD)).await;
            continue;
        }
        match renew(&connection, &file, &credentials).await {
            Ok(renewed) => {
                tracing::info!("the certificate was renewed");
                (credentials, tries) = (renewed, 0);
            }
            Err(error) => {
                let left = credentials.ends.since(Timestamp::from_us(now_us()));
                tracing::warn!(
                    error = format!("{error:#}"),
                    seconds_left = left.as_secs(),
                    "the certificate was not renewed"
                );
                // The session needs the connection more than this does.
                tokio::time::sleep(pause(tries) * 3).await;
                tries += 1;
            }
        }
    }
}

async fn renew(
    connection: &CoordinatorConnection,
    file: &IdentityFile,
    credentials: &Credentials,
) -> Result<Credentials> {
    let CertificateRequest { key, request } = CertificateRequest::new()?;
    let mut client = connection.enrolment();
    let given = tokio::time::timeout(PATIENCE, client.renew(RenewRequest { request }))
        .await
        .context("no answer")?
        .map_err(|status| anyhow::anyhow!("{}", status.message()))?
        .into_inner();
    let renewed = Credentials {
        certificate: given.certificate,
        key,
        issued: Timestamp::from_us(given.issued_us),
        ends: Timestamp::from_us(given.ends_us),
        ..credentials.clone()
    };
    // Written to the disk first: a worker that is killed now starts with the new one.
    file.write(&renewed)?;
    connection.replace(&renewed)?;
    Ok(renewed)
}
