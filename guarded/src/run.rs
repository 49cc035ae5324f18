//! The main loop of these processes: it answers until the process is stopped. It must not know what
//! is answered.

use std::future::{Future, pending};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tonic::transport::server::Router;

use crate::client_auth::{AllowedUsers, admitted};

/// How long calls that run may take after `stop`; clients that stay connected do not hold it up.
const DRAIN: Duration = Duration::from_secs(5);

/// A future that ends at SIGTERM or SIGINT.
///
/// # Errors
/// When the handlers of the signals cannot be installed.
pub fn stopped() -> anyhow::Result<impl Future<Output = ()>> {
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Answers allowed users at a socket until `stop` ends, and removes the socket then.
///
/// # Errors
/// When the socket fails, or when `log_failed` ends: the process must not work without its log.
pub async fn serve(
    router: Router,
    (socket, listener): (&Path, UnixListener),
    allowed: AllowedUsers,
    stop: impl Future<Output = ()>,
    log_failed: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let (stopping, drained) = tokio::sync::oneshot::channel();
    let stop = async {
        stop.await;
        let _ = stopping.send(());
    };
    let drained = async {
        if drained.await.is_err() {
            pending::<()>().await;
        }
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        served = router.serve_with_incoming_shutdown(admitted(listener, allowed), stop) => {
            served.context("serving")?;
        }
        () = drained => tracing::warn!("stopped with clients still connected"),
        () = log_failed => bail!("stopped: the log could not be written"),
    }
    let _ = std::fs::remove_file(socket);
    Ok(())
}
