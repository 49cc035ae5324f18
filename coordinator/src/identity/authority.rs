//! The farm's own certificate authority: a key that never leaves its directory, and the
//! certificates that it signs.
//!
//! It knows no store and no network. `enrol` decides who gets a certificate.

use std::fs;
use std::io::Write as _;
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType, SerialNumber,
};
use rpmfarm_core::name::shown;
use rpmfarm_core::{Sha256, Timestamp};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use time::OffsetDateTime;

/// How long the CA's certificate is valid: 20 years. When it is replaced, every worker must be
/// enrolled again.
const AUTHORITY: Duration = Duration::from_secs(20 * 365 * 24 * 3600);

/// How long before the present certificates begin to be valid, for hosts whose clocks are slow.
const SKEW: Duration = Duration::from_secs(5 * 60);

pub struct Authority {
    certificate: CertificateDer<'static>,
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate that was made.
#[derive(Debug, Clone)]
pub struct IssuedCertificate {
    /// SHA-256 of its DER.
    pub fingerprint: Sha256,
    /// Hex.
    pub serial: String,
    pub pem: String,
    /// SHA-256 of the public key in it.
    pub key: Sha256,
}

/// A certificate for the coordinator itself, with its key.
pub struct ServerIdentity {
    /// The certificate, and the CA's after it.
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
}

/// A malformed certificate signing request, or one that is not signed by its own key.
#[derive(Debug, Clone, thiserror::Error)]
#[error("not a valid certificate signing request: {0}")]
pub struct CsrError(String);

impl Authority {
    /// Opens the authority of a directory, or makes one there.
    ///
    /// # Errors
    /// When its files cannot be read or made, or are broken.
    pub fn open(dir: &Path, now: Timestamp) -> anyhow::Result<Self> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .with_context(|| format!("cannot make {}", dir.display()))?;
        let path = dir.join("ca.key");
        if !path.exists() {
            create(&path, now).with_context(|| format!("cannot make {}", path.display()))?;
        }
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let authority =
            Self::read(&text).with_context(|| format!("{} is broken", path.display()))?;
        // For people: the certificate alone, which is not secret.
        let public = dir.join("ca.pem");
        if fs::read_to_string(&public).ok().as_ref() != Some(&authority.pem) {
            replace(&public, authority.pem.as_bytes(), 0o644)
                .with_context(|| format!("cannot write {}", public.display()))?;
        }
        Ok(authority)
    }

    fn read(text: &str) -> anyhow::Result<Self> {
        let certificate = CertificateDer::from_pem_slice(text.as_bytes())
            .map_err(|error| anyhow::anyhow!("its certificate: {error}"))?;
        let pem = text
            .find("-----BEGIN CERTIFICATE-----")
            .map(|at| text[at..].to_owned())
            .context("it holds no certificate")?;
        let key = KeyPair::from_pem(text).context("its key")?;
        let issuer = Issuer::from_ca_cert_der(&certificate, key).context("its certificate")?;
        Ok(Self { certificate, pem, issuer })
    }

    #[must_use]
    pub const fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The CA's certificate as PEM.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// SHA-256 of the CA's certificate, which workers pin.
    #[must_use]
    pub fn fingerprint(&self) -> Sha256 {
        Sha256::compute(&self.certificate)
    }

    /// A certificate for the coordinator under names and addresses, for so many seconds.
    ///
    /// # Errors
    /// When a name cannot stand in a certificate.
    pub fn server(
        &self,
        names: &[String],
        now: Timestamp,
        seconds: u64,
    ) -> anyhow::Result<ServerIdentity> {
        let key = KeyPair::generate()?;
        let mut params = leaf("rpmfarm coordinator", now, seconds);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        for name in names {
            let name = match name.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName(
                    name.clone().try_into().with_context(|| format!("--tls-name {name}"))?,
                ),
            };
            params.subject_alt_names.push(name);
        }
        let certificate = params.signed_by(&key, &self.issuer)?;
        let chain = vec![certificate.der().clone(), self.certificate.clone()];
        Ok(ServerIdentity { chain, key: PrivatePkcs8KeyDer::from(key.serialize_der()).into() })
    }

    /// A certificate for a worker's key. Only the key is taken from the request; the authority sets
    /// every other field.
    ///
    /// # Errors
    /// When the request is malformed, or is not signed by its key.
    pub fn worker(
        &self,
        request: &str,
        worker: &str,
        now: Timestamp,
        seconds: u64,
    ) -> Result<IssuedCertificate, CsrError> {
        let bad = |error: rcgen::Error| CsrError(shown(&error.to_string()));
        let mut request = CertificateSigningRequestParams::from_pem(request).map_err(bad)?;
        let serial: [u8; 16] = rand::random();
        request.params = leaf(worker, now, seconds);
        request.params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        request.params.serial_number = Some(SerialNumber::from_slice(&serial));
        let certificate = request.signed_by(&self.issuer).map_err(bad)?;
        Ok(IssuedCertificate {
            fingerprint: Sha256::compute(certificate.der()),
            serial: hex::encode(serial),
            pem: certificate.pem(),
            key: key_digest(&request),
        })
    }

    /// SHA-256 of the key of a request.
    ///
    /// # Errors
    /// When the request is malformed, or is not signed by its key.
    pub fn key_of(request: &str) -> Result<Sha256, CsrError> {
        CertificateSigningRequestParams::from_pem(request)
            .map(|request| key_digest(&request))
            .map_err(|error| CsrError(shown(&error.to_string())))
    }
}

fn key_digest(request: &CertificateSigningRequestParams) -> Sha256 {
    use rcgen::PublicKeyData as _;
    Sha256::compute(request.public_key.der_bytes())
}

/// The fields that all certificates of the CA share.
fn leaf(name: &str, now: Timestamp, seconds: u64) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(name);
    params.not_before = at(now - SKEW);
    params.not_after = at(now + Duration::from_secs(seconds));
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    params
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::OrganizationName, "rpmfarm");
    distinguished.push(DnType::CommonName, name);
    distinguished
}

/// A point in time in whole seconds, as certificates have it.
fn at(time: Timestamp) -> OffsetDateTime {
    let seconds = time.as_us().div_euclid(1_000_000);
    OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// Makes a key and its certificate, in one file: either both exist or neither. When several
/// coordinators start at once on one directory, one of them wins and all use its file.
fn create(path: &Path, now: Timestamp) -> anyhow::Result<()> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    let number: [u8; 4] = rand::random();
    params.distinguished_name = named(&format!("rpmfarm CA {}", hex::encode(number)));
    params.not_before = at(now - SKEW);
    params.not_after = at(now + AUTHORITY);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(&key)?;
    let text = format!("{}{}", key.serialize_pem(), certificate.pem());
    let beside = write_beside(path, text.as_bytes(), 0o600)?;
    let linked = fs::hard_link(&beside, path);
    fs::remove_file(&beside)?;
    match linked {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        linked => Ok(linked?),
    }
}

fn replace(path: &Path, bytes: &[u8], mode: u32) -> std::io::Result<()> {
    fs::rename(write_beside(path, bytes, mode)?, path)
}

fn write_beside(path: &Path, bytes: &[u8], mode: u32) -> std::io::Result<std::path::PathBuf> {
    let number: [u8; 8] = rand::random();
    let beside = path.with_extension(format!("new-{}", hex::encode(number)));
    let mut file = fs::OpenOptions::new().create_new(true).write(true).mode(mode).open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(beside)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const NOW: Timestamp = Timestamp::from_us(1_800_000_000_000_000);

    fn request(key: &KeyPair, name: &str) -> String {
        let mut params = CertificateParams::default();
        params.distinguished_name = named(name);
        params.serialize_request(key).unwrap().pem().unwrap()
    }

    #[test]
    fn made_once_private_and_the_same_again() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("tls");
        let first = Authority::open(&dir, NOW).unwrap();
        let second = Authority::open(&dir, NOW.next()).unwrap();
        assert_eq!(first.fingerprint(), second.fingerprint());
        let mode = |name: &str| {
            let path = if name.is_empty() { dir.clone() } else { dir.join(name) };
            fs::metadata(path).unwrap().permissions().mode() & 0o777
        };
        assert_eq!((mode(""), mode("ca.key")), (0o700, 0o600));
        let public = fs::read_to_string(dir.join("ca.pem")).unwrap();
        assert!(public.starts_with("-----BEGIN CERTIFICATE") && !public.contains("KEY"));
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 2, "nothing stays beside");

        fs::write(dir.join("ca.key"), "x").unwrap();
        let error = Authority::open(&dir, NOW).err().unwrap().to_string();
        assert!(error.contains("ca.key is broken"), "{error}");
    }

    #[test]
    fn a_worker_gets_our_name_for_its_key() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::open(dir.path(), NOW).unwrap();
        let key = KeyPair::generate().unwrap();
        let asked = request(&key, "somebody else");
        let issued = authority.worker(&asked, "w1", NOW, 60).unwrap();
        assert_eq!(issued.key, Authority::key_of(&asked).unwrap());
        let der = CertificateDer::from_pem_slice(issued.pem.as_bytes()).unwrap();
        assert_eq!(Sha256::compute(&der), issued.fingerprint);
        let text = String::from_utf8_lossy(&der).into_owned();
        assert!(text.contains("w1") && !text.contains("somebody else"));

        let mut broken = asked.into_bytes();
        let middle = broken.len() / 2;
        broken[middle] = if broken[middle] == b'A' { b'B' } else { b'A' };
        let broken = String::from_utf8(broken).unwrap();
        assert!(authority.worker(&broken, "w1", NOW, 60).is_err());
        assert!(authority.worker("x", "w1", NOW, 60).is_err());
    }
}
