//! A hostile worker: it was enrolled, has a certificate of the farm, and sends whatever it wants.

use std::time::{Duration, Instant};

use rpmfarm_core::Sha256;
use rpmfarm_core::worker_standing::PROTOCOL;
use rpmfarm_lab::farm::{InstallRoot, program};
use rpmfarm_proto::v1;
use rpmfarm_proto::v1::attempt_report::Progress;
use rpmfarm_proto::v1::workers_client::WorkersClient;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Streaming};

use crate::made::Made;
use crate::{Attack, NOTHING, PATIENCE, Scene};

const NAME: &str = "stranger";

/// Between two words of the stranger.
const PAUSE: Duration = Duration::from_millis(100);

struct Stranger {
    channel: Channel,
    say: mpsc::Sender<v1::WorkerState>,
    heard: Streaming<v1::DesiredState>,
    sequence: u64,
}

fn state(sequence: u64, attempts: Vec<v1::AttemptReport>) -> v1::WorkerState {
    v1::WorkerState {
        name: NAME.into(),
        version: "0.1.0".into(),
        arches: vec!["x86_64".into()],
        slots: 1,
        cpus: 2,
        memory_mib: 20_000,
        disk_free_mib: 60_000,
        attempts,
        protocol: PROTOCOL,
        sequence,
        ..Default::default()
    }
}

/// Makes the stranger a worker of the farm, as its administrator would any other.
fn enrol(scene: &Scene) -> Value {
    let invitation = scene.farm.client().json(&["worker", "enrol", NAME]).unwrap();
    let token = invitation["token"].as_str().unwrap();
    let identity = scene.path(NAME);
    let output = program("rpmfarm-worker")
        .args(["enrol", "--coordinator", &scene.farm.tls_address().unwrap(), "--token", token])
        .arg("--identity")
        .arg(&identity)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = std::fs::read_to_string(identity.join("worker.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

impl Stranger {
    async fn connect(scene: &Scene) -> Self {
        let own = enrol(scene);
        let pem = |key: &str| own[key].as_str().unwrap().to_owned();
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(pem("authority")))
            .identity(Identity::from_pem(pem("certificate"), pem("key")));
        let endpoint = Endpoint::from_shared(scene.farm.tls_address().unwrap()).unwrap();
        let channel = endpoint.tls_config(tls).unwrap().connect().await.unwrap();
        let (say, states) = mpsc::channel(8);
        say.send(state(1, Vec::new())).await.unwrap();
        let states = ReceiverStream::new(states);
        let heard = WorkersClient::new(channel.clone()).session(states).await.unwrap().into_inner();
        Self { channel, say, heard, sequence: 1 }
    }

    /// Reports on attempts, and receives the desired state.
    async fn speak(&mut self, attempts: &[v1::AttemptReport]) -> v1::DesiredState {
        self.sequence += 1;
        self.say.send(state(self.sequence, attempts.to_vec())).await.unwrap();
        let heard = tokio::time::timeout(PATIENCE, self.heard.message()).await;
        heard.expect("an answer").unwrap().expect("no end")
    }

    async fn assignment(&mut self) -> v1::Assignment {
        let begun = Instant::now();
        loop {
            let wanted = self.speak(&[]).await;
            if let Some(given) = wanted.assignments.into_iter().next() {
                return given;
            }
            assert!(begun.elapsed() < PATIENCE, "it gets no work");
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn upload(&self, given: &v1::Assignment, file: &v1::FileRef, bytes: &[u8]) {
        let (attempt, epoch) = (given.attempt, given.epoch);
        let query =
            v1::UploadQuery { attempt, epoch, file: Some(file.clone()), ..Default::default() };
        let chunk = v1::UploadChunk { query: Some(query), offset: 0, data: bytes.to_vec().into() };
        let chunks = tokio_stream::iter([chunk]);
        let reply = WorkersClient::new(self.channel.clone()).upload(chunks).await.unwrap();
        assert_eq!(reply.into_inner().have, file.size);
    }

    /// Writes where no log of its attempt is.
    async fn writes_elsewhere(&self, given: &v1::Assignment) {
        let chunk = v1::LogChunk {
            attempt: given.attempt,
            epoch: given.epoch,
            log: "../../token".into(),
            data: b"0123456789".to_vec().into(),
            ..Default::default()
        };
        let status = WorkersClient::new(self.channel.clone()).append_log(chunk).await;
        assert_eq!(status.unwrap_err().code(), Code::InvalidArgument);
    }
}

/// The last fault that the farm has recorded for the hostile worker.
fn fault(scene: &Scene) -> Value {
    let shown = scene.farm.client().json(&["worker", "show", NAME]).unwrap();
    shown["faults"][0].clone()
}

/// The hostile worker gets the task of a source package and returns another one of the same name
/// and version, from which honest workers would make the packages.
#[tokio::test(flavor = "multi_thread")]
async fn a_source_package_that_dist_git_does_not_have_is_the_workers_lie() {
    let mut scene = Scene::with(|settings| {
        settings.tls = true;
        settings.workers = 0;
        let terms = ["--heartbeat", "1s", "--lease", "30s"];
        settings.coordinator_arguments = terms.map(String::from).into();
    });
    let made = Made::of(&Attack { name: "tiny", tags: "BuildArch: noarch", ..NOTHING });
    let lie = made.source();
    let bytes = std::fs::read(&lie).unwrap();
    let file = v1::FileRef {
        name: lie.file_name().unwrap().to_str().unwrap().into(),
        digest: Sha256::compute(&bytes).hex(),
        size: bytes.len() as u64,
        executable: false,
    };

    let mut stranger = Stranger::connect(&scene).await;
    let build = scene.farm.client().build(&["tiny"]).unwrap()[0];
    let given = stranger.assignment().await;
    assert_eq!(given.build, build);
    stranger.writes_elsewhere(&given).await;
    stranger.upload(&given, &file, &bytes).await;
    let made = v1::ResultFile { file: Some(file), kind: "srpm".into() };
    let success =
        v1::Success { files: vec![made], predicts: vec!["tiny".into()], ..Default::default() };
    let report = v1::AttemptReport {
        attempt: given.attempt,
        epoch: given.epoch,
        progress: Some(Progress::Succeeded(success)),
    };
    let begun = Instant::now();
    while fault(&scene).is_null() {
        assert!(begun.elapsed() < PATIENCE, "the lie is believed");
        stranger.speak(std::slice::from_ref(&report)).await;
        tokio::time::sleep(PAUSE).await;
    }
    let message = fault(&scene).to_string();
    assert!(message.contains("is not the file that was imported from dist-git"), "{message}");
    drop(stranger);

    // An honest worker makes it from the files of dist-git.
    let settings = scene.settings.clone();
    scene.farm.add_worker(&settings).unwrap();
    scene.farm.client().wait(build, &["published"], PATIENCE).unwrap();
    let mut root = InstallRoot::new(scene.path("root"), "x86_64").unwrap();
    root.repository("lab", &scene.world.repository(), &scene.world.key_url()).unwrap();
    root.repository("farm", &scene.farm.repository("testing", "x86_64"), &scene.farm.key_url())
        .unwrap();
    root.install(&["tiny", "bash"]).unwrap();
    assert_eq!(root.run(&["tiny"]).unwrap().trim(), "tiny");
    scene.goes_on();
}
