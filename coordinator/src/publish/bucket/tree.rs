//! What a client reads of a generation on disk: its repositories, and the files that they name.

use std::borrow::Cow;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};
use rpmfarm_core::Sha256;
use rpmfarm_repodata::Compression;

use super::super::error::{Result, io_at};
use crate::publish::disk;

/// The files of a repository that are replaced.
const PAGE: &str = "repomd.xml";
const SIGNATURE: &str = "repomd.xml.asc";
const LOGGED: &str = "signer-log.json";

/// How deep repositories lie in a generation: `ARCH/KIND`, and one folder above for a target with
/// several.
const DEPTH: usize = 4;

/// A repository of a generation.
#[derive(Debug)]
pub(super) struct Repository {
    /// Its path in the generation, `x86_64/os`.
    pub(super) path: String,
    dir: PathBuf,
}

/// A file for the bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NamedFile {
    /// Its path in the repository.
    pub(super) name: String,
    pub(super) file: PathBuf,
    /// In bytes.
    pub(super) size: u64,
}

/// The repositories of a generation, by path.
///
/// # Errors
/// When the disk fails.
pub(super) fn repositories(generation: &Path) -> Result<Vec<Repository>> {
    let mut found = Vec::new();
    search(generation, "", DEPTH, &mut found)?;
    found.sort_by(|one: &Repository, other| one.path.cmp(&other.path));
    Ok(found)
}

fn search(dir: &Path, path: &str, depth: usize, found: &mut Vec<Repository>) -> Result<()> {
    if dir.join("repodata").join(PAGE).is_file() {
        found.push(Repository { path: path.to_owned(), dir: dir.to_owned() });
        return Ok(());
    }
    for name in disk::names(dir)? {
        let below = dir.join(&name);
        // Links lead to the pool, where no repository is.
        if depth > 0 && fs::symlink_metadata(&below).is_ok_and(|metadata| metadata.is_dir()) {
            let path = if path.is_empty() { name } else { format!("{path}/{name}") };
            search(&below, &path, depth - 1, found)?;
        }
    }
    Ok(())
}

impl Repository {
    /// The page and its signature.
    pub(super) fn pages(&self) -> Result<(String, String)> {
        let read = |name: &str| {
            let path = self.dir.join("repodata").join(name);
            fs::read_to_string(&path).map_err(io_at(&path))
        };
        Ok((read(PAGE)?, read(SIGNATURE)?))
    }

    /// The position of the signature in the signer's log, if it is known.
    pub(super) fn logged(&self) -> Option<String> {
        fs::read_to_string(self.dir.join("repodata").join(LOGGED)).ok()
    }

    /// The paths of page, signature and position in the repository.
    pub(super) fn page_names() -> [String; 3] {
        [PAGE, SIGNATURE, LOGGED].map(|name| format!("repodata/{name}"))
    }

    /// The documents that are named by their content, also those of earlier generations that stay
    /// readable.
    pub(super) fn documents(&self) -> Result<Vec<NamedFile>> {
        let dir = self.dir.join("repodata");
        let mut files = Vec::new();
        for name in disk::names(&dir)? {
            if name.split('-').next().is_some_and(|digest| digest.parse::<Sha256>().is_ok()) {
                files.push(named(&dir, "repodata/", &name)?);
            }
        }
        files.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(files)
    }

    /// The packages, as the document that the page names lists them.
    pub(super) fn packages(&self) -> Result<Vec<NamedFile>> {
        let page = self.dir.join("repodata").join(PAGE);
        let mut primary = None;
        let text = File::open(&page).map_err(io_at(&page))?;
        each_location(BufReader::new(text), |of, href| {
            if of == "primary" {
                primary = Some(href.to_owned());
            }
        })
        .map_err(io_at(&page))?;
        let Some(primary) = primary else {
            return Err(io_at(&page)(io::Error::other("it names no list of packages")));
        };
        let list = self.dir.join(&primary);
        let compression =
            if primary.ends_with(".zst") { Compression::Zstd } else { Compression::Gzip };
        let open = File::open(&list).and_then(|file| compression.open(BufReader::new(file)));
        let mut names = Vec::new();
        each_location(BufReader::new(open.map_err(io_at(&list))?), |_, href| {
            names.push(href.to_owned());
        })
        .map_err(io_at(&list))?;
        names.iter().map(|name| named(&self.dir, "", name)).collect()
    }
}

/// A file that is there, below `dir`.
fn named(dir: &Path, before: &str, name: &str) -> Result<NamedFile> {
    let file = dir.join(name);
    let is_plain = name.split('/').all(|part| !["", ".", ".."].contains(&part));
    if !is_plain {
        return Err(io_at(&file)(io::Error::other("it lies outside of its repository")));
    }
    let size = fs::metadata(&file).map_err(io_at(&file))?.len();
    Ok(NamedFile { name: format!("{before}{name}"), file, size })
}

/// The elements of `repomd.xml` and of `primary.xml` that say of what type a location is.
const DATA: &str = "data";
const PACKAGE: &str = "package";

/// Calls `take` for each `<location href="…">`, with the type of the `<data>` or `<package>` around
/// it.
fn each_location(text: impl BufRead, mut take: impl FnMut(&str, &str)) -> io::Result<()> {
    let mut reader = Reader::from_reader(text);
    let (mut buffer, mut of) = (Vec::new(), String::new());
    loop {
        match reader.read_event_into(&mut buffer).map_err(io::Error::other)? {
            Event::Start(tag) | Event::Empty(tag) => match tag.local_name().as_ref() {
                DATA | PACKAGE => of = attribute(&tag, "type")?,
                "location" => take(&of, &attribute(&tag, "href")?),
                _ => {}
            },
            Event::Eof => return Ok(()),
            _ => {}
        }
        buffer.clear();
    }
}

/// The value of an attribute; empty when the element does not have it.
fn attribute(tag: &BytesStart<'_>, name: &str) -> io::Result<String> {
    let found = tag.try_get_attribute(name).map_err(io::Error::other)?;
    let value = found.map(|attribute| attribute.normalized_value(XmlVersion::Implicit1_0));
    let value = value.transpose().map_err(io::Error::other)?;
    Ok(value.map(Cow::into_owned).unwrap_or_default())
}
