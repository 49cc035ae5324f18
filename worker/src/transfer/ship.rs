//! Sends a log while it grows, by offset: bytes that the coordinator has are never sent twice, and
//! missing ones are sent again.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;
use std::time::Duration;

use rpmfarm_core::task::LogName;
use rpmfarm_core::{AttemptId, Epoch};
use rpmfarm_proto::CHUNK;
use rpmfarm_proto::v1::LogChunk;
use tokio::sync::watch;

use super::channel::{CoordinatorConnection, passes, pause};

/// How often a growing log is read.
const PERIOD: Duration = Duration::from_millis(200);

/// A log on its way.
pub struct LogShipment {
    pub connection: CoordinatorConnection,
    pub attempt: AttemptId,
    pub epoch: Epoch,
    pub log: LogName,
    /// The file that grows.
    pub path: PathBuf,
}

impl LogShipment {
    /// Sends until the log is complete, which `complete` says. Ends early when the coordinator no
    /// longer wants it.
    pub async fn run(self, mut complete: watch::Receiver<bool>) {
        let mut offset = 0;
        let mut tries = 0;
        loop {
            // Checked before reading: after the end, a read returns the whole rest.
            let last = *complete.borrow();
            let data = self.read(offset).unwrap_or_default();
            let end_of_file = data.len() < CHUNK;
            if data.is_empty() && !last {
                tokio::select! {
                    _ = complete.wait_for(|complete| *complete) => {}
                    () = tokio::time::sleep(PERIOD) => {}
                }
                continue;
            }
            let chunk = LogChunk {
                attempt: self.attempt.0,
                epoch: self.epoch.0,
                log: self.log.as_str().into(),
                offset,
                data: data.into(),
                last: last && end_of_file,
            };
            let ended = chunk.last;
            match self.connection.bulk().append_log(chunk).await {
                Ok(reply) => {
                    let next = reply.into_inner().next;
                    let moved = next > offset;
                    offset = next;
                    tries = 0;
                    if ended {
                        return;
                    }
                    if !moved {
                        tokio::time::sleep(PERIOD).await;
                    }
                }
                Err(status) if passes(&status) => {
                    tokio::time::sleep(pause(tries)).await;
                    tries += 1;
                }
                Err(status) => {
                    tracing::info!(attempt = self.attempt.0, %status, "log no longer wanted");
                    return;
                }
            }
        }
    }

    fn read(&self, offset: u64) -> io::Result<Vec<u8>> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(offset))?;
        let mut data = Vec::new();
        file.take(CHUNK as u64).read_to_end(&mut data)?;
        Ok(data)
    }
}
