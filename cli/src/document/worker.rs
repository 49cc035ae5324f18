//! Workers as JSON.

use rpmfarm_core::worker_standing::Standing;
use rpmfarm_proto::v1::{Invitation, Worker, WorkerDetails};
use serde::Serialize;

use super::known;
use crate::show::time;

#[derive(Debug, Serialize)]
pub(crate) struct WorkerDocument {
    name: String,
    version: Option<String>,
    arches: Vec<String>,
    /// Those of them that it only emulates.
    emulated: Vec<String>,
    /// Labels that packages may need.
    labels: Vec<String>,
    /// alive, stale, gone; never, when it was not heard since the coordinator started.
    liveness: String,
    /// The decision about it: active, drained, quarantined, revoked.
    state: String,
    state_reason: Option<String>,
    state_since: Option<String>,
    /// Whether it finishes its attempts and takes no new ones.
    draining: bool,
    /// The problem of its version, if any; then it gets no new work.
    outdated: Option<String>,
    protocol: u32,
    /// Why it takes no new work for now.
    unready: Option<String>,
    slots: u32,
    busy: u32,
    /// Slots for SRPMs alone, and how many of them are taken.
    srpm_slots: u32,
    srpm_busy: u32,
    cpus: u32,
    memory_mib: u64,
    disk_free_mib: u64,
    heard_at: Option<String>,
    /// Whether it was ever enrolled; if not, it has the farm's token.
    enrolled: bool,
    certificate_ends_at: Option<String>,
    /// Its running attempts, each as BUILD/TASK PACKAGE.
    running: Vec<String>,
}

impl From<&Worker> for WorkerDocument {
    fn from(worker: &Worker) -> Self {
        Self {
            name: worker.name.clone(),
            version: known(&worker.version),
            arches: worker.arches.clone(),
            emulated: worker.emulated.clone(),
            labels: worker.labels.clone(),
            liveness: worker.liveness.clone(),
            state: known(&worker.state).unwrap_or_else(|| Standing::default().to_string()),
            state_reason: known(&worker.state_reason),
            state_since: time::rfc3339(worker.state_us),
            draining: worker.draining,
            outdated: known(&worker.outdated),
            protocol: worker.protocol,
            unready: known(&worker.unready),
            slots: worker.slots,
            busy: worker.busy,
            srpm_slots: worker.srpm_slots,
            srpm_busy: worker.srpm_busy,
            cpus: worker.cpus,
            memory_mib: worker.memory_mib,
            disk_free_mib: worker.disk_free_mib,
            heard_at: time::rfc3339(worker.heard_us),
            enrolled: worker.enrolled,
            certificate_ends_at: time::rfc3339(worker.certificate_ends_us),
            running: worker.running.clone(),
        }
    }
}

/// Everything about a worker.
#[derive(Debug, Serialize)]
pub(crate) struct WorkerDetailsDocument {
    #[serde(flatten)]
    worker: WorkerDocument,
    enrolled_arches: Vec<String>,
    /// Newest first.
    decisions: Vec<DecisionDocument>,
    /// Newest first.
    certificates: Vec<CertificateDocument>,
    /// Failures for reasons of its own, newest first.
    faults: Vec<FaultDocument>,
}

#[derive(Debug, Serialize)]
struct DecisionDocument {
    state: String,
    reason: Option<String>,
    at: Option<String>,
}

#[derive(Debug, Serialize)]
struct CertificateDocument {
    fingerprint: String,
    serial: String,
    issued_at: Option<String>,
    ends_at: Option<String>,
    /// Why it was revoked before it expired.
    ended: Option<String>,
}

#[derive(Debug, Serialize)]
struct FaultDocument {
    build: i64,
    task: i64,
    package: String,
    at: Option<String>,
    stage: Option<String>,
    message: Option<String>,
}

impl From<&WorkerDetails> for WorkerDetailsDocument {
    fn from(details: &WorkerDetails) -> Self {
        let decisions = details.decisions.iter().map(|decision| DecisionDocument {
            state: decision.state.clone(),
            reason: known(&decision.reason),
            at: time::rfc3339(decision.at_us),
        });
        let certificates = details.certificates.iter().map(|certificate| CertificateDocument {
            fingerprint: certificate.fingerprint.clone(),
            serial: certificate.serial.clone(),
            issued_at: time::rfc3339(certificate.issued_us),
            ends_at: time::rfc3339(certificate.ends_us),
            ended: known(&certificate.ended),
        });
        let faults = details.faults.iter().map(|fault| FaultDocument {
            build: fault.build,
            task: fault.task,
            package: fault.package.clone(),
            at: time::rfc3339(fault.at_us),
            stage: fault.failure.as_ref().and_then(|failure| known(&failure.stage)),
            message: fault.failure.as_ref().and_then(|failure| known(&failure.message)),
        });
        Self {
            worker: details.worker.as_ref().unwrap_or(&Worker::default()).into(),
            enrolled_arches: details.enrolled_arches.clone(),
            decisions: decisions.collect(),
            certificates: certificates.collect(),
            faults: faults.collect(),
        }
    }
}

/// A token for a new worker.
#[derive(Debug, Serialize)]
pub(crate) struct InvitationDocument {
    worker: String,
    /// A secret, until it was used.
    token: String,
    expires_at: Option<String>,
    coordinator: String,
    /// SHA-256 of the farm's CA certificate.
    authority: String,
    arches: Vec<String>,
    /// The command to run on the new worker.
    command: String,
}

impl From<&Invitation> for InvitationDocument {
    fn from(invitation: &Invitation) -> Self {
        let Invitation { worker, token, expires_us, coordinator, authority, arches } =
            invitation.clone();
        let command = format!("rpmfarm-worker enrol --coordinator {coordinator} --token {token}");
        let expires_at = time::rfc3339(expires_us);
        Self { worker, token, expires_at, coordinator, authority, arches, command }
    }
}
