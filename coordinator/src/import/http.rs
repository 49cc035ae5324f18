//! HTTP to servers that upstream names: no redirect is followed unseen, and no private address is
//! connected to unless the target allows the host.

use std::error::Error as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, RequestBuilder};
use rpmfarm_core::target::{PrivateHosts, is_private};
use url::{Host, Url};

use super::failure::ImportError;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// Some servers refuse clients that do not look like git or do not name themselves.
const USER_AGENT: &str = concat!("git/2.0 (rpmfarm/", env!("CARGO_PKG_VERSION"), ")");

/// Two clients: one that connects to public addresses alone, one for the hosts that are allowed
/// to be private.
#[derive(Debug)]
pub(super) struct Http {
    public: Client,
    private: Client,
}

impl Http {
    /// Makes the clients.
    ///
    /// # Errors
    /// When the system's certificates cannot be read.
    pub(super) fn new() -> Result<Self, reqwest::Error> {
        // Another part of the process may have chosen the provider already; any will do.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // A proxy would resolve names itself, past the check of addresses.
        let builder = || {
            Client::builder()
                .redirect(Policy::none())
                .no_proxy()
                .connect_timeout(CONNECT_TIMEOUT)
                .user_agent(USER_AGENT)
        };
        Ok(Self {
            public: builder().dns_resolver(Arc::new(PublicOnly)).build()?,
            private: builder().build()?,
        })
    }

    /// A request that may be sent.
    ///
    /// # Errors
    /// [`ImportError::Refused`] for a scheme or an address that is not allowed.
    pub(super) fn request(
        &self,
        method: Method,
        url: &Url,
        allowed: &PrivateHosts,
    ) -> Result<RequestBuilder, ImportError> {
        let refused = |why: String| ImportError::Refused { url: url.to_string(), why };
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
        // The resolver sees no addresses, so those are checked here.
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
}

/// What a failed request means.
pub(super) fn explain(url: &Url, error: reqwest::Error) -> ImportError {
    let error = error.without_url();
    let mut why = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        if let Some(PrivateAddress(host)) = source.downcast_ref() {
            return ImportError::Refused { url: url.to_string(), why: remedy(host) };
        }
        why = source.to_string();
        cause = source.source();
    }
    ImportError::Server { url: url.to_string(), why }
}

fn remedy(host: &str) -> String {
    format!(
        "{host} has a loopback, private or link-local address; if that is meant, add it to the target's private_hosts"
    )
}

/// A name that leads into the own network.
#[derive(Debug, thiserror::Error)]
#[error("{0} has a private address")]
struct PrivateAddress(String);

/// Gives out public addresses only. What it gives is what is connected to, so a name cannot
/// change between the check and the use.
#[derive(Debug)]
struct PublicOnly;

impl Resolve for PublicOnly {
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
