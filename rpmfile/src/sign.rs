//! The signed part of an RPM, and inserting a signature into a copy of the file.
//!
//! A v4 signature covers the main header, which holds the payload's digest; the key is in another
//! process. The accepted file is opened once: its digest is computed over the same bytes from which
//! the header is read, and the signature is inserted into a copy of that open file. The copy is
//! verified before it is stored.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use rpm::{Header, HeaderEntry, IndexData, IndexSignatureTag as Tag, IndexTag, PackageMetadata};
use rpmfarm_core::Sha256;

use crate::headers::Headers;
use crate::proved::{CHUNK, proved};
use crate::{Result, RpmError, digests};

/// `RPMTAG_HEADERSIGNATURES`, the region of a signature header, which is built anew.
const REGION: u32 = 62;
/// The bytes of one more tag in a header's index.
const INDEX_ENTRY: usize = 16;

/// An RPM to be signed. Its file is held open from the reading of its header to the copy, so that
/// both are of one file even if another one is put in its place meanwhile.
#[derive(Debug)]
pub struct UnsignedPackage {
    file: File,
    headers: Headers,
}

impl UnsignedPackage {
    /// Opens a file. The digest of its header is checked.
    ///
    /// # Errors
    /// When the headers are malformed or do not match their digest.
    pub fn open(path: &Path) -> Result<Self> {
        let mut file = File::open(path).map_err(RpmError::io("opening the package"))?;
        let headers = Headers::read(&mut BufReader::new(&mut file))?;
        Self::checked(file, headers)
    }

    /// Opens a file that must have this digest. It is computed over the very bytes that the header
    /// is read from.
    ///
    /// # Errors
    /// [`RpmError::OtherFile`] when it has another one; and as [`Self::open`].
    pub fn open_proved(path: &Path, expected: Sha256) -> Result<Self> {
        let file = File::open(path).map_err(RpmError::io("opening the package"))?;
        Self::of_proved(file, expected)
    }

    /// The same of a file that is open, at its beginning.
    ///
    /// # Errors
    /// As [`Self::open_proved`].
    pub fn of_proved(mut file: File, expected: Sha256) -> Result<Self> {
        let headers = proved(&mut file, expected, |reader| {
            Headers::read(&mut BufReader::with_capacity(CHUNK, reader))
        });
        Self::checked(file, headers?)
    }

    /// The bytes that a header signature covers: the main header as it stands in the file.
    #[must_use]
    pub fn header(&self) -> &[u8] {
        self.headers.main()
    }

    /// Writes a copy that has this signature (an OpenPGP packet, RSA, v4) in place of those that it
    /// had. Main header and payload stay as they are, and so do digests and sizes. The copy must
    /// not be there before; it is synced to disk.
    ///
    /// # Errors
    /// When the headers are malformed or the system refuses; what was written of the copy is left.
    pub fn splice(self, dst: &Path, signature: &[u8]) -> Result<()> {
        let Self { mut file, headers } = self;
        let start = headers.header.start;
        let prefix = signed_prefix(&headers, signature)?;
        let failed = || RpmError::io("writing the signed package");

        let mut copy =
            OpenOptions::new().write(true).create_new(true).open(dst).map_err(failed())?;
        if prefix.len() as u64 == start {
            // Nothing moves, so a file system that can share blocks shares them all but the first.
            file.rewind().map_err(failed())?;
            io::copy(&mut file, &mut copy).map_err(failed())?;
            copy.write_all_at(&prefix, 0).map_err(failed())?;
        } else {
            copy.write_all(&prefix).map_err(failed())?;
            file.seek(SeekFrom::Start(start)).map_err(failed())?;
            io::copy(&mut file, &mut copy).map_err(failed())?;
        }
        copy.sync_all().map_err(failed())
    }

    fn checked(file: File, headers: Headers) -> Result<Self> {
        digests::check_header(&headers.metadata, headers.main())?;
        Ok(Self { file, headers })
    }
}

/// The bytes that a header signature covers ([`UnsignedPackage::header`]).
///
/// # Errors
/// As [`UnsignedPackage::open`].
pub fn header_to_sign(path: &Path) -> Result<Vec<u8>> {
    Ok(UnsignedPackage::open(path)?.header().to_vec())
}

/// Writes a signed copy of an RPM ([`UnsignedPackage::splice`]).
///
/// # Errors
/// As [`UnsignedPackage::open`] and [`UnsignedPackage::splice`].
pub fn splice_signature(src: &Path, dst: &Path, signature: &[u8]) -> Result<()> {
    UnsignedPackage::open(src)?.splice(dst, signature)
}

/// Lead and signature header with the signature in it: of the length that they had, where the
/// space that rpmbuild reserves for this is enough.
fn signed_prefix(headers: &Headers, signature: &[u8]) -> Result<Vec<u8>> {
    let (mut entries, reserved) = kept_entries(&headers.metadata)?;
    entries.push(HeaderEntry::new(Tag::RPMSIGTAG_RSA.into(), IndexData::Bin(signature.to_vec())));
    let bare = prefix(headers, entries.clone())?;
    let start = headers.header.start as usize;
    let space = start.checked_sub(bare.len() + INDEX_ENTRY).filter(|space| reserved && *space > 0);
    let Some(space) = space else { return Ok(bare) };
    entries.push(HeaderEntry::new(
        Tag::RPMSIGTAG_RESERVEDSPACE.into(),
        IndexData::Bin(vec![0; space]),
    ));
    prefix(headers, entries)
}

/// What stays of a signature header, and whether it has reserved space.
fn kept_entries(metadata: &PackageMetadata) -> Result<(Vec<HeaderEntry>, bool)> {
    let replaced = [
        REGION,
        Tag::RPMSIGTAG_RSA.into(),
        Tag::RPMSIGTAG_DSA.into(),
        Tag::RPMSIGTAG_OPENPGP.into(),
        Tag::RPMSIGTAG_PGP.into(),
        Tag::RPMSIGTAG_GPG.into(),
        Tag::RPMSIGTAG_RESERVEDSPACE.into(),
    ];
    let entries = metadata.signature.get_all_entries().map_err(malformed)?;
    let reserved = metadata.signature.entry_is_present(Tag::RPMSIGTAG_RESERVEDSPACE);
    let kept = entries.into_iter().filter(|(tag, _)| !replaced.contains(tag));
    Ok((kept.map(|(tag, data)| HeaderEntry::new(tag, data)).collect(), reserved))
}

/// Lead and signature header, with the padding up to the main header. The crate writes all
/// three, so an empty main header stands in and is cut off again.
fn prefix(headers: &Headers, entries: Vec<HeaderEntry>) -> Result<Vec<u8>> {
    let metadata = PackageMetadata {
        lead: headers.metadata.lead.clone(),
        signature: Header::from_entries(entries, Tag::HEADER_SIGNATURES),
        header: Header::from_entries([], IndexTag::RPMTAG_HEADERIMMUTABLE),
    };
    let mut bytes = Vec::new();
    metadata.write(&mut bytes).map_err(malformed)?;
    bytes.truncate(bytes.len() - metadata.header_bytes().map_err(malformed)?.len());
    Ok(bytes)
}

fn malformed(error: rpm::Error) -> RpmError {
    let reason = rpmfarm_core::name::shown(&error.to_string());
    RpmError::Malformed { place: "signature header", reason }
}
