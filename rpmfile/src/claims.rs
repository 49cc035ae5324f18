//! The files of a package, with the attributes that rpm compares before it installs two packages
//! into one root.
//!
//! The rules are those of `rpmfilesCompare` and `handleColorConflict` in rpm. Paths are compared as
//! written: two that are the same through a symbolic link are left to rpm itself.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use rpm::{IndexTag, PackageMetadata};
use rpmfarm_core::Sha256;

use crate::files::check_length_of_paths;
use crate::headers::Headers;
use crate::{Result, RpmError};

/// `RPMFILE_GHOST`: such a file conflicts with nothing.
const GHOST: u32 = 1 << 6;
/// Paths that rpm ignores in build roots (`_netsharedpath`).
const LEFT_ALONE: [&str; 3] = ["/proc", "/sys", "/dev"];

/// One file of a package. Small, since a root has tens of thousands of them: names and content are
/// only compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileClaim {
    /// A hash of the path.
    pub path: u64,
    /// A hash of the attributes that must be equal when two packages own the path.
    content: u64,
    /// The word sizes for which the file is, a bit for each; 0 for files that are for none.
    color: u32,
}

impl FileClaim {
    /// Whether rpm refuses to install both. The paths must be the same.
    #[must_use]
    pub const fn conflicts_with(&self, other: &Self) -> bool {
        let of_two_sizes = self.color != 0 && other.color != 0 && self.color != other.color;
        self.content != other.content && !of_two_sizes
    }
}

/// The files of a package, and the module that its header names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PackageClaims {
    /// Its files, without ghosts.
    pub files: Vec<FileClaim>,
    /// `ModularityLabel`, where it has one.
    pub module: Option<String>,
}

/// Reads the files of a package. Only its headers are read.
///
/// # Errors
/// When it is not an RPM, or its file tags contradict each other.
pub fn claims(path: &Path) -> Result<PackageClaims> {
    let metadata = metadata(path)?;
    let mut files = Vec::new();
    each(&metadata, |claim, _| {
        files.push(claim);
        true
    })?;
    // RPMTAG_MODULARITYLABEL.
    let module = crate::facts::optional(&metadata, IndexTag::RPMTAG_MODULARITYLABEL);
    Ok(PackageClaims { files, module })
}

/// The path whose hash is `wanted`, escaped for a message.
///
/// # Errors
/// As [`claims`].
pub fn path_of_claim(path: &Path, wanted: u64) -> Result<Option<String>> {
    let metadata = metadata(path)?;
    let mut found = None;
    each(&metadata, |claim, path| {
        if claim.path == wanted {
            found = Some(rpmfarm_core::name::shown(path));
        }
        found.is_none()
    })?;
    Ok(found)
}

fn metadata(path: &Path) -> Result<PackageMetadata> {
    let file = File::open(path).map_err(RpmError::io("opening the package"))?;
    Ok(Headers::read(&mut BufReader::new(file))?.metadata)
}

/// Calls `take` for every file but ghosts, until it returns false.
fn each(metadata: &PackageMetadata, mut take: impl FnMut(FileClaim, &str) -> bool) -> Result<()> {
    if !metadata.header.entry_is_present(IndexTag::RPMTAG_BASENAMES) {
        return Ok(());
    }
    let tags = FileTags::read(metadata)?;
    for index in 0..tags.names.len() {
        let path = tags.path(index)?;
        if tags.flags[index] & GHOST != 0 || is_left_alone(&path) {
            continue;
        }
        if !take(tags.claim(index, &path), &path) {
            break;
        }
    }
    Ok(())
}

/// Whether rpm ignores a path in build roots.
fn is_left_alone(path: &str) -> bool {
    LEFT_ALONE.iter().any(|place| {
        path.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

/// The tags of a package's files, all of the same length.
struct FileTags<'m> {
    names: Vec<&'m str>,
    dirs: Vec<&'m str>,
    dir_indexes: Vec<u32>,
    modes: Vec<u16>,
    flags: Vec<u32>,
    targets: Vec<&'m str>,
    digests: Vec<&'m str>,
    users: Vec<&'m str>,
    groups: Vec<&'m str>,
    colors: Option<Vec<u32>>,
    /// The kind of the digests, by its number.
    kind: u32,
}

impl<'m> FileTags<'m> {
    fn read(metadata: &'m PackageMetadata) -> Result<Self> {
        let header = &metadata.header;
        let strings = move |tag, label| {
            header.get_entry_data_as_string_array(tag).map_err(|e| RpmError::tag(label, e))
        };
        let words = move |tag, label| {
            header.get_entry_data_as_u32_array(tag).map_err(|e| RpmError::tag(label, e))
        };
        let tags = Self {
            names: strings(IndexTag::RPMTAG_BASENAMES, "BASENAMES")?,
            dirs: strings(IndexTag::RPMTAG_DIRNAMES, "DIRNAMES")?,
            dir_indexes: words(IndexTag::RPMTAG_DIRINDEXES, "DIRINDEXES")?,
            modes: header
                .get_entry_data_as_u16_array(IndexTag::RPMTAG_FILEMODES)
                .map_err(|error| RpmError::tag("FILEMODES", error))?,
            flags: words(IndexTag::RPMTAG_FILEFLAGS, "FILEFLAGS")?,
            targets: strings(IndexTag::RPMTAG_FILELINKTOS, "FILELINKTOS")?,
            digests: strings(IndexTag::RPMTAG_FILEDIGESTS, "FILEDIGESTS")?,
            users: strings(IndexTag::RPMTAG_FILEUSERNAME, "FILEUSERNAME")?,
            groups: strings(IndexTag::RPMTAG_FILEGROUPNAME, "FILEGROUPNAME")?,
            colors: header.get_entry_data_as_u32_array(IndexTag::RPMTAG_FILECOLORS).ok(),
            // Packages without the tag have MD5.
            kind: header.get_entry_data_as_u32(IndexTag::RPMTAG_FILEDIGESTALGO).unwrap_or(1),
        };
        tags.check()?;
        Ok(tags)
    }

    fn check(&self) -> Result<()> {
        let count = self.names.len();
        let counts = [
            self.dir_indexes.len(),
            self.modes.len(),
            self.flags.len(),
            self.targets.len(),
            self.digests.len(),
            self.users.len(),
            self.groups.len(),
            self.colors.as_ref().map_or(count, Vec::len),
        ];
        if counts.iter().any(|found| *found != count) {
            return Err(RpmError::tag("BASENAMES", "the file tags differ in length"));
        }
        check_length_of_paths(self.dir_indexes.iter().zip(&self.names).map(|(index, name)| {
            self.dirs.get(*index as usize).map_or(0, |dir| dir.len() as u64) + name.len() as u64
        }))
    }

    fn path(&self, index: usize) -> Result<String> {
        let dir = self.dirs.get(self.dir_indexes[index] as usize);
        let dir = dir.ok_or_else(|| RpmError::tag("DIRINDEXES", "leads beyond DIRNAMES"))?;
        Ok(format!("{dir}{}", self.names[index]))
    }

    fn claim(&self, index: usize, path: &str) -> FileClaim {
        let (mode, kind) = (self.modes[index], self.kind);
        // The digest says more than the size, and a link has its target.
        let what = match mode & 0o170_000 {
            0o100_000 => format!("{kind} {}", self.digests[index]),
            0o120_000 => self.targets[index].to_owned(),
            _ => String::new(),
        };
        let (user, group) = (self.users[index], self.groups[index]);
        let content = number(&format!("{mode}\0{user}\0{group}\0{what}"));
        let color = self.colors.as_ref().map_or(0, |colors| colors[index]);
        FileClaim { path: number(path), content, color }
    }
}

/// A hash of a text: the start of its SHA-256, since nobody can make it collide at will with the
/// few others of a root.
fn number(text: &str) -> u64 {
    let hex = Sha256::compute(text.as_bytes()).hex();
    u64::from_str_radix(&hex[..16], 16).unwrap_or_default()
}
