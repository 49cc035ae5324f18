//! What a channel shows: the link `current`, and the generations behind it.

use std::fs;
use std::io;
use std::path::Path;

use super::disk;
use super::error::{Result, io_at};
use super::layout::Layout;

/// Drafts are made beside the generations, so that they become one by a rename.
pub(super) const DRAFT: &str = ".draft-";

/// The generation that a channel shows; none before the first.
pub(super) fn generation(layout: &Layout) -> Result<Option<u64>> {
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

/// Removes what a publisher that was killed left behind: drafts, and generations that were
/// never shown.
pub(super) fn clean(layout: &Layout, shown: Option<u64>) -> Result<()> {
    for name in disk::names(&layout.generations())? {
        let never_shown = name.parse().is_ok_and(|number: u64| Some(number) > shown);
        if never_shown || name.starts_with(DRAFT) {
            disk::remove(&layout.generations().join(name))?;
        }
    }
    Ok(())
}

/// Shows a generation that lies complete and synced in its place.
pub(super) fn show(layout: &Layout, generation: u64) -> Result<()> {
    disk::relink(&layout.current(), Path::new(&format!(".generations/{generation}")))
}

/// Removes the generations before the last `keep`.
pub(super) fn forget(layout: &Layout, shown: u64, keep: u64) -> Result<()> {
    for name in disk::names(&layout.generations())? {
        if name.parse().is_ok_and(|number: u64| number + keep <= shown) {
            disk::remove(&layout.generations().join(name))?;
        }
    }
    Ok(())
}
