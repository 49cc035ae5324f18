//! The locations of files in repository metadata: always below the repository's own URL.

use rpmfarm_core::name::shown;
use rpmfarm_core::target::BaseError;
use url::Url;

/// Why a location in metadata is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LocationError {
    /// The location is not below the repository.
    #[error("`{}` {why}", shown(.href))]
    Location {
        /// The location, as in the metadata.
        href: String,
        why: &'static str,
    },
    /// The URL of the repository cannot have a path.
    #[error("{0} has no path")]
    NoPath(Url),
    /// The metadata name another base URL, which is not supported.
    #[error(transparent)]
    Base(#[from] BaseError),
}

/// Joins a location from metadata to a repository's URL.
///
/// # Errors
/// When the location leads elsewhere or is malformed.
pub fn join(base: &Url, href: &str) -> Result<Url, LocationError> {
    check(href)?;
    let mut url = base.clone();
    url.path_segments_mut()
        .map_err(|()| LocationError::NoPath(base.clone()))?
        .pop_if_empty()
        .extend(href.split('/'));
    Ok(url)
}

/// Checks that a location stays below its base.
///
/// # Errors
/// When it does not.
pub fn check(href: &str) -> Result<(), LocationError> {
    let refused = |why| Err(LocationError::Location { href: href.to_owned(), why });
    if href.is_empty() || href.len() > 4096 {
        return refused("is not the location of a file");
    }
    if href.starts_with('/') || href.split('/').next().is_some_and(|first| first.contains(':')) {
        return refused("is absolute; only locations below the repository are accepted");
    }
    if href.contains('\\') || href.chars().any(char::is_control) {
        return refused("has characters that a location must not have");
    }
    for segment in href.split('/') {
        // Servers and proxies may decode percent-encoded dots.
        let decoded = segment.to_ascii_lowercase().replace("%2e", ".").replace("%2f", "/");
        if decoded == ".." || decoded.starts_with("../") || decoded.contains("/..") {
            return refused("leads out of the repository");
        }
        if decoded.is_empty() || decoded == "." {
            return refused("has an empty part");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_stay_below_the_repository() {
        let base: Url = "http://host/repo/".parse().expect("a URL");
        for (href, url) in [
            ("Packages/f/foo-1~rc1-1.rpm", "http://host/repo/Packages/f/foo-1~rc1-1.rpm"),
            ("a b.rpm", "http://host/repo/a%20b.rpm"),
            ("x%41.rpm", "http://host/repo/x%2541.rpm"),
            ("libstdc++-1.rpm", "http://host/repo/libstdc++-1.rpm"),
            ("x?y#z", "http://host/repo/x%3Fy%23z"),
        ] {
            assert_eq!(join(&base, href).map(String::from), Ok(url.to_owned()));
        }
        for bad in [
            "",
            "/etc/passwd",
            "../x",
            "a/../../x",
            "a/%2e%2E/x",
            "a/..%2fx",
            "http://evil/x",
            "file:x",
            "a//b",
            "./a",
            "a\\..\\b",
            "a\nb",
        ] {
            assert!(join(&base, bad).is_err(), "{bad}");
        }
    }
}
