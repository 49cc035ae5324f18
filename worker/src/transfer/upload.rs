//! Uploads result files, in chunks, from where the last try ended.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::time::{Duration, Instant};

use rpmfarm_core::kept_files::KeptFile;
use rpmfarm_core::results::ResultFile;
use rpmfarm_core::{AttemptId, Epoch, Failure, FailureStage, Fault};
use rpmfarm_proto::CHUNK;
use rpmfarm_proto::v1::{
    FileRef, KeepFilesRequest, KeptUpload, UploadChunk, UploadQuery, UploadReply,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use super::channel::{CoordinatorConnection, passes, pause, reason};

/// How often a coordinator that answers and refuses a file is asked, without progress in between.
const ANSWERS: u32 = 20;

/// How long a coordinator that cannot be reached, or whose disk is full, is waited for, without
/// progress in between.
const SILENCE: Duration = Duration::from_secs(6 * 3600);

/// Decides when an upload is given up, so that none keeps its slot forever.
struct UploadPatience {
    /// The most bytes that were there, since when, and how many tries were refused since.
    have: u64,
    since: Instant,
    refused: u32,
}

impl UploadPatience {
    fn new(now: Instant) -> Self {
        Self { have: 0, since: now, refused: 0 }
    }

    /// Counts a failed try; the error says why there is no further one.
    fn after(&mut self, status: &tonic::Status, have: u64, now: Instant) -> Result<(), String> {
        if have > self.have {
            *self = Self { have, since: now, refused: 0 };
        }
        // These say nothing about the file: the network, a coordinator that starts, a full disk.
        let waits = [
            Code::Unavailable,
            Code::ResourceExhausted,
            Code::DeadlineExceeded,
            Code::Cancelled,
            Code::Unknown,
        ];
        self.refused += u32::from(!waits.contains(&status.code()));
        if self.refused >= ANSWERS {
            return Err(format!("the coordinator did not take it in {ANSWERS} tries"));
        }
        if now.duration_since(self.since) >= SILENCE {
            let hours = SILENCE.as_secs() / 3600;
            return Err(format!("nothing of it got to the coordinator for {hours} hours"));
        }
        Ok(())
    }
}

/// Uploads one file to its end.
///
/// # Errors
/// When the coordinator does not take it, in `ANSWERS` tries or by what it says. As long as the
/// network is broken it is tried again, for `SILENCE` at most; whoever calls stops that earlier by
/// dropping the future.
pub async fn upload(
    connection: &CoordinatorConnection,
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
    let (attempt, epoch) = (attempt.0, epoch.0);
    let query = UploadQuery { attempt, epoch, file: Some(wire), ..UploadQuery::default() };
    let (mut tries, mut have, mut patience) = (0, 0, UploadPatience::new(Instant::now()));
    loop {
        let status = match once(connection, &query, path, file.size, &mut have).await {
            Ok(true) => return Ok(()),
            // The digest was wrong and the coordinator has discarded the bytes, or another try was
            // faster.
            Ok(false) => tonic::Status::aborted("the upload was not completed"),
            Err(status) => status,
        };
        if !passes(&status) {
            let message = format!("uploading {}: {}", file.name, status.message());
            return Err(Failure::new(Fault::Farm, FailureStage::Upload, message));
        }
        if let Err(why) = patience.after(&status, have, Instant::now()) {
            let message = format!(
                "uploading {}: {why} (it has {have} of {} bytes): {}",
                file.name,
                file.size,
                reason(&status)
            );
            return Err(Failure::new(Fault::Farm, FailureStage::Upload, message));
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
    connection: &CoordinatorConnection,
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

/// Puts a file at its address in the object store, and has the coordinator take it over. When
/// either fails, the file is uploaded to the coordinator instead.
async fn place(
    connection: &CoordinatorConnection,
    query: &UploadQuery,
    address: &str,
    path: &Path,
    size: u64,
) -> bool {
    let refused = |reason: String| {
        tracing::warn!(reason, "not uploaded to the object store; the coordinator gets it");
        connection.objects().avoid();
        false
    };
    if let Err(error) = connection.objects().put(address, path, size).await {
        return refused(error.to_string());
    }
    let placed = UploadQuery { placed: true, ..query.clone() };
    match connection.bulk().upload_offset(placed).await {
        Ok(reply) => reply.into_inner().have == size,
        Err(status) => refused(reason(&status)),
    }
}

async fn once(
    connection: &CoordinatorConnection,
    query: &UploadQuery,
    path: &Path,
    size: u64,
    known: &mut u64,
) -> Result<bool, tonic::Status> {
    let mut client = connection.bulk();
    let by_address = connection.objects().is_usable();
    let asked = UploadQuery { by_address, ..query.clone() };
    let UploadReply { have, address } = client.upload_offset(asked).await?.into_inner();
    *known = have;
    if !address.is_empty() && place(connection, query, &address, path, size).await {
        return Ok(true);
    }
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
    // When the call ended early the receiver is gone, and the reader ends at its next chunk.
    read.await.map_err(|error| tonic::Status::internal(error.to_string()))?.map_err(local)?;
    Ok(reply?.into_inner().have == size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_coordinator_that_never_takes_a_file_is_given_up() {
        let (now, status) = (Instant::now(), tonic::Status::internal("no such file"));
        let mut patience = UploadPatience::new(now);
        for _ in 1..ANSWERS {
            patience.after(&status, 5, now).expect("goes on");
        }
        // More of it got there, so it counts anew.
        for _ in 1..ANSWERS {
            patience.after(&status, 6, now).expect("goes on");
        }
        let error = patience.after(&status, 6, now).expect_err("is given up");
        assert_eq!(error, "the coordinator did not take it in 20 tries");
    }

    #[test]
    fn one_that_is_not_reached_is_waited_for() {
        let now = Instant::now();
        for status in
            [tonic::Status::unavailable("gone"), tonic::Status::resource_exhausted("full")]
        {
            let mut patience = UploadPatience::new(now);
            for minute in 0..300 {
                let then = now + Duration::from_secs(60 * minute);
                patience.after(&status, 0, then).expect("goes on");
            }
            let error = patience.after(&status, 0, now + SILENCE).expect_err("is given up");
            assert!(error.contains("for 6 hours"), "{error}");
            patience.after(&status, 1, now + SILENCE).expect("something got there");
        }
    }
}
