//! The few ways in which publishing writes to the disk. An error of a sync is an error of the
//! whole: it is never tried again, as the kernel forgets what it could not write.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use super::error::{Result, io_at};

/// Syncs a file or the entries of a directory.
pub(super) fn sync(path: &Path) -> Result<()> {
    File::open(path).and_then(|file| file.sync_all()).map_err(io_at(path))
}

/// Writes a file of which nobody knows yet, and syncs it.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let written = || -> io::Result<()> {
        let mut file = File::create(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    written().map_err(io_at(path))
}

/// Gives a file that others read a new content, at once. It is left alone when it has it.
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

/// Makes a symbolic link lead to another place, at once.
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

/// Removes a file, a link or a whole directory, if there is one.
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

/// The names in a directory; none if there is no such directory.
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

pub(super) fn make_dir(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(io_at(path))
}

fn split(path: &Path) -> (&Path, std::borrow::Cow<'_, str>) {
    let dir = path.parent().expect("a file of the tree lies in a directory");
    let name = path.file_name().expect("a file of the tree has a name");
    (dir, name.to_string_lossy())
}
