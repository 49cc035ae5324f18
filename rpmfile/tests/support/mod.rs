//! Real packages by real rpmbuild, and real rpm as the judge.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

pub const SPEC: &str = r#"
Name: sample
Epoch: 2
Version: 1.0~rc1
Release: 3.el9
Summary: Sample
License: MIT
Source0: sample.txt
Requires: bash >= 4
Provides: sample(feature) = 7
%define debug_package %{nil}
%global __os_install_post %{nil}
%description
A sample.
%install
mkdir -p %{buildroot}/usr/bin %{buildroot}/usr/share/sample/empty %{buildroot}/bin %{buildroot}/var/lib
echo '#!/bin/sh' > %{buildroot}/usr/bin/sample
chmod 4755 %{buildroot}/usr/bin/sample
for i in $(seq 20000); do echo "line $i"; done > %{buildroot}/usr/share/sample/data
ln %{buildroot}/usr/share/sample/data %{buildroot}/usr/share/sample/more
ln %{buildroot}/usr/share/sample/data %{buildroot}/usr/share/sample/again
ln -s ../share/sample/data %{buildroot}/usr/bin/link
ln -s /usr/share/sample/data %{buildroot}/usr/bin/absolute
: > %{buildroot}/usr/share/sample/nothing
echo 'ä' > "%{buildroot}/usr/share/sample/ünïcode name"
echo x > %{buildroot}/bin/merged
touch %{buildroot}/var/lib/ghost
%files
%attr(4755,root,root) /usr/bin/sample
/usr/bin/link
/usr/bin/absolute
%attr(0640,nobody,nogroup) /usr/share/sample/data
%attr(0640,nobody,nogroup) /usr/share/sample/more
%attr(0640,nobody,nogroup) /usr/share/sample/again
/usr/share/sample/nothing
/bin/merged
"/usr/share/sample/ünïcode name"
%dir %attr(0500,root,root) /usr/share/sample/empty
%dir /usr/share/sample
%ghost /var/lib/ghost
"#;

/// A source and a binary package.
pub struct Built {
    pub dir: TempDir,
    pub source: PathBuf,
    pub binary: PathBuf,
}

/// Builds the sample with a payload compression, as `w19.zstdio`.
pub fn build(compression: &str) -> Built {
    build_spec(SPEC, &[("_binary_payload", compression), ("_source_payload", compression)])
}

pub fn build_spec(spec: &str, defines: &[(&str, &str)]) -> Built {
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path();
    for sub in ["SOURCES", "SPECS"] {
        fs::create_dir(top.join(sub)).unwrap();
    }
    fs::write(top.join("SOURCES/sample.txt"), "source\n").unwrap();
    fs::write(top.join("SPECS/sample.spec"), spec).unwrap();
    let mut command = Command::new("rpmbuild");
    command.arg("-ba").arg("--nodeps").arg("--define").arg(format!("_topdir {}", top.display()));
    for (name, value) in defines {
        command.arg("--define").arg(format!("{name} {value}"));
    }
    run(command.arg(top.join("SPECS/sample.spec")));
    let find = |sub: &str| find_rpm(&top.join(sub)).expect("rpmbuild made a package");
    let (source, binary) = (find("SRPMS"), find("RPMS"));
    Built { dir, source, binary }
}

fn find_rpm(dir: &Path) -> Option<PathBuf> {
    for entry in fs::read_dir(dir).ok()? {
        let path = entry.ok()?.path();
        if path.is_dir() {
            if let Some(found) = find_rpm(&path) {
                return Some(found);
            }
        } else if path.extension().is_some_and(|ext| ext == "rpm") {
            return Some(path);
        }
    }
    None
}

/// Runs a command that must succeed.
pub fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// The output of `rpm -qp --qf`.
pub fn query(path: &Path, format: &str) -> String {
    let output = run(Command::new("rpm").args(["-qp", "--nosignature", "--qf", format]).arg(path));
    String::from_utf8(output.stdout).unwrap()
}

/// A key made by gpg, in a home of its own.
pub struct Gpg {
    pub home: TempDir,
    pub public: String,
}

impl Gpg {
    pub fn new(algorithm: &str, expires: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut gpg = Self { home, public: String::new() };
        run(gpg.command().args([
            "--quick-gen-key",
            "Test <test@example.com>",
            algorithm,
            "sign",
            expires,
        ]));
        let public = run(gpg.command().args(["--armor", "--export"])).stdout;
        gpg.public = String::from_utf8(public).unwrap();
        gpg
    }

    pub fn command(&self) -> Command {
        let mut command = Command::new("gpg");
        command.args(["--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""]);
        command.arg("--homedir").arg(self.home.path());
        command
    }

    /// A signature packet over data.
    pub fn sign(&self, data: &[u8], options: &[&str]) -> Vec<u8> {
        let file = self.home.path().join("data");
        fs::write(&file, data).unwrap();
        run(self.command().args(options).args(["--detach-sign", "-o", "-"]).arg(&file)).stdout
    }
}

impl Drop for Gpg {
    fn drop(&mut self) {
        let _ = Command::new("gpgconf")
            .arg("--homedir")
            .arg(self.home.path())
            .args(["--kill", "gpg-agent"])
            .status();
    }
}

/// The output of `rpmkeys --checksig` at the strictest level with only this key, and whether it
/// succeeds.
pub fn checksig(path: &Path, public: &str) -> (bool, String) {
    let db = tempfile::tempdir().unwrap();
    let key = db.path().join("key.asc");
    fs::write(&key, public).unwrap();
    let rpmkeys = || {
        let mut command = Command::new("rpmkeys");
        command.arg("--dbpath").arg(db.path()).args(["--define", "_pkgverify_level all"]);
        command
    };
    run(rpmkeys().arg("--import").arg(&key));
    let output = rpmkeys().args(["--checksig", "-v"]).arg(path).output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}
