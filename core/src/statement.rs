//! The signed statements between a build and the signature of a package: a worker's statement on
//! the results of an attempt, and the acceptor's acceptance of one package.
//!
//! Both are texts with a kind and a version in the first line, and a field in each further line.
//! Their bytes are signed. Two different statements have different bytes: whatever is not a plain
//! ASCII character is written as `%XX`, so that no value contains a space or a line break.

use std::fmt::{self, Write as _};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::name::percent_decoded;
use crate::results::ResultFile;
use crate::task::{TaskInput, TaskKind};
use crate::{Arch, AttemptId, BuildId, Sha256, TaskId};

/// The first line of a worker's statement.
const STATEMENT: &str = "rpmfarm statement of a worker 1";

/// The first line of an acceptance.
const ACCEPTANCE: &str = "rpmfarm acceptance of a package 1";

/// The version of the protocol between coordinator and acceptor. It is raised when a program that
/// does not know a change would do something wrong.
pub const PROTOCOL: u32 = 1;

/// `N` bytes, printed and stored as lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hex<const N: usize>(pub [u8; N]);

/// A public key of Ed25519 (RFC 8032).
pub type PublicKey = Hex<32>;

/// A signature of Ed25519.
pub type Signature = Hex<64>;

/// Text that is not so many bytes in hex.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not {bytes} bytes in hex digits", crate::name::shown(text))]
pub struct HexError {
    text: String,
    bytes: usize,
}

impl<const N: usize> fmt::Display for Hex<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl<const N: usize> fmt::Debug for Hex<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<const N: usize> FromStr for Hex<N> {
    type Err = HexError;

    fn from_str(text: &str) -> Result<Self, HexError> {
        let mut bytes = [0; N];
        match hex::decode_to_slice(text, &mut bytes) {
            Ok(()) => Ok(Self(bytes)),
            Err(_) => Err(HexError { text: text.to_owned(), bytes: N }),
        }
    }
}

impl<const N: usize> Serialize for Hex<N> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, const N: usize> Deserialize<'de> for Hex<N> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A worker's statement on a successful attempt, signed with the worker's own key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statement<'a> {
    pub worker: &'a str,
    /// Name of the target.
    pub target: &'a str,
    pub build: BuildId,
    pub task: TaskId,
    pub attempt: AttemptId,
    /// The kind of the task. A worker does not know that it repeats a build, so its statement says
    /// `build`.
    pub kind: TaskKind,
    /// Name of the package.
    pub package: &'a str,
    /// The architecture of the root.
    pub arch: Arch,
    /// The digest of the attempt's input ([`input_digest`]).
    pub input: Sha256,
    pub files: &'a [ResultFile],
}

impl Statement<'_> {
    /// The bytes that are signed.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let kind = if self.kind == TaskKind::Repeat { TaskKind::Build } else { self.kind };
        let mut text = Text::new(STATEMENT);
        text.field("worker", self.worker);
        text.field("target", self.target);
        text.field("build", self.build);
        text.field("task", self.task);
        text.field("attempt", self.attempt);
        text.field("kind", kind);
        text.field("package", self.package);
        text.field("arch", self.arch);
        text.field("input", self.input);
        for file in self.files {
            let ResultFile { name, kind, digest, size } = file;
            text.line(kind.as_str(), format_args!("{digest} {size} {}", escaped(name)));
        }
        text.0.into_bytes()
    }
}

/// The digest of an attempt's input: for a source package its digest; for sources the digest of a
/// list of them.
#[must_use]
pub fn input_digest(input: &TaskInput) -> Sha256 {
    if let TaskInput::Srpm { file, .. } = input {
        return file.digest;
    }
    let mut list = String::new();
    for file in input.files() {
        // Writing to a text does not fail.
        let _ = writeln!(list, "{} {} {}", file.digest, file.executable, escaped(&file.name));
    }
    Sha256::compute(list.as_bytes())
}

/// A digest of all results of an attempt.
#[must_use]
pub fn set_digest(files: &[ResultFile]) -> Sha256 {
    let mut list = String::new();
    for ResultFile { name, kind, digest, size } in files {
        let _ = writeln!(list, "{kind} {digest} {size} {}", escaped(name));
    }
    Sha256::compute(list.as_bytes())
}

/// A worker's signature of its [`Statement`], which is sent with the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    pub key: PublicKey,
    /// The digest of the worker's input.
    pub input: Sha256,
    pub signature: Signature,
}

/// The acceptor's signed statement that one package was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acceptance {
    /// The target of the build.
    pub target: String,
    pub build: BuildId,
    /// The attempt that made it.
    pub attempt: AttemptId,
    /// The worker that signed the statement.
    pub worker: String,
    pub nevra: String,
    /// SHA-256 of the file.
    pub file: Sha256,
    /// SHA-256 of its main header.
    pub header: Sha256,
    /// The time, in seconds since 1970.
    pub time: u64,
}

/// A text that is not an acceptance.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it is not an acceptance of a package: {0}")]
pub struct NoAcceptance(String);

impl Acceptance {
    /// The text whose bytes are signed.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = Text::new(ACCEPTANCE);
        text.field("target", &self.target);
        text.field("build", self.build);
        text.field("attempt", self.attempt);
        text.field("worker", &self.worker);
        text.field("nevra", &self.nevra);
        text.field("file", self.file);
        text.field("header", self.header);
        text.field("time", self.time);
        text.0
    }

    /// Reads a text, which must be exactly as [`Self::to_text`] writes it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, NoAcceptance> {
        let mut lines = text.lines();
        if lines.next() != Some(ACCEPTANCE) {
            return Err(NoAcceptance(format!("its first line is not `{ACCEPTANCE}`")));
        }
        let mut next = |name: &'static str| -> Result<(&'static str, String), NoAcceptance> {
            let value = lines.next().and_then(|line| line.strip_prefix(name)?.strip_prefix(' '));
            let value = value.ok_or_else(|| NoAcceptance(format!("it lacks the line `{name}`")))?;
            Ok((name, percent_decoded(value)))
        };
        let read = Self {
            target: next("target")?.1,
            build: BuildId(parsed(next("build")?)?),
            attempt: AttemptId(parsed(next("attempt")?)?),
            worker: next("worker")?.1,
            nevra: next("nevra")?.1,
            file: parsed(next("file")?)?,
            header: parsed(next("header")?)?,
            time: parsed(next("time")?)?,
        };
        if read.to_text() != text {
            return Err(NoAcceptance("it is not written as one is".to_owned()));
        }
        Ok(read)
    }
}

fn parsed<T: FromStr>((name, value): (&'static str, String)) -> Result<T, NoAcceptance> {
    let wrong = || NoAcceptance(format!("its {name} is `{}`", crate::name::shown(&value)));
    value.parse().map_err(|_| wrong())
}

/// An acceptance with the acceptor's signature, as it is stored and sent to the signer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedAcceptance {
    /// The text of an [`Acceptance`].
    pub text: String,
    /// The signature of its bytes.
    pub signature: Signature,
}

/// A text of fields, a line each.
struct Text(String);

impl Text {
    fn new(first: &str) -> Self {
        Self(format!("{first}\n"))
    }

    fn field(&mut self, name: &str, value: impl fmt::Display) {
        self.line(name, escaped(&value.to_string()));
    }

    /// Adds a line whose value needs no escapes.
    fn line(&mut self, name: &str, value: impl fmt::Display) {
        // Writing to a text does not fail.
        let _ = writeln!(self.0, "{name} {value}");
    }
}

/// A value in which spaces, line breaks and other characters that are not plain are escaped.
fn escaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_graphic() && byte != b'%' {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::results::ResultKind;
    use crate::source::SourceFile;

    /// A statement with what it points to.
    #[derive(Debug, Clone, PartialEq, Eq)]
    struct Owned {
        words: [String; 3],
        numbers: [i64; 3],
        kind: TaskKind,
        arch: Arch,
        input: Sha256,
        files: Vec<ResultFile>,
    }

    impl Owned {
        fn bytes(&self) -> Vec<u8> {
            let [worker, target, package] = &self.words;
            let [build, task, attempt] = self.numbers;
            let (build, task, attempt) = (BuildId(build), TaskId(task), AttemptId(attempt));
            let Self { kind, arch, input, files, .. } = self;
            let (kind, arch, input) = (*kind, *arch, *input);
            Statement { worker, target, build, task, attempt, kind, package, arch, input, files }
                .to_bytes()
        }
    }

    /// Few letters, so that two are often alike; those that a careless form would confuse.
    fn word() -> impl Strategy<Value = String> {
        "[a %\n2\u{e4}]{0,3}"
    }

    fn digest() -> impl Strategy<Value = Sha256> {
        (0_u8..3).prop_map(|number| Sha256::compute(&[number]))
    }

    fn files() -> impl Strategy<Value = Vec<ResultFile>> {
        let file =
            (word(), any::<bool>(), digest(), 0_u64..3).prop_map(|(name, is_rpm, digest, size)| {
                let kind = if is_rpm { ResultKind::Rpm } else { ResultKind::Srpm };
                ResultFile { name, kind, digest, size }
            });
        proptest::collection::vec(file, 0..3)
    }

    fn owned() -> impl Strategy<Value = Owned> {
        let kind = prop_oneof![Just(TaskKind::Srpm), Just(TaskKind::Build), Just(TaskKind::Noarch)];
        let arch = prop_oneof![Just(Arch::X86_64), Just(Arch::Aarch64)];
        let words = [word(), word(), word()];
        let numbers = [0_i64..3, 0_i64..3, 0_i64..3];
        (words, numbers, kind, arch, digest(), files()).prop_map(
            |(words, numbers, kind, arch, input, files)| Owned {
                words,
                numbers,
                kind,
                arch,
                input,
                files,
            },
        )
    }

    fn acceptance() -> impl Strategy<Value = Acceptance> {
        let numbers = (any::<i64>(), any::<i64>(), any::<u64>());
        ([word(), word(), word()], numbers, digest(), digest()).prop_map(
            |([target, worker, nevra], (build, attempt, time), file, header)| Acceptance {
                target,
                build: BuildId(build),
                attempt: AttemptId(attempt),
                worker,
                nevra,
                file,
                header,
                time,
            },
        )
    }

    proptest! {
        #[test]
        fn what_differs_has_other_bytes(one in owned(), other in owned()) {
            prop_assert_eq!(one == other, one.bytes() == other.bytes());
            prop_assert_eq!(one.files == other.files, set_digest(&one.files) == set_digest(&other.files));
        }

        /// One thing differs, which two random ones seldom do.
        #[test]
        fn each_field_counts(one in owned(), other in owned()) {
            let changed = [
                Owned { words: other.words.clone(), ..one.clone() },
                Owned { numbers: other.numbers, ..one.clone() },
                Owned { kind: other.kind, ..one.clone() },
                Owned { arch: other.arch, ..one.clone() },
                Owned { input: other.input, ..one.clone() },
                Owned { files: other.files.clone(), ..one.clone() },
            ];
            for changed in changed {
                prop_assert_eq!(one == changed, one.bytes() == changed.bytes());
            }
        }

        #[test]
        fn an_acceptance_reads_back(one in acceptance()) {
            prop_assert_eq!(Acceptance::parse(&one.to_text()), Ok(one));
        }

        #[test]
        fn any_other_text_is_none(one in acceptance(), at in any::<prop::sample::Index>(), with in "[ %\na0-9]") {
            let mut text = one.to_text();
            let at = at.index(text.len());
            text.replace_range(at..=at, &with);
            let read = Acceptance::parse(&text);
            prop_assert!(read.is_err() || read.is_ok_and(|read| read.to_text() == text));
        }
    }

    #[test]
    fn the_forms_stay_as_they_are() {
        let file = ResultFile {
            name: "a b-1-1.noarch.rpm".into(),
            kind: ResultKind::Rpm,
            digest: Sha256::compute(b"x"),
            size: 7,
        };
        let statement = Statement {
            worker: "w1",
            target: "lab",
            build: BuildId(3),
            task: TaskId(4),
            attempt: AttemptId(5),
            kind: TaskKind::Repeat,
            package: "a",
            arch: Arch::X86_64,
            input: Sha256::compute(b"y"),
            files: &[file],
        };
        let (x, y) = (Sha256::compute(b"x"), Sha256::compute(b"y"));
        let expected = format!(
            "rpmfarm statement of a worker 1\nworker w1\ntarget lab\nbuild 3\ntask 4\nattempt 5\n\
             kind build\npackage a\narch x86_64\ninput {y}\nrpm {x} 7 a%20b-1-1.noarch.rpm\n"
        );
        assert_eq!(String::from_utf8(statement.to_bytes()).unwrap(), expected);
        let acceptance = Acceptance {
            target: "lab".into(),
            build: BuildId(3),
            attempt: AttemptId(5),
            worker: "w1".into(),
            nevra: "a-1:1-1.noarch".into(),
            file: x,
            header: y,
            time: 6,
        };
        let expected = format!(
            "rpmfarm acceptance of a package 1\ntarget lab\nbuild 3\nattempt 5\nworker w1\n\
             nevra a-1:1-1.noarch\nfile {x}\nheader {y}\ntime 6\n"
        );
        assert_eq!(acceptance.to_text(), expected);
        let error = Acceptance::parse(&expected.replace("time 6", "time x")).unwrap_err();
        assert_eq!(error.to_string(), "it is not an acceptance of a package: its time is `x`");
        assert!(Acceptance::parse(&expected.replace("time 6", "time +6")).is_err());
        assert!(Acceptance::parse(expected.trim_end()).is_err());
        assert!(Acceptance::parse(&format!("{expected}more\n")).is_err());
        assert!(Acceptance::parse(&String::from_utf8(statement.to_bytes()).unwrap()).is_err());
    }

    #[test]
    fn what_was_given_is_the_source_package_or_all_sources() {
        let file = |name: &str, executable| SourceFile {
            name: name.into(),
            digest: Sha256::compute(b"z"),
            size: 1,
            executable,
        };
        let given = |name: &str, executable| TaskInput::Sources {
            spec: file(name, executable),
            sources: vec![file("s", false)],
            plan: None,
            arches: Vec::new(),
        };
        let one = input_digest(&given("a.spec", false));
        assert_eq!(one, input_digest(&given("a.spec", false)));
        assert_ne!(one, input_digest(&given("b.spec", false)));
        assert_ne!(one, input_digest(&given("a.spec", true)));
        let srpm = TaskInput::Srpm {
            file: file("a.src.rpm", false),
            dynamic_requires: true,
            noarch: false,
        };
        assert_eq!(input_digest(&srpm), Sha256::compute(b"z"));
    }

    #[test]
    fn keys_are_hex() {
        let key: PublicKey = "ab".repeat(32).parse().unwrap();
        assert_eq!((key.0, key.to_string()), ([0xab; 32], "ab".repeat(32)));
        let json = serde_json::to_string(&key).unwrap();
        assert_eq!(serde_json::from_str::<PublicKey>(&json).unwrap(), key);
        let error = "ab".parse::<Signature>().unwrap_err().to_string();
        assert_eq!(error, "`ab` is not 64 bytes in hex digits");
    }
}
