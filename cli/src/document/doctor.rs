//! The findings of `doctor` as JSON.

use serde::Serialize;

/// What `doctor` found.
#[derive(Debug, Serialize)]
pub(crate) struct DoctorDocument {
    /// Whether no check is an error.
    pub(crate) ok: bool,
    pub(crate) checks: Vec<CheckDocument>,
}

/// One check.
#[derive(Debug, Serialize)]
pub(crate) struct CheckDocument {
    /// here, coordinator.
    #[serde(rename = "where")]
    pub(crate) place: &'static str,
    pub(crate) name: String,
    /// ok, warning, error.
    pub(crate) level: &'static str,
    /// What was found.
    pub(crate) message: String,
    /// What to do.
    pub(crate) remedy: Option<String>,
}
