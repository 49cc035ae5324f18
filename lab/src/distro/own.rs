//! The lab's own packages: those that complete the set to a system, and EL's macros. Their files
//! are compiled in, so that the binary alone makes a distribution.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rpmfarm_core::Arch;

use super::spec::Spec;
use super::{DistroError, build};
use crate::cache;

/// A file of an own package.
struct OwnFile {
    path: &'static str,
    mode: u32,
    content: &'static str,
}

/// A package whose files are compiled in.
pub(super) struct OwnPackage {
    name: &'static str,
    version: &'static str,
    summary: &'static str,
    /// Directories with their modes, made before the files.
    directories: &'static [(&'static str, u32)],
    files: &'static [OwnFile],
    requires: &'static [&'static str],
    provides: &'static [&'static str],
}

macro_rules! own {
    ($path:literal, $mode:literal, $source:literal) => {
        OwnFile {
            path: $path,
            mode: $mode,
            content: include_str!(concat!("../../recipe/", $source)),
        }
    };
}

pub(super) const PACKAGES: [OwnPackage; 3] = [
    OwnPackage {
        name: "rpmfarm-lab-release",
        version: "9-1.lab9",
        summary: "Accounts, names and the release file of the lab",
        directories: &[
            ("builddir", 0o755),
            ("tmp", 0o1777),
            ("var/tmp", 0o1777),
            ("var/lib/rpm", 0o755),
        ],
        files: &[
            own!("usr/lib/os-release", 0o644, "release/os-release"),
            own!("etc/os-release", 0o644, "release/os-release"),
            own!("etc/system-release", 0o644, "release/system-release"),
            own!("etc/passwd", 0o644, "release/passwd"),
            own!("etc/group", 0o644, "release/group"),
            own!("etc/nsswitch.conf", 0o644, "release/nsswitch.conf"),
            own!("etc/hosts", 0o644, "release/hosts"),
            own!("etc/rpm/macros.dbpath", 0o644, "release/macros.dbpath"),
        ],
        requires: &[],
        provides: &[
            "system-release = 9",
            "system-release(releasever) = 9",
            "almalinux-release = 9",
        ],
    },
    OwnPackage {
        name: "rpmfarm-lab-macros",
        version: "9-1.lab9",
        summary: "RPM macros as packages of enterprise distributions expect them",
        directories: &[],
        files: &[
            own!("etc/rpmrc", 0o644, "macros/rpmrc"),
            own!("etc/rpm/macros.lab", 0o644, "macros/macros.lab"),
            own!("etc/rpm/macros.lab-cmake", 0o644, "macros/macros.lab-cmake"),
            own!("etc/rpm/macros.lab-python", 0o644, "macros/macros.lab-python"),
            own!("usr/lib/rpm/lab/gpgverify", 0o755, "macros/gpgverify"),
            own!("usr/lib/rpm/lab/pyproject", 0o755, "macros/pyproject"),
        ],
        requires: &["rpm-build"],
        provides: &[
            "redhat-rpm-config = 201-1",
            "system-rpm-config = 201-1",
            "epel-rpm-macros = 9-1",
            "kernel-srpm-macros = 1.0-1",
            "python-rpm-macros = 3.11-1",
            "python3-rpm-macros = 3.11-1",
            "python-srpm-macros = 3.11-1",
            "pyproject-rpm-macros = 1.16-1",
            "cmake-rpm-macros = 3.25-1",
            "systemd-rpm-macros = 252-1",
            "perl-srpm-macros = 1-41",
            "go-srpm-macros = 3.0-1",
        ],
    },
    OwnPackage {
        name: "rpm-build",
        version: "4.18.0-1.lab9",
        summary: "What rpm needs to build packages",
        directories: &[],
        files: &[],
        requires: &[
            "binutils",
            "bzip2",
            "cpio",
            "debugedit",
            "diffutils",
            "elfutils",
            "file",
            "findutils",
            "gawk",
            "grep",
            "gzip",
            "patch",
            "perl",
            "rpm",
            "rpm2cpio",
            "rpmfarm-lab-macros",
            "sed",
            "tar",
            "unzip",
            "xz-utils",
            "zstd",
        ],
        provides: &[],
    },
];

impl OwnPackage {
    pub(super) const fn name(&self) -> &'static str {
        self.name
    }

    /// Changes with everything that the package is made of.
    pub(super) fn key(&self) -> String {
        let text = self.spec().text();
        let directories = format!("{:?}", self.directories);
        let files = self.files.iter().flat_map(|file| [file.path, file.content]);
        cache::key([text.as_str(), directories.as_str()].into_iter().chain(files))
    }

    fn spec(&self) -> Spec {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Spec {
            name: self.name.to_owned(),
            evr: self.version.to_owned(),
            summary: self.summary.to_owned(),
            noarch: true,
            requires: owned(self.requires),
            provides: owned(self.provides),
            ..Spec::default()
        }
    }

    /// Makes the RPM below `work`, a directory of this build alone.
    pub(super) fn build(&self, arch: Arch, work: &Path) -> Result<PathBuf, DistroError> {
        let root = work.join("root");
        fs::create_dir_all(&root)?;
        for (path, mode) in self.directories {
            let path = root.join(path);
            fs::create_dir_all(&path)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(*mode))?;
        }
        for file in self.files {
            let path = root.join(file.path);
            fs::create_dir_all(path.parent().unwrap_or(&root))?;
            fs::write(&path, file.content)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(file.mode))?;
        }
        build::build(arch, self.spec(), &root, work)
    }
}
