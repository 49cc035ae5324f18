//! Reads the log of a task's newest attempt to its end.

use std::time::{Duration, Instant};

use rpmfarm_core::TaskId;
use rpmfarm_proto::{CHUNK, v1};
use tokio::sync::mpsc;
use tonic::Status;

use super::internal;
use crate::bus::Bus;
use crate::logs::{LogName, LogReader, Logs};
use crate::store::Store;
use crate::streams::StreamPermit;

/// The shortest time between two reads of one follower, because every chunk of any log wakes it.
const PACE: Duration = Duration::from_millis(100);

/// Reads one log of the newest attempt of a task.
pub struct LogTail {
    pub store: Store,
    pub logs: Logs,
    /// Woken when a log has grown.
    pub grown: Bus,
    /// Woken when a fact was written.
    pub facts: Bus,
    pub task: TaskId,
    pub log: LogName,
    /// Whether to wait for more until the log has ended.
    pub follow: bool,
    pub place: StreamPermit,
}

impl LogTail {
    /// Sends the log from an offset on.
    ///
    /// # Errors
    /// `NOT_FOUND` when there is no log yet and none is waited for.
    pub async fn send(
        &self,
        offset: u64,
        answers: &mpsc::Sender<Result<v1::LogData, Status>>,
    ) -> Result<(), Status> {
        let (mut grown, mut facts) = (self.grown.listen(), self.facts.listen());
        // One attempt to its end: the log of another attempt begins anew.
        let (mut chosen, mut reader) = (None, None);
        loop {
            let read_at = Instant::now();
            let attempts = self.store.attempt_list(self.task).await?;
            let newest = || attempts.last().map(|(attempt, _)| attempt.id);
            chosen = chosen.or_else(newest);
            let Some((attempt, end)) = attempts.iter().find(|(row, _)| Some(row.id) == chosen)
            else {
                if !self.follow {
                    return Err(Status::not_found("no worker has begun it yet"));
                }
                tokio::select! {
                    () = facts.woken() => rest(read_at).await,
                    () = answers.closed() => return Ok(()),
                }
                continue;
            };
            let (attempt, running) = (attempt.id, end.is_none());
            let log = reader.take();
            let log = log.unwrap_or_else(|| self.logs.reader(attempt, self.log, offset));
            let (log, state) = pass_on(log, answers).await?;
            reader = Some(log);
            match state {
                LogState::Unwanted => return Ok(()),
                LogState::Absent if !running && !self.follow => {
                    return Err(Status::not_found("there is no such log"));
                }
                // Nothing is added to the log of an attempt that has ended in any way.
                LogState::Ended => return Ok(()),
                LogState::Absent | LogState::Growing if !running || !self.follow => return Ok(()),
                LogState::Absent | LogState::Growing => {}
            }
            tokio::select! {
                () = grown.woken() => rest(read_at).await,
                () = facts.woken() => rest(read_at).await,
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
                () = answers.closed() => return Ok(()),
            }
        }
    }
}

/// The result of one read of a log, beside the pieces that were sent.
enum LogState {
    /// There is no such log yet.
    Absent,
    /// Everything that is there was sent, and more may come.
    Growing,
    Ended,
    /// The client is gone.
    Unwanted,
}

/// Sends the present rest of a log.
async fn pass_on(
    mut log: LogReader,
    answers: &mpsc::Sender<Result<v1::LogData, Status>>,
) -> Result<(LogReader, LogState), Status> {
    loop {
        let offset = log.offset();
        let (after, piece) = read(log).await?;
        log = after;
        let Some((data, ended)) = piece else { return Ok((log, LogState::Absent)) };
        let is_end = data.len() < CHUNK;
        if !data.is_empty() {
            let chunk = v1::LogData { data: data.into(), offset };
            if answers.send(Ok(chunk)).await.is_err() {
                return Ok((log, LogState::Unwanted));
            }
        }
        if is_end {
            return Ok((log, if ended { LogState::Ended } else { LogState::Growing }));
        }
    }
}

/// Waits until the log may be read again.
pub(super) async fn rest(read_at: Instant) {
    tokio::time::sleep(PACE.saturating_sub(read_at.elapsed())).await;
}

/// Reads the next piece of a log, on a thread that may block.
async fn read(mut log: LogReader) -> Result<(LogReader, Option<(Vec<u8>, bool)>), Status> {
    let read = move || {
        let piece = log.next(CHUNK);
        (log, piece)
    };
    let (log, piece) = tokio::task::spawn_blocking(read).await.map_err(internal)?;
    Ok((log, piece.map_err(internal)?))
}
