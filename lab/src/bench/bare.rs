//! The comparison for a build task: the same packages installed by dnf into a directory, and
//! rpmbuild run there by chroot, with nothing around it.

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
    /// The peak memory of dnf, in MiB.
    pub(super) peak_mib: f64,
}

/// `$1` root, `$2` a file in it, `$3` a script for that file. Runs the script in the root, and
/// prints when it began and ended, in seconds.
const RUN: &str = r#"
set -eu
mount -t proc proc "$1/proc"
mount --rbind /dev "$1/dev"
rm -rf "$1/builddir"
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8
begin=$EPOCHREALTIME
chroot "$1" /bin/sh -c "$3" bare "$2" > "$1/log" 2>&1 || {
  tail -n 15 "$1/log" >&2
  exit 1
}
echo "$begin $EPOCHREALTIME"
"#;

/// What a build task has done in its cage with a source package.
const REBUILD: &str = r#"rpm -i --nodeps --nosignature --nodigest --define "_topdir /builddir" "$1" &&
  rpmbuild -bb --noclean --define "_topdir /builddir" /builddir/SPECS/*.spec"#;

/// What the task of the source package and the build task have done together with a spec.
const BUILD: &str = r#"rpmbuild -ba --nodeps --noclean --define "_topdir /builddir" "$1""#;

/// dnf writes rpm's database where the host's rpm has it; the root's own rpm looks for it here, and
/// would make an empty one at each run.
const DATABASE: (&str, &str) = ("root/.rpmdb", "var/lib/rpm");

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
        // The bootstrap is needed only by the worker; its packages are in the first layer, too.
        let packages = lock.layers.iter().flat_map(Layer::packages);
        let mut command = root.command(&["install", "-y"]);
        command.args(packages.map(|package| package.nevra.to_string()));
        let begun = Instant::now();
        let peak_mib = memory::run_and_watch(&mut command, &directory.join("dnf.log"))?;
        let seconds = begun.elapsed().as_secs_f64();
        let (from, to) = (directory.join(DATABASE.0), directory.join(DATABASE.1));
        if from.exists() {
            let _ = std::fs::remove_dir_all(&to);
            std::fs::rename(from, to)?;
        }
        Ok(Self { root, seconds, peak_mib })
    }

    /// Rebuilds a source package; returns the seconds of rpmbuild.
    pub(super) fn rebuild(&self, srpm: &Path) -> anyhow::Result<f64> {
        self.run(srpm, REBUILD)
    }

    /// Builds a spec without sources, whatever it requires; the seconds that rpmbuild took.
    pub(super) fn build(&self, spec: &Path) -> anyhow::Result<f64> {
        self.run(spec, BUILD)
    }

    fn run(&self, file: &Path, script: &str) -> anyhow::Result<f64> {
        let name = file.file_name().context("a file has a name")?;
        std::fs::copy(file, self.root.path().join(name))?;
        let inside = Path::new("/").join(name);
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "bash", "-c", RUN, "bare"]);
        command.arg(self.root.path()).arg(inside).arg(script);
        let output = String::from_utf8(tool::output(&mut command)?)?;
        let (begin, end) = output.trim().split_once(' ').context("no times")?;
        Ok(end.parse::<f64>()? - begin.parse::<f64>()?)
    }
}
