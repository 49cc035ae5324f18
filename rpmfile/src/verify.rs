//! Verifies signatures: of an RPM's header, and detached ones such as `repomd.xml.asc`.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use pgp::armor::{self, BlockType};
use pgp::composed::{Deserializable, DetachedSignature};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Packet, PacketParser, Signature, SignatureType};
use pgp::types::Timestamp;
use rpmfarm_core::Sha256;

use crate::headers::Headers;
use crate::{Certs, Result, RpmError, digests};

/// How far the time of a signature may be in the future, in seconds: clocks differ.
const SKEW: u32 = 3600;

/// A valid signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedHeader {
    /// Id of its key, hex.
    pub key_id: String,
    /// Fingerprint of its key, hex.
    pub fingerprint: String,
    /// The time in the signature.
    pub created: SystemTime,
    /// SHA-256 of the signed bytes: for a package, its main header.
    pub signed: Sha256,
}

/// Checks that an RPM's header is signed by one of the keys. The payload is not read: together with
/// [`crate::inspect`] the whole file is covered.
///
/// # Errors
/// When the package is not signed, or by no known key that may be trusted, or with SHA-1 or MD5;
/// when a digest of the header does not match or the headers are malformed.
pub fn verify_signature(path: &Path, certs: &Certs, now: SystemTime) -> Result<VerifiedHeader> {
    let file = File::open(path).map_err(RpmError::io("opening the package"))?;
    let headers = Headers::read(&mut BufReader::new(file))?;
    digests::check_header(&headers.metadata, headers.main())?;
    let raw = headers.metadata.raw_signatures().map_err(|error| RpmError::Signature {
        key: "unknown".into(),
        reason: rpmfarm_core::name::shown(&error.to_string()),
    })?;
    let mut result = Err(RpmError::Unsigned);
    for bytes in raw {
        result = parse(&bytes).and_then(|signature| check(&signature, headers.main(), certs, now));
        if result.is_ok() {
            break;
        }
    }
    result
}

/// Checks a detached armored signature over data, such as `repomd.xml.asc`.
///
/// # Errors
/// When it has no signature by a known key that may be trusted, or the signature does not match.
pub fn verify_detached(
    data: &[u8],
    armored: &str,
    certs: &Certs,
    now: SystemTime,
) -> Result<VerifiedHeader> {
    let (signatures, _) = DetachedSignature::from_string_many(armored).map_err(unreadable)?;
    let mut result = Err(RpmError::Unsigned);
    for detached in signatures {
        result = detached
            .map_err(unreadable)
            .and_then(|detached| check(&detached.signature, data, certs, now));
        if result.is_ok() {
            break;
        }
    }
    result
}

/// Joins detached signatures of the same data by several keys into one: a client that knows one of
/// the keys finds its signature. Both are ASCII-armored.
///
/// # Errors
/// When one of the texts cannot be read.
pub fn join_detached(armored: &[String]) -> Result<String> {
    let mut all = Vec::new();
    for text in armored {
        let (signatures, _) = DetachedSignature::from_string_many(text).map_err(unreadable)?;
        for signature in signatures {
            all.push(signature.map_err(unreadable)?);
        }
    }
    let mut joined = Vec::new();
    armor::write(&all, BlockType::Signature, &mut joined, None, true).map_err(unreadable)?;
    Ok(String::from_utf8_lossy(&joined).into_owned())
}

fn parse(bytes: &[u8]) -> Result<Signature> {
    match PacketParser::new(bytes).next() {
        Some(Ok(Packet::Signature(signature))) => Ok(signature),
        Some(Err(error)) => Err(unreadable(error)),
        _ => {
            Err(RpmError::Signature { key: "unknown".into(), reason: "is not a signature".into() })
        }
    }
}

fn check(
    signature: &Signature,
    data: &[u8],
    certs: &Certs,
    now: SystemTime,
) -> Result<VerifiedHeader> {
    let key = issuer_text(signature);
    let refused = |reason: String| RpmError::Signature { key: key.clone(), reason };
    let now = timestamp(now);
    let created = acceptable(signature, now).map_err(refused)?;
    let mut reason = "the key is not among those that are known".to_owned();
    for issuer in certs.issuers_of(signature) {
        if let Err(error) = issuer.verify(signature, data) {
            reason = rpmfarm_core::name::shown(&format!("does not match ({error})"));
        } else if created < issuer.created() {
            reason = "is older than its key".into();
        } else if let Some(refusal) = issuer.refusal(now) {
            reason = refusal;
        } else {
            return Ok(VerifiedHeader {
                key_id: issuer.key_id(),
                fingerprint: issuer.fingerprint(),
                created: UNIX_EPOCH + std::time::Duration::from_secs(created.as_secs().into()),
                signed: Sha256::compute(data),
            });
        }
    }
    Err(refused(reason))
}

/// Checks everything about a signature that needs no key. Returns its time.
fn acceptable(signature: &Signature, now: Timestamp) -> Result<Timestamp, String> {
    use HashAlgorithm::{Sha3_256, Sha3_512, Sha224, Sha256, Sha384, Sha512};
    if signature.typ() != Some(SignatureType::Binary) {
        return Err("is not a signature over a document".into());
    }
    match signature.hash_alg() {
        Some(Sha224 | Sha256 | Sha384 | Sha512 | Sha3_256 | Sha3_512) => {}
        Some(weak) => return Err(format!("uses {weak}, which is not accepted")),
        None => return Err("is of an unknown version".into()),
    }
    let created = signature.created().ok_or("has no time")?;
    if created.as_secs() > now.as_secs().saturating_add(SKEW) {
        return Err("was made in the future".into());
    }
    let lifetime = signature.signature_expiration_time().map_or(0, |time| time.as_secs());
    let end = u64::from(created.as_secs()) + u64::from(lifetime);
    if lifetime != 0 && u64::from(now.as_secs()) >= end {
        return Err("has expired".into());
    }
    Ok(created)
}

fn issuer_text(signature: &Signature) -> String {
    let id = signature.issuer_key_id().first().map(|id| format!("{id}"));
    let fingerprint = || signature.issuer_fingerprint().first().map(|f| hex::encode(f.as_bytes()));
    id.or_else(fingerprint).unwrap_or_else(|| "unknown".into())
}

/// OpenPGP's seconds; they end in 2106.
fn timestamp(time: SystemTime) -> Timestamp {
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    Timestamp::from_secs(u32::try_from(seconds).unwrap_or(u32::MAX))
}

fn unreadable(error: pgp::errors::Error) -> RpmError {
    let reason = format!("cannot be read ({error})");
    RpmError::Signature { key: "unknown".into(), reason: rpmfarm_core::name::shown(&reason) }
}
