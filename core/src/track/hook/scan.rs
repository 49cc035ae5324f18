//! Reads JSON piece by piece and keeps a few named values of it.
//!
//! A webhook of a large push has tens of megabytes of commits, which are not needed. So the body is
//! never kept in memory: other strings are skipped, whatever their length, and the kept values are
//! bounded in number and in length. It must not know what the values mean.

use std::collections::BTreeMap;

/// The longest value that is kept, in bytes. Longer ones are treated as absent.
const MAX_VALUE: usize = 4096;

/// The longest key that is compared, in bytes.
const MAX_KEY: usize = 64;

/// How deep objects and lists may be nested.
const MAX_DEPTH: usize = 256;

/// The depth to which values are searched for.
const PATH_DEPTH: usize = 4;

/// How many changes of a list are kept; further ones are counted.
pub const MAX_CHANGES: usize = 64;

/// The path of a kept value: the keys that lead to it.
pub type KeyPath = &'static [&'static str];

/// Why a text is not a JSON object that is read. Positions count from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScanError {
    /// It is not JSON, not an object, or incomplete.
    #[error("{why} at byte {at}")]
    Syntax { why: &'static str, at: usize },
    /// Its objects and lists are nested too deeply.
    #[error("more than {MAX_DEPTH} nested values at byte {at}")]
    TooDeep { at: usize },
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeptValues {
    values: BTreeMap<KeyPath, String>,
    /// `ref` and `after` of each object in the list `changes`.
    pub changes: Vec<(String, String)>,
    /// How many more objects the list has.
    pub more_changes: usize,
}

impl KeptValues {
    /// The value at these keys.
    #[must_use]
    pub fn get(&self, path: &[&str]) -> Option<&str> {
        self.values.iter().find(|(known, _)| **known == path).map(|(_, value)| value.as_str())
    }
}

/// An open object or list.
#[derive(Debug)]
enum OpenLevel {
    /// An object, and the key whose value comes next; `None` where no value is kept.
    Object(Option<String>),
    List,
}

/// The expected next byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ScanState {
    Value,
    /// A value, or the end of the list.
    FirstOfList,
    /// A key, or the end of the object.
    FirstKey,
    Key,
    /// The colon after a key.
    Colon,
    /// A comma, or the end of the open object or list.
    After,
    /// The rest of a string.
    Text {
        is_key: bool,
    },
    /// The character after a backslash.
    Escape {
        is_key: bool,
    },
    /// The rest of four hexadecimal digits.
    Unicode {
        is_key: bool,
        value: u32,
        left: u8,
    },
    /// The rest of a number.
    Number,
    /// The rest of `true`, `false` or `null`.
    Word(&'static [u8]),
}

/// Reads JSON piece by piece.
#[derive(Debug)]
pub struct JsonScanner {
    paths: &'static [KeyPath],
    kept: KeptValues,
    open: Vec<OpenLevel>,
    state: ScanState,
    /// The string or number that is being read, when it is kept.
    text: Vec<u8>,
    keeps: bool,
    /// Whether it is longer than the kept part.
    overflows: bool,
    /// The first half of a surrogate pair.
    high: Option<u32>,
    /// `ref` and `after` of the open object in `changes`.
    change: (String, String),
    at: usize,
    problem: Option<ScanError>,
}

impl JsonScanner {
    /// A scan for the values at these paths.
    #[must_use]
    pub fn new(paths: &'static [KeyPath]) -> Self {
        Self {
            paths,
            kept: KeptValues::default(),
            open: Vec::new(),
            state: ScanState::Value,
            text: Vec::new(),
            keeps: false,
            overflows: false,
            high: None,
            change: Default::default(),
            at: 0,
            problem: None,
        }
    }

    /// Reads the next bytes. After the first invalid byte, nothing is read any more.
    pub fn feed(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while self.problem.is_none() && !rest.is_empty() {
            let passed = self.pass_over(rest);
            self.at += passed;
            rest = &rest[passed..];
            let Some((byte, after)) = rest.split_first() else { break };
            // The byte that ends a number is also the next token.
            if self.step(*byte) {
                rest = after;
                self.at += 1;
            }
        }
    }

    /// The kept values.
    ///
    /// # Errors
    /// The first error and its position, when the text was not a JSON object.
    pub fn end(mut self) -> Result<KeptValues, ScanError> {
        if self.problem.is_none() && (self.at == 0 || !self.open.is_empty()) {
            self.fail("it is incomplete");
        }
        if self.problem.is_none() && self.state != ScanState::After {
            self.fail("it is incomplete");
        }
        self.problem.map_or(Ok(self.kept), Err)
    }

    /// Skips bytes of a string that need no check.
    fn pass_over(&mut self, bytes: &[u8]) -> usize {
        let ScanState::Text { .. } = self.state else { return 0 };
        let plain = |byte: &u8| *byte != b'"' && *byte != b'\\' && *byte >= b' ';
        let length = bytes.iter().position(|byte| !plain(byte)).unwrap_or(bytes.len());
        if length > 0 {
            self.keep_half();
        }
        self.keep(&bytes[..length]);
        length
    }

    fn fail(&mut self, why: &'static str) {
        let at = self.at + 1;
        self.problem.get_or_insert(ScanError::Syntax { why, at });
    }

    /// Reads a byte. False when it must be read again.
    fn step(&mut self, byte: u8) -> bool {
        let is_space = matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        match self.state {
            ScanState::Value | ScanState::FirstOfList | ScanState::FirstKey | ScanState::Key | ScanState::Colon
            | ScanState::After
                // Some programs write a byte order mark first.
                if is_space || (self.at < 3 && self.open.is_empty() && byte == BOM[self.at]) => {}
            ScanState::FirstOfList if byte == b']' => self.close(),
            ScanState::Value | ScanState::FirstOfList => self.begin_value(byte),
            ScanState::FirstKey if byte == b'}' => self.close(),
            ScanState::FirstKey | ScanState::Key if byte == b'"' => {
                let keeps = self.open.len() <= PATH_DEPTH;
                self.begin_text(ScanState::Text { is_key: true }, keeps);
            }
            ScanState::FirstKey | ScanState::Key => self.fail("no key"),
            ScanState::Colon if byte == b':' => self.state = ScanState::Value,
            ScanState::Colon => self.fail("no colon after a key"),
            ScanState::After => match (byte, self.open.last()) {
                (b',', Some(OpenLevel::Object(_))) => self.state = ScanState::Key,
                (b',', Some(OpenLevel::List)) => self.state = ScanState::Value,
                (b'}', Some(OpenLevel::Object(_))) | (b']', Some(OpenLevel::List)) => self.close(),
                _ => self.fail("an unexpected byte after a value"),
            },
            ScanState::Text { is_key } => match byte {
                b'"' => self.end_text(is_key),
                b'\\' => self.state = ScanState::Escape { is_key },
                _ => self.fail("a control character in a string"),
            },
            ScanState::Escape { is_key } => self.escape(byte, is_key),
            ScanState::Unicode { is_key, value, left } => {
                let Some(digit) = char::from(byte).to_digit(16) else {
                    self.fail("no hexadecimal digit");
                    return true;
                };
                let value = value * 16 + digit;
                if left > 1 {
                    self.state = ScanState::Unicode { is_key, value, left: left - 1 };
                } else {
                    self.keep_unit(value);
                    self.state = ScanState::Text { is_key };
                }
            }
            ScanState::Number => {
                if byte.is_ascii_digit() || b"+-.eE".contains(&byte) {
                    self.keep(&[byte]);
                } else {
                    self.end_value();
                    return false;
                }
            }
            ScanState::Word([next, rest @ ..]) if *next == byte => {
                self.state = if rest.is_empty() { ScanState::After } else { ScanState::Word(rest) };
            }
            ScanState::Word(_) => self.fail("no value"),
        }
        true
    }

    fn begin_value(&mut self, byte: u8) {
        if self.open.is_empty() && byte != b'{' {
            // Forges always send an object.
            return self.fail("no object");
        }
        match byte {
            b'{' | b'[' if self.open.len() >= MAX_DEPTH => {
                self.problem.get_or_insert(ScanError::TooDeep { at: self.at + 1 });
            }
            b'{' => {
                self.open.push(OpenLevel::Object(None));
                self.state = ScanState::FirstKey;
                if self.is_change() {
                    self.change = Default::default();
                }
            }
            b'[' => {
                self.open.push(OpenLevel::List);
                self.state = ScanState::FirstOfList;
            }
            b'"' => {
                let keeps = self.is_wanted();
                self.begin_text(ScanState::Text { is_key: false }, keeps);
            }
            b'-' | b'0'..=b'9' => {
                let keeps = self.is_wanted();
                self.begin_text(ScanState::Number, keeps);
                self.keep(&[byte]);
            }
            b't' => self.state = ScanState::Word(b"rue"),
            b'f' => self.state = ScanState::Word(b"alse"),
            b'n' => self.state = ScanState::Word(b"ull"),
            _ => self.fail("no value"),
        }
    }

    fn close(&mut self) {
        if self.is_change() {
            if self.kept.changes.len() < MAX_CHANGES {
                self.kept.changes.push(std::mem::take(&mut self.change));
            } else {
                self.kept.more_changes += 1;
            }
        }
        self.open.pop();
        self.state = ScanState::After;
    }

    fn begin_text(&mut self, state: ScanState, keeps: bool) {
        self.state = state;
        self.text.clear();
        self.keeps = keeps;
        self.overflows = false;
        self.high = None;
    }

    fn escape(&mut self, byte: u8, is_key: bool) {
        let plain = match byte {
            b'"' | b'\\' | b'/' => byte,
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                self.state = ScanState::Unicode { is_key, value: 0, left: 4 };
                return;
            }
            _ => return self.fail("an unknown escape"),
        };
        self.keep_half();
        self.keep(&[plain]);
        self.state = ScanState::Text { is_key };
    }

    /// Keeps the character of `\\uXXXX`, or half of a surrogate pair.
    fn keep_unit(&mut self, unit: u32) {
        let whole = match (self.high, unit) {
            (Some(high), 0xdc00..=0xdfff) => {
                self.high = None;
                0x10000 + ((high - 0xd800) << 10) + (unit - 0xdc00)
            }
            (_, 0xd800..=0xdbff) => {
                self.keep_half();
                self.high = Some(unit);
                return;
            }
            (_, unit) => {
                self.keep_half();
                unit
            }
        };
        let whole = char::from_u32(whole).unwrap_or(char::REPLACEMENT_CHARACTER);
        self.keep(whole.encode_utf8(&mut [0; 4]).as_bytes());
    }

    /// A first half without a second one stands for no character.
    fn keep_half(&mut self) {
        if self.high.take().is_some() {
            self.keep(char::REPLACEMENT_CHARACTER.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        if !self.keeps || self.overflows {
            return;
        }
        let most = if matches!(self.state, ScanState::Text { is_key: true }) {
            MAX_KEY
        } else {
            MAX_VALUE
        };
        if self.text.len() + bytes.len() > most {
            self.overflows = true;
        } else {
            self.text.extend_from_slice(bytes);
        }
    }

    fn end_text(&mut self, is_key: bool) {
        self.keep_half();
        if !is_key {
            return self.end_value();
        }
        let key = (self.keeps && !self.overflows)
            .then(|| String::from_utf8_lossy(&self.text).into_owned());
        if let Some(level) = self.open.last_mut() {
            *level = OpenLevel::Object(key);
        }
        self.state = ScanState::Colon;
    }

    fn end_value(&mut self) {
        self.state = ScanState::After;
        if !self.keeps || self.overflows {
            return;
        }
        let value = String::from_utf8_lossy(&self.text).into_owned();
        if self.is_at(&["changes", LIST, "ref"]) {
            self.change.0 = value;
        } else if self.is_at(&["changes", LIST, "after"]) {
            self.change.1 = value;
        } else if let Some(path) = self.paths.iter().find(|path| self.is_at(path)) {
            self.kept.values.insert(path, value);
        }
    }

    fn is_wanted(&self) -> bool {
        self.paths.iter().chain(&CHANGES).any(|path| self.is_at(path))
    }

    /// Whether the open object is one of the list `changes`.
    fn is_change(&self) -> bool {
        let [OpenLevel::Object(Some(key)), OpenLevel::List, OpenLevel::Object(_)] =
            self.open.as_slice()
        else {
            return false;
        };
        key == "changes"
    }

    /// Whether the value that is read has this path.
    fn is_at(&self, path: &[&str]) -> bool {
        self.open.len() == path.len()
            && self.open.iter().zip(path).all(|(level, name)| match level {
                OpenLevel::Object(key) => key.as_deref() == Some(*name),
                OpenLevel::List => *name == LIST,
            })
    }
}

/// Stands for a list in a path.
const LIST: &str = "[]";

/// The paths within the list of changes.
const CHANGES: [KeyPath; 2] = [&["changes", LIST, "ref"], &["changes", LIST, "after"]];

/// The byte order mark.
const BOM: [u8; 3] = [0xef, 0xbb, 0xbf];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PATHS: &[KeyPath] =
        &[&["ref"], &["repository", "name"], &["repository", "id"], &["a", "b", "c", "d"]];

    fn scan(text: &[u8]) -> Result<KeptValues, ScanError> {
        let mut scanner = JsonScanner::new(PATHS);
        scanner.feed(text);
        scanner.end()
    }

    #[test]
    fn values() {
        let kept = scan(
            br#" {"x": {"ref": 1, "repository": [{"name": "no"}]}, "ref" : "refs\/heads\/\u0061\ud83d\ude00\n",
            "repository": {"owner": {"name": "no"}, "name": "b\"c", "id": 17, "name2": -1.5e+3},
            "a": {"b": {"c": {"d": "deep", "e": [true, false, null, [], {}]}}},
            "changes": [{"ref": "r", "after": "1", "x": {"ref": "no"}}, {"after": "2"}]} "#,
        )
        .unwrap();
        assert_eq!(kept.get(&["ref"]), Some("refs/heads/a\u{1f600}\n"));
        assert_eq!(kept.get(&["repository", "name"]), Some("b\"c"));
        assert_eq!(kept.get(&["repository", "id"]), Some("17"));
        assert_eq!(kept.get(&["a", "b", "c", "d"]), Some("deep"));
        assert_eq!(kept.changes, [("r".into(), "1".into()), (String::new(), "2".into())]);
        assert_eq!(kept.values.len(), 4);
        assert_eq!(scan(b"\xef\xbb\xbf{}"), Ok(KeptValues::default()));
        // The last of several counts, as in most parsers.
        assert_eq!(scan(br#"{"ref":"a","ref":"b"}"#).unwrap().get(&["ref"]), Some("b"));
        let halves = br#"{"ref":"\ud83d \ude00"}"#;
        assert_eq!(scan(halves).unwrap().get(&["ref"]), Some("\u{fffd} \u{fffd}"));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let long = "x".repeat(MAX_VALUE + 1);
        let kept =
            scan(format!(r#"{{"{long}":1,"ref":"{long}","y":"{long}"}}"#).as_bytes()).unwrap();
        assert_eq!(kept, KeptValues::default());
        let changes = r#"{"ref":"r"},"#.repeat(MAX_CHANGES + 8);
        let kept = scan(format!(r#"{{"changes":[{changes}{{}}]}}"#).as_bytes()).unwrap();
        assert_eq!((kept.changes.len(), kept.more_changes), (MAX_CHANGES, 9));
        let deep = |depth: usize| {
            scan(format!(r#"{{"x":{}{}}}"#, "[".repeat(depth), "]".repeat(depth)).as_bytes())
        };
        assert!(deep(MAX_DEPTH - 1).is_ok());
        assert_eq!(deep(MAX_DEPTH), Err(ScanError::TooDeep { at: MAX_DEPTH + 5 }));
    }

    #[test]
    fn what_is_no_object() {
        for (text, words) in [
            ("", "incomplete"),
            (" ", "incomplete"),
            ("{", "incomplete"),
            (r#"{"a"#, "incomplete"),
            (r#"{"a":1"#, "incomplete"),
            ("[]", "no object"),
            ("null", "no object"),
            ("zen", "no object"),
            ("\0", "no object"),
            ("\u{feff}", "incomplete"),
            ("{}{}", "unexpected byte after a value at byte 3"),
            ("{]", "no key"),
            (r#"{"a" 1}"#, "no colon"),
            (r#"{"a":}"#, "no value"),
            (r#"{"a":nil}"#, "no value"),
            (r#"{"a":[1 2]}"#, "unexpected byte after a value"),
            (r#"{"a":[1}"#, "unexpected byte after a value"),
            (r#"{"a":1,}"#, "no key"),
            ("{\"a\":\"\n\"}", "a control character"),
            (r#"{"a":"\x"}"#, "an unknown escape"),
            (r#"{"a":"\u00g0"}"#, "no hexadecimal digit"),
        ] {
            let why = scan(text.as_bytes()).unwrap_err();
            assert!(why.to_string().contains(words), "{text}: {why}");
        }
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let key = prop_oneof!["ref|repository|name|a|b|c|d|changes", ".{0,4}"];
        let leaf = prop_oneof![
            ".{0,8}".prop_map(serde_json::Value::from),
            any::<i64>().prop_map(serde_json::Value::from),
            any::<bool>().prop_map(serde_json::Value::from),
            Just(serde_json::Value::Null),
        ];
        let value = leaf.prop_recursive(5, 40, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
                prop::collection::btree_map(key.clone(), inner, 0..6)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        });
        value.prop_map(|value| serde_json::json!({ "repository": value.clone(), "ref": value }))
    }

    proptest! {
        /// The judge is serde_json.
        #[test]
        fn as_a_parser_that_holds_everything(value in json(), cut in any::<prop::sample::Index>()) {
            let text = value.to_string();
            let mut scanner = JsonScanner::new(PATHS);
            let (one, other) = text.as_bytes().split_at(cut.index(text.len()));
            scanner.feed(one);
            scanner.feed(other);
            let kept = scanner.end().unwrap();
            for path in PATHS {
                let value = path.iter().try_fold(&value, |value, key| value.as_object()?.get(*key));
                let text = match value {
                    Some(serde_json::Value::String(text)) => Some(text.clone()),
                    Some(serde_json::Value::Number(number)) => Some(number.to_string()),
                    _ => None,
                };
                prop_assert_eq!(kept.get(path), text.as_deref());
            }
        }

        #[test]
        fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let is_json = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&bytes).is_ok();
            prop_assert!(!is_json || scan(&bytes).is_ok());
        }
    }
}
