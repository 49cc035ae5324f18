//! Reads a file that must have a certain digest, which is computed over the same bytes that are
//! read: a program that writes to the file meanwhile can only have it refused.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek as _};

use rpmfarm_core::Sha256;
use rpmfarm_core::results::UnpackedSize;
use sha2::Digest as _;

use crate::inspect::{ArchiveSummary, InspectedPackage, contents_from, inspect_from};
use crate::{Result, RpmError};

/// The size of a read, in bytes, when a whole file is hashed.
pub(crate) const CHUNK: usize = 256 << 10;

/// An open package, and the digest that it must have.
#[derive(Debug)]
pub struct Proved {
    file: File,
    digest: Sha256,
}

impl Proved {
    /// A file that must have this digest.
    #[must_use]
    pub fn new(file: File, digest: Sha256) -> Self {
        Self { file, digest }
    }

    /// Reads it once and checks all of its digests and lengths ([`crate::inspect()`]).
    ///
    /// # Errors
    /// [`RpmError::OtherFile`] when it has another digest; and as of `inspect`.
    pub fn inspect(&mut self) -> Result<InspectedPackage> {
        let size =
            self.file.metadata().map_err(RpmError::io("reading the size of the package"))?.len();
        self.read(|reader| inspect_from(reader, size))
    }

    /// Reads its archive ([`crate::check_contents_within`]).
    ///
    /// # Errors
    /// [`RpmError::OtherFile`] when it has another digest; and as of `check_contents_within`.
    pub fn check_contents_within(
        &mut self,
        fits: impl Fn(&UnpackedSize) -> bool,
    ) -> Result<ArchiveSummary> {
        self.read(|reader| contents_from(reader, fits))
    }

    fn read<T>(&mut self, read: impl FnOnce(&mut HashingReader<'_>) -> Result<T>) -> Result<T> {
        self.file.rewind().map_err(RpmError::io("reading the package"))?;
        proved(&mut self.file, self.digest, read)
    }
}

/// Reads a file once, checks all of its digests and lengths ([`crate::inspect()`]), and answers its
/// own digest, too.
///
/// # Errors
/// As of `inspect`.
pub fn inspect_hashed(file: &mut File) -> Result<(InspectedPackage, Sha256)> {
    file.rewind().map_err(RpmError::io("reading the package"))?;
    let size = file.metadata().map_err(RpmError::io("reading the size of the package"))?.len();
    let mut reader = HashingReader { file, hasher: sha2::Sha256::new() };
    let inspected = inspect_from(&mut reader, size)?;
    // What comes after it, of a file that grew meanwhile.
    io::copy(&mut reader, &mut io::sink()).map_err(RpmError::io("reading the package"))?;
    Ok((inspected, Sha256::from_bytes(reader.hasher.finalize().into())))
}

/// Reads a file from its present position, and then to its end.
///
/// # Errors
/// [`RpmError::OtherFile`] when it has another digest, also when it is unreadable for another
/// reason, since this error says more.
pub(crate) fn proved<T>(
    file: &mut File,
    expected: Sha256,
    read: impl FnOnce(&mut HashingReader<'_>) -> Result<T>,
) -> Result<T> {
    let mut reader = HashingReader { file, hasher: sha2::Sha256::new() };
    let result = read(&mut reader);
    let rest = io::copy(&mut BufReader::with_capacity(CHUNK, &mut reader), &mut io::sink());
    rest.map_err(RpmError::io("reading the package"))?;
    let found = Sha256::from_bytes(reader.hasher.finalize().into());
    if found != expected {
        return Err(RpmError::OtherFile { expected, found });
    }
    result
}

/// Hashes a file while it is read.
pub(crate) struct HashingReader<'a> {
    file: &'a mut File,
    hasher: sha2::Sha256,
}

impl Read for HashingReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}
