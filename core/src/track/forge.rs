//! Forges: the addresses of their lists of repositories, and how these are read.

use serde::Deserialize;

use crate::name::{check_package, shown};

words! {
    /// A kind of forge.
    pub enum Forge: "forge" {
        Github = "github",
        Gitlab = "gitlab",
        /// Gitea, and Forgejo, which answers the same.
        Gitea = "gitea" | "forgejo",
        Pagure = "pagure",
    }
}

/// Why a list of repositories cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ForgeError {
    /// The answer is not the forge's.
    #[error("not a valid list of repositories of {forge}: {why}")]
    Answer { forge: Forge, why: String },
    /// The name cannot be an organisation, group or namespace.
    #[error("`{0}` is not a namespace (letters, digits, `.`, `_`, `-` and, in GitLab, `/`)")]
    Namespace(String),
}

/// A page of a list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ForgePage {
    pub packages: Vec<String>,
    /// How many repositories are archived, inaccessible, or not named like a package.
    pub skipped: usize,
    /// There are more pages.
    pub more: bool,
}

/// How many repositories a page has.
const PER_PAGE: usize = 50;

impl Forge {
    /// The default address of its API. Gitea has none.
    #[must_use]
    pub const fn usual_url(self) -> Option<&'static str> {
        match self {
            Self::Github => Some("https://api.github.com"),
            Self::Gitlab => Some("https://gitlab.com"),
            Self::Gitea => None,
            Self::Pagure => Some("https://src.fedoraproject.org"),
        }
    }

    /// The address of a page of a namespace's repositories; pages count from 1.
    ///
    /// # Errors
    /// When the namespace is not valid.
    pub fn page_url(self, base: &str, namespace: &str, page: usize) -> Result<String, ForgeError> {
        let plain = |part: &str| {
            !part.is_empty()
                && part.len() <= 255
                && !part.starts_with('.')
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        };
        let parts: Vec<&str> = namespace.split('/').collect();
        if !parts.iter().all(|part| plain(part)) || (parts.len() > 1 && self != Self::Gitlab) {
            return Err(ForgeError::Namespace(shown(namespace)));
        }
        let base = base.trim_end_matches('/');
        let name = parts.join("%2F");
        Ok(match self {
            Self::Github => format!("{base}/orgs/{name}/repos?per_page={PER_PAGE}&page={page}"),
            Self::Gitlab => format!(
                "{base}/api/v4/groups/{name}/projects?simple=true&archived=false&order_by=id&\
                 per_page={PER_PAGE}&page={page}"
            ),
            Self::Gitea => {
                format!("{base}/api/v1/orgs/{name}/repos?limit={PER_PAGE}&page={page}")
            }
            Self::Pagure => format!(
                "{base}/api/0/projects?namespace={name}&fork=false&short=true&\
                 per_page={PER_PAGE}&page={page}"
            ),
        })
    }

    /// Reads a page.
    ///
    /// # Errors
    /// When it is not a valid answer of this forge.
    pub fn read_page(self, body: &[u8]) -> Result<ForgePage, ForgeError> {
        let answer = |error: serde_json::Error| ForgeError::Answer {
            forge: self,
            why: shown(&error.to_string()),
        };
        let (repositories, more) = match self {
            Self::Pagure => {
                let list: PagureList = serde_json::from_slice(body).map_err(answer)?;
                let more = list.pagination.is_some_and(|pages| pages.page < pages.pages);
                (list.projects, more)
            }
            _ => {
                let list: Vec<Repository> = serde_json::from_slice(body).map_err(answer)?;
                let more = list.len() >= PER_PAGE;
                (list, more)
            }
        };
        let mut page = ForgePage { more, ..ForgePage::default() };
        for repository in repositories {
            // GitLab's `name` is for people; `path` is the part of addresses.
            let name = repository.path.unwrap_or(repository.name);
            if repository.archived || repository.empty || check_package(&name).is_err() {
                page.skipped += 1;
            } else {
                page.packages.push(name);
            }
        }
        Ok(page)
    }
}

#[derive(Deserialize)]
struct Repository {
    name: String,
    #[serde(default)]
    path: Option<String>,
    #[serde(default)]
    archived: bool,
    #[serde(default)]
    empty: bool,
}

#[derive(Deserialize)]
struct PagureList {
    projects: Vec<Repository>,
    #[serde(default)]
    pagination: Option<Pages>,
}

#[derive(Deserialize)]
struct Pages {
    page: u32,
    pages: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (forge, namespace, url) in [
            (Forge::Github, "org", "https://h/orgs/org/repos?per_page=50&page=2"),
            (
                Forge::Gitlab,
                "redhat/centos-stream/rpms",
                "https://h/api/v4/groups/redhat%2Fcentos-stream%2Frpms/projects?simple=true&archived=false&order_by=id&per_page=50&page=2",
            ),
            (Forge::Gitea, "rpms", "https://h/api/v1/orgs/rpms/repos?limit=50&page=2"),
            (
                Forge::Pagure,
                "rpms",
                "https://h/api/0/projects?namespace=rpms&fork=false&short=true&per_page=50&page=2",
            ),
        ] {
            assert_eq!(forge.page_url("https://h/", namespace, 2).unwrap(), url);
        }
        for bad in ["", "..", "a/b", "a?b", "a b", "a%2Fb"] {
            assert!(Forge::Github.page_url("https://h", bad, 1).is_err(), "{bad}");
        }
        assert!(Forge::Gitlab.page_url("https://h", "a/../b", 1).is_err());
    }

    #[test]
    fn pages() {
        let github = br#"[{"name":"bash","full_name":"o/bash","archived":false},
                          {"name":"old","archived":true},{"name":"-x"}]"#;
        let page = Forge::Github.read_page(github).unwrap();
        assert_eq!((page.packages, page.skipped, page.more), (vec!["bash".to_owned()], 2, false));
        let gitlab =
            br#"[{"id":1,"name":"GNU Bash","path":"bash","path_with_namespace":"g/bash"}]"#;
        assert_eq!(Forge::Gitlab.read_page(gitlab).unwrap().packages, ["bash"]);
        let pagure = br#"{"projects":[{"name":"bash","fullname":"rpms/bash"}],
                          "pagination":{"page":1,"pages":3,"next":"x"}}"#;
        let page = Forge::Pagure.read_page(pagure).unwrap();
        assert_eq!((page.packages, page.more), (vec!["bash".to_owned()], true));
        let full = format!("[{}]", vec![r#"{"name":"a"}"#; PER_PAGE].join(","));
        assert!(Forge::Gitea.read_page(full.as_bytes()).unwrap().more);
        for bad in [&b"{}"[..], b"<html>", b"[1]", br#"{"message":"Not Found"}"#] {
            assert!(Forge::Github.read_page(bad).is_err());
        }
    }

    #[test]
    fn names() {
        for forge in Forge::ALL {
            assert_eq!(forge.to_string().parse(), Ok(forge));
        }
        assert_eq!("forgejo".parse(), Ok(Forge::Gitea));
        assert!("svn".parse::<Forge>().is_err());
    }
}
