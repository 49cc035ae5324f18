//! The paths in a package's header.

use std::path::Path;

use anyhow::Context as _;
use rpm::{FileType, PackageMetadata};

/// The paths of a package's directories, or of everything that is not a directory.
///
/// # Errors
/// When the header's list of files is broken.
pub(super) fn paths(metadata: &PackageMetadata, directories: bool) -> anyhow::Result<Vec<String>> {
    let entries = metadata.get_file_entries()?;
    let wanted =
        entries.iter().filter(|one| (one.mode().file_type() == FileType::Dir) == directories);
    Ok(wanted.map(|entry| entry.path().display().to_string()).collect())
}

/// The paths of the files in an RPM file.
///
/// # Errors
/// When the RPM cannot be read; the error names it.
pub(super) fn files_of(path: &Path) -> anyhow::Result<Vec<String>> {
    let read = || paths(&PackageMetadata::open(path)?, false);
    read().with_context(|| format!("reading the file list of {}", path.display()))
}
