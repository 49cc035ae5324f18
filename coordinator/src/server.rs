//! The server of the coordinator: gRPC for workers and people, behind the guard, and HTTP for dnf.

use axum::{Router, middleware};
use rpmfarm_proto::v1::batches_server::BatchesServer;
use rpmfarm_proto::v1::blobs_server::BlobsServer;
use rpmfarm_proto::v1::enrolment_server::EnrolmentServer;
use rpmfarm_proto::v1::farm_server::FarmServer;
use rpmfarm_proto::v1::fleet_server::FleetServer;
use rpmfarm_proto::v1::packages_server::PackagesServer;
use rpmfarm_proto::v1::proofs_server::ProofsServer;
use rpmfarm_proto::v1::sources_server::SourcesServer;
use rpmfarm_proto::v1::tracking_server::TrackingServer;
use rpmfarm_proto::v1::workers_server::WorkersServer;

use crate::identity::guard::guard;
use crate::listen::Listeners;
use crate::parts::Parts;
use crate::rpc::MAX_MESSAGE;
use crate::{observe, publish, track};

/// Serves a farm on its ports until `stop` completes.
///
/// # Errors
/// When the repositories' directory cannot be served.
pub async fn serve(
    parts: Parts,
    listeners: impl Into<Listeners>,
    stop: impl Future<Output = ()> + Send,
) -> anyhow::Result<()> {
    let connections = parts.connections.clone();
    listeners.into().serve(app(&parts)?, connections, stop).await
}

/// All services and pages, for each port.
///
/// # Errors
/// When the repositories' directory cannot be served.
fn app(parts: &Parts) -> anyhow::Result<Router> {
    let workers = WorkersServer::new(parts.worker_service());
    let grpc = tonic::service::Routes::new(FarmServer::new(parts.farm_service()))
        .add_service(BatchesServer::new(parts.batch_service()))
        .add_service(SourcesServer::new(parts.source_service()))
        .add_service(TrackingServer::new(parts.tracking_service()))
        .add_service(PackagesServer::new(parts.package_service()))
        .add_service(ProofsServer::new(parts.proof_service()))
        .add_service(FleetServer::new(parts.fleet_service()))
        .add_service(EnrolmentServer::new(parts.enrolment_service()))
        .add_service(BlobsServer::new(parts.blob_service()))
        .add_service(workers.max_decoding_message_size(MAX_MESSAGE))
        .prepare()
        .into_axum_router()
        // Added last, so that every service above is reached only through the guard.
        .layer(middleware::from_fn_with_state(parts.guard(), guard));
    let http = Router::new().nest_service("/repo", publish::router(&parts.repos)?);
    let http = http.merge(observe::router(parts.operations()));
    let http = http.nest("/hooks", track::router(parts.hooks()));
    Ok(grpc.merge(http).layer(middleware::from_fn(observe::pages)))
}
