//! What a channel shows: the link `current`, and the generations behind it.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;

use super::disk;
use super::error::{Result, io_at};
use super::layout::ChannelLayout;

/// Drafts are made beside the generations, so that they become one by a rename.
pub(super) const DRAFT: &str = ".draft-";

/// The generation that a channel shows; none before the first.
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

/// The directory of a draft; gone when it is dropped, and whose it is is seen by its lock.
pub(super) struct DraftDir {
    dir: tempfile::TempDir,
    _lock: File,
}

impl DraftDir {
    pub(super) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// It has become something else.
    pub(super) fn keep(self) {
        let _ = self.dir.keep();
    }
}

/// Makes the directory of a draft. To be called under the target's lock, so that nobody cleans
/// away what is not marked yet.
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

/// Whether a draft belongs to a publisher that lives, be it one that stands still.
fn is_held(draft: &Path) -> bool {
    let lock = File::open(draft).map(|dir| dir.try_lock());
    matches!(lock, Ok(Err(TryLockError::WouldBlock)))
}

/// Removes what a publisher that was killed left behind: drafts, and generations that were
/// never shown.
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

/// Shows a generation that lies complete and synced in its place.
pub(super) fn show(layout: &ChannelLayout, generation: u64) -> Result<()> {
    disk::relink(&layout.current(), Path::new(&format!(".generations/{generation}")))
}

/// Removes the generations before the last `keep`; not all numbers have one.
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
