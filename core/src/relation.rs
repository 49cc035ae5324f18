//! Bounds of what packages say of each other, before it reaches code that is written in C.
//!
//! rpm itself has no such bounds. A solver that takes dependencies apart by recursion needs them:
//! libsolv overruns a stack of 2 MiB at a rich dependency of 12,000 levels. They lie far above what
//! packages of real distributions have (some 3 kB and 6 levels, of Rust's crates).

use serde::{Deserialize, Serialize};

use crate::name::shown;

/// Bytes of a dependency, with its version.
pub const MAX_LENGTH: usize = 64 << 10;
/// Levels of parentheses in a dependency.
pub const MAX_DEPTH: usize = 64;
/// Bytes of a path of a file in a package. Linux itself opens no path of more than 4,096.
pub const MAX_PATH: usize = 16 << 10;

/// A dependency or path beyond the bounds: what it is, how it begins, and by how much.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{0}")]
pub struct OutOfBounds(Box<str>);

impl OutOfBounds {
    fn new(place: &str, text: &str, found: usize, unit: &str, limit: usize) -> Self {
        let start: String = shown(text).chars().take(60).collect();
        let message =
            format!("the {place} `{start}…` has {found} {unit}; rpmfarm takes at most {limit}");
        Self(message.into())
    }
}

/// Checks a dependency: a name with or without a version, or a rich one.
///
/// # Errors
/// When it is longer than [`MAX_LENGTH`] or nested deeper than [`MAX_DEPTH`].
pub fn check(place: &str, text: &str) -> Result<(), OutOfBounds> {
    if text.len() > MAX_LENGTH {
        return Err(OutOfBounds::new(place, text, text.len(), "bytes", MAX_LENGTH));
    }
    let depth = depth(text.as_bytes());
    if depth > MAX_DEPTH {
        return Err(OutOfBounds::new(place, text, depth, "levels of parentheses", MAX_DEPTH));
    }
    Ok(())
}

/// Checks the path of a file: its directory, which ends with a slash, and its name.
///
/// # Errors
/// When it is longer than [`MAX_PATH`].
pub fn check_path(dir: &str, name: &str) -> Result<(), OutOfBounds> {
    let length = dir.len() + name.len();
    if length > MAX_PATH {
        return Err(OutOfBounds::new("path", dir, length, "bytes", MAX_PATH));
    }
    Ok(())
}

/// How many parentheses are open at once, at most.
fn depth(text: &[u8]) -> usize {
    let (mut open, mut most) = (0_usize, 0);
    for byte in text {
        match byte {
            b'(' => open += 1,
            b')' => open = open.saturating_sub(1),
            _ => {}
        }
        most = most.max(open);
    }
    most
}

/// Looks through XML of repository metadata as it streams by, whatever the boundaries of its parts:
/// the values of attributes, where all dependencies are, keep the bounds of [`check`].
#[derive(Debug, Default)]
pub struct Attributes {
    at: At,
    length: usize,
    open: usize,
    start: Vec<u8>,
    found: Option<OutOfBounds>,
}

#[derive(Debug, Default, Clone, Copy)]
enum At {
    #[default]
    Text,
    Tag,
    /// In a value that ends with this quotation mark.
    Value(u8),
}

/// Of a value that is out of bounds, so many bytes are kept to be shown.
const KEPT: usize = 64;

impl Attributes {
    /// Takes the next part.
    pub fn feed(&mut self, part: &[u8]) {
        for byte in part {
            self.at = match (self.at, byte) {
                (At::Text, b'<') => At::Tag,
                (At::Tag, b'>') => At::Text,
                (At::Tag, quote @ (b'"' | b'\'')) => {
                    (self.length, self.open) = (0, 0);
                    self.start.clear();
                    At::Value(*quote)
                }
                (At::Value(quote), byte) if *byte == quote => At::Tag,
                (At::Value(_), byte) => {
                    self.count(*byte);
                    self.at
                }
                (at, _) => at,
            };
        }
    }

    fn count(&mut self, byte: u8) {
        self.length += 1;
        if self.start.len() < KEPT {
            self.start.push(byte);
        }
        match byte {
            b'(' => self.open += 1,
            b')' => self.open = self.open.saturating_sub(1),
            _ => {}
        }
        if self.found.is_none() && (self.open > MAX_DEPTH || self.length > MAX_LENGTH) {
            self.found = Some(self.out_of_bounds());
        }
    }

    fn out_of_bounds(&self) -> OutOfBounds {
        let start = String::from_utf8_lossy(&self.start);
        if self.open > MAX_DEPTH {
            OutOfBounds::new("dependency", &start, self.open, "levels of parentheses", MAX_DEPTH)
        } else {
            OutOfBounds::new("dependency", &start, self.length, "bytes", MAX_LENGTH)
        }
    }

    /// What was out of bounds first.
    ///
    /// # Errors
    /// When something was.
    pub fn finish(self) -> Result<(), OutOfBounds> {
        self.found.map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested(levels: usize) -> String {
        format!("{}a{}", "(".repeat(levels), " or b)".repeat(levels))
    }

    #[test]
    fn real_dependencies_pass() {
        let crates = "((crate(a/default) >= 0.2.0 with crate(a/default) < 0.3.0~) if crate(b))";
        for text in
            ["gcc", "pkgconfig(x) >= 1:2-3", crates, &nested(MAX_DEPTH), &"x".repeat(MAX_LENGTH)]
        {
            assert_eq!(check("requirement", text), Ok(()));
        }
        assert_eq!(check_path(&"/a".repeat(4096), "b"), Ok(()));
    }

    #[test]
    fn what_is_beyond_is_named() {
        let deep = check("requirement", &nested(5_000)).unwrap_err().to_string();
        assert!(deep.starts_with("the requirement `((("), "{deep}");
        assert!(
            deep.ends_with("has 5000 levels of parentheses; rpmfarm takes at most 64"),
            "{deep}"
        );
        let long = check("Provides", &"x".repeat(MAX_LENGTH + 1)).unwrap_err().to_string();
        assert!(long.contains("has 65537 bytes"), "{long}");
        assert!(check_path(&"/a".repeat(MAX_PATH / 2), "b").is_err());
    }

    fn fed(xml: &str, size: usize) -> Result<(), OutOfBounds> {
        let mut attributes = Attributes::default();
        xml.as_bytes().chunks(size).for_each(|part| attributes.feed(part));
        attributes.finish()
    }

    #[test]
    fn metadata_are_looked_through_whatever_their_parts() {
        let entry = |name: &str| format!("<rpm:entry name=\"{name}\" flags=\"EQ\"/>");
        let text =
            format!("<description>say \"{}</description>{}", "x".repeat(90_000), entry("gcc"));
        for size in [1, 7, 100_000] {
            assert_eq!(fed(&entry(&nested(MAX_DEPTH)), size), Ok(()));
            assert!(fed(&entry(&nested(MAX_DEPTH + 1)), size).is_err());
            assert!(fed(&entry(&"x".repeat(MAX_LENGTH + 1)), size).is_err());
            assert_eq!(fed(&entry("a").repeat(50), size), Ok(()), "{size}");
            let after = format!("{text}{}", entry(&nested(100)));
            assert!(fed(&after, size).is_err(), "{size}");
        }
    }
}
