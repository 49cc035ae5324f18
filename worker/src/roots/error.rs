//! Why a root could not be made, and whose fault that is.

use rpmfarm_core::transaction::refusal;
use rpmfarm_core::{Failure, FailureStage, Fault};

use crate::cages::{CageError, CancelReason};
use crate::files::FilesError;
use crate::trees::TreeError;

/// Why a root could not be made.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// The work was cancelled meanwhile.
    #[error("cancelled while making the root")]
    Cancelled(CancelReason),
    /// Its packages could not be had.
    #[error(transparent)]
    Files(FilesError),
    /// A package could not be unpacked.
    #[error("cannot unpack {package} into the bootstrap root: {reason}")]
    Unpack { package: String, reason: String },
    /// rpm refused to install the packages.
    #[error("rpm could not install the packages of the {layer}: {}", refusal(output, *code))]
    Transaction {
        /// `base root` or `build requirements`.
        layer: &'static str,
        /// rpm's exit status.
        code: u8,
        /// Its last output, and its errors.
        output: Vec<String>,
    },
    /// rpm did not end in time.
    #[error("installing the packages of the {layer} took longer than {minutes} minutes")]
    Time {
        /// `base root` or `build requirements`.
        layer: &'static str,
        minutes: u64,
    },
    /// rpm or a scriptlet printed too much.
    #[error("installing the packages of the {layer} wrote more than {mib} MiB of log")]
    Log {
        /// `base root` or `build requirements`.
        layer: &'static str,
        mib: u64,
    },
    /// The packages or their scriptlets fill the disk, or leave a tree that no package has.
    #[error(
        "installing the packages of the {layer} ({packages}) left a tree that is refused: {source}{}",
        if matches!(source, TreeError::Large { .. }) { ", many times their size" } else { "" }
    )]
    Grown {
        /// `bootstrap root`, `base root` or `build requirements`.
        layer: &'static str,
        /// Its packages, or some of them.
        packages: String,
        /// Which bound was broken, and where.
        source: TreeError,
    },
    /// rpm was killed because memory ran out.
    #[error("installing the packages of the {layer} needed more than {mib} MiB of memory")]
    Memory {
        /// `base root` or `build requirements`.
        layer: &'static str,
        mib: u64,
    },
    /// rpm was killed because memory ran out outside of its cage.
    #[error("the host ran out of memory while the packages of the {layer} were installed")]
    HostMemory {
        /// `base root` or `build requirements`.
        layer: &'static str,
    },
    #[error(transparent)]
    Cage(#[from] CageError),
    /// The lock has no layer.
    #[error("the lock has no base root")]
    Empty,
    /// The worker's own disk.
    #[error("cannot {what}: {source}")]
    Local { what: &'static str, source: std::io::Error },
}

impl From<FilesError> for RootError {
    fn from(error: FilesError) -> Self {
        match error {
            FilesError::Cancelled(why) => Self::Cancelled(why),
            other => Self::Files(other),
        }
    }
}

impl RootError {
    pub(super) fn local(what: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Local { what, source }
    }

    /// The error in a layer's tree: the fault of the disk, or of the program that made it.
    pub(super) fn tree(layer: &'static str, packages: String, source: TreeError) -> Self {
        match source {
            TreeError::Io { place, source } => {
                let source = std::io::Error::new(source.kind(), format!("{place}: {source}"));
                Self::Local { what: "measure a root", source }
            }
            source => Self::Grown { layer, packages, source },
        }
    }

    /// The failure as it is recorded. A root that rpm refuses depends on the lock, which the solver
    /// made for the package's requirements, or on a damaged copy on this worker. So it gets the
    /// stage in which another worker tries once more.
    #[must_use]
    pub fn failure(&self) -> Failure {
        let (fault, stage) = match self {
            Self::Files(FilesError::Fetch { fault, .. }) => (*fault, FailureStage::Root),
            Self::Empty => (Fault::Farm, FailureStage::Root),
            Self::Unpack { .. }
            | Self::Transaction { .. }
            | Self::Time { .. }
            | Self::Log { .. }
            | Self::Grown { .. }
            | Self::Memory { .. } => (Fault::Worker, FailureStage::Transaction),
            Self::Cancelled(_)
            | Self::Files(_)
            | Self::HostMemory { .. }
            | Self::Cage(_)
            | Self::Local { .. } => (Fault::Worker, FailureStage::Root),
        };
        let failure = Failure::new(fault, stage, self.to_string());
        match self {
            Self::Transaction { output, .. } => failure.with_excerpt(output.clone()),
            _ => failure,
        }
    }
}
