//! Webhooks over HTTP: `POST /hooks/{forge}/{target}`.
//!
//! A webhook is checked, recorded and answered; what follows from it is done afterwards. Answers
//! are JSON with one line for whoever reads the forge's log of deliveries.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Path, State};
use axum::http::{HeaderMap, Request, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Json, Router};
use rpmfarm_core::track::hook::{MAX_BODY, Notice, Said, is_same_repository, named_by, read};
use rpmfarm_core::track::{Forge, Pattern};
use rpmfarm_core::{Sha256, Target};
use serde_json::json;

use super::verify::{Verdict, first, verify};
use crate::clock::now_us;
use crate::farm::Farm;
use crate::store::{HookTaken, NewHook};

/// How long a body may take to arrive.
const PATIENCE: Duration = Duration::from_secs(10);

/// When a webhook that could not be taken is to be sent again.
const RETRY_SECONDS: &str = "10";

/// A delivery's name is no longer, in characters.
const MAX_DELIVERY: usize = 128;

/// The addresses of webhooks.
pub fn router(farm: Farm) -> Router {
    Router::new().route("/{forge}/{target}", post(hook)).with_state(farm)
}

/// An answer: a status and a line.
type Answer = (StatusCode, String);

async fn hook(
    State(farm): State<Farm>,
    Path((forge, target)): Path<(String, String)>,
    request: Request<Body>,
) -> Response {
    let (status, message) = match take(&farm, &forge, &target, request).await {
        Ok(answer) | Err(answer) => answer,
    };
    if !status.is_success() {
        let target = rpmfarm_core::name::shown(&target);
        tracing::info!(forge, target, status = status.as_u16(), message, "webhook refused");
    }
    let answer = Json(json!({ "ok": status.is_success(), "message": message }));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        return (status, [(header::RETRY_AFTER, RETRY_SECONDS)], answer).into_response();
    }
    (status, answer).into_response()
}

/// Takes a webhook, in the order of what it costs: its address, its size, its signature, its
/// content.
async fn take(
    farm: &Farm,
    forge: &str,
    target: &str,
    request: Request<Body>,
) -> Result<Answer, Answer> {
    let refuse = |status: StatusCode, message: &str| Err((status, message.to_owned()));
    let forge: Forge =
        forge.parse().map_err(|error| (StatusCode::NOT_FOUND, format!("{error}")))?;
    let known = farm.targets.get(target).map_err(|_| no_hooks(forge))?;
    let secrets = farm.tracker.0.secrets.of(target, forge);
    if secrets.is_empty() {
        return Err(no_hooks(forge));
    }
    let (head, body) = request.into_parts();
    let peer = head.extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip());
    let body = read_body(farm, &head.headers, body, peer).await?;
    match verify(forge, &head.headers, &body, &secrets) {
        Verdict::Genuine => {}
        Verdict::Missing => return refuse(StatusCode::UNAUTHORIZED, "the webhook is not signed"),
        Verdict::Wrong => return refuse(StatusCode::UNAUTHORIZED, "the signature is wrong"),
    }
    let kind = head.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    if kind.is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded")) {
        let message = "set the webhook's content type to application/json";
        return refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, message);
    }
    let Some(event) = first(&head.headers, forge.event_headers()) else {
        return refuse(StatusCode::BAD_REQUEST, "no header names the event");
    };
    let read = read(forge, event, &body).map_err(|e| (StatusCode::BAD_REQUEST, e.to_string()))?;
    let notice = match read.said {
        Said::Push(notice) => notice,
        Said::Other(what) => return Ok((StatusCode::OK, format!("nothing to do: {what}"))),
    };
    let named = first(&head.headers, forge.delivery_headers()).map(str::to_owned);
    let delivery: String = named.or(read.delivery).unwrap_or_default();
    let (package, modifies) = find(farm, &known, &notice).await?;
    let hook = NewHook {
        target: known.name.clone(),
        package,
        modifies,
        commit: notice.commit,
        digest: Sha256::of(&body).hex(),
        delivery: delivery.chars().take(MAX_DELIVERY).collect(),
        at_us: now_us(),
    };
    let package = hook.package.clone();
    match farm.tracker.0.taker.take(hook).await {
        Ok(HookTaken::New) => Ok((StatusCode::ACCEPTED, format!("{package} is looked at"))),
        Ok(HookTaken::Replayed) => refuse(
            StatusCode::CONFLICT,
            "this delivery, or one of the same content, was taken before",
        ),
        Err(why) => Err((StatusCode::SERVICE_UNAVAILABLE, format!("{why}; send it again"))),
    }
}

fn no_hooks(forge: Forge) -> Answer {
    (StatusCode::NOT_FOUND, format!("no webhooks of {forge} are set up for such a target"))
}

async fn read_body(
    farm: &Farm,
    headers: &HeaderMap,
    body: Body,
    peer: Option<IpAddr>,
) -> Result<Vec<u8>, Answer> {
    let too_large =
        || (StatusCode::PAYLOAD_TOO_LARGE, format!("the body is longer than {MAX_BODY} bytes"));
    let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    let length = length.and_then(|length| length.parse::<usize>().ok());
    if length.is_some_and(|length| length > MAX_BODY) {
        return Err(too_large());
    }
    let Some(_place) = farm.tracker.0.bodies.place(peer).await else {
        let message = "too many webhooks are being read; send it again";
        return Err((StatusCode::SERVICE_UNAVAILABLE, message.to_owned()));
    };
    match tokio::time::timeout(PATIENCE, to_bytes(body, MAX_BODY)).await {
        Ok(Ok(bytes)) => Ok(bytes.to_vec()),
        Ok(Err(error)) if is_too_large(&error) => Err(too_large()),
        Ok(Err(_)) => Err((StatusCode::BAD_REQUEST, "the body broke off".to_owned())),
        Err(_) => Err((StatusCode::REQUEST_TIMEOUT, "the body came too slowly".to_owned())),
    }
}

fn is_too_large(error: &axum::Error) -> bool {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        if error.to_string().contains("length limit exceeded") {
            return true;
        }
        cause = error.source();
    }
    false
}

/// The followed package that a webhook speaks of, and whether it is of its modifications.
async fn find(farm: &Farm, target: &Target, notice: &Notice) -> Result<(String, bool), Answer> {
    let mut other = None;
    let modifications = target.modifications.as_ref().map(|modifications| &modifications.url);
    for (modifies, url) in [(false, Some(&target.upstream.url)), (true, modifications)] {
        let Some(name) = url.and_then(|url| named_by(url.as_str(), &notice.repository)) else {
            continue;
        };
        let row = farm.store.tracked(&target.name, &name).await.map_err(|error| {
            tracing::error!(%error, "webhook not looked up");
            (StatusCode::SERVICE_UNAVAILABLE, "the farm's database does not answer".to_owned())
        })?;
        let Some(row) = row else { continue };
        let followed = if modifies {
            target.modifications_of(&row.package)
        } else {
            let asked = Some(row.git_ref.as_str()).filter(|git_ref| !git_ref.is_empty());
            let branch = target.git_ref(&row.package, asked).unwrap_or_default();
            Some((target.git_url(&row.package), branch))
        };
        let Some((_, branch)) =
            followed.filter(|(url, _)| is_same_repository(url, &notice.repository))
        else {
            continue;
        };
        let is_meant = match Pattern::of(&branch).filter(|_| !modifies) {
            Some(pattern) => pattern.evr(&row.package, &notice.branch).is_some(),
            None => branch == notice.branch,
        };
        if is_meant {
            return Ok((row.package, modifies));
        }
        other = Some(branch);
    }
    Err(match other {
        Some(branch) => {
            let message = format!("nothing to do: `{branch}` is followed, not `{}`", notice.branch);
            (StatusCode::OK, message)
        }
        None => {
            let repository = rpmfarm_core::name::shown(&notice.repository);
            (StatusCode::NOT_FOUND, format!("`{repository}` is not followed for this target"))
        }
    })
}
