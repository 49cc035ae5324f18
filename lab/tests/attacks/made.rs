//! Packages as somebody makes them beside the farm, for the lab's target.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::Attack;

/// A source package and the one package of it.
pub(crate) struct Made {
    top: TempDir,
}

impl Made {
    pub(crate) fn of(attack: &Attack<'_>) -> Self {
        let top = tempfile::tempdir().unwrap();
        let spec = top.path().join(format!("{}.spec", attack.name));
        std::fs::write(&spec, attack.spec()).unwrap();
        let output = Command::new("rpmbuild")
            .args(["-ba", "--nodeps", "--define"])
            .arg(format!("_topdir {}", top.path().display()))
            .args(["--define", "dist .lab9"])
            .args(["--define", "_rpmfilename %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm"])
            .arg(&spec)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Self { top }
    }

    pub(crate) fn source(&self) -> PathBuf {
        only_file(&self.top.path().join("SRPMS"))
    }

    pub(crate) fn binary(&self) -> PathBuf {
        only_file(&self.top.path().join("RPMS"))
    }
}

fn only_file(directory: &Path) -> PathBuf {
    let files: Vec<PathBuf> =
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files[0].clone()
}
