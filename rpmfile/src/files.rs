//! The files that a main header lists, in its order: the payload must hold exactly these. As in
//! rpm, everything about a file except its bytes comes from here.

use std::collections::HashMap;

use rpm::{IndexTag, PackageMetadata};
use rpmfarm_core::results::UnpackedSize;

use crate::headers::Headers;
use crate::{Result, RpmError, blob};

/// `RPMFILE_GHOST`: listed, but not in the payload.
const GHOST: u32 = 1 << 6;
/// The most bytes of a cpio entry besides its content and twice its name: header and padding.
const ENTRY_OVERHEAD: u64 = 128;
/// Trailer and final padding.
const ARCHIVE_OVERHEAD: u64 = 1024;
/// The largest size of a file, in bytes; sums of sizes cannot overflow.
const MAX_SIZE: u64 = 1 << 48;

/// All paths of a package together, in bytes. A directory occurs once in a header and in each of
/// its paths again, so a small header could expand to more paths than fit into memory.
const MAX_PATHS: u64 = 256 << 20;

/// The kind of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FileKind {
    /// A regular file; with `links`, the header's first file with the same inode.
    Regular,
    Directory,
    /// A symbolic link with its target.
    Symlink(Vec<u8>),
    /// A device, a pipe or a socket.
    Special,
}

/// One file of the header.
#[derive(Debug, Clone)]
pub(crate) struct FileEntry {
    /// Relative to the root, without `.` and `..`; empty for the root itself. The bytes of the
    /// header: rpm knows no encoding of names.
    pub(crate) path: Vec<u8>,
    /// Whether the header has it with a leading slash.
    pub(crate) absolute: bool,
    pub(crate) kind: FileKind,
    /// Permissions, including setuid, setgid and sticky.
    pub(crate) permissions: u16,
    /// Time of modification, in seconds since 1970.
    pub(crate) mtime: u32,
    /// Bytes of content; for a symlink, of its target.
    pub(crate) size: u64,
    /// Whether it is listed only.
    pub(crate) ghost: bool,
    /// The set of hard links to which it belongs, by the number of their first file.
    pub(crate) hardlinks: Option<usize>,
    /// Whether it is the last of its set, which has the content in the archive.
    pub(crate) last_link: bool,
}

/// The files of one package.
#[derive(Debug)]
pub(crate) struct FileList {
    pub(crate) entries: Vec<FileEntry>,
    by_path: HashMap<Vec<u8>, usize>,
}

impl FileList {
    /// Reads and checks the file tags.
    pub(crate) fn from_headers(headers: &Headers) -> Result<Self> {
        let mut entries = read_entries(headers)?;
        mark_hardlinks(&headers.metadata, &mut entries)?;
        let mut by_path = HashMap::with_capacity(entries.len());
        for (index, entry) in entries.iter().enumerate() {
            if by_path.insert(entry.path.clone(), index).is_some() {
                return Err(RpmError::entry(&entry.path, "is listed twice in the header"));
            }
        }
        Ok(Self { entries, by_path })
    }

    /// Binary packages have absolute paths, source packages plain names: rpm would put anything
    /// else below its current directory.
    pub(crate) fn check_paths(&self, is_source: bool) -> Result<()> {
        let is_right = |entry: &&FileEntry| entry.absolute != is_source;
        match self.entries.iter().find(|entry| !is_right(entry)) {
            None => Ok(()),
            Some(entry) if is_source => {
                Err(RpmError::entry(&entry.path, "is a path in a source package, not a name"))
            }
            Some(entry) => Err(RpmError::entry(&entry.path, "is not an absolute path")),
        }
    }

    /// The file of a cpio entry, by the entry's name.
    pub(crate) fn by_name(&self, name: &[u8]) -> Option<usize> {
        let relative = name.strip_prefix(b".").unwrap_or(name);
        let relative = relative.strip_prefix(b"/").unwrap_or(relative);
        // A source package may hold `.name`, which has no prefix to strip.
        self.by_path.get(relative).or_else(|| self.by_path.get(name)).copied()
    }

    /// The size of the unpacked payload, if the header is right.
    pub(crate) fn contents(&self) -> UnpackedSize {
        let payload = self.entries.iter().filter(|entry| !entry.ghost);
        payload.fold(UnpackedSize::default(), |sum, entry| {
            // Further names of a file add no bytes.
            let brings = entry.hardlinks.is_none() || entry.last_link;
            sum.and(UnpackedSize { files: 1, bytes: if brings { entry.size } else { 0 } })
        })
    }

    /// The most bytes that the decompressed payload can have.
    pub(crate) fn archive_limit(&self) -> u64 {
        let entry = |entry: &FileEntry| entry.size + 2 * entry.path.len() as u64 + ENTRY_OVERHEAD;
        self.entries.iter().map(entry).fold(ARCHIVE_OVERHEAD, u64::saturating_add)
    }
}

fn read_entries(headers: &Headers) -> Result<Vec<FileEntry>> {
    let metadata = &headers.metadata;
    let header = &metadata.header;
    if !header.entry_is_present(IndexTag::RPMTAG_BASENAMES) {
        return Ok(Vec::new());
    }
    let strings = |tag: IndexTag| blob::texts(headers.main(), tag.into());
    let words =
        |tag, label| header.get_entry_data_as_u32_array(tag).map_err(|e| RpmError::tag(label, e));
    let names = strings(IndexTag::RPMTAG_BASENAMES);
    let dirs = strings(IndexTag::RPMTAG_DIRNAMES);
    let dir_indexes = blob::words(headers.main(), IndexTag::RPMTAG_DIRINDEXES.into());
    let modes = header
        .get_entry_data_as_u16_array(IndexTag::RPMTAG_FILEMODES)
        .map_err(|error| RpmError::tag("FILEMODES", error))?;
    let mtimes = words(IndexTag::RPMTAG_FILEMTIMES, "FILEMTIMES")?;
    let flags = words(IndexTag::RPMTAG_FILEFLAGS, "FILEFLAGS")?;
    let targets = strings(IndexTag::RPMTAG_FILELINKTOS);
    let sizes = sizes(metadata)?;

    let counts =
        [dir_indexes.len(), modes.len(), mtimes.len(), flags.len(), targets.len(), sizes.len()];
    if counts.iter().any(|count| *count != names.len()) {
        return Err(RpmError::tag("BASENAMES", "the file tags differ in length"));
    }
    if let Some(size) = sizes.iter().find(|size| **size > MAX_SIZE) {
        return Err(RpmError::tag("LONGFILESIZES", format!("a file of {size} bytes")));
    }
    check_length_of_paths(dir_indexes.iter().zip(&names).map(|(index, name)| {
        dirs.get(*index as usize).map_or(0, |dir| dir.len() as u64) + name.len() as u64
    }))?;
    let entry = |index: usize| {
        let dir = dirs.get(dir_indexes[index] as usize);
        let dir = dir.ok_or_else(|| RpmError::tag("DIRINDEXES", "leads beyond DIRNAMES"))?;
        let path = [*dir, names[index]].concat();
        Ok(FileEntry {
            path: relative_path(&path)?,
            absolute: path.starts_with(b"/"),
            kind: kind(modes[index], targets[index]),
            permissions: modes[index] & 0o7777,
            mtime: mtimes[index],
            size: sizes[index],
            ghost: flags[index] & GHOST != 0,
            hardlinks: None,
            last_link: false,
        })
    };
    (0..names.len()).map(entry).collect()
}

/// Checks the length of all paths of a package together.
pub(crate) fn check_length_of_paths(lengths: impl Iterator<Item = u64>) -> Result<()> {
    let length = lengths.fold(0, u64::saturating_add);
    if length > MAX_PATHS {
        let reason = format!("paths of {length} bytes in all, at most {MAX_PATHS} are accepted");
        return Err(RpmError::tag("BASENAMES", reason));
    }
    Ok(())
}

fn sizes(metadata: &PackageMetadata) -> Result<Vec<u64>> {
    let header = &metadata.header;
    if header.entry_is_present(IndexTag::RPMTAG_LONGFILESIZES) {
        let long = header.get_entry_data_as_u64_array(IndexTag::RPMTAG_LONGFILESIZES);
        return long.map_err(|error| RpmError::tag("LONGFILESIZES", error));
    }
    let sizes = header.get_entry_data_as_u32_array(IndexTag::RPMTAG_FILESIZES);
    let sizes = sizes.map_err(|error| RpmError::tag("FILESIZES", error))?;
    Ok(sizes.into_iter().map(u64::from).collect())
}

/// Files with the same device and inode are one file under several names (`rpmfilesFLinks`).
fn mark_hardlinks(metadata: &PackageMetadata, entries: &mut [FileEntry]) -> Result<()> {
    let words = |tag| metadata.header.get_entry_data_as_u32_array(tag).unwrap_or_default();
    let inodes = words(IndexTag::RPMTAG_FILEINODES);
    let devices = words(IndexTag::RPMTAG_FILEDEVICES);
    if inodes.len() != entries.len() || devices.len() != entries.len() {
        return Ok(());
    }
    let mut sets: HashMap<(u32, u32), Vec<usize>> = HashMap::new();
    for (index, entry) in entries.iter().enumerate() {
        if entry.kind == FileKind::Regular && !entry.ghost {
            sets.entry((devices[index], inodes[index])).or_default().push(index);
        }
    }
    for set in sets.values().filter(|set| set.len() > 1) {
        for &index in set {
            if entries[index].size != entries[set[0]].size {
                return Err(RpmError::entry(
                    &entries[index].path,
                    "is a hard link of another size",
                ));
            }
            entries[index].hardlinks = Some(set[0]);
            entries[index].last_link = Some(&index) == set.last();
        }
    }
    Ok(())
}

fn kind(mode: u16, target: &[u8]) -> FileKind {
    match mode & 0o170_000 {
        0o100_000 => FileKind::Regular,
        0o040_000 => FileKind::Directory,
        0o120_000 => FileKind::Symlink(target.to_owned()),
        _ => FileKind::Special,
    }
}

/// A path of the header without its leading slash; an error if it leads out of the root.
fn relative_path(path: &[u8]) -> Result<Vec<u8>> {
    let relative = path.strip_prefix(b"/").unwrap_or(path);
    let bad = |part: &[u8]| matches!(part, b"" | b"." | b"..");
    if !relative.is_empty() && relative.split(|byte| *byte == b'/').any(bad) {
        return Err(RpmError::entry(path, "is a path with `..`, `.` or an empty part"));
    }
    Ok(relative.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_bounded_in_all() {
        check_length_of_paths([MAX_PATHS - 1, 1].into_iter()).unwrap();
        let refused = check_length_of_paths([MAX_PATHS, 1].into_iter()).unwrap_err().to_string();
        assert!(refused.contains("paths of 268435457 bytes in all"), "{refused}");
        assert!(check_length_of_paths([u64::MAX, u64::MAX].into_iter()).is_err());
    }

    #[test]
    fn paths_stay_below_the_root() {
        assert_eq!(relative_path(b"/usr/bin/x").unwrap(), b"usr/bin/x");
        assert_eq!(relative_path(b"x.spec").unwrap(), b"x.spec");
        assert_eq!(relative_path(b"/").unwrap(), b"");
        for bad in
            ["/../etc/passwd", "..", "/usr/../../x", "/usr//x", "//etc/passwd", "/a/./b", "/a/"]
        {
            assert!(relative_path(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
