//! Names from outside that become paths or arguments of a command: which are allowed.

/// The longest name of a file on Linux (`NAME_MAX`), in bytes. rpm has no limit of its own for the
/// parts of a package's name, but writes a file named after it.
pub const MAX_NAME: usize = 255;

/// Why a name is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The package name has a character or a length that no RPM name has.
    #[error(
        "`{0}` is not a package name (letters, digits, and `+ - . _`; starting with a letter, digit or `_`; at most 255 characters, as a file name)"
    )]
    Package(String),
    /// The file name would lead elsewhere.
    #[error(
        "`{0}` is not a plain file name (no `/`, no `..`, no control characters, not starting with `-`, no space at its ends in a list)"
    )]
    File(String),
    /// The git reference cannot be one.
    #[error(
        "`{0}` is not a branch, tag or commit (it must not start with `-`, nor hold `..`, spaces or control characters)"
    )]
    GitRef(String),
    /// The name of a worker has a character or a length that is not allowed.
    #[error(
        "`{0}` is not a worker's name (letters, digits, and `- . _`; starting with a letter or digit; at most 63 characters)"
    )]
    Worker(String),
}

/// Decodes `%XX`. Anything else stays as it is.
#[must_use]
pub fn percent_decoded(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let digit = |at: usize| char::from(*after.get(at)?).to_digit(16);
        let value = digit(0).zip(digit(1)).and_then(|(h, l)| u8::try_from(h * 16 + l).ok());
        match value.filter(|_| *byte == b'%') {
            Some(value) => {
                out.push(value);
                rest = &after[2..];
            }
            None => {
                out.push(*byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// A package name as RPM allows it.
///
/// # Errors
/// When it is empty, too long or holds a character that RPM names do not.
pub fn check_package(name: &str) -> Result<(), NameError> {
    let first = name.chars().next();
    let good = name.len() <= MAX_NAME
        && first.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "+-._".contains(c))
        && !name.contains("..");
    if good { Ok(()) } else { Err(NameError::Package(shown(name))) }
}

/// A single file name, safe to join to a directory.
///
/// # Errors
/// When it is empty, `.` or `..`, holds a slash, NUL or control character, or could be read as
/// an option.
pub fn check_file(name: &str) -> Result<(), NameError> {
    let good = !name.is_empty()
        && name.len() <= MAX_NAME
        && name != "."
        && name != ".."
        && !name.starts_with('-')
        && !name.contains('/')
        && !name.chars().any(char::is_control);
    if good { Ok(()) } else { Err(NameError::File(shown(name))) }
}

/// Checks one part of a path in a tree: whatever git allows and a directory can hold.
///
/// # Errors
/// When it would lead elsewhere.
pub fn check_part(part: &str) -> Result<(), NameError> {
    // Within a path, a leading dash is not an option.
    check_file(part.trim_start_matches('-'))
}

/// A branch, tag or commit, safe to hand to git (`git check-ref-format`, and no option).
///
/// # Errors
/// When git would refuse it, or would read it as something else.
pub fn check_git_ref(name: &str) -> Result<(), NameError> {
    let good = !name.is_empty()
        && name.len() <= 255
        && !name.starts_with(['-', '/', '.'])
        && !name.ends_with(['/', '.'])
        && !name.ends_with(".lock")
        && !name.contains("..")
        && !name.contains("//")
        && !name.contains("@{")
        && !name.chars().any(|c| c.is_control() || c.is_whitespace() || "~^:?*[\\".contains(c));
    if good { Ok(()) } else { Err(NameError::GitRef(shown(name))) }
}

/// A name for a worker: it stands in certificates, commands and logs.
///
/// # Errors
/// When it is empty, too long or holds another character than host names do.
pub fn check_worker(name: &str) -> Result<(), NameError> {
    let good = name.len() <= 63
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c));
    if good { Ok(()) } else { Err(NameError::Worker(shown(name))) }
}

/// Text from outside, made safe for one line of a message.
#[must_use]
pub fn shown(text: &str) -> String {
    let harmless = |c: char| if c.is_control() || turns(c) { '\u{fffd}' } else { c };
    text.chars().map(harmless).take(160).collect()
}

/// Whether a character changes the direction of the text beside it, so that a line reads as
/// something that it is not.
const fn turns(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A count with its noun: `1 package`, `3 packages`. For nouns whose plural takes an `s`.
#[must_use]
pub fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages() {
        for good in ["hello", "gtk+", "libstdc++", "python3.12", "_x", "7zip", "a-b_c.d"] {
            assert_eq!(check_package(good), Ok(()), "{good}");
        }
        for bad in ["", "-x", "a/b", "a b", "../x", "a..b", "é", "a\n"] {
            assert!(check_package(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn files() {
        assert_eq!(check_file("hello-2.12.1.tar.gz"), Ok(()));
        for bad in ["", ".", "..", "a/b", "/etc/passwd", "a\0b", "a\nb", "-rf"] {
            assert!(check_file(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn workers() {
        for good in ["w1", "builder-3.example.org", "a_b"] {
            assert_eq!(check_worker(good), Ok(()), "{good}");
        }
        for bad in ["", "-x", ".x", "a b", "a/b", "é", "a\n", "a\u{202e}b", &"a".repeat(64)] {
            assert!(check_worker(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_shown_reads_as_it_is() {
        assert_eq!(shown("a\u{202e}b\u{1b}[2Jc é"), "a\u{fffd}b\u{fffd}[2Jc é");
    }

    #[test]
    fn git_refs() {
        for good in ["c9s", "imports/c9/hello-2.12-1.el9", "el-9.2", "0123456789abcdef"] {
            assert_eq!(check_git_ref(good), Ok(()), "{good}");
        }
        for bad in ["", "--upload-pack=x", "a..b", "a b", "a:b", "x~1", "a\nb", "/a", "b.lock"] {
            assert!(check_git_ref(bad).is_err(), "{bad}");
        }
    }
}
