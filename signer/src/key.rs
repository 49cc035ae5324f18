//! One key: read from its armored file, ready to sign.

use std::fmt;
use std::time::SystemTime;

use aws_lc_rs::rsa::KeyPair;
use pgp::composed::{ArmorOptions, Deserializable, DetachedSignature, SignedSecretKey};
use pgp::packet::{PacketTrait, Signature};
use pgp::types::{KeyDetails, KeyVersion, PlainSecretParams, PublicParams, SecretParams};
use rpmfarm_rpmfile::{Certs, verify_detached};
use rsa::pkcs1::EncodeRsaPrivateKey;
use rsa::traits::PublicKeyParts;
use rsa::{BigUint, RsaPrivateKey};

use crate::packet::{self, Issuer, PacketError};

/// Smallest and largest modulus, in bits. EL accepts no less, rpm no more.
const BITS: std::ops::RangeInclusive<usize> = 2048..=4096;

/// Why a key is not usable.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The text is not a secret key, or its own signatures are not valid.
    #[error("not an ASCII-armored OpenPGP secret key: {0}")]
    Unreadable(String),
    /// The key is of a kind that RPM signatures of EL8 and EL9 cannot have.
    #[error("the key is {0}; an RSA key of version 4 with 2048 to 4096 bits is needed")]
    Kind(String),
    /// It is protected by a passphrase, which nobody could type.
    #[error("the key is locked with a passphrase; export it without one")]
    Locked,
    /// Its signatures would not be accepted.
    #[error("the key cannot be used: {0}")]
    Useless(String),
    /// It may not sign.
    #[error("neither the primary key nor a subkey may sign")]
    NotForSigning,
}

/// A key that signs.
pub struct SigningKey {
    pair: KeyPair,
    issuer: Issuer,
    armored: String,
}

impl SigningKey {
    /// Reads an armored secret key. Its primary key signs if it may, else the first subkey
    /// that may.
    ///
    /// # Errors
    /// When it is not readable, locked, of another kind than RSA, or may not sign.
    pub fn from_armored(text: &str) -> Result<Self, KeyError> {
        let unreadable = |error: pgp::errors::Error| KeyError::Unreadable(error.to_string());
        let (secret, _) = SignedSecretKey::from_string(text).map_err(unreadable)?;
        secret.verify_bindings().map_err(unreadable)?;
        let public = secret.to_public_key().to_armored_string(ArmorOptions::default());
        let armored = public.map_err(unreadable)?;
        if primary_may_sign(&secret) {
            let key = &secret.primary_key;
            return Self::new(key, key.secret_params(), armored);
        }
        let may_sign = |signature: &Signature| signature.key_flags().sign();
        let mut subkeys = secret.secret_subkeys.iter();
        let subkey = subkeys.find(|subkey| subkey.signatures.iter().any(may_sign));
        let subkey = &subkey.ok_or(KeyError::NotForSigning)?.key;
        Self::new(subkey, subkey.secret_params(), armored)
    }

    /// Signs something and verifies it as users will. This finds a key that has expired or was
    /// revoked, or whose numbers are damaged, before users do.
    ///
    /// # Errors
    /// When the signature would not be accepted.
    pub fn prove(&self, now: SystemTime) -> Result<(), KeyError> {
        let useless = |error: &dyn fmt::Display| KeyError::Useless(error.to_string());
        let probe = b"rpmfarm-signer";
        let signature = self.sign_detached(probe, now).map_err(|error| useless(&error))?;
        let armored = String::from_utf8_lossy(&signature);
        let certs = Certs::from_armored(self.public()).map_err(|error| useless(&error))?;
        let checked = verify_detached(probe, &armored, &certs, now);
        checked.map(drop).map_err(|error| useless(&error))
    }

    /// The public part, armored, as DNF and RPM import it.
    #[must_use]
    pub fn public(&self) -> &str {
        &self.armored
    }

    /// Fingerprint of the key that signs, hex.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        hex::encode(self.issuer.fingerprint.as_bytes())
    }

    /// A signature packet over bytes, as the signature header of an RPM holds it.
    ///
    /// # Errors
    /// When the signature could not be made.
    pub fn sign(&self, data: &[u8], now: SystemTime) -> Result<Vec<u8>, PacketError> {
        let signature = packet::sign(&self.pair, &self.issuer, data, now)?;
        let mut bytes = Vec::new();
        signature.to_writer_with_header(&mut bytes)?;
        Ok(bytes)
    }

    /// A detached armored signature, as `repomd.xml.asc` is one.
    ///
    /// # Errors
    /// When the signature could not be made.
    pub fn sign_detached(&self, data: &[u8], now: SystemTime) -> Result<Vec<u8>, PacketError> {
        let signature = packet::sign(&self.pair, &self.issuer, data, now)?;
        let detached = DetachedSignature::new(signature);
        Ok(detached.to_armored_bytes(ArmorOptions::default())?)
    }

    fn new(
        key: &impl KeyDetails,
        secret: &SecretParams,
        armored: String,
    ) -> Result<Self, KeyError> {
        let pair = key_pair(key, secret)?;
        let issuer = Issuer { fingerprint: key.fingerprint(), key_id: key.legacy_key_id() };
        Ok(Self { pair, issuer, armored })
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("fingerprint", &self.fingerprint()).finish_non_exhaustive()
    }
}

/// By the newest self-signature of the key with flags; without flags it may do everything.
fn primary_may_sign(secret: &SignedSecretKey) -> bool {
    let users = secret.details.users.iter().flat_map(|user| &user.signatures);
    let signatures = secret.details.direct_signatures.iter().chain(users);
    let newest = signatures.max_by_key(|signature| signature.created().map(|time| time.as_secs()));
    newest.is_none_or(|signature| signature.key_flags().sign() || !signature.key_flags().certify())
}

/// Hands the numbers of a key to AWS-LC, which wants the larger prime first.
fn key_pair(key: &impl KeyDetails, secret: &SecretParams) -> Result<KeyPair, KeyError> {
    let kind = |found: String| KeyError::Kind(found);
    let PublicParams::RSA(public) = key.public_params() else {
        return Err(kind(format!("{:?}", key.algorithm())));
    };
    if key.version() != KeyVersion::V4 {
        return Err(kind(format!("of version {:?}", key.version())));
    }
    let bits = public.key.n().bits();
    if !BITS.contains(&bits) {
        return Err(kind(format!("RSA with {bits} bits")));
    }
    let plain = match secret {
        SecretParams::Plain(PlainSecretParams::RSA(plain)) => plain,
        SecretParams::Encrypted(_) => return Err(KeyError::Locked),
        SecretParams::Plain(_) => return Err(kind(format!("{:?}", key.algorithm()))),
    };
    let (d, p, q, _) = plain.to_bytes();
    let mut primes = vec![BigUint::from_bytes_be(&p), BigUint::from_bytes_be(&q)];
    primes.sort_by(|one, other| other.cmp(one));
    let (n, e) = (public.key.n().clone(), public.key.e().clone());
    let unusable = |error: &dyn fmt::Display| kind(format!("RSA with unusable numbers ({error})"));
    let numbers = RsaPrivateKey::from_components(n, e, BigUint::from_bytes_be(&d), primes)
        .map_err(|error| unusable(&error))?;
    let der = numbers.to_pkcs1_der().map_err(|error| unusable(&error))?;
    KeyPair::from_der(der.as_bytes()).map_err(|error| unusable(&error))
}
