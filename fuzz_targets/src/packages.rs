//! RPM files: their headers and archives, the signed parts, and the keys for checking them.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rpmfarm_core::results::UnpackedSize;
use rpmfarm_core::{Evr, Nevra, Sha256};
use rpmfarm_repodata::{Fragments, PackageFile};
use rpmfarm_rpmfile::{
    Certs, Headers, Ownership, check_contents_within, claims, inspect, is_intact, path_of_claim,
    unpack, verify_detached, verify_signature,
};
use rpmfarm_signer::request::HeaderRequest;
use tempfile::TempDir;

use crate::one_line;

/// A key; `signature.asc` is its signature over this.
static CERTS: LazyLock<Certs> =
    LazyLock::new(|| Certs::from_armored(include_str!("key.asc")).expect("it is a key"));
const SIGNED: &[u8] = b"what is signed\n";

/// The limits of a package's content here.
const MAX: UnpackedSize = UnpackedSize { files: 1_000, bytes: 4 << 20 };

/// Years after the key was made.
fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

/// The headers of an RPM as it is uploaded.
pub fn fuzz_rpm_header(data: &[u8]) {
    let mut reader = data;
    match Headers::read(&mut reader) {
        Ok(headers) => {
            assert!(headers.header.end <= data.len() as u64);
            let _ = rpmfarm_rpmfile::nevra(&headers.metadata);
            let _ = rpmfarm_rpmfile::payload_digest(&headers.metadata);
            let alone = Headers::from_main(headers.main()).expect("it was read before");
            assert_eq!(alone.main(), headers.main());
        }
        Err(error) => one_line(&error),
    }
}

/// A file in an otherwise empty directory.
fn file(data: &[u8]) -> (TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().expect("there is a place for temporary files");
    let path = dir.path().join("a.rpm");
    fs::write(&path, data).expect("the place takes a file");
    (dir, path)
}

/// A whole RPM without unpacking: its digests, files and signatures.
pub fn fuzz_package(data: &[u8]) {
    let (_dir, path) = file(data);
    match inspect(&path) {
        Ok(inspected) => {
            assert_eq!(inspected.size, data.len() as u64);
            assert!(inspected.header.end <= inspected.size);
        }
        Err(error) => one_line(&error),
    }
    let _ = is_intact(&path);
    match claims(&path) {
        Ok(claims) => {
            for claim in claims.files.iter().take(3) {
                let found = path_of_claim(&path, claim.path).expect("it was read before");
                assert!(found.is_some_and(|path| !path.contains(char::is_control)));
            }
        }
        Err(error) => one_line(&error),
    }
    if let Err(error) = verify_signature(&path, &CERTS, now()) {
        one_line(&error);
    }
}

/// The content of an RPM: within the limits, and nothing outside of the directory.
pub fn fuzz_contents(data: &[u8]) {
    let (dir, path) = file(data);
    let fits = |held: &UnpackedSize| held.files <= MAX.files && held.bytes <= MAX.bytes;
    match check_contents_within(&path, fits) {
        Ok(archived) if fits(&archived.contents) => {
            unpacked(dir.path(), &path, &archived.contents);
            described(data, &path);
        }
        Ok(_) => {}
        Err(error) => one_line(&error),
    }
}

fn unpacked(dir: &Path, package: &Path, contents: &UnpackedSize) {
    let root = dir.join("root");
    fs::create_dir(&root).expect("the place takes a directory");
    match unpack(package, &root, Ownership::Caller) {
        Ok(unpacked) => assert!(unpacked.bytes <= contents.bytes, "{unpacked:?}, {contents:?}"),
        Err(error) => one_line(&error),
    }
    let mut names: Vec<String> = fs::read_dir(dir)
        .expect("it is there")
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["a.rpm", "root"]);
}

/// The repodata of a package survive being stored.
fn described(data: &[u8], path: &Path) {
    let size = data.len() as u64;
    let file = PackageFile { digest: Sha256::compute(data), size, href: "a.rpm".to_owned() };
    if let Ok(fragments) = Fragments::of_rpm(path, &file) {
        let again = Fragments::from_bytes(&fragments.to_bytes());
        assert_eq!(again.expect("it was written so"), fragments);
    }
}

/// Stored repodata of a package.
pub fn fuzz_fragments(data: &[u8]) {
    if let Ok(fragments) = Fragments::from_bytes(data) {
        let again = Fragments::from_bytes(&fragments.to_bytes());
        assert_eq!(again.expect("it was written so"), fragments);
    }
}

pub fn fuzz_keys(data: &[u8]) {
    match Certs::from_armored(&String::from_utf8_lossy(data)) {
        Ok(certs) => assert!(!certs.fingerprints().is_empty()),
        Err(error) => one_line(&error),
    }
}

/// A detached signature: only the owner of the key can make it, and it is valid for one text only.
pub fn fuzz_signature(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match verify_detached(SIGNED, &text, &CERTS, now()) {
        Ok(verified) => {
            assert!(CERTS.fingerprints().contains(&verified.fingerprint), "{verified:?}");
            assert!(verify_detached(b"something else", &text, &CERTS, now()).is_err());
        }
        Err(error) => one_line(&error),
    }
}

/// A header that the signer is asked to sign: it accepts only the package that the request names.
pub fn fuzz_signed_header(data: &[u8]) {
    let digest = Sha256::compute(data);
    let nevra = Nevra::new("forged", Evr::new(0, "1", "1"), "noarch");
    let request = HeaderRequest {
        key: "lab",
        target: "lab",
        nevra: nevra.clone(),
        header: data,
        header_digest: digest,
        artifact_digest: digest,
        build: 1,
        acceptance: None,
    };
    match request.check() {
        Ok(()) => {
            let headers = Headers::from_main(data).expect("it was read before");
            assert_eq!(headers.main(), data);
            let found = rpmfarm_rpmfile::nevra(&headers.metadata).expect("it was read before");
            assert_eq!(found, nevra);
        }
        Err(error) => one_line(&error),
    }
}
