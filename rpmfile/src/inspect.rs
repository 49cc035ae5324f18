//! Checks that a file is exactly the package that its headers describe.

use std::fs::File;
use std::io::{BufReader, Read};
use std::ops::Range;
use std::path::Path;

use rpm::{IndexSignatureTag, IndexTag, PackageMetadata};
use rpmfarm_core::results::UnpackedSize;
use rpmfarm_core::{Nevra, Sha256};

use crate::archive::Archive;
use crate::filedigests::FileDigests;
use crate::files::FileList;
use crate::headers::Headers;
use crate::payload::Payload;
use crate::{Result, RpmError, digests, facts};

/// An RPM whose headers and payload agree.
#[derive(Debug)]
pub struct InspectedPackage {
    /// The full name of the package; the architecture of a source package is `src`.
    pub nevra: Nevra,
    /// Whether it is a source package.
    pub is_source: bool,
    /// File name of the source package from which it was built; `None` for a source package.
    pub source_rpm: Option<String>,
    /// The build host that the header names.
    pub build_host: Option<String>,
    /// Position of the main header in the file; the payload goes from its end to the file's end.
    pub header: Range<u64>,
    /// SHA-256 of the main header, which a signature covers.
    pub header_sha256: Sha256,
    /// SHA-256 of the payload as stored in the file.
    pub payload_sha256: Sha256,
    /// Length of the file in bytes.
    pub size: u64,
    /// All tags: requirements, provides, files, changelog, …
    pub metadata: PackageMetadata,
}

/// Reads an RPM once from start to end and checks all of its digests and lengths. The payload is
/// not decompressed; [`check_contents`] does that.
///
/// # Errors
/// When it is no RPM, is truncated, has trailing bytes, or a digest is missing or does not match.
pub fn inspect(path: &Path) -> Result<InspectedPackage> {
    let file = File::open(path).map_err(RpmError::io("opening the package"))?;
    let size = file.metadata().map_err(RpmError::io("reading the size of the package"))?.len();
    inspect_from(file, size)
}

/// The name that the header of an RPM has. Nothing is checked, and the payload is not read.
///
/// # Errors
/// When it is no RPM, or its headers are malformed or too large.
pub fn nevra_of_header(file: &mut File) -> Result<Nevra> {
    facts::nevra(&Headers::read(&mut BufReader::new(file))?.metadata)
}

/// As [`inspect`], from a reader of `size` bytes.
pub(crate) fn inspect_from(reader: impl Read, size: u64) -> Result<InspectedPackage> {
    let mut reader = BufReader::new(reader);
    let headers = Headers::read(&mut reader)?;
    let metadata = &headers.metadata;

    let header_sha256 = digests::check_header(metadata, headers.main())?;
    check_len(&headers, size)?;
    let expected = facts::payload_digest(metadata)?;
    let (payload_sha256, _) = digests::check_payload(metadata, headers.main(), &mut reader)?;
    digests::equal("SHA-256 of the payload", &expected.hex(), payload_sha256.hex())?;

    Ok(InspectedPackage {
        nevra: facts::nevra(metadata)?,
        is_source: metadata.is_source_package(),
        source_rpm: facts::optional(metadata, IndexTag::RPMTAG_SOURCERPM),
        build_host: facts::optional(metadata, IndexTag::RPMTAG_BUILDHOST),
        header: headers.header,
        header_sha256,
        payload_sha256,
        size,
        metadata: headers.metadata,
    })
}

/// Decompresses the payload of an RPM, writing nothing, and checks that it holds exactly the
/// files that the header lists and ends where the file ends.
///
/// # Errors
/// When the stream is damaged, goes on after its end or is larger than the header says, when an
/// entry is not in the header or the other way round, when a path is not absolute, or when a digest
/// of the contents or of one file does not match.
pub fn check_contents(path: &Path) -> Result<ArchiveSummary> {
    check_contents_within(path, |_| true)
}

/// The same for a package that may not hold everything: `fits` is asked for what the header says,
/// before anything is decompressed, and then for what was found, entry by entry. Answers what was
/// found, or, where something did not fit, how much that was.
///
/// # Errors
/// As of [`check_contents`].
pub fn check_contents_within(
    path: &Path,
    fits: impl Fn(&UnpackedSize) -> bool,
) -> Result<ArchiveSummary> {
    let file = File::open(path).map_err(RpmError::io("opening the package"))?;
    contents_from(file, fits)
}

/// As [`check_contents`], from a reader.
pub(crate) fn contents_from(
    reader: impl Read,
    fits: impl Fn(&UnpackedSize) -> bool,
) -> Result<ArchiveSummary> {
    let mut reader = BufReader::new(reader);
    let headers = Headers::read(&mut reader)?;
    let is_source = facts::source_arch(&headers.metadata).is_some();
    let files = FileList::from_headers(&headers)?;
    files.check_paths(is_source)?;
    let too_much = |contents| ArchiveSummary { contents, sources: Vec::new() };
    let claimed = files.contents();
    if !fits(&claimed) {
        return Ok(too_much(claimed));
    }
    let mut contents = UnpackedSize::default();
    let payload = Payload::open(reader, &headers.metadata, files.archive_limit())?;
    let mut archive = Archive::new(payload.hashing(), &files);
    let mut digests = FileDigests::from_headers(&headers, &files, is_source)?;
    while let Some(member) = archive.next()? {
        contents = contents.and(UnpackedSize { files: 1, bytes: member.size });
        if !fits(&contents) {
            return Ok(too_much(contents));
        }
        digests.check(member, &mut archive)?;
        archive.skip()?;
    }
    let sources = digests.into_found();
    let digest = archive.finish()?;
    if let (Some(expected), Some(digest)) = (facts::contents_digest(&headers.metadata)?, digest) {
        digests::equal("SHA-256 of the decompressed payload", &expected.hex(), digest.hex())?;
    }
    Ok(ArchiveSummary { contents, sources })
}

/// The content of a package's archive.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ArchiveSummary {
    /// The number of files and bytes.
    pub contents: UnpackedSize,
    /// Of a source package, the name of each file and the SHA-256 of its content.
    pub sources: Vec<(Vec<u8>, Sha256)>,
}

/// Checks the file's length against its headers.
fn check_len(headers: &Headers, size: u64) -> Result<()> {
    let place = "payload";
    match claimed_end(headers) {
        Some(expected) if size < expected => {
            Err(RpmError::Truncated { place, expected, found: size })
        }
        Some(expected) if size > expected => {
            Err(RpmError::Trailing { place, extra: size - expected })
        }
        _ => Ok(()),
    }
}

/// Where the file should end. `SIZE` of the signature header counts main header and payload; v6
/// packages have the payload's own size in the main header instead. Without either, the payload's
/// digest decides.
fn claimed_end(headers: &Headers) -> Option<u64> {
    let (signature, main) = (&headers.metadata.signature, &headers.metadata.header);
    let both = signature
        .get_entry_data_as_u64(IndexSignatureTag::RPMSIGTAG_LONGSIZE)
        .or_else(|_| {
            signature.get_entry_data_as_u32(IndexSignatureTag::RPMSIGTAG_SIZE).map(u64::from)
        })
        .ok()
        .map(|size| headers.header.start.saturating_add(size));
    both.or_else(|| {
        let payload = main.get_entry_data_as_u64(IndexTag::RPMTAG_PAYLOADSIZE).ok()?;
        Some(headers.header.end.saturating_add(payload))
    })
}
