//! A whole farm as real processes on this host: the lab's servers, signer, coordinator, workers
//! and the command `rpmfarm`. Demo, end-to-end tests and benchmarks are written with it.
//!
//! Owns starting, killing and asking; what should come out is the caller's to know.

mod client;
mod dnf;
mod hook;
mod postgres;
mod process;
mod tls;
mod world;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rpmfarm_core::Arch;

use crate::tool;

pub use client::{Answer, Client};
pub use dnf::InstallRoot;
pub use hook::{Forge, Hook};
pub use postgres::Postgres;
pub use process::Process;
pub use world::World;

/// The name of the lab's target and of its key.
pub const TARGET: &str = "lab";

/// A farm that runs. Dropped, all of it is gone.
pub struct Farm {
    directory: PathBuf,
    /// The addresses of all coordinators.
    servers: Vec<String>,
    /// The signer.
    pub signer: Process,
    /// The coordinator; of several, the first.
    pub coordinator: Process,
    /// The other coordinators.
    pub others: Vec<Process>,
    /// The workers.
    pub workers: Vec<Process>,
}

/// How a farm is started.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Directory of all state: data of the three processes, targets, logs.
    pub directory: PathBuf,
    /// The database's URL; none for SQLite in the data directory.
    pub database: Option<String>,
    /// How many coordinators share the database and the data directory. More than one need
    /// PostgreSQL.
    pub coordinators: usize,
    /// How many workers. Of several coordinators, each worker begins with another one.
    pub workers: usize,
    /// What the workers build for, one after the other in turn; none for the host's own
    /// architecture.
    pub worker_arches: Vec<Arch>,
    /// Further arguments of the coordinator.
    pub coordinator_arguments: Vec<String>,
    /// Where the coordinator listens.
    pub listen: String,
    /// Further environment of the coordinator and of workers.
    pub environment: Vec<(String, String)>,
    /// Further arguments of each worker.
    pub worker_arguments: Vec<String>,
    /// What comes before a worker's program, as `nsenter`, with its arguments.
    pub worker_wrapper: Vec<String>,
    /// The address that workers call, when it is not the coordinator's own.
    pub worker_server: Option<String>,
    /// Whether workers and the command use TLS: then each worker is enrolled. If not, all have the
    /// farm's token.
    pub tls: bool,
    /// Where the first worker keeps roots and packages; shared by farms to have them warm. The
    /// others have `…-2` and so on beside it. None for directories of this farm's own.
    pub worker_data: Option<PathBuf>,
}

impl Settings {
    /// One worker, SQLite, everything below a directory.
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            database: None,
            coordinators: 1,
            workers: 1,
            coordinator_arguments: Vec::new(),
            listen: "127.0.0.1:0".into(),
            environment: Vec::new(),
            worker_arches: Vec::new(),
            worker_arguments: Vec::new(),
            tls: false,
            worker_wrapper: Vec::new(),
            worker_server: None,
            worker_data: None,
        }
    }
}

/// How long a process may take until it is ready; a signer that makes a key takes the longest.
const PATIENCE: Duration = Duration::from_secs(120);

impl Farm {
    /// Starts signer, coordinator and workers for the lab's target.
    ///
    /// # Errors
    /// When a process does not come up; its log is in the error.
    pub fn start(settings: &Settings, target: &str) -> anyhow::Result<Self> {
        let directory = settings.directory.clone();
        for part in ["targets", "coordinator", "logs"] {
            let path = directory.join(part);
            std::fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
        }
        std::fs::write(directory.join("targets").join(format!("{TARGET}.toml")), target)?;
        let signer = start_signer(&directory)?;
        let mut servers = if settings.coordinators > 1 {
            // Each is told of the first's address.
            (0..settings.coordinators).map(|_| free_address()).collect::<std::io::Result<_>>()?
        } else {
            vec![format!("http://{}", settings.listen)]
        };
        let mut all = Vec::new();
        for index in 0..settings.coordinators {
            let (coordinator, address) = start_coordinator(&directory, settings, &servers, index)?;
            servers[index] = address;
            all.push(coordinator);
        }
        let coordinator = all.remove(0);
        let (others, workers) = (all, Vec::new());
        let mut farm = Self { directory, servers, signer, coordinator, others, workers };
        for number in 1..=settings.workers {
            let worker = farm.start_worker(settings, number)?;
            farm.workers.push(worker);
        }
        Ok(farm)
    }

    /// The address of API and repositories.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.servers[0]
    }

    /// The address of each coordinator.
    #[must_use]
    pub fn servers(&self) -> &[String] {
        &self.servers
    }

    /// The command `rpmfarm`, told of these coordinators, which it tries in their order.
    #[must_use]
    pub fn client_of(&self, coordinators: &[usize]) -> Client {
        let servers: Vec<&str> =
            coordinators.iter().map(|index| self.servers[*index].as_str()).collect();
        Client::new(&servers.join(","), &self.directory.join("coordinator/token"))
    }

    /// Everything that the farm keeps.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The command `rpmfarm`, told where this farm is.
    #[must_use]
    pub fn client(&self) -> Client {
        let token = self.directory.join("coordinator/token");
        match self.tls_address() {
            Ok(server) => Client::new(&server, &token).trusting(&self.authority()),
            Err(_) => Client::new(self.server(), &token),
        }
    }

    /// The address of a channel's repository of binary packages.
    #[must_use]
    pub fn repository(&self, channel: &str, arch: &str) -> String {
        format!("{}/repo/{TARGET}/{channel}/{arch}/os/", self.server())
    }

    /// The `.repo` file of a channel, as a user would fetch it.
    ///
    /// # Errors
    /// When it cannot be had.
    pub fn repo_file(&self, channel: &str) -> anyhow::Result<String> {
        let url = format!("{}/repo/{TARGET}/{TARGET}-{channel}.repo", self.server());
        let text = tool::output(Command::new("curl").args(["-sSf", &url]))?;
        Ok(String::from_utf8(text)?)
    }

    /// The address of the public key.
    #[must_use]
    pub fn key_url(&self) -> String {
        format!("{}/repo/{TARGET}/RPM-GPG-KEY-{TARGET}", self.server())
    }

    /// Starts the signer again after it was killed.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn restart_signer(&mut self) -> anyhow::Result<()> {
        self.signer.kill();
        self.signer = start_signer(&self.directory)?;
        Ok(())
    }

    /// Starts the coordinator again, at the same address, after it was killed.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn restart_coordinator(&mut self, settings: &Settings) -> anyhow::Result<()> {
        self.restart_coordinator_of(settings, 0)
    }

    /// The same for one of several, by its place among [`Self::servers`].
    ///
    /// # Errors
    /// As [`Self::restart_coordinator`].
    pub fn restart_coordinator_of(
        &mut self,
        settings: &Settings,
        index: usize,
    ) -> anyhow::Result<()> {
        self.kill_coordinator(index);
        let (coordinator, _) = start_coordinator(&self.directory, settings, &self.servers, index)?;
        *self.coordinator_of(index) = coordinator;
        Ok(())
    }

    /// Kills one of the coordinators with SIGKILL, by its place among [`Self::servers`].
    pub fn kill_coordinator(&mut self, index: usize) {
        self.coordinator_of(index).kill();
    }

    fn coordinator_of(&mut self, index: usize) -> &mut Process {
        match index {
            0 => &mut self.coordinator,
            other => &mut self.others[other - 1],
        }
    }

    /// Starts a worker again after it was killed.
    ///
    /// # Errors
    /// When it does not start.
    pub fn restart_worker(&mut self, settings: &Settings, index: usize) -> anyhow::Result<()> {
        self.workers[index].kill();
        self.workers[index] = self.start_worker(settings, index + 1)?;
        Ok(())
    }

    /// Starts one more worker.
    ///
    /// # Errors
    /// When it does not start.
    pub fn add_worker(&mut self, settings: &Settings) -> anyhow::Result<()> {
        let worker = self.start_worker(settings, self.workers.len() + 1)?;
        self.workers.push(worker);
        Ok(())
    }

    /// The data directory of a worker, by its place among [`Self::workers`].
    #[must_use]
    pub fn worker_data(&self, settings: &Settings, index: usize) -> PathBuf {
        match (&settings.worker_data, index) {
            (Some(shared), 0) => shared.clone(),
            (Some(shared), _) => PathBuf::from(format!("{}-{}", shared.display(), index + 1)),
            (None, _) => self.directory.join(format!("worker{}", index + 1)),
        }
    }

    fn start_worker(&self, settings: &Settings, number: usize) -> anyhow::Result<Process> {
        let name = format!("worker{number}");
        let arch = settings.worker_arches.iter().cycle().nth(number - 1);
        let data = self.worker_data(settings, number - 1);
        std::fs::create_dir_all(&data)?;
        let mut command = match settings.worker_wrapper.as_slice() {
            [] => program("rpmfarm-worker"),
            [wrapper, arguments @ ..] => {
                let mut command = Command::new(wrapper);
                command.args(arguments).arg(programs().join("rpmfarm-worker"));
                command
            }
        };
        let mut servers = match &settings.worker_server {
            Some(server) => vec![server.clone()],
            None => self.servers.clone(),
        };
        let count = servers.len();
        servers.rotate_left((number - 1) % count);
        command
            .arg("run")
            .args(["--drain-time", "1", "--data-dir"])
            .arg(data)
            .args(&settings.worker_arguments)
            .envs(settings.environment.iter().cloned());
        if let Some(arch) = arch {
            command.args(["--arch", arch.as_str()]);
        }
        if settings.tls {
            self.run_enrolled(&name, &mut command)?;
        } else {
            command
                .args(["--coordinator", &servers.join(","), "--name", &name, "--token-file"])
                .arg(self.directory.join("coordinator/token"));
        }
        Process::start(&name, &mut command, &self.directory.join("logs"))
    }
}

fn start_signer(directory: &Path) -> anyhow::Result<Process> {
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
        .args(["--create", &format!("{TARGET}=rpmfarm lab <lab@example.org>")]);
    let mut signer = Process::start("signer", &mut command, &directory.join("logs"))?;
    wait_for(&mut signer, || socket.exists())?;
    Ok(signer)
}

/// Starts one of the coordinators, and says where it listens.
fn start_coordinator(
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

/// An address on this host that nobody listens on.
fn free_address() -> std::io::Result<String> {
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
