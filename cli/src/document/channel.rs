//! A channel as JSON.

use rpmfarm_proto::v1::Channel;
use serde::Serialize;

use super::known;
use crate::show::time;

/// A channel of a target: what its repositories hold now, and where they are.
#[derive(Debug, Serialize)]
pub(crate) struct ChannelDocument {
    target: String,
    channel: String,
    /// The revision that is published.
    revision: i64,
    /// How many packages it holds.
    packages: u32,
    published_at: Option<String>,
    /// Address of its .repo file.
    repo_url: Option<String>,
    /// Address of the public key.
    key_url: Option<String>,
}

impl From<&Channel> for ChannelDocument {
    fn from(channel: &Channel) -> Self {
        Self {
            target: channel.target.clone(),
            channel: channel.name.clone(),
            revision: channel.revision,
            packages: channel.packages,
            published_at: time::rfc3339(channel.published_us),
            repo_url: known(&channel.repo_url),
            key_url: known(&channel.key_url),
        }
    }
}
