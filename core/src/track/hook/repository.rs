//! Identifies a repository: forges name one by its path, by addresses for HTTP and ssh, and by its
//! page, in upper or lower case.

use std::collections::HashMap;

use crate::name::percent_decoded;

/// A name or address of a repository, normalised so that equal repositories are equal.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RepositoryAddress {
    /// The host, without port and user; empty for a bare path.
    pub host: String,
    /// The path, without slashes at its ends and without `.git`.
    pub path: String,
}

impl RepositoryAddress {
    /// Reads `https://HOST/PATH.git`, `ssh://git@HOST:22/PATH`, `git@HOST:PATH.git`, or a path.
    /// `None` when the path is empty.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (host, path) = match text.split_once("://") {
            Some((_, rest)) => rest.split_once('/').unwrap_or((rest, "")),
            // The form of scp: the colon comes before any slash.
            None => match text.split_once(':') {
                Some((host, path)) if !host.contains('/') => (host, path),
                _ => ("", text),
            },
        };
        let path = path.split(['?', '#']).next().unwrap_or_default();
        let path = percent_decoded(path).to_lowercase();
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let path = parts.join("/");
        let path = path.strip_suffix(".git").unwrap_or(&path);
        let host = host.rsplit('@').next().unwrap_or_default();
        // An IPv6 address has colons of its own, in brackets.
        let host = match host.rsplit_once(':') {
            Some((name, port)) if !port.contains(']') => name,
            _ => host,
        };
        let host = host.trim_end_matches('.').to_lowercase();
        let path = path.trim_end_matches('/').to_owned();
        (!path.is_empty()).then_some(Self { host, path })
    }

    /// How well another address matches this one, which is complete. Forges have several names and
    /// may be reached below another path, so a path with the same end is enough; but a bare name
    /// would match repositories of everybody.
    fn fit(&self, other: &Self) -> Option<MatchQuality> {
        if self.path == other.path && self.host == other.host {
            return Some(MatchQuality::Same);
        }
        let below = || {
            let before = self.path.strip_suffix(&other.path);
            other.path.contains('/') && before.is_some_and(|before| before.ends_with('/'))
        };
        (self.path == other.path || below()).then_some(MatchQuality::Path)
    }

    fn last(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }
}

/// How well a repository matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum MatchQuality {
    /// The path matches.
    Path,
    /// The host matches, too.
    Same,
}

/// Tracked repositories, to be found by the names that a forge gives them.
#[derive(Debug, Clone)]
pub struct RepositoryLookup<T> {
    by_last: HashMap<String, Vec<(RepositoryAddress, T)>>,
}

impl<T> FromIterator<(String, T)> for RepositoryLookup<T> {
    /// From the address of each repository, and what it is tracked for.
    fn from_iter<I: IntoIterator<Item = (String, T)>>(followed: I) -> Self {
        let mut by_last = HashMap::<String, Vec<(RepositoryAddress, T)>>::new();
        for (url, of) in followed {
            if let Some(address) = RepositoryAddress::parse(&url) {
                by_last.entry(address.last().to_owned()).or_default().push((address, of));
            }
        }
        Self { by_last }
    }
}

impl<T> RepositoryLookup<T> {
    /// What is tracked in the repository with these names and addresses. A match of path and host
    /// hides matches of the path only.
    #[must_use]
    pub fn find(&self, names: &[String]) -> Vec<&T> {
        let names: Vec<RepositoryAddress> =
            names.iter().filter_map(|name| RepositoryAddress::parse(name)).collect();
        let mut found: Vec<(MatchQuality, &T)> = Vec::new();
        let mut lasts: Vec<&str> = names.iter().map(RepositoryAddress::last).collect();
        lasts.sort_unstable();
        lasts.dedup();
        for (address, of) in lasts.into_iter().flat_map(|last| self.by_last.get(last)).flatten() {
            found.extend(names.iter().filter_map(|n| address.fit(n)).max().map(|fit| (fit, of)));
        }
        let best = found.iter().map(|(fit, _)| *fit).max();
        found.into_iter().filter(|(fit, _)| Some(*fit) == best).map(|(_, of)| of).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (text, host, path) in [
            ("https://h/rpms/bash.git", "h", "rpms/bash"),
            ("https://user:word@H.Example.:8443//RPMS/Bash.git/", "h.example", "rpms/bash"),
            ("ssh://git@h:2222/rpms/bash.git", "h", "rpms/bash"),
            ("git@h:rpms/bash.git", "h", "rpms/bash"),
            ("git://[::1]:9418/rpms/bash", "[::1]", "rpms/bash"),
            ("http://[::1]/rpms/bash", "[::1]", "rpms/bash"),
            ("https://h/rpms/gtk%2B.git", "h", "rpms/gtk+"),
            ("https://h/rpms/bash?x=1#y", "h", "rpms/bash"),
            ("rpms/bash", "", "rpms/bash"),
            ("/rpms/bash/", "", "rpms/bash"),
            ("rpms/a:b", "", "rpms/a:b"),
        ] {
            let address = RepositoryAddress::parse(text).unwrap();
            assert_eq!((address.host.as_str(), address.path.as_str()), (host, path), "{text}");
        }
        for none in ["", "/", ".git", "https://h", "https://h/", "git@h:"] {
            assert_eq!(RepositoryAddress::parse(none), None, "{none}");
        }
    }

    #[test]
    fn what_is_followed() {
        for (url, name, same) in [
            ("https://h/rpms/bash.git", "rpms/bash", true),
            ("https://h/git/rpms/bash.git", "rpms/bash", true),
            ("https://h/rpms/gtk+.git", "rpms/gtk+", true),
            ("https://h/rpms/gtk%2B.git", "rpms/gtk+", true),
            ("https://h/RPMS/Bash", "rpms/bash.git", true),
            ("https://h/rpms/bash", "git@inner.h:rpms/bash.git", true),
            ("https://h:8080/rpms/bash", "https://h/rpms/bash/", true),
            ("https://h/rpms/bash.git", "forks/me/rpms/bash", false),
            ("https://h/rpms/bash.git", "me/bash", false),
            ("https://h/rpms/bash.git", "bash", false),
            ("https://h/bash.git", "bash", true),
            ("https://h/myrpms/bash.git", "rpms/bash", false),
            ("https://h/rpms/bash.git", "", false),
            ("nonsense", "rpms/bash", false),
        ] {
            let followed: RepositoryLookup<u8> = [(url.to_owned(), 1)].into_iter().collect();
            assert_eq!(!followed.find(&[name.to_owned()]).is_empty(), same, "{url} {name}");
        }
    }

    #[test]
    fn the_host_decides_where_it_can() {
        let followed: RepositoryLookup<&str> = [
            ("https://upstream.example/rpms/bash.git", "upstream"),
            ("https://git.example/rpms/bash.git", "modifications"),
            ("https://git.example/rpms/zlib.git", "zlib"),
            ("https://git.example/rpms/zlib.git", "zlib in another package"),
        ]
        .map(|(url, of)| (url.to_owned(), of))
        .into_iter()
        .collect();
        let find = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            followed.find(&names).into_iter().copied().collect::<Vec<_>>()
        };
        assert_eq!(find(&["rpms/bash"]), ["upstream", "modifications"]);
        assert_eq!(find(&["rpms/bash", "git@git.example:rpms/bash.git"]), ["modifications"]);
        assert_eq!(find(&["http://other.example/rpms/bash"]), ["upstream", "modifications"]);
        assert_eq!(find(&["rpms/zlib"]), ["zlib", "zlib in another package"]);
        assert!(find(&["rpms/less"]).is_empty());
    }
}
