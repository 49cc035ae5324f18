//! HTTP to servers that a target names: redirects are followed only after a check, and a private
//! address is connected to only when the target allows the host.

use std::error::Error as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::LOCATION;
use reqwest::redirect::Policy;
use reqwest::{Client, Method, RequestBuilder, Response};
use rpmfarm_core::target::{PrivateHosts, is_private};
use url::{Host, Url};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
const REDIRECTS: usize = 5;

/// Some git servers refuse clients that do not name themselves as git does.
const USER_AGENT: &str = concat!("git/2.0 (rpmfarm/", env!("CARGO_PKG_VERSION"), ")");

/// Host and port of an address. Requests to one host are limited together, and a host that hangs
/// delays only its own.
pub(crate) fn host_of(url: &str) -> String {
    Url::parse(url).map_or_else(
        |_| url.to_owned(),
        |url| {
            let port = url.port_or_known_default().unwrap_or_default();
            format!("{}:{port}", url.host_str().unwrap_or_default())
        },
    )
}

/// An address for messages: without user and password, which the redirect of a server may contain.
pub(crate) fn shown(url: &Url) -> String {
    if url.username().is_empty() && url.password().is_none() {
        return url.to_string();
    }
    let mut url = url.clone();
    // Setting a user fails only for a URL without a host, which has no user.
    let _ = (url.set_username(""), url.set_password(None));
    url.to_string()
}

/// Two clients: one that connects to public addresses only, one for hosts that the target lists as
/// private. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Http {
    public: Client,
    private: Client,
}

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
    /// The URL must not be requested.
    #[error("{url}: refused: {why}")]
    Refused {
        url: String,
        /// The reason and the remedy.
        why: String,
    },
    /// The server, or the way to it, failed.
    #[error("{url}: {why}")]
    Server { url: String, why: String },
}

impl Http {
    /// Makes the clients.
    ///
    /// # Errors
    /// When the system's certificates cannot be read.
    pub(crate) fn new() -> Result<Self, reqwest::Error> {
        // Another part of the process may have installed a provider already; any will do.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // No proxy: it would resolve names itself, and so bypass the check of addresses.
        let builder = || {
            Client::builder()
                .redirect(Policy::none())
                .no_proxy()
                .connect_timeout(CONNECT_TIMEOUT)
                .user_agent(USER_AGENT)
        };
        Ok(Self {
            public: builder().dns_resolver(Arc::new(PublicResolver)).build()?,
            private: builder().build()?,
        })
    }

    /// A request that is allowed.
    ///
    /// # Errors
    /// [`HttpError::Refused`] for a scheme or an address that is not allowed.
    pub(crate) fn request(
        &self,
        method: Method,
        url: &Url,
        allowed: &PrivateHosts,
    ) -> Result<RequestBuilder, HttpError> {
        let refused = |why: String| HttpError::Refused { url: shown(url), why };
        if !["http", "https"].contains(&url.scheme()) {
            return Err(refused(format!(
                "`{}:` is not allowed, only https and http",
                url.scheme()
            )));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(refused("it holds a user name or password".to_owned()));
        }
        let port = url.port_or_known_default().unwrap_or_default();
        let host = url.host_str().unwrap_or_default();
        if allowed.allow(host, port) {
            return Ok(self.private.request(method, url.clone()));
        }
        // A literal address never reaches the resolver, so it is checked here.
        let address = match url.host() {
            Some(Host::Ipv4(v4)) => Some(IpAddr::V4(v4)),
            Some(Host::Ipv6(v6)) => Some(IpAddr::V6(v6)),
            _ => None,
        };
        if address.is_some_and(is_private) {
            return Err(refused(remedy(host)));
        }
        Ok(self.public.request(method, url.clone()))
    }

    /// Gets a URL, following redirects, each checked like the first URL. The headers of
    /// `prepare` are sent with each.
    ///
    /// # Errors
    /// When a URL is refused or its server fails.
    pub(crate) async fn get(
        &self,
        url: &Url,
        allowed: &PrivateHosts,
        prepare: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response, HttpError> {
        let mut url = url.clone();
        for _ in 0..=REDIRECTS {
            let request = prepare(self.request(Method::GET, &url, allowed)?);
            let response = request.send().await.map_err(|error| explain(&url, error))?;
            // 304 is a redirection, too, but has no location.
            if !response.status().is_redirection() || !response.headers().contains_key(LOCATION) {
                return Ok(response);
            }
            url = redirected(&url, &response)?;
        }
        Err(HttpError::Server { url: shown(&url), why: "too many redirects".to_owned() })
    }
}

/// The target of a redirect. It must not lead from https to http.
///
/// # Errors
/// When it does, or has no usable location.
pub(crate) fn redirected(from: &Url, response: &Response) -> Result<Url, HttpError> {
    let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    let to = location.and_then(|location| from.join(location).ok()).ok_or_else(|| {
        let why = format!("{} without a usable place", response.status());
        HttpError::Server { url: shown(from), why }
    })?;
    if from.scheme() == "https" && to.scheme() != "https" {
        let why = format!("it is where {} redirects to, out of https", shown(from));
        return Err(HttpError::Refused { url: shown(&to), why });
    }
    Ok(to)
}

/// The cause of a failed request, in one line.
pub(crate) fn explain(url: &Url, error: reqwest::Error) -> HttpError {
    let error = error.without_url();
    let mut why = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        if let Some(PrivateAddress(host)) = source.downcast_ref() {
            return HttpError::Refused { url: shown(url), why: remedy(host) };
        }
        why = source.to_string();
        cause = source.source();
    }
    HttpError::Server { url: shown(url), why }
}

fn remedy(host: &str) -> String {
    format!(
        "{host} has a loopback, private or link-local address; if that is meant, add it to the target's private_hosts"
    )
}

/// A name that resolves to a private address.
#[derive(Debug, thiserror::Error)]
#[error("{0} has a private address")]
struct PrivateAddress(String);

/// A resolver that returns public addresses only. The client connects to the very addresses that it
/// returns, so a name cannot change between the check and the use.
#[derive(Debug)]
struct PublicResolver;

impl Resolve for PublicResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let host = name.as_str().to_owned();
        Box::pin(async move {
            let all: Vec<SocketAddr> = tokio::net::lookup_host((host.as_str(), 0)).await?.collect();
            let public: Vec<_> = all.iter().copied().filter(|a| !is_private(a.ip())).collect();
            if public.is_empty() && !all.is_empty() {
                return Err(Box::new(PrivateAddress(host)) as _);
            }
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_no_passwords() {
        let http = Http::new().unwrap();
        for (url, told) in [
            ("http://a:b@farm.example/x", "http://farm.example/x"),
            ("https://token@farm.example/x?y", "https://farm.example/x?y"),
            ("ftp://a:b@farm.example/", "ftp://farm.example/"),
        ] {
            let url = Url::parse(url).unwrap();
            let refused = http.request(Method::GET, &url, &PrivateHosts::default());
            let message = refused.err().unwrap().to_string();
            assert!(message.starts_with(&format!("{told}: refused")), "{message}");
        }
    }

    #[test]
    fn a_redirect_with_a_password_is_told_without_it() {
        let answer = axum::http::Response::builder()
            .status(302)
            .header(LOCATION, "http://user:secret@farm.example/b")
            .body("")
            .unwrap();
        let from = Url::parse("https://farm.example/a").unwrap();
        let error = redirected(&from, &Response::from(answer)).unwrap_err().to_string();
        assert!(!error.contains("secret") && !error.contains("user"), "{error}");
        assert!(error.contains("http://farm.example/b"), "{error}");
    }
}
