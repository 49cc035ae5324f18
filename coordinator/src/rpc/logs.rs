//! Reads the log of a task's newest attempt to its end.

use std::time::Duration;

use rpmfarm_core::{AttemptId, TaskId};
use rpmfarm_proto::{CHUNK, v1};
use tokio::sync::mpsc;
use tonic::Status;

use super::internal;
use crate::farm::Farm;
use crate::logs::LogName;

/// A reading of one log of the newest attempt of a task.
pub struct Reader {
    /// Where it is read.
    pub farm: Farm,
    /// Whose.
    pub task: TaskId,
    /// Which.
    pub log: LogName,
    /// Whether to wait for more until it has ended.
    pub follow: bool,
}

impl Reader {
    /// Sends the log from an offset on.
    ///
    /// # Errors
    /// `NOT_FOUND` when there is no log yet and none is waited for.
    pub async fn send(
        &self,
        mut offset: u64,
        answers: &mpsc::Sender<Result<v1::LogData, Status>>,
    ) -> Result<(), Status> {
        let (mut grown, mut facts) = (self.farm.log_bell.listen(), self.farm.bus.listen());
        // One attempt to its end: another one's log begins anew.
        let mut chosen = None;
        loop {
            let attempts = self.farm.store.attempts(self.task).await?;
            let newest = || attempts.last().map(|(attempt, _)| attempt.id);
            chosen = chosen.or_else(newest);
            let Some((attempt, end)) = attempts.iter().find(|(row, _)| Some(row.id) == chosen)
            else {
                if !self.follow {
                    return Err(Status::not_found("no worker has begun it yet"));
                }
                tokio::select! {
                    () = facts.rung() => continue,
                    () = answers.closed() => return Ok(()),
                }
            };
            let (attempt, running) = (AttemptId(attempt.id), end.is_none());
            let found = self.read(attempt, offset).await?;
            if found.is_none() && !running && !self.follow {
                return Err(Status::not_found("there is no such log"));
            }
            let (data, complete) = found.unwrap_or_default();
            // Nothing is added to the log of an attempt that has ended, however that came.
            let complete = complete || !running;
            let end_of_data = data.len() < CHUNK;
            if !data.is_empty() {
                let length = data.len() as u64;
                let chunk = v1::LogData { data: data.into(), offset };
                if answers.send(Ok(chunk)).await.is_err() {
                    return Ok(());
                }
                offset += length;
            }
            if !end_of_data {
                continue;
            }
            if complete || !self.follow {
                return Ok(());
            }
            tokio::select! {
                () = grown.rung() => {}
                () = facts.rung() => {}
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
                () = answers.closed() => return Ok(()),
            }
        }
    }

    async fn read(
        &self,
        attempt: AttemptId,
        offset: u64,
    ) -> Result<Option<(Vec<u8>, bool)>, Status> {
        let (logs, log) = (self.farm.logs.clone(), self.log);
        tokio::task::spawn_blocking(move || logs.read(attempt, log, offset, CHUNK))
            .await
            .map_err(internal)?
            .map_err(internal)
    }
}
