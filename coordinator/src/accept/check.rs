//! Reads uploaded packages and compares them with the request.

use std::path::Path;

use rpmfarm_core::limits::Limits;
use rpmfarm_core::noarch::NOARCH;
use rpmfarm_core::relation;
use rpmfarm_core::results::{self, Expected, ResultBudget, ResultError, ResultFile, UnpackedSize};
use rpmfarm_core::task::{Success, TaskKind};
use rpmfarm_core::{AttemptId, BuildId, Fault, Nevra, Sha256};
use rpmfarm_repodata::{Document, Fragments, PackageFile, RepodataError};
use rpmfarm_rpmfile::{
    ArchiveSummary, InspectedPackage, check_contents_within, inspect, is_intact,
};

use crate::blobs::{BlobError, Blobs};
use crate::blocking;
use crate::commands;
use crate::noarch;
use crate::planted_bugs::{PlantedBug, is_planted};
use crate::store::{Store, StoreError, Task};

/// A result file with a valid header, payload and name.
#[derive(Debug)]
pub struct CheckedPackage {
    /// What its header says.
    pub nevra: Nevra,
    /// SHA-256 of the file, by which the blob store has it.
    pub digest: Sha256,
    /// Its size in bytes.
    pub size: u64,
    /// The blob of its repodata.
    pub repodata: Sha256,
    /// Digest of the blob that describes the package's content; only for a `noarch` package.
    pub content: Option<Sha256>,
    /// For a source package, its files with the SHA-256 of each.
    pub sources: Vec<(Vec<u8>, Sha256)>,
    /// The other fields of its header.
    pub inspected: InspectedPackage,
}

/// Why results are not accepted.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The files differ from the request.
    #[error(transparent)]
    Refused(#[from] ResultError),
    /// A file is not an RPM that the farm accepts.
    #[error("{file}: {source}{}", if *intact { "" } else { " (it is damaged: its own digests do not match)" })]
    Rpm {
        file: String,
        /// What is wrong with it.
        source: rpmfarm_rpmfile::RpmError,
        /// Whether the package's own digests match. If they do, the package is as rpmbuild made it.
        intact: bool,
    },
    /// No repodata can be made for a package.
    #[error("{file}: {source}")]
    Repodata {
        file: String,
        /// What is wrong with it.
        source: RepodataError,
    },
    /// The file is missing, or differs from the announcement.
    #[error("{file}: {source}")]
    Blob {
        file: String,
        /// What the blob store says.
        source: BlobError,
    },
    /// The file was not uploaded by the attempt that names it.
    #[error("{file} ({digest}) was not uploaded by this attempt; results of attempts do not mix")]
    Foreign { file: String, digest: Sha256 },
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The task that checks the files panicked or was cancelled.
    #[error("the check was interrupted: {0}")]
    Interrupted(#[from] tokio::task::JoinError),
}

impl CheckError {
    /// Whose fault the error is; `None` when the farm could not check the files.
    #[must_use]
    pub const fn fault(&self) -> Option<Fault> {
        match self {
            Self::Refused(refusal) => Some(refusal.fault()),
            Self::Repodata { .. } => Some(Fault::Package),
            // The digests match, so this is what rpmbuild wrote: the package's fault.
            Self::Rpm { intact: true, .. } => Some(Fault::Package),
            // The digests do not match: most likely the worker damaged the file.
            Self::Rpm { .. }
            | Self::Foreign { .. }
            | Self::Blob { source: BlobError::Missing(_), .. } => Some(Fault::Worker),
            Self::Blob { .. } | Self::Store(_) | Self::Interrupted(_) => None,
        }
    }

    /// The message, with the command that helps where there is one.
    #[must_use]
    pub fn message(&self) -> String {
        match self {
            Self::Refused(ResultError::NotNewer(why)) => commands::not_newer(why),
            error => error.to_string(),
        }
    }
}

/// Checks all files of a successful attempt. Together they may hold as much as `room` says.
///
/// # Errors
/// For the first file that is not valid.
pub async fn files(
    store: &Store,
    blobs: &Blobs,
    (build, attempt): (BuildId, AttemptId),
    task: &Task,
    success: &Success,
    limits: Limits,
) -> Result<Vec<CheckedPackage>, CheckError> {
    results::check_set(task.kind, &success.files)?;
    let announced = store.upload_list(attempt).await?;
    if let Some(foreign) =
        success.files.iter().find(|file| !announced.contains(&(file.digest, file.size)))
        && !is_planted(PlantedBug::ForeignFiles)
    {
        return Err(CheckError::Foreign { file: foreign.name.clone(), digest: foreign.digest });
    }
    let expected = expectation(store, build, task).await?;
    let mut room = ResultBudget::new(limits);
    let mut checked = Vec::with_capacity(success.files.len());
    for file in &success.files {
        let (blobs, file, expected) = (blobs.clone(), file.clone(), expected.clone());
        let left = room.clone();
        let one = blocking::run(move || check(&blobs, &file, &expected, &left));
        let (one, holds) = one.await??;
        room.add(holds);
        checked.push(one);
    }
    Ok(checked)
}

async fn expectation(store: &Store, build: BuildId, task: &Task) -> Result<Expected, CheckError> {
    let gone = || StoreError::Corrupt {
        table: "tasks",
        value: task.id.to_string(),
        expected: "a task of a build with its source",
    };
    Ok(match task.kind {
        TaskKind::Srpm => {
            let build = store.build_fetch(build).await?.ok_or_else(gone)?;
            Expected::Srpm { package: build.package }
        }
        TaskKind::Build | TaskKind::Noarch | TaskKind::Repeat => {
            let srpm = store.srpm_fetch(build).await?.ok_or_else(gone)?;
            Expected::Rpm { arch: task.arch, srpm: srpm.nevra }
        }
    })
}

/// Checks one file. Also returns how much it holds when unpacked.
fn check(
    blobs: &Blobs,
    file: &ResultFile,
    expected: &Expected,
    room: &ResultBudget,
) -> Result<(CheckedPackage, UnpackedSize), CheckError> {
    let name = || file.name.clone();
    let blob = |source| CheckError::Blob { file: name(), source };
    // One that lies in the bucket alone is brought here, for the acceptor, too.
    blobs.read(file.digest).map_err(blob)?;
    let path = blobs.place(file.digest);
    let rpm = |source| CheckError::Rpm { file: name(), source, intact: is_intact(&path) };
    let inspected = inspect(&path).map_err(rpm)?;
    let nevra = inspected.nevra.clone();
    expected.check(file, &nevra, inspected.source_rpm.as_deref())?;
    // Nothing is written to disk. An archive can hold more than its header lists, so the size is
    // counted while it is read.
    let fits = |held: &UnpackedSize| room.check(&file.name, *held);
    let archived = check_contents_within(&path, |held| fits(held).is_ok()).map_err(rpm)?;
    let ArchiveSummary { contents: holds, sources } = archived;
    fits(&holds)?;
    let described = describe(&path, file.digest, inspected.size, &file.name)
        .map_err(|source| CheckError::Repodata { file: name(), source })?;
    check_bounds(&nevra, &inspected, &described)?;
    let repodata = blobs.put(&described.to_bytes()).map_err(blob)?;
    let content = if nevra.arch == NOARCH {
        let content = noarch::content(&inspected.metadata).map_err(|error| {
            rpm(rpmfarm_rpmfile::RpmError::Malformed {
                place: "main header",
                reason: rpmfarm_core::name::shown(&error.to_string()),
            })
        })?;
        let bytes = serde_json::to_vec(&content).expect("its maps have texts as keys");
        Some(blobs.put(&bytes).map_err(blob)?)
    } else {
        None
    };
    let (digest, size) = (file.digest, inspected.size);
    Ok((CheckedPackage { nevra, digest, size, repodata, content, sources, inspected }, holds))
}

/// Checks the lengths of the texts of a package. They go to a solver that is written in C, so the
/// raw bytes of the header are searched.
fn check_bounds(
    nevra: &Nevra,
    inspected: &InspectedPackage,
    described: &Fragments,
) -> Result<(), ResultError> {
    let refused = |source| ResultError::OutOfBounds { package: nevra.to_string(), source };
    let mut attributes = relation::AttributeScanner::default();
    attributes.feed(described.get(Document::Primary));
    attributes.finish().map_err(refused)?;
    // A header whose paths cannot be read was refused before.
    let paths = inspected.metadata.get_file_paths_split().unwrap_or_default();
    paths.into_iter().try_for_each(|(dir, name)| relation::check_path(dir, name)).map_err(refused)
}

fn describe(
    path: &Path,
    digest: Sha256,
    size: u64,
    href: &str,
) -> Result<Fragments, RepodataError> {
    Fragments::of_rpm(path, &PackageFile { digest, size, href: href.into() })
}
