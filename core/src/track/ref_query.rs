//! What a repository is asked: for one branch or tag, or for the newest tag of a package.

use super::tags::TagPattern;

/// The type of the body of the request.
pub const REQUEST_TYPE: &str = "application/x-git-upload-pack-request";

/// What a repository is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefQuery {
    name: String,
    /// The pattern and the package whose newest tag is meant.
    newest: Option<(TagPattern, String)>,
}

impl RefQuery {
    /// A branch, or else a tag, of this name.
    #[must_use]
    pub fn name(name: &str) -> Self {
        Self { name: name.to_owned(), newest: None }
    }

    /// What a reference of a package means: the newest tag where it is a pattern, else as it is.
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

    /// The pattern and the package whose newest tag is meant.
    #[must_use]
    pub const fn newest(&self) -> Option<&(TagPattern, String)> {
        self.newest.as_ref()
    }

    /// Whether the newest of many tags is meant, which may be a long list.
    #[must_use]
    pub const fn is_pattern(&self) -> bool {
        self.newest.is_some()
    }
}

/// What a question found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefTip {
    /// The branch or tag.
    pub name: String,
    /// The full id of the commit that it points to.
    pub commit: String,
}

/// The body of the one request of protocol 2: what is asked for, and nothing else beyond what
/// begins like it.
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
