//! Packages whose headers hold bytes that XML or UTF-8 do not know.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::path::{Path, PathBuf};

use common::rpmbuild;
use rpmfarm_core::Sha256;
use rpmfarm_repodata::{Document, Fragments, PackageFile, Result};

fn describe(rpm: &Path) -> Result<Fragments> {
    let file = PackageFile { digest: Sha256::compute(b"x"), size: 1, href: "x.rpm".into() };
    Fragments::of_rpm(rpm, &file)
}

/// A package with this description and this file. In a spec
/// control characters can come from macros only.
fn spec(description: &[u8], file: &[u8]) -> Vec<u8> {
    [
        b"Name: bytes\nVersion: 1\nRelease: 1\nSummary: x\nLicense: MIT\nBuildArch: noarch\n\
          %description\n",
        description,
        b"\n%install\nmkdir -p %{buildroot}/etc\ntouch \"%{buildroot}/etc/",
        file,
        b"\"\n%files\n\"/etc/",
        file,
        b"\"\n",
    ]
    .concat()
}

fn build(dir: &Path, spec: &[u8]) -> PathBuf {
    let rpms = rpmbuild(dir, spec);
    rpms.into_iter().find(|rpm| rpm.to_str().unwrap().ends_with("noarch.rpm")).unwrap()
}

#[test]
fn control_characters_in_texts_are_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let rpm = build(dir.path(), &spec(b"a%(printf '\\001')b%(printf '\\033')[31mred", b"plain"));
    let fragments = describe(&rpm).unwrap();
    let primary = String::from_utf8(fragments.get(Document::Primary).to_vec()).unwrap();
    assert!(primary.contains("a\u{fffd}b\u{fffd}[31mred"), "{primary}");
}

#[test]
fn control_characters_in_paths_are_refused() {
    // rpmbuild would not make such a package: the name is changed in the file it made.
    let dir = tempfile::tempdir().unwrap();
    let path = build(dir.path(), &spec(b"x", b"bellQ"));
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.windows(5).position(|window| window == b"bellQ").unwrap();
    bytes[at + 4] = 7;
    std::fs::write(&path, bytes).unwrap();
    let error = describe(&path).unwrap_err().to_string();
    assert!(error.contains("bytes-1-1.noarch.rpm") && error.contains("file name"), "{error}");
}

#[test]
fn bytes_that_are_not_utf8_never_reach_the_xml() {
    // rpm says of each package that its texts are UTF-8, so this one lies.
    for spec in [spec(b"caf\xe9", b"plain"), spec(b"x", b"caf\xe9")] {
        let dir = tempfile::tempdir().unwrap();
        match describe(&build(dir.path(), &spec)) {
            Ok(fragments) => {
                for document in Document::ALL {
                    assert!(std::str::from_utf8(fragments.get(document)).is_ok());
                }
            }
            Err(error) => assert!(error.to_string().contains("bytes-1-1.noarch.rpm"), "{error}"),
        }
    }
}

#[test]
fn what_is_no_rpm_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("text.rpm");
    std::fs::write(&path, "no lead, no header").unwrap();
    let error = describe(&path).unwrap_err().to_string();
    assert!(error.contains("text.rpm"), "{error}");
    let error = describe(&dir.path().join("absent.rpm")).unwrap_err().to_string();
    assert!(error.contains("absent.rpm"), "{error}");
}
