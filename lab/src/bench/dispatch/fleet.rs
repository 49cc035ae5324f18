//! The fleet of workers that build nothing: a process that takes commands and reports events.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde::Deserialize;

/// An event of a worker, or a request to the farm.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Event {
    /// connected, assigned, ended, dropped, broken, retried.
    pub(super) event: String,
    /// When, in microseconds since 1970.
    pub(super) at: i64,
    /// The worker; empty for a request to the farm.
    #[serde(default)]
    pub(super) worker: String,
    #[serde(default)]
    pub(super) task: i64,
    #[serde(default)]
    pub(super) build: i64,
    #[serde(default)]
    error: Option<String>,
}

/// The process. When dropped, all its workers end.
pub(super) struct Fleet {
    child: Child,
    commands: ChildStdin,
    events: Receiver<Event>,
}

impl Fleet {
    /// Starts one; the command has all its arguments.
    pub(super) fn start(command: &mut Command) -> anyhow::Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        let commands = child.stdin.take().context("no standard input")?;
        let lines = BufReader::new(child.stdout.take().context("no standard output")?).lines();
        let (sender, events) = channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let Ok(event) = serde_json::from_str(&line) else { break };
                if sender.send(event).is_err() {
                    break;
                }
            }
        });
        Ok(Self { child, commands, events })
    }

    pub(super) fn send(&mut self, command: &str) -> anyhow::Result<()> {
        writeln!(self.commands, "{command}").context("the fleet is gone")
    }

    /// Passes on events until `enough` returns true.
    pub(super) fn watch(
        &self,
        patience: Duration,
        what: &str,
        mut enough: impl FnMut(&Event) -> bool,
    ) -> anyhow::Result<()> {
        let begun = Instant::now();
        loop {
            match self.events.recv_timeout(patience.saturating_sub(begun.elapsed())) {
                Ok(event) => {
                    if event.event == "retried"
                        && let Some(error) = &event.error
                    {
                        bail!("build {} was not tried again: {error}", event.build);
                    }
                    if enough(&event) {
                        return Ok(());
                    }
                }
                Err(RecvTimeoutError::Timeout) => bail!("{what}: not after {patience:?}"),
                Err(RecvTimeoutError::Disconnected) => bail!("{what}: the fleet is gone"),
            }
        }
    }

    /// All events of a period.
    pub(super) fn listen(&self, time: Duration) -> Vec<Event> {
        let begun = Instant::now();
        let mut events = Vec::new();
        while let Ok(event) = self.events.recv_timeout(time.saturating_sub(begun.elapsed())) {
            events.push(event);
        }
        events
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
