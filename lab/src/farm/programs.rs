//! The programs of this build: where they are, how acceptor, signer and coordinator are started,
//! and when they are ready.
//!
//! Owns their arguments. It must not know which of them a farm has.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::bail;

use super::{Process, Settings, TARGET, tls};

/// How long a process may take until it is ready; a signer that makes a key takes the longest.
const PATIENCE: Duration = Duration::from_secs(120);

/// Starts the acceptor, which creates its key if it has none.
pub(super) fn start_acceptor(directory: &Path) -> anyhow::Result<Process> {
    let socket = directory.join("acceptor.sock");
    let _ = std::fs::remove_file(&socket);
    let mut command = program("rpmfarm-acceptor");
    command
        .arg("serve")
        .arg("--state")
        .arg(directory.join("acceptor"))
        .arg("--socket")
        .arg(&socket)
        .arg("--blobs")
        .arg(directory.join("coordinator/blobs"));
    let mut acceptor = Process::start("acceptor", &mut command, &directory.join("logs"))?;
    wait_for(&mut acceptor, || socket.exists())?;
    Ok(acceptor)
}

/// Starts the signer, which creates its key if it has none, and trusts the acceptor.
pub(super) fn start_signer(directory: &Path) -> anyhow::Result<Process> {
    let socket = directory.join("signer.sock");
    let _ = std::fs::remove_file(&socket);
    let mut command = program("rpmfarm-signer");
    command
        .arg("serve")
        .arg("--keys")
        .arg(directory.join("keys"))
        .arg("--socket")
        .arg(&socket)
        .arg("--audit-log")
        .arg(directory.join("signer-audit.jsonl"))
        .arg("--blobs")
        .arg(directory.join("coordinator/blobs"))
        .arg("--acceptor")
        .arg(directory.join("acceptor/acceptor.pub"))
        .args(["--create", &format!("{TARGET}=rpmfarm lab <lab@example.org>")])
        .args(["--bind", &format!("{TARGET}={}", targets(directory)?.join(","))]);
    let mut signer = Process::start("signer", &mut command, &directory.join("logs"))?;
    wait_for(&mut signer, || socket.exists())?;
    Ok(signer)
}

/// The names of a farm's targets, which have one key.
fn targets(directory: &Path) -> std::io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory.join("targets"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            names.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
        }
    }
    Ok(names)
}

/// Starts one of the coordinators, and returns its address.
pub(super) fn start_coordinator(
    directory: &Path,
    settings: &Settings,
    servers: &[String],
    index: usize,
) -> anyhow::Result<(Process, String)> {
    let name = if index == 0 { "coordinator".into() } else { format!("coordinator{}", index + 1) };
    let address = directory.join(format!("{name}.address"));
    let _ = std::fs::remove_file(&address);
    let mut command = program("rpmfarm-coordinator");
    command
        .arg("--data")
        .arg(directory.join("coordinator"))
        .arg("--targets")
        .arg(directory.join("targets"))
        .arg("--signer")
        .arg(directory.join("signer.sock"))
        .arg("--acceptor-socket")
        .arg(directory.join("acceptor.sock"))
        .arg("--address-file")
        .arg(&address)
        .args(["--listen", servers[index].trim_start_matches("http://")])
        .args(&settings.coordinator_arguments)
        .envs(settings.environment.iter().cloned());
    if settings.tls {
        tls::listen(directory, index, &mut command);
    }
    // Networks of a test's own are as good as this host.
    if !servers[index].starts_with("http://127.") {
        command.arg("--allow-plain");
    }
    if servers.len() > 1 {
        // All of them publish under one name.
        command.args(["--base-url", &servers[0]]);
    }
    if index > 0 {
        command.arg("--cache").arg(directory.join(format!("{name}-cache")));
    }
    if let Some(database) = &settings.database {
        command.args(["--database", database]);
    }
    let mut coordinator = Process::start(&name, &mut command, &directory.join("logs"))?;
    wait_for(&mut coordinator, || {
        std::fs::read_to_string(&address).is_ok_and(|text| text.ends_with('\n'))
    })?;
    Ok((coordinator, std::fs::read_to_string(&address)?.trim().to_owned()))
}

/// An address on this host at which no process listens.
pub(super) fn free_address() -> std::io::Result<String> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    Ok(format!("http://{}", listener.local_addr()?))
}

fn wait_for(process: &mut Process, ready: impl Fn() -> bool) -> anyhow::Result<()> {
    let begun = Instant::now();
    while !ready() {
        if let Some(status) = process.ended() {
            bail!("{} ended with {status}:\n{}", process.name(), process.log_tail());
        }
        if begun.elapsed() > PATIENCE {
            bail!("{} is not ready after {PATIENCE:?}:\n{}", process.name(), process.log_tail());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// A program of this build: beside the one that runs, or in `RPMFARM_BIN`.
#[must_use]
pub fn program(name: &str) -> Command {
    Command::new(programs().join(name))
}

/// Where the programs of this build are.
#[must_use]
pub fn programs() -> PathBuf {
    if let Some(directory) = std::env::var_os("RPMFARM_BIN") {
        return directory.into();
    }
    let mut directory = std::env::current_exe().unwrap_or_default();
    directory.pop();
    // Test programs lie one level deeper.
    if directory.ends_with("deps") || directory.ends_with("examples") {
        directory.pop();
    }
    directory
}
