//! The URLs of a repository: its own, or the servers in its mirror list or metalink.
//!
//! Owns reading both formats, as librepo does, and how long they are cached. The caller checks what
//! a mirror sends; a metalink also has the permitted digests of `repomd.xml`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};
use rpmfarm_core::digest::{Checksum, DigestKind};
use rpmfarm_core::name::shown;
use rpmfarm_core::target::check_base;
use tokio::time::Instant;
use url::Url;

use super::download::Downloader;
use super::external::{ExternalRepo, RepositoryLocation};
use super::rejection::{MetadataErrorKind, MirrorListError, Result};

/// The largest list of mirrors, in bytes; most have some kilobytes.
const MAX_LIST: u64 = 4 << 20;
/// How many servers are asked for one file at most.
const MAX_MIRRORS: usize = 8;
/// How long a list is cached. A refresh requests it again.
const BELIEVED: Duration = Duration::from_secs(3600);

/// The servers of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MirrorSet {
    /// The URLs of the directories that hold `repodata/`, the best first; at least one.
    pub(super) urls: Vec<Url>,
    /// The digests that `repomd.xml` may have; empty when the list has none.
    pub(super) pages: Vec<Checksum>,
}

/// The mirrors of all repositories. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct MirrorLists {
    downloader: Downloader,
    known: Arc<Mutex<HashMap<String, (Instant, MirrorSet)>>>,
}

/// Reads a list of mirrors: their URLs, and the digests that `repomd.xml` may have.
type MirrorParser = fn(&str) -> Result<(Vec<String>, Vec<Checksum>), MirrorListError>;

impl MirrorLists {
    pub(super) fn new(downloader: Downloader) -> Self {
        Self { downloader, known: Arc::default() }
    }

    /// The servers of a repository; with `anew`, its list is requested even if one is cached.
    ///
    /// # Errors
    /// When the list cannot be fetched, or names no server that may be asked.
    pub(super) async fn fetch(&self, repo: &ExternalRepo, anew: bool) -> Result<MirrorSet> {
        let (url, read): (&Url, MirrorParser) = match &repo.place {
            RepositoryLocation::Urls(urls) => {
                return Ok(MirrorSet { urls: urls.clone(), pages: Vec::new() });
            }
            RepositoryLocation::Mirrorlist(url) => (url, |text| Ok((mirrorlist(text), Vec::new()))),
            RepositoryLocation::Metalink(url) => (url, metalink),
        };
        let name = repo.cache_name();
        if !anew
            && let Some((since, mirrors)) = self.lock().get(&name)
            && since.elapsed() < BELIEVED
        {
            return Ok(mirrors.clone());
        }
        let bytes = self.downloader.small(repo, url, MAX_LIST).await?;
        let failed = |reason| MetadataErrorKind::Mirrors { url: url.to_string(), reason };
        let text = String::from_utf8(bytes).map_err(|error| failed(malformed(error)))?;
        let (named, pages) = read(&text).map_err(failed)?;
        let mut urls = Vec::new();
        let mut why = MirrorListError::NoMirror;
        for url in named {
            match check_base(&url, &repo.private_hosts) {
                Ok(url) => urls.push(url),
                Err(error) => why = MirrorListError::Refused(error),
            }
        }
        urls.truncate(MAX_MIRRORS);
        if urls.is_empty() {
            return Err(failed(why));
        }
        let mirrors = MirrorSet { urls, pages };
        self.lock().insert(name, (Instant::now(), mirrors.clone()));
        Ok(mirrors)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, (Instant, MirrorSet)>> {
        self.known.lock()
    }
}

/// Reads a mirror list: a URL on each line; other lines are ignored.
#[must_use]
pub fn mirrorlist(text: &str) -> Vec<String> {
    let lines = text.lines().map(str::trim);
    lines.filter(|line| is_http(line)).map(str::to_owned).collect()
}

fn is_http(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://")
}

/// Reads a metalink of version 3, as mirror managers write it for `repomd.xml`: the mirrors by
/// their preference, and the digests of the current `repomd.xml` and of older ones that are still
/// valid.
///
/// # Errors
/// When the text is not a metalink, or names no digest that is accepted.
pub fn metalink(text: &str) -> Result<(Vec<String>, Vec<Checksum>), MirrorListError> {
    let mut reader = Reader::from_str(text);
    let mut link = Metalink::default();
    loop {
        match reader.read_event().map_err(malformed)? {
            Event::Start(start) => link.start(&start)?,
            Event::Text(part) => link.text.push_str(&part),
            Event::GeneralRef(reference) if &*reference == "amp" => link.text.push('&'),
            Event::End(end) => link.end(end.local_name().as_ref()),
            Event::Eof => break,
            _ => {}
        }
    }
    if !link.has_file {
        return Err(MirrorListError::NotMetalink(first_line(link.text.trim()).to_owned()));
    }
    if link.pages.is_empty() {
        return Err(MirrorListError::NoDigest);
    }
    let Metalink { mut urls, pages, .. } = link;
    urls.sort_by_key(|(preference, _)| std::cmp::Reverse(*preference));
    Ok((urls.into_iter().map(|(_, url)| url).collect(), pages))
}

/// A metalink, as far as it has been read.
#[derive(Debug, Default)]
struct Metalink {
    /// Whether it has an entry for `repomd.xml`.
    has_file: bool,
    /// Whether the parser is inside that entry.
    is_inside: bool,
    /// Mirrors with their preferences.
    urls: Vec<(u32, String)>,
    /// Accepted digests of `repomd.xml`.
    pages: Vec<Checksum>,
    /// The kind of the digest element that was opened last.
    kind: String,
    /// The preference of the mirror element that was opened last.
    preference: u32,
    /// The text since the last opening tag.
    text: String,
}

impl Metalink {
    fn start(&mut self, start: &BytesStart<'_>) -> Result<(), MirrorListError> {
        let get = |name: &str| -> Result<String, MirrorListError> {
            let found = start.try_get_attribute(name).map_err(malformed)?;
            let value = found
                .map(|attribute| attribute.normalized_value(XmlVersion::Implicit1_0))
                .transpose()
                .map_err(malformed)?;
            Ok(value.map(std::borrow::Cow::into_owned).unwrap_or_default())
        };
        match start.local_name().as_ref() {
            "file" => self.is_inside = get("name")? == "repomd.xml",
            "hash" => self.kind = get("type")?,
            "url" => self.preference = get("preference")?.parse().unwrap_or(0),
            _ => {}
        }
        self.has_file |= self.is_inside;
        self.text.clear();
        Ok(())
    }

    fn end(&mut self, name: &str) {
        match name {
            "file" => self.is_inside = false,
            "hash" if self.is_inside => self.pages.extend(self.digest()),
            "url" if self.is_inside => self.urls.extend(self.mirror()),
            _ => {}
        }
    }

    /// The digest that was read, if its kind is accepted and it is well-formed.
    fn digest(&self) -> Option<Checksum> {
        let checksum = Checksum::from_hex(self.text.trim()).ok()?;
        let is_accepted = [DigestKind::Sha256, DigestKind::Sha512].contains(&checksum.kind)
            && checksum.kind.as_str() == self.kind;
        is_accepted.then_some(checksum)
    }

    /// The mirror that was read, with its preference.
    fn mirror(&self) -> Option<(u32, String)> {
        const PAGE: &str = "repodata/repomd.xml";
        let base = self.text.trim().strip_suffix(PAGE).filter(|base| is_http(base))?;
        Some((self.preference, base.to_owned()))
    }
}

fn malformed(error: impl std::fmt::Display) -> MirrorListError {
    MirrorListError::Malformed(shown(&error.to_string()))
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_list_is_lines_of_urls() {
        let text = "# repo = x\n\nhttp://a/x/\n  https://b/x\nftp://c/x\nrsync://d/x\nnonsense\n";
        assert_eq!(mirrorlist(text), ["http://a/x/", "https://b/x"]);
    }

    fn page(hashes: &str) -> String {
        format!(
            r#"<?xml version="1.0"?><metalink version="3.0" xmlns="http://www.metalinker.org/" xmlns:mm0="x"><files>
<file name="other"><resources><url protocol="http" preference="100">http://evil/repodata/repomd.xml</url></resources></file>
<file name="repomd.xml"><mm0:timestamp>1</mm0:timestamp><size>3</size><verification>{hashes}</verification>
<mm0:alternates><mm0:alternate><verification><hash type="sha256">{}</hash></verification></mm0:alternate></mm0:alternates>
<resources maxconnections="1">
<url protocol="rsync" type="rsync" preference="100">rsync://a/x/repodata/repomd.xml</url>
<url protocol="http" type="http" preference="90">http://a/x/repodata/repomd.xml</url>
<url protocol="https" type="https" preference="95">https://b/x&amp;y/repodata/repomd.xml</url>
</resources></file></files></metalink>"#,
            "b".repeat(64)
        )
    }

    #[test]
    fn a_metalink_has_mirrors_and_digests() {
        let hashes = format!(
            "<hash type=\"md5\">{}</hash><hash type=\"sha256\">{}</hash>",
            "a".repeat(32),
            "a".repeat(64)
        );
        let (urls, pages) = metalink(&page(&hashes)).expect("a metalink");
        assert_eq!(urls, ["https://b/x&y/", "http://a/x/"]);
        let hex: Vec<_> = pages.iter().map(|page| page.hex[..2].to_owned()).collect();
        assert_eq!(hex, ["aa", "bb"]);
    }

    #[test]
    fn what_is_no_metalink_is_refused() {
        let weak = page("").replace("sha256", "sha1");
        for (text, why) in [
            (weak.as_str(), "no SHA-256"),
            ("not found", "not a metalink"),
            ("<metalink></metalink>", "not a metalink"),
            ("<metalink><files>", "not a metalink"),
        ] {
            let error = metalink(text).expect_err(text);
            assert!(error.to_string().contains(why), "{error}");
        }
    }
}
