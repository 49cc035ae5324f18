//! The cpio archive inside a payload, entry by entry, each matched to a file of the header. Must
//! not know what happens to the entries.
//!
//! Two forms: "newc" (magic 070701), and rpm's own for files over 4 GiB (magic 07070X), where an
//! entry is only the number of the file in the header. Content is padded to four bytes.

use std::io::{self, BufRead, BufReader, Read};

use rpmfarm_core::Sha256;

use crate::files::{FileEntry, FileKind, FileList};
use crate::payload::{Payload, damaged};
use crate::{Result, RpmError};

const STRIPPED: &[u8; 6] = b"07070X";
/// Without and with checksums, which rpm leaves at zero.
const NEWC: [&[u8; 6]; 2] = [b"070701", b"070702"];
/// Numbers of eight hex digits after the magic: inode, mode, owner, group, links, time, size, two
/// devices of two numbers each, the length of the name, a checksum.
const NEWC_FIELDS: usize = 13;
const NEWC_SIZE: usize = 6;
const NEWC_NAME_SIZE: usize = 11;
/// The longest path of Linux (`PATH_MAX`), with the dot that rpm puts before it.
const MAX_NAME: usize = 4096 + 2;
const TRAILER: &[u8] = b"TRAILER!!!";
const BUFFER: usize = 64 << 10;

/// A reader of one payload's archive. Between two entries, it reads the content of the first of
/// them.
pub(crate) struct Archive<'a, R: BufRead> {
    input: BufReader<Payload<R>>,
    files: &'a FileList,
    seen: Vec<bool>,
    left: u64,
    padding: u64,
}

/// One entry of the archive.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Member {
    /// Number of the file in the header.
    pub(crate) index: usize,
    /// Bytes of content that follow.
    pub(crate) size: u64,
}

impl<'a, R: BufRead> Archive<'a, R> {
    pub(crate) fn new(payload: Payload<R>, files: &'a FileList) -> Self {
        let seen = vec![false; files.entries.len()];
        let input = BufReader::with_capacity(BUFFER, payload);
        Self { input, files, seen, left: 0, padding: 0 }
    }

    /// Goes to the next entry; `None` at the end of the archive.
    pub(crate) fn next(&mut self) -> Result<Option<Member>> {
        self.skip()?;
        let mut magic = [0; 6];
        self.input.read_exact(&mut magic).map_err(damaged)?;
        let member = if &magic == STRIPPED { self.stripped()? } else { self.named(magic)? };
        let Some(member) = member else {
            return self.check_complete().map(|()| None);
        };
        let entry = &self.files.entries[member.index];
        if std::mem::replace(&mut self.seen[member.index], true) {
            return Err(RpmError::entry(&entry.path, "is twice in the archive"));
        }
        check_size(entry, member.size)?;
        self.left = member.size;
        self.padding = member.size.next_multiple_of(4) - member.size;
        Ok(Some(member))
    }

    /// Skips the rest of the current entry.
    pub(crate) fn skip(&mut self) -> Result<()> {
        let count = self.left + self.padding;
        let skipped = io::copy(&mut self.input.by_ref().take(count), &mut io::sink());
        if skipped.map_err(damaged)? < count {
            return Err(damaged(io::ErrorKind::UnexpectedEof.into()));
        }
        (self.left, self.padding) = (0, 0);
        Ok(())
    }

    /// Checks that nothing follows the archive. Returns the digest of everything decompressed, if
    /// the payload was told to compute one.
    pub(crate) fn finish(self) -> Result<Option<Sha256>> {
        let unread = self.input.buffer();
        if unread.iter().any(|byte| *byte != 0) {
            return Err(RpmError::Trailing { place: "the archive", extra: unread.len() as u64 });
        }
        self.input.into_inner().finish()
    }

    fn stripped(&mut self) -> Result<Option<Member>> {
        let mut number = [0; 10];
        self.input.read_exact(&mut number).map_err(damaged)?;
        let index = std::str::from_utf8(&number[..8])
            .ok()
            .and_then(|hex| usize::from_str_radix(hex, 16).ok())
            .filter(|index| *index < self.files.entries.len())
            .ok_or_else(|| {
                RpmError::Payload("an entry has a number that is not in the header".into())
            })?;
        let entry = &self.files.entries[index];
        let has_content = match entry.kind {
            FileKind::Regular => entry.hardlinks.is_none() || entry.last_link,
            FileKind::Symlink(_) => true,
            FileKind::Directory | FileKind::Special => false,
        };
        Ok(Some(Member { index, size: if has_content { entry.size } else { 0 } }))
    }

    fn named(&mut self, magic: [u8; 6]) -> Result<Option<Member>> {
        if !NEWC.contains(&&magic) {
            return Err(RpmError::Payload(
                "an entry does not begin as one of a cpio archive".into(),
            ));
        }
        let mut fields = [0; NEWC_FIELDS * 8];
        self.input.read_exact(&mut fields).map_err(damaged)?;
        let field = |number: usize| {
            let digits = std::str::from_utf8(&fields[number * 8..][..8]).ok();
            let value = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
            value.ok_or_else(|| RpmError::Payload("an entry has a number that is not hex".into()))
        };
        let (size, name_size) = (field(NEWC_SIZE)?, field(NEWC_NAME_SIZE)? as usize);
        if name_size == 0 || name_size > MAX_NAME {
            return Err(RpmError::Payload(format!("an entry has a name of {name_size} bytes")));
        }
        // The name with its terminator, and padding: magic, fields and name fill a multiple of
        // four.
        let head = magic.len() + fields.len();
        let mut name = vec![0; (head + name_size).next_multiple_of(4) - head];
        self.input.read_exact(&mut name).map_err(damaged)?;
        name.truncate(name_size);
        if name.pop() != Some(0) || name.contains(&0) {
            return Err(RpmError::entry(
                &name,
                "has a name that does not end where its header says",
            ));
        }
        if name == TRAILER {
            return Ok(None);
        }
        if name.split(|byte| *byte == b'/').any(|part| part == b"..") {
            return Err(RpmError::entry(&name, "leads out of the package with `..`"));
        }
        let index = self.files.by_name(&name);
        let index = index.ok_or_else(|| RpmError::entry(&name, "is not in the header"))?;
        Ok(Some(Member { index, size: u64::from(size) }))
    }

    fn check_complete(&self) -> Result<()> {
        let mut pairs = self.files.entries.iter().zip(&self.seen);
        match pairs.find(|(entry, seen)| !**seen && !entry.ghost) {
            Some((entry, _)) => {
                Err(RpmError::entry(&entry.path, "is in the header, not in the archive"))
            }
            None => Ok(()),
        }
    }
}

impl<R: BufRead> Read for Archive<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).map_or(buffer.len(), |left| left.min(buffer.len()));
        if most == 0 {
            return Ok(0);
        }
        let count = self.input.read(&mut buffer[..most])?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= count as u64;
        Ok(count)
    }
}

fn check_size(entry: &FileEntry, size: u64) -> Result<()> {
    let allowed = match entry.kind {
        FileKind::Regular => size == entry.size || (size == 0 && entry.hardlinks.is_some()),
        FileKind::Symlink(_) => size == entry.size,
        FileKind::Directory | FileKind::Special => size == 0,
    };
    if allowed {
        return Ok(());
    }
    let reason = format!("has {size} bytes in the archive, {} in the header", entry.size);
    Err(RpmError::entry(&entry.path, reason))
}
