//! The command `rpmfarm`, as a user or a script runs it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rpmfarm_core::status::BuildState;
use serde_json::Value;

use super::{TARGET, program};

/// Runs `rpmfarm` against one farm.
#[derive(Debug, Clone)]
pub struct Client {
    server: String,
    token: PathBuf,
    /// The CA to trust, over TLS.
    authority: Option<PathBuf>,
}

/// The result of a run of `rpmfarm`.
#[derive(Debug, Clone)]
pub struct Answer {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Client {
    pub(super) fn new(server: &str, token: &Path) -> Self {
        Self { server: server.into(), token: token.into(), authority: None }
    }

    /// The same, trusting the CA of a file.
    pub(super) fn trusting(self, authority: &Path) -> Self {
        Self { authority: Some(authority.into()), ..self }
    }

    /// The command with its arguments, ready to run.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = program("rpmfarm");
        command.args(["--server", &self.server]).arg("--token-file").arg(&self.token);
        if let Some(authority) = &self.authority {
            command.arg("--ca-file").arg(authority);
        }
        command.args(arguments);
        command
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn run(&self, arguments: &[&str]) -> anyhow::Result<Answer> {
        let output = self.command(arguments).output().context("cannot start rpmfarm")?;
        Ok(Answer {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Runs it with `--json` and reads the one document that it prints.
    ///
    /// # Errors
    /// When it fails, or prints no JSON.
    pub fn json(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        let answer = self.run(&[&["--json"], arguments].concat())?;
        if answer.code != 0 {
            bail!("rpmfarm {arguments:?} ended with {}: {}", answer.code, answer.err);
        }
        serde_json::from_str(&answer.out).with_context(|| format!("no JSON: {}", answer.out))
    }

    /// Requests builds and returns their numbers.
    ///
    /// # Errors
    /// When they are refused.
    pub fn build(&self, packages: &[&str]) -> anyhow::Result<Vec<i64>> {
        let arguments = [&["build", "--target", TARGET], packages].concat();
        let answer = self.json(&arguments)?;
        let builds = answer["builds"].as_array().or_else(|| answer.as_array());
        let builds = builds.with_context(|| format!("no builds in {answer}"))?;
        builds
            .iter()
            .map(|build| build["id"].as_i64().context("a build without a number"))
            .collect()
    }

    /// The document of a build.
    ///
    /// # Errors
    /// When there is none.
    pub fn show(&self, build: i64) -> anyhow::Result<Value> {
        self.json(&["show", &build.to_string()])
    }

    /// Waits until a build is in one of these states, and returns it.
    ///
    /// # Errors
    /// When it ends in another one, or takes longer than `patience`.
    pub fn wait(&self, build: i64, states: &[&str], patience: Duration) -> anyhow::Result<Value> {
        let begun = Instant::now();
        loop {
            // The coordinator may be restarting.
            let shown = match self.show(build) {
                Ok(shown) => shown,
                Err(error) if begun.elapsed() > patience => return Err(error),
                Err(_) => {
                    std::thread::sleep(Duration::from_millis(100));
                    continue;
                }
            };
            let state = shown["state"].as_str().unwrap_or_default().to_owned();
            if states.contains(&state.as_str()) {
                return Ok(shown);
            }
            let ended = state.parse::<BuildState>().is_ok_and(BuildState::is_end);
            if ended || begun.elapsed() > patience {
                let log = self.run(&["log", &build.to_string()]).map(|log| log.out);
                bail!(
                    "build {build} is {state} after {:?}, not {states:?}: {shown:#}\n{}",
                    begun.elapsed(),
                    log.unwrap_or_default()
                );
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Builds packages in one batch and waits until all are published.
    ///
    /// # Errors
    /// When one is not.
    pub fn publish(&self, packages: &[&str], patience: Duration) -> anyhow::Result<Vec<Value>> {
        let builds = self.build(packages)?;
        builds.iter().map(|build| self.wait(*build, &["published"], patience)).collect()
    }
}
