//! The parts of the TLS listener: the coordinator's certificate, which renews itself, and the
//! verification of clients.
//!
//! The certificate is in memory only: each start makes a new one, from the CA that clients trust. A
//! client may show no certificate (people with a token do not); one that it shows must come from
//! the farm's CA. Whether it is still valid is checked at each call, see `guard`.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use parking_lot::RwLock;
use rpmfarm_core::Timestamp;
use rpmfarm_core::enrolment::renewal;
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::server::{
    ClientHello, NoServerSessionStorage, ResolvesServerCert, ServerConfig, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;

use super::Authority;

/// How long the coordinator's own certificate is valid, in seconds: 30 days.
pub const SERVER_SECONDS: u64 = 30 * 24 * 3600;

/// The coordinator's present certificate.
pub struct ServerCertificate {
    authority: Arc<Authority>,
    names: Vec<String>,
    seconds: u64,
    now: RwLock<CurrentCertificate>,
}

struct CurrentCertificate {
    key: Arc<CertifiedKey>,
    renewal: Timestamp,
}

impl std::fmt::Debug for ServerCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerCertificate").field("names", &self.names).finish_non_exhaustive()
    }
}

impl ServerCertificate {
    /// Makes a certificate for names and addresses that is valid for so many seconds.
    ///
    /// # Errors
    /// When a name cannot stand in a certificate.
    pub fn new(
        authority: Arc<Authority>,
        names: Vec<String>,
        seconds: u64,
        now: Timestamp,
    ) -> anyhow::Result<Self> {
        let now = RwLock::new(current(&authority, &names, seconds, now)?);
        Ok(Self { authority, names, seconds, now })
    }

    /// Renews the certificate after two thirds of its validity. Returns whether it did.
    ///
    /// # Errors
    /// When no certificate can be made; the old one stays.
    pub fn renew(&self, now: Timestamp) -> anyhow::Result<bool> {
        let due = self.now.read().renewal;
        if now < due {
            return Ok(false);
        }
        let fresh = current(&self.authority, &self.names, self.seconds, now)?;
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
    now: Timestamp,
) -> anyhow::Result<CurrentCertificate> {
    let made = authority.server(names, now, seconds)?;
    let key = CertifiedKey::from_der(made.chain, made.key, &provider())
        .context("the coordinator's certificate")?;
    let ends = now + Duration::from_secs(seconds);
    Ok(CurrentCertificate { key: Arc::new(key), renewal: renewal(now, ends) })
}

impl ResolvesServerCert for ServerCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.now.read().key.clone())
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The TLS configuration of the listener.
///
/// # Errors
/// When the CA's certificate is not valid.
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
    // Sessions are not resumed: a resumed one would carry a client certificate that is not checked
    // again.
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
        let authority = Arc::new(Authority::open(dir.path(), Timestamp::ZERO).unwrap());
        let names = vec!["farm.example.org".to_owned(), "10.0.0.1".to_owned()];
        let server = ServerCertificate::new(authority.clone(), names, 30, Timestamp::ZERO).unwrap();
        let shown = |server: &ServerCertificate| server.now.read().key.cert[0].clone();
        let first = shown(&server);
        let second = |number| Timestamp::ZERO + Duration::from_secs(number);
        assert!(!server.renew(second(19)).unwrap());
        assert_eq!(shown(&server), first);
        assert!(server.renew(second(20)).unwrap());
        assert_ne!(shown(&server), first);
        assert!(!server.renew(second(39)).unwrap());

        let bad =
            ServerCertificate::new(authority, vec!["é".into()], 30, Timestamp::ZERO).unwrap_err();
        assert!(format!("{bad:#}").contains("--tls-name é"), "{bad:#}");
    }
}
