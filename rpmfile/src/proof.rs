//! Whether a file matches its own digests, whatever else it contains.
//!
//! This decides whose fault an unreadable package is: if its digests match, it was built that way
//! and arrived complete. So this module reads only what it needs, without a parser.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use rpmfarm_core::Sha256;
use sha2::Digest as _;

use crate::blob;
use crate::headers::RawHeader;

/// `RPMSIGTAG_SHA256`: over the main header.
const HEADER_SHA256: u32 = 273;
/// `RPMTAG_PAYLOADDIGEST`: over the compressed payload.
const PAYLOAD_DIGEST: u32 = 5092;
/// `RPMTAG_PAYLOADDIGESTALGO`: the algorithm of `PAYLOAD_DIGEST`.
const PAYLOAD_ALGORITHM: u32 = 5093;
/// `PGPHASHALGO_SHA256`: SHA-256 as a value of `PAYLOAD_ALGORITHM`.
const SHA256: u32 = 8;

/// Whether the SHA-256 digests of main header and payload exist and match.
#[must_use]
pub fn is_intact(path: &Path) -> bool {
    let Ok(file) = File::open(path) else { return false };
    let mut reader = BufReader::new(file);
    let Ok(raw) = RawHeader::read(&mut reader) else { return false };
    let first_text = |blob: &[u8], tag| blob::texts(blob, tag).first().map(|text| text.to_vec());
    let header = Sha256::compute(raw.main()).hex();
    if first_text(raw.signature(), HEADER_SHA256).as_deref() != Some(header.as_bytes())
        || blob::words(raw.main(), PAYLOAD_ALGORITHM).first().is_some_and(|word| *word != SHA256)
    {
        return false;
    }
    let mut hasher = sha2::Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => hasher.update(&buffer[..count]),
            Err(_) => return false,
        }
    }
    let payload = Sha256::from_bytes(hasher.finalize().into()).hex();
    first_text(raw.main(), PAYLOAD_DIGEST).as_deref() == Some(payload.as_bytes())
}
