//! The files that all channels show now.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rpmfarm_core::Sha256;

use super::layout::ChannelLayout;
use super::manifest::listed;

/// The files of the packages in the current generations of all channels below `repos`, each with
/// its expected digest. A list that cannot be read is left out; the next publication of that
/// channel reports it.
///
/// # Errors
/// When a directory cannot be read.
pub fn shown_files(repos: &Path) -> io::Result<Vec<(PathBuf, Sha256)>> {
    let mut all = Vec::new();
    for target in folders(repos)? {
        for channel in folders(&repos.join(&target))? {
            let Ok(layout) = ChannelLayout::new(repos, &target, &channel) else { continue };
            all.extend(
                listed(&layout.current())
                    .into_iter()
                    .map(|(nevra, digest)| (layout.lies_at(&nevra, digest), digest)),
            );
        }
    }
    all.sort_unstable();
    all.dedup();
    Ok(all)
}

fn folders(path: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(names),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir()
            && let Some(name) = entry.file_name().to_str()
        {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}
