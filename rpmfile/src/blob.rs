//! The frame of one header (lib/header.c of rpm calls it a blob): its sizes, and that every entry
//! lies inside it.
//!
//! Checked before the parser of the `rpm` crate reads it, because that one trusts counts and
//! offsets. Must not know the meaning of any tag except the region. Format: 8 bytes of magic, entry
//! count, data size, entries of 16 bytes (tag, type, offset, count), data; all big-endian.

use std::collections::HashSet;

use crate::{Result, RpmError};

/// Bytes of the intro: magic, version, reserved, two counts.
pub(crate) const INTRO: usize = 16;
/// Bytes of one entry of the index.
pub(crate) const ENTRY: usize = 16;
const MAGIC: [u8; 8] = [0x8e, 0xad, 0xe8, 0x01, 0, 0, 0, 0];
/// rpm's own limit (`HEADER_TAGS_MAX`).
const MAX_ENTRIES: u32 = 0xffff;
/// Strings in lists of one header. A limit of the farm's own, since each costs memory: a package
/// with a million files has about seven million.
const MAX_TEXTS: u64 = 16_000_000;
/// `RPMTAG_HEADERIMMUTABLE`: what a header's digest and signature cover.
const REGION: u32 = 63;
const BIN: u32 = 7;

/// The kind of header.
#[derive(Clone, Copy)]
pub(crate) struct HeaderKind {
    /// Its name in messages.
    pub(crate) place: &'static str,
    /// Largest size of entries and data together, in bytes.
    pub(crate) limit: u64,
}

/// The number of bytes that follow the intro, according to the intro.
pub(crate) fn body_len(intro: &[u8; INTRO], kind: HeaderKind) -> Result<usize> {
    let malformed = |reason: String| RpmError::Malformed { place: kind.place, reason };
    if intro[..8] != MAGIC {
        return Err(malformed("no header magic".into()));
    }
    let (entries, data) = (word(intro, 8), word(intro, 12));
    if entries > MAX_ENTRIES {
        return Err(malformed(format!("{entries} entries, more than {MAX_ENTRIES}")));
    }
    let size = u64::from(entries) * ENTRY as u64 + u64::from(data);
    if size > kind.limit {
        return Err(RpmError::TooLarge { place: kind.place, size, limit: kind.limit });
    }
    usize::try_from(size).map_err(|error| malformed(error.to_string()))
}

/// Checks that every entry of a whole blob lies within its data and overlaps no other.
pub(crate) fn check_entries(blob: &[u8], kind: HeaderKind) -> Result<()> {
    let (index, data) = split(blob);
    let mut end = 0;
    let mut texts = 0_u64;
    for (number, entry) in index.chunks_exact(ENTRY).enumerate() {
        let malformed = |reason: &str| RpmError::Malformed {
            place: kind.place,
            reason: format!("entry {number} (tag {}): {reason}", word(entry, 0)),
        };
        let offset = word(entry, 8) as usize;
        let content = data.get(offset..).ok_or_else(|| malformed("offset beyond the data"))?;
        if matches!(word(entry, 4), 8 | 9) {
            texts += u64::from(word(entry, 12));
        }
        if texts > MAX_TEXTS {
            return Err(malformed("with it there are more strings than any package has"));
        }
        let len = content_len(word(entry, 4), word(entry, 12) as usize, content)
            .ok_or_else(|| malformed("content of an unknown type, or beyond the data"))?;
        // The region tag comes first and points to the last of the data.
        if number == 0 && offset + len == data.len() {
            continue;
        }
        if offset < end {
            return Err(malformed("overlaps the one before"));
        }
        end = offset + len;
    }
    Ok(())
}

/// Checks that the immutable region is the whole header: no digest and no signature would cover
/// anything outside of it.
pub(crate) fn check_region(blob: &[u8], kind: HeaderKind) -> Result<()> {
    let (index, data) = split(blob);
    let whole = || -> Option<bool> {
        let entry = index.get(..ENTRY)?;
        let offset = word(entry, 8) as usize;
        let trailer = data.get(offset..)?;
        let covers = u32::try_from(index.len()).ok()?.wrapping_neg();
        Some(
            word(entry, 0) == REGION
                && word(entry, 4) == BIN
                && word(entry, 12) as usize == ENTRY
                && trailer.len() == ENTRY
                && word(trailer, 0) == REGION
                && word(trailer, 4) == BIN
                && word(trailer, 8) == covers
                && word(trailer, 12) as usize == ENTRY,
        )
    };
    if whole() == Some(true) {
        return Ok(());
    }
    let reason = "its immutable region is not the whole header".to_owned();
    Err(RpmError::Malformed { place: kind.place, reason })
}

/// Checks that no tag occurs twice. rpm finds a tag by binary search in the sorted index, so which
/// of two it finds depends on all the others: this crate would check one, and rpm would read the
/// other.
pub(crate) fn check_once(blob: &[u8], kind: HeaderKind) -> Result<()> {
    let (index, _) = split(blob);
    let mut seen = HashSet::new();
    let mut tags = index.chunks_exact(ENTRY).map(|entry| word(entry, 0));
    match tags.find(|tag| !seen.insert(*tag)) {
        None => Ok(()),
        Some(tag) => {
            let reason = format!("tag {tag} occurs twice");
            Err(RpmError::Malformed { place: kind.place, reason })
        }
    }
}

/// The strings of a tag in a blob whose frame was checked; empty when it has no such tag, or one of
/// another type.
pub(crate) fn texts(blob: &[u8], tag: u32) -> Vec<&[u8]> {
    match content(blob, tag) {
        Some((6 | 8 | 9, count, content)) => {
            content.split(|byte| *byte == 0).take(count as usize).collect()
        }
        _ => Vec::new(),
    }
}

/// The numbers of 32 bits of a tag, in the same way.
pub(crate) fn words(blob: &[u8], tag: u32) -> Vec<u32> {
    match content(blob, tag) {
        Some((4, _, content)) => content.chunks_exact(4).map(|bytes| word(bytes, 0)).collect(),
        _ => Vec::new(),
    }
}

/// Type, count and content of a tag's first entry.
fn content(blob: &[u8], tag: u32) -> Option<(u32, u32, &[u8])> {
    let (index, data) = split(blob);
    let entry = index.chunks_exact(ENTRY).find(|entry| word(entry, 0) == tag)?;
    let (kind, count) = (word(entry, 4), word(entry, 12));
    let content = data.get(word(entry, 8) as usize..)?;
    Some((kind, count, content.get(..content_len(kind, count as usize, content)?)?))
}

/// Index and data of a blob whose length is what its intro claims.
pub(crate) fn split(blob: &[u8]) -> (&[u8], &[u8]) {
    blob[INTRO..].split_at(word(blob, 8) as usize * ENTRY)
}

/// The length of `count` items of a type at the start of `content`, when all of them are there.
pub(crate) fn content_len(kind: u32, count: usize, content: &[u8]) -> Option<usize> {
    let fixed = |size: usize| count.checked_mul(size).filter(|len| *len <= content.len());
    match kind {
        0 => Some(0),
        1 | 2 | BIN => fixed(1),
        3 => fixed(2),
        4 => fixed(4),
        5 => fixed(8),
        6 if count != 1 => None,
        6 | 8 | 9 => strings_len(count, content),
        _ => None,
    }
}

fn strings_len(count: usize, content: &[u8]) -> Option<usize> {
    let mut len = 0;
    for _ in 0..count {
        len += content[len..].iter().position(|byte| *byte == 0)? + 1;
    }
    Some(len)
}

pub(crate) fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
