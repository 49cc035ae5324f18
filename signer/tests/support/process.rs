//! The signer as a process, and a client of it.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hyper_util::rt::TokioIo;
use rpmfarm_core::Sha256;
use rpmfarm_core::signing::PROTOCOL;
use rpmfarm_proto::v1::SignHeaderRequest;
use rpmfarm_proto::v1::signer_client::SignerClient;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};

/// A running signer; it ends with this.
pub struct Signer {
    pub child: Child,
    pub socket: PathBuf,
    pub log: PathBuf,
}

impl Signer {
    /// Starts `binary` with everything it has below `dir`.
    pub fn start(binary: &Path, dir: &Path, options: &[&str]) -> Self {
        let (socket, log) = (dir.join("signer.sock"), dir.join("audit.jsonl"));
        let child = Command::new(binary)
            .arg("serve")
            .arg("--keys")
            .arg(dir.join("keys"))
            .arg("--socket")
            .arg(&socket)
            .arg("--audit-log")
            .arg(&log)
            .args(options)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let signer = Self { child, socket, log };
        let start = Instant::now();
        while std::os::unix::net::UnixStream::connect(&signer.socket).is_err() {
            assert!(start.elapsed() < Duration::from_secs(300), "the signer does not start");
            std::thread::sleep(Duration::from_millis(5));
        }
        signer
    }

    pub async fn client(&self) -> SignerClient<Channel> {
        let socket = self.socket.clone();
        let connector = tower::service_fn(move |_| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        let endpoint = Endpoint::from_static("http://signer");
        SignerClient::new(endpoint.connect_with_connector(connector).await.unwrap())
    }
}

impl Drop for Signer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Puts an armored secret key where the signer wants it.
pub fn put_key(dir: &Path, name: &str, armored: &str) -> PathBuf {
    let keys = dir.join("keys");
    fs::create_dir_all(&keys).unwrap();
    fs::set_permissions(&keys, fs::Permissions::from_mode(0o700)).unwrap();
    let path = keys.join(format!("{name}.key"));
    fs::write(&path, armored).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

/// A request of the build 1 of the target `lab` that is in order.
pub fn request(key: &str, nevra: &str, header: Vec<u8>) -> SignHeaderRequest {
    SignHeaderRequest {
        key: key.into(),
        nevra: nevra.into(),
        header_digest: Sha256::compute(&header).hex(),
        header: header.into(),
        artifact_digest: Sha256::compute(b"artifact").hex(),
        target: "lab".into(),
        build: 1,
        acceptance: None,
        protocol: PROTOCOL,
    }
}
