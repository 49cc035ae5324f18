//! Why an RPM file is refused. The messages do not name the file: the caller knows which name means
//! something to the reader.

use std::io;

/// Why an RPM file is refused, or could not be handled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RpmError {
    /// It does not begin like an RPM.
    #[error("not an RPM file (it does not start with the RPM magic)")]
    NotRpm,
    /// It ends too early.
    #[error("truncated: {found} bytes long, but {place} would end at {expected}")]
    Truncated {
        /// The part that is cut off.
        place: &'static str,
        /// Where that part would end, in bytes from the start of the file.
        expected: u64,
        /// How long the file is.
        found: u64,
    },
    /// Bytes follow its end.
    #[error("{extra} trailing bytes after {place}")]
    Trailing {
        /// The part that should have been the last, such as `the archive`.
        place: &'static str,
        /// The number of these bytes.
        extra: u64,
    },
    /// A header is not well formed.
    #[error("malformed {place}: {reason}")]
    Malformed {
        /// Which header, such as `signature header`.
        place: &'static str,
        /// The error in it.
        reason: String,
    },
    /// A header is larger than is accepted.
    #[error("the {place} claims {size} bytes, more than the {limit} that are accepted")]
    TooLarge {
        /// Which header, such as `signature header`.
        place: &'static str,
        /// What its index claims, in bytes.
        size: u64,
        /// The largest that is accepted, in bytes.
        limit: u64,
    },
    /// It is not the expected file.
    #[error("another file: its SHA-256 is {found}, not {expected}")]
    OtherFile {
        /// The digest of the expected file.
        expected: rpmfarm_core::Sha256,
        /// The digest of this file.
        found: rpmfarm_core::Sha256,
    },
    /// A digest does not match.
    #[error("{what} does not match: the file says {expected}, its content has {found}")]
    Digest {
        /// The digest's name for people.
        what: &'static str,
        /// The one written in the file.
        expected: String,
        /// The one computed from the content.
        found: String,
    },
    /// A digest on which the farm relies is missing.
    #[error("no {what} (packages made by rpm 4.14 or later have it)")]
    NoDigest {
        /// The digest's name for people.
        what: &'static str,
    },
    /// A tag is missing or invalid.
    #[error("tag {tag}: {reason}")]
    Tag {
        /// RPM's name of the tag.
        tag: &'static str,
        /// The error in it.
        reason: String,
    },
    /// The payload is compressed with an unknown method.
    #[error("payload compressor `{0}` is not supported (known: zstd, xz, lzma, gzip, bzip2)")]
    Compressor(String),
    /// The compressed stream is damaged, or decompresses to far more than the header says.
    #[error("payload: {0}")]
    Payload(String),
    /// The archive holds an entry that is not allowed.
    #[error("payload entry `{name}`: {reason}")]
    Entry {
        /// The entry, escaped for people.
        name: String,
        /// Why it is refused.
        reason: String,
    },
    /// There is no signature of the header.
    #[error("not signed (there is no signature of the header)")]
    Unsigned,
    /// The signature is not accepted.
    #[error("signature by key {key}: {reason}")]
    Signature {
        /// Key id, if known.
        key: String,
        /// Why it is not accepted.
        reason: String,
    },
    /// The certificates cannot be used.
    #[error("public keys: {0}")]
    Certs(String),
    /// A system call failed.
    #[error("{context}: {source}")]
    Io {
        /// The operation that failed.
        context: String,
        /// The system's error.
        source: io::Error,
    },
}

impl RpmError {
    /// An error of the system, with the operation that failed.
    pub(crate) fn io(context: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let context = context.into();
        move |source| Self::Io { context, source }
    }

    /// A refused entry of the payload.
    pub(crate) fn entry(name: &[u8], reason: impl Into<String>) -> Self {
        let name = String::from_utf8_lossy(name);
        Self::Entry { name: rpmfarm_core::name::shown(&name), reason: reason.into() }
    }

    /// A refused tag.
    pub(crate) fn tag(tag: &'static str, reason: impl std::fmt::Display) -> Self {
        Self::Tag { tag, reason: rpmfarm_core::name::shown(&reason.to_string()) }
    }
}
