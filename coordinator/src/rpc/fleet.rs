//! The calls that show the workers, and by which administrators decide about them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use rpmfarm_core::lease::NEVER;
use rpmfarm_core::words::UnknownWord;
use rpmfarm_core::worker_standing::{Standing, outdated};
use rpmfarm_core::{BuildId, name};
use rpmfarm_proto::v1;
use rpmfarm_proto::v1::fleet_server::Fleet as FleetApi;
use tonic::{Request, Response, Status};

use super::enrolment::{arches, enrolment};
use super::request_checks::MAX_NAMED;
use super::us;
use crate::clock;
use crate::commands::with_command;
use crate::fleet::{Fleet, WorkerLoad, WorkerView};
use crate::identity::Enrolment;
use crate::identity::revocation::Revocations;
use crate::store::{LiveAttempt, StandingRow, Store};

#[derive(Clone)]
pub struct FleetService {
    pub store: Store,
    pub fleet: Fleet,
    /// Enrols workers; `None` without TLS.
    pub enrolment: Option<Arc<Enrolment>>,
    /// Cuts off revoked workers.
    pub revocations: Revocations,
}

/// How many decisions, certificates and faults of a worker are shown.
const DECISIONS: u32 = 10;
const CERTIFICATES: u32 = 5;
const FAULTS: u32 = 10;

/// All known workers: heard since the start, enrolled, or decided about.
pub async fn all(
    store: &Store,
    fleet: &Fleet,
    now: Instant,
) -> Result<BTreeMap<String, v1::Worker>, Status> {
    let heard = fleet.workers(now);
    let standings = store.standing_list().await?;
    let enrolled = store.enrolment_list().await?;
    let mut running = BTreeMap::<String, Vec<String>>::new();
    let loads = loads(store).await?;
    let live = store.attempt_list_live(None).await?;
    let packages = packages(store, &live).await?;
    for attempt in live {
        let package = packages.get(&attempt.build).map_or("", String::as_str);
        let line = format!("{}/{} {package}", attempt.build, attempt.task);
        running.entry(attempt.worker).or_default().push(line);
    }
    let names: BTreeSet<&String> =
        heard.keys().chain(standings.keys()).chain(enrolled.keys()).collect();
    let show = |name: &String| {
        let mut worker = shown(heard.get(name), standings.get(name));
        worker.enrolled = enrolled.contains_key(name);
        let ends = enrolled.get(name).copied().flatten();
        worker.certificate_ends_us = us(ends);
        worker.running = running.remove(name).unwrap_or_default();
        let load = loads.get(name).copied().unwrap_or_default();
        worker.srpm_busy = load.srpms.min(worker.srpm_slots);
        worker.busy = load.attempts - worker.srpm_busy;
        worker.name.clone_from(name);
        (name.clone(), worker)
    };
    Ok(names.into_iter().map(show).collect())
}

/// The load of each worker, by the leases.
async fn loads(store: &Store) -> Result<HashMap<String, WorkerLoad>, Status> {
    let mut loads = HashMap::<String, WorkerLoad>::new();
    for (worker, _, task) in store.lease_list().await? {
        loads.entry(worker).or_default().add(&task);
    }
    Ok(loads)
}

/// The packages of the builds of attempts, by build.
async fn packages(store: &Store, live: &[LiveAttempt]) -> Result<HashMap<BuildId, String>, Status> {
    let mut packages = HashMap::new();
    for page in live.chunks(MAX_NAMED) {
        let ids: Vec<BuildId> = page.iter().map(|attempt| attempt.build).collect();
        let builds = store.build_list_by_id(&ids).await?;
        packages.extend(builds.into_iter().map(|build| (build.id, build.package)));
    }
    Ok(packages)
}

fn shown(heard: Option<&WorkerView>, decided: Option<&StandingRow>) -> v1::Worker {
    let mut worker = match heard {
        Some(WorkerView { state, liveness, heard_at, .. }) => v1::Worker {
            version: state.version.clone(),
            protocol: state.protocol,
            outdated: outdated(state).unwrap_or_default(),
            arches: state.arches.iter().map(ToString::to_string).collect(),
            emulated: state.emulated.iter().map(ToString::to_string).collect(),
            liveness: liveness.to_string(),
            typed_liveness: v1::Liveness::from(Some(*liveness)).into(),
            slots: state.slots,
            srpm_slots: state.srpm_slots,
            cpus: state.cpus,
            memory_mib: state.memory_mib,
            disk_free_mib: state.disk_free_mib,
            draining: state.draining,
            unready: state.unready.clone(),
            labels: state.labels.clone(),
            heard_us: heard_at.as_us(),
            ..v1::Worker::default()
        },
        None => v1::Worker {
            liveness: NEVER.into(),
            typed_liveness: v1::Liveness::Never.into(),
            ..v1::Worker::default()
        },
    };
    let standing = decided.map(|row| row.standing).unwrap_or_default();
    worker.state = standing.to_string();
    worker.typed_state = v1::Standing::from(standing).into();
    if let Some(row) = decided {
        worker.state_reason.clone_from(&row.reason);
        worker.state_us = row.at.as_us();
    }
    worker
}

impl FleetService {
    async fn details(&self, name: &str) -> Result<v1::WorkerDetails, Status> {
        let store = &self.store;
        let worker =
            all(store, &self.fleet, Instant::now()).await?.remove(name).ok_or_else(|| {
                Status::not_found(format!("no worker {} (rpmfarm worker list)", name::shown(name)))
            })?;
        let decision = |row: StandingRow| v1::WorkerDecision {
            state: row.standing.to_string(),
            typed_state: v1::Standing::from(row.standing).into(),
            reason: row.reason,
            at_us: row.at.as_us(),
        };
        let certificate = |row: crate::store::CertificateRow| v1::WorkerCertificate {
            fingerprint: row.certificate.fingerprint.hex(),
            serial: row.certificate.serial,
            issued_us: row.certificate.issued.as_us(),
            ends_us: row.certificate.ends.as_us(),
            ended: row.ended.unwrap_or_default(),
        };
        let fault = |row: crate::store::WorkerFault| v1::WorkerFault {
            build: row.build.0,
            task: row.task.0,
            package: row.package,
            at_us: row.at.as_us(),
            failure: Some((&row.failure).into()),
        };
        let decisions = store.standing_list_history(name, DECISIONS).await?;
        let certificates = store.certificate_list(name, CERTIFICATES).await?;
        let faults = store.worker_fault_list(name, FAULTS).await?;
        let enrolled = store.enrolment_fetch_arches(name).await?.unwrap_or_default();
        Ok(v1::WorkerDetails {
            worker: Some(worker),
            decisions: decisions.into_iter().map(decision).collect(),
            certificates: certificates.into_iter().map(certificate).collect(),
            faults: faults.into_iter().map(fault).collect(),
            enrolled_arches: enrolled.iter().map(ToString::to_string).collect(),
        })
    }
}

#[tonic::async_trait]
impl FleetApi for FleetService {
    async fn invite_worker(
        &self,
        request: Request<v1::InviteWorkerRequest>,
    ) -> Result<Response<v1::Invitation>, Status> {
        let request = request.into_inner();
        let enrolment = enrolment(self.enrolment.as_deref())?;
        let arches = arches(&request.arches)?;
        let (token, invitation) = enrolment
            .invite(&self.store, &request.worker, &arches, request.valid_seconds, clock::now())
            .await?;
        tracing::info!(worker = invitation.worker, "worker invited");
        Ok(Response::new(v1::Invitation {
            worker: invitation.worker,
            token: token.to_string(),
            expires_us: invitation.expires.as_us(),
            coordinator: enrolment.address.clone(),
            authority: enrolment.authority.fingerprint().hex(),
            arches: request.arches,
        }))
    }

    async fn get_worker(
        &self,
        request: Request<v1::GetWorkerRequest>,
    ) -> Result<Response<v1::WorkerDetails>, Status> {
        Ok(Response::new(self.details(&request.into_inner().name).await?))
    }

    async fn set_worker_state(
        &self,
        request: Request<v1::SetWorkerStateRequest>,
    ) -> Result<Response<v1::WorkerDetails>, Status> {
        let v1::SetWorkerStateRequest { name, state, reason } = request.into_inner();
        let wanted: Standing = state
            .parse()
            .map_err(|error: UnknownWord| Status::invalid_argument(error.to_string()))?;
        if wanted == Standing::Quarantined {
            return Err(Status::invalid_argument(
                "only the farm itself quarantines workers; drain it (rpmfarm worker drain)",
            ));
        }
        // Only for a known worker: a decision about a mistyped name would have no effect.
        self.details(&name).await?;
        let reason = name::shown(&reason);
        let changed = self.store.standing_set(&name, wanted, &reason, clock::now()).await?;
        let changed = changed.map_err(|refused| {
            let text = with_command(refused.to_string(), Some(&refused.remedy()));
            Status::failed_precondition(format!("worker {name}: {text}"))
        })?;
        if changed {
            tracing::info!(worker = name, state, reason, "decided about a worker");
        }
        if !wanted.may_connect() {
            self.revocations.enforce(&self.store, clock::now()).await.map_err(super::internal)?;
        }
        // The session sends the new standing at once.
        self.fleet.wake_session(&name);
        Ok(Response::new(self.details(&name).await?))
    }
}
