//! The generation that a channel shows: the link `current`, and the generations behind it.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;

use super::disk;
use super::error::{Result, io_at};
use super::layout::ChannelLayout;

/// The prefix of drafts. They lie beside the generations, so that a rename makes one a generation.
pub(super) const DRAFT: &str = ".draft-";

/// The generation that a channel shows; `None` before the first.
pub(super) fn generation(layout: &ChannelLayout) -> Result<Option<u64>> {
    let link = layout.current();
    match fs::read_link(&link) {
        Ok(to) => match number(&to) {
            Some(number) => Ok(Some(number)),
            None => Err(io_at(&link)(io::Error::other(format!(
                "leads to {} instead of a generation; remove it or lead it back",
                to.display()
            )))),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_at(&link)(error)),
    }
}

fn number(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.parse().ok()
}

/// The directory of a draft, with its lock. The directory is removed when this is dropped; the lock
/// shows that its publisher lives.
pub(super) struct DraftDir {
    dir: tempfile::TempDir,
    _lock: File,
}

impl DraftDir {
    pub(super) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Keeps the directory, because it was renamed.
    pub(super) fn keep(self) {
        let _ = self.dir.keep();
    }
}

/// Makes the directory of a draft. To be called under the target's lock, so that no other publisher
/// removes the directory before its own lock is held.
pub(super) fn draft(layout: &ChannelLayout) -> Result<DraftDir> {
    let generations = layout.generations();
    let dir = tempfile::Builder::new()
        .prefix(DRAFT)
        .tempdir_in(&generations)
        .map_err(io_at(&generations))?;
    let lock = File::open(dir.path()).map_err(io_at(dir.path()))?;
    lock.lock().map_err(io_at(dir.path()))?;
    Ok(DraftDir { dir, _lock: lock })
}

/// Whether a draft belongs to a publisher that lives, even one that is paused.
fn is_held(draft: &Path) -> bool {
    let lock = File::open(draft).map(|dir| dir.try_lock());
    matches!(lock, Ok(Err(TryLockError::WouldBlock)))
}

/// Removes the leftovers of a killed publisher: drafts, and generations that were never shown.
pub(super) fn clean(layout: &ChannelLayout, shown: Option<u64>) -> Result<()> {
    for name in disk::names(&layout.generations())? {
        let never_shown = name.parse().is_ok_and(|number: u64| Some(number) > shown);
        let path = layout.generations().join(&name);
        if never_shown || (name.starts_with(DRAFT) && !is_held(&path)) {
            disk::remove(&path)?;
        }
    }
    Ok(())
}

/// Shows a generation that is complete and synced in its place.
pub(super) fn show(layout: &ChannelLayout, generation: u64) -> Result<()> {
    disk::relink(&layout.current(), Path::new(&format!(".generations/{generation}")))
}

/// Removes the links of the channel that lead to nothing since it shows another generation: those of
/// architectures and repositories that it does not have any more.
pub(super) fn unlink_gone(layout: &ChannelLayout) -> Result<()> {
    for name in disk::names(&layout.channel())? {
        let link = layout.channel().join(name);
        let through = fs::read_link(&link).is_ok_and(|to| to.starts_with("current"));
        if through && !link.exists() {
            disk::remove(&link)?;
        }
    }
    Ok(())
}

/// Removes all generations but the last `keep`. Numbers may be missing in between.
pub(super) fn forget(layout: &ChannelLayout, shown: u64, keep: u64) -> Result<()> {
    let names = disk::names(&layout.generations())?;
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| name.parse().ok()).collect();
    numbers.retain(|number| *number <= shown);
    numbers.sort_unstable_by(|one, other| other.cmp(one));
    for number in numbers.into_iter().skip(usize::try_from(keep).unwrap_or(usize::MAX)) {
        disk::remove(&layout.generation(number))?;
    }
    Ok(())
}
