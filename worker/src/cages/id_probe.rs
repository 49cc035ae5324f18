//! Whether this host can give cages ids of their own: found out by trying, in a process whose
//! mounts end with it.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use rpmfarm_core::id_ranges::IdRange;
use serde::{Deserialize, Serialize};

use super::cage::{BUILDER_ID, Overlay};
use super::idmap::IdMap;
use super::stage::{MountedLayers, mount_layers};

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct IdProbe {
    /// An empty directory of the file system that layers are on.
    pub(crate) layers: PathBuf,
    /// An empty one of the file system that builds write to.
    pub(crate) scratch: PathBuf,
    /// The ids on disk.
    pub(crate) disk: IdRange,
    /// Those of a cage.
    pub(crate) cage: IdRange,
}

/// The file with it, in the directory for layers.
const PLAN: &str = "probe.json";

impl IdProbe {
    /// Tries it, by the worker's own program.
    ///
    /// # Errors
    /// What the kernel said, and to what.
    pub(crate) fn run(&self, program: &Path) -> Result<()> {
        fs::write(self.layers.join(PLAN), serde_json::to_vec(self)?)
            .with_context(|| format!("cannot write to {}", self.layers.display()))?;
        let output = Command::new(program)
            .arg("cage-id-probe")
            .arg(&self.layers)
            .stdin(Stdio::null())
            .output()
            .context("cannot start the probe")?;
        if output.status.success() {
            return Ok(());
        }
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("{} ({})", stderr.trim(), output.status)
    }

    /// Layers with files of the builder's, one below and one on top: both have the ids of the cage
    /// where it looks, and those on disk below. Then the directory itself, as the data directory is
    /// covered.
    fn try_here(&self) -> Result<()> {
        let none = None::<&str>;
        unshare(CloneFlags::CLONE_NEWNS).context("making a mount namespace")?;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
            .context("parting mounts")?;
        let map = IdMap::make(self.disk, self.cage)?;
        let layer = self.layers.join("layer");
        let (upper, work) = (self.scratch.join("upper"), self.scratch.join("work"));
        for directory in [&layer, &upper, &work] {
            fs::create_dir(directory).with_context(|| format!("making {}", directory.display()))?;
        }
        let (on_disk, in_cage) = (self.disk.first() + BUILDER_ID, self.cage.first() + BUILDER_ID);
        file_of(&layer.join("below"), on_disk)?;
        let overlay = Overlay { layers: vec![layer], upper: upper.clone(), work };
        let at = self.layers.join("merged");
        mount_layers(&MountedLayers::Overlay(overlay), &at, Some(&map))
            .context("mounting layers with ids of a cage")?;
        belongs_to(&at.join("below"), in_cage)?;
        file_of(&at.join("above"), in_cage)?;
        belongs_to(&upper.join("above"), on_disk)?;
        map.cover(&self.layers)?;
        belongs_to(&self.layers.join("layer/below"), in_cage)
    }
}

/// What the probe's process does; its error is said on standard error.
#[allow(clippy::print_stderr)] // The answer to the worker, which waits for it.
pub(super) fn try_in(directory: &Path) -> u8 {
    let tried = fs::read(directory.join(PLAN))
        .context("reading what is to be tried")
        .and_then(|bytes| Ok(serde_json::from_slice::<IdProbe>(&bytes)?))
        .and_then(|probe| probe.try_here());
    if let Err(error) = &tried {
        eprintln!("{error:#}");
    }
    u8::from(tried.is_err())
}

fn file_of(path: &Path, id: u32) -> Result<()> {
    fs::write(path, "")
        .and_then(|()| chown(path, Some(id), Some(id)))
        .with_context(|| format!("making {} for user {id}", path.display()))
}

fn belongs_to(path: &Path, id: u32) -> Result<()> {
    let about = fs::symlink_metadata(path).with_context(|| path.display().to_string())?;
    let (uid, gid) = (about.uid(), about.gid());
    ensure!(
        (uid, gid) == (id, id),
        "{} belongs to user {uid} and group {gid}, expected were {id} and {id}",
        path.display()
    );
    Ok(())
}
