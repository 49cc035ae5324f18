//! Checking metadata files against `repomd.xml`: the size and digest of a file while it is
//! received, and those of its decompressed content before the solver reads it.

use std::fs::File;
use std::io::{self, BufReader, Read, Write as _};
use std::path::Path;

use rpmfarm_core::digest::{Checksum, DigestKind};
use rpmfarm_core::relation::AttributeScanner;
use sha2::digest::DynDigest;
use tempfile::NamedTempFile;
use url::Url;

use super::download::{Sink, SinkError};
use super::rejection::{MetadataErrorKind, Result, io_at};
use super::repomd::MetadataFile;

/// The decompressed size of files that announce none, in bytes: 33 kB of zstd can hold 1 GiB of
/// zeros.
const MAX_OPEN: u64 = 4 << 30;

/// The suffixes that tell a compression.
const SUFFIXES: [&str; 4] = ["gz", "xz", "zst", "bz2"];

/// The compression of a file by the suffix of its name, which the solver goes by, too.
pub(super) fn suffix(file: &MetadataFile) -> Option<&'static str> {
    suffix_of(&file.href)
}

fn suffix_of(name: &str) -> Option<&'static str> {
    let (_, found) = name.rsplit_once('.')?;
    SUFFIXES.into_iter().find(|suffix| *suffix == found)
}

/// Compares a cached file with its entry in `repomd.xml`.
///
/// # Errors
/// When they differ, or the disk fails.
pub(super) fn check_file(path: &Path, file: &MetadataFile) -> Result<()> {
    let mut hasher = hasher(file.checksum.kind);
    let mut open = File::open(path).map_err(io_at(path))?;
    pump(&mut open, u64::MAX, |bytes| hasher.update(bytes)).map_err(io_at(path))?;
    matches(&path.display().to_string(), "digest", &file.checksum, hasher)
}

/// A download that goes to a temporary file and through a hasher.
pub(super) struct FileSink {
    file: NamedTempFile,
    hasher: Box<dyn DynDigest + Send>,
    length: u64,
}

impl FileSink {
    pub(super) fn new(dir: &Path, kind: DigestKind) -> Result<Self, SinkError> {
        Ok(Self { file: NamedTempFile::new_in(dir)?, hasher: hasher(kind), length: 0 })
    }

    pub(super) fn check(self, url: &Url, expected: &MetadataFile) -> Result<NamedTempFile> {
        let (url, length) = (url.to_string(), self.length);
        if let Some(size) = expected.size.filter(|size| *size != length) {
            let (expected, found) = (format!("{size} bytes"), format!("{length} bytes"));
            return Err(MetadataErrorKind::Mismatch { url, what: "size", expected, found });
        }
        matches(&url, "digest", &expected.checksum, self.hasher)?;
        Ok(self.file)
    }
}

impl Sink for FileSink {
    fn write(&mut self, bytes: &[u8]) -> Result<(), SinkError> {
        self.hasher.update(bytes);
        self.length += bytes.len() as u64;
        Ok(self.file.write_all(bytes)?)
    }
}

/// Decompresses a file once without keeping the output, and checks its size, its digest and the
/// bounds of its dependencies before the solver reads it.
pub(super) fn check_open(url: &Url, path: &Path, file: &MetadataFile) -> Result<()> {
    let failed = |error: io::Error| MetadataErrorKind::Compression {
        url: url.to_string(),
        reason: error.to_string(),
    };
    let mut open = unpacked(path, suffix(file)).map_err(failed)?;
    let limit = file.open_size.unwrap_or(MAX_OPEN);
    let kind = file.open_checksum.as_ref().map_or(DigestKind::Sha256, |checksum| checksum.kind);
    let mut hasher = hasher(kind);
    let mut attributes = AttributeScanner::default();
    let mut take = |bytes: &[u8]| {
        hasher.update(bytes);
        attributes.feed(bytes);
    };
    let length = pump(&mut open, limit, &mut take).map_err(failed)?;
    if length > limit || file.open_size.is_some_and(|size| size != length) {
        let found = if length > limit { "more".to_owned() } else { format!("{length} bytes") };
        let expected = format!("{limit} bytes");
        return Err(MetadataErrorKind::Mismatch {
            url: url.to_string(),
            what: "decompressed size",
            expected,
            found,
        });
    }
    // `modules.yaml` is parsed here; only XML reaches the solver unparsed.
    if file.kind != "modules" {
        let out = |source| MetadataErrorKind::OutOfBounds { url: url.to_string(), source };
        attributes.finish().map_err(out)?;
    }
    match &file.open_checksum {
        Some(expected) => {
            matches(url.as_str(), "digest of the decompressed file", expected, hasher)
        }
        None => Ok(()),
    }
}

/// Reads a file, decompressed according to its suffix.
fn unpacked(path: &Path, suffix: Option<&str>) -> io::Result<Box<dyn Read>> {
    let packed = BufReader::new(File::open(path)?);
    Ok(match suffix {
        Some("gz") => Box::new(flate2::bufread::MultiGzDecoder::new(packed)),
        Some("xz") => Box::new(liblzma::bufread::XzDecoder::new_multi_decoder(packed)),
        Some("zst") => Box::new(zstd::Decoder::with_buffer(packed)?),
        Some("bz2") => Box::new(bzip2::bufread::MultiBzDecoder::new(packed)),
        _ => Box::new(packed),
    })
}

/// The decompressed text of a cached file.
///
/// # Errors
/// When it is longer than `limit` bytes, damaged, or not UTF-8.
pub(super) fn text_of(path: &Path, limit: u64) -> io::Result<String> {
    let mut text = String::new();
    let open = unpacked(path, suffix_of(&path.to_string_lossy()))?;
    open.take(limit + 1).read_to_string(&mut text)?;
    if text.len() as u64 > limit {
        return Err(io::Error::other(format!("it has more than {limit} bytes")));
    }
    Ok(text)
}

/// Reads to the end, or until there are more bytes than `limit`. Returns how many there were.
fn pump(from: &mut impl Read, limit: u64, mut take: impl FnMut(&[u8])) -> io::Result<u64> {
    let mut buffer = vec![0; 64 * 1024];
    let mut length = 0;
    loop {
        let read = from.read(&mut buffer)?;
        length += read as u64;
        if read == 0 || length > limit {
            return Ok(length);
        }
        take(&buffer[..read]);
    }
}

fn hasher(kind: DigestKind) -> Box<dyn DynDigest + Send> {
    match kind {
        DigestKind::Sha512 => Box::new(sha2::Sha512::default()),
        // Other kinds are refused when `repomd.xml` is read.
        _ => Box::new(sha2::Sha256::default()),
    }
}

fn matches(
    url: &str,
    what: &'static str,
    expected: &Checksum,
    hasher: Box<dyn DynDigest + Send>,
) -> Result<()> {
    let found = Checksum { kind: expected.kind, hex: hex::encode(hasher.finalize()) };
    if found == *expected {
        return Ok(());
    }
    Err(MetadataErrorKind::Mismatch {
        url: url.to_owned(),
        what,
        expected: expected.to_string(),
        found: found.to_string(),
    })
}
