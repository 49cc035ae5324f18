//! Fetches files by digest into the cache: several at once, resumed where they broke off, checked.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use futures_util::{StreamExt as _, TryStreamExt as _};
use rpmfarm_core::{Fault, Sha256};
use rpmfarm_proto::v1::FetchRequest;
use sha2::Digest as _;

use super::cache::FileCache;
use super::channel::{CoordinatorConnection, passes, pause};
use super::objects::ObjectError;
use crate::files::{FilesError, WantedFile};

/// Files fetched at once.
const AT_ONCE: usize = 8;

/// Tries of one file while nothing of it comes.
const TRIES: u32 = 8;

/// Brings all wanted files into the cache.
///
/// # Errors
/// When one cannot be had.
pub async fn fetch(
    connection: &CoordinatorConnection,
    cache: &FileCache,
    wanted: &[WantedFile],
) -> Result<(), FilesError> {
    futures_util::stream::iter(wanted.to_vec())
        .map(|file| async move { fetch_one(connection, cache, &file).await })
        .buffer_unordered(AT_ONCE)
        .try_collect::<()>()
        .await
}

async fn fetch_one(
    connection: &CoordinatorConnection,
    cache: &FileCache,
    wanted: &WantedFile,
) -> Result<(), FilesError> {
    let turn = cache.fetching(wanted.digest);
    let _turn = turn.lock().await;
    if cache.has(wanted.digest) {
        return Ok(());
    }
    let failed = |reason: String, fault: Fault| FilesError::Fetch {
        name: wanted.name.clone(),
        digest: wanted.digest,
        reason,
        fault,
    };
    let partial = cache.partial(wanted.digest);
    let mut tries = 0;
    loop {
        let have = length(&partial).map_err(FilesError::local(&partial))?;
        match receive(connection, wanted, &partial, have).await {
            Ok(()) => {}
            Err(TransferError::Local(source)) => {
                return Err(FilesError::Local { path: partial, source });
            }
            Err(TransferError::Object(reason)) => {
                // The coordinator has it, too.
                tracing::warn!(file = wanted.name, reason, "not fetched from the object store");
                connection.objects().avoid();
                continue;
            }
            Err(TransferError::Call(status)) if !passes(&status) => {
                return Err(failed(status.message().to_owned(), Fault::Farm));
            }
            Err(TransferError::Call(status)) => {
                // As long as bytes arrive, the error is one of the network and not counted.
                let grown = length(&partial).map_err(FilesError::local(&partial))? > have;
                tries = if grown { 0 } else { tries + 1 };
                if tries == TRIES {
                    return Err(failed(status.message().to_owned(), Fault::Worker));
                }
                tokio::time::sleep(pause(tries)).await;
                continue;
            }
        }
        let found = check(&partial, wanted.size).map_err(FilesError::local(&partial))?;
        if found == Some(wanted.digest) {
            return cache.keep(wanted.digest).map_err(FilesError::local(&partial));
        }
        fs::remove_file(&partial).map_err(FilesError::local(&partial))?;
        // Perhaps the object store has another file there.
        connection.objects().avoid();
        tries += 1;
        if tries == TRIES {
            let found = found.map_or_else(|| "another size".into(), |digest| digest.hex());
            return Err(failed(format!("found {found}"), Fault::Farm));
        }
    }
}

/// Why a transfer broke.
enum TransferError {
    Call(tonic::Status),
    Object(String),
    Local(io::Error),
}

impl From<ObjectError> for TransferError {
    fn from(error: ObjectError) -> Self {
        match error {
            ObjectError::Store(reason) => Self::Object(reason),
            ObjectError::Local(error) => Self::Local(error),
        }
    }
}

impl From<tonic::Status> for TransferError {
    fn from(status: tonic::Status) -> Self {
        Self::Call(status)
    }
}

impl From<io::Error> for TransferError {
    fn from(error: io::Error) -> Self {
        Self::Local(error)
    }
}

/// Appends what arrives. More bytes than announced are cut off, because they would fill the disk.
async fn receive(
    connection: &CoordinatorConnection,
    wanted: &WantedFile,
    partial: &Path,
    offset: u64,
) -> Result<(), TransferError> {
    let by_address = connection.objects().is_usable();
    let request = FetchRequest { digest: wanted.digest.hex(), offset, by_address };
    let mut chunks = connection.blobs().fetch(request).await?.into_inner();
    let mut file = File::options().create(true).append(true).open(partial)?;
    let mut room = wanted.size.saturating_sub(offset);
    while let Some(chunk) = chunks.message().await? {
        if !chunk.address.is_empty() {
            connection.objects().get(&chunk.address, offset, room, &mut file).await?;
            return Ok(());
        }
        let length = chunk.data.len() as u64;
        if length > room {
            return Ok(());
        }
        room -= length;
        file.write_all(&chunk.data)?;
    }
    Ok(())
}

fn length(path: &Path) -> io::Result<u64> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(metadata.len()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

/// The digest of a file of this size; `None` when it has another.
fn check(path: &Path, size: u64) -> io::Result<Option<Sha256>> {
    let mut file = File::open(path)?;
    if file.metadata()?.len() != size {
        return Ok(None);
    }
    let mut hasher = sha2::Sha256::new();
    io::copy(&mut file, &mut hasher)?;
    Ok(Some(Sha256::from_bytes(hasher.finalize().into())))
}

/// Fetches a small file into memory.
///
/// # Errors
/// When it cannot be had, or is longer than `limit` bytes.
pub async fn fetch_small(
    connection: &CoordinatorConnection,
    digest: Sha256,
    limit: usize,
) -> Result<Vec<u8>, FilesError> {
    let failed = |reason: String, fault: Fault| FilesError::Fetch {
        name: "document".into(),
        digest,
        reason,
        fault,
    };
    let mut tries = 0;
    loop {
        match receive_small(connection, digest, limit).await {
            Ok(bytes) if Sha256::compute(&bytes) == digest => return Ok(bytes),
            Ok(bytes) => {
                return Err(failed(format!("found {}", Sha256::compute(&bytes)), Fault::Farm));
            }
            Err(status) if passes(&status) && tries < TRIES => {
                tokio::time::sleep(pause(tries)).await;
                tries += 1;
            }
            Err(status) => return Err(failed(status.message().to_owned(), Fault::Farm)),
        }
    }
}

async fn receive_small(
    connection: &CoordinatorConnection,
    digest: Sha256,
    limit: usize,
) -> Result<Vec<u8>, tonic::Status> {
    let request = FetchRequest { digest: digest.hex(), ..FetchRequest::default() };
    let mut chunks = connection.blobs().fetch(request).await?.into_inner();
    let mut bytes = Vec::new();
    while let Some(chunk) = chunks.message().await? {
        if bytes.len() + chunk.data.len() > limit {
            return Err(tonic::Status::out_of_range(format!("longer than {limit} bytes")));
        }
        bytes.extend_from_slice(&chunk.data);
    }
    Ok(bytes)
}
