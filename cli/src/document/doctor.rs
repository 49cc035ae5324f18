//! The findings of `doctor` as JSON.

use serde::Serialize;

/// The findings of `doctor`.
#[derive(Debug, Serialize)]
pub(crate) struct DoctorDocument {
    /// Whether no check is an error.
    pub(crate) ok: bool,
    pub(crate) checks: Vec<CheckDocument>,
}

#[derive(Debug, Serialize)]
pub(crate) struct CheckDocument {
    /// Where it was checked: `here` or `coordinator`.
    #[serde(rename = "where")]
    pub(crate) place: &'static str,
    pub(crate) name: String,
    /// `ok`, `warning` or `error`.
    pub(crate) level: &'static str,
    pub(crate) message: String,
    pub(crate) remedy: Option<String>,
}
