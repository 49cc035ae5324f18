//! The public keys for checking signatures, and when each of them may be trusted.

use pgp::composed::{Deserializable, SignedPublicKey, SignedPublicSubKey};
use pgp::packet::Signature;
use pgp::types::{KeyDetails, Timestamp};

use crate::{Result, RpmError};

const BEGIN: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";

/// Public keys in the form in which distributions publish them.
#[derive(Debug, Clone, Default)]
pub struct Certs {
    keys: Vec<SignedPublicKey>,
}

/// The issuer that a signature names.
#[derive(Clone, Copy)]
pub(crate) enum Issuer<'a> {
    Primary(&'a SignedPublicKey),
    Subkey(&'a SignedPublicKey, &'a SignedPublicSubKey),
}

impl Certs {
    /// Parses ASCII armor: one block or several, each with one key or several, as in a file below
    /// `/etc/pki/rpm-gpg`.
    ///
    /// # Errors
    /// When it has no key, or a key's own signatures are invalid.
    pub fn from_armored(text: &str) -> Result<Self> {
        let mut keys = Vec::new();
        let starts: Vec<usize> = text.match_indices(BEGIN).map(|(at, _)| at).collect();
        for (number, start) in starts.iter().enumerate() {
            let end = starts.get(number + 1).copied().unwrap_or(text.len());
            let (block, _) = SignedPublicKey::from_string_many(&text[*start..end]).map_err(bad)?;
            for key in block {
                let key = key.map_err(bad)?;
                key.verify_bindings().map_err(bad)?;
                keys.push(key);
            }
        }
        if keys.is_empty() {
            return Err(RpmError::Certs("no ASCII-armored public key in the text".into()));
        }
        Ok(Self { keys })
    }

    /// The keys of both.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.keys.extend(other.keys);
        self
    }

    /// Fingerprints of the primary keys, hex.
    #[must_use]
    pub fn fingerprints(&self) -> Vec<String> {
        self.keys.iter().map(|key| hex::encode(key.fingerprint().as_bytes())).collect()
    }

    /// The keys that may have made a signature, according to its issuer.
    pub(crate) fn issuers_of<'a>(
        &'a self,
        signature: &'a Signature,
    ) -> impl Iterator<Item = Issuer<'a>> {
        let primaries = self.keys.iter().map(Issuer::Primary);
        let subkeys = self.keys.iter().flat_map(|key| {
            key.public_subkeys.iter().map(move |subkey| Issuer::Subkey(key, subkey))
        });
        primaries.chain(subkeys).filter(|issuer| issuer.is_named_in(signature))
    }
}

impl Issuer<'_> {
    /// Checks a signature over data.
    pub(crate) fn verify(&self, signature: &Signature, data: &[u8]) -> pgp::errors::Result<()> {
        match self {
            Self::Primary(key) => signature.verify(&key.primary_key, data),
            Self::Subkey(_, subkey) => signature.verify(&subkey.key, data),
        }
    }

    /// Key id: 16 hex digits.
    pub(crate) fn key_id(&self) -> String {
        format!("{}", self.details().legacy_key_id())
    }

    /// Fingerprint in lower-case hex.
    pub(crate) fn fingerprint(&self) -> String {
        hex::encode(self.details().fingerprint().as_bytes())
    }

    /// Why this key must not be trusted at a time; `None` when it may be.
    pub(crate) fn refusal(&self, now: Timestamp) -> Option<String> {
        let primary = match self {
            Self::Primary(key) | Self::Subkey(key, _) => key,
        };
        if !primary.details.revocation_signatures.is_empty() {
            return Some("the key is revoked".into());
        }
        if expired(&primary.primary_key, self_signature(primary), now) {
            return Some("the key has expired".into());
        }
        match self {
            Self::Primary(_) => {
                let flags = self_signature(primary).filter(|signature| has_flags(signature));
                (flags.is_some_and(|signature| !signature.key_flags().sign()))
                    .then(|| "the key is not one for signing".into())
            }
            Self::Subkey(_, subkey) => {
                let binding = newest(subkey.signatures.iter());
                if expired(&subkey.key, binding, now) {
                    return Some("the subkey has expired".into());
                }
                (!binding.is_some_and(|binding| binding.key_flags().sign()))
                    .then(|| "the subkey is revoked or not one for signing".into())
            }
        }
    }

    /// The time when the key was made.
    pub(crate) fn created(&self) -> Timestamp {
        self.details().created_at()
    }

    fn details(&self) -> &dyn KeyDetails {
        match self {
            Self::Primary(key) => &key.primary_key,
            Self::Subkey(_, subkey) => &subkey.key,
        }
    }

    fn is_named_in(&self, signature: &Signature) -> bool {
        let (fingerprint, key_id) = (self.details().fingerprint(), self.details().legacy_key_id());
        signature.issuer_fingerprint().contains(&&fingerprint)
            || signature.issuer_key_id().contains(&&key_id)
    }
}

/// The newest signature of a primary key over itself or one of its user ids.
fn self_signature(key: &SignedPublicKey) -> Option<&Signature> {
    let users = key.details.users.iter().flat_map(|user| &user.signatures);
    newest(
        key.details
            .direct_signatures
            .iter()
            .chain(users)
            .filter(|signature| Issuer::Primary(key).is_named_in(signature)),
    )
}

fn newest<'a>(signatures: impl Iterator<Item = &'a Signature>) -> Option<&'a Signature> {
    signatures.max_by_key(|signature| signature.created().map(Timestamp::as_secs))
}

/// Whether a key has expired, by the newest signature that binds it. An expiration of 0 means that
/// it never does.
fn expired(key: &impl KeyDetails, binding: Option<&Signature>, now: Timestamp) -> bool {
    let lifetime =
        binding.and_then(Signature::key_expiration_time).map_or(0, |time| time.as_secs());
    let end = u64::from(key.created_at().as_secs()) + u64::from(lifetime);
    lifetime != 0 && u64::from(now.as_secs()) >= end
}

fn has_flags(signature: &Signature) -> bool {
    use pgp::packet::SubpacketData::KeyFlags;
    let mut subpackets =
        signature.config().into_iter().flat_map(|config| config.hashed_subpackets());
    subpackets.any(|subpacket| matches!(subpacket.data, KeyFlags(_)))
}

fn bad(error: pgp::errors::Error) -> RpmError {
    RpmError::Certs(rpmfarm_core::name::shown(&error.to_string()))
}
