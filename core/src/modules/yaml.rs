//! Reading `modules.yaml`: several YAML documents, of which those of streams and defaults are used.
//!
//! The format is that of libmodulemd (`yaml_specs` in its sources). Errors that dnf would report
//! and then ignore are refused here: without its document, the packages of a stream would be
//! treated as packages of no module.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;

use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de::DeserializeOwned};

use super::choice::is_word;
use super::{Defaults, Modules, Stream};
use crate::name::shown;

/// The largest text that is read. Enterprise Linux 8 has about 10 MB.
const MAX_BYTES: usize = 128 << 20;
/// The most versions of streams of one module: each conflicts with each other, so the cost grows
/// with the square.
const MAX_STREAMS_OF_ONE: usize = 1000;
/// How deep lists and maps may lie in each other. Known documents need less than ten.
const MAX_DEPTH: usize = 32;

/// Why the text is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModulesError {
    /// It is too long.
    #[error("it has more than {MAX_BYTES} bytes")]
    TooLong,
    /// One of its documents is malformed, or of an unknown kind.
    #[error("document {number}{}: {what}", in_parentheses(.of))]
    Document {
        /// Its number, from 1.
        number: usize,
        /// The module that it is about, as far as that is known.
        of: String,
        what: String,
    },
    /// A module has too many streams.
    #[error("module `{0}` has more than {MAX_STREAMS_OF_ONE} versions of streams")]
    TooMany(String),
}

fn in_parentheses(what: &str) -> String {
    if what.is_empty() { String::new() } else { format!(" ({what})") }
}

impl Modules {
    /// Reads the text of a `modules.yaml`.
    ///
    /// # Errors
    /// When a document is malformed or of an unknown kind, with its number and the error.
    pub fn parse(text: &str) -> Result<Self, ModulesError> {
        if text.len() > MAX_BYTES {
            return Err(ModulesError::TooLong);
        }
        let mut all = Self::default();
        let mut seen = SeenStreams::default();
        for (index, document) in documents(text).into_iter().enumerate() {
            let number = index + 1;
            let failed =
                |of: &str, what: String| ModulesError::Document { number, of: of.to_owned(), what };
            let head: DocumentHead = read(document).map_err(|what| failed("", what))?;
            let DocumentHead { document: kind, version } = head;
            match (kind.as_str(), version.as_str()) {
                ("modulemd" | "modulemd-stream", "1" | "2") => {
                    let form: DocumentForm<StreamForm> =
                        read(document).map_err(|what| failed(&kind, what))?;
                    let of = form.data.label();
                    let stream = form.data.check().map_err(|what| failed(&of, what))?;
                    if seen.note(&stream)? {
                        all.streams.push(stream);
                    }
                }
                ("modulemd-defaults", "1") => {
                    let form: DocumentForm<DefaultsForm> =
                        read(document).map_err(|what| failed(&kind, what))?;
                    all.defaults.push(form.data.check().map_err(|what| failed(&kind, what))?);
                }
                // Translations are for people, and documents for packagers say how streams are
                // built. dnf obeys obsoletes of modules only when `module_obsoletes` is set.
                ("modulemd-translations" | "modulemd-packager" | "modulemd-obsoletes", _) => {}
                (kind @ ("modulemd" | "modulemd-stream" | "modulemd-defaults"), version) => {
                    let what = format!("version `{}` of `{kind}` is not known", shown(version));
                    return Err(failed("", what));
                }
                (kind, _) => {
                    let what = format!("documents of the kind `{}` are not known", shown(kind));
                    return Err(failed("", what));
                }
            }
        }
        Ok(all)
    }
}

/// The streams that were read.
#[derive(Default)]
struct SeenStreams {
    /// Name, stream, version, context and architecture of each.
    known: HashSet<(String, String, u64, String, Option<String>)>,
    /// How many there are of each module.
    counts: BTreeMap<String, usize>,
}

impl SeenStreams {
    /// Records a stream, and returns whether it is used: of two with the same name the first is, as
    /// in dnf.
    fn note(&mut self, stream: &Stream) -> Result<bool, ModulesError> {
        let Stream { name, stream: of, version, context, arch, .. } = stream;
        let id = (name.clone(), of.clone(), *version, context.clone(), arch.clone());
        if !self.known.insert(id) {
            return Ok(false);
        }
        let count = self.counts.entry(name.clone()).or_default();
        *count += 1;
        if *count > MAX_STREAMS_OF_ONE {
            return Err(ModulesError::TooMany(name.clone()));
        }
        Ok(true)
    }
}

/// Cuts the text at the marks of documents. A line that begins with `---` is one wherever it is.
fn documents(text: &str) -> Vec<&str> {
    let is = |line: &str, mark: &str| {
        line.strip_prefix(mark)
            .is_some_and(|rest| rest.chars().next().is_none_or(|c| c.is_ascii_whitespace()))
    };
    let mut starts = vec![0];
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        if is(line, "---") && at > 0 {
            starts.push(at);
        } else if is(line, "...") {
            starts.push(at + line.len());
        }
        at += line.len();
    }
    starts.push(text.len());
    let empty = |part: &str| {
        part.lines().all(|line| {
            let line = line.trim();
            line.is_empty() || ["---", "..."].contains(&line) || line.starts_with(['#', '%'])
        })
    };
    starts.windows(2).map(|pair| &text[pair[0]..pair[1]]).filter(|part| !empty(part)).collect()
}

fn read<T: DeserializeOwned>(document: &str) -> Result<T, String> {
    let options = serde_saphyr::options! {
        with_snippet: false,
        budget: serde_saphyr::budget! {
            max_documents: 1,
            max_depth: MAX_DEPTH,
            max_aliases: 1000,
            max_anchors: 1000,
            max_events: 4_000_000,
            max_nodes: 2_000_000,
            max_total_scalar_bytes: MAX_BYTES,
        },
    };
    serde_saphyr::from_str_with_options(document, options)
        .map_err(|error| shown_line(&error.to_string()))
}

/// One line of an error, at most 300 characters.
fn shown_line(text: &str) -> String {
    let line: String = text.lines().next().unwrap_or_default().chars().take(300).collect();
    shown(&line)
}

/// What every document begins with.
#[derive(Deserialize)]
struct DocumentHead {
    document: String,
    version: String,
}

#[derive(Deserialize)]
struct DocumentForm<T> {
    data: T,
}

/// Scalars are read as text, as libmodulemd does: `stream: 1.10` is the stream `1.10`.
#[derive(Deserialize)]
struct StreamForm {
    name: Option<String>,
    stream: Option<String>,
    version: Option<String>,
    context: Option<String>,
    static_context: Option<String>,
    arch: Option<String>,
    #[serde(default)]
    dependencies: Dependencies,
    #[serde(default)]
    artifacts: Rpms,
    #[serde(default)]
    demodularized: Rpms,
}

#[derive(Default, Deserialize)]
struct Rpms {
    #[serde(default)]
    rpms: Vec<String>,
}

#[derive(Deserialize)]
struct DefaultsForm {
    module: String,
    stream: Option<String>,
    modified: Option<String>,
    #[serde(default)]
    profiles: BTreeMap<String, BTreeSet<String>>,
}

impl StreamForm {
    fn label(&self) -> String {
        let part = |text: &Option<String>| shown(text.as_deref().unwrap_or("?"));
        format!("modulemd {}:{}", part(&self.name), part(&self.stream))
    }

    fn check(self) -> Result<Stream, String> {
        let word = |key: &str, text: Option<String>| match text {
            Some(text) if is_word(&text) => Ok(text),
            Some(text) => Err(format!("`{}` is not a valid {key} of a module", shown(&text))),
            None => Err(format!("it has no `{key}`")),
        };
        let version = self.version.unwrap_or_else(|| "0".to_owned());
        let context = self.context.unwrap_or_default();
        if !context.is_empty() && !is_word(&context) {
            return Err(format!("`{}` is not a valid context of a module", shown(&context)));
        }
        if let Some(arch) = &self.arch
            && !is_word(arch)
        {
            return Err(format!("`{}` is not an architecture", shown(arch)));
        }
        for (module, streams) in &self.dependencies.0 {
            if let Some(bad) = std::iter::once(module).chain(streams).find(|text| !is_word(text)) {
                return Err(format!("`{}` in `requires` names no module or stream", shown(bad)));
            }
        }
        Ok(Stream {
            name: word("name", self.name)?,
            stream: word("stream", self.stream)?,
            version: version
                .parse()
                .map_err(|_| format!("`{}` is not a valid version of a module", shown(&version)))?,
            context,
            static_context: self.static_context.as_deref() == Some("true"),
            arch: self.arch,
            requires: self.dependencies.0,
            // An entry that is no NEVRA can hide no package; dnf ignores it as well.
            artifacts: self.artifacts.rpms.iter().filter_map(|rpm| rpm.parse().ok()).collect(),
            demodularized: self.demodularized.rpms,
        })
    }
}

impl DefaultsForm {
    fn check(self) -> Result<Defaults, String> {
        for text in [Some(&self.module), self.stream.as_ref()].into_iter().flatten() {
            if !is_word(text) {
                return Err(format!("`{}` names no module or stream", shown(text)));
            }
        }
        let modified = self.modified.unwrap_or_else(|| "0".to_owned());
        Ok(Defaults {
            module: self.module,
            stream: self.stream,
            modified: modified
                .parse()
                .map_err(|_| format!("`modified` is `{}`, not a number", shown(&modified)))?,
            profiles: self.profiles,
        })
    }
}

/// `dependencies` of version 2, a list of which each item has `requires: {MODULE: [STREAM, …]}`;
/// and of version 1, one map with `requires: {MODULE: STREAM}`.
#[derive(Default)]
struct Dependencies(Vec<(String, Vec<String>)>);

#[derive(Deserialize)]
struct ItemOfTwo {
    #[serde(default)]
    requires: BTreeMap<String, Vec<String>>,
}

impl<'de> Deserialize<'de> for Dependencies {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct DependenciesVisitor;

        impl<'de> Visitor<'de> for DependenciesVisitor {
            type Value = Dependencies;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("dependencies of a module")
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Dependencies::default())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
                let mut all = Vec::new();
                while let Some(item) = items.next_element::<ItemOfTwo>()? {
                    all.extend(item.requires);
                }
                Ok(Dependencies(all))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut all = Vec::new();
                while let Some(key) = map.next_key::<String>()? {
                    if key == "requires" {
                        let requires: BTreeMap<String, String> = map.next_value()?;
                        all.extend(requires.into_iter().map(|(name, stream)| (name, vec![stream])));
                    } else {
                        map.next_value::<serde::de::IgnoredAny>()?;
                    }
                }
                Ok(Dependencies(all))
            }
        }

        deserializer.deserialize_any(DependenciesVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAMS: &str = r#"---
document: modulemd
version: 2
data:
  name: nodejs
  stream: 1.10
  version: 8030020210426100849
  context: 9f9e2e7e
  static_context: true
  arch: x86_64
  summary: >-
    JavaScript
  description: |
    ---- not a mark of a document
  license: {module: [MIT]}
  xmd: {a: [1, {b: c}]}
  dependencies:
  - buildrequires: {platform: [el8]}
    requires:
      platform: [el8]
      perl: []
      other: [-1, "-2"]
  artifacts:
    rpms:
    - nodejs-1:10.24.0-1.module_el8.3.0+717+fa496f1d.x86_64
    - not-a-package
  demodularized:
    rpms: [npm]
...
---
# Old metadata.
document: modulemd
version: 1
data:
  name: old
  stream: f27
  version: 20170101
  dependencies:
    buildrequires: {platform: f27}
    requires: {platform: f27}
---
data: {module: nodejs, stream: "10", modified: 202001010000, profiles: {"10": [common]}}
document: modulemd-defaults
version: 1
---
document: modulemd-obsoletes
version: 1
data: {module: nodejs, stream: "10", modified: 2020-01-01T00:00Z, message: x}
"#;

    #[test]
    fn reads_streams_and_defaults() {
        let modules = Modules::parse(STREAMS).expect("is well formed");
        let [node, old] = &modules.streams[..] else { panic!("{modules:?}") };
        assert_eq!(node.name_stream(), "nodejs:1.10");
        assert_eq!((node.version, node.static_context), (8_030_020_210_426_100_849, true));
        assert_eq!(node.arch.as_deref(), Some("x86_64"));
        let requires: BTreeMap<_, _> = node.requires.iter().cloned().collect();
        assert_eq!(requires["platform"], ["el8"]);
        assert_eq!(requires["perl"], [""; 0]);
        assert_eq!(requires["other"], ["-1", "-2"]);
        let [artifact] = &node.artifacts[..] else { panic!("{node:?}") };
        assert_eq!((artifact.name.as_str(), artifact.evr.epoch), ("nodejs", 1));
        assert_eq!(node.demodularized, ["npm"]);
        assert_eq!(old.requires, [("platform".to_owned(), vec!["f27".to_owned()])]);
        let [defaults] = &modules.defaults[..] else { panic!("{modules:?}") };
        assert_eq!(defaults.stream.as_deref(), Some("10"));
        assert_eq!(defaults.modified, 202_001_010_000);
    }

    #[test]
    fn refuses_what_would_be_lost() {
        let stream = |data: &str| format!("document: modulemd\nversion: 2\ndata: {data}\n");
        for (text, why) in [
            (stream("{name: a, stream: '1 or 2'}"), "is not a valid stream of a module"),
            (stream("{stream: '1'}"), "has no `name`"),
            (stream("{name: a, stream: x, version: new}"), "`new` is not a valid version"),
            (
                stream("{name: a, stream: x, dependencies: [{requires: {'b)': []}}]}"),
                "names no module",
            ),
            (stream("{name: a, stream: x, artifacts: 7}"), "document 1"),
            (stream("["), "document 1"),
            ("document: modulemd\nversion: 4\ndata: {}\n".into(), "version `4` of `modulemd`"),
            ("document: modulemd-news\nversion: 1\ndata: {}\n".into(), "kind `modulemd-news`"),
            ("- just\n- a list\n".into(), "document 1"),
            ("document: modulemd\n".into(), "document 1"),
        ] {
            let error = Modules::parse(&text).expect_err(&text).to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
        assert_eq!(Modules::parse(""), Ok(Modules::default()));
        assert_eq!(Modules::parse("---\n...\n# nothing\n"), Ok(Modules::default()));
    }

    #[test]
    fn deep_and_growing_documents_end() {
        let deep =
            format!("document: x\nversion: 1\ndata: {}{}\n", "[".repeat(2000), "]".repeat(2000));
        assert!(Modules::parse(&deep).is_err());
        let mut bomb = "document: modulemd\nversion: 2\nx0: &x0 [a, a]\n".to_owned();
        for level in 1..40 {
            let below = level - 1;
            bomb.push_str(&format!("x{level}: &x{level} [*x{below}, *x{below}]\n"));
        }
        bomb.push_str("data: {name: a, stream: b, xmd: *x39}\n");
        let started = std::time::Instant::now();
        let _ = Modules::parse(&bomb);
        assert!(started.elapsed().as_secs() < 10);
        let many: String = (0..=MAX_STREAMS_OF_ONE)
            .map(|version| {
                format!("---\ndocument: modulemd\nversion: 2\ndata: {{name: a, stream: b, version: {version}}}\n")
            })
            .collect();
        assert_eq!(Modules::parse(&many), Err(ModulesError::TooMany("a".into())));
    }
}
