//! A coordinator in this process, with and without TLS, and its callers.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Parser as _;
use rcgen::{CertificateParams, KeyPair};
use rpmfarm_coordinator::blobs::Blobs;
use rpmfarm_coordinator::bus::Bus;
use rpmfarm_coordinator::config::Config;
use rpmfarm_coordinator::start::start;
use rpmfarm_coordinator::store::{Attempt, Import, NewTask, Store};
use rpmfarm_core::task::TaskKind;
use rpmfarm_core::{Arch, BuildId, Timestamp};
use rpmfarm_lab::fixtures::{NOWHERE, TargetFile};
use rpmfarm_proto::v1::enrolment_client::EnrolmentClient;
use rpmfarm_proto::v1::fleet_client::FleetClient;
use rpmfarm_proto::{AUTHORIZATION, WORKER, v1};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Status};

use crate::builds::{bundle, import, new_build, ready};

const NOW: Timestamp = Timestamp::from_us(1);

/// A coordinator that runs.
pub(crate) struct Coordinator {
    pub(crate) plain: String,
    pub(crate) tls: String,
    pub(crate) token: String,
    pub(crate) ca: String,
    pub(crate) store: Store,
    pub(crate) dir: TempDir,
    stop: Option<oneshot::Sender<()>>,
    running: Option<JoinHandle<anyhow::Result<()>>>,
}

/// A key with its certificate, PEM.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// A key and the request that it signs.
pub(crate) fn request() -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let request = CertificateParams::default().serialize_request(&key).unwrap();
    (key.serialize_pem(), request.pem().unwrap())
}

impl Coordinator {
    pub(crate) async fn start() -> Self {
        Self::with(&[]).await
    }

    pub(crate) async fn with(further: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).display().to_string();
        TargetFile::lab(NOWHERE).write(&dir.path().join("targets"));
        let (data, targets) = (at("data"), at("targets"));
        let (plain, tls) = (at("plain"), at("tls"));
        let mut arguments = vec![
            "rpmfarm-coordinator",
            "--data",
            &data,
            "--targets",
            &targets,
            "--address-file",
            &plain,
            "--listen-tls",
            "127.0.0.1:0",
            "--tls-address-file",
            &tls,
        ];
        if !further.contains(&"--listen") {
            arguments.extend(["--listen", "127.0.0.1:0"]);
        }
        arguments.extend(further);
        let config = Config::parse_from(arguments);
        let database = config.database_url();
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(start(config, async move {
            let _ = stopped.await;
        }));
        let address_in = async |file: &str| loop {
            match std::fs::read_to_string(file) {
                Ok(text) if text.ends_with('\n') => break text.trim().to_owned(),
                _ => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        };
        let addresses = async { (address_in(&plain).await, address_in(&tls).await) };
        let (plain, tls) =
            tokio::time::timeout(Duration::from_secs(30), addresses).await.expect("it starts");
        Self {
            token: std::fs::read_to_string(at("data/token")).unwrap().trim().to_owned(),
            ca: std::fs::read_to_string(at("data/tls/ca.pem")).unwrap(),
            store: Store::open(&database, Bus::default()).await.unwrap(),
            // A port of all addresses is called at one address of this host.
            plain: plain.replace("0.0.0.0", "127.0.0.1"),
            tls,
            dir,
            stop: Some(stop),
            running: Some(running),
        }
    }

    /// Stops it as SIGTERM would.
    pub(crate) async fn stop(mut self) {
        drop(self.stop.take());
        self.running.take().unwrap().await.unwrap().unwrap();
    }

    /// A connection without TLS.
    pub(crate) fn plain(&self) -> Channel {
        Endpoint::from_shared(self.plain.clone()).unwrap().connect_lazy()
    }

    /// A connection over TLS, with a certificate or without.
    pub(crate) fn tls(&self, keys: Option<&Keys>) -> Channel {
        let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&self.ca));
        if let Some(keys) = keys {
            tls = tls.identity(Identity::from_pem(&keys.certificate, &keys.key));
        }
        let endpoint = Endpoint::from_shared(self.tls.clone()).unwrap();
        endpoint.tls_config(tls).unwrap().connect_lazy()
    }

    pub(crate) fn port(&self) -> u16 {
        self.tls.trim_start_matches("https://").parse::<SocketAddr>().unwrap().port()
    }

    /// A message with the farm's token.
    pub(crate) fn authorized<T>(&self, message: T) -> Request<T> {
        with_token(&self.token, message)
    }

    /// A message of a worker that has the farm's token.
    pub(crate) fn of_worker<T>(&self, worker: &str, message: T) -> Request<T> {
        let mut request = self.authorized(message);
        request.metadata_mut().insert(WORKER, worker.parse().unwrap());
        request
    }

    /// A token for a worker.
    pub(crate) async fn invite(&self, worker: &str, arches: &[&str], seconds: u64) -> String {
        let request = v1::InviteWorkerRequest {
            worker: worker.into(),
            arches: arches.iter().map(ToString::to_string).collect(),
            valid_seconds: seconds,
        };
        let invited = FleetClient::new(self.plain()).invite_worker(self.authorized(request)).await;
        invited.unwrap().into_inner().token
    }

    pub(crate) async fn enrol_with(&self, token: &str) -> Result<(String, Keys), Status> {
        let (key, request) = request();
        let request = v1::EnrolRequest { token: token.into(), request, arches: Vec::new() };
        let given = EnrolmentClient::new(self.tls(None)).enrol(request).await?.into_inner();
        Ok((given.worker, Keys { certificate: given.certificate, key }))
    }

    pub(crate) async fn enrol(&self, worker: &str) -> Keys {
        let token = self.invite(worker, &[], 0).await;
        let (name, keys) = self.enrol_with(&token).await.unwrap();
        assert_eq!(name, worker);
        keys
    }

    /// Decides about a worker, as an administrator.
    pub(crate) async fn decide(&self, worker: &str, state: &str) -> Result<(), Status> {
        let request = v1::SetWorkerStateRequest {
            name: worker.into(),
            state: state.into(),
            reason: "a test's".into(),
        };
        let mut client = FleetClient::new(self.plain());
        client.set_worker_state(self.authorized(request)).await.map(drop)
    }

    /// An attempt of a task that is given to a worker.
    pub(crate) async fn attempt(&self, package: &str, worker: &str) -> (BuildId, Attempt) {
        let new = [new_build("lab", package)];
        let build = self.store.build_insert(&new, "tester", "", NOW).await.unwrap().ids[0];
        let blobs = Blobs::open(self.dir.path().join("data/blobs")).unwrap();
        let bundle = blobs.put(&bundle(package).to_bytes()).unwrap();
        let task = NewTask { kind: TaskKind::Srpm, arch: Arch::X86_64 };
        let task = ready(&self.store, build, &Import { bundle, ..import(NOW) }, task).await;
        // The coordinator's own passes run, too: when one tries to lock the task before the test
        // does, that fails, since the target's key is not there, and the task rests for a second.
        for _ in 0..100 {
            if let Some(attempt) = self.store.attempt_grant(task, build, worker, NOW).await.unwrap()
            {
                return (build, attempt);
            }
            self.store.ready_task_insert_due(Timestamp::from_us(i64::MAX / 2), 9).await.unwrap();
        }
        panic!(
            "{package} is not granted: {:?}",
            self.store.failure_list(build, None).await.unwrap()
        );
    }
}

/// A message with a token.
pub(crate) fn with_token<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let value: MetadataValue<Ascii> = format!("Bearer {token}").parse().unwrap();
    request.metadata_mut().insert(AUTHORIZATION, value);
    request
}
