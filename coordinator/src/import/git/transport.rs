//! Git's smart HTTP protocol over the import's own HTTP client.
//!
//! Owns the two requests of a fetch (`gitprotocol-http(5)`): the list of refs and the pack. It must
//! not know which commit is fetched. libgit2 turns errors into text, so the session keeps the first
//! error.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use git2::transport::{Service, SmartSubtransport, SmartSubtransportStream, Transport};
use parking_lot::Mutex;
use reqwest::header::{ACCEPT, CONTENT_TYPE, LOCATION};
use reqwest::{Method, Response, StatusCode};
use rpmfarm_core::target::PrivateHosts;
use tokio::time::Instant;
use url::Url;

use crate::http::{Http, explain};
use crate::import::failure::ImportError;
use crate::import::watch::{ImportTimer, TransferRate};

use super::guard::{PackError, PackGuard, PackLimits};

/// The longest list of refs, in bytes: that of the largest repositories has a few MiB, and libgit2
/// keeps all of it in memory.
const MAX_REFS_BYTES: u64 = 16 * 1024 * 1024;

/// The longest request, in bytes: wants and haves of some dozen bytes each.
const MAX_REQUEST_BYTES: usize = 1024 * 1024;

/// One fetch from one repository.
pub(crate) struct FetchSession {
    pub(crate) http: Arc<Http>,
    pub(crate) allowed: PrivateHosts,
    pub(crate) watch: ImportTimer,
    pub(crate) package: String,
    /// The first error, which libgit2 would turn into text.
    failure: Mutex<Option<ImportError>>,
}

thread_local! {
    /// The fetch that runs on this thread: libgit2 passes no context to a transport.
    static CURRENT: RefCell<Option<Arc<FetchSession>>> = const { RefCell::new(None) };
}

/// Makes libgit2 use this transport for http and https. Must be called before any other use of
/// libgit2.
///
/// # Errors
/// When libgit2 refuses it.
#[expect(
    unsafe_code,
    reason = "registering transports needs to be synchronized, which the lock does"
)]
pub(crate) fn register() -> Result<(), git2::Error> {
    static REGISTERED: OnceLock<Result<(), String>> = OnceLock::new();
    let registered = REGISTERED.get_or_init(|| {
        for scheme in ["http", "https"] {
            // SAFETY: the lock lets one thread in, once, before any transport is made: importers
            // are made by way of this function, and nothing else in the process uses transports.
            unsafe {
                git2::transport::register(scheme, |remote| {
                    let session = CURRENT.with_borrow(Clone::clone);
                    let session = session.ok_or_else(|| git2::Error::from_str("no session"))?;
                    Transport::smart(remote, true, GitConnection(session))
                })
            }
            .map_err(|error| error.message().to_owned())?;
        }
        Ok(())
    });
    registered.clone().map_err(|error| git2::Error::from_str(&error))
}

impl FetchSession {
    pub(crate) fn new(
        http: Arc<Http>,
        allowed: PrivateHosts,
        watch: ImportTimer,
        package: String,
    ) -> Arc<Self> {
        Arc::new(Self { http, allowed, watch, package, failure: Mutex::new(None) })
    }

    /// Runs libgit2's part of a fetch on this thread; the inner error is libgit2's own.
    ///
    /// # Errors
    /// The first error of the network.
    pub(super) fn run<T>(
        self: &Arc<Self>,
        part: impl FnOnce() -> Result<T, git2::Error>,
    ) -> Result<Result<T, git2::Error>, ImportError> {
        CURRENT.set(Some(Arc::clone(self)));
        let result = part();
        CURRENT.set(None);
        let failure = self.failure.lock().take();
        match (result, failure) {
            (Err(_), Some(failure)) => Err(failure),
            (result, _) => Ok(result),
        }
    }

    /// Whether a fetch may continue after so many objects.
    pub(super) fn admits(&self, objects: usize) -> bool {
        let limit = self.watch.limits().git_objects;
        if objects <= limit {
            return true;
        }
        self.fail(ImportError::TooMuch {
            what: self.package.clone(),
            found: format!("{objects} git objects in one commit"),
            limit: limit as u64,
            unit: "objects",
        });
        false
    }

    /// Keeps the first error, and returns its text for libgit2.
    fn fail(&self, error: ImportError) -> String {
        let text = error.to_string().replace('\0', " ");
        self.failure.lock().get_or_insert(error);
        text
    }

    fn send(&self, exchange: &HttpExchange) -> Result<Response, ImportError> {
        let HttpExchange { service, url, body, .. } = exchange;
        let request = match service {
            Service::UploadPackLs => self.http.request(Method::GET, url, &self.allowed)?,
            _ => self
                .http
                .request(Method::POST, url, &self.allowed)?
                .header(CONTENT_TYPE, "application/x-git-upload-pack-request")
                .header(ACCEPT, "application/x-git-upload-pack-result")
                .body(body.clone()),
        };
        let response =
            self.watch.wait(url.as_str(), request.send())?.map_err(|error| explain(url, error))?;
        self.check(exchange, response)
    }

    fn check(&self, exchange: &HttpExchange, response: Response) -> Result<Response, ImportError> {
        let url = exchange.url.to_string();
        match response.status() {
            StatusCode::OK => {}
            status @ (StatusCode::UNAUTHORIZED
            | StatusCode::FORBIDDEN
            | StatusCode::NOT_FOUND
            | StatusCode::GONE) => {
                let package = self.package.clone();
                return Err(ImportError::NoRepository { package, url, status: status.as_u16() });
            }
            status if status.is_redirection() => {
                let to = response.headers().get(LOCATION).and_then(|to| to.to_str().ok());
                return Err(ImportError::Moved { url, to: to.unwrap_or("nowhere").to_owned() });
            }
            status => {
                return Err(ImportError::Server {
                    url,
                    why: format!("the server answered {status}"),
                });
            }
        }
        let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        if kind == Some(exchange.expected_type()) {
            return Ok(response);
        }
        let why = format!("this is not a git server (it sent {})", kind.unwrap_or("no type"));
        Err(ImportError::Server { url, why })
    }
}

/// A connection in the terms of libgit2.
struct GitConnection(Arc<FetchSession>);

impl SmartSubtransport for GitConnection {
    fn action(
        &self,
        url: &str,
        service: Service,
    ) -> Result<Box<dyn SmartSubtransportStream>, git2::Error> {
        let base = url.trim_end_matches('/');
        let url = match service {
            Service::UploadPackLs => format!("{base}/info/refs?service=git-upload-pack"),
            Service::UploadPack => format!("{base}/git-upload-pack"),
            Service::ReceivePackLs | Service::ReceivePack => {
                return Err(git2::Error::from_str("nothing is ever pushed"));
            }
        };
        let url = Url::parse(&url).map_err(|error| git2::Error::from_str(&error.to_string()))?;
        let limits = self.0.watch.limits();
        let limit = match service {
            Service::UploadPackLs => limits.git_bytes.min(MAX_REFS_BYTES),
            _ => limits.git_bytes,
        };
        Ok(Box::new(HttpExchange {
            session: Arc::clone(&self.0),
            service,
            url,
            limit,
            body: Vec::new(),
            response: None,
            chunk: Bytes::new(),
            received: 0,
            pace: TransferRate::new(Instant::now()),
            guard: PackGuard::new(PackLimits {
                object: limits.git_object,
                total: limits.git_unpacked,
            }),
        }))
    }

    fn close(&self) -> Result<(), git2::Error> {
        Ok(())
    }
}

/// One request, which is sent when its answer is read.
struct HttpExchange {
    session: Arc<FetchSession>,
    service: Service,
    url: Url,
    /// The greatest length of the answer in bytes.
    limit: u64,
    body: Vec<u8>,
    response: Option<Response>,
    chunk: Bytes,
    received: u64,
    pace: TransferRate,
    /// Checks the pack before libgit2 reads it.
    guard: PackGuard,
}

impl HttpExchange {
    fn expected_type(&self) -> &'static str {
        match self.service {
            Service::UploadPackLs => "application/x-git-upload-pack-advertisement",
            _ => "application/x-git-upload-pack-result",
        }
    }

    /// The error for a pack that is refused.
    fn refused(&self, error: PackError) -> ImportError {
        let limits = self.session.watch.limits();
        let limit = match error {
            PackError::Object(_) => limits.git_object,
            PackError::Total(_) => limits.git_unpacked,
            PackError::Format(_) => {
                let (url, why) = (self.url.to_string(), error.to_string());
                return ImportError::Server { url, why };
            }
        };
        ImportError::TooMuch {
            what: self.url.to_string(),
            found: error.to_string(),
            limit,
            unit: "bytes",
        }
    }

    /// The next bytes of the answer; empty at its end.
    fn next(&mut self) -> Result<Bytes, ImportError> {
        let session = Arc::clone(&self.session);
        if self.response.is_none() {
            self.response = Some(session.send(self)?);
        }
        let response = self.response.as_mut().expect("it has just been sent");
        let chunk = session
            .watch
            .wait(self.url.as_str(), response.chunk())?
            .map_err(|error| explain(&self.url, error))?
            .unwrap_or_default();
        self.received += chunk.len() as u64;
        if self.received > self.limit {
            return Err(ImportError::TooMuch {
                what: self.url.to_string(),
                found: "the git server sent more".to_owned(),
                limit: self.limit,
                unit: "bytes",
            });
        }
        if self.service == Service::UploadPack {
            self.guard.feed(&chunk).map_err(|error| self.refused(error))?;
        }
        match self.pace.add(chunk.len(), Instant::now(), session.watch.limits()) {
            Some(speed) => Err(ImportError::Server {
                url: self.url.to_string(),
                why: format!("too slow ({speed} bytes/s)"),
            }),
            None if self.service == Service::UploadPackLs => Ok(ascii(chunk)),
            None => Ok(chunk),
        }
    }
}

/// The list of refs, with `?` (which no ref contains) for every byte that is not ASCII: git2 panics
/// on names that are not UTF-8, and one such branch must not hide the others.
fn ascii(refs: Bytes) -> Bytes {
    if refs.is_ascii() {
        return refs;
    }
    refs.iter().map(|byte| if byte.is_ascii() { *byte } else { b'?' }).collect()
}

impl Read for HttpExchange {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.chunk.is_empty() {
            self.chunk = self.next().map_err(|error| io::Error::other(self.session.fail(error)))?;
        }
        let length = buffer.len().min(self.chunk.len());
        buffer[..length].copy_from_slice(&self.chunk.split_to(length));
        Ok(length)
    }
}

impl Write for HttpExchange {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.body.len() + bytes.len() > MAX_REQUEST_BYTES {
            return Err(io::Error::other("the request to the git server is too long"));
        }
        self.body.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
