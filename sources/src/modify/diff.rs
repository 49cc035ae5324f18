//! Changes of a tree, as unified diffs.

use serde::{Deserialize, Serialize};

use super::{Tree, TreeError};

/// Files longer than this, in bytes, are shown as binary.
const MAX_TEXT: usize = 4 * 1024 * 1024;

/// The change of one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileDiff {
    pub path: String,
    /// `added`, `changed` or `removed`.
    pub change: String,
    /// The unified diff; one sentence instead when the file is not text.
    pub diff: String,
}

impl FileDiff {
    /// Compares two contents; `None` is a file that does not exist. Returns `None` when they are
    /// equal.
    #[must_use]
    pub fn between(path: &str, before: Option<&[u8]>, after: Option<&[u8]>) -> Option<Self> {
        let change = match (before, after) {
            (before, after) if before == after => return None,
            (None, _) => "added",
            (_, None) => "removed",
            _ => "changed",
        };
        let old = if before.is_none() { "/dev/null".to_owned() } else { format!("a/{path}") };
        let new = if after.is_none() { "/dev/null".to_owned() } else { format!("b/{path}") };
        let text = |bytes: Option<&[u8]>| match bytes.unwrap_or_default() {
            bytes if bytes.len() > MAX_TEXT || bytes.contains(&0) => None,
            bytes => String::from_utf8(bytes.to_vec()).ok(),
        };
        let diff = match (text(before), text(after)) {
            (Some(before), Some(after)) => similar::TextDiff::from_lines(&before, &after)
                .unified_diff()
                .header(&old, &new)
                .to_string(),
            _ => format!("Binary files {old} and {new} differ\n"),
        };
        Some(Self { path: path.to_owned(), change: change.to_owned(), diff })
    }
}

/// The diffs of all changed files of a tree, sorted by path.
///
/// # Errors
/// When the original content of a file cannot be read.
pub fn diff(tree: &Tree<'_>) -> Result<Vec<FileDiff>, TreeError> {
    let changes = tree.changes()?.into_iter();
    Ok(changes
        .filter_map(|change| {
            FileDiff::between(&change.path, change.before.as_deref(), change.after.as_deref())
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_others() {
        let diff = |a: Option<&str>, b: Option<&str>| {
            FileDiff::between("x", a.map(str::as_bytes), b.map(str::as_bytes))
        };
        assert_eq!(diff(Some("a"), Some("a")), None);
        let changed = diff(Some("a\nb\n"), Some("a\nc\n")).unwrap();
        assert_eq!(changed.diff, "--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@\n a\n-b\n+c\n");
        let added = diff(None, Some("a\n")).unwrap();
        assert_eq!(added.diff, "--- /dev/null\n+++ b/x\n@@ -0,0 +1 @@\n+a\n");
        assert_eq!(diff(Some("a\n"), None).unwrap().change, "removed");
        let binary = diff(Some("a\0"), Some("b\0")).unwrap();
        assert_eq!(binary.diff, "Binary files a/x and b/x differ\n");
    }
}
