//! A throwaway PostgreSQL server, reachable only by a Unix socket.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::Process;

/// A server in a temporary directory. Stopped and removed with its databases when dropped.
#[derive(Debug)]
pub struct Postgres {
    server: Process,
    bin: PathBuf,
    directory: TempDir,
    durable: bool,
}

/// The timeout for start and stop.
const PATIENCE: Duration = Duration::from_secs(60);

impl Postgres {
    /// Makes and starts one. Root may not run PostgreSQL, so it runs as `nobody`.
    ///
    /// # Errors
    /// When PostgreSQL is not installed or does not come up.
    pub fn start() -> anyhow::Result<Self> {
        Self::start_with(false)
    }

    /// A server whose commits reach the disk, as measurements need.
    ///
    /// # Errors
    /// When PostgreSQL is not installed or does not come up.
    pub fn start_durable() -> anyhow::Result<Self> {
        Self::start_with(true)
    }

    fn start_with(durable: bool) -> anyhow::Result<Self> {
        let bin = newest()?;
        let directory = tempfile::Builder::new().prefix("rpmfarm-pg").tempdir()?;
        run(Command::new("chown").arg("nobody").arg(directory.path()))?;
        run(as_nobody(&bin.join("initdb"))
            .args(["--auth=trust", "--username=rpmfarm", "--no-sync", "-D"])
            .arg(directory.path().join("data")))?;
        let server = serve(&bin, directory.path(), durable)?;
        Ok(Self { server, bin, directory, durable })
    }

    /// A fresh database's URL.
    ///
    /// # Errors
    /// When the server does not make it.
    pub fn database(&self, name: &str) -> anyhow::Result<String> {
        let socket = self.directory.path().display().to_string();
        run(as_nobody(&self.bin.join("createdb")).args(["-h", &socket, "-U", "rpmfarm", name]))?;
        Ok(format!("postgres://rpmfarm@localhost/{name}?host={socket}"))
    }

    /// The directory of its socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        self.directory.path()
    }

    /// Stops the server: open connections are closed, committed data stay.
    ///
    /// # Errors
    /// When it does not stop.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        if self.server.ended().is_some() {
            return Ok(());
        }
        self.server.signal(Signal::SIGINT)?;
        let begun = Instant::now();
        while self.server.ended().is_none() {
            if begun.elapsed() > PATIENCE {
                bail!("PostgreSQL does not stop:\n{}", self.server.log_tail());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Starts the server again, with the databases that it had.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.stop()?;
        self.server = serve(&self.bin, self.directory.path(), self.durable)?;
        Ok(())
    }

    /// Runs one statement of SQL on a database and returns what it gives, a line for each row.
    ///
    /// # Errors
    /// When the server refuses it.
    pub fn sql(&self, database: &str, statement: &str) -> anyhow::Result<String> {
        let socket = self.directory.path().display().to_string();
        let output = as_nobody(&self.bin.join("psql"))
            .args(["-h", &socket, "-U", "rpmfarm", "-d", database, "-AtXqc", statement])
            .output()?;
        if !output.status.success() {
            bail!("{statement}: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

impl Postgres {
    /// Runs statements in the background, on one connection; the first that fails ends it.
    ///
    /// # Errors
    /// When psql cannot be started.
    pub fn background(&self, database: &str, statements: &[&str]) -> anyhow::Result<Child> {
        let mut psql = as_nobody(&self.bin.join("psql"));
        psql.arg("-h").arg(self.socket()).args(["-U", "rpmfarm", "-d", database, "-AtXq"]);
        psql.args(["-v", "ON_ERROR_STOP=1"]);
        for statement in statements {
            psql.args(["-c", statement]);
        }
        psql.stdout(Stdio::null()).stderr(Stdio::null()).spawn().context("cannot start psql")
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // A smart shutdown, which SIGTERM asks for, waits for open connections.
        let _ = self.server.signal(Signal::SIGQUIT);
    }
}

/// Starts the server of a directory, and waits until it takes connections.
fn serve(bin: &Path, directory: &Path, durable: bool) -> anyhow::Result<Process> {
    let mut command = as_nobody(&bin.join("postgres"));
    command.arg("-D").arg(directory.join("data")).args(["-c", "listen_addresses="]);
    command.args(["-c", if durable { "fsync=on" } else { "fsync=off" }, "-c"]);
    command.arg(format!("unix_socket_directories={}", directory.display()));
    let mut server = Process::start("postgres", &mut command, directory)?;
    let begun = Instant::now();
    loop {
        let mut asks = Command::new(bin.join("pg_isready"));
        asks.arg("-q").arg("-h").arg(directory).stdout(Stdio::null());
        if asks.status().context("cannot start pg_isready")?.success() {
            return Ok(server);
        }
        if let Some(status) = server.ended() {
            bail!("PostgreSQL ended with {status}:\n{}", server.log_tail());
        }
        if begun.elapsed() > PATIENCE {
            bail!("PostgreSQL is not ready after {PATIENCE:?}:\n{}", server.log_tail());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn newest() -> anyhow::Result<PathBuf> {
    let mut versions = Vec::new();
    for entry in std::fs::read_dir("/usr/lib/postgresql")
        .context("PostgreSQL is not installed (Debian: postgresql)")?
    {
        versions.push(entry?.path());
    }
    versions.sort();
    Ok(versions.pop().context("no version of PostgreSQL (Debian: postgresql)")?.join("bin"))
}

fn as_nobody(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"]);
    // A change of user clears the setting, so it is set again.
    command.args(["--pdeathsig", "KILL", "--"]).arg(program).current_dir("/");
    command
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
