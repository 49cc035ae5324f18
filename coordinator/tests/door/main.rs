//! The limits at the port of a coordinator: the number and duration of connections and streams, and
//! the size of calls and reports.

#![allow(clippy::unwrap_used, reason = "a test ends there")]

mod batches;
#[path = "../common/builds.rs"]
mod builds;
mod calls;
mod connections;
#[path = "../common/farms.rs"]
mod farms;
mod logs;
mod pages;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rpmfarm_coordinator::identity::Authority;
use rpmfarm_coordinator::identity::public_access::PublicAccessSettings;
use rpmfarm_coordinator::identity::tls::{self, ServerCertificate};
use rpmfarm_coordinator::listen::{ConnectionLimits, Listeners};
use rpmfarm_coordinator::parts::Parts;
use rpmfarm_coordinator::server;
use rpmfarm_core::{BuildId, TaskId, Timestamp};
use rpmfarm_lab::fixtures::{NOWHERE, TargetFile};
use rpmfarm_proto::AUTHORIZATION;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tonic::Request;
use tonic::transport::{Channel, Endpoint};

use self::builds::new_build;

const NOW: Timestamp = Timestamp::from_us(1_000_000);

/// A farm for the lab's target, whose logs have 1 MiB. None of its passes run.
async fn farm(dir: &Path) -> Parts {
    TargetFile::lab(NOWHERE).with("limits.log_mib = 1").write(&dir.join("targets"));
    farms::open(dir, &[]).await
}

/// A farm that serves, with TLS and without.
struct Served {
    farm: Parts,
    plain: SocketAddr,
    tls: SocketAddr,
    authority: Arc<Authority>,
    token: String,
    _dir: TempDir,
}

impl Served {
    async fn start(limits: ConnectionLimits) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let farm = farm(dir.path()).await;
        let bind = async || TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (plain, tls) = (bind().await, bind().await);
        let now = rpmfarm_coordinator::clock::now();
        let authority = Arc::new(Authority::open(&dir.path().join("tls"), now).unwrap());
        let names = vec!["localhost".to_owned()];
        let certificate = ServerCertificate::new(authority.clone(), names, 3600, now).unwrap();
        let config = Arc::new(tls::config(Arc::new(certificate)).unwrap());
        let served = Self {
            plain: plain.local_addr().unwrap(),
            tls: tls.local_addr().unwrap(),
            token: std::fs::read_to_string(dir.path().join("data/token")).unwrap().trim().into(),
            authority,
            farm: farm.clone(),
            _dir: dir,
        };
        let opened = PublicAccessSettings::default();
        let listeners = Listeners { plain, tls: Some((tls, config)), limits, opened };
        tokio::spawn(server::serve(farm, listeners, std::future::pending()));
        served
    }

    /// A connection of its own.
    async fn channel(&self) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.plain)).unwrap();
        endpoint.connect().await.unwrap()
    }

    fn authorized<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let bearer = format!("Bearer {}", self.token).parse().unwrap();
        request.metadata_mut().insert(AUTHORIZATION, bearer);
        request
    }

    async fn build(&self) -> BuildId {
        let new = [new_build("lab", "hello")];
        self.farm.store.build_insert(&new, "ann", "", NOW).await.unwrap().ids[0]
    }

    /// The one task of a build, waiting for a worker.
    async fn ready(&self, build: BuildId) -> TaskId {
        use rpmfarm_coordinator::store::{Import, NewTask};
        use rpmfarm_core::{Arch, task::TaskKind};
        let bundle = self.farm.blobs.put(&builds::bundle("hello").to_bytes()).unwrap();
        let import = Import { bundle, ..builds::import(NOW) };
        let task = NewTask { kind: TaskKind::Srpm, arch: Arch::X86_64 };
        builds::ready(&self.farm.store, build, &import, task).await
    }
}
