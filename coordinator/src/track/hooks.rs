//! Webhooks over HTTP: `POST /hooks/{forge}/{target}`.
//!
//! A webhook is checked, recorded and answered; its packages are polled afterwards. A genuine
//! webhook is never refused because of its content: forges disable a webhook that was refused
//! several times in a row. Answers are JSON with one line for people who read the forge's log of
//! deliveries.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::{HeaderMap, Request, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Json, Router};
use futures_util::StreamExt as _;
use rpmfarm_core::name::shown;
use rpmfarm_core::track::Forge;
use rpmfarm_core::track::hook::{self, HookEvent, HookReader, PushNotice};
use rpmfarm_core::{Sha256, Target};
use serde_json::json;
use tokio::time::{Instant, timeout_at};

use super::Webhooks;
use super::verify::{SignatureCheck, SignatureVerdict, first};
use crate::clock;
use crate::store::{HookHint, HookResult, NewHook, Store, StoreError, TrackedPackage};
use crate::targets::{TargetError, Targets};

/// How long a body may take to arrive, in addition to the time for its length.
const PATIENCE: Duration = Duration::from_secs(10);

/// The slowest permitted transfer of a long body, in bytes per second.
const SLOWEST: usize = 256 << 10;

/// The size of the pieces in which a body is parsed, in bytes.
const PIECE: usize = 64 << 10;

/// How long the body of a webhook that is refused for its headers is still read, so that the forge
/// reads the answer.
const COURTESY: Duration = Duration::from_secs(2);

/// After how many seconds a webhook that could not be recorded should be sent again.
const RETRY_SECONDS: &str = "10";

/// The longest id of a delivery, in characters.
const MAX_DELIVERY: usize = 128;

/// How many packages an answer names.
const MAX_SHOWN: usize = 8;

/// The parts that the pages of webhooks need. Cheap to clone.
#[derive(Clone)]
pub struct Hooks {
    pub store: Store,
    /// Have the addresses of their repositories.
    pub targets: Targets,
    /// Records genuine webhooks.
    pub webhooks: Webhooks,
}

/// The routes of webhooks.
pub fn router(hooks: Hooks) -> Router {
    Router::new()
        .route("/{forge}/{target}", post(hook))
        .route("/{forge}/{target}/", post(hook))
        .with_state(hooks)
}

/// An answer: a status and a line of text.
type HookResponse = (StatusCode, String);

async fn hook(
    State(hooks): State<Hooks>,
    Path((forge, target)): Path<(String, String)>,
    request: Request<Body>,
) -> Response {
    let (head, mut body) = request.into_parts();
    let peer = head.extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip());
    let begun = hooks.begin(&forge, &target, &head.headers);
    let answer = match begun {
        Ok(begun) => hooks.receive_hook(begun, &head.headers, &mut body, peer).await,
        Err(answer) => {
            pass_over(&mut body).await;
            Err(answer)
        }
    };
    let (status, message) = answer.unwrap_or_else(|answer| answer);
    if !status.is_success() {
        let target = shown(&target);
        tracing::info!(forge, target, status = status.as_u16(), message, "webhook refused");
    }
    let answer = Json(json!({ "ok": status.is_success(), "message": message }));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        return (status, [(header::RETRY_AFTER, RETRY_SECONDS)], answer).into_response();
    }
    (status, answer).into_response()
}

/// A webhook whose headers are valid, and whose body is not read yet.
struct PendingHook {
    forge: Forge,
    target: Result<Arc<Target>, TargetError>,
    check: SignatureCheck,
}

impl Hooks {
    /// Checks the URL and the headers before any of the body is read.
    fn begin(
        &self,
        forge: &str,
        target: &str,
        headers: &HeaderMap,
    ) -> Result<PendingHook, HookResponse> {
        let forge: Forge =
            forge.parse().map_err(|error| (StatusCode::NOT_FOUND, format!("{error}")))?;
        let known = self.targets.get(target);
        let secrets = self.webhooks.0.secrets.for_forge(target, forge);
        if secrets.is_empty() || matches!(known, Err(TargetError::Unknown { .. })) {
            let message = format!("no webhooks of {forge} are set up for such a target");
            return Err((StatusCode::NOT_FOUND, message));
        }
        let check = SignatureCheck::begin(forge, headers, &secrets).map_err(not_genuine)?;
        let encoding = headers.get(header::CONTENT_ENCODING).map(|encoding| encoding.as_bytes());
        if encoding.is_some_and(|encoding| !encoding.eq_ignore_ascii_case(b"identity")) {
            let message = "the body is compressed; send it as it is, without a content encoding";
            return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, message.to_owned()));
        }
        Ok(PendingHook { forge, target: known, check })
    }

    /// Reads the body, and records the push that it announces.
    async fn receive_hook(
        &self,
        begun: PendingHook,
        headers: &HeaderMap,
        body: &mut Body,
        peer: Option<IpAddr>,
    ) -> Result<HookResponse, HookResponse> {
        let PendingHook { forge, target, check } = begun;
        let (read, digest) = self.read(forge, check, headers, body, peer).await?;
        let notice = match read.event {
            HookEvent::Push(notice) => notice,
            HookEvent::Other(what) => return Ok(nothing_to_do(&what)),
        };
        let Ok(target) = target else {
            return Ok(nothing_to_do(
                "the target's file cannot be read now; its packages are polled once it can be read",
            ));
        };
        let repository = match notice.id.as_str() {
            "" => String::new(),
            id => format!("{forge}:{id}"),
        };
        let hints = match self.find_followed(&target, &notice, &repository).await {
            Ok(HookMatch::Hints(hints)) => hints,
            Ok(HookMatch::Nothing(why)) => return Ok(nothing_to_do(&why)),
            Err(error) => {
                tracing::error!(%error, "cannot look up the packages of a webhook");
                let message = "the farm's database does not answer; send it again";
                return Err((StatusCode::SERVICE_UNAVAILABLE, message.to_owned()));
            }
        };
        let named = first(headers, forge.delivery_headers()).map(str::to_owned);
        let delivery: String = named.or(read.delivery).unwrap_or_default();
        self.record(NewHook {
            target: target.name.clone(),
            repository,
            hints,
            digest: digest.hex(),
            delivery: delivery.chars().take(MAX_DELIVERY).collect(),
            at: clock::now(),
        })
        .await
    }

    /// Reads the body of a webhook, and returns it with its digest if it is genuine.
    async fn read(
        &self,
        forge: Forge,
        mut check: SignatureCheck,
        headers: &HeaderMap,
        body: &mut Body,
        peer: Option<IpAddr>,
    ) -> Result<(hook::HookBody, Sha256), HookResponse> {
        let permits = &self.webhooks.0.permits;
        let Some(permit) = permits.acquire(peer).await else {
            let message = "too many webhooks are being read; send it again";
            return Err((StatusCode::SERVICE_UNAVAILABLE, message.to_owned()));
        };
        let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let kind = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default().trim();
        let is_form = kind.eq_ignore_ascii_case("application/x-www-form-urlencoded");
        let mut reader = HookReader::new(is_form);
        let digest = read_body(headers, body, &mut reader, &mut check).await?;
        drop(permit);
        let verdict = check.end();
        if verdict != SignatureVerdict::Genuine {
            return Err(not_genuine(verdict));
        }
        permits.is_genuine(peer);
        let event = first(headers, forge.event_headers());
        let read = reader.end(forge, event);
        let read = read.map_err(|error| (StatusCode::BAD_REQUEST, error.to_string()))?;
        Ok((read, digest))
    }

    /// Records a webhook, and composes the answer.
    async fn record(&self, hook: NewHook) -> Result<HookResponse, HookResponse> {
        let packages = listed(&hook.hints);
        match self.webhooks.0.batcher.record(hook).await {
            Ok(HookResult::New) => Ok((StatusCode::ACCEPTED, format!("{packages} is polled now"))),
            Ok(HookResult::Again) => Ok(nothing_to_do("this delivery was received before")),
            Ok(HookResult::Often) => Ok(nothing_to_do(&format!(
                "the same delivery came too often lately; {packages} is polled as scheduled"
            ))),
            Err(why) => Err((StatusCode::SERVICE_UNAVAILABLE, format!("{why}; send it again"))),
        }
    }

    /// Finds the tracked packages by the names of the repository, or else by its number.
    async fn find_followed(
        &self,
        target: &Arc<Target>,
        notice: &PushNotice,
        repository: &str,
    ) -> Result<HookMatch, StoreError> {
        let followed = self.webhooks.0.repositories.for_target(&self.store, target).await?;
        let mut found: Vec<_> = followed.find(&notice.repository).into_iter().cloned().collect();
        if found.is_empty() && !repository.is_empty() {
            found = self.store.hook_repository_list(&target.name, repository).await?;
        }
        let (mut hints, mut other) = (Vec::new(), None);
        for (package, modifies) in &found {
            // The package may have been untracked since the look-up before.
            let Some(row) = self.store.tracked_fetch(&target.name, package).await? else {
                continue;
            };
            let branch = branch_of(target, &row, *modifies);
            match notice.commit_for(package, &branch, *modifies) {
                Some(commit) => hints.push(HookHint {
                    package: package.clone(),
                    modifies: *modifies,
                    commit: commit.to_owned(),
                }),
                None => other = Some(branch),
            }
        }
        if hints.is_empty() {
            return Ok(HookMatch::Nothing(notice.why_nobody(other.as_deref())));
        }
        Ok(HookMatch::Hints(hints))
    }
}

fn not_genuine(verdict: SignatureVerdict) -> HookResponse {
    let message = match verdict {
        SignatureVerdict::Missing => "the webhook is not signed",
        SignatureVerdict::Genuine | SignatureVerdict::Wrong => "the signature is wrong",
    };
    (StatusCode::UNAUTHORIZED, message.to_owned())
}

fn nothing_to_do(why: &str) -> HookResponse {
    (StatusCode::OK, format!("nothing to do: {why}"))
}

/// Sends a body through its reader and the check of its signature. Returns its digest.
async fn read_body(
    headers: &HeaderMap,
    body: &mut Body,
    reader: &mut HookReader,
    check: &mut SignatureCheck,
) -> Result<Sha256, HookResponse> {
    let too_large = |most: usize| {
        (StatusCode::PAYLOAD_TOO_LARGE, format!("the body is longer than {most} bytes"))
    };
    let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    let length = length.and_then(|length| length.parse::<usize>().ok()).unwrap_or_default();
    if length > hook::MAX_FORM {
        return Err(too_large(hook::MAX_FORM));
    }
    let begun = Instant::now();
    let mut stream = std::mem::take(body).into_data_stream();
    let mut digest = ring::digest::Context::new(&ring::digest::SHA256);
    let mut read = 0;
    loop {
        let deadline = begun + PATIENCE + Duration::from_secs((read / SLOWEST) as u64);
        let bytes = match timeout_at(deadline, stream.next()).await {
            Ok(Some(Ok(bytes))) => bytes,
            Ok(None) => break,
            Ok(Some(Err(_))) => {
                return Err((StatusCode::BAD_REQUEST, "the body is incomplete".to_owned()));
            }
            Err(_) => {
                return Err((
                    StatusCode::REQUEST_TIMEOUT,
                    "the body arrived too slowly".to_owned(),
                ));
            }
        };
        for piece in bytes.chunks(PIECE) {
            digest.update(piece);
            check.body(piece);
            if let Some(payload) = reader.feed(piece) {
                check.payload(payload);
            }
        }
        read += bytes.len();
        if read.max(length) > reader.most() {
            return Err(too_large(reader.most()));
        }
    }
    let digest = <[u8; 32]>::try_from(digest.finish().as_ref()).expect("SHA-256 has 32 bytes");
    Ok(Sha256::from_bytes(digest))
}

/// Reads and discards a refused body, for some seconds.
async fn pass_over(body: &mut Body) {
    let deadline = Instant::now() + COURTESY;
    let mut stream = std::mem::take(body).into_data_stream();
    let mut left = hook::MAX_BODY;
    while let Ok(Some(Ok(bytes))) = timeout_at(deadline, stream.next()).await {
        left = left.saturating_sub(bytes.len());
        if left == 0 {
            return;
        }
    }
}

/// The tracked packages that a push is about.
enum HookMatch {
    Hints(Vec<HookHint>),
    Nothing(String),
}

/// The branch, tag or pattern that is tracked of a package, or of its modifications.
fn branch_of(target: &Target, row: &TrackedPackage, modifies: bool) -> String {
    if modifies {
        return target.modifications_of(&row.package).map(|(_, branch)| branch).unwrap_or_default();
    }
    let asked = Some(row.git_ref.as_str()).filter(|git_ref| !git_ref.is_empty());
    target.git_ref(&row.package, asked).unwrap_or_default()
}

fn listed(hints: &[HookHint]) -> String {
    let mut names: Vec<&str> = hints.iter().map(|hint| hint.package.as_str()).collect();
    names.dedup();
    let more = names.len().saturating_sub(MAX_SHOWN);
    names.truncate(MAX_SHOWN);
    let listed = names.join(", ");
    if more > 0 { format!("{listed} and {more} more") } else { listed }
}
