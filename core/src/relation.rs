//! Bounds on dependencies and paths of packages, before they reach code that is written in C.
//!
//! rpm itself has no such bounds. A solver that parses dependencies by recursion needs them:
//! libsolv exhausts a stack of 2 MiB at a rich dependency of 12,000 levels. They are far above what
//! packages of real distributions have (some 3 kB and 6 levels, in Rust's crates).

use serde::{Deserialize, Serialize};

use crate::name::shown;

/// The longest dependency with its version, in bytes.
pub const MAX_LENGTH: usize = 64 << 10;
/// The most levels of parentheses in a dependency.
pub const MAX_DEPTH: usize = 64;
/// The longest path of a file in a package, in bytes. Linux itself opens no path of more than
/// 4,096.
pub const MAX_PATH: usize = 16 << 10;

/// A dependency or path that exceeds the bounds: what it is, how it begins, and by how much.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{0}")]
pub struct RelationError(Box<str>);

impl RelationError {
    fn new(place: &str, text: &str, found: usize, unit: &str, limit: usize) -> Self {
        let start: String = shown(text).chars().take(60).collect();
        let message =
            format!("the {place} `{start}…` has {found} {unit}; rpmfarm accepts at most {limit}");
        Self(message.into())
    }
}

/// Checks a dependency: a name with or without a version, or a rich one.
///
/// # Errors
/// When it is longer than [`MAX_LENGTH`] or nested deeper than [`MAX_DEPTH`].
pub fn check(place: &str, text: &str) -> Result<(), RelationError> {
    if text.len() > MAX_LENGTH {
        return Err(RelationError::new(place, text, text.len(), "bytes", MAX_LENGTH));
    }
    let depth = depth(text.as_bytes());
    if depth > MAX_DEPTH {
        return Err(RelationError::new(place, text, depth, "levels of parentheses", MAX_DEPTH));
    }
    Ok(())
}

/// Checks the path of a file: its directory, which ends with a slash, and its name.
///
/// # Errors
/// When it is longer than [`MAX_PATH`].
pub fn check_path(dir: &str, name: &str) -> Result<(), RelationError> {
    let length = dir.len() + name.len();
    if length > MAX_PATH {
        return Err(RelationError::new("path", dir, length, "bytes", MAX_PATH));
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

/// Scans XML of repository metadata while it is streamed, in parts with any boundaries: the values
/// of attributes, which contain all dependencies, must keep the bounds of [`check`] as an XML
/// parser would read them. Document types, which can define entities, are refused.
#[derive(Debug, Default)]
pub struct AttributeScanner {
    at: XmlState,
    length: usize,
    open: usize,
    start: Vec<u8>,
    reference: CharReference,
    /// The last bytes of a comment, a CDATA section or a processing instruction, whose end is
    /// searched for.
    recent: Vec<u8>,
    found: Option<RelationError>,
}

#[derive(Debug, Default, Clone, Copy)]
enum XmlState {
    #[default]
    Text,
    /// After `<`.
    Open,
    Tag,
    /// In a value that ends with this quotation mark.
    Value(u8),
    /// In a closing tag, where quotation marks have no meaning.
    EndTag,
    /// After `<!`.
    Markup,
    /// In a comment or similar, which ends with this.
    Passed(&'static [u8]),
}

const COMMENT: &[u8] = b"--";
const CDATA: &[u8] = b"[CDATA[";

/// A character that is written as its number, `&#40;`.
#[derive(Debug, Default, Clone, Copy)]
enum CharReference {
    #[default]
    No,
    /// After `&`.
    Begun,
    Number {
        radix: u32,
        value: u32,
    },
}

impl CharReference {
    /// Goes on by a byte. Beside it is the number of the character that the byte is, or ends.
    fn after(self, byte: u8) -> (Self, u32) {
        let code = u32::from(byte);
        match (self, byte) {
            (_, b'&') => (Self::Begun, code),
            (Self::Begun, b'#') => (Self::Number { radix: 10, value: 0 }, code),
            (Self::Number { radix: 10, value: 0 }, b'x') => {
                (Self::Number { radix: 16, value: 0 }, code)
            }
            (Self::Number { value, .. }, b';') => (Self::No, value),
            (Self::Number { radix, value }, _) => match char::from(byte).to_digit(radix) {
                Some(digit) => {
                    let value = value.saturating_mul(radix).saturating_add(digit);
                    (Self::Number { radix, value }, code)
                }
                None => (Self::No, code),
            },
            _ => (Self::No, code),
        }
    }
}

/// How many bytes of a value that exceeds the bounds are kept for the message.
const KEPT: usize = 64;

const OPENING: u32 = b'(' as u32;
const CLOSING: u32 = b')' as u32;

impl AttributeScanner {
    /// Takes the next part.
    pub fn feed(&mut self, part: &[u8]) {
        for byte in part {
            // A NUL byte: no text in UTF-8 has one, and every tag in UTF-16, whose characters would
            // be scanned wrongly, does.
            if *byte == 0 {
                self.refuse("the metadata are not text in UTF-8");
            }
            self.at = self.after(*byte);
        }
    }

    fn after(&mut self, byte: u8) -> XmlState {
        match self.at {
            XmlState::Text if byte == b'<' => XmlState::Open,
            XmlState::Text => XmlState::Text,
            XmlState::Open => match byte {
                b'/' => XmlState::EndTag,
                b'?' => self.passed(b"?>"),
                b'!' => {
                    self.recent.clear();
                    XmlState::Markup
                }
                byte => self.in_tag(byte),
            },
            XmlState::Tag => self.in_tag(byte),
            XmlState::Value(quote) if byte == quote => XmlState::Tag,
            XmlState::Value(quote) => {
                self.count(byte);
                XmlState::Value(quote)
            }
            XmlState::EndTag if byte == b'>' => XmlState::Text,
            XmlState::EndTag => XmlState::EndTag,
            XmlState::Markup => self.markup(byte),
            XmlState::Passed(end) => {
                self.recent.push(byte);
                if self.recent.ends_with(end) {
                    return XmlState::Text;
                }
                let surplus = self.recent.len().saturating_sub(end.len());
                self.recent.drain(..surplus);
                XmlState::Passed(end)
            }
        }
    }

    fn in_tag(&mut self, byte: u8) -> XmlState {
        match byte {
            b'>' => XmlState::Text,
            b'"' | b'\'' => {
                (self.length, self.open) = (0, 0);
                self.start.clear();
                self.reference = CharReference::No;
                XmlState::Value(byte)
            }
            _ => XmlState::Tag,
        }
    }

    fn passed(&mut self, end: &'static [u8]) -> XmlState {
        self.recent.clear();
        XmlState::Passed(end)
    }

    fn markup(&mut self, byte: u8) -> XmlState {
        self.recent.push(byte);
        if self.recent == COMMENT {
            return self.passed(b"-->");
        }
        if self.recent == CDATA {
            return self.passed(b"]]>");
        }
        if COMMENT.starts_with(&self.recent) || CDATA.starts_with(&self.recent) {
            return XmlState::Markup;
        }
        self.refuse("the metadata have a document type, which rpmfarm does not accept");
        XmlState::Text
    }

    fn refuse(&mut self, why: &str) {
        self.found.get_or_insert_with(|| RelationError(why.into()));
    }

    fn count(&mut self, byte: u8) {
        self.length += 1;
        if self.start.len() < KEPT {
            self.start.push(byte);
        }
        let (reference, character) = self.reference.after(byte);
        self.reference = reference;
        match character {
            OPENING => self.open += 1,
            CLOSING => self.open = self.open.saturating_sub(1),
            _ => {}
        }
        if self.found.is_none() && (self.open > MAX_DEPTH || self.length > MAX_LENGTH) {
            self.found = Some(self.out_of_bounds());
        }
    }

    fn out_of_bounds(&self) -> RelationError {
        let start = String::from_utf8_lossy(&self.start);
        if self.open > MAX_DEPTH {
            RelationError::new("dependency", &start, self.open, "levels of parentheses", MAX_DEPTH)
        } else {
            RelationError::new("dependency", &start, self.length, "bytes", MAX_LENGTH)
        }
    }

    /// The first violation of the bounds.
    ///
    /// # Errors
    /// When there was one.
    pub fn finish(self) -> Result<(), RelationError> {
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
            deep.ends_with("has 5000 levels of parentheses; rpmfarm accepts at most 64"),
            "{deep}"
        );
        let long = check("Provides", &"x".repeat(MAX_LENGTH + 1)).unwrap_err().to_string();
        assert!(long.contains("has 65537 bytes"), "{long}");
        assert!(check_path(&"/a".repeat(MAX_PATH / 2), "b").is_err());
    }

    fn fed(xml: &str, size: usize) -> Result<(), RelationError> {
        let mut attributes = AttributeScanner::default();
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
    #[test]
    fn nothing_hides_a_value_from_the_look() {
        let entry = |name: &str| format!("<rpm:entry name=\"{name}\" flags='EQ'/>");
        let (deep, harmless) = (entry(&nested(MAX_DEPTH + 1)), entry(&nested(MAX_DEPTH)));
        let passed = ["", "<!-- \" -->", "<!--'>-->", "<![CDATA[<a \"]]>", "<?x \" ?>", "</a \">"];
        for before in passed {
            for size in [1, 5, 100_000] {
                assert!(fed(&format!("{before}{deep}"), size).is_err(), "{before}");
                assert_eq!(fed(&format!("{before}{harmless}"), size), Ok(()), "{before}");
            }
        }
        for bracket in ["&#40;", "&#x28;", "&#0040;", "&amp;&#40;"] {
            assert!(fed(&entry(&bracket.repeat(MAX_DEPTH + 1)), 3).is_err(), "{bracket}");
            assert_eq!(fed(&entry(&bracket.repeat(MAX_DEPTH)), 3), Ok(()), "{bracket}");
        }
        assert_eq!(fed(&entry(&"&#40;&#41;".repeat(MAX_DEPTH + 1)), 3), Ok(()));
        let entity = "<!DOCTYPE x [<!ENTITY a '(((('>]><rpm:entry name=\"&a;\"/>";
        let refused = fed(entity, 3).unwrap_err().to_string();
        assert!(refused.contains("document type"), "{refused}");
        let utf16: String = deep.chars().flat_map(|c| [c, '\0']).collect();
        assert!(fed(&utf16, 3).unwrap_err().to_string().contains("UTF-8"));
    }
}
