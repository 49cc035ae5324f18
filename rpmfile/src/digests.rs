//! Digests in the signature header, compared with the bytes that they cover.

use std::io::Read;

use md5::Md5;
use rpm::{IndexSignatureTag, PackageMetadata};
use rpmfarm_core::Sha256;
use sha1::Sha1;
use sha2::Digest;

use crate::{Result, RpmError};

const CHUNK: usize = 256 << 10;

/// Checks the digests of the main header; it must have the SHA-256.
pub(crate) fn check_header(metadata: &PackageMetadata, header: &[u8]) -> Result<Sha256> {
    let found = Sha256::compute(header);
    let expected = text(metadata, IndexSignatureTag::RPMSIGTAG_SHA256)
        .ok_or(RpmError::NoDigest { what: "SHA-256 digest of the header" })?;
    equal("SHA-256 of the header", expected, found.hex())?;
    if let Some(expected) = text(metadata, IndexSignatureTag::RPMSIGTAG_SHA1) {
        equal("SHA-1 of the header", expected, hex::encode(Sha1::digest(header)))?;
    }
    Ok(found)
}

/// Reads a payload to its end: its SHA-256 and its length. The legacy MD5 over header and payload
/// is checked on the way if there is one: rpm still checks it, and would refuse the package.
pub(crate) fn check_payload(
    metadata: &PackageMetadata,
    header: &[u8],
    payload: &mut impl Read,
) -> Result<(Sha256, u64)> {
    let legacy = metadata.signature.get_entry_data_as_binary(IndexSignatureTag::RPMSIGTAG_MD5).ok();
    let mut md5 = legacy.map(|_| Md5::new_with_prefix(header));
    let mut sha256 = sha2::Sha256::new();
    let mut buffer = vec![0; CHUNK];
    let mut len = 0;
    loop {
        let count = payload.read(&mut buffer).map_err(RpmError::io("reading the payload"))?;
        if count == 0 {
            break;
        }
        sha256.update(&buffer[..count]);
        if let Some(md5) = &mut md5 {
            md5.update(&buffer[..count]);
        }
        len += count as u64;
    }
    if let (Some(expected), Some(md5)) = (legacy, md5) {
        equal("MD5 of header and payload", &hex::encode(expected), hex::encode(md5.finalize()))?;
    }
    Ok((Sha256::from_bytes(sha256.finalize().into()), len))
}

/// An error that names both when two digests differ.
pub(crate) fn equal(what: &'static str, expected: &str, found: String) -> Result<()> {
    if expected == found {
        return Ok(());
    }
    Err(RpmError::Digest { what, expected: rpmfarm_core::name::shown(expected), found })
}

fn text(metadata: &PackageMetadata, tag: IndexSignatureTag) -> Option<&str> {
    metadata.signature.get_entry_data_as_string(tag).ok()
}
