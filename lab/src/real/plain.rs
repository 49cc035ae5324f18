//! The peer: the same sources in the same root, built by plain rpmbuild in a chroot as mock sets it
//! up.
//!
//! Owns that root (made by the host's rpm from the packages of the farm's lock) and the build in
//! it. It shares nothing with the worker but the list of packages, and must not know what came out
//! there.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::lchown;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context as _, bail, ensure};
use parking_lot::Mutex;
use rpmfarm_core::lock::{Layer, LockedPackage};
use rpmfarm_core::{Lock, Sha256};

use super::compare::Packages;
use super::farmed;
use super::header::Header;
use super::state::{Plain, State};
use super::upstream::{Branch, Git};
use crate::farm::World;
use crate::tool;

const SCRIPT: &str = include_str!("plain.sh");

/// The ids of mock's build user and its group.
const BUILDER: u32 = 1000;
const BUILDERS: u32 = 135;

/// The timeout of one build, in seconds.
const LONGEST: &str = "1800";

/// The namespaces of a chroot, all of which end with it.
const UNSHARE: [&str; 9] = [
    "--mount",
    "--propagation",
    "private",
    "--pid",
    "--fork",
    "--kill-child",
    "--net",
    "--ipc",
    "--uts",
];

/// The namespaces in which a base root is made: scriptlets see no process of the host.
const UNSHARE_ROOT: [&str; 6] =
    ["--mount", "--propagation", "private", "--pid", "--fork", "--kill-child"];

/// `$1` root, `$2` packages.
const INSTALL: &str = "\
set -eu
export PATH=/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin
mkdir -p \"$1/proc\" \"$1/dev\"
mount -t proc proc \"$1/proc\"
mount --rbind /dev \"$1/dev\"
tr '\\n' '\\0' < \"$2\" |
  xargs -0 rpm --root \"$1\" --define '_dbpath /var/lib/rpm' -U --nosignature --nodigest
";

/// Builds by plain rpmbuild.
pub struct Chroot<'a> {
    state: &'a State,
    world: &'a World,
    git: &'a Git,
    /// The served repository of the distribution.
    distro: PathBuf,
    /// Look-aside files by digest.
    lookaside: PathBuf,
    /// Held while a root is made, so that no two threads make the same.
    making: Mutex<()>,
}

impl<'a> Chroot<'a> {
    /// With the packages and tarballs of a world below a directory.
    #[must_use]
    pub fn new(state: &'a State, world: &'a World, git: &'a Git, directory: &Path) -> Self {
        let distro = directory.join("distro/x86_64/repo");
        let lookaside = directory.join("lookaside");
        Self { state, world, git, distro, lookaside, making: Mutex::new(()) }
    }

    /// Builds a branch in the root of a lock; the packages go to `out`.
    ///
    /// # Errors
    /// When the root cannot be made, which is not the package's fault.
    pub fn build(&self, branch: &Branch, lock: &Lock, out: &Path) -> anyhow::Result<Plain> {
        let [base, above @ ..] = lock.layers.as_slice() else { bail!("a lock without a root") };
        let lower = self.base(branch, base)?;
        let scratch = tempfile::tempdir_in(self.state.directory("work")?)?;
        for name in ["upper", "work", "root"] {
            fs::create_dir(scratch.path().join(name))?;
        }
        self.fill(branch, &scratch.path().join("upper/builddir"))?;
        let list = scratch.path().join("packages");
        self.list(branch, above.iter().flat_map(Layer::packages), &list)?;
        let log = out.with_extension("log");
        let file = fs::File::create(&log)?;
        let status = Command::new("timeout")
            .args(["--kill-after=10", LONGEST, "unshare"])
            .args(UNSHARE)
            .args(["bash", "-c", SCRIPT, "plain"])
            .arg(&lower)
            .arg(scratch.path())
            .arg(&list)
            .arg(format!("{}.spec", branch.package))
            .stdin(std::process::Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .status()
            .context("cannot run timeout")?;
        let times = fs::read_to_string(scratch.path().join("times")).unwrap_or_default();
        let mut plain = Plain { built: status.success(), ..Plain::default() };
        let times: Vec<f64> =
            times.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        if let [begin, installed, end] = times[..] {
            (plain.root, plain.rpmbuild) = (installed - begin, end - installed);
        }
        let top = scratch.path().join("upper/builddir/build");
        if plain.built {
            take(&top, out)?;
        } else {
            let text = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
            plain.message = reason(&text);
        }
        Ok(plain)
    }

    /// The base root of a lock; locks with the same packages share one.
    fn base(&self, branch: &Branch, layer: &Layer) -> anyhow::Result<PathBuf> {
        let digests: String =
            layer.packages().iter().map(|one| format!("{}\n", one.digest)).collect();
        let root =
            self.state.directory("roots")?.join(Sha256::compute(digests.as_bytes()).to_string());
        let _making = self.making.lock();
        if root.exists() {
            return Ok(root);
        }
        let half = root.with_extension("part");
        if half.exists() {
            fs::remove_dir_all(&half)?;
        }
        fs::create_dir_all(&half)?;
        let list = root.with_extension("packages");
        self.list(branch, layer.packages().iter(), &list)?;
        let mut command = Command::new("unshare");
        command.args(UNSHARE_ROOT).args(["bash", "-c", INSTALL, "install"]).arg(&half).arg(&list);
        tool::output(&mut command).context("cannot make the chroot's root")?;
        fs::rename(&half, &root)?;
        Ok(root)
    }

    /// Writes the paths of locked packages into a file.
    fn list<'p>(
        &self,
        branch: &Branch,
        packages: impl Iterator<Item = &'p LockedPackage>,
        to: &Path,
    ) -> anyhow::Result<()> {
        let mut text = String::new();
        for package in packages {
            let path = if package.location.is_empty() {
                self.built(&branch.release.branch, package)?
            } else {
                self.distro.join(&package.location)
            };
            ensure!(path.is_file(), "{} of the lock is not in the lab", package.nevra);
            text.push_str(&format!("{}\n", path.display()));
        }
        fs::write(to, text)?;
        Ok(())
    }

    /// A package of the farm's own, built for the same branch.
    fn built(&self, release: &str, package: &LockedPackage) -> anyhow::Result<PathBuf> {
        let file = package.nevra.file_name();
        for entry in fs::read_dir(self.state.of(""))? {
            let entry = entry?;
            let name = entry.file_name();
            let of_release =
                name.to_string_lossy().rsplit_once('@').is_some_and(|(_, of)| of == release);
            let path = entry.path().join("farm").join(&file);
            if of_release && path.is_file() {
                return Ok(path);
            }
        }
        bail!("{file} of the lock is kept nowhere: rebuild with --again")
    }

    /// Prepares the build user's home, as mock does.
    fn fill(&self, branch: &Branch, home: &Path) -> anyhow::Result<()> {
        let top = home.join("build");
        for name in ["BUILD", "BUILDROOT", "RPMS", "SRPMS"] {
            fs::create_dir_all(top.join(name))?;
        }
        self.git.check_out(branch, &top)?;
        for file in branch.tarballs.as_deref().unwrap_or_default() {
            fs::copy(self.lookaside.join(&file.checksum.hex), top.join("SOURCES").join(&file.name))
                .with_context(|| format!("cannot take {}", file.name))?;
        }
        let target = farmed::target(self.world, &branch.release)?;
        let macros = format!(
            "{}\n%_topdir /builddir/build\n\
             %_rpmfilename %%{{NAME}}-%%{{VERSION}}-%%{{RELEASE}}.%%{{ARCH}}.rpm\n",
            target.macro_file(&branch.package).trim_end()
        );
        fs::write(home.join(".rpmmacros"), macros)?;
        own(home)
    }
}

/// The time that the farm sets on source files. Those of a check-out have the time of the
/// check-out, which says nothing about the package.
const SOURCE_TIME: Duration = Duration::from_secs(315_532_800); // 1980-01-01

/// Gives a tree to the build user; links are not followed.
fn own(path: &Path) -> anyhow::Result<()> {
    lchown(path, Some(BUILDER), Some(BUILDERS))?;
    let kind = fs::symlink_metadata(path)?;
    if kind.is_file() {
        fs::File::options().write(true).open(path)?.set_modified(UNIX_EPOCH + SOURCE_TIME)?;
    }
    if kind.is_dir() {
        for entry in fs::read_dir(path)? {
            own(&entry?.path())?;
        }
    }
    Ok(())
}

/// Moves the packages out of rpmbuild's directory.
fn take(top: &Path, out: &Path) -> anyhow::Result<()> {
    if out.exists() {
        fs::remove_dir_all(out)?;
    }
    fs::create_dir_all(out)?;
    for directory in ["RPMS", "SRPMS"] {
        for entry in fs::read_dir(top.join(directory))? {
            let entry = entry?;
            // The build could write here: only plain files are moved.
            if entry.file_type()?.is_file() && entry.file_name().to_string_lossy().ends_with(".rpm")
            {
                fs::copy(entry.path(), out.join(entry.file_name()))?;
            }
        }
    }
    Ok(())
}

/// The lines of the log with the cause of a failure: rpmbuild's own errors, or the end of the log.
fn reason(log: &str) -> String {
    let lines: Vec<&str> = log.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let errors =
        lines.iter().filter(|line| line.starts_with("error: ") || line.contains(" is needed by "));
    let errors: Vec<&str> = errors.copied().take(3).collect();
    if errors.is_empty() {
        lines.last().map(|line| (*line).to_owned()).unwrap_or_default()
    } else {
        errors.join("; ")
    }
}

/// The headers of the packages in a directory, read by real rpm.
///
/// # Errors
/// When rpm cannot read one.
pub fn headers(directory: &Path) -> anyhow::Result<Packages> {
    let mut packages = BTreeMap::new();
    for entry in fs::read_dir(directory).with_context(|| directory.display().to_string())? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.ends_with(".rpm") {
            continue;
        }
        let mut rpm = Command::new("rpm");
        rpm.args(["--query", "--xml", "--nosignature", "--package"]).arg(entry.path());
        let xml = tool::output(&mut rpm)?;
        packages.insert(name, Header::parse(&String::from_utf8_lossy(&xml)));
    }
    Ok(packages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_rpmbuilds_own() {
        let log = "checking…\nmake: *** [all] Error 2\nerror: Bad exit status from x (%build)\n\nRPM build errors:\n";
        assert_eq!(reason(log), "error: Bad exit status from x (%build)");
        assert_eq!(reason("one\ntwo\n\n"), "two");
        assert_eq!(reason(""), "");
    }
}
