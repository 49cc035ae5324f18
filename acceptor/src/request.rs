//! Requests for acceptances: from the message to checked values.

use rpmfarm_core::limits::Limits;
use rpmfarm_core::name::{self, NameError};
use rpmfarm_core::results::ResultFile;
use rpmfarm_core::statement::{Acceptance, Proof, Statement, set_digest};
use rpmfarm_core::task::TaskKind;
use rpmfarm_core::{Arch, AttemptId, BuildId, Sha256, TaskId};
use rpmfarm_guarded::key::verify;
use rpmfarm_proto::{WireError, v1};

use crate::check::CheckedFile;

/// How many files an attempt may have, as at the coordinator.
const MAX_FILES: usize = 20_000;

/// A request for the acceptance of an attempt's results.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Name of the target.
    pub target: String,
    pub build: BuildId,
    pub task: TaskId,
    pub attempt: AttemptId,
    /// Which kind of work.
    pub kind: TaskKind,
    /// The architecture of the root.
    pub arch: Arch,
    /// Name of the package.
    pub package: String,
    /// Name of the worker.
    pub worker: String,
    pub proof: Proof,
    pub files: Vec<ResultFile>,
    /// How much the packages may hold.
    pub limits: Limits,
}

impl Asked {
    /// Whether the worker's key has signed this statement.
    #[must_use]
    pub fn is_signed(&self) -> bool {
        let Self { target, build, task, attempt, kind, arch, package, worker, proof, .. } = self;
        let statement = Statement {
            worker,
            target,
            build: *build,
            task: *task,
            attempt: *attempt,
            kind: *kind,
            package,
            arch: *arch,
            input: proof.input,
            files: &self.files,
        };
        verify(&proof.key, &statement.to_bytes(), &proof.signature)
    }

    /// The digest of all results.
    #[must_use]
    pub fn set(&self) -> Sha256 {
        set_digest(&self.files)
    }

    /// The acceptance of one of the packages.
    #[must_use]
    pub fn acceptance(&self, found: &CheckedFile, time: u64) -> Acceptance {
        Acceptance {
            target: self.target.clone(),
            build: self.build,
            attempt: self.attempt,
            worker: self.worker.clone(),
            nevra: found.nevra.to_string(),
            file: found.file,
            header: found.header,
            time,
        }
    }
}

impl TryFrom<v1::AcceptRequest> for Asked {
    type Error = WireError;

    fn try_from(wire: v1::AcceptRequest) -> Result<Self, WireError> {
        plain("target", name::check_package(&wire.target))?;
        plain("package", name::check_package(&wire.package))?;
        plain("worker", name::check_worker(&wire.worker))?;
        let lacks = |field| WireError::Missing { message: "request", field };
        let kind: TaskKind = parse("kind", &wire.kind)?;
        if kind == TaskKind::Repeat {
            return Err(bad("kind", "a repeated build is only compared, never accepted"));
        }
        if wire.files.is_empty() || wire.files.len() > MAX_FILES {
            let count = wire.files.len();
            return Err(bad("files", format!("{count} files, expected 1 to {MAX_FILES}")));
        }
        let files = wire.files.into_iter().map(ResultFile::try_from);
        Ok(Self {
            build: BuildId(wire.build),
            task: TaskId(wire.task),
            attempt: AttemptId(wire.attempt),
            kind,
            arch: parse("arch", &wire.arch)?,
            proof: Proof::try_from(wire.proof.ok_or_else(|| lacks("proof"))?)?,
            files: files.collect::<Result<_, _>>()?,
            limits: wire.limits.ok_or_else(|| lacks("limits"))?.into(),
            target: wire.target,
            package: wire.package,
            worker: wire.worker,
        })
    }
}

fn plain(field: &'static str, checked: Result<(), NameError>) -> Result<(), WireError> {
    checked.map_err(|error| bad(field, error.to_string()))
}

fn parse<T: std::str::FromStr<Err: ToString>>(
    field: &'static str,
    text: &str,
) -> Result<T, WireError> {
    text.parse().map_err(|error: T::Err| bad(field, error.to_string()))
}

fn bad(field: &'static str, reason: impl Into<String>) -> WireError {
    WireError::Bad { field, reason: reason.into() }
}
