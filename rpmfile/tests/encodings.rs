//! Names and texts that are not UTF-8, as real packages have them: rpm takes any bytes.

#![allow(clippy::unwrap_used)]

mod support;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::process::Command;

use rpmfarm_rpmfile::{Ownership, RpmError, check_contents, inspect, is_intact, unpack};
use tempfile::TempDir;

/// Bytes after `\x` in hex stand for themselves.
fn bytes(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\\x") {
        bytes.extend_from_slice(before.as_bytes());
        bytes.push(u8::from_str_radix(&after[..2], 16).unwrap());
        rest = &after[2..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}

/// The package that rpmbuild makes of a spec.
fn build(spec: &str) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.spec");
    fs::write(&path, bytes(spec)).unwrap();
    let mut command = Command::new("rpmbuild");
    command.args(["-bb", "--nodeps", "--define", &format!("_topdir {}", dir.path().display())]);
    let output = command.arg(&path).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut made = fs::read_dir(dir.path().join("RPMS/noarch")).unwrap();
    let package = made.next().unwrap().unwrap().path();
    (dir, package)
}

const SPEC: &str = "%global _invalid_encoding_terminates_build 0\n\
Name: latin\nVersion: 1\nRelease: 1\nSummary: R\\xe9sum\\xe9\nLicense: x\nVendor: Caf\\xe9 SA\nBuildArch: noarch\n\
%description\nna\\xefve, and \u{fc} in UTF-8\n\
%install\nmkdir -p %{buildroot}/usr/share/latin '%{buildroot}/usr/share/gr\u{fc}n' '%{buildroot}/usr/share/d\\xedr'\n\
printf ascii > %{buildroot}/usr/share/latin/ascii\n\
printf one > %{buildroot}/usr/share/latin/caf\\xe9\n\
printf two > %{buildroot}/usr/share/latin/caf\u{e9}\n\
printf three > '%{buildroot}/usr/share/gr\u{fc}n/caf\\xe9'\n\
printf four > '%{buildroot}/usr/share/gr\u{fc}n/caf\u{e9}'\n\
printf five > '%{buildroot}/usr/share/d\\xedr/\u{e9}'\n\
ln -s caf\\xe9 %{buildroot}/usr/share/latin/link\n\
%files\n/usr/share/latin\n/usr/share/gr*\n/usr/share/d*\n\
%changelog\n* Mon Jan 01 2024 J\\xe9r\\xf4me <a@example.org> - 1-1\n- caf\\xe9 and more\n";

#[test]
fn latin_names_and_texts_are_taken() {
    let (dir, package) = build(SPEC);
    let found = inspect(&package).unwrap();
    check_contents(&package).unwrap();
    assert!(is_intact(&package));
    let text = |value: Result<&str, rpm::Error>| value.unwrap().to_owned();
    assert_eq!(text(found.metadata.get_summary()), "R\u{e9}sum\u{e9}");
    assert_eq!(text(found.metadata.get_vendor()), "Caf\u{e9} SA");
    let entries = found.metadata.get_changelog_entries().unwrap();
    assert_eq!(entries[0].name, "J\u{e9}r\u{f4}me <a@example.org> - 1-1");
    assert_eq!(entries[0].description, "- caf\u{e9} and more");
    let mut paths: Vec<String> = found
        .metadata
        .get_file_entries()
        .unwrap()
        .iter()
        .map(|entry| entry.path().display().to_string())
        .collect();
    paths.sort_unstable();
    // A path is one text: in Latin-1 with a directory in UTF-8, that is read as Latin-1, too.
    let mut expected = [
        "/usr/share/d\u{ed}r",
        "/usr/share/d\u{ed}r/\u{c3}\u{a9}",
        "/usr/share/gr\u{c3}\u{bc}n/caf\u{e9}",
        "/usr/share/gr\u{fc}n",
        "/usr/share/gr\u{fc}n/caf\u{e9}",
        "/usr/share/latin",
        "/usr/share/latin/ascii",
        "/usr/share/latin/caf\u{e9}",
        "/usr/share/latin/caf\u{e9}",
        "/usr/share/latin/link",
    ];
    expected.sort_unstable();
    assert_eq!(paths, expected);

    let into = dir.path().join("root");
    fs::create_dir(&into).unwrap();
    unpack(&package, &into, Ownership::Caller).unwrap();
    let path = |name: &str| into.join(OsStr::from_bytes(&bytes(name)));
    for (name, content) in [
        ("usr/share/latin/caf\\xe9", "one"),
        ("usr/share/latin/caf\u{e9}", "two"),
        ("usr/share/latin/link", "one"),
        ("usr/share/gr\u{fc}n/caf\\xe9", "three"),
        ("usr/share/gr\u{fc}n/caf\u{e9}", "four"),
        ("usr/share/d\\xedr/\u{e9}", "five"),
    ] {
        assert_eq!(fs::read_to_string(path(name)).unwrap(), content, "{name}");
    }
}

/// Matching digests prove that a file arrived complete, whatever its content is.
#[test]
fn digests_prove_what_cannot_be_read() {
    let spec = "Name: odd\nVersion: 1%{?nothing}%%{nowhere}\nRelease: 1\nSummary: x\nLicense: x\n\
                BuildArch: noarch\n%description\nx\n%files\n";
    let (_dir, package) = build(&spec.replace("%%{", "%{"));
    let error = inspect(&package).unwrap_err();
    assert!(matches!(error, RpmError::Tag { tag: "VERSION", .. }), "{error}");
    assert!(error.to_string().contains("the macro %{nowhere} is not defined"), "{error}");
    assert!(is_intact(&package));

    let whole = fs::read(&package).unwrap();
    let name = whole.windows(4).rposition(|window| window == b"odd\0").unwrap();
    for at in [whole.len() - 1, name] {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        fs::write(&package, &damaged).unwrap();
        assert!(!is_intact(&package), "byte {at}");
    }
    fs::write(&package, &whole[..whole.len() - 1]).unwrap();
    assert!(!is_intact(&package));
    fs::write(&package, "no package").unwrap();
    assert!(!is_intact(&package));
}

/// Names as long as a file system takes them, and paths longer than one name.
#[test]
fn long_names_and_paths_are_taken() {
    let name = "n".repeat(200);
    let (one, two) = ("d".repeat(255), "e".repeat(250));
    let spec = format!(
        "Name: {name}\nVersion: 1\nRelease: 1\nSummary: x\nLicense: x\nBuildArch: noarch\n\
         %description\nx\n%install\nmkdir -p %{{buildroot}}/usr/{one}/{two}\n\
         echo x > %{{buildroot}}/usr/{one}/{two}/{one}\n%files\n/usr/{one}\n"
    );
    let (dir, package) = build(&spec);
    assert_eq!(inspect(&package).unwrap().nevra.name, name);
    check_contents(&package).unwrap();
    unpack(&package, dir.path(), Ownership::Caller).unwrap();
    assert!(dir.path().join(format!("usr/{one}/{two}/{one}")).is_file());
}
