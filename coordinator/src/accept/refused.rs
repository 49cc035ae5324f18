//! Why results are not accepted, and whose fault that is.

use rpmfarm_core::{Failure, FailureStage, Fault};

use super::check::CheckError;
use crate::planted_bugs::{PlantedBug, is_planted};
use crate::store::StoreError;

/// Why results are not accepted: either they are bad, or the farm could not check them.
pub(super) enum AcceptError {
    Failure(Failure),
    Error(anyhow::Error),
}

impl From<StoreError> for AcceptError {
    fn from(error: StoreError) -> Self {
        match error {
            // The package must raise its release: this release was built before with other content.
            StoreError::SameNevra { .. }
            | StoreError::SameFile { .. }
            | StoreError::OtherOptions { .. }
            | StoreError::Withdrawn { .. } => {
                Self::Failure(Failure::new(Fault::Package, FailureStage::Accept, error.to_string()))
            }
            error => Self::Error(error.into()),
        }
    }
}

impl From<CheckError> for AcceptError {
    fn from(error: CheckError) -> Self {
        match error.fault() {
            Some(Fault::Worker) if is_planted(PlantedBug::BrokenFileAsPackageFault) => {
                let message = error.message();
                Self::Failure(Failure::new(Fault::Package, FailureStage::Accept, message))
            }
            Some(fault) => {
                Self::Failure(Failure::new(fault, FailureStage::Accept, error.message()))
            }
            None => Self::Error(error.into()),
        }
    }
}

impl From<anyhow::Error> for AcceptError {
    fn from(error: anyhow::Error) -> Self {
        Self::Error(error)
    }
}
