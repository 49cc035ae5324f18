//! One poll of a repository: asks in one small request which commit a branch points to.
//!
//! Git protocol 2 answers a query for one branch, or for one package's tags. Servers that do not
//! support it send their whole list, which is read without being kept. Addresses, sizes and times
//! are limited as for imports; redirects are not followed.

use std::collections::HashSet;
use std::time::Duration;

use parking_lot::Mutex;
use reqwest::header::{ACCEPT, CONTENT_TYPE, LOCATION, RETRY_AFTER};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use rpmfarm_core::target::PrivateHosts;
use rpmfarm_core::track::host::HostResponse;
use rpmfarm_core::track::refs::{REQUEST_TYPE, RefQuery, RefReader, RefTip, RefsError, request};
use tokio::time::timeout;
use url::Url;

use crate::http::{Http, HttpError, explain, host_of};

/// The limits of one poll.
#[derive(Debug, Clone, Copy)]
pub struct PollLimits {
    /// The longest time from the request to the end of the answer.
    pub time: Duration,
    /// The longest wait for the next bytes.
    pub silence: Duration,
    /// The longest answer to a query for one branch, in bytes.
    pub answer: u64,
    /// The longest answer of a server that sends its whole list of refs, in bytes.
    pub list: u64,
}

impl Default for PollLimits {
    fn default() -> Self {
        Self {
            time: Duration::from_secs(20),
            silence: Duration::from_secs(10),
            answer: 256 * 1024,
            list: 16 * 1024 * 1024,
        }
    }
}

/// Why a poll has no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum PollError {
    /// The host fails or is busy: nobody should ask it for a while.
    #[error("{why}")]
    Host {
        why: String,
        /// For how many seconds the host asked to be left alone.
        after: Option<u32>,
    },
    /// There is no such repository, or the server answers as if there were none.
    #[error("{0}")]
    Missing(String),
    /// The repository needs a login. Some forges answer so for repositories that do not exist.
    #[error("{0}")]
    Hidden(String),
    /// This repository cannot be read.
    #[error("{0}")]
    Repository(String),
    /// The server does not speak protocol 2.
    #[error("{0}")]
    Old(String),
}

impl PollError {
    /// What the failure means for the limits of the host.
    pub(super) const fn answer(&self) -> HostResponse {
        match self {
            Self::Host { after, .. } => HostResponse::Ill(*after),
            Self::Missing(_) | Self::Hidden(_) | Self::Repository(_) | Self::Old(_) => {
                HostResponse::Well
            }
        }
    }
}

#[derive(Debug)]
pub(super) struct RefPoller {
    http: Http,
    limits: PollLimits,
    /// Hosts that do not support protocol 2.
    old: Mutex<HashSet<String>>,
}

impl RefPoller {
    pub(super) fn new(http: Http, limits: PollLimits) -> Self {
        Self { http, limits, old: Mutex::default() }
    }

    /// The HTTP client, which requests to forges share.
    pub(super) const fn http(&self) -> &Http {
        &self.http
    }

    /// The ref of the query with its commit; `None` when it does not exist.
    ///
    /// # Errors
    /// When the repository cannot be read.
    pub(super) async fn poll(
        &self,
        repository: &str,
        question: &RefQuery,
        allowed: &PrivateHosts,
    ) -> Result<Option<RefTip>, PollError> {
        let time = self.limits.time;
        timeout(time, self.ask(repository, question, allowed)).await.unwrap_or_else(|_| {
            let why = format!("{repository}: no complete answer within {} s", time.as_secs_f32());
            Err(PollError::Host { why, after: None })
        })
    }

    async fn ask(
        &self,
        repository: &str,
        question: &RefQuery,
        allowed: &PrivateHosts,
    ) -> Result<Option<RefTip>, PollError> {
        let host = host_of(repository);
        let is_old = self.old.lock().contains(&host);
        if !is_old {
            match self.question(repository, question, allowed).await {
                Err(PollError::Old(_)) => {}
                seen => return seen,
            }
        }
        let seen = self.list(repository, question, allowed).await?;
        // A host is remembered as old only after a valid answer in the old protocol.
        if !is_old {
            self.old.lock().insert(host);
        }
        Ok(seen)
    }

    /// Protocol 2: one query. The reply of a server that does not support it is an error.
    async fn question(
        &self,
        repository: &str,
        question: &RefQuery,
        allowed: &PrivateHosts,
    ) -> Result<Option<RefTip>, PollError> {
        let url = address(repository, "git-upload-pack")?;
        let asked = self
            .request(Method::POST, &url, allowed)?
            .header("git-protocol", "version=2")
            .header(CONTENT_TYPE, REQUEST_TYPE)
            .header(ACCEPT, "application/x-git-upload-pack-result")
            .body(request(question));
        let response = self.send(&url, asked).await?;
        let expected = "application/x-git-upload-pack-result";
        if response.status() != StatusCode::OK || kind(&response) != Some(expected) {
            return Err(PollError::Old(format!("{url} answered {}", response.status())));
        }
        // A package may have some thousand tags.
        let limit = if question.is_pattern() { self.limits.list } else { self.limits.answer };
        self.read(&url, response, question, limit).await.map_err(|error| match error {
            PollError::Repository(why) => PollError::Old(why),
            other => other,
        })
    }

    /// Protocol 0: the whole list.
    async fn list(
        &self,
        repository: &str,
        question: &RefQuery,
        allowed: &PrivateHosts,
    ) -> Result<Option<RefTip>, PollError> {
        let url = address(repository, "info/refs?service=git-upload-pack")?;
        let asked = self.request(Method::GET, &url, allowed)?;
        let response = self.send(&url, asked).await?;
        let status = response.status();
        if status != StatusCode::OK {
            return Err(PollError::Repository(format!("{url} answered {status}")));
        }
        let expected = "application/x-git-upload-pack-advertisement";
        if kind(&response) != Some(expected) {
            let found = kind(&response).unwrap_or("no type").to_owned();
            let why = format!("{url}: this is not a git server (it sent {found})");
            return Err(PollError::Repository(why));
        }
        self.read(&url, response, question, self.limits.list).await
    }

    fn request(
        &self,
        method: Method,
        url: &Url,
        allowed: &PrivateHosts,
    ) -> Result<RequestBuilder, PollError> {
        self.http.request(method, url, allowed).map_err(failed)
    }

    /// Sends a request. Statuses that mean the same for every git client end the poll.
    async fn send(&self, url: &Url, request: RequestBuilder) -> Result<Response, PollError> {
        let sent = timeout(self.limits.silence, request.send()).await;
        let response = sent.map_err(|_| self.silent(url))?.map_err(|e| failed(explain(url, e)))?;
        let status = response.status();
        if [401, 403, 404, 410].contains(&status.as_u16()) {
            let why = format!(
                "the repository does not exist or is not readable: {url} answered {status}"
            );
            let is_missing = [404, 410].contains(&status.as_u16());
            return Err(if is_missing { PollError::Missing(why) } else { PollError::Hidden(why) });
        }
        if [429, 502, 503, 504].contains(&status.as_u16()) {
            let header = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
            let after = header.and_then(|seconds| seconds.parse().ok());
            return Err(PollError::Host { why: format!("{url} answered {status}"), after });
        }
        if status.is_redirection() {
            let to = response.headers().get(LOCATION).and_then(|to| to.to_str().ok());
            let to = rpmfarm_core::name::shown(to.unwrap_or("nowhere"));
            return Err(PollError::Repository(format!(
                "{url} redirects to {to}; write that address in the target's file"
            )));
        }
        Ok(response)
    }

    async fn read(
        &self,
        url: &Url,
        mut response: Response,
        question: &RefQuery,
        limit: u64,
    ) -> Result<Option<RefTip>, PollError> {
        let bad = |error: RefsError| PollError::Repository(format!("{url}: {error}"));
        let mut reader = RefReader::new(question);
        let mut received = 0;
        loop {
            let chunk = timeout(self.limits.silence, response.chunk()).await;
            let chunk =
                chunk.map_err(|_| self.silent(url))?.map_err(|e| failed(explain(url, e)))?;
            let Some(chunk) = chunk else { return reader.end().map_err(bad) };
            received += chunk.len() as u64;
            if received > limit {
                let why = format!("{url}: more than {limit} bytes of refs");
                return Err(PollError::Repository(why));
            }
            reader.feed(&chunk).map_err(bad)?;
        }
    }

    fn silent(&self, url: &Url) -> PollError {
        let why = format!("{url}: no answer for {} s", self.limits.silence.as_secs_f32());
        PollError::Host { why, after: None }
    }
}

fn address(repository: &str, rest: &str) -> Result<Url, PollError> {
    let url = format!("{}/{rest}", repository.trim_end_matches('/'));
    Url::parse(&url).map_err(|error| PollError::Repository(format!("{url}: {error}")))
}

fn kind(response: &Response) -> Option<&str> {
    response.headers().get(CONTENT_TYPE)?.to_str().ok()
}

fn failed(error: HttpError) -> PollError {
    match error {
        HttpError::Refused { .. } => PollError::Repository(error.to_string()),
        HttpError::Server { .. } => PollError::Host { why: error.to_string(), after: None },
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    fn looker() -> RefPoller {
        let limits = PollLimits {
            time: Duration::from_secs(2),
            silence: Duration::from_millis(700),
            ..PollLimits::default()
        };
        RefPoller::new(Http::new().unwrap(), limits)
    }

    fn allowed(port: u16) -> PrivateHosts {
        serde_json::from_value(serde_json::json!([format!("127.0.0.1:{port}")])).unwrap()
    }

    /// A server that takes every connection and sends these bytes, one every 200 ms.
    async fn drip(bytes: &'static [u8]) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    // Whoever speaks before he was asked is cut off.
                    let mut asked = [0; 256];
                    let _ = stream.read(&mut asked).await;
                    for byte in bytes {
                        if stream.write_all(&[*byte]).await.is_err() {
                            return;
                        }
                        tokio::time::sleep(Duration::from_millis(200)).await;
                    }
                    std::future::pending::<()>().await;
                });
            }
        });
        port
    }

    #[tokio::test]
    async fn servers_that_hang_or_drip_end_in_time() {
        const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\n";
        for (bytes, words) in [(&b""[..], "no answer for 0.7 s"), (HEAD, "0.7 s")] {
            let port = drip(bytes).await;
            let url = format!("http://127.0.0.1:{port}/x.git");
            let begun = std::time::Instant::now();
            let error =
                looker().poll(&url, &RefQuery::name("c9s"), &allowed(port)).await.unwrap_err();
            assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
            assert!(error.to_string().contains(words), "{error}");
            assert_eq!(error.answer(), HostResponse::Ill(None), "it is the host that is ill");
        }
    }

    #[tokio::test]
    async fn private_addresses_are_refused() {
        let spy = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = spy.local_addr().unwrap().port();
        for host in ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "169.254.169.254"] {
            let url = format!("http://{host}:{port}/x.git");
            let error = looker().poll(&url, &RefQuery::name("c9s"), &allowed(1)).await.unwrap_err();
            assert!(error.to_string().contains("private_hosts"), "{host}: {error}");
        }
        let error = looker()
            .poll("file:///etc/x.git", &RefQuery::name("c9s"), &allowed(1))
            .await
            .unwrap_err();
        assert!(error.to_string().contains("`file:` is not allowed"), "{error}");
        let none = tokio::time::timeout(Duration::from_millis(50), spy.accept()).await;
        assert!(none.is_err(), "nothing was connected to");
    }
}
