//! Uploading result files, in chunks, from where the last try broke.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use rpmfarm_core::kept::KeptFile;
use rpmfarm_core::results::ResultFile;
use rpmfarm_core::{AttemptId, Epoch, Failure, Fault};
use rpmfarm_proto::CHUNK;
use rpmfarm_proto::v1::{FileRef, KeepFilesRequest, KeptUpload, UploadChunk, UploadQuery};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::channel::{Connection, passes, pause};

/// Uploads one file to its end.
///
/// # Errors
/// When the coordinator does not take it. As long as the network is broken it is tried again;
/// whoever calls stops that by dropping the future.
pub async fn upload(
    connection: &Connection,
    attempt: AttemptId,
    epoch: Epoch,
    file: &ResultFile,
    path: &Path,
) -> Result<(), Failure> {
    let wire = FileRef {
        name: file.name.clone(),
        digest: file.digest.hex(),
        size: file.size,
        executable: false,
    };
    let query = UploadQuery { attempt: attempt.0, epoch: epoch.0, file: Some(wire) };
    let mut tries = 0;
    loop {
        let status = match once(connection, &query, path, file.size).await {
            Ok(true) => return Ok(()),
            // The digest was wrong and the coordinator has forgotten the bytes, or another try
            // overtook this one.
            Ok(false) => tonic::Status::aborted("the upload came to no end"),
            Err(status) => status,
        };
        if !passes(&status) {
            let message = format!("uploading {}: {}", file.name, status.message());
            return Err(Failure::new(Fault::Farm, "upload", message));
        }
        tracing::warn!(file = file.name, %status, "upload interrupted");
        tokio::time::sleep(pause(tries)).await;
        tries += 1;
    }
}

/// Tells the coordinator of the files that were kept of a failed attempt; all are uploaded.
///
/// # Errors
/// What the coordinator answers. One that is older than this knows no such call.
pub async fn keep_files(
    connection: &Connection,
    attempt: AttemptId,
    epoch: Epoch,
    files: &[KeptFile],
) -> Result<(), tonic::Status> {
    let file = |file: &KeptFile| KeptUpload {
        path: file.path.clone(),
        digest: file.digest.hex(),
        size: file.size,
    };
    let files = files.iter().map(file).collect();
    let request = KeepFilesRequest { attempt: attempt.0, epoch: epoch.0, files };
    connection.bulk().keep_files(request).await.map(drop)
}

async fn once(
    connection: &Connection,
    query: &UploadQuery,
    path: &Path,
    size: u64,
) -> Result<bool, tonic::Status> {
    let mut client = connection.bulk();
    let have = client.upload_offset(query.clone()).await?.into_inner().have;
    if have >= size {
        // An empty file has no chunk that could be missing, but has to be named once.
        if size > 0 {
            return Ok(true);
        }
    }
    let local = |error: io::Error| tonic::Status::aborted(format!("{}: {error}", path.display()));
    let mut file = File::open(path).map_err(local)?;
    file.seek(SeekFrom::Start(have)).map_err(local)?;
    let (sender, receiver) = mpsc::channel(2);
    let mut first = Some(query.clone());
    let read = tokio::task::spawn_blocking(move || -> io::Result<()> {
        let mut offset = have;
        loop {
            let mut data = Vec::with_capacity(CHUNK);
            (&mut file).take(CHUNK as u64).read_to_end(&mut data)?;
            if data.is_empty() && first.is_none() {
                return Ok(());
            }
            let length = data.len() as u64;
            let chunk = UploadChunk { query: first.take(), offset, data: data.into() };
            offset += length;
            if sender.blocking_send(chunk).is_err() {
                return Ok(());
            }
        }
    });
    let reply = client.upload(ReceiverStream::new(receiver)).await;
    read.await.map_err(|error| tonic::Status::internal(error.to_string()))?.map_err(local)?;
    Ok(reply?.into_inner().have == size)
}
