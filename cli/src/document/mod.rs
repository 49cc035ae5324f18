//! The documents of `--json`, with field names that stay.
//!
//! Times are RFC 3339 in UTC, durations milliseconds, sizes bytes; a value that is unknown or
//! absent is null. Text is not changed except for JSON's escapes. Described in docs/cli.md.

pub(crate) mod batches;
mod build;
mod channel;
pub(crate) mod channel_problems;
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

/// An empty text in a message stands for an unknown one.
fn known(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}
