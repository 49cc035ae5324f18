//! Access to trees that an untrusted process has written, without ever following a symbolic link.
//!
//! Every component of a path is opened by itself with `O_NOFOLLOW`, relative to the one before:
//! this works on every kernel and trusts nothing in the tree.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Component, Path};

use nix::dir::Dir;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstatat, mkdirat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, fchownat, symlinkat, unlinkat};

/// A directory from which everything below it is reached, and nothing outside of it.
#[derive(Debug)]
pub struct ConfinedDir(OwnedFd);

/// An entry of a directory: its name, its size, and whether it is a plain file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirEntry {
    /// Its name; names that are not UTF-8 are shown with replacement characters.
    pub name: String,
    /// Whether it is a plain file with no other name.
    pub plain: bool,
    /// Size in bytes.
    pub size: u64,
}

/// The kind of an entry of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DirEntryKind {
    File {
        /// Its size in bytes.
        size: u64,
        /// Whether its owner may execute it: the one permission bit that git keeps.
        executable: bool,
    },
    /// A symbolic link and its target.
    Link(String),
}

/// How deep directories may be nested.
const MAX_DEPTH: usize = 32;

const DIRECTORY: OFlag =
    OFlag::O_DIRECTORY.union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC).union(OFlag::O_RDONLY);

impl ConfinedDir {
    /// Opens the directory to start from. Its own path is the worker's and is trusted.
    ///
    /// # Errors
    /// When it is not a directory or cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(openat(AT_FDCWD, path, DIRECTORY, Mode::empty())?))
    }

    /// Opens a directory below.
    ///
    /// # Errors
    /// When a step of the path is not a directory, or is a link.
    pub fn directory(&self, path: &str) -> io::Result<Self> {
        let mut here = Self(self.0.try_clone()?);
        for step in steps(path)? {
            here = Self(openat(&here.0, step, DIRECTORY, Mode::empty())?);
        }
        Ok(here)
    }

    /// Makes a directory if there is none, with this mode and owner.
    ///
    /// # Errors
    /// When something else has its name, or it cannot be made.
    pub fn make_directory(&self, name: &str, mode: u32, id: u32) -> io::Result<Self> {
        match mkdirat(&self.0, name, Mode::from_bits_truncate(mode)) {
            Ok(()) | Err(nix::Error::EEXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let made = self.directory(name)?;
        own(&made.0, mode, id)?;
        Ok(made)
    }

    /// Opens a plain file for reading, never a device or a FIFO.
    ///
    /// # Errors
    /// When it is not a plain file, or is a link.
    pub fn file(&self, name: &str) -> io::Result<File> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let file = File::from(openat(&self.0, name, flags, Mode::empty())?);
        if file.metadata()?.is_file() {
            return Ok(file);
        }
        Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{name} is not a plain file")))
    }

    /// Whether something has this name, if only a link.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        fstatat(&self.0, name, AtFlags::AT_SYMLINK_NOFOLLOW).is_ok()
    }

    /// Reads a small text file.
    ///
    /// # Errors
    /// When it is not a plain file, longer than `limit` bytes, or not UTF-8.
    pub fn text(&self, name: &str, limit: u64) -> io::Result<String> {
        let mut text = String::new();
        let count = self.file(name)?.take(limit + 1).read_to_string(&mut text)?;
        if count as u64 <= limit {
            return Ok(text);
        }
        let message = format!("{name} is longer than {limit} bytes");
        Err(io::Error::new(io::ErrorKind::InvalidData, message))
    }

    /// Writes a new file in place of whatever has its name.
    ///
    /// # Errors
    /// When a directory has its name, or it cannot be written.
    pub fn write(&self, name: &str, text: &str, mode: u32, id: u32) -> io::Result<()> {
        match unlinkat(&self.0, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(nix::Error::ENOENT) => {}
            Err(error) => return Err(error.into()),
        }
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
        let mut file = File::from(openat(&self.0, name, flags, Mode::from_bits_truncate(mode))?);
        io::Write::write_all(&mut file, text.as_bytes())?;
        own(&file, mode, id)
    }

    /// Makes a symbolic link in place of whatever has its name.
    ///
    /// # Errors
    /// When a directory has its name, or it cannot be made.
    pub fn link(&self, name: &str, to: &str, id: u32) -> io::Result<()> {
        match unlinkat(&self.0, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(nix::Error::ENOENT) => {}
            Err(error) => return Err(error.into()),
        }
        symlinkat(to, &self.0, name)?;
        let (uid, gid) = (Some(Uid::from_raw(id)), Some(Gid::from_raw(id)));
        fchownat(&self.0, name, uid, gid, AtFlags::AT_SYMLINK_NOFOLLOW)?;
        Ok(())
    }

    /// The entries of the directory, sorted by name; at most `limit` of them.
    ///
    /// # Errors
    /// When there are more, or it cannot be read.
    pub fn list(&self, limit: usize) -> io::Result<Vec<DirEntry>> {
        let mut entries = Vec::new();
        for entry in Dir::from_fd(self.0.try_clone()?)?.iter() {
            let name = entry?.file_name().to_owned();
            if [b".".as_slice(), b".."].contains(&name.to_bytes()) {
                continue;
            }
            if entries.len() == limit {
                return Err(io::Error::other(format!("more than {limit} files")));
            }
            let stat = fstatat(&self.0, name.as_c_str(), AtFlags::AT_SYMLINK_NOFOLLOW)?;
            let name = name.to_string_lossy().into_owned();
            let size = u64::try_from(stat.st_size).unwrap_or(0);
            entries.push(DirEntry { name, plain: is_plain(&stat), size });
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// Every file and link of the tree, by its path from here; at most `limit` entries,
    /// directories among them. `.git` is left out.
    ///
    /// # Errors
    /// When there are more, one is neither a plain file of its own nor a link nor a directory, or
    /// a name is not UTF-8.
    pub fn tree(&self, limit: usize) -> io::Result<Vec<(String, DirEntryKind)>> {
        let mut found = Vec::new();
        let mut seen = 0;
        // Paths instead of open descriptors, because there may be more directories than a process
        // may have descriptors.
        let mut pending = vec![(String::new(), 0)];
        while let Some((at, depth)) = pending.pop() {
            let here = self.directory(&at)?;
            for entry in Dir::from_fd(here.0.try_clone()?)?.iter() {
                let entry = entry?;
                let name = entry.file_name();
                if [b".".as_slice(), b"..", b".git"].contains(&name.to_bytes()) {
                    continue;
                }
                seen += 1;
                if seen > limit || depth > MAX_DEPTH {
                    return Err(io::Error::other(format!("more than {limit} files, or too deep")));
                }
                let odd = |what: &str| {
                    io::Error::other(format!("{at}{}: {what}", name.to_string_lossy()))
                };
                let text = name.to_str().map_err(|_| odd("the name is not UTF-8"))?;
                let path = format!("{at}{text}");
                let stat = fstatat(&here.0, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
                let kind = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT;
                if kind == SFlag::S_IFDIR {
                    pending.push((format!("{path}/"), depth + 1));
                } else if kind == SFlag::S_IFLNK {
                    let target = readlinkat(&here.0, name)?.into_string();
                    let target = target.map_err(|_| odd("the link is not UTF-8"))?;
                    found.push((path, DirEntryKind::Link(target)));
                } else if is_plain(&stat) {
                    let size = u64::try_from(stat.st_size).unwrap_or(0);
                    let executable = stat.st_mode & Mode::S_IXUSR.bits() != 0;
                    found.push((path, DirEntryKind::File { size, executable }));
                } else {
                    return Err(odd("neither a file of its own nor a link nor a directory"));
                }
            }
        }
        Ok(found)
    }

    /// The wanted plain files of the tree, by their paths from here and with their sizes, those of
    /// the uppermost directories first. At most `files` of them, of the first `entries` entries.
    /// Entries that cannot be read, or are of another kind, are skipped.
    pub fn find(
        &self,
        entries: usize,
        files: usize,
        wanted: impl Fn(&str) -> bool,
    ) -> Vec<(String, u64)> {
        let (mut found, mut seen) = (Vec::new(), 0);
        let mut level = vec![String::new()];
        for _ in 0..MAX_DEPTH {
            let mut below = Vec::new();
            for at in &level {
                let Ok(here) = self.directory(at) else { continue };
                let Ok(descriptor) = here.0.try_clone() else { continue };
                let Ok(mut names) = Dir::from_fd(descriptor) else { continue };
                for entry in names.iter().flatten() {
                    let Ok(name) = entry.file_name().to_str() else { continue };
                    if [".", ".."].contains(&name) {
                        continue;
                    }
                    seen += 1;
                    if seen > entries || found.len() == files {
                        found.sort_by_key(|(path, _): &(String, u64)| {
                            (path.matches('/').count(), path.clone())
                        });
                        return found;
                    }
                    let flags = AtFlags::AT_SYMLINK_NOFOLLOW;
                    let Ok(stat) = fstatat(&here.0, entry.file_name(), flags) else { continue };
                    let path = if at.is_empty() { name.to_owned() } else { format!("{at}/{name}") };
                    let kind = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT;
                    if kind == SFlag::S_IFDIR {
                        below.push(path);
                    } else if is_plain(&stat) && wanted(&path) {
                        found.push((path, u64::try_from(stat.st_size).unwrap_or(0)));
                    }
                }
            }
            below.sort();
            level = below;
        }
        found.sort_by_key(|(path, _)| (path.matches('/').count(), path.clone()));
        found
    }
}

fn is_plain(stat: &FileStat) -> bool {
    let kind = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT;
    kind == SFlag::S_IFREG && stat.st_nlink == 1
}

fn own<F: std::os::fd::AsFd>(file: &F, mode: u32, id: u32) -> io::Result<()> {
    fchown(file, Some(Uid::from_raw(id)), Some(Gid::from_raw(id)))?;
    nix::sys::stat::fchmod(file, Mode::from_bits_truncate(mode))?;
    Ok(())
}

/// The components of a relative path; one that leads up or to the root is refused.
fn steps(path: &str) -> io::Result<Vec<&Path>> {
    Path::new(path)
        .components()
        .filter(|component| *component != Component::CurDir)
        .map(|component| match component {
            Component::Normal(step) => Ok(Path::new(step)),
            _ => {
                let message = format!("{path} leads out of the directory");
                Err(io::Error::new(io::ErrorKind::InvalidInput, message))
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_are_never_followed() {
        let dir = tempfile::tempdir().expect("a directory");
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir_all(at("a/b")).expect("directories");
        std::fs::write(at("a/b/f"), "text").expect("a file");
        symlink("/etc", at("etc")).expect("a link");
        symlink("/etc/passwd", at("a/b/passwd")).expect("a link");
        symlink("f", at("a/b/same")).expect("a link");
        std::fs::hard_link(at("a/b/f"), at("a/b/g")).expect("a second name");
        let root = ConfinedDir::open(dir.path()).expect("opens");
        let below = root.directory("a/b").expect("directories");
        assert_eq!(below.text("f", 10).expect("reads"), "text");
        assert!(below.text("f", 3).is_err(), "too long");
        assert!(root.directory("etc").is_err());
        assert!(root.directory("..").is_err());
        assert!(root.directory("/etc").is_err());
        assert!(below.file("passwd").is_err());
        assert!(below.file("same").is_err());
        let plain = |name: &str| {
            below.list(10).expect("lists").into_iter().find(|e| e.name == name).map(|e| e.plain)
        };
        assert_eq!(plain("f"), Some(false), "a file with two names may be anyone's");
        assert_eq!(plain("passwd"), Some(false));
        assert!(below.list(2).is_err(), "too many");
    }

    #[test]
    fn writing_replaces_a_link_and_not_its_target() {
        let dir = tempfile::tempdir().expect("a directory");
        let outside = tempfile::NamedTempFile::new().expect("a file");
        symlink(outside.path(), dir.path().join("passwd")).expect("a link");
        let id = nix::unistd::getuid().as_raw();
        ConfinedDir::open(dir.path())
            .expect("opens")
            .write("passwd", "x", 0o644, id)
            .expect("writes");
        assert_eq!(std::fs::read(outside.path()).expect("reads"), b"");
        assert_eq!(std::fs::read(dir.path().join("passwd")).expect("reads"), b"x");
    }

    #[test]
    fn a_tree_is_listed_without_leaving_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir_all(at("a/b")).expect("directories");
        std::fs::create_dir_all(at(".git/objects")).expect("directories");
        std::fs::write(at("a/b/f"), "text").expect("a file");
        symlink("/etc", at("a/etc")).expect("a link");
        let root = ConfinedDir::open(dir.path()).expect("opens");
        let mut found = root.tree(10).expect("lists");
        found.sort_by(|a, b| a.0.cmp(&b.0));
        let expected = [
            ("a/b/f".to_owned(), DirEntryKind::File { size: 4, executable: false }),
            ("a/etc".to_owned(), DirEntryKind::Link("/etc".into())),
        ];
        assert_eq!(found, expected);
        assert!(root.tree(2).is_err(), "too many");
        nix::unistd::mkfifo(&at("a/fifo"), Mode::S_IRUSR).expect("a FIFO");
        let error = root.tree(10).expect_err("a FIFO").to_string();
        assert!(error.contains("a/fifo"), "{error}");
        std::fs::remove_file(at("a/fifo")).expect("removes");
        std::fs::hard_link(at("a/b/f"), at("a/g")).expect("a second name");
        assert!(root.tree(10).is_err(), "it may be anyone's file");
    }
}
