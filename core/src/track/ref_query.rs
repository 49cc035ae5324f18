//! The query to a repository: for one branch or tag, or for the newest tag of a package.

use super::tags::TagPattern;

/// The type of the body of the request.
pub const REQUEST_TYPE: &str = "application/x-git-upload-pack-request";

/// A query to a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefQuery {
    name: String,
    /// For the newest tag: the pattern and the package.
    newest: Option<(TagPattern, String)>,
}

impl RefQuery {
    /// A query for a branch, or else a tag, of this name.
    #[must_use]
    pub fn name(name: &str) -> Self {
        Self { name: name.to_owned(), newest: None }
    }

    /// A query for a reference of a package: the newest tag if it is a pattern.
    #[must_use]
    pub fn for_ref(git_ref: &str, package: &str) -> Self {
        let newest = TagPattern::parse(git_ref).map(|pattern| (pattern, package.to_owned()));
        Self { name: git_ref.to_owned(), newest }
    }

    /// The branch or tag, or the pattern.
    #[must_use]
    pub fn git_ref(&self) -> &str {
        &self.name
    }

    /// The pattern and the package, for the newest tag.
    #[must_use]
    pub const fn newest(&self) -> Option<&(TagPattern, String)> {
        self.newest.as_ref()
    }

    /// Whether the newest of many tags is queried; the answer may be long.
    #[must_use]
    pub const fn is_pattern(&self) -> bool {
        self.newest.is_some()
    }
}

/// The result of a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefTip {
    /// The branch or tag.
    pub name: String,
    /// The full id of the commit that it points to.
    pub commit: String,
}

/// The body of the one request of protocol 2: it asks for the queried refs, and for those whose
/// names begin alike.
#[must_use]
pub fn request(question: &RefQuery) -> Vec<u8> {
    let mut body = Vec::new();
    let mut packet = |text: &str| {
        body.extend(format!("{:04x}", text.len() + 4).bytes());
        body.extend(text.bytes());
    };
    packet("command=ls-refs\n");
    packet("agent=git/2.0-rpmfarm\n");
    body.extend(b"0001");
    let mut packet = |text: &str| {
        body.extend(format!("{:04x}", text.len() + 4).bytes());
        body.extend(text.bytes());
    };
    packet("peel\n");
    match &question.newest {
        Some((pattern, package)) => {
            packet(&format!("ref-prefix refs/tags/{}\n", pattern.prefix(package)));
        }
        None => {
            packet(&format!("ref-prefix refs/heads/{}\n", question.name));
            packet(&format!("ref-prefix refs/tags/{}\n", question.name));
        }
    }
    body.extend(b"0000");
    body
}
