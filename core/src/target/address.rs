//! The addresses in a target file: templates of URLs, and whether their URLs may be requested.
//!
//! Owns why an address is refused. It must not know the field.

use url::{Host, Url};

use super::{PrivateHosts, Template, is_private};
use crate::name;

/// Checks a template of URLs: its variables, of which one may be `needed` (or none, when that is
/// empty), and the URL that it expands to.
///
/// # Errors
/// What is wrong with it, as text for a [`Problem`](super::Problem).
pub(super) fn check(
    template: &Template,
    variables: &[&str],
    needed: &str,
    private_hosts: &PrivateHosts,
) -> Result<Url, String> {
    let text = template.as_str();
    let known = variables.iter().map(|v| format!("{{{v}}}")).collect::<Vec<_>>().join(", ");
    if !template.is_balanced() {
        return Err("has a brace without its partner".to_owned());
    }
    if let Some(unknown) = template.variables().find(|v| !variables.contains(v)) {
        return Err(format!("unknown variable {{{}}}; known: {known}", name::shown(unknown)));
    }
    if !needed.is_empty() && !template.variables().any(|v| v == needed) {
        return Err(format!("needs the variable {{{needed}}}"));
    }
    let values: Vec<_> = variables.iter().map(|v| (*v, "x")).collect();
    Err(match Url::parse(&template.expand(&values)) {
        Err(error) => format!("is not a URL: {error}"),
        Ok(url) if !["https", "http"].contains(&url.scheme()) => {
            format!("`{}:` is not allowed; use https", url.scheme())
        }
        Ok(url) if !url.username().is_empty() || url.password().is_some() => {
            "must not hold a user name or password, which would be logged".to_owned()
        }
        Ok(_) if authority(text).contains('{') => {
            "the host must not depend on a variable".to_owned()
        }
        Ok(url) if url.fragment().is_some() => "must not have a fragment (#)".to_owned(),
        Ok(url) if is_own_network(&url) && !may_be_private(&url, private_hosts) => {
            let host = url.host_str().unwrap_or_default();
            format!("{host} is a private address; add it to private_hosts to allow it")
        }
        Ok(url) => return Ok(url),
    })
}

/// Why a base URL in a repository's metadata is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the base `{}` {why}", name::shown(.base))]
pub struct BaseError {
    /// The base, as the metadata have it.
    pub base: String,
    /// What is wrong with it.
    pub why: String,
}

/// Reads the base URL of some files in a repository's metadata (`xml:base`), and checks it like a
/// URL of the target.
///
/// # Errors
/// Why it is refused.
pub fn check_base(text: &str, private_hosts: &PrivateHosts) -> Result<Url, BaseError> {
    let refused = |why: &str| Err(BaseError { base: text.to_owned(), why: why.to_owned() });
    let url = match Url::parse(text.trim()) {
        Ok(url) => url,
        Err(error) => return refused(&format!("is not a URL: {error}")),
    };
    if !["https", "http"].contains(&url.scheme()) || !url.has_host() {
        return refused("is not reached by http or https; only those are fetched");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return refused("holds a user name or password");
    }
    if url.fragment().is_some() || url.query().is_some() {
        return refused("has a query or a fragment; a directory is expected");
    }
    if is_own_network(&url) && !may_be_private(&url, private_hosts) {
        let host = url.host_str().unwrap_or_default();
        return refused(&format!(
            "is at the private address {host}; add it to private_hosts to allow it"
        ));
    }
    Ok(url)
}

/// Whether the target allows the server of a URL to have a private address.
pub(super) fn may_be_private(url: &Url, private_hosts: &PrivateHosts) -> bool {
    let port = url.port_or_known_default().unwrap_or_default();
    url.host_str().is_some_and(|host| private_hosts.allow(host, port))
}

/// The part of a URL between `://` and the path.
fn authority(text: &str) -> &str {
    text.split_once("://").map_or(text, |(_, rest)| rest.split('/').next().unwrap_or_default())
}

/// Whether the host of the URL is a private address.
fn is_own_network(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(v4)) => is_private(v4.into()),
        Some(Host::Ipv6(v6)) => is_private(v6.into()),
        Some(Host::Domain(domain)) => domain == "localhost" || domain.ends_with(".localhost"),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_is_a_directory_on_a_server_that_may_be_asked() {
        let hosts: PrivateHosts =
            serde_json::from_str("[\"127.0.0.1:8170\"]").expect("a list of hosts");
        for good in ["https://example.org/a/", "http://example.org/a", "http://127.0.0.1:8170/x/"] {
            assert!(check_base(good, &hosts).is_ok(), "{good}");
        }
        for (bad, why) in [
            ("../other/", "not a URL"),
            ("", "not a URL"),
            ("media://1700000000.1#2", "http or https"),
            ("file:///srv/repo/", "http or https"),
            ("http://127.0.0.1:8171/x/", "private_hosts"),
            ("http://localhost/x/", "private_hosts"),
            ("http://[::1]/x/", "private_hosts"),
            ("https://user:word@example.org/", "password"),
            ("https://example.org/?a=", "query"),
            ("https://example.org/#2", "fragment"),
        ] {
            let error = check_base(bad, &hosts).expect_err(bad);
            assert!(error.to_string().contains(why), "{bad}: {error}");
        }
    }
}
