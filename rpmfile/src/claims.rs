//! What a package wants at each path, as far as rpm compares it before it installs two packages
//! into one root.
//!
//! The rules are those of `rpmfilesCompare` and `handleColorConflict` in rpm. Paths are taken as
//! they are written: two that are one through a symbolic link are left to rpm itself.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use rpm::{IndexTag, PackageMetadata};
use rpmfarm_core::Sha256;

use crate::files::check_length_of_paths;
use crate::headers::Headers;
use crate::{Error, Result};

/// `RPMFILE_GHOST`: such a file conflicts with nothing.
const GHOST: u32 = 1 << 6;
/// Places that rpm leaves alone in build roots (`_netsharedpath`).
const LEFT_ALONE: [&str; 3] = ["/proc", "/sys", "/dev"];

/// What one package wants at one path. Small, since a root has tens of thousands of them: names and
/// content are only compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// Stands for the path.
    pub path: u64,
    /// Stands for everything that must be the same when two packages have the path.
    content: u64,
    /// Which of several word sizes the file is for, a bit for each; 0 for files of none.
    color: u32,
}

impl Claim {
    /// Whether rpm refuses to install both. The paths must be the same.
    #[must_use]
    pub const fn conflicts_with(&self, other: &Self) -> bool {
        let of_two_sizes = self.color != 0 && other.color != 0 && self.color != other.color;
        self.content != other.content && !of_two_sizes
    }
}

/// What a package wants, and the module that its header says it belongs to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claims {
    /// Its files, without ghosts.
    pub files: Vec<Claim>,
    /// `ModularityLabel`, where it has one.
    pub module: Option<String>,
}

/// Reads what a package wants. Only its headers are read.
///
/// # Errors
/// When it is no RPM, or its file tags contradict each other.
pub fn claims(path: &Path) -> Result<Claims> {
    let metadata = metadata(path)?;
    let mut files = Vec::new();
    each(&metadata, |claim, _| {
        files.push(claim);
        true
    })?;
    // RPMTAG_MODULARITYLABEL.
    let module = crate::facts::optional(&metadata, IndexTag::RPMTAG_MODULARITYLABEL);
    Ok(Claims { files, module })
}

/// The path that a claim of this package stands for, fit for a message.
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
    let file = File::open(path).map_err(Error::io("opening the package"))?;
    Ok(Headers::read(&mut BufReader::new(file))?.metadata)
}

/// Calls `take` for every file but ghosts, until it says no.
fn each(metadata: &PackageMetadata, mut take: impl FnMut(Claim, &str) -> bool) -> Result<()> {
    let header = &metadata.header;
    if !header.entry_is_present(IndexTag::RPMTAG_BASENAMES) {
        return Ok(());
    }
    let strings =
        |tag, label| header.get_entry_data_as_string_array(tag).map_err(|e| Error::tag(label, e));
    let words =
        |tag, label| header.get_entry_data_as_u32_array(tag).map_err(|e| Error::tag(label, e));
    let names = strings(IndexTag::RPMTAG_BASENAMES, "BASENAMES")?;
    let dirs = strings(IndexTag::RPMTAG_DIRNAMES, "DIRNAMES")?;
    let dir_indexes = words(IndexTag::RPMTAG_DIRINDEXES, "DIRINDEXES")?;
    let modes = header
        .get_entry_data_as_u16_array(IndexTag::RPMTAG_FILEMODES)
        .map_err(|error| Error::tag("FILEMODES", error))?;
    let flags = words(IndexTag::RPMTAG_FILEFLAGS, "FILEFLAGS")?;
    let targets = strings(IndexTag::RPMTAG_FILELINKTOS, "FILELINKTOS")?;
    let digests = strings(IndexTag::RPMTAG_FILEDIGESTS, "FILEDIGESTS")?;
    let users = strings(IndexTag::RPMTAG_FILEUSERNAME, "FILEUSERNAME")?;
    let groups = strings(IndexTag::RPMTAG_FILEGROUPNAME, "FILEGROUPNAME")?;
    let colors = header.get_entry_data_as_u32_array(IndexTag::RPMTAG_FILECOLORS).ok();
    // MD5 is what packages without the tag have.
    let kind = header.get_entry_data_as_u32(IndexTag::RPMTAG_FILEDIGESTALGO).unwrap_or(1);
    let count = names.len();
    let counts = [
        dir_indexes.len(),
        modes.len(),
        flags.len(),
        targets.len(),
        digests.len(),
        users.len(),
        groups.len(),
        colors.as_ref().map_or(count, Vec::len),
    ];
    if counts.iter().any(|found| *found != count) {
        return Err(Error::tag("BASENAMES", "the file tags differ in length"));
    }
    check_length_of_paths(dir_indexes.iter().zip(&names).map(|(index, name)| {
        dirs.get(*index as usize).map_or(0, |dir| dir.len() as u64) + name.len() as u64
    }))?;
    for (index, name) in names.iter().enumerate() {
        let dir = dirs.get(dir_indexes[index] as usize);
        let dir = dir.ok_or_else(|| Error::tag("DIRINDEXES", "leads beyond DIRNAMES"))?;
        let path = format!("{dir}{name}");
        let left_alone = LEFT_ALONE.iter().any(|place| {
            path.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
        if flags[index] & GHOST != 0 || left_alone {
            continue;
        }
        // The digest says more than the size, and a link has its target.
        let what = match modes[index] & 0o170_000 {
            0o100_000 => format!("{kind} {}", digests[index]),
            0o120_000 => targets[index].to_owned(),
            _ => String::new(),
        };
        let (user, group) = (users[index], groups[index]);
        let content = number(&format!("{}\0{user}\0{group}\0{what}", modes[index]));
        let color = colors.as_ref().map_or(0, |colors| colors[index]);
        if !take(Claim { path: number(&path), content, color }, &path) {
            break;
        }
    }
    Ok(())
}

/// A number that stands for a text: the start of its SHA-256, which nobody can make collide at will
/// with the few others of a root.
fn number(text: &str) -> u64 {
    let hex = Sha256::of(text.as_bytes()).hex();
    u64::from_str_radix(&hex[..16], 16).unwrap_or_default()
}
