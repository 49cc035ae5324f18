//! One look at a repository: which commit a branch points to, asked in one small request.
//!
//! Git protocol 2 answers a question for one branch, or for one package's tags. Servers that do not know it give their whole
//! list, which is read without being kept. Addresses, sizes and times are limited as they are
//! for imports; redirects are not followed.

use std::collections::HashSet;
use std::time::Duration;

use parking_lot::Mutex;
use reqwest::header::{ACCEPT, CONTENT_TYPE, LOCATION, RETRY_AFTER};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use rpmfarm_core::target::PrivateHosts;
use rpmfarm_core::track::host::Answer;
use rpmfarm_core::track::refs::{Question, REQUEST_TYPE, Reader, RefsError, Tip, request};
use tokio::time::timeout;
use url::Url;

use crate::http::{Http, HttpError, explain, host_of};

/// What one look may use.
#[derive(Debug, Clone, Copy)]
pub struct LookLimits {
    /// The whole look.
    pub time: Duration,
    /// The longest wait for the next bytes.
    pub silence: Duration,
    /// What a server may send that was asked for one branch, in bytes.
    pub answer: u64,
    /// What a server may send that only gives its whole list, in bytes.
    pub list: u64,
}

impl Default for LookLimits {
    fn default() -> Self {
        Self {
            time: Duration::from_secs(20),
            silence: Duration::from_secs(10),
            answer: 256 * 1024,
            list: 16 * 1024 * 1024,
        }
    }
}

/// Why a look saw nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum LookError {
    /// The host is ill or busy: nobody should ask it for a while, in seconds if it said so.
    #[error("{why}")]
    Host {
        /// What happened.
        why: String,
        /// For how long it wants to be left alone.
        after: Option<u32>,
    },
    /// There is no such repository, or it is hidden as if there were none.
    #[error("{0}")]
    Missing(String),
    /// It is not for us: whoever may read it must say who it is. Some forges say so of what is
    /// not there at all.
    #[error("{0}")]
    Hidden(String),
    /// This repository cannot be read.
    #[error("{0}")]
    Repository(String),
    /// The server does not speak protocol 2.
    #[error("{0}")]
    Old(String),
}

impl LookError {
    /// What it says of the host.
    pub(super) const fn answer(&self) -> Answer {
        match self {
            Self::Host { after, .. } => Answer::Ill(*after),
            Self::Missing(_) | Self::Hidden(_) | Self::Repository(_) | Self::Old(_) => Answer::Well,
        }
    }
}

/// Looks.
#[derive(Debug)]
pub(super) struct Looker {
    http: Http,
    limits: LookLimits,
    /// Hosts that do not speak protocol 2.
    old: Mutex<HashSet<String>>,
}

impl Looker {
    pub(super) fn new(http: Http, limits: LookLimits) -> Self {
        Self { http, limits, old: Mutex::default() }
    }

    /// The client, for what else is asked of forges.
    pub(super) const fn http(&self) -> &Http {
        &self.http
    }

    /// What is asked for, with the commit that it points to; none when it is not there.
    ///
    /// # Errors
    /// When it cannot be seen.
    pub(super) async fn look(
        &self,
        repository: &str,
        question: &Question,
        allowed: &PrivateHosts,
    ) -> Result<Option<Tip>, LookError> {
        let time = self.limits.time;
        timeout(time, self.ask(repository, question, allowed)).await.unwrap_or_else(|_| {
            let why = format!("{repository}: no end within {} s", time.as_secs_f32());
            Err(LookError::Host { why, after: None })
        })
    }

    async fn ask(
        &self,
        repository: &str,
        question: &Question,
        allowed: &PrivateHosts,
    ) -> Result<Option<Tip>, LookError> {
        let host = host_of(repository);
        let is_old = self.old.lock().contains(&host);
        if !is_old {
            match self.question(repository, question, allowed).await {
                Err(LookError::Old(_)) => {}
                seen => return seen,
            }
        }
        let seen = self.list(repository, question, allowed).await?;
        // Only what speaks the old protocol well is believed to speak it only.
        if !is_old {
            self.old.lock().insert(host);
        }
        Ok(seen)
    }

    /// Protocol 2: one question. What a server says that does not understand it is no answer.
    async fn question(
        &self,
        repository: &str,
        question: &Question,
        allowed: &PrivateHosts,
    ) -> Result<Option<Tip>, LookError> {
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
            return Err(LookError::Old(format!("{url} answered {}", response.status())));
        }
        // A package may have been tagged some thousand times.
        let limit = if question.is_pattern() { self.limits.list } else { self.limits.answer };
        self.read(&url, response, question, limit).await.map_err(|error| match error {
            LookError::Repository(why) => LookError::Old(why),
            other => other,
        })
    }

    /// Protocol 0: the whole list.
    async fn list(
        &self,
        repository: &str,
        question: &Question,
        allowed: &PrivateHosts,
    ) -> Result<Option<Tip>, LookError> {
        let url = address(repository, "info/refs?service=git-upload-pack")?;
        let asked = self.request(Method::GET, &url, allowed)?;
        let response = self.send(&url, asked).await?;
        let status = response.status();
        if status != StatusCode::OK {
            return Err(LookError::Repository(format!("{url} answered {status}")));
        }
        let expected = "application/x-git-upload-pack-advertisement";
        if kind(&response) != Some(expected) {
            let found = kind(&response).unwrap_or("no type").to_owned();
            let why = format!("{url}: this is not a git server (it sent {found})");
            return Err(LookError::Repository(why));
        }
        self.read(&url, response, question, self.limits.list).await
    }

    fn request(
        &self,
        method: Method,
        url: &Url,
        allowed: &PrivateHosts,
    ) -> Result<RequestBuilder, LookError> {
        self.http.request(method, url, allowed).map_err(failed)
    }

    /// Sends a request. Answers that say the same to every git client end the look.
    async fn send(&self, url: &Url, request: RequestBuilder) -> Result<Response, LookError> {
        let sent = timeout(self.limits.silence, request.send()).await;
        let response = sent.map_err(|_| self.silent(url))?.map_err(|e| failed(explain(url, e)))?;
        let status = response.status();
        if [401, 403, 404, 410].contains(&status.as_u16()) {
            let why = format!("there is no repository for us: {url} answered {status}");
            let is_missing = [404, 410].contains(&status.as_u16());
            return Err(if is_missing { LookError::Missing(why) } else { LookError::Hidden(why) });
        }
        if [429, 502, 503, 504].contains(&status.as_u16()) {
            let header = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
            let after = header.and_then(|seconds| seconds.parse().ok());
            return Err(LookError::Host { why: format!("{url} answered {status}"), after });
        }
        if status.is_redirection() {
            let to = response.headers().get(LOCATION).and_then(|to| to.to_str().ok());
            let to = rpmfarm_core::name::shown(to.unwrap_or("nowhere"));
            return Err(LookError::Repository(format!(
                "{url} redirects to {to}; write that address in the target's file"
            )));
        }
        Ok(response)
    }

    async fn read(
        &self,
        url: &Url,
        mut response: Response,
        question: &Question,
        limit: u64,
    ) -> Result<Option<Tip>, LookError> {
        let bad = |error: RefsError| LookError::Repository(format!("{url}: {error}"));
        let mut reader = Reader::new(question);
        let mut received = 0;
        loop {
            let chunk = timeout(self.limits.silence, response.chunk()).await;
            let chunk =
                chunk.map_err(|_| self.silent(url))?.map_err(|e| failed(explain(url, e)))?;
            let Some(chunk) = chunk else { return reader.end().map_err(bad) };
            received += chunk.len() as u64;
            if received > limit {
                let why = format!("{url}: more than {limit} bytes of refs");
                return Err(LookError::Repository(why));
            }
            reader.feed(&chunk).map_err(bad)?;
        }
    }

    fn silent(&self, url: &Url) -> LookError {
        let why = format!("{url}: no answer for {} s", self.limits.silence.as_secs_f32());
        LookError::Host { why, after: None }
    }
}

fn address(repository: &str, rest: &str) -> Result<Url, LookError> {
    let url = format!("{}/{rest}", repository.trim_end_matches('/'));
    Url::parse(&url).map_err(|error| LookError::Repository(format!("{url}: {error}")))
}

fn kind(response: &Response) -> Option<&str> {
    response.headers().get(CONTENT_TYPE)?.to_str().ok()
}

fn failed(error: HttpError) -> LookError {
    match error {
        HttpError::Refused { .. } => LookError::Repository(error.to_string()),
        HttpError::Server { .. } => LookError::Host { why: error.to_string(), after: None },
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    fn looker() -> Looker {
        let limits = LookLimits {
            time: Duration::from_secs(2),
            silence: Duration::from_millis(700),
            ..LookLimits::default()
        };
        Looker::new(Http::new().unwrap(), limits)
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
                looker().look(&url, &Question::name("c9s"), &allowed(port)).await.unwrap_err();
            assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
            assert!(error.to_string().contains(words), "{error}");
            assert_eq!(error.answer(), Answer::Ill(None), "it is the host that is ill");
        }
    }

    #[tokio::test]
    async fn private_addresses_are_refused() {
        let spy = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = spy.local_addr().unwrap().port();
        for host in ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "169.254.169.254"] {
            let url = format!("http://{host}:{port}/x.git");
            let error = looker().look(&url, &Question::name("c9s"), &allowed(1)).await.unwrap_err();
            assert!(error.to_string().contains("private_hosts"), "{host}: {error}");
        }
        let error = looker()
            .look("file:///etc/x.git", &Question::name("c9s"), &allowed(1))
            .await
            .unwrap_err();
        assert!(error.to_string().contains("`file:` is not allowed"), "{error}");
        let none = tokio::time::timeout(Duration::from_millis(50), spy.accept()).await;
        assert!(none.is_err(), "nothing was connected to");
    }
}
