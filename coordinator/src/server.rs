//! One port for everything: gRPC for workers and people, HTTP for dnf.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use rpmfarm_proto::v1::blobs_server::BlobsServer;
use rpmfarm_proto::v1::farm_server::FarmServer;
use rpmfarm_proto::v1::sources_server::SourcesServer;
use rpmfarm_proto::v1::workers_server::WorkersServer;
use tokio::net::TcpListener;
use tokio::sync::Notify;

use crate::farm::Farm;
use crate::publish;
use crate::rpc::MAX_MESSAGE;
use crate::rpc::blobs::BlobService;
use crate::rpc::farm::FarmService;
use crate::rpc::sources::SourceService;
use crate::rpc::workers::WorkerService;

/// How long calls that are under way may take to end when the coordinator stops.
const DRAIN: Duration = Duration::from_secs(2);

/// Serves until `stop` is done.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    farm: Farm,
    listener: TcpListener,
    stop: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    let grpc = tonic::service::Routes::new(FarmServer::new(FarmService(farm.clone())))
        .add_service(SourcesServer::new(SourceService(farm.clone())))
        .add_service(BlobsServer::new(BlobService(farm.clone())))
        .add_service(
            WorkersServer::new(WorkerService(farm.clone())).max_decoding_message_size(MAX_MESSAGE),
        )
        .prepare()
        .into_axum_router();
    let http = Router::new().nest_service("/repo", publish::router(&farm.repos)?);
    let app = grpc.merge(http);
    let stopping = Arc::new(Notify::new());
    let told = stopping.clone();
    let graceful = axum::serve(listener, app).with_graceful_shutdown(async move {
        stop.await;
        told.notify_one();
    });
    // Sessions of workers and watchers have no end of their own; they connect again.
    let deadline = async {
        stopping.notified().await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        result = graceful => result.context("serving"),
        () = deadline => Ok(()),
    }
}
