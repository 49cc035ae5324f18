//! The activity of a connection: which of its requests are under way, and how long there has been
//! none.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use tokio::sync::watch;

use super::ConnectionLimits;

/// The requests of one connection. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct ConnectionActivity(watch::Sender<RequestCounts>);

#[derive(Debug, Clone, Copy)]
struct RequestCounts {
    /// Whether there was a request.
    begun: bool,
    /// Requests whose answers are not sent completely.
    under_way: usize,
    /// When the last request ended, or when the connection was accepted.
    since: Instant,
}

/// Why an inactive connection is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IdleReason {
    NoRequest,
    /// No request came for a long time.
    Idle,
}

impl IdleReason {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::NoRequest => "no request came",
            Self::Idle => "idle",
        }
    }
}

impl ConnectionActivity {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(RequestCounts {
            begun: false,
            under_way: 0,
            since: Instant::now(),
        }))
    }

    /// Since when no request is under way, and whether there ever was one; `None` while one is.
    pub(super) fn idle_since(&self) -> Option<(bool, Instant)> {
        let RequestCounts { begun, under_way, since } = *self.0.borrow();
        (under_way == 0).then_some((begun, since))
    }

    /// Counts a request, which is under way until the guard is dropped.
    pub(super) fn request(&self) -> RequestGuard {
        self.0.send_modify(|requests| {
            requests.begun = true;
            requests.under_way += 1;
        });
        RequestGuard(self.clone())
    }

    /// Returns when the connection was inactive for too long.
    pub(super) async fn silence(&self, limits: ConnectionLimits) -> IdleReason {
        let mut requests = self.0.subscribe();
        loop {
            let now = *requests.borrow_and_update();
            let (patience, silence) = match now {
                RequestCounts { begun: false, .. } => (limits.first_request, IdleReason::NoRequest),
                RequestCounts { under_way: 0, .. } => (limits.idle, IdleReason::Idle),
                // `self` holds the sender, so the channel stays open and a change will come.
                _ => match requests.changed().await {
                    Ok(()) => continue,
                    Err(_) => return IdleReason::Idle,
                },
            };
            if tokio::time::timeout(patience, requests.changed()).await.is_err() {
                return silence;
            }
        }
    }
}

/// A request that is under way.
#[derive(Debug)]
pub(super) struct RequestGuard(ConnectionActivity);

impl Drop for RequestGuard {
    fn drop(&mut self) {
        self.0.0.send_modify(|requests| {
            requests.under_way -= 1;
            requests.since = Instant::now();
        });
    }
}

/// The body of an answer; its request is under way until the body is dropped.
pub(super) struct TrackedBody {
    pub(super) body: Body,
    pub(super) _under_way: RequestGuard,
}

impl HttpBody for TrackedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn silence_is_counted_when_nothing_is_under_way() {
        let (first, idle) = (Duration::from_millis(40), Duration::from_millis(20));
        let limits = ConnectionLimits { first_request: first, idle, ..ConnectionLimits::default() };
        let begun = Instant::now();
        assert_eq!(ConnectionActivity::new().silence(limits).await, IdleReason::NoRequest);
        assert!(begun.elapsed() >= first);

        let activity = ConnectionActivity::new();
        let (long, short) = (activity.request(), activity.request());
        let begun = Instant::now();
        let later = async {
            drop(short);
            tokio::time::sleep(idle * 5).await;
            drop(long);
            std::future::pending::<()>().await;
        };
        tokio::select! {
            silence = activity.silence(limits) => assert_eq!(silence, IdleReason::Idle),
            () = later => {}
        }
        assert!(begun.elapsed() >= idle * 6, "while one is under way nothing is counted");
    }
}
