//! Who this worker is for its farm: a key that it made itself, the certificate that it got for it,
//! and the farm's CA.
//!
//! `file` keeps them, `pin` finds the CA that a token names, `enrol` gets the first certificate
//! and `renew` the further ones.

pub mod enrol;
pub mod file;
pub mod pin;
pub mod renew;

pub use file::{Credentials, IdentityFile};

use anyhow::Context as _;
use rcgen::{CertificateParams, DistinguishedName, KeyPair};

/// A new key, and the request for a certificate that it signs.
pub(crate) struct Request {
    /// The key, PEM. It never leaves this host.
    pub(crate) key: String,
    /// PKCS #10, PEM.
    pub(crate) request: String,
}

impl Request {
    /// Makes both.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let key = KeyPair::generate().context("cannot make a key")?;
        let mut params = CertificateParams::default();
        // What the certificate says is the coordinator's to decide.
        params.distinguished_name = DistinguishedName::new();
        let request = params.serialize_request(&key)?.pem()?;
        Ok(Self { key: key.serialize_pem(), request })
    }
}
