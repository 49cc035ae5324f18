//! Checks the results of workers, by the same rules as the coordinator.

use std::path::PathBuf;

use rpmfarm_core::results::{self, Expected, ResultBudget, ResultError, ResultFile, UnpackedSize};
use rpmfarm_core::task::TaskKind;
use rpmfarm_core::{Fault, Nevra, Sha256};
use rpmfarm_guarded::blobs::Blobs;
use rpmfarm_rpmfile::{Proved, RpmError, is_intact};

use crate::request::Asked;

/// A package that was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedFile {
    /// Its NEVRA, by its header.
    pub nevra: Nevra,
    /// SHA-256 of its file.
    pub file: Sha256,
    /// SHA-256 of its main header.
    pub header: Sha256,
}

/// Why results are not accepted.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The files differ from the request.
    #[error(transparent)]
    Refused(#[from] ResultError),
    /// The file is not an RPM that is accepted.
    #[error("{file}: {source}")]
    Rpm {
        file: String,
        source: RpmError,
        /// Whether the package's own digests match. If they do, the package is as rpmbuild made it.
        intact: bool,
    },
    /// The file has another size than the one that the worker signed.
    #[error("{file} has {found} bytes, the worker says {announced}")]
    Size {
        file: String,
        /// The size that the worker signed.
        announced: u64,
        found: u64,
    },
    /// The signed file cannot be read.
    #[error("{}: {reason}", .path.display())]
    Store {
        /// Its expected path.
        path: PathBuf,
        reason: String,
    },
}

impl CheckError {
    /// Whose fault it is; `None` when the files are not those that the worker signed, or cannot be
    /// read.
    #[must_use]
    pub const fn fault(&self) -> Option<Fault> {
        match self {
            Self::Refused(refusal) => Some(refusal.fault()),
            Self::Rpm { intact: true, .. } => Some(Fault::Package),
            Self::Rpm { .. } | Self::Size { .. } => Some(Fault::Worker),
            Self::Store { .. } => None,
        }
    }
}

/// Checks all files of an attempt, which are read here.
///
/// # Errors
/// For the first file that is not valid.
pub fn files(blobs: &Blobs, asked: &Asked) -> Result<Vec<CheckedFile>, CheckError> {
    results::check_set(asked.kind, &asked.files)?;
    let expected = expectation(blobs, asked)?;
    let mut room = ResultBudget::new(asked.limits.clone());
    asked.files.iter().map(|file| check(blobs, file, &expected, &mut room)).collect()
}

/// The expected headers. The worker has signed which source package was built.
fn expectation(blobs: &Blobs, asked: &Asked) -> Result<Expected, CheckError> {
    let package = asked.package.clone();
    if asked.kind == TaskKind::Srpm {
        return Ok(Expected::Srpm { package });
    }
    let input = asked.proof.input;
    let inspected = open(blobs, input)?.inspect();
    let srpm = inspected.map_err(|source| unread(blobs, input, "source package", source))?.nevra;
    if !srpm.is_source() {
        return Err(ResultError::NotSource { nevra: srpm.into() }.into());
    }
    if srpm.name != package {
        return Err(ResultError::Package { found: srpm.name, expected: package }.into());
    }
    Ok(Expected::Rpm { arch: asked.arch, srpm })
}

fn check(
    blobs: &Blobs,
    file: &ResultFile,
    expected: &Expected,
    room: &mut ResultBudget,
) -> Result<CheckedFile, CheckError> {
    let mut package = open(blobs, file.digest)?;
    let failed = |source| unread(blobs, file.digest, &file.name, source);
    let inspected = package.inspect().map_err(failed)?;
    if inspected.size != file.size {
        let (announced, found) = (file.size, inspected.size);
        return Err(CheckError::Size { file: file.name.clone(), announced, found });
    }
    expected.check(file, &inspected.nevra, inspected.source_rpm.as_deref())?;
    let fits = |held: &UnpackedSize| room.check(&file.name, *held);
    let archived = package.check_contents_within(|held| fits(held).is_ok()).map_err(failed)?;
    fits(&archived.contents)?;
    room.add(archived.contents);
    let (nevra, header) = (inspected.nevra, inspected.header_sha256);
    Ok(CheckedFile { nevra, file: file.digest, header })
}

fn open(blobs: &Blobs, digest: Sha256) -> Result<Proved, CheckError> {
    let opened = blobs.open(digest);
    let store = |error: std::io::Error| CheckError::Store {
        path: blobs.path(digest),
        reason: error.to_string(),
    };
    Ok(Proved::new(opened.map_err(store)?, digest))
}

/// Why a file cannot be read as a package, and whose fault that is.
fn unread(blobs: &Blobs, digest: Sha256, name: &str, source: RpmError) -> CheckError {
    let path = blobs.path(digest);
    match source {
        RpmError::OtherFile { .. } | RpmError::Io { .. } => {
            CheckError::Store { path, reason: source.to_string() }
        }
        source => CheckError::Rpm { file: name.to_owned(), source, intact: is_intact(&path) },
    }
}
