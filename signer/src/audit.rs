//! The log of everything that was signed: JSON lines, only ever appended to, on disk before the
//! signature leaves the process. Lines that wait at the same time share one sync.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::mpsc;
use std::thread;

use serde::Serialize;
use tokio::sync::{oneshot, watch};

/// Lines that wait; whoever comes then waits for a place.
const QUEUE: usize = 1024;

/// One signature.
#[derive(Debug, Clone, Serialize)]
pub struct Record {
    /// When, as RFC 3339 in UTC; the signature has the same time, in seconds.
    pub time: String,
    /// Name of the key.
    pub key: String,
    /// Fingerprint of the key, hex.
    pub fingerprint: String,
    /// What was signed.
    #[serde(flatten)]
    pub signed: Signed,
}

/// What was signed.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Signed {
    /// The header of a package.
    Header {
        /// The package.
        nevra: String,
        /// SHA-256 of the header.
        header: String,
        /// SHA-256 of the unsigned file.
        artifact: String,
        /// The acceptance that let it be signed.
        verdict: String,
    },
    /// A file.
    File {
        /// What the file is.
        purpose: String,
        /// SHA-256 of the file.
        sha256: String,
    },
}

/// The log could not be written: nothing more may be signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the audit log could not be written; nothing is signed without it")]
pub struct LogFailed;

struct Line {
    bytes: Vec<u8>,
    done: oneshot::Sender<()>,
}

/// A handle to the log. After an error of the disk it is shut for good: what a failed sync has
/// left on disk is not known, so it is never tried again.
#[derive(Debug, Clone)]
pub struct Audit {
    queue: mpsc::SyncSender<Line>,
    failed: watch::Receiver<bool>,
}

impl Audit {
    /// Opens the log, making it when it is not there.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let mut file = options.read(true).append(true).create(true).mode(0o640).open(path)?;
        end_torn_line(&mut file)?;
        file.sync_all()?;
        if let Some(parent) = path.canonicalize()?.parent() {
            File::open(parent)?.sync_all()?;
        }
        Self::start(file)
    }

    fn start(mut file: File) -> io::Result<Self> {
        let (queue, lines) = mpsc::sync_channel(QUEUE);
        let (failure, failed) = watch::channel(false);
        thread::Builder::new().name("audit".into()).spawn(move || {
            if let Err(error) = write_lines(&mut file, &lines) {
                tracing::error!(%error, "the audit log could not be written");
                failure.send_replace(true);
            }
        })?;
        Ok(Self { queue, failed })
    }

    /// Appends a record; it is on disk when this returns.
    ///
    /// # Errors
    /// When the log could not be written, now or before.
    pub async fn append(&self, record: &Record) -> Result<(), LogFailed> {
        let mut bytes = serde_json::to_vec(record).map_err(|_| LogFailed)?;
        bytes.push(b'\n');
        let (done, written) = oneshot::channel();
        let queue = self.queue.clone();
        // The queue is only full when the disk is far behind.
        let sent = match queue.try_send(Line { bytes, done }) {
            Err(mpsc::TrySendError::Full(line)) => {
                tokio::task::spawn_blocking(move || queue.send(line)).await.is_ok_and(|r| r.is_ok())
            }
            sent => sent.is_ok(),
        };
        if !sent {
            return Err(LogFailed);
        }
        written.await.map_err(|_| LogFailed)
    }

    /// Returns when the log has failed.
    pub async fn failed(&self) {
        let mut failed = self.failed.clone();
        if failed.wait_for(|failed| *failed).await.is_err() {
            // The writer ended without an error: nobody holds the log any more.
            std::future::pending::<()>().await;
        }
    }
}

fn write_lines(file: &mut File, lines: &mpsc::Receiver<Line>) -> io::Result<()> {
    while let Ok(first) = lines.recv() {
        let batch: Vec<Line> = std::iter::once(first).chain(lines.try_iter()).collect();
        let bytes: Vec<u8> = batch.iter().flat_map(|line| line.bytes.iter().copied()).collect();
        file.write_all(&bytes)?;
        file.sync_data()?;
        for line in batch {
            // Whoever waited may be gone; the record stays.
            let _ = line.done.send(());
        }
    }
    Ok(())
}

/// A crash can leave half a line, which must not spoil the next one.
fn end_torn_line(file: &mut File) -> io::Result<()> {
    if file.metadata()?.len() == 0 {
        return Ok(());
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    if last != *b"\n" {
        file.write_all(b"\n")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(purpose: &str) -> Record {
        let signed = Signed::File { purpose: purpose.into(), sha256: "00".into() };
        Record { time: "t".into(), key: "k".into(), fingerprint: "f".into(), signed }
    }

    #[tokio::test]
    async fn keeps_every_line_and_mends_a_torn_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let audit = Audit::open(&path).unwrap();
        audit.append(&record("one")).await.unwrap();
        drop(audit);
        let mut torn = OpenOptions::new().append(true).open(&path).unwrap();
        torn.write_all(b"{\"half").unwrap();

        let audit = Audit::open(&path).unwrap();
        let appends = (0..50).map(|n| {
            let audit = audit.clone();
            tokio::spawn(async move { audit.append(&record(&format!("many {n}"))).await })
        });
        for append in appends.collect::<Vec<_>>() {
            append.await.unwrap().unwrap();
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<_> = text.lines().map(serde_json::from_str::<serde_json::Value>).collect();
        assert_eq!(lines.len(), 52);
        assert_eq!(lines.iter().filter(|line| line.is_err()).count(), 1);
        assert_eq!(lines[0].as_ref().unwrap()["purpose"], "one");
    }

    #[tokio::test]
    async fn a_full_disk_shuts_it_for_good() {
        let full = OpenOptions::new().append(true).open("/dev/full").unwrap();
        let audit = Audit::start(full).unwrap();
        assert_eq!(audit.append(&record("x")).await, Err(LogFailed));
        audit.failed().await;
        assert_eq!(audit.append(&record("y")).await, Err(LogFailed));
    }
}
