//! Places that repository metadata name: always below the repository's own URL.

use url::Url;

/// Joins a place from metadata to a repository's URL.
///
/// # Errors
/// In words, when the place leads elsewhere or is none.
pub fn join(base: &Url, href: &str) -> Result<Url, String> {
    check(href)?;
    let mut url = base.clone();
    url.path_segments_mut()
        .map_err(|()| format!("{base} has no path"))?
        .pop_if_empty()
        .extend(href.split('/'));
    Ok(url)
}

/// Whether a place stays below where it is joined to.
///
/// # Errors
/// In words, when it does not.
pub fn check(href: &str) -> Result<(), String> {
    let refused = |why| Err(format!("`{}` {why}", rpmfarm_core::name::shown(href)));
    if href.is_empty() || href.len() > 4096 {
        return refused("is not the place of a file");
    }
    if href.starts_with('/') || href.split('/').next().is_some_and(|first| first.contains(':')) {
        return refused("is absolute; only places below the repository are taken");
    }
    if href.contains('\\') || href.chars().any(char::is_control) {
        return refused("has characters that no place has");
    }
    for segment in href.split('/') {
        // Servers and proxies may decode what is encoded.
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
