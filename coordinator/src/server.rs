//! What the coordinator serves: gRPC for workers and people, behind the guard, and HTTP for dnf.

use axum::{Router, middleware};
use rpmfarm_proto::v1::blobs_server::BlobsServer;
use rpmfarm_proto::v1::enrolment_server::EnrolmentServer;
use rpmfarm_proto::v1::farm_server::FarmServer;
use rpmfarm_proto::v1::fleet_server::FleetServer;
use rpmfarm_proto::v1::packages_server::PackagesServer;
use rpmfarm_proto::v1::sources_server::SourcesServer;
use rpmfarm_proto::v1::tracking_server::TrackingServer;
use rpmfarm_proto::v1::workers_server::WorkersServer;

use crate::farm::Farm;
use crate::identity::guard::guard;
use crate::listen::Listeners;
use crate::rpc::MAX_MESSAGE;
use crate::rpc::blobs::BlobService;
use crate::rpc::enrolment::EnrolmentService;
use crate::rpc::farm::FarmService;
use crate::rpc::fleet::FleetService;
use crate::rpc::packages::PackageService;
use crate::rpc::sources::SourceService;
use crate::rpc::tracking::TrackingService;
use crate::rpc::workers::WorkerService;
use crate::{observe, publish, track};

/// Serves a farm on its ports until `stop` is done.
///
/// # Errors
/// When the repositories' directory cannot be served.
pub async fn serve(
    farm: Farm,
    listeners: impl Into<Listeners>,
    stop: impl Future<Output = ()> + Send,
) -> anyhow::Result<()> {
    let connections = farm.connections.clone();
    listeners.into().serve(app(&farm)?, connections, stop).await
}

/// Everything that is served, on each port.
///
/// # Errors
/// When the repositories' directory cannot be served.
fn app(farm: &Farm) -> anyhow::Result<Router> {
    let grpc = tonic::service::Routes::new(FarmServer::new(FarmService(farm.clone())))
        .add_service(SourcesServer::new(SourceService(farm.clone())))
        .add_service(TrackingServer::new(TrackingService(farm.clone())))
        .add_service(PackagesServer::new(PackageService(farm.clone())))
        .add_service(FleetServer::new(FleetService(farm.clone())))
        .add_service(EnrolmentServer::new(EnrolmentService(farm.clone())))
        .add_service(BlobsServer::new(BlobService(farm.clone())))
        .add_service(
            WorkersServer::new(WorkerService(farm.clone())).max_decoding_message_size(MAX_MESSAGE),
        )
        .prepare()
        .into_axum_router()
        // Nothing of the services above is reached but through it.
        .layer(middleware::from_fn_with_state(farm.clone(), guard));
    let http = Router::new().nest_service("/repo", publish::router(&farm.repos)?);
    let http = http.merge(observe::router(farm));
    let http = http.nest("/hooks", track::router(farm.clone()));
    Ok(grpc.merge(http).layer(middleware::from_fn(observe::pages)))
}
