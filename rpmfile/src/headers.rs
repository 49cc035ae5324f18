//! Reads lead, signature header and main header of an RPM, with limits. Owns where each begins and
//! ends; the other modules read their content.

use std::io::{self, Read};
use std::ops::Range;

use rpm::PackageMetadata;

use crate::blob::{self, HeaderKind, INTRO};
use crate::{Result, RpmError, view};

/// Largest header that is accepted, in bytes: rpm reads none that is larger (`HEADER_DATA_MAX` in
/// lib/header.c). A package with 100,000 files has about 13 MiB.
pub const MAX_HEADER: u64 = (256 << 20) - 1;
const SIGNATURE: HeaderKind = HeaderKind { place: "signature header", limit: MAX_HEADER };
const MAIN: HeaderKind = HeaderKind { place: "main header", limit: MAX_HEADER };
/// A header whose strings were converted to UTF-8; each byte may have become two.
pub(crate) const VIEW: HeaderKind =
    HeaderKind { place: "main header in UTF-8", limit: 3 * MAX_HEADER };
const LEAD: usize = 96;
const LEAD_MAGIC: [u8; 4] = [0xed, 0xab, 0xee, 0xdb];

/// The bytes before the payload of an RPM. The frames of both headers are valid; their content was
/// not read.
pub(crate) struct RawHeader {
    bytes: Vec<u8>,
    /// Where the padding after the signature header begins.
    signature_end: usize,
    /// Where the main header begins.
    start: usize,
}

impl RawHeader {
    /// Reads the headers; the reader is left at the first byte of the payload.
    pub(crate) fn read(reader: &mut impl Read) -> Result<Self> {
        let mut bytes = Vec::with_capacity(16 << 10);
        read_header(reader, &mut bytes, LEAD, "lead")?;
        if bytes[..4] != LEAD_MAGIC {
            return Err(RpmError::NotRpm);
        }
        read_blob(reader, &mut bytes, SIGNATURE)?;
        let signature_end = bytes.len();
        let padding = bytes.len().next_multiple_of(8) - bytes.len();
        read_header(reader, &mut bytes, padding, SIGNATURE.place)?;
        let start = bytes.len();
        read_blob(reader, &mut bytes, MAIN)?;
        Ok(Self { bytes, signature_end, start })
    }

    pub(crate) fn signature(&self) -> &[u8] {
        &self.bytes[LEAD..self.signature_end]
    }

    pub(crate) fn main(&self) -> &[u8] {
        &self.bytes[self.start..]
    }
}

/// The headers of an RPM.
#[derive(Debug)]
pub struct Headers {
    /// The parsed tags. Strings that are not UTF-8 are read as Latin-1, as createrepo_c does, for
    /// display and messages. [`main`](Self::main) has the bytes of the file.
    pub metadata: PackageMetadata,
    /// Position of the main header in the file: first byte, and the first after it.
    pub header: Range<u64>,
    bytes: Vec<u8>,
}

impl Headers {
    /// Reads the headers; the reader is left at the first byte of the payload.
    ///
    /// # Errors
    /// When the file is not an RPM, or ends early, or its headers are malformed or too large.
    pub fn read(reader: &mut impl Read) -> Result<Self> {
        let raw = RawHeader::read(reader)?;
        Self::parse(raw.bytes, raw.start)
    }

    /// Reads a main header without the rest of its file, as the signer receives it.
    ///
    /// # Errors
    /// When it is malformed, too large, or more than one header.
    pub fn from_main(mut header: &[u8]) -> Result<Self> {
        // The parser expects the start of a whole file: the lead's magic, and a header without
        // entries.
        let mut bytes = vec![0; LEAD];
        bytes[..4].copy_from_slice(&LEAD_MAGIC);
        bytes.extend_from_slice(&[0x8e, 0xad, 0xe8, 0x01, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        let start = bytes.len();
        read_blob(&mut header, &mut bytes, MAIN)?;
        if !header.is_empty() {
            return Err(RpmError::Trailing { place: MAIN.place, extra: header.len() as u64 });
        }
        Self::parse(bytes, start)
    }

    /// The exact bytes of the main header, which digest and signature cover.
    #[must_use]
    pub fn main(&self) -> &[u8] {
        // A range of `bytes`, whose length is a usize.
        &self.bytes[self.header.start as usize..]
    }

    fn parse(bytes: Vec<u8>, start: usize) -> Result<Self> {
        blob::check_region(&bytes[start..], MAIN)?;
        blob::check_once(&bytes[start..], MAIN)?;
        let view = view::utf8(&bytes[start..]);
        let parsed = PackageMetadata::parse(&mut bytes[..start].chain(view.as_ref()));
        let metadata = parsed.map_err(|error| RpmError::Malformed {
            place: "headers",
            reason: rpmfarm_core::name::shown(&error.to_string()),
        })?;
        drop(view);
        Ok(Self { metadata, header: start as u64..bytes.len() as u64, bytes })
    }
}

fn read_blob(reader: &mut impl Read, bytes: &mut Vec<u8>, kind: HeaderKind) -> Result<()> {
    let start = bytes.len();
    read_header(reader, bytes, INTRO, kind.place)?;
    let mut intro = [0; INTRO];
    intro.copy_from_slice(&bytes[start..]);
    read_header(reader, bytes, blob::body_len(&intro, kind)?, kind.place)?;
    blob::check_entries(&bytes[start..], kind)
}

/// Appends exactly `count` bytes. Memory grows with the bytes that arrive, not with the claimed
/// number.
fn read_header(
    reader: &mut impl Read,
    bytes: &mut Vec<u8>,
    count: usize,
    place: &'static str,
) -> Result<()> {
    let expected = bytes.len() + count;
    let read = reader.by_ref().take(count as u64).read_to_end(bytes);
    match read {
        Ok(_) if bytes.len() == expected => Ok(()),
        Ok(_) if place == "lead" => Err(RpmError::NotRpm),
        Ok(_) => {
            let (expected, found) = (expected as u64, bytes.len() as u64);
            Err(RpmError::Truncated { place, expected, found })
        }
        Err(error) => {
            Err(RpmError::io(format!("reading the {place}"))(io::Error::from(error.kind())))
        }
    }
}
