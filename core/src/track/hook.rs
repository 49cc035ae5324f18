//! Webhooks: what a forge sends when somebody has pushed.
//!
//! Owns the forms of the bodies and the names of the headers. A webhook is a hint: it says which
//! branch of which repository to look at, and nothing in it is built or fetched. It must not know
//! how signatures are checked.

use serde::Deserialize;

use super::forge::Forge;
use super::refs::is_commit_id;
use crate::name::{check_git_ref, shown};

/// The largest body that is read, in bytes.
pub const MAX_BODY: usize = 1024 * 1024;

/// How a forge proves that a webhook is its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// The HMAC-SHA256 of the body under the secret, in hex, after this prefix.
    Hmac {
        /// Headers that may carry it, the first that is there counts.
        headers: &'static [&'static str],
        /// What comes before the digits.
        prefix: &'static str,
    },
    /// The secret itself.
    Token {
        /// The header that carries it.
        header: &'static str,
    },
}

impl Forge {
    /// How it proves a webhook.
    #[must_use]
    pub const fn proof(self) -> Proof {
        match self {
            Self::Github => Proof::Hmac { headers: &["x-hub-signature-256"], prefix: "sha256=" },
            Self::Gitlab => Proof::Token { header: "x-gitlab-token" },
            Self::Gitea => {
                Proof::Hmac { headers: &["x-forgejo-signature", "x-gitea-signature"], prefix: "" }
            }
            Self::Pagure => Proof::Hmac { headers: &["x-pagure-signature-256"], prefix: "" },
        }
    }

    /// Headers that name the event, the first that is there counts.
    #[must_use]
    pub const fn event_headers(self) -> &'static [&'static str] {
        match self {
            Self::Github => &["x-github-event"],
            Self::Gitlab => &["x-gitlab-event"],
            Self::Gitea => &["x-forgejo-event", "x-gitea-event"],
            Self::Pagure => &["x-pagure-topic"],
        }
    }

    /// Headers that name the delivery, the first that is there counts.
    #[must_use]
    pub const fn delivery_headers(self) -> &'static [&'static str] {
        match self {
            Self::Github => &["x-github-delivery"],
            Self::Gitlab => &["idempotency-key", "x-gitlab-event-uuid"],
            Self::Gitea => &["x-forgejo-delivery", "x-gitea-delivery"],
            // It names the delivery in the body.
            Self::Pagure => &[],
        }
    }
}

/// Somebody has pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The repository's path on its forge, as `rpms/bash`.
    pub repository: String,
    /// The branch or tag.
    pub branch: String,
    /// The commit that it is said to point to.
    pub commit: String,
}

/// What a webhook says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// A push.
    Push(Notice),
    /// Something that leads to no build, in words.
    Other(String),
}

/// A body that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    /// What it says.
    pub said: Said,
    /// The delivery's id, where the body has it.
    pub delivery: Option<String>,
}

/// Why a webhook cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HookError {
    /// It is no JSON, or not that of a push.
    #[error("the body is not what {forge} sends for `{event}`: {why}")]
    Body {
        /// The forge.
        forge: Forge,
        /// The event.
        event: String,
        /// What is wrong.
        why: String,
    },
    /// A value that cannot be.
    #[error("the body's {field} cannot be `{value}`")]
    Value {
        /// The field.
        field: &'static str,
        /// Its value.
        value: String,
    },
}

/// Reads a webhook's body. `event` is what its header says.
///
/// # Errors
/// When the body is not the forge's.
pub fn read(forge: Forge, event: &str, body: &[u8]) -> Result<Body, HookError> {
    let pushes: &[&str] = match forge {
        Forge::Github | Forge::Gitea => &["push"],
        Forge::Gitlab => &["Push Hook", "Tag Push Hook", "System Hook"],
        Forge::Pagure => &["git.receive"],
    };
    let wrong = |error: serde_json::Error| HookError::Body {
        forge,
        event: shown(event),
        why: shown(&error.to_string()),
    };
    if !pushes.contains(&event) {
        // Also of what is not read further: it must be JSON.
        serde_json::from_slice::<serde::de::IgnoredAny>(body).map_err(wrong)?;
        return Ok(Body { said: Said::Other(format!("event `{}`", shown(event))), delivery: None });
    }
    if forge == Forge::Pagure {
        let pagure: Pagure = serde_json::from_slice(body).map_err(wrong)?;
        let message = pagure.msg;
        let said = push(&message.repo.fullname, &message.branch, &message.end_commit)?;
        return Ok(Body { said, delivery: Some(pagure.msg_id).filter(|id| !id.is_empty()) });
    }
    let common: Common = serde_json::from_slice(body).map_err(wrong)?;
    let repository = match (common.repository, common.project) {
        (_, Some(project)) if forge == Forge::Gitlab => project.path_with_namespace,
        (Some(repository), _) if forge != Forge::Gitlab => repository.full_name,
        _ => {
            let field = if forge == Forge::Gitlab { "project" } else { "repository" };
            return Err(HookError::Value { field, value: String::new() });
        }
    };
    let said = match (&common.git_ref, &common.after) {
        (Some(git_ref), Some(after)) => push(&repository, git_ref, after)?,
        // GitLab sends system hooks of many kinds under one name.
        _ => Said::Other("an event without a ref".to_owned()),
    };
    Ok(Body { said, delivery: None })
}

fn push(repository: &str, git_ref: &str, commit: &str) -> Result<Said, HookError> {
    let bad = |field, value: &str| Err(HookError::Value { field, value: shown(value) });
    let plain = |c: char| !c.is_control() && !c.is_whitespace();
    if repository.is_empty() || repository.len() > 512 || !repository.chars().all(plain) {
        return bad("repository", repository);
    }
    let branch = ["refs/heads/", "refs/tags/"]
        .iter()
        .find_map(|prefix| git_ref.strip_prefix(prefix))
        .unwrap_or(git_ref);
    if check_git_ref(branch).is_err() {
        return bad("ref", git_ref);
    }
    if !is_commit_id(commit) {
        return bad("commit", commit);
    }
    if commit.bytes().all(|byte| byte == b'0') {
        return Ok(Said::Other(format!("`{}` was deleted", shown(branch))));
    }
    let (repository, branch, commit) =
        (repository.to_owned(), branch.to_owned(), commit.to_owned());
    Ok(Said::Push(Notice { repository, branch, commit }))
}

/// Whether a repository's address is that of a webhook's repository. Forges are known by several
/// names, and name themselves by any of them, so only the paths are compared.
#[must_use]
pub fn is_same_repository(url: &str, path: &str) -> bool {
    let Ok(url) = url::Url::parse(url) else { return false };
    let tidy = |text: &str| {
        let text = text.trim_matches('/');
        text.strip_suffix(".git").unwrap_or(text).to_ascii_lowercase()
    };
    // In addresses some characters are escaped that a name holds as they are.
    let own = tidy(&url.path().replace("%2B", "+").replace("%2b", "+"));
    let other = tidy(path);
    // A bare name would fit the repositories of everybody.
    let below = || own.strip_suffix(&other).is_some_and(|before| before.ends_with('/'));
    !other.is_empty() && (own == other || (other.contains('/') && below()))
}

/// The package that a webhook's repository is of, where addresses are made like this: with
/// `{name}` for the package. It is a guess, for [`is_same_repository`] to confirm.
#[must_use]
pub fn named_by(template: &str, path: &str) -> Option<String> {
    let tidy = |text: &str| {
        let text = text.trim_matches('/');
        text.strip_suffix(".git").unwrap_or(text).to_owned()
    };
    let (template, path) = (tidy(template), tidy(path));
    // From the end: forges differ in what comes before.
    template.rsplit('/').zip(path.rsplit('/')).find_map(|(made, part)| {
        let (before, after) = made.split_once("{name}")?;
        let name = part.strip_prefix(before)?.strip_suffix(after)?;
        (!name.is_empty()).then(|| name.to_owned())
    })
}

/// GitHub, Gitea and GitLab agree on most of it.
#[derive(Deserialize)]
struct Common {
    #[serde(rename = "ref")]
    git_ref: Option<String>,
    after: Option<String>,
    repository: Option<Repository>,
    project: Option<Project>,
}

#[derive(Deserialize)]
struct Repository {
    #[serde(default)]
    full_name: String,
}

#[derive(Deserialize)]
struct Project {
    path_with_namespace: String,
}

#[derive(Deserialize)]
struct Pagure {
    msg: PagureMessage,
    #[serde(default)]
    msg_id: String,
}

#[derive(Deserialize)]
struct PagureMessage {
    branch: String,
    end_commit: String,
    repo: PagureRepository,
}

#[derive(Deserialize)]
struct PagureRepository {
    fullname: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    fn notice(branch: &str) -> Said {
        let repository = "rpms/bash".to_owned();
        Said::Push(Notice { repository, branch: branch.into(), commit: A.into() })
    }

    fn bodies() -> Vec<(Forge, &'static str, String)> {
        let github = format!(
            r#"{{"ref":"refs/heads/c9s","before":"{A}","after":"{A}","deleted":false,
            "repository":{{"id":1,"name":"bash","full_name":"rpms/bash",
            "clone_url":"http://169.254.169.254/x"}},"commits":[],"pusher":{{"name":"x"}}}}"#
        );
        let gitlab = format!(
            r#"{{"object_kind":"push","ref":"refs/heads/c9s","after":"{A}","checkout_sha":"{A}",
            "project":{{"name":"Bash","path_with_namespace":"rpms/bash"}},
            "repository":{{"name":"Bash","url":"x"}}}}"#
        );
        let pagure = format!(
            r#"{{"i":1,"msg_id":"2026-x","topic":"git.receive","timestamp":1,"msg":{{
            "branch":"c9s","start_commit":"{A}","end_commit":"{A}","forced":false,
            "repo":{{"name":"bash","fullname":"rpms/bash","namespace":"rpms"}}}}}}"#
        );
        vec![
            (Forge::Github, "push", github.clone()),
            (Forge::Gitea, "push", github),
            (Forge::Gitlab, "Push Hook", gitlab),
            (Forge::Pagure, "git.receive", pagure),
        ]
    }

    #[test]
    fn the_package_that_a_repository_is_of() {
        for (template, path, name) in [
            ("https://h/rpms/{name}.git", "rpms/bash", Some("bash")),
            ("https://h/rpms/{name}.git", "bash.git/", Some("bash")),
            ("https://h/autopatch-{name}.git", "x/autopatch-bash", Some("bash")),
            ("https://h/{name}/autopatch", "bash/autopatch.git", Some("bash")),
            ("https://h/autopatch-{name}.git", "x/bash", None),
            ("https://h/autopatch-{name}.git", "x/autopatch-", None),
            ("https://h/autopatch-{name}.git", "", None),
        ] {
            assert_eq!(named_by(template, path).as_deref(), name, "{template} {path}");
        }
    }

    #[test]
    fn pushes() {
        for (forge, event, body) in bodies() {
            let read = read(forge, event, body.as_bytes()).unwrap();
            assert_eq!(read.said, notice("c9s"), "{forge}");
            assert_eq!(read.delivery.is_some(), forge == Forge::Pagure);
        }
    }

    #[test]
    fn what_leads_to_no_build() {
        let zero = "0".repeat(40);
        for (forge, event, body) in bodies() {
            let deleted = body.replace(A, &zero);
            let said = read(forge, event, deleted.as_bytes()).unwrap().said;
            assert_eq!(said, Said::Other("`c9s` was deleted".into()), "{forge}");
            let said = read(forge, "ping", b"{}").unwrap().said;
            assert_eq!(said, Said::Other("event `ping`".into()));
            assert!(read(forge, "ping", b"zen").is_err());
        }
    }

    #[test]
    fn refusals() {
        for (forge, event, body) in bodies() {
            for (from, to) in [
                ("c9s", "-c9s"),
                ("c9s", "a b"),
                ("rpms/bash", "rpms/ bash"),
                (A, "aaaa"),
                (A, "--upload-pack"),
                ("{", "["),
                ("}", ""),
                ("rpms/bash", ""),
            ] {
                let bad = body.replace(from, to);
                assert!(read(forge, event, bad.as_bytes()).is_err(), "{forge}: {bad}");
            }
            assert!(read(forge, event, b"{}").is_err());
            assert!(read(forge, event, b"").is_err());
        }
        // Nested without end.
        assert!(read(Forge::Github, "push", "[".repeat(100_000).as_bytes()).is_err());
    }

    #[test]
    fn repositories() {
        for (url, path, same) in [
            ("https://h/rpms/bash.git", "rpms/bash", true),
            ("https://h/git/rpms/bash.git", "rpms/bash", true),
            ("https://h/rpms/gtk+.git", "rpms/gtk+", true),
            ("https://h/rpms/gtk%2B.git", "rpms/gtk+", true),
            ("https://h/RPMS/Bash", "rpms/bash.git", true),
            ("https://h/rpms/bash.git", "forks/me/rpms/bash", false),
            ("https://h/rpms/bash.git", "me/bash", false),
            ("https://h/rpms/bash.git", "bash", false),
            ("https://h/bash.git", "bash", true),
            ("https://h/myrpms/bash.git", "rpms/bash", false),
            ("https://h/rpms/bash.git", "", false),
            ("nonsense", "rpms/bash", false),
        ] {
            assert_eq!(is_same_repository(url, path), same, "{url} {path}");
        }
    }
}
