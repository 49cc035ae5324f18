//! The facts of a package in its main header, checked before they become names or paths.

use rpm::{IndexTag, PackageMetadata};
use rpmfarm_core::unexpanded::{undefined, unexpanded};
use rpmfarm_core::{Evr, Nevra, Sha256, name};

use crate::{Result, RpmError};

/// `PGPHASHALGO_SHA256`, a value of `PAYLOADDIGESTALGO`.
const SHA256: u32 = 8;

/// Name, epoch, version, release and architecture. The architecture of a source package is `src`
/// (`nosrc` when the package leaves sources out), whatever its header has.
///
/// # Errors
/// When a part is missing, or has characters that are not allowed in names of packages.
pub fn nevra(metadata: &PackageMetadata) -> Result<Nevra> {
    let text = |tag: IndexTag, label: &'static str| {
        let value = metadata.header.get_entry_data_as_string(tag);
        value.map_err(|error| RpmError::tag(label, error))
    };
    let package = text(IndexTag::RPMTAG_NAME, "NAME")?;
    name::check_package(package).map_err(|error| RpmError::tag("NAME", error))?;
    let version = checked(text(IndexTag::RPMTAG_VERSION, "VERSION")?, "VERSION", "._+~^")?;
    let release = checked(text(IndexTag::RPMTAG_RELEASE, "RELEASE")?, "RELEASE", "._+~^")?;
    let arch = match source_arch(metadata) {
        Some(arch) => arch,
        None => checked(text(IndexTag::RPMTAG_ARCH, "ARCH")?, "ARCH", "_")?,
    };
    Ok(Nevra::new(package, Evr::new(epoch(metadata)?, version, release), arch))
}

/// The SHA-256 of the payload as stored in the file.
///
/// # Errors
/// When the header has none, or one of another kind.
pub fn payload_digest(metadata: &PackageMetadata) -> Result<Sha256> {
    digest(metadata, IndexTag::RPMTAG_PAYLOADSHA256, "PAYLOADDIGEST")?
        .ok_or(RpmError::NoDigest { what: "SHA-256 digest of the payload" })
}

/// The SHA-256 of the decompressed payload, if the header has it.
pub(crate) fn contents_digest(metadata: &PackageMetadata) -> Result<Option<Sha256>> {
    digest(metadata, IndexTag::RPMTAG_PAYLOADSHA256ALT, "PAYLOADDIGESTALT")
}

/// An optional string.
pub(crate) fn optional(metadata: &PackageMetadata, tag: IndexTag) -> Option<String> {
    metadata.header.get_entry_data_as_string(tag).ok().map(str::to_owned)
}

fn epoch(metadata: &PackageMetadata) -> Result<u32> {
    match metadata.header.get_entry_data_as_u32(IndexTag::RPMTAG_EPOCH) {
        Ok(epoch) => Ok(epoch),
        Err(rpm::Error::TagNotFound(_)) => Ok(0),
        Err(error) => Err(RpmError::tag("EPOCH", error)),
    }
}

pub(crate) fn source_arch(metadata: &PackageMetadata) -> Option<&'static str> {
    let has = |tag: IndexTag| metadata.header.entry_is_present(tag);
    if !metadata.is_source_package() {
        return None;
    }
    let left_out = has(IndexTag::RPMTAG_NOSOURCE) || has(IndexTag::RPMTAG_NOPATCH);
    Some(if left_out { "nosrc" } else { "src" })
}

fn digest(
    metadata: &PackageMetadata,
    tag: IndexTag,
    label: &'static str,
) -> Result<Option<Sha256>> {
    if !metadata.header.entry_is_present(tag) {
        return Ok(None);
    }
    let algorithm = metadata.header.get_entry_data_as_u32(IndexTag::RPMTAG_PAYLOADSHA256ALGO);
    if algorithm.as_ref().is_ok_and(|algorithm| *algorithm != SHA256) {
        return Err(RpmError::tag("PAYLOADDIGESTALGO", "is not SHA-256"));
    }
    let hex = metadata.header.get_entry_data_as_string(tag).map_err(|e| RpmError::tag(label, e))?;
    hex.parse().map(Some).map_err(|error| RpmError::tag(label, error))
}

fn checked<'a>(text: &'a str, tag: &'static str, extra: &str) -> Result<&'a str> {
    let known = |c: char| c.is_ascii_alphanumeric() || extra.contains(c);
    // The limit is that of a file name; rpm has none.
    if text.is_empty()
        || text.len() > name::MAX_NAME
        || text.contains("..")
        || !text.chars().all(known)
    {
        let reason = match unexpanded(text) {
            Some(left) => format!("`{text}`: {}", undefined(left)),
            None => {
                let most = name::MAX_NAME;
                format!("`{text}` (allowed: at most {most} letters, digits and `{extra}`)")
            }
        };
        return Err(RpmError::tag(tag, reason));
    }
    Ok(text)
}
