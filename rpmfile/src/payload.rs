//! The payload as a stream of decompressed bytes, limited in length and memory. Must not know what
//! the bytes mean.

use std::io::{self, BufRead, Read};

use liblzma::stream::Stream;
use rpm::{IndexTag, PackageMetadata};
use rpmfarm_core::Sha256;
use sha2::Digest;

use crate::{Result, RpmError};

/// The most memory of an xz stream, in bytes; `xz -9` takes 65 MiB.
const XZ_MEMORY: u64 = 128 << 20;
/// The most zeros that may follow an archive, in bytes: cpio fills blocks of 512, tape drives
/// larger ones.
const MAX_PADDING: u64 = 64 << 10;
/// Largest window of a zstd stream, as its logarithm: 128 MiB, as with `--long`.
const ZSTD_WINDOW_LOG: u32 = 27;

/// A payload being decompressed.
pub(crate) struct Payload<R: BufRead> {
    decoder: Decoder<R>,
    left: u64,
    sha256: Option<sha2::Sha256>,
}

enum Decoder<R: BufRead> {
    Plain(R),
    Gzip(flate2::bufread::GzDecoder<R>),
    Bzip2(bzip2::bufread::BzDecoder<R>),
    Xz(liblzma::bufread::XzDecoder<R>),
    Zstd(zstd::stream::read::Decoder<'static, R>),
}

impl<R: BufRead> Payload<R> {
    /// Begins at the first byte of the payload. More than `limit` decompressed bytes are an error.
    pub(crate) fn open(reader: R, metadata: &PackageMetadata, limit: u64) -> Result<Self> {
        let format = metadata.header.get_entry_data_as_string(IndexTag::RPMTAG_PAYLOADFORMAT);
        if let Ok(format) = format
            && format != "cpio"
        {
            return Err(RpmError::tag("PAYLOADFORMAT", format!("`{format}` is not `cpio`")));
        }
        let compressor =
            metadata.header.get_entry_data_as_string(IndexTag::RPMTAG_PAYLOADCOMPRESSOR);
        let decoder = Decoder::new(reader, compressor.ok())?;
        Ok(Self { decoder, left: limit, sha256: None })
    }

    /// Also computes the digest of the decompressed bytes.
    pub(crate) fn hashing(self) -> Self {
        Self { sha256: Some(sha2::Sha256::new()), ..self }
    }

    /// Reads the rest, which may only be some zeros, and checks that the file ends there too.
    /// Returns the digest of everything, if requested.
    pub(crate) fn finish(mut self) -> Result<Option<Sha256>> {
        let mut rest = Vec::new();
        self.by_ref().take(MAX_PADDING + 1).read_to_end(&mut rest).map_err(damaged)?;
        if rest.len() as u64 > MAX_PADDING || rest.iter().any(|byte| *byte != 0) {
            return Err(RpmError::Trailing { place: "the archive", extra: rest.len() as u64 });
        }
        let mut file = self.decoder.into_inner();
        let extra =
            io::copy(&mut file, &mut io::sink()).map_err(RpmError::io("reading the payload"))?;
        if extra > 0 {
            return Err(RpmError::Trailing { place: "the compressed payload", extra });
        }
        Ok(self.sha256.map(|sha256| Sha256::from_bytes(sha256.finalize().into())))
    }
}

impl<R: BufRead> Read for Payload<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.decoder.read(buffer)?;
        self.left = self.left.checked_sub(count as u64).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, "larger than its header's files together")
        })?;
        if let Some(sha256) = &mut self.sha256 {
            sha256.update(&buffer[..count]);
        }
        Ok(count)
    }
}

impl<R: BufRead> Decoder<R> {
    fn new(mut reader: R, compressor: Option<&str>) -> Result<Self> {
        let failed = |error: io::Error| RpmError::Payload(error.to_string());
        Ok(match compressor {
            Some("zstd") => {
                let mut decoder =
                    zstd::stream::read::Decoder::with_buffer(reader).map_err(failed)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG).map_err(failed)?;
                Self::Zstd(decoder)
            }
            Some("xz") => Self::xz(reader, Stream::new_stream_decoder(XZ_MEMORY, 0))?,
            Some("lzma") => Self::xz(reader, Stream::new_lzma_decoder(XZ_MEMORY))?,
            Some("bzip2") => Self::Bzip2(bzip2::bufread::BzDecoder::new(reader)),
            // Without a name it is gzip, which passes uncompressed bytes through (`gzdopen`).
            Some("gzip") | None => {
                let start = reader.fill_buf().map_err(RpmError::io("reading the payload"))?;
                if start.starts_with(&[0x1f, 0x8b]) {
                    Self::Gzip(flate2::bufread::GzDecoder::new(reader))
                } else {
                    Self::Plain(reader)
                }
            }
            Some(other) => return Err(RpmError::Compressor(rpmfarm_core::name::shown(other))),
        })
    }

    fn xz(reader: R, stream: Result<Stream, liblzma::stream::Error>) -> Result<Self> {
        let stream = stream.map_err(|error| RpmError::Payload(error.to_string()))?;
        Ok(Self::Xz(liblzma::bufread::XzDecoder::new_stream(reader, stream)))
    }

    fn into_inner(self) -> R {
        match self {
            Self::Plain(reader) => reader,
            Self::Gzip(decoder) => decoder.into_inner(),
            Self::Bzip2(decoder) => decoder.into_inner(),
            Self::Xz(decoder) => decoder.into_inner(),
            Self::Zstd(decoder) => decoder.finish(),
        }
    }
}

impl<R: BufRead> Read for Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(reader) => reader.read(buffer),
            Self::Gzip(decoder) => decoder.read(buffer),
            Self::Bzip2(decoder) => decoder.read(buffer),
            Self::Xz(decoder) => decoder.read(buffer),
            Self::Zstd(decoder) => decoder.read(buffer),
        }
    }
}

/// The error of a failed read of the decompressed stream.
pub(crate) fn damaged(error: io::Error) -> RpmError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => RpmError::Payload("ends before its archive does".into()),
        _ => RpmError::Payload(error.to_string()),
    }
}
