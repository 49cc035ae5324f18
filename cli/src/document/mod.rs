//! What scripts see: the documents of `--json`, with field names that stay.
//!
//! Times are RFC 3339 in UTC, durations milliseconds, sizes bytes; what is not known or not yet
//! is null. Text is as it came, JSON escapes what must be. Described in docs/cli.md.

pub(crate) mod batches;
mod build;
mod channel;
mod doctor;
mod lists;
pub(crate) mod packages;
pub(crate) mod source;
mod target;
pub(crate) mod tracking;
mod why;
mod worker;

pub(crate) use build::BuildDocument;
pub(crate) use channel::ChannelDocument;
pub(crate) use doctor::{CheckDocument, DoctorDocument};
pub(crate) use lists::{
    BuildsDocument, ChannelsDocument, LogLineDocument, TargetsDocument, VersionsDocument,
    WorkersDocument,
};
pub(crate) use target::TargetDocument;
pub(crate) use why::WhyDocument;
pub(crate) use worker::{InvitationDocument, WorkerDetailsDocument, WorkerDocument};

/// An empty text on the wire is one that is not known.
fn known(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}
