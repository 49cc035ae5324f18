//! A whole farm as real processes on this host: the lab's servers, acceptor, signer, coordinator,
//! workers and the command `rpmfarm`. Demo, end-to-end tests and benchmarks are written with it.
//!
//! Owns starting, killing and asking; what should come out is the caller's to know.

mod client;
mod dnf;
mod hook;
mod postgres;
mod process;
mod programs;
mod settings;
mod tls;
mod world;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use self::programs::{free_address, start_acceptor, start_coordinator, start_signer};
use crate::tool;

pub use client::{Answer, Client};
pub use dnf::InstallRoot;
pub use hook::{Forge, Hook};
pub use postgres::Postgres;
pub use process::Process;
pub use programs::{program, programs};
pub use settings::Settings;
pub use world::World;

/// The name of the lab's target and of its key.
pub const TARGET: &str = "lab";

/// A running farm. When dropped, all of it is stopped.
pub struct Farm {
    directory: PathBuf,
    /// The addresses of all coordinators.
    servers: Vec<String>,
    pub acceptor: Process,
    pub signer: Process,
    /// The coordinator; of several, the first.
    pub coordinator: Process,
    pub others: Vec<Process>,
    pub workers: Vec<Process>,
}

impl Farm {
    /// Starts acceptor, signer, coordinator and workers for the lab's target.
    ///
    /// # Errors
    /// When a process does not come up; its log is in the error.
    pub fn start(settings: &Settings, target: &str) -> anyhow::Result<Self> {
        let directory = settings.directory.clone();
        for part in ["targets", "coordinator", "logs"] {
            let path = directory.join(part);
            std::fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
        }
        let lab = (TARGET.to_owned(), target.to_owned());
        for (name, text) in settings.more_targets.iter().chain([&lab]) {
            std::fs::write(directory.join("targets").join(format!("{name}.toml")), text)?;
        }
        let acceptor = start_acceptor(&directory)?;
        let signer = start_signer(&directory)?;
        let mut servers = if settings.coordinators > 1 {
            // Each is given the address of the first.
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
        let mut farm = Self { directory, servers, acceptor, signer, coordinator, others, workers };
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

    /// The command `rpmfarm`, configured with these coordinators, which it tries in their order.
    #[must_use]
    pub fn client_of(&self, coordinators: &[usize]) -> Client {
        let servers: Vec<&str> =
            coordinators.iter().map(|index| self.servers[*index].as_str()).collect();
        Client::new(&servers.join(","), &self.directory.join("coordinator/token"))
    }

    /// The directory of all state.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The command `rpmfarm`, configured for this farm.
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
    /// When it cannot be fetched.
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

    /// Starts the acceptor again after it was killed.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn restart_acceptor(&mut self) -> anyhow::Result<()> {
        self.acceptor.kill();
        self.acceptor = start_acceptor(&self.directory)?;
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
