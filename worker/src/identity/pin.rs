//! Finds the CA that a token names: the coordinator sends it with its own certificate, and only one
//! with the right fingerprint is trusted.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use parking_lot::Mutex;
use rpmfarm_core::Sha256;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tonic::transport::Uri;

/// How long the coordinator may take to show its certificate.
const PATIENCE: Duration = Duration::from_secs(15);

/// The CA certificate with a fingerprint, in DER, from the coordinator at an address.
///
/// # Errors
/// When nobody answers, when the coordinator's certificate does not come from this CA, or is for
/// another name.
pub async fn authority(server: &str, fingerprint: Sha256) -> Result<Vec<u8>> {
    let uri: Uri = server.parse().with_context(|| format!("`{server}` is not an address"))?;
    let (Some("https"), Some(host)) = (uri.scheme_str(), uri.host()) else {
        bail!("`{server}` is not the address of a coordinator with TLS (https://HOST:PORT)");
    };
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = ServerName::try_from(host.clone())
        .with_context(|| format!("`{host}` cannot be in a certificate"))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let pinned = Arc::new(PinnedAuthority {
        fingerprint,
        provider: provider.clone(),
        found: Mutex::default(),
    });
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(pinned.clone())
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let shaken = async {
        let stream = TcpStream::connect((host.as_str(), uri.port_u16().unwrap_or(443))).await?;
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    };
    let shaken = timeout(PATIENCE, shaken).await;
    shaken
        .map_err(|_| anyhow::anyhow!("no answer within {} s", PATIENCE.as_secs()))
        .and_then(|shaken| shaken.map_err(explained))
        .with_context(|| format!("cannot trust the coordinator at {server}"))?;
    let found = pinned.found.lock().take();
    found.context("the coordinator showed no certificate")
}

/// Explains a failed handshake to people who enrol a worker.
fn explained(error: std::io::Error) -> anyhow::Error {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(Error::InvalidCertificate(CertificateError::UnknownIssuer)) => anyhow::anyhow!(
            "its certificate does not come from the CA that the token names: the token is another \
             farm's, or somebody stands between"
        ),
        Some(Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        )) => anyhow::anyhow!(
            "its certificate is not for this name: start the coordinator with --tls-name, or use \
             a name that it has"
        ),
        Some(Error::InvalidCertificate(
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. },
        )) => anyhow::anyhow!("its certificate is not valid now: are the clocks right?"),
        _ => error.into(),
    }
}

/// Trusts a server whose certificate comes from the one CA.
#[derive(Debug)]
struct PinnedAuthority {
    fingerprint: Sha256,
    provider: Arc<CryptoProvider>,
    found: Mutex<Option<Vec<u8>>>,
}

impl ServerCertVerifier for PinnedAuthority {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let authority = intermediates
            .iter()
            .find(|certificate| Sha256::compute(certificate) == self.fingerprint)
            .ok_or(Error::InvalidCertificate(CertificateError::UnknownIssuer))?;
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone().into_owned())?;
        let verified =
            WebPkiServerVerifier::builder_with_provider(roots.into(), self.provider.clone())
                .build()
                .map_err(|error| Error::General(error.to_string()))?
                .verify_server_cert(end_entity, &[], server_name, ocsp_response, now)?;
        *self.found.lock() = Some(authority.to_vec());
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
