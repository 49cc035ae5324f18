//! What the TLS listener needs: the coordinator's certificate, which renews itself, and who counts
//! as a client.
//!
//! The certificate lives in memory only: each start makes a new one, from the CA that clients
//! trust. A client may show no certificate (people with a token do not); one that it shows must
//! come from the farm's CA. Whether it still counts is asked at each call, see `guard`.

use std::sync::Arc;

use anyhow::Context as _;
use parking_lot::RwLock;
use rpmfarm_core::enrolment::renewal_us;
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::server::{
    ClientHello, NoServerSessionStorage, ResolvesServerCert, ServerConfig, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;

use super::Authority;

/// How long the coordinator's own certificate holds, in seconds: 30 days.
pub const SERVER_SECONDS: u64 = 30 * 24 * 3600;

/// The coordinator's certificate as it is now.
pub struct ServerCertificate {
    authority: Arc<Authority>,
    names: Vec<String>,
    seconds: u64,
    now: RwLock<Current>,
}

struct Current {
    key: Arc<CertifiedKey>,
    renewal_us: i64,
}

impl std::fmt::Debug for ServerCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerCertificate").field("names", &self.names).finish_non_exhaustive()
    }
}

impl ServerCertificate {
    /// Makes a certificate under names and addresses that holds for so many seconds.
    ///
    /// # Errors
    /// When a name cannot stand in a certificate.
    pub fn new(
        authority: Arc<Authority>,
        names: Vec<String>,
        seconds: u64,
        now_us: i64,
    ) -> anyhow::Result<Self> {
        let now = RwLock::new(current(&authority, &names, seconds, now_us)?);
        Ok(Self { authority, names, seconds, now })
    }

    /// Makes a new one when two thirds of its time are over. Answers whether it did.
    ///
    /// # Errors
    /// When none can be made; the old one stays.
    pub fn renew(&self, now_us: i64) -> anyhow::Result<bool> {
        let due = self.now.read().renewal_us;
        if now_us < due {
            return Ok(false);
        }
        let fresh = current(&self.authority, &self.names, self.seconds, now_us)?;
        *self.now.write() = fresh;
        Ok(true)
    }

    /// The first of its names.
    #[must_use]
    pub fn name(&self) -> &str {
        self.names.first().map_or("localhost", String::as_str)
    }
}

fn current(
    authority: &Authority,
    names: &[String],
    seconds: u64,
    now_us: i64,
) -> anyhow::Result<Current> {
    let made = authority.server(names, now_us, seconds)?;
    let key = CertifiedKey::from_der(made.chain, made.key, &provider())
        .context("the coordinator's certificate")?;
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
    let ends_us = now_us.saturating_add(seconds.saturating_mul(1_000_000));
    Ok(Current { key: Arc::new(key), renewal_us: renewal_us(now_us, ends_us) })
}

impl ResolvesServerCert for ServerCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.now.read().key.clone())
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// How connections are accepted.
///
/// # Errors
/// When the CA's certificate is none.
pub fn config(certificate: Arc<ServerCertificate>) -> anyhow::Result<ServerConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.authority.certificate().clone()).context("the CA's certificate")?;
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
        .allow_unauthenticated()
        .build()?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(clients)
        .with_cert_resolver(certificate);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // A resumed session would carry a certificate that is not looked at again.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_coordinators_certificate_is_renewed_before_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Arc::new(Authority::open(dir.path(), 0).unwrap());
        let names = vec!["farm.example.org".to_owned(), "10.0.0.1".to_owned()];
        let server = ServerCertificate::new(authority.clone(), names, 30, 0).unwrap();
        let shown = |server: &ServerCertificate| server.now.read().key.cert[0].clone();
        let first = shown(&server);
        assert!(!server.renew(19_000_000).unwrap());
        assert_eq!(shown(&server), first);
        assert!(server.renew(20_000_000).unwrap());
        assert_ne!(shown(&server), first);
        assert!(!server.renew(39_000_000).unwrap());

        let bad = ServerCertificate::new(authority, vec!["é".into()], 30, 0).unwrap_err();
        assert!(format!("{bad:#}").contains("--tls-name é"), "{bad:#}");
    }
}
