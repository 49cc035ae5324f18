//! The lab over HTTP: distribution, look-aside and dist-git of one directory, and faults for tests.
//!
//! Owns the addresses; `cgi` runs git, `faults` misbehaves. Must not know how the directory
//! was made. `s3` is a store of objects on a port of its own.
//!
//! | address | what |
//! |---|---|
//! | `/distro/ARCH/repo/…`, `/distro/ARCH/RPM-GPG-KEY-lab` | a distribution per architecture |
//! | `/lookaside/rpms/NAME/FILE/HASHTYPE/HASH/FILE`, `/lookaside/HASH` | look-aside files |
//! | `/git/rpms/NAME.git` | dist-git by smart HTTP |
//! | `/git/autopatch/NAME.git` | modifications of packages, by smart HTTP |
//! | `/forge/…` | lists of the repositories, see `forge` |
//! | `/fault/…` | see `faults` |

mod cgi;
mod faults;
mod forge;
pub mod s3;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use axum::Router;
use axum::routing::any;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tower_http::services::ServeDir;

/// A running server; it ends when this is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<io::Result<()>>,
}

impl Server {
    /// Serves `directory`, which holds `distro/`, `lookaside/` and `rpms/`, at the address; port 0
    /// picks a free one. These directories may also be created later.
    ///
    /// # Errors
    /// When the address cannot be used.
    pub async fn start(directory: PathBuf, listen: SocketAddr) -> io::Result<Self> {
        let directory = std::path::absolute(directory)?;
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel();
        let service = axum::serve(listener, router(directory)).with_graceful_shutdown(async {
            // A sender that is dropped stops the server as well.
            drop(stopped.await);
        });
        let task = tokio::spawn(service.into_future());
        Ok(Self { address, stop: Some(stop), task })
    }

    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://ADDRESS`, without a slash at its end.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Stops listening and closes open connections.
    pub fn stop(mut self) {
        drop(self.stop.take());
        self.task.abort();
    }

    /// Waits for the end of the server, which ends by itself only on an error.
    ///
    /// # Errors
    /// The error that ended it.
    pub async fn wait(mut self) -> io::Result<()> {
        (&mut self.task).await.map_err(io::Error::other)?
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn router(directory: PathBuf) -> Router {
    let rpms = directory.join("rpms");
    Router::new()
        .nest_service("/distro", ServeDir::new(directory.join("distro")))
        .nest_service("/lookaside", ServeDir::new(directory.join("lookaside")))
        .route("/git/rpms/{*path}", any(cgi::git).with_state(rpms))
        .route("/git/autopatch/{*path}", any(cgi::git).with_state(directory.join("autopatch")))
        .nest("/forge", forge::router(directory.join("rpms")))
        .nest("/fault", faults::router())
}
