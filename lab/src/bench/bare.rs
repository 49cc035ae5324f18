//! The peer of a build task: the same packages installed by dnf into a directory, and rpmbuild
//! run there by chroot, with nothing around it.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::Context as _;
use rpmfarm_core::Lock;
use rpmfarm_core::lock::Layer;

use super::memory;
use crate::farm::InstallRoot;
use crate::tool;

/// A root made by dnf.
pub(super) struct BareRoot {
    root: InstallRoot,
    /// How long dnf took, in seconds.
    pub(super) seconds: f64,
    /// The most memory that dnf had, in MiB.
    pub(super) peak_mib: f64,
}

/// `$1` root, `$2` source package in it. Prints when rpmbuild began and ended, in seconds.
/// Requirements are not checked: dnf wrote the database where the host's rpm has it, not the root's.
const REBUILD: &str = r#"
set -eu
mount -t proc proc "$1/proc"
mount --rbind /dev "$1/dev"
rm -rf "$1/builddir"
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8
begin=$EPOCHREALTIME
chroot "$1" rpmbuild --rebuild --nodeps --define '_topdir /builddir' "$2" > "$1/log" 2>&1 || {
  tail -n 15 "$1/log" >&2
  exit 1
}
echo "$begin $EPOCHREALTIME"
"#;

impl BareRoot {
    /// Installs the packages of a lock's root from the repository they come from, on this disk.
    pub(super) fn install(
        directory: &Path,
        lock: &Lock,
        repository: &Path,
    ) -> anyhow::Result<Self> {
        let mut root = InstallRoot::new(directory, lock.arch.as_str())?;
        let baseurl = format!("baseurl=file://{}", repository.display());
        root.add_file("bench", &format!("[bench]\nname=bench\n{baseurl}\ngpgcheck=0\n"))?;
        // The bootstrap is the worker's own affair: its packages are in the first layer, too.
        let packages = lock.layers.iter().flat_map(Layer::packages);
        let mut command = root.command(&["install", "-y"]);
        command.args(packages.map(|package| package.nevra.to_string()));
        let begun = Instant::now();
        let peak_mib = memory::run_and_watch(&mut command, &directory.join("dnf.log"))?;
        Ok(Self { root, seconds: begun.elapsed().as_secs_f64(), peak_mib })
    }

    /// Rebuilds a source package; the seconds that rpmbuild took.
    pub(super) fn rebuild(&self, srpm: &Path) -> anyhow::Result<f64> {
        let name = srpm.file_name().context("a file has a name")?;
        std::fs::copy(srpm, self.root.path().join(name))?;
        let inside = Path::new("/").join(name);
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "bash", "-c", REBUILD, "bare"]);
        command.arg(self.root.path()).arg(inside);
        let said = String::from_utf8(tool::output(&mut command)?)?;
        let (begin, end) = said.trim().split_once(' ').context("no times")?;
        Ok(end.parse::<f64>()? - begin.parse::<f64>()?)
    }
}
