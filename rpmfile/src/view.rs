//! A main header as text that every reader can take: its strings in UTF-8.
//!
//! rpm itself knows bytes only, and packages have names, summaries and changelogs in Latin-1. What
//! is not UTF-8 is read as Latin-1, string by string, as createrepo_c does it (`cr_latin1_to_utf8`,
//! which leaves out 0x80 to 0xBF: here they stay, so that two names do not become one); a path is
//! one string for this, although a header keeps its directory apart. Must not be used where the
//! bytes count: digests and signatures, and the names of files that are made.

use std::borrow::Cow;

use crate::blob::{self, ENTRY, INTRO, content_len, split, word};

const DIRINDEXES: u32 = 1116;
const BASENAMES: u32 = 1117;
const DIRNAMES: u32 = 1118;
/// The blob with all strings in UTF-8; the same one when they are. The blob's frame must have been
/// checked.
pub(crate) fn utf8(blob: &[u8]) -> Cow<'_, [u8]> {
    let (index, data) = split(blob);
    let entries: Vec<Entry<'_>> =
        index.chunks_exact(ENTRY).filter_map(|entry| Entry::parse(entry, data)).collect();
    if entries.iter().all(|entry| entry.texts().all(|text| std::str::from_utf8(text).is_ok())) {
        return Cow::Borrowed(blob);
    }
    let paths = Paths::from_entries(&entries);
    let mut made = RebuiltHeader::default();
    for (number, entry) in entries.iter().enumerate() {
        match (entry.tag, &paths) {
            (_, _) if number == 0 => made.region = Some(entry),
            (BASENAMES, Some(paths)) => made.texts(entry, paths.names.iter().cloned()),
            (DIRNAMES, Some(paths)) => made.texts(entry, paths.directories.iter().cloned()),
            (DIRINDEXES, Some(paths)) => {
                let words = paths.indexes.iter().flat_map(|word| word.to_be_bytes());
                made.raw(entry, &words.collect::<Vec<u8>>());
            }
            _ if entry.is_text() => {
                made.texts(entry, entry.texts().map(|text| read(text).into_owned()));
            }
            _ => made.raw(entry, entry.content),
        }
    }
    Cow::Owned(made.finish(blob))
}

/// A string of a header, converted to UTF-8.
fn read(text: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(text) {
        Ok(text) => Cow::Borrowed(text),
        // The first 256 characters of Unicode are Latin-1.
        Err(_) => Cow::Owned(text.iter().map(|byte| char::from(*byte)).collect()),
    }
}

/// One entry of a header with its content.
struct Entry<'a> {
    tag: u32,
    kind: u32,
    count: u32,
    content: &'a [u8],
}

impl<'a> Entry<'a> {
    fn parse(entry: &[u8], data: &'a [u8]) -> Option<Self> {
        let (tag, kind, count) = (word(entry, 0), word(entry, 4), word(entry, 12));
        let content = data.get(word(entry, 8) as usize..)?;
        let content = content.get(..content_len(kind, count as usize, content)?)?;
        Some(Self { tag, kind, count, content })
    }

    fn is_text(&self) -> bool {
        matches!(self.kind, 6 | 8 | 9)
    }

    fn texts(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let count = if self.is_text() { self.count as usize } else { 0 };
        self.content.split(|byte| *byte == 0).take(count)
    }
}

/// The file tags, with each path converted to UTF-8 as a whole.
struct Paths {
    names: Vec<String>,
    directories: Vec<String>,
    indexes: Vec<u32>,
}

impl Paths {
    /// `None` when a tag is missing or they contradict each other: the reader of the tags reports
    /// that.
    fn from_entries(entries: &[Entry<'_>]) -> Option<Self> {
        let find = |tag| entries.iter().find(|entry| entry.tag == tag);
        let names: Vec<&[u8]> = find(BASENAMES)?.texts().collect();
        let directories: Vec<&[u8]> = find(DIRNAMES)?.texts().collect();
        let indexes = find(DIRINDEXES).filter(|entry| entry.kind == 4)?;
        let mut indexes: Vec<u32> =
            indexes.content.chunks_exact(4).map(|bytes| word(bytes, 0)).collect();
        if indexes.len() != names.len() {
            return None;
        }
        let mut read_directories: Vec<String> =
            directories.iter().map(|text| read(text).into_owned()).collect();
        // Directories in ASCII, or not in UTF-8, need one conversion; other directories have a
        // second one, for names in them that are not UTF-8.
        let mut again = std::collections::HashMap::<u32, u32>::new();
        for (name, index) in names.iter().zip(&mut indexes) {
            let Some(directory) = directories.get(*index as usize) else { continue };
            if std::str::from_utf8(name).is_ok()
                || directory.is_ascii()
                || std::str::from_utf8(directory).is_err()
            {
                continue;
            }
            let next = u32::try_from(read_directories.len()).ok()?;
            *index = *again.entry(*index).or_insert_with(|| {
                read_directories.push(directory.iter().map(|byte| char::from(*byte)).collect());
                next
            });
        }
        let directory_is_latin = |index: &u32| {
            directories.get(*index as usize).is_some_and(|text| std::str::from_utf8(text).is_err())
        };
        let names = names.iter().zip(&indexes).map(|(name, index)| {
            if directory_is_latin(index) {
                name.iter().map(|byte| char::from(*byte)).collect()
            } else {
                read(name).into_owned()
            }
        });
        Some(Self { names: names.collect(), directories: read_directories, indexes })
    }
}

/// A blob under construction.
#[derive(Default)]
struct RebuiltHeader<'a> {
    region: Option<&'a Entry<'a>>,
    index: Vec<u8>,
    data: Vec<u8>,
}

impl RebuiltHeader<'_> {
    fn texts(&mut self, entry: &Entry<'_>, texts: impl Iterator<Item = String>) {
        let start = self.data.len();
        let mut count = 0;
        for text in texts {
            self.data.extend_from_slice(text.as_bytes());
            self.data.push(0);
            count += 1;
        }
        self.entry(entry.tag, entry.kind, start, count);
    }

    fn raw(&mut self, entry: &Entry<'_>, content: &[u8]) {
        let alignment = match entry.kind {
            3 => 2,
            4 => 4,
            5 => 8,
            _ => 1,
        };
        self.data.resize(self.data.len().next_multiple_of(alignment), 0);
        let start = self.data.len();
        self.data.extend_from_slice(content);
        self.entry(entry.tag, entry.kind, start, entry.count);
    }

    fn entry(&mut self, tag: u32, kind: u32, offset: usize, count: u32) {
        let offset = u32::try_from(offset).unwrap_or(u32::MAX);
        for word in [tag, kind, offset, count] {
            self.index.extend_from_slice(&word.to_be_bytes());
        }
    }

    /// The region's entry comes first, and its content last.
    fn finish(mut self, blob: &[u8]) -> Vec<u8> {
        let rest = std::mem::take(&mut self.index);
        if let Some(region) = self.region {
            self.raw(region, region.content);
        }
        self.index.extend_from_slice(&rest);
        let mut made = blob[..8].to_vec();
        let count = (self.index.len() / ENTRY) as u32;
        made.extend_from_slice(&count.to_be_bytes());
        made.extend_from_slice(&u32::try_from(self.data.len()).unwrap_or(u32::MAX).to_be_bytes());
        debug_assert_eq!(made.len(), INTRO);
        made.extend_from_slice(&self.index);
        made.extend_from_slice(&self.data);
        debug_assert!(blob::check_entries(&made, crate::headers::VIEW).is_ok());
        made
    }
}
