//! Unpacking a package's files into a directory, as rpm would into a root, without running
//! anything of it. The directory is left half done when this fails.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use crate::archive::{Archive, Member};
use crate::files::{FileEntry, FileKind, FileList};
use crate::headers::Headers;
use crate::payload::Payload;
use crate::root::Root;
use crate::{Result, RpmError};

/// Whom the unpacked files belong to. The owners' names in a header mean nothing outside of the
/// root that is being made, so all files get one owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ownership {
    /// The user and group of the process that unpacks.
    Caller,
    /// This user and group: the ones that are root in the user namespace of the root.
    Fixed {
        /// User id on the host.
        uid: u32,
        /// Group id on the host.
        gid: u32,
    },
}

/// How much was unpacked, and what of it is not as the header says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnpackSummary {
    /// Entries made: files, directories, links.
    pub entries: u64,
    /// Bytes of content written.
    pub bytes: u64,
    /// Devices, pipes and sockets, which are not made; as they can be shown.
    pub skipped: Vec<String>,
}

/// Unpacks a package into a directory that is there. Existing files and links are replaced,
/// existing directories and links to directories are kept; no link in it leads out of it.
/// Digests are not checked: see [`crate::inspect`]. Several packages may be unpacked into one
/// directory at once; those that bring links for other packages' directories come before.
///
/// # Errors
/// When the package is malformed, holds other files than its header lists, is larger than the
/// header says, or the system refuses; a path out of the directory is refused.
pub fn unpack(package: &Path, dest: &Path, ownership: Ownership) -> Result<UnpackSummary> {
    let file = File::open(package).map_err(RpmError::io("opening the package"))?;
    let mut reader = BufReader::new(file);
    let headers = Headers::read(&mut reader)?;
    let files = FileList::from_headers(&headers)?;
    let payload = Payload::open(reader, &headers.metadata, files.archive_limit())?;
    let root = Root::open(dest, ownership).map_err(RpmError::io("opening the directory"))?;
    Unpacker { files: &files, root, first_links: HashMap::new(), done: UnpackSummary::default() }
        .run(Archive::new(payload, &files))
}

struct Unpacker<'a> {
    files: &'a FileList,
    root: Root,
    /// Of each set of hard links, the member that was made first.
    first_links: HashMap<usize, usize>,
    done: UnpackSummary,
}

impl Unpacker<'_> {
    fn run<R: BufRead>(mut self, mut archive: Archive<'_, R>) -> Result<UnpackSummary> {
        let files = self.files;
        let mut directories = Vec::new();
        while let Some(member) = archive.next()? {
            let entry = &files.entries[member.index];
            let failed = |error: io::Error| match error.kind() {
                io::ErrorKind::InvalidData => RpmError::Payload(error.to_string()),
                _ => RpmError::entry(&entry.path, error.to_string()),
            };
            match &entry.kind {
                FileKind::Regular => self.regular(&mut archive, member).map_err(failed)?,
                FileKind::Symlink(target) => self.root.symlink(entry, target).map_err(failed)?,
                FileKind::Directory if self.root.directory(&entry.path).map_err(failed)? => {
                    directories.push(entry);
                }
                FileKind::Directory => {}
                FileKind::Special => {
                    self.done.skipped.push(String::from_utf8_lossy(&entry.path).into_owned());
                    continue;
                }
            }
            self.done.entries += 1;
        }
        archive.finish()?;
        self.finish_directories(&directories)?;
        Ok(self.done)
    }

    fn regular<R: BufRead>(
        &mut self,
        archive: &mut Archive<'_, R>,
        member: Member,
    ) -> io::Result<()> {
        let entry = &self.files.entries[member.index];
        let first = entry.hardlinks.and_then(|set| self.first_links.get(&set).copied());
        let mut file = match first {
            None => {
                if let Some(set) = entry.hardlinks {
                    self.first_links.insert(set, member.index);
                }
                self.root.create(&entry.path)?
            }
            Some(first) => {
                let first = &self.files.entries[first].path;
                self.root.link(first, &entry.path)?;
                if member.size == 0 {
                    return Ok(());
                }
                self.root.reopen(first)?
            }
        };
        self.done.bytes += io::copy(archive, &mut file)?;
        self.root.finish(&file, entry)
    }

    /// Last of all, because creating a file in a directory changes its time, and the innermost
    /// first, because its permissions may shut the others out.
    fn finish_directories(&self, directories: &[&FileEntry]) -> Result<()> {
        for entry in directories.iter().rev() {
            let finished = self.root.finish_directory(entry);
            finished.map_err(|error| RpmError::entry(&entry.path, error.to_string()))?;
        }
        Ok(())
    }
}
