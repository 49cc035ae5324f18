//! The build user's home, `/builddir`: how it is filled before a build, and how its remains are
//! read.
//!
//! Owns its directories, and the owners of its files. Before the build nothing untrusted is in it,
//! so plain paths are used; afterwards it is untrusted, and is read through [`ConfinedDir`] only.
//! It must not know what runs in between.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::time::{Duration, SystemTime};

use rpmfarm_core::task::{Assignment, TaskKind};
use rpmfarm_core::{Failure, FailureStage, Fault};

use super::engine::worker;
use super::modify::{ModifiedFile, ModifiedSources};
use super::{macros, python};
use crate::cages::cage::BUILDER_ID;
use crate::cages::confined_dir::ConfinedDir;

/// Fills an empty upper layer below `scratch`, for host ids from `base` on. `sources` lie in
/// `input`; a build from an SRPM has none.
pub(super) fn fill(
    scratch: &Path,
    base: u32,
    assignment: &Assignment,
    input: &Path,
    sources: Option<&ModifiedSources>,
) -> io::Result<()> {
    let id = base + BUILDER_ID;
    let upper = scratch.join("upper");
    owned_directory(&upper, base)?;
    fs::create_dir(scratch.join("work"))?;
    let home = upper.join("builddir");
    let build = home.join("build");
    for directory in [&home, &build] {
        owned_directory(directory, id)?;
    }
    for name in ["BUILD", "BUILDROOT", "RPMS", "SOURCES", "SPECS", "SRPMS"] {
        owned_directory(&build.join(name), id)?;
    }
    let macros = macros::text(&assignment.macros, assignment.kind());
    owned_file(&home.join(".rpmmacros"), &macros, id)?;
    if assignment.kind() != TaskKind::Srpm {
        owned_file(&home.join(python::FILE), python::SCRIPT, id)?;
    }
    let Some(ModifiedSources { spec, sources }) = sources else { return Ok(()) };
    copy_source(input, spec, &build.join("SPECS"), id)?;
    sources.iter().try_for_each(|source| copy_source(input, source, &build.join("SOURCES"), id))
}

/// The build directory as the build left it.
pub(super) fn build_directory(scratch: &Path) -> Result<ConfinedDir, Failure> {
    let upper = ConfinedDir::open(&scratch.join("upper"))
        .map_err(worker(FailureStage::Files, "open the scratch space"))?;
    upper.directory("builddir/build").map_err(tampered)
}

/// Whatever the build did to its directory is the package's fault.
pub(super) fn tampered(error: io::Error) -> Failure {
    let message = format!("the build left its build directory unusable: {error}");
    Failure::new(Fault::Package, FailureStage::Files, message)
}

/// Makes a directory that belongs to an id of the host.
pub(super) fn owned_directory(path: &Path, id: u32) -> io::Result<()> {
    fs::create_dir(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    chown(path, Some(id), Some(id))
}

fn owned_file(path: &Path, text: &str, id: u32) -> io::Result<()> {
    fs::write(path, text)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644))?;
    chown(path, Some(id), Some(id))
}

/// The modification time of source files: an SRPM keeps it, and the time at which a worker fetched
/// them means nothing.
const SOURCE_TIME: Duration = Duration::from_secs(315_532_800); // 1980-01-01

/// Copies a source as `git checkout` gives it to a user with the usual mask of 022: rpm keeps the
/// mode in the source package.
fn copy_source(from: &Path, file: &ModifiedFile, to: &Path, id: u32) -> io::Result<()> {
    let to = &to.join(&file.name);
    let mut target = fs::File::create(to)?;
    io::copy(&mut fs::File::open(from.join(&file.name))?, &mut target)?;
    let mode = if file.executable { 0o755 } else { 0o644 };
    target.set_permissions(fs::Permissions::from_mode(mode))?;
    chown(to, Some(id), Some(id))?;
    target.set_modified(SystemTime::UNIX_EPOCH + SOURCE_TIME)
}
