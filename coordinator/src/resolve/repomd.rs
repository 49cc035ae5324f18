//! `repomd.xml`, which names the metadata files of a repository with their digests.
//!
//! Owns reading it, and which ones are refused. Source of the format: createrepo_c's writer of
//! `repomd.xml` and dnf's reader; attributes and elements that are not needed are ignored.

use std::str::FromStr as _;

use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};
use rpmfarm_core::digest::{Checksum, DigestError, DigestKind};
use rpmfarm_core::name::shown;

use super::href::{self, LocationError};

/// Why a `repomd.xml` is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RepomdError {
    /// It is not UTF-8, or not well-formed XML.
    #[error("{0}")]
    Malformed(String),
    /// It ends within an entry.
    #[error("it is truncated")]
    Truncated,
    /// Readers could disagree on its revision.
    #[error("it has two revisions")]
    TwoRevisions,
    /// It has no entry for the list of packages.
    #[error("it names no primary metadata")]
    NoPrimary,
    /// It has two entries of one kind.
    #[error("it names two files of the kind `{0}`")]
    TwoFiles(&'static str),
    /// The entry of a file is refused.
    #[error("{kind}: {reason}")]
    Entry {
        /// `primary`, `filelists` or `modules`.
        kind: &'static str,
        reason: EntryError,
    },
}

/// Why the entry of a metadata file is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// It has no location.
    #[error("no location")]
    NoLocation,
    /// Its location leads out of the repository or is malformed.
    #[error("location {0}")]
    Location(LocationError),
    /// It has no digest.
    #[error("no checksum")]
    NoChecksum,
    /// One of its digests is malformed.
    #[error("{}", shown(&.0.to_string()))]
    Checksum(DigestError),
    /// One of its digests is of a kind that is not accepted, or of another kind than it says.
    #[error("checksum of type `{}` is not accepted (sha256 and sha512 are)", shown(.0))]
    ChecksumKind(String),
}

/// The content of a `repomd.xml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repomd {
    /// Its revision, where it is a number: createrepo_c writes the time.
    pub revision: Option<u64>,
    /// The newest of its files' times, in seconds since 1970; 0 if none says.
    pub timestamp: u64,
    /// The list of packages.
    pub primary: MetadataFile,
    /// The list of files, if there is one.
    pub filelists: Option<MetadataFile>,
    /// The module streams, if there are any.
    pub modules: Option<MetadataFile>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetadataFile {
    /// `primary`, `filelists` or `modules`.
    pub kind: &'static str,
    /// Its location, relative to `base` or else to the repository; it stays below that.
    pub href: String,
    /// The base URL of the file, where it is not the repository's. Not checked.
    pub base: Option<String>,
    /// Digest of the file.
    pub checksum: Checksum,
    /// Size of the file, in bytes.
    pub size: Option<u64>,
    /// Digest of the decompressed file.
    pub open_checksum: Option<Checksum>,
    /// Size of the decompressed file, in bytes.
    pub open_size: Option<u64>,
}

/// One `<data>` element, as far as it has been read.
#[derive(Debug, Default)]
struct DataElement {
    kind: String,
    href: Option<String>,
    base: Option<String>,
    checksum: Option<(String, String)>,
    open_checksum: Option<(String, String)>,
    size: Option<u64>,
    open_size: Option<u64>,
    timestamp: u64,
}

impl Repomd {
    /// Reads a `repomd.xml`.
    ///
    /// # Errors
    /// The malformed, missing or refused part.
    pub fn parse(xml: &[u8]) -> Result<Self, RepomdError> {
        let (revision, all) = read(xml)?;
        let timestamp = all.iter().map(|data| data.timestamp).max().unwrap_or(0);
        let mut primary = None;
        let mut filelists = None;
        let mut modules = None;
        for data in all {
            // Other kinds are for other programs, or have the same data in another form (databases,
            // zchunk, `filelists-ext`).
            let (kind, place) = match data.kind.as_str() {
                "primary" => ("primary", &mut primary),
                "filelists" => ("filelists", &mut filelists),
                "modules" => ("modules", &mut modules),
                _ => continue,
            };
            let file = data.check(kind).map_err(|reason| RepomdError::Entry { kind, reason })?;
            if place.replace(file).is_some() {
                return Err(RepomdError::TwoFiles(kind));
            }
        }
        let primary = primary.ok_or(RepomdError::NoPrimary)?;
        Ok(Self { revision, timestamp, primary, filelists, modules })
    }

    /// The files that are needed.
    pub fn files(&self) -> impl Iterator<Item = &MetadataFile> {
        std::iter::once(&self.primary).chain(&self.filelists).chain(&self.modules)
    }
}

impl DataElement {
    fn check(self, kind: &'static str) -> Result<MetadataFile, EntryError> {
        let href = self.href.ok_or(EntryError::NoLocation)?;
        href::check(&href).map_err(EntryError::Location)?;
        let checksum = self.checksum.ok_or(EntryError::NoChecksum)?;
        Ok(MetadataFile {
            kind,
            href,
            base: self.base,
            checksum: checksum_of(checksum)?,
            size: self.size,
            open_checksum: self.open_checksum.map(checksum_of).transpose()?,
            open_size: self.open_size,
        })
    }
}

fn checksum_of((kind, hex): (String, String)) -> Result<Checksum, EntryError> {
    let checksum = Checksum::from_hex(&hex).map_err(EntryError::Checksum)?;
    match checksum.kind {
        DigestKind::Sha256 | DigestKind::Sha512 if kind == checksum.kind.as_str() => Ok(checksum),
        _ => Err(EntryError::ChecksumKind(kind)),
    }
}

/// The revision and all `<data>` elements.
fn read(xml: &[u8]) -> Result<(Option<u64>, Vec<DataElement>), RepomdError> {
    let xml = std::str::from_utf8(xml).map_err(malformed)?;
    let mut reader = Reader::from_str(xml);
    let mut page = Page::default();
    loop {
        match reader.read_event().map_err(malformed)? {
            Event::Start(start) => page.start(&start)?,
            Event::Empty(start) => open(&start, &mut page.data, &mut page.attribute)?,
            Event::Text(part) => page.text.push_str(&part),
            Event::End(end) => page.end(end.local_name().as_ref())?,
            Event::Eof => break,
            _ => {}
        }
    }
    if page.data.is_some() {
        return Err(RepomdError::Truncated);
    }
    Ok((page.revision.flatten(), page.all))
}

fn malformed(error: impl std::fmt::Display) -> RepomdError {
    RepomdError::Malformed(shown(&error.to_string()))
}

/// A `repomd.xml`, as far as it has been read.
#[derive(Debug, Default)]
struct Page {
    /// How many elements are open.
    depth: usize,
    /// The revision, once there was an element of that name; `None` within when it is not a number.
    revision: Option<Option<u64>>,
    /// All `<data>` elements that were closed.
    all: Vec<DataElement>,
    /// The `<data>` element that is open.
    data: Option<DataElement>,
    /// The innermost element that was opened last.
    element: String,
    /// The text since its opening tag.
    text: String,
    /// The `type` attribute of a checksum.
    attribute: Option<String>,
}

impl Page {
    fn start(&mut self, start: &BytesStart<'_>) -> Result<(), RepomdError> {
        open(start, &mut self.data, &mut self.attribute)?;
        start.local_name().as_ref().clone_into(&mut self.element);
        self.text.clear();
        self.depth += 1;
        Ok(())
    }

    /// Closes an element. The signer and dnf read a revision only directly below the root element,
    /// so that all readers see the same revision.
    fn end(&mut self, name: &str) -> Result<(), RepomdError> {
        self.depth = self.depth.saturating_sub(1);
        let is_innermost = name == self.element;
        match &mut self.data {
            _ if name == "data" => self.all.extend(self.data.take()),
            Some(data) if is_innermost => data.set(name, self.text.trim(), self.attribute.take()),
            None if is_innermost && name == "revision" && self.depth == 1 => self.set_revision()?,
            _ => {}
        }
        Ok(())
    }

    fn set_revision(&mut self) -> Result<(), RepomdError> {
        let revision = self.text.trim().parse().ok();
        match self.revision.replace(revision) {
            None => Ok(()),
            Some(_) => Err(RepomdError::TwoRevisions),
        }
    }
}

/// Opens an element; keeps the attribute that is needed when it closes.
fn open(
    start: &BytesStart<'_>,
    data: &mut Option<DataElement>,
    attribute: &mut Option<String>,
) -> Result<(), RepomdError> {
    let get = |name: &str| -> Result<Option<String>, RepomdError> {
        let found = start.try_get_attribute(name).map_err(malformed)?;
        found
            .map(|attribute| attribute.normalized_value(XmlVersion::Implicit1_0))
            .transpose()
            .map(|value| value.map(std::borrow::Cow::into_owned))
            .map_err(malformed)
    };
    match (start.local_name().as_ref(), data) {
        ("data", data) => {
            *data = Some(DataElement {
                kind: get("type")?.unwrap_or_default(),
                ..DataElement::default()
            });
        }
        ("location", Some(data)) => {
            data.href = get("href")?;
            data.base = get("xml:base")?;
        }
        ("checksum" | "open-checksum", Some(_)) => *attribute = get("type")?,
        _ => {}
    }
    Ok(())
}

impl DataElement {
    fn set(&mut self, element: &str, text: &str, kind: Option<String>) {
        let checksum = || Some((kind.unwrap_or_default(), text.to_owned()));
        match element {
            "checksum" => self.checksum = checksum(),
            "open-checksum" => self.open_checksum = checksum(),
            "size" => self.size = text.parse().ok(),
            "open-size" => self.open_size = text.parse().ok(),
            // Old tools write fractions of seconds.
            "timestamp" => {
                let seconds = text.split('.').next().unwrap_or_default();
                self.timestamp = u64::from_str(seconds).unwrap_or(0);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(href: &str, kind: &str, hex: &str) -> String {
        format!(
            r#"<?xml version="1.0"?><repomd xmlns="http://linux.duke.edu/metadata/repo" xmlns:rpm="x">
<revision>1700000000</revision>
<data type="other"><location href="../../x"/><timestamp>9</timestamp></data>
<data type="primary"><checksum type="{kind}">{hex}</checksum>
<open-checksum type="sha256">{open}</open-checksum><location href="{href}"/>
<timestamp>1700000001.25</timestamp><size>10</size><open-size>20</open-size></data></repomd>"#,
            open = "b".repeat(64),
        )
    }

    #[test]
    fn reads_what_createrepo_writes() {
        let repomd = Repomd::parse(page("repodata/p.xml.gz", "sha256", &"a".repeat(64)).as_bytes());
        let repomd = repomd.expect("a page");
        assert_eq!((repomd.revision, repomd.timestamp), (Some(1_700_000_000), 1_700_000_001));
        assert_eq!(repomd.primary.href, "repodata/p.xml.gz");
        assert_eq!(repomd.primary.checksum.hex, "a".repeat(64));
        assert_eq!((repomd.primary.size, repomd.primary.open_size), (Some(10), Some(20)));
        assert!(repomd.filelists.is_none());
    }

    #[test]
    fn a_revision_stands_below_the_root_alone() {
        let page = page("p", "sha256", &"a".repeat(64));
        let inner = "<tags><revision>1800000000</revision></tags></repomd>";
        let repomd = Repomd::parse(page.replace("</repomd>", inner).as_bytes()).expect("a page");
        assert_eq!(repomd.revision, Some(1_700_000_000));
    }

    #[test]
    fn refuses_what_it_should() {
        let sha256 = "a".repeat(64);
        for (xml, why) in [
            (page("../../etc/passwd", "sha256", &sha256), "leads out"),
            (page("/x", "sha256", &sha256), "absolute"),
            (page("http://evil/x", "sha256", &sha256), "absolute"),
            (page("x", "sha1", &"a".repeat(40)), "not accepted"),
            (page("x", "sha512", &sha256), "not accepted"),
            (page("x", "sha256", "zz"), "not a known digest"),
            (
                page("x", "sha256", &sha256)
                    .replace("</revision>", "</revision><revision>9</revision>"),
                "two revisions",
            ),
            ("<repomd/>".to_owned(), "no primary"),
            ("<repomd><data type='primary'>".to_owned(), "truncated"),
            ("<repomd><data></repomd>".to_owned(), ""),
        ] {
            let error = Repomd::parse(xml.as_bytes()).expect_err(&xml);
            assert!(error.to_string().contains(why), "{error}");
        }
    }
}
