//! Reads uploaded packages and compares them with what was asked for.

use std::path::Path;

use rpmfarm_core::limits::Limits;
use rpmfarm_core::noarch::NOARCH;
use rpmfarm_core::relation;
use rpmfarm_core::results::{self, Contents, Expected, Refusal, ResultFile, Room};
use rpmfarm_core::task::{Success, TaskKind};
use rpmfarm_core::{AttemptId, BuildId, Fault, Nevra, Sha256};
use rpmfarm_repodata::{Document, Fragments, PackageFile, RepodataError};
use rpmfarm_rpmfile::{Archived, Inspected, check_contents_within, inspect, is_intact};

use crate::blobs::{BlobError, Blobs};
use crate::commands;
use crate::noarch;
use crate::store::{Store, StoreError, Task};

/// A result file whose header, payload and name are what they should be.
#[derive(Debug)]
pub struct Checked {
    /// What its header says.
    pub nevra: Nevra,
    /// Its blob.
    pub digest: Sha256,
    /// Its size in bytes.
    pub size: u64,
    /// The blob of its repodata.
    pub repodata: Sha256,
    /// The blob that describes what it consists of; only of a package of no architecture.
    pub content: Option<Sha256>,
    /// Of a source package, its files with the SHA-256 of each.
    pub sources: Vec<(Vec<u8>, Sha256)>,
    /// Everything else of its header.
    pub inspected: Inspected,
}

/// Why results are not accepted.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// They are not what was asked for.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A file is no RPM that is accepted.
    #[error("{file}: {source}{}", if *intact { "" } else { " (it is damaged: its own digests do not match)" })]
    Rpm {
        /// Its name.
        file: String,
        /// What is wrong with it.
        source: rpmfarm_rpmfile::Error,
        /// Whether its own digests match: then rpmbuild made it as it is.
        intact: bool,
    },
    /// A package cannot be described.
    #[error("{file}: {source}")]
    Repodata {
        /// Its name.
        file: String,
        /// What is wrong with it.
        source: RepodataError,
    },
    /// The file is not there, or not as announced.
    #[error("{file}: {source}")]
    Blob {
        /// Its name.
        file: String,
        /// What the blob store says.
        source: BlobError,
    },
    /// The file was not uploaded by the attempt that names it.
    #[error("{file} ({digest}) was not uploaded by this attempt; results of attempts do not mix")]
    Foreign {
        /// Its name.
        file: String,
        /// Its digest.
        digest: Sha256,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The check itself did not come to an end.
    #[error("the check was interrupted: {0}")]
    Interrupted(#[from] tokio::task::JoinError),
}

impl CheckError {
    /// Whose fault it is; `None` when the farm could not tell.
    #[must_use]
    pub const fn fault(&self) -> Option<Fault> {
        match self {
            Self::Refused(refusal) => Some(refusal.fault()),
            Self::Repodata { .. } => Some(Fault::Package),
            // What cannot be read, and is what rpmbuild wrote, is the package's to mend.
            Self::Rpm { intact: true, .. } => Some(Fault::Package),
            // One that is not whole most likely came from a worker that broke it.
            Self::Rpm { .. }
            | Self::Foreign { .. }
            | Self::Blob { source: BlobError::Missing(_), .. } => Some(Fault::Worker),
            Self::Blob { .. } | Self::Store(_) | Self::Interrupted(_) => None,
        }
    }

    /// What is said of it, with the command that helps where there is one.
    #[must_use]
    pub fn told(&self) -> String {
        match self {
            Self::Refused(Refusal::NotAbove(why)) => commands::not_above(why),
            error => error.to_string(),
        }
    }
}

/// Checks all files of a success, which may hold so much.
///
/// # Errors
/// For the first file that is not as it should be.
pub async fn files(
    store: &Store,
    blobs: &Blobs,
    (build, attempt): (BuildId, AttemptId),
    task: &Task,
    success: &Success,
    limits: Limits,
) -> Result<Vec<Checked>, CheckError> {
    results::check_set(task.kind, &success.files)?;
    let announced = store.announced(attempt).await?;
    if let Some(foreign) =
        success.files.iter().find(|file| !announced.contains(&(file.digest, file.size)))
    {
        return Err(CheckError::Foreign { file: foreign.name.clone(), digest: foreign.digest });
    }
    let expected = expectation(store, build, task).await?;
    let mut room = Room::new(limits);
    let mut checked = Vec::with_capacity(success.files.len());
    for file in &success.files {
        let (blobs, file, expected) = (blobs.clone(), file.clone(), expected.clone());
        let left = room.clone();
        let one = tokio::task::spawn_blocking(move || check(&blobs, &file, &expected, &left));
        let (one, holds) = one.await??;
        room.take(holds);
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
            let build = store.build(build).await?.ok_or_else(gone)?;
            Expected::Srpm { package: build.package }
        }
        TaskKind::Build | TaskKind::Noarch | TaskKind::Repeat => {
            let srpm = store.srpm(build).await?.ok_or_else(gone)?;
            Expected::Rpm { arch: task.arch, srpm: srpm.nevra }
        }
    })
}

/// Checks one file, and answers what it holds too.
fn check(
    blobs: &Blobs,
    file: &ResultFile,
    expected: &Expected,
    room: &Room,
) -> Result<(Checked, Contents), CheckError> {
    let name = || file.name.clone();
    let blob = |source| CheckError::Blob { file: name(), source };
    let path = blobs.path(file.digest);
    if !blobs.contains(file.digest) {
        return Err(blob(BlobError::Missing(file.digest)));
    }
    let rpm = |source| CheckError::Rpm { file: name(), source, intact: is_intact(&path) };
    let inspected = inspect(&path).map_err(rpm)?;
    let nevra = inspected.nevra.clone();
    expected.check(file, &nevra, inspected.source_rpm.as_deref())?;
    // Nothing is written: what an archive holds beside what its header lists is seen while it is read.
    let fits = |held: &Contents| room.check(&file.name, *held);
    let archived = check_contents_within(&path, |held| fits(held).is_ok()).map_err(rpm)?;
    let Archived { contents: holds, sources } = archived;
    fits(&holds)?;
    let described = describe(&path, file.digest, inspected.size, &file.name)
        .map_err(|source| CheckError::Repodata { file: name(), source })?;
    check_bounds(&nevra, &inspected, &described)?;
    let repodata = blobs.put(&described.to_bytes()).map_err(blob)?;
    let content = if nevra.arch == NOARCH {
        let content = noarch::content(&inspected.metadata).map_err(|error| {
            rpm(rpmfarm_rpmfile::Error::Malformed {
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
    Ok((Checked { nevra, digest, size, repodata, content, sources, inspected }, holds))
}

/// What is said of a package reaches a solver that is written in C: the very text is looked through.
fn check_bounds(
    nevra: &Nevra,
    inspected: &Inspected,
    described: &Fragments,
) -> Result<(), Refusal> {
    let refused = |source| Refusal::OutOfBounds { package: nevra.to_string(), source };
    let mut attributes = relation::Attributes::default();
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
