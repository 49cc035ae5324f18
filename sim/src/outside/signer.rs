//! The signer: the rules of the real one about earlier signatures, with a key of its own.

use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use rpmfarm_coordinator::clock::Clock;
use rpmfarm_coordinator::simulation::BEGINNING;
use rpmfarm_core::signing::{RepositoryId, SignedPage};
use rpmfarm_core::{Sha256, Timestamp};
use rpmfarm_proto::v1;
use rpmfarm_signer::key::SigningKey;
use rpmfarm_signer::memory::SigningMemory;
use rpmfarm_signer::repomd;
use tonic::{Request, Response, Status};

use super::OutsideWorld;

/// The key is the same in every run, so that a run always makes the same files. It signs nothing
/// else.
static KEY: LazyLock<SigningKey> =
    LazyLock::new(|| SigningKey::from_armored(include_str!("key.asc")).expect("it is a key"));

/// The signer, which outlives coordinators. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Signer {
    outside: OutsideWorld,
    state: Arc<Mutex<SignerState>>,
}

/// What it has signed.
#[derive(Default)]
struct SignerState {
    memory: SigningMemory,
    lines: u64,
}

impl Signer {
    pub(crate) fn new(outside: OutsideWorld) -> Self {
        Self { outside, state: Arc::default() }
    }

    /// Waits for its answer; there may be none.
    async fn wait_for_answer(&self) -> Result<SystemTime, Status> {
        let (took, answers) = self.outside.answer(1, 250);
        Clock.sleep(took).await;
        let truth = self.outside.lock();
        if !answers || truth.now < truth.signer_down_until {
            return Err(Status::unavailable("nobody listens at its socket"));
        }
        let now = BEGINNING + Duration::from_micros(truth.now);
        Ok(SystemTime::UNIX_EPOCH + now.since(Timestamp::ZERO))
    }

    fn signature_reply(&self, signature: Vec<u8>) -> Response<v1::Signature> {
        let mut state = self.state.lock();
        state.lines += 1;
        Response::new(v1::Signature {
            signature: signature.into(),
            fingerprint: KEY.fingerprint(),
            logged: Some(v1::LogPosition {
                log: "sim".into(),
                line: state.lines,
                digest: Sha256::compute(&state.lines.to_be_bytes()).hex(),
            }),
        })
    }
}

fn refused(why: impl std::fmt::Display) -> Status {
    Status::failed_precondition(why.to_string())
}

#[tonic::async_trait]
impl v1::signer_server::Signer for Signer {
    async fn sign_header(
        &self,
        request: Request<v1::SignHeaderRequest>,
    ) -> Result<Response<v1::Signature>, Status> {
        let now = self.wait_for_answer().await?;
        let v1::SignHeaderRequest { nevra, header, target, .. } = request.into_inner();
        {
            let mut state = self.state.lock();
            let digest = Sha256::compute(&header);
            state.memory.take_package(&target, &nevra, digest).map_err(refused)?;
        }
        Ok(self.signature_reply(KEY.sign(&header, now).map_err(refused)?))
    }

    async fn sign_repomd(
        &self,
        request: Request<v1::SignRepomdRequest>,
    ) -> Result<Response<v1::Signature>, Status> {
        let now = self.wait_for_answer().await?;
        let v1::SignRepomdRequest { key, target, channel, path, data, .. } = request.into_inner();
        let page = SignedPage {
            revision: repomd::revision(&data).map_err(refused)?,
            digest: Sha256::compute(&data),
        };
        {
            let mut state = self.state.lock();
            let repository = RepositoryId { target, channel, path };
            state.memory.take_page(&key, &repository, page).map_err(refused)?;
        }
        Ok(self.signature_reply(KEY.sign_detached(&data, now).map_err(refused)?))
    }

    async fn get_key(
        &self,
        _request: Request<v1::GetKeyRequest>,
    ) -> Result<Response<v1::PublicKey>, Status> {
        self.wait_for_answer().await?;
        let (armored, fingerprint) = (KEY.public().to_owned(), KEY.fingerprint());
        Ok(Response::new(v1::PublicKey { armored, fingerprint }))
    }

    async fn get_status(
        &self,
        _request: Request<v1::GetSignerStatusRequest>,
    ) -> Result<Response<v1::SignerStatus>, Status> {
        Err(Status::unimplemented("nobody asks it here"))
    }

    async fn get_revision(
        &self,
        request: Request<v1::GetRevisionRequest>,
    ) -> Result<Response<v1::SignedRevision>, Status> {
        self.wait_for_answer().await?;
        let v1::GetRevisionRequest { target, channel } = request.into_inner();
        let state = self.state.lock();
        let revision = state.memory.revision(&target, &channel);
        Ok(Response::new(v1::SignedRevision { revision }))
    }

    async fn check_log(
        &self,
        _request: Request<v1::LogPosition>,
    ) -> Result<Response<v1::LogCheck>, Status> {
        Err(Status::unimplemented("nobody asks it here"))
    }
}
