//! Creates files below one directory, whatever symbolic links are in it: the kernel resolves every
//! path as if that directory were `/` (openat2, `RESOLVE_IN_ROOT`).
//!
//! A link that another package made (`/bin` to `usr/bin`) is followed, and none leads out.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{self, AtFlags, CWD, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use crate::files::FileEntry;
use crate::unpack::Ownership;

/// The most links that are followed to create a missing target directory.
const MAX_LINKS: u32 = 8;
const RESOLVE: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);

/// A directory that is the root of everything created in it.
pub(crate) struct Root {
    dir: OwnedFd,
    ownership: Ownership,
    /// The directory of the last entry: entries are sorted.
    last: Option<(Vec<u8>, OwnedFd)>,
}

impl Root {
    pub(crate) fn open(path: &Path, ownership: Ownership) -> io::Result<Self> {
        let dir = fs::openat(CWD, path, directory_flags(), Mode::empty())?;
        Ok(Self { dir, ownership, last: None })
    }

    /// Creates an empty file, in place of a file or link of that name. A directory of that name is
    /// an error.
    pub(crate) fn create(&mut self, path: &[u8]) -> io::Result<File> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        self.replacing(path, |parent, name| {
            fs::openat(parent, name, flags, Mode::RUSR | Mode::WUSR)
        })
        .map(File::from)
    }

    /// Opens a file that was created before, to write it again.
    pub(crate) fn reopen(&mut self, path: &[u8]) -> io::Result<File> {
        let (parent, name) = self.parent(path)?;
        let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(File::from(fs::openat(parent, name, flags, Mode::empty())?))
    }

    /// Adds a name for the file at `existing`.
    pub(crate) fn link(&mut self, existing: &[u8], path: &[u8]) -> io::Result<()> {
        let (parent, name) = self.parent(existing)?;
        let parent = parent.try_clone()?;
        self.replacing(path, |new_parent, new_name| {
            fs::linkat(&parent, name, new_parent, new_name, AtFlags::empty())
        })
    }

    /// Creates a symbolic link. Its target is not resolved.
    pub(crate) fn symlink(&mut self, entry: &FileEntry, target: &[u8]) -> io::Result<()> {
        let ownership = self.ownership;
        self.replacing(&entry.path, |parent, name| fs::symlinkat(target, parent, name))?;
        let (parent, name) = self.parent(&entry.path)?;
        if let Ownership::Fixed { uid, gid } = ownership {
            let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
            fs::chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        }
        fs::utimensat(parent, name, &times(entry), AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(())
    }

    /// Creates a directory, unless there is one or a link to one. Returns false for a link.
    pub(crate) fn directory(&mut self, path: &[u8]) -> io::Result<bool> {
        if path.is_empty() {
            return Ok(true);
        }
        let (parent, name) = self.parent(path)?;
        match fs::mkdirat(parent, name, Mode::RWXU) {
            Ok(()) => return Ok(true),
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let there = fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if fs::FileType::from_raw_mode(there.st_mode).is_dir() {
            return Ok(true);
        }
        // Follows a link inside the root; a file is refused here.
        self.open_or_make(path, 0).map(|_| false)
    }

    /// Sets owner, permissions and time of an existing directory.
    pub(crate) fn finish_directory(&self, entry: &FileEntry) -> io::Result<()> {
        let path = if entry.path.is_empty() { b".".as_slice() } else { &entry.path };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = fs::openat2(&self.dir, path, flags, Mode::empty(), RESOLVE)?;
        self.finish(&dir, entry)
    }

    /// Sets owner, permissions and time of an open file. In this order: a change of owner clears
    /// setuid.
    pub(crate) fn finish(&self, file: &impl AsFd, entry: &FileEntry) -> io::Result<()> {
        self.own(file)?;
        fs::fchmod(file, Mode::from_raw_mode(u32::from(entry.permissions)))?;
        fs::futimens(file, &times(entry))?;
        Ok(())
    }

    fn own(&self, file: &impl AsFd) -> io::Result<()> {
        if let Ownership::Fixed { uid, gid } = self.ownership {
            fs::fchown(file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
        }
        Ok(())
    }

    /// Creates something at a path; removes a file or link that is there, and tries again.
    fn replacing<T>(
        &mut self,
        path: &[u8],
        make: impl Fn(&OwnedFd, &[u8]) -> rustix::io::Result<T>,
    ) -> io::Result<T> {
        let (parent, name) = self.parent(path)?;
        match make(parent, name) {
            Err(Errno::EXIST) => {
                fs::unlinkat(parent, name, AtFlags::empty())?;
                Ok(make(parent, name)?)
            }
            made => Ok(made?),
        }
    }

    /// Opens the parent directory of a path, and creates missing directories.
    fn parent<'a>(&mut self, path: &'a [u8]) -> io::Result<(&OwnedFd, &'a [u8])> {
        let (dir, name) = split_last(path);
        if name.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the root itself"));
        }
        let fresh = match self.last.take() {
            Some((last, fd)) if last == dir => fd,
            _ => self.open_or_make(dir, 0)?,
        };
        Ok((&self.last.insert((dir.to_owned(), fresh)).1, name))
    }

    fn open_or_make(&self, path: &[u8], links: u32) -> io::Result<OwnedFd> {
        let open =
            |path: &[u8]| fs::openat2(&self.dir, path, directory_flags(), Mode::empty(), RESOLVE);
        if path.is_empty() {
            return Ok(open(b".")?);
        }
        match open(path) {
            Err(Errno::NOENT) => self.make(path, links)?,
            opened => return Ok(opened?),
        }
        Ok(open(path)?)
    }

    /// Creates a missing directory, or the one to which a dangling link points.
    fn make(&self, path: &[u8], links: u32) -> io::Result<()> {
        let (dir, name) = split_last(path);
        let parent = self.open_or_make(dir, links)?;
        match fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755)) {
            Ok(()) => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                self.own(&fs::openat(&parent, name, flags, Mode::empty())?)
            }
            Err(Errno::EXIST) if links < MAX_LINKS => {
                let target = match fs::readlinkat(&parent, name, Vec::new()) {
                    // Not a link: another thread has created the directory meanwhile.
                    Err(Errno::INVAL) => return Ok(()),
                    target => target?,
                };
                self.open_or_make(&link_path(dir, target.to_bytes())?, links + 1).map(drop)
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// A path's directory (empty if it has none) and its last part.
fn split_last(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

/// The target of a link in a directory, relative to the root. `..` is left to the kernel.
fn link_path(dir: &[u8], target: &[u8]) -> io::Result<Vec<u8>> {
    let joined = match target.strip_prefix(b"/") {
        Some(absolute) => absolute.to_owned(),
        None if dir.is_empty() => target.to_owned(),
        None => [dir, b"/", target].concat(),
    };
    let mut joined = joined.as_slice();
    while let Some(rest) = joined.strip_prefix(b"/").or_else(|| joined.strip_suffix(b"/")) {
        joined = rest;
    }
    let bad = |part: &[u8]| matches!(part, b"" | b"." | b"..");
    if joined.split(|byte| *byte == b'/').any(bad) {
        let target = rpmfarm_core::name::shown(&String::from_utf8_lossy(target));
        let reason = format!("a link to `{target}`, which is not there");
        return Err(io::Error::new(io::ErrorKind::NotFound, reason));
    }
    Ok(joined.to_owned())
}

fn directory_flags() -> OFlags {
    OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC
}

fn times(entry: &FileEntry) -> Timestamps {
    let time = Timespec { tv_sec: i64::from(entry.mtime), tv_nsec: 0 };
    Timestamps { last_access: time, last_modification: time }
}
