//! A proxy between a store and PostgreSQL that loses the answer to a commit on request.

use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use tempfile::TempDir;

/// The name that PostgreSQL's clients look for in the directory of a socket.
const SOCKET: &str = ".s.PGSQL.5432";

pub struct Proxy {
    directory: TempDir,
    faults: Arc<Faults>,
}

#[derive(Default)]
struct Faults {
    armed: AtomicBool,
    lost: AtomicU32,
}

impl Proxy {
    /// Takes connections for the server whose socket lies in a directory.
    pub fn before(server: &Path) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join(SOCKET)).unwrap();
        let faults = Arc::new(Faults::default());
        let (server, shared) = (server.join(SOCKET), faults.clone());
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let Ok(client) = client else { return };
                let server = UnixStream::connect(&server).unwrap();
                let faults = shared.clone();
                std::thread::spawn(move || forward(client, server, &faults));
            }
        });
        Self { directory, faults }
    }

    /// A URL that leads through it.
    pub fn url(&self, url: &str) -> String {
        let (base, _) = url.split_once("?host=").unwrap();
        format!("{base}?host={}", self.directory.path().display())
    }

    /// The next commit is done, and its answer lost with the connection.
    pub fn lose_next_commit(&self) {
        self.faults.armed.store(true, Ordering::SeqCst);
    }

    /// How many answers were lost.
    pub fn lost(&self) -> u32 {
        self.faults.lost.load(Ordering::SeqCst)
    }
}

fn forward(mut client: UnixStream, mut server: UnixStream, faults: &Arc<Faults>) {
    let losing = Arc::new(AtomicBool::new(false));
    let (mut answers, mut back) = (server.try_clone().unwrap(), client.try_clone().unwrap());
    let (lose, counted) = (losing.clone(), faults.clone());
    std::thread::spawn(move || {
        let mut buffer = [0; 65536];
        while let Ok(length) = answers.read(&mut buffer) {
            if lose.load(Ordering::SeqCst) && length > 0 {
                counted.lost.fetch_add(1, Ordering::SeqCst);
                break;
            }
            if length == 0 || back.write_all(&buffer[..length]).is_err() {
                break;
            }
        }
        let _ = back.shutdown(std::net::Shutdown::Both);
        let _ = answers.shutdown(std::net::Shutdown::Both);
    });
    let mut buffer = [0; 65536];
    while let Ok(length) = client.read(&mut buffer) {
        let commits = buffer[..length].windows(6).any(|bytes| bytes == b"COMMIT");
        if commits && faults.armed.swap(false, Ordering::SeqCst) {
            losing.store(true, Ordering::SeqCst);
        }
        if length == 0 || server.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _ = server.shutdown(std::net::Shutdown::Both);
}
