//! The lists of look-aside files: `sources` of the flat layout, `.NAME.metadata` of the exploded
//! one. Owns reading and printing them.

use std::collections::HashMap;
use std::fmt::Write as _;

use rpmfarm_core::digest::{Checksum, DigestKind};
use rpmfarm_core::name::{NameError, check_file, shown};
use serde::{Deserialize, Serialize};

use super::DistgitError;

/// Which list it is, which decides how it is printed. Both are parsed alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListForm {
    /// `SHA512 (FILE) = HEX`, or `HEX  FILE` in old ones, also mixed.
    Sources,
    /// `HEX SOURCES/FILE`.
    Metadata,
}

/// A file that is not in git but in a look-aside cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LookasideFile {
    pub name: String,
    /// The checksum of its content.
    pub checksum: Checksum,
}

impl LookasideFile {
    /// Parses a list. `file` is its name, for messages. Empty lines and comments are skipped. A
    /// file that is listed again with the same digest is listed once; of digests of several kinds
    /// the longest counts.
    ///
    /// # Errors
    /// With the line that has an unknown form, or an invalid digest or name; or with the two lines
    /// that contradict each other.
    pub fn parse_list(file: &str, text: &str) -> Result<Vec<Self>, DistgitError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut files: Vec<Self> = Vec::new();
        // The index of each file in `files`, and its line.
        let mut known: HashMap<String, (usize, usize)> = HashMap::new();
        for (number, line) in (1..).zip(text.lines().map(str::trim)) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let new = Self::parse_line(file, number, line)?;
            let Some((at, first)) = known.get_mut(&new.name) else {
                known.insert(new.name.clone(), (files.len(), number));
                files.push(new);
                continue;
            };
            let (old, checksum) = (&mut files[*at], new.checksum);
            if old.checksum.kind == checksum.kind && old.checksum != checksum {
                return Err(DistgitError::Contradiction {
                    file: file.to_owned(),
                    lines: (*first, number),
                    name: new.name,
                    digests: Box::new((old.checksum.clone(), checksum)),
                });
            }
            if checksum.kind.digits() > old.checksum.kind.digits() {
                old.checksum = checksum;
                *first = number;
            }
        }
        Ok(files)
    }

    /// Prints a list in one form.
    #[must_use]
    pub fn print_list(files: &[Self], form: ListForm) -> String {
        let mut text = String::new();
        for Self { name, checksum } in files {
            let _ = match form {
                ListForm::Sources => {
                    let kind = checksum.kind.as_str().to_uppercase();
                    writeln!(text, "{kind} ({name}) = {}", checksum.hex)
                }
                ListForm::Metadata => writeln!(text, "{} SOURCES/{name}", checksum.hex),
            };
        }
        text
    }

    fn parse_line(file: &str, line: usize, text: &str) -> Result<Self, DistgitError> {
        let (kind, hex, name) = split_tagged(text)
            .map(|(kind, name, hex)| (Some(kind), hex, name))
            .or_else(|| split_plain(text).map(|(hex, name)| (None, hex, name)))
            .ok_or_else(|| DistgitError::Line { file: file.into(), line, text: shown(text) })?;
        let checksum = Checksum::from_hex(hex).map_err(|error| DistgitError::Digest {
            file: file.into(),
            line,
            error,
        })?;
        if let Some(kind) = kind.filter(|kind| *kind != checksum.kind) {
            return Err(DistgitError::DigestLength {
                file: file.into(),
                line,
                kind: kind.as_str(),
                digits: kind.digits(),
                found: hex.len(),
            });
        }
        let bad = |error| DistgitError::Name { place: format!("{file}, line {line}"), error };
        // A directory below SOURCES/ is where the file is in the tree; only its name counts.
        let (folder, name) = match (kind, name.rsplit_once('/')) {
            (None, Some((folder, name))) if !folder.is_empty() => (folder, name),
            _ => ("", name),
        };
        for part in folder.split('/').filter(|_| !folder.is_empty()) {
            check_file(part).map_err(bad)?;
        }
        check_file(name).map_err(bad)?;
        // Neither form could be parsed again with such a name.
        if name.trim() != name {
            return Err(bad(NameError::File(shown(name))));
        }
        Ok(Self { name: name.to_owned(), checksum })
    }
}

/// `SHA512 (FILE) = HEX`.
fn split_tagged(text: &str) -> Option<(DigestKind, &str, &str)> {
    let (kind, rest) = text.split_once(" (")?;
    let (name, hex) = rest.rsplit_once(") = ")?;
    let kind = match kind {
        "SHA512" => DigestKind::Sha512,
        "SHA256" => DigestKind::Sha256,
        "SHA1" => DigestKind::Sha1,
        "MD5" => DigestKind::Md5,
        _ => return None,
    };
    let plain = !name.starts_with(char::is_whitespace) && !name.ends_with(char::is_whitespace);
    plain.then_some((kind, name, hex))
}

/// `HEX  FILE` or `HEX SOURCES/FILE`; `HEX *FILE`, which sha512sum writes for files that it read as
/// binary.
fn split_plain(text: &str) -> Option<(&str, &str)> {
    let (hex, name) = text.split_once(char::is_whitespace)?;
    let name = name.trim_start();
    let name = name.strip_prefix('*').unwrap_or(name);
    Some((hex, name.strip_prefix("SOURCES/").unwrap_or(name)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Vec<LookasideFile>, DistgitError> {
        LookasideFile::parse_list("sources", text)
    }

    #[test]
    fn both_forms_mixed() {
        let (md5, sha512) = ("0".repeat(32), "Ab".repeat(64));
        let text = format!("SHA512 (hello-2.12.tar.gz) = {sha512}\r\n\n{md5}  old file.zip\n");
        let files = parse(&text).unwrap();
        assert_eq!(files[0].name, "hello-2.12.tar.gz");
        assert_eq!(files[0].checksum.hex, sha512.to_lowercase());
        assert_eq!(files[1].name, "old file.zip");
        assert_eq!(files[1].checksum.kind, DigestKind::Md5);
        assert_eq!(parse(&format!("{md5} *binary.zip\n")).unwrap()[0].name, "binary.zip");
    }

    #[test]
    fn metadata() {
        let text = format!("{} SOURCES/patch-2.7.6.tar.xz\n", "a".repeat(64));
        let files = LookasideFile::parse_list(".patch.metadata", &text).unwrap();
        assert_eq!(files[0].name, "patch-2.7.6.tar.xz");
        assert_eq!(files[0].checksum.kind, DigestKind::Sha256);
        let nested = format!("{} SOURCES/tests/data.tar.xz\n", "a".repeat(64));
        assert_eq!(parse(&nested).unwrap()[0].name, "data.tar.xz");
        assert_eq!(parse("").unwrap(), []);
    }

    #[test]
    fn lines_that_say_the_same_again() {
        let (one, other, md5) = ("a".repeat(128), "b".repeat(128), "c".repeat(32));
        let line = |hex: &str| format!("SHA512 (x.tar) = {hex}");
        let text = format!(
            "\u{feff}# comment\r\n  {} \t\r\n\r\n{}\n{md5}  x.tar\n{md5}  y.tar\n",
            line(&one),
            line(&one.to_uppercase())
        );
        let files = parse(&text).unwrap();
        let names: Vec<_> = files.iter().map(|file| (&*file.name, &*file.checksum.hex)).collect();
        assert_eq!(names, [("x.tar", &*one), ("y.tar", &*md5)]);
        // The order of the kinds does not matter.
        assert_eq!(parse(&format!("{md5}  x.tar\n{}\n", line(&one))).unwrap(), files[..1]);
        let error = parse(&format!("{}\n\n{}\n", line(&one), line(&other))).unwrap_err();
        let words = format!(
            "sources, lines 1 and 3: two digests of x.tar, sha512:{one} and sha512:{other}"
        );
        assert!(error.to_string().contains(&words), "{error}");
        let twice = format!("{0} SOURCES/x/d.zip\n{0} SOURCES/d.zip\n", "a".repeat(64));
        assert_eq!(LookasideFile::parse_list(".x.metadata", &twice).unwrap().len(), 1);
    }

    #[test]
    fn refusals_name_the_line() {
        let sha256 = "a".repeat(64);
        for (text, words) in [
            ("hello".to_owned(), "sources, line 1: `hello` is neither"),
            (format!("\n{sha256}"), "line 2"),
            (format!("{sha256} ../x"), "not a plain file name"),
            (format!("{sha256} SOURCES/../b"), "not a plain file name"),
            (format!("{sha256} SOURCES/a//b"), "not a plain file name"),
            (format!("SHA256 (a/b) = {sha256}"), "not a plain file name"),
            (format!("{sha256} /etc/passwd"), "not a plain file name"),
            (format!("{sha256} a\0b"), "not a plain file name"),
            (format!("{sha256} SOURCES/tests/ b"), "not a plain file name"),
            (format!("{sha256} SOURCES/\u{3000}b"), "not a plain file name"),
            (format!("SHA512 (x) = {sha256}"), "sha512 digest has 128 hex digits, here are 64"),
            (format!("SHA3 (x) = {sha256}"), "is not a known digest"),
            ("abc x".to_owned(), "is not a known digest"),
            (format!("{} x", "g".repeat(64)), "is not a known digest"),
        ] {
            let error = parse(&text).unwrap_err().to_string();
            assert!(error.contains(words), "{text:?}: {error}");
        }
    }

    fn lookaside_file() -> impl Strategy<Value = LookasideFile> {
        let digits = prop_oneof![Just(32), Just(40), Just(64), Just(128_usize)];
        let hex = digits.prop_flat_map(|n| prop::collection::vec("[0-9a-f]", n..=n));
        ("[A-Za-z0-9_(][A-Za-z0-9._+~ ()=-]{0,20}[A-Za-z0-9)]", hex).prop_map(|(name, hex)| {
            LookasideFile { name, checksum: Checksum::from_hex(&hex.concat()).expect("hex") }
        })
    }

    fn line() -> impl Strategy<Value = String> {
        prop_oneof![
            any::<String>(),
            lookaside_file().prop_map(|f| format!("{}  {}", f.checksum.hex, f.name)),
            (any::<String>(), lookaside_file())
                .prop_map(|(name, f)| format!("{} {name}", f.checksum.hex)),
            "(SHA512|MD5|sha1) ?[(][^)]{0,9}[)] ?= ?[0-9a-f]{0,130}",
        ]
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read(mut files in prop::collection::vec(lookaside_file(), 0..6)) {
            let mut names = std::collections::HashSet::new();
            files.retain(|file| names.insert(file.name.clone()));
            for form in [ListForm::Sources, ListForm::Metadata] {
                let text = LookasideFile::print_list(&files, form);
                prop_assert_eq!(parse(&text), Ok(files.clone()));
            }
        }

        #[test]
        fn what_is_read_prints_back(lines in prop::collection::vec(line(), 0..6)) {
            if let Ok(files) = parse(&lines.join("\n")) {
                let text = LookasideFile::print_list(&files, ListForm::Sources);
                prop_assert_eq!(parse(&text), Ok(files));
            }
        }
    }
}
