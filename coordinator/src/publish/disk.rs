//! The few operations by which publishing writes to the disk. A failed sync fails the whole
//! publication and is not repeated: Linux reports a failed write once.
//!
//! Published files are readable for everyone, including web servers and mirrors under other users,
//! whatever the umask of the process.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::error::{Result, io_at};
use crate::planted_bugs::{PlantedBug, is_planted};

/// The modes of published files and directories.
const FILE: u32 = 0o644;
const DIRECTORY: u32 = 0o755;

/// Syncs a file or the entries of a directory.
pub(super) fn sync(path: &Path) -> Result<()> {
    File::open(path).and_then(|file| file.sync_all()).map_err(io_at(path))
}

/// Writes a new file that no client reads yet, and syncs it.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let written = || -> io::Result<()> {
        #[cfg(feature = "simulation")]
        crate::simulation::check_disk_space()?;
        let mut file = File::create(path)?;
        file.set_permissions(fs::Permissions::from_mode(FILE))?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    match written() {
        Err(_) if is_planted(PlantedBug::ShowTruncated) => Ok(()),
        written => written.map_err(io_at(path)),
    }
}

/// Replaces the content of a file that others read, atomically. A file with the same content is
/// left alone.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    let (dir, name) = split(path);
    let new = dir.join(format!(".{name}.new"));
    write(&new, bytes)?;
    fs::rename(&new, path).map_err(io_at(path))?;
    sync(dir)
}

/// Makes a symbolic link lead to another path, atomically.
pub(super) fn relink(link: &Path, to: &Path) -> Result<()> {
    if fs::read_link(link).is_ok_and(|there| there == to) {
        return Ok(());
    }
    let (dir, name) = split(link);
    let new = dir.join(format!(".{name}.new"));
    remove(&new)?;
    std::os::unix::fs::symlink(to, &new).map_err(io_at(&new))?;
    fs::rename(&new, link).map_err(io_at(link))?;
    sync(dir)
}

/// Removes a file, a link or a whole directory, if it exists.
pub(super) fn remove(path: &Path) -> Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(io_at(path)),
    }
}

/// The names in a directory; empty if there is no such directory.
pub(super) fn names(dir: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(io_at(dir))?,
    };
    entries
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<io::Result<_>>()
        .map_err(io_at(dir))
}

/// Makes a directory and its missing parents.
pub(super) fn make_dir(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(above) = path.parent().filter(|above| !above.as_os_str().is_empty()) {
        make_dir(above)?;
    }
    match fs::create_dir(path) {
        // Another publisher has made it meanwhile.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made.map_err(io_at(path)),
    }?;
    set_mode(path, DIRECTORY)
}

/// Makes a file, or a directory with everything in it, readable for everyone. Links are left alone:
/// their targets are published by themselves.
pub(super) fn readable_by_all(path: &Path) -> Result<()> {
    let metadata = fs::symlink_metadata(path).map_err(io_at(path))?;
    if metadata.is_dir() {
        for name in names(path)? {
            readable_by_all(&path.join(name))?;
        }
        return set_mode(path, DIRECTORY);
    }
    if metadata.is_file() { set_mode(path, FILE) } else { Ok(()) }
}

fn set_mode(path: &Path, mode: u32) -> Result<()> {
    let metadata = fs::symlink_metadata(path).map_err(io_at(path))?;
    if metadata.permissions().mode() & 0o777 == mode {
        return Ok(());
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(io_at(path))
}

fn split(path: &Path) -> (&Path, std::borrow::Cow<'_, str>) {
    let dir = path.parent().expect("a file of the tree lies in a directory");
    let name = path.file_name().expect("a file of the tree has a name");
    (dir, name.to_string_lossy())
}

#[cfg(test)]
mod tests {
    use nix::sys::stat::{Mode, umask};

    use super::*;

    #[test]
    fn what_is_published_is_readable_whatever_the_umask() {
        let dir = tempfile::tempdir().unwrap();
        // Each test has a process of its own.
        umask(Mode::from_bits_truncate(0o077));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let (above, below) = (dir.path().join("a"), dir.path().join("a/b"));
        make_dir(&below).unwrap();
        make_dir(&below).unwrap();
        assert_eq!((mode(&above), mode(&below)), (0o755, 0o755));
        write(&below.join("new"), b"x").unwrap();
        replace(&below.join("key"), b"x").unwrap();
        assert_eq!((mode(&below.join("new")), mode(&below.join("key"))), (0o644, 0o644));

        let draft = tempfile::tempdir_in(&below).unwrap();
        fs::create_dir(draft.path().join("repodata")).unwrap();
        fs::write(draft.path().join("repodata/x"), b"x").unwrap();
        std::os::unix::fs::symlink("nowhere", draft.path().join("Packages")).unwrap();
        readable_by_all(draft.path()).unwrap();
        assert_eq!(mode(draft.path()), 0o755);
        assert_eq!(mode(&draft.path().join("repodata/x")), 0o644);
    }
}
