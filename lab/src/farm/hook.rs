//! Webhooks, sent as a forge sends them: signed, over HTTP, from a process of its own.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::Duration;

use anyhow::Context as _;
use ring::hmac;

use super::{Farm, TARGET};

/// The secret with which the lab's forge signs.
const SECRET: &str = "the secret of the lab's forge";

/// The timeout of a farm's answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// A push to announce.
#[derive(Debug, Clone)]
pub struct Hook {
    /// `rpms/NAME`.
    pub repository: String,
    pub branch: String,
    pub commit: String,
    /// The forge's id of the delivery.
    pub delivery: String,
}

/// The address and secret for webhooks of a farm. Cheap to clone, and can be sent to threads.
#[derive(Debug, Clone)]
pub struct Forge {
    address: String,
}

impl Farm {
    /// Configures the forge's secret in the farm, and returns the forge.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn forge(&self) -> anyhow::Result<Forge> {
        let path = self.directory().join("coordinator/hooks.toml");
        let mut file = std::fs::OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&path)
            .with_context(|| path.display().to_string())?;
        write!(file, "[{TARGET}]\ngithub = [\"{SECRET}\"]\n")?;
        Ok(Forge { address: self.server().trim_start_matches("http://").to_owned() })
    }
}

impl Forge {
    /// Sends a webhook as GitHub does; the status and the answer.
    ///
    /// # Errors
    /// When the farm cannot be reached.
    pub fn send(&self, hook: &Hook) -> anyhow::Result<(u16, String)> {
        let Hook { repository, branch, commit, delivery } = hook;
        let body = serde_json::json!({
            "ref": format!("refs/heads/{branch}"),
            "before": "0".repeat(40),
            "after": commit,
            "repository": { "full_name": repository, "pushed_at": delivery },
        })
        .to_string();
        let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
        let signature = hex::encode(hmac::sign(&key, body.as_bytes()).as_ref());
        let head = format!(
            "POST /hooks/github/{TARGET} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\nX-GitHub-Event: push\r\n\
             X-GitHub-Delivery: {delivery}\r\nX-Hub-Signature-256: sha256={signature}\r\n\r\n",
            self.address,
            body.len(),
        );
        let mut stream = TcpStream::connect(&self.address).context("the farm is not there")?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(format!("{head}{body}").as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.with_context(|| format!("no answer: {answer}"))?;
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        Ok((status, body.to_owned()))
    }
}
