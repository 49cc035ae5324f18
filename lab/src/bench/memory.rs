//! The memory of processes, as the kernel counts it.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};

/// The peak memory of a process so far, in MiB.
pub(super) fn peak_mib(pid: u32) -> anyhow::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).context("no VmHWM")?;
    let kib: u32 = line.split_whitespace().nth(1).context("no value")?.parse()?;
    Ok(f64::from(kib) / 1024.0)
}

/// Runs a program to its end with its output in a file, and returns its own peak in MiB, without
/// that of its children.
pub(super) fn run_and_watch(command: &mut Command, log: &Path) -> anyhow::Result<f64> {
    let log_file = File::create(log)?;
    command.stdin(Stdio::null()).stdout(log_file.try_clone()?).stderr(log_file);
    let mut child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
    let mut peak: f64 = 0.0;
    let status = loop {
        // The peak only grows: the last reading before the end misses little.
        peak = peak_mib(child.id()).map_or(peak, |now| now.max(peak));
        match child.try_wait()? {
            Some(status) => break status,
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    let program = command.get_program();
    ensure!(
        status.success(),
        "{program:?} ended with {status}:\n{}",
        fs::read_to_string(log).unwrap_or_default()
    );
    Ok(peak)
}
