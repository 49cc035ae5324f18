//! Throwaway databases: the same store on SQLite and on a PostgreSQL server of the test's own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rpmfarm_coordinator::bus::Bus;
use rpmfarm_coordinator::store::Store;
use tempfile::TempDir;

/// A PostgreSQL server in a temporary directory, reached by a Unix socket only.
pub struct Postgres {
    dir: TempDir,
    bin: PathBuf,
}

impl Postgres {
    /// Starts one. Root may not run PostgreSQL, so it runs as `nobody` then.
    pub fn start() -> Self {
        let bin = newest_postgres();
        let dir = tempfile::Builder::new().prefix("rpmfarm-pg").tempdir().expect("a directory");
        let owner = dir.path();
        run(Command::new("chown").arg("nobody").arg(owner));
        let data = dir.path().join("data");
        run(as_nobody(&bin.join("initdb"))
            .args(["--auth=trust", "--username=rpmfarm", "--no-sync", "-D"])
            .arg(&data));
        let server = Self { dir, bin };
        let options = format!(
            "-c listen_addresses='' -c unix_socket_directories='{}' -c fsync=off",
            server.dir.path().display()
        );
        server.control(&["-w", "-o", &options, "-l", "/dev/null", "start"]);
        server
    }

    /// A fresh database's URL.
    pub fn database(&self, name: &str) -> String {
        let socket = self.dir.path().display().to_string();
        run(as_nobody(&self.bin.join("createdb")).args(["-h", &socket, "-U", "rpmfarm", name]));
        format!("postgres://rpmfarm@localhost/{name}?host={socket}")
    }

    fn control(&self, arguments: &[&str]) {
        let data = self.dir.path().join("data");
        run(as_nobody(&self.bin.join("pg_ctl")).arg("-D").arg(data).args(arguments));
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.control(&["-m", "immediate", "stop"]);
    }
}

fn newest_postgres() -> PathBuf {
    let mut versions: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .expect("PostgreSQL is installed (Debian: postgresql)")
        .map(|entry| entry.expect("readable").path())
        .collect();
    versions.sort();
    versions.pop().expect("a version of PostgreSQL").join("bin")
}

fn as_nobody(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups", "--"]).arg(program);
    command.current_dir("/");
    command
}

fn run(command: &mut Command) {
    let status = command.stdout(Stdio::null()).status().expect("the program starts");
    assert!(status.success(), "{command:?}: {status}");
}

/// Runs a test on both databases.
pub async fn on_both<F>(test: impl Fn(Store) -> F)
where
    F: Future<Output = ()>,
{
    let dir = tempfile::tempdir().expect("a directory");
    let url = format!("sqlite://{}", dir.path().join("farm.db").display());
    test(Store::open(&url, Bus::default()).await.expect("SQLite opens")).await;

    let postgres = Postgres::start();
    let url = postgres.database("farm");
    let store = Store::open(&url, Bus::default()).await.expect("PostgreSQL opens");
    test(store.clone()).await;
    store.close().await;
}
