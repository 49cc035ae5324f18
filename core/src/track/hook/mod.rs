//! Webhooks: what a forge sends after a push, and after other events.
//!
//! Owns the formats of the bodies and the names of the headers. A webhook is a hint: it says which
//! branch of which repository to poll, and nothing in it is built or fetched. A genuine webhook is
//! never refused because of its event: forges count refusals, and disable a webhook after several
//! in a row. It must not know how signatures are checked.

mod form;
mod repository;
mod scan;

use std::collections::BTreeSet;

pub use repository::{RepositoryAddress, RepositoryLookup};
use scan::{JsonScanner, KeptValues, KeyPath, ScanError};

use super::forge::Forge;
use super::refs::is_commit_id;
use super::tags::TagPattern;
use crate::name::{check_git_ref, shown};
use form::FormDecoder;

/// The largest body, in bytes. GitHub and GitLab send up to 25 MB.
pub const MAX_BODY: usize = 32 << 20;

/// The largest body that is sent as a form, in which a byte may take three.
pub const MAX_FORM: usize = 3 * MAX_BODY;

/// How a forge proves that a webhook is genuine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookProof {
    /// The HMAC-SHA256 of the body under the secret, in hex, after this prefix.
    Hmac {
        /// The headers that may contain it; the first that exists is used.
        headers: &'static [&'static str],
        /// The prefix of the digits.
        prefix: &'static str,
    },
    Token {
        /// The header that contains it.
        header: &'static str,
    },
}

impl Forge {
    /// How the forge proves a webhook.
    #[must_use]
    pub const fn proof(self) -> HookProof {
        match self {
            Self::Github => {
                HookProof::Hmac { headers: &["x-hub-signature-256"], prefix: "sha256=" }
            }
            Self::Gitlab => HookProof::Token { header: "x-gitlab-token" },
            Self::Gitea => HookProof::Hmac {
                headers: &["x-forgejo-signature", "x-gitea-signature", "x-gogs-signature"],
                prefix: "",
            },
            Self::Pagure => HookProof::Hmac { headers: &["x-pagure-signature-256"], prefix: "" },
        }
    }

    /// The headers with the event; the first that exists is used.
    #[must_use]
    pub const fn event_headers(self) -> &'static [&'static str] {
        match self {
            Self::Github => &["x-github-event"],
            Self::Gitlab => &["x-gitlab-event"],
            Self::Gitea => &["x-forgejo-event", "x-gitea-event", "x-gogs-event"],
            Self::Pagure => &["x-pagure-topic"],
        }
    }

    /// The headers with the delivery's id; the first that exists is used.
    #[must_use]
    pub const fn delivery_headers(self) -> &'static [&'static str] {
        match self {
            Self::Github => &["x-github-delivery"],
            Self::Gitlab => &["idempotency-key", "x-gitlab-event-uuid"],
            Self::Gitea => &["x-forgejo-delivery", "x-gitea-delivery", "x-gogs-delivery"],
            // The id of the delivery is in the body.
            Self::Pagure => &[],
        }
    }
}

/// A branch or tag that was moved to another commit, by the webhook.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct MovedRef {
    /// The branch or tag.
    pub branch: String,
    /// The commit that the webhook names.
    pub commit: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushNotice {
    /// The repository's path on its forge, as `rpms/bash`, and its addresses.
    pub repository: Vec<String>,
    /// The forge's number of the repository, which stays when the repository is renamed; empty
    /// where the forge sends none.
    pub id: String,
    pub moved: Vec<MovedRef>,
    /// Whether more branches were pushed than are listed.
    pub more: bool,
}

impl PushNotice {
    /// The commit that the webhook names for a package with this tracked branch, tag or pattern;
    /// empty when the branch may be among those that are not listed, `None` when the package is not
    /// affected. `modifies` says whether `branch` is that of the package's modifications, which
    /// have no patterns.
    #[must_use]
    pub fn commit_for(&self, package: &str, branch: &str, modifies: bool) -> Option<&str> {
        let pattern = TagPattern::parse(branch).filter(|_| !modifies);
        let is_meant = |name: &str| match &pattern {
            Some(pattern) => pattern.evr(package, name).is_some(),
            None => branch == name,
        };
        match self.moved.iter().find(|moved| is_meant(&moved.branch)) {
            Some(moved) => Some(moved.commit.as_str()),
            None => self.more.then_some(""),
        }
    }

    /// Why no package is affected. `branch` is tracked in the repository; `None` when no package
    /// is.
    #[must_use]
    pub fn why_nobody(&self, branch: Option<&str>) -> String {
        match (branch, self.moved.first()) {
            (Some(branch), Some(moved)) => {
                format!("`{branch}` is tracked, not `{}`", shown(&moved.branch))
            }
            _ => {
                let repository = self.repository.first().map_or("", String::as_str);
                format!("`{}` is not tracked for this target", shown(repository))
            }
        }
    }
}

/// The event of a webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HookEvent {
    Push(PushNotice),
    /// An event that leads to no build, in words.
    Other(String),
}

/// A body that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookBody {
    pub event: HookEvent,
    /// The delivery's id, where the body contains it.
    pub delivery: Option<String>,
}

/// Why a webhook cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HookError {
    /// It is not JSON, or not a push.
    #[error("the body is not what {forge} sends for `{event}`: {why}")]
    Body { forge: Forge, event: String, why: String },
    /// An invalid value.
    #[error("the body's {field} cannot be `{value}`")]
    Value { field: &'static str, value: String },
    /// Neither a header nor the body names the event.
    #[error("neither a header nor the body names the event")]
    NoEvent,
}

/// The values that are read from a body.
const PATHS: &[KeyPath] = &[
    &["ref"],
    &["after"],
    // The event, in GitLab and in Pagure.
    &["object_kind"],
    &["event_name"],
    &["topic"],
    &["msg_id"],
    &["repository", "id"],
    &["project", "id"],
    &["msg", "repo", "id"],
    &["repository", "full_name"],
    &["repository", "clone_url"],
    &["repository", "ssh_url"],
    &["repository", "html_url"],
    &["project", "path_with_namespace"],
    &["project", "git_http_url"],
    &["project", "git_ssh_url"],
    &["project", "web_url"],
    &["msg", "branch"],
    &["msg", "tag"],
    &["msg", "end_commit"],
    &["msg", "rev"],
    &["msg", "repo", "fullname"],
    &["msg", "repo", "full_url"],
];

/// Reads a body piece by piece. It keeps a few values, never the body.
#[derive(Debug)]
pub struct HookReader {
    form: BodyEncoding,
    scanner: JsonScanner,
    /// The JSON in the last piece of a form.
    payload: Vec<u8>,
}

/// How the JSON is encoded.
#[derive(Debug)]
enum BodyEncoding {
    /// The first bytes, which are not enough to tell.
    Unknown(Vec<u8>),
    Plain,
    Form(FormDecoder),
}

/// The beginning of a form. Pagure sends forms with the content type of JSON.
const FORM: &[u8] = b"payload=";

impl HookReader {
    /// A reader for a body whose content type says whether it is a form.
    #[must_use]
    pub fn new(is_form: bool) -> Self {
        let form = if is_form {
            BodyEncoding::Form(FormDecoder::new())
        } else {
            BodyEncoding::Unknown(Vec::new())
        };
        Self { form, scanner: JsonScanner::new(PATHS), payload: Vec::new() }
    }

    /// Reads the next bytes. For a form, returns the JSON in them, because some forges sign that.
    pub fn feed(&mut self, bytes: &[u8]) -> Option<&[u8]> {
        match &mut self.form {
            BodyEncoding::Plain => {
                self.scanner.feed(bytes);
                None
            }
            BodyEncoding::Form(form) => {
                self.payload.clear();
                form.feed(bytes, &mut self.payload);
                self.scanner.feed(&self.payload);
                Some(&self.payload)
            }
            BodyEncoding::Unknown(head) => {
                let length = bytes.len().min(FORM.len() - head.len());
                head.extend_from_slice(&bytes[..length]);
                let head = std::mem::take(head);
                if head == FORM {
                    self.form = BodyEncoding::Form(FormDecoder::new());
                } else if FORM.starts_with(&head) {
                    self.form = BodyEncoding::Unknown(head);
                    return None;
                } else {
                    self.form = BodyEncoding::Plain;
                }
                let bytes = [&head, &bytes[length..]].concat();
                self.feed(&bytes)
            }
        }
    }

    /// How many bytes the body may have.
    #[must_use]
    pub const fn most(&self) -> usize {
        match self.form {
            BodyEncoding::Form(_) => MAX_FORM,
            BodyEncoding::Plain | BodyEncoding::Unknown(_) => MAX_BODY,
        }
    }

    /// The content of the body. `event` is the event in a header.
    ///
    /// # Errors
    /// When the body is not valid for the forge.
    pub fn end(self, forge: Forge, event: Option<&str>) -> Result<HookBody, HookError> {
        let wrong = |why: ScanError| HookError::Body {
            forge,
            event: shown(event.unwrap_or_default()),
            why: why.to_string(),
        };
        let kept = self.scanner.end().map_err(wrong)?;
        parse_body(forge, event, &kept)
    }
}

/// Reads a whole body that is not a form. `event` is the event in its header.
///
/// # Errors
/// When the body is not valid for the forge.
pub fn read(forge: Forge, event: &str, body: &[u8]) -> Result<HookBody, HookError> {
    let mut reader = HookReader::new(false);
    reader.feed(body);
    reader.end(forge, Some(event))
}

fn parse_body(forge: Forge, event: Option<&str>, kept: &KeptValues) -> Result<HookBody, HookError> {
    let get = |path: &[&str]| kept.get(path).filter(|value| !value.is_empty());
    let named = get(&["event_name"]).or_else(|| get(&["object_kind"])).or_else(|| get(&["topic"]));
    let event = event.or(named).ok_or(HookError::NoEvent)?;
    let other = |what: String| HookEvent::Other(what);
    let said = match forge {
        Forge::Github | Forge::Gitea if event == "push" => {
            push(kept, ["repository", "full_name"], &["repository"], &["ref"], &["after"])?
        }
        Forge::Pagure if PAGURE.contains(&event) => {
            let name = if get(&["msg", "branch"]).is_some() { "branch" } else { "tag" };
            let commit = if get(&["msg", "end_commit"]).is_some() { "end_commit" } else { "rev" };
            push(kept, ["repo", "fullname"], &["msg", "repo"], &["msg", name], &["msg", commit])?
        }
        // The header of GitLab's system hooks is `System Hook` for every event.
        Forge::Gitlab => match named.unwrap_or(event) {
            "push" | "tag_push" | "Push Hook" | "Tag Push Hook" => {
                push(kept, ["project", "path_with_namespace"], &["project"], &["ref"], &["after"])?
            }
            "repository_update" => changes(kept)?,
            named => other(format!("event `{}`", shown(named))),
        },
        _ => other(format!("event `{}`", shown(event))),
    };
    Ok(HookBody { event: said, delivery: get(&["msg_id"]).map(str::to_owned) })
}

/// Pagure's topics for a branch or tag at a commit.
const PAGURE: [&str; 3] = ["git.receive", "git.branch.creation", "git.tag.creation"];

/// The names of the repository; this one is required.
fn repository(
    kept: &KeptValues,
    named: [&'static str; 2],
    object: &[&str],
) -> Result<Vec<String>, HookError> {
    let get = |key: &str| kept.get(&[object, &[key]].concat()).filter(|value| !value.is_empty());
    let [field, key] = named;
    let missing = || HookError::Value { field, value: String::new() };
    let mut names = vec![get(key).ok_or_else(missing)?.to_owned()];
    let addresses = ["clone_url", "ssh_url", "html_url", "git_http_url", "git_ssh_url", "web_url"];
    names.extend(addresses.into_iter().chain(["full_url"]).filter_map(get).map(str::to_owned));
    Ok(names)
}

/// The number of the repository; empty when it is not valid.
fn id(kept: &KeptValues, object: &[&str]) -> String {
    let id = kept.get(&[object, &["id"]].concat()).unwrap_or_default();
    let is_number = id.len() <= 32 && id.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { id.to_owned() } else { String::new() }
}

fn push(
    kept: &KeptValues,
    named: [&'static str; 2],
    object: &[&str],
    git_ref: &[&str],
    commit: &[&str],
) -> Result<HookEvent, HookError> {
    let repository = repository(kept, named, object)?;
    let missing = |field| HookError::Value { field, value: String::new() };
    let git_ref = kept.get(git_ref).ok_or_else(|| missing("ref"))?;
    let commit = kept.get(commit).ok_or_else(|| missing("commit"))?;
    Ok(match moved(git_ref, commit)? {
        Ok(moved) => {
            let (id, moved) = (id(kept, object), vec![moved]);
            HookEvent::Push(PushNotice { repository, id, moved, more: false })
        }
        Err(what) => HookEvent::Other(what),
    })
}

/// GitLab sends one event for everything that was pushed together.
fn changes(kept: &KeptValues) -> Result<HookEvent, HookError> {
    let repository = repository(kept, ["project", "path_with_namespace"], &["project"])?;
    let mut all = BTreeSet::new();
    for (git_ref, commit) in &kept.changes {
        if let Ok(moved) = moved(git_ref, commit)? {
            all.insert(moved);
        }
    }
    let more = kept.more_changes > 0;
    if all.is_empty() && !more {
        return Ok(HookEvent::Other(
            "no branch or tag that could be tracked was pushed".to_owned(),
        ));
    }
    let (id, moved) = (id(kept, &["project"]), all.into_iter().collect());
    Ok(HookEvent::Push(PushNotice { repository, id, moved, more }))
}

/// The branch or tag that was pushed, or why it is not polled.
fn moved(git_ref: &str, commit: &str) -> Result<Result<MovedRef, String>, HookError> {
    if !is_commit_id(commit) {
        return Err(HookError::Value { field: "commit", value: shown(commit) });
    }
    let branch = ["refs/heads/", "refs/tags/"]
        .iter()
        .find_map(|prefix| git_ref.strip_prefix(prefix))
        .unwrap_or(git_ref);
    if branch.is_empty() {
        return Err(HookError::Value { field: "ref", value: shown(git_ref) });
    }
    if commit.bytes().all(|byte| byte == b'0') {
        return Ok(Err(format!("`{}` was deleted", shown(branch))));
    }
    // Git allows names that no target can contain.
    if check_git_ref(branch).is_err() {
        return Ok(Err(format!("`{}` cannot be tracked", shown(branch))));
    }
    Ok(Ok(MovedRef { branch: branch.to_owned(), commit: commit.to_owned() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    fn moved_to(branch: &str) -> Vec<MovedRef> {
        vec![MovedRef { branch: branch.into(), commit: A.into() }]
    }

    fn pushed(event: HookEvent) -> PushNotice {
        match event {
            HookEvent::Push(notice) => notice,
            HookEvent::Other(what) => panic!("{what}"),
        }
    }

    #[test]
    fn a_notice_is_for_packages_whose_branch_or_pattern_has_moved() {
        let notice = |branch: &str, more| PushNotice {
            repository: vec!["rpms/bash".into()],
            id: String::new(),
            moved: moved_to(branch),
            more,
        };
        let of_branch = notice("c9s", false);
        assert_eq!(of_branch.commit_for("bash", "c9s", false), Some(A));
        assert_eq!(of_branch.commit_for("bash", "c8s", false), None);
        assert_eq!(notice("c9s", true).commit_for("bash", "c8s", false), Some(""));
        let of_tag = notice("imports/c9/bash-5-1", false);
        assert_eq!(of_tag.commit_for("bash", "imports/c9/{nvr}", false), Some(A));
        assert_eq!(of_tag.commit_for("zlib", "imports/c9/{nvr}", false), None);
        assert_eq!(of_tag.commit_for("bash", "imports/c9/{nvr}", true), None);
        assert_eq!(of_branch.why_nobody(Some("c8s")), "`c8s` is tracked, not `c9s`");
        let unknown = "`rpms/bash` is not tracked for this target";
        assert_eq!(of_branch.why_nobody(None), unknown);
        assert_eq!(PushNotice { moved: Vec::new(), ..of_branch }.why_nobody(Some("c8s")), unknown);
    }

    fn bodies() -> Vec<(Forge, &'static str, String)> {
        let github = format!(
            r#"{{"ref":"refs/heads/c9s","before":"{A}","after":"{A}","deleted":false,
            "repository":{{"id":1,"name":"bash","full_name":"rpms/bash",
            "clone_url":"http://169.254.169.254/x","owner":{{"html_url":"no"}}}},"commits":[],"pusher":{{"name":"x"}}}}"#
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
            (Forge::Gitlab, "Push Hook", gitlab.clone()),
            (Forge::Gitlab, "System Hook", gitlab),
            (Forge::Pagure, "git.receive", pagure),
        ]
    }

    #[test]
    fn pushes() {
        for (forge, event, body) in bodies() {
            let read = read(forge, event, body.as_bytes()).unwrap();
            let notice = pushed(read.event);
            assert_eq!((notice.moved, notice.more), (moved_to("c9s"), false), "{forge}");
            assert_eq!(notice.repository[0], "rpms/bash");
            let is_github = matches!(forge, Forge::Github | Forge::Gitea);
            assert_eq!(notice.id, if is_github { "1" } else { "" });
            let addresses = usize::from(is_github);
            assert_eq!(notice.repository.len(), 1 + addresses);
            assert_eq!(read.delivery.is_some(), forge == Forge::Pagure);
        }
    }

    #[test]
    fn the_body_names_the_event_where_no_header_does() {
        for (forge, _, body) in bodies() {
            let mut reader = HookReader::new(false);
            reader.feed(body.as_bytes());
            let body = reader.end(forge, None);
            match forge {
                Forge::Gitlab | Forge::Pagure => drop(pushed(body.unwrap().event)),
                Forge::Github | Forge::Gitea => assert_eq!(body, Err(HookError::NoEvent)),
            }
        }
    }

    #[test]
    fn as_a_form_in_pieces() {
        for (forge, event, body) in bodies() {
            let escaped: String = body.bytes().map(|byte| format!("%{byte:02X}")).collect();
            for (is_form, form) in
                [(false, format!("payload={escaped}")), (true, format!("x=y&payload={escaped}"))]
            {
                for size in [1, 7, 8, 9, 4096] {
                    let (mut reader, mut payload) = (HookReader::new(is_form), Vec::new());
                    for piece in form.as_bytes().chunks(size) {
                        payload.extend_from_slice(reader.feed(piece).unwrap_or_default());
                    }
                    assert_eq!(reader.most(), MAX_FORM);
                    assert_eq!(String::from_utf8(payload).unwrap(), body);
                    drop(pushed(reader.end(forge, Some(event)).unwrap().event));
                }
            }
        }
    }

    #[test]
    fn all_that_gitlab_tells_of_at_once() {
        let zero = "0".repeat(40);
        let change = |git_ref: &str, after: &str| {
            format!(r#"{{"before":"{A}","after":"{after}","ref":"{git_ref}"}}"#)
        };
        let body = |changes: &str| {
            format!(
                r#"{{"event_name":"repository_update","user_id":1,"project_id":3,"project":{{
                "path_with_namespace":"rpms/bash","git_ssh_url":"git@h:rpms/bash.git"}},
                "changes":[{changes}],"refs":["refs/heads/c9s"]}}"#
            )
        };
        let said = |changes: &str| {
            read(Forge::Gitlab, "System Hook", body(changes).as_bytes()).map(|body| body.event)
        };
        let two = [change("refs/heads/c9s", A), change("refs/heads/x", &zero)].join(",");
        let notice = pushed(said(&two).unwrap());
        assert_eq!((notice.moved, notice.more), (moved_to("c9s"), false));
        assert_eq!(notice.repository, ["rpms/bash", "git@h:rpms/bash.git"]);
        let many = vec![change("refs/heads/c9s", &zero); scan::MAX_CHANGES + 1].join(",");
        let notice = pushed(said(&many).unwrap());
        assert_eq!((notice.moved, notice.more), (vec![], true));
        assert!(matches!(said(""), Ok(HookEvent::Other(_))));
        assert!(said(&change("refs/heads/c9s", "x")).is_err());
    }

    #[test]
    fn what_leads_to_no_build() {
        let zero = "0".repeat(40);
        for (forge, event, body) in bodies() {
            let deleted = body.replace(A, &zero);
            let said = read(forge, event, deleted.as_bytes()).unwrap().event;
            assert_eq!(said, HookEvent::Other("`c9s` was deleted".into()), "{forge}");
            let said = read(forge, "ping", b"{}").unwrap().event;
            assert_eq!(said, HookEvent::Other("event `ping`".into()));
            assert!(read(forge, "ping", b"zen").is_err());
            // Git allows them; no target can name them.
            for odd in ["-c9s", "a b", "refs/merge-requests/1/head~", r"caf\u00e9\u0007"] {
                let odd = body.replace("refs/heads/c9s", "c9s").replace("c9s", odd);
                let said = read(forge, event, odd.as_bytes()).unwrap().event;
                let HookEvent::Other(what) = said else { panic!("{odd}") };
                assert!(what.ends_with("cannot be tracked"), "{what}");
            }
        }
        for (forge, event, body) in [
            (Forge::Gitlab, "System Hook", r#"{"event_name":"project_create","path":"x"}"#),
            (Forge::Gitlab, "System Hook", r#"{"event_name":"user_create","user_id":9}"#),
            (Forge::Gitlab, "Push Hook", r#"{"object_kind":"merge_request","project":{}}"#),
            (Forge::Gitlab, "Note Hook", r#"{"object_kind":"note"}"#),
            (Forge::Gitlab, "Emoji Hook", "{}"),
            (Forge::Github, "create", r#"{"ref":"v1","ref_type":"tag","repository":{}}"#),
            (Forge::Github, "pull_request", r#"{"action":"opened","repository":null}"#),
            (Forge::Gitea, "release", r#"{"action":"published"}"#),
            (Forge::Pagure, "pull-request.flag.added", r#"{"msg":{"flag":{}},"topic":"x"}"#),
            (Forge::Pagure, "git.branch.deletion", r#"{"msg":{"branch":"x"}}"#),
        ] {
            let said = read(forge, event, body.as_bytes()).unwrap().event;
            assert!(matches!(said, HookEvent::Other(_)), "{forge} {event}: {said:?}");
        }
    }

    #[test]
    fn refusals() {
        for (forge, event, body) in bodies() {
            for (from, to) in [
                ("c9s", ""),
                (A, "aaaa"),
                (A, "--upload-pack"),
                ("{", "["),
                ("}", ""),
                ("rpms/bash", ""),
                ("\"ref\"", "\"fer\""),
                ("\"repository\"", "1"),
            ] {
                let bad = body.replace(from, to);
                if bad != body {
                    assert!(read(forge, event, bad.as_bytes()).is_err(), "{forge}: {bad}");
                }
            }
            if event != "System Hook" {
                assert!(read(forge, event, b"{}").is_err());
            }
            assert!(read(forge, event, b"").is_err());
        }
        // Nested without end.
        assert!(read(Forge::Github, "push", "[".repeat(100_000).as_bytes()).is_err());
        let deep = "{\"a\":".repeat(100_000);
        assert!(read(Forge::Github, "push", deep.as_bytes()).is_err());
    }
}
