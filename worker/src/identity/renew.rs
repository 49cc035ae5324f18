//! Further certificates, each before the one in use ends. Builds do not notice.

use std::time::Duration;

use anyhow::{Context as _, Result};
use rpmfarm_core::enrolment::renewal_us;
use rpmfarm_daemon::now_us;
use rpmfarm_proto::v1::RenewRequest;

use super::{Credentials, IdentityFile, Request};
use crate::transfer::Connection;
use crate::transfer::channel::pause;

/// The clock is looked at so often at least: it may be set.
const LOOK: Duration = Duration::from_secs(600);

/// How long the coordinator may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Renews the certificate whenever it is due, for ever.
pub async fn keep(connection: Connection, file: IdentityFile, mut credentials: Credentials) {
    let mut tries = 0;
    loop {
        let due = renewal_us(credentials.issued_us, credentials.ends_us);
        let left = Duration::from_micros(due.saturating_sub(now_us()).max(0).unsigned_abs());
        if !left.is_zero() {
            tokio::time::sleep(left.min(LOOK)).await;
            continue;
        }
        match renew(&connection, &file, &credentials).await {
            Ok(renewed) => {
                tracing::info!("the certificate was renewed");
                (credentials, tries) = (renewed, 0);
            }
            Err(error) => {
                let left = credentials.ends_us.saturating_sub(now_us()) / 1_000_000;
                tracing::warn!(
                    error = format!("{error:#}"),
                    seconds_left = left,
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
    connection: &Connection,
    file: &IdentityFile,
    credentials: &Credentials,
) -> Result<Credentials> {
    let Request { key, request } = Request::new()?;
    let mut client = connection.enrolment();
    let given = tokio::time::timeout(PATIENCE, client.renew(RenewRequest { request }))
        .await
        .context("no answer")?
        .map_err(|status| anyhow::anyhow!("{}", status.message()))?
        .into_inner();
    let renewed = Credentials {
        certificate: given.certificate,
        key,
        issued_us: given.issued_us,
        ends_us: given.ends_us,
        ..credentials.clone()
    };
    // On the disk first: a worker that is killed now starts with it.
    file.write(&renewed)?;
    connection.replace(&renewed)?;
    Ok(renewed)
}
