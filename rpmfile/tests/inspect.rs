//! Complete packages pass, and damaged ones get an error that names the damage.

#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use rpmfarm_core::Sha256;
use rpmfarm_core::results::UnpackedSize;
use rpmfarm_rpmfile::{Proved, RpmError, check_contents, check_contents_within, inspect};

const ALL: [&str; 4] = ["w19.zstdio", "w6.xzdio", "w9.gzdio", "w9.bzdio"];

#[test]
fn agrees_with_rpm() {
    for compression in ALL {
        let built = support::build(compression);
        let found = inspect(&built.binary).unwrap();
        assert_eq!(found.nevra.to_string(), support::query(&built.binary, "%{nevra}"));
        assert_eq!(found.nevra.evr.epoch, 2);
        assert_eq!(found.source_rpm.as_deref(), Some("sample-1.0~rc1-3.el9.src.rpm"));
        assert_eq!(found.build_host.unwrap(), support::query(&built.binary, "%{buildhost}"));
        assert_eq!(found.header_sha256.hex(), support::query(&built.binary, "%{sha256header}"));
        assert_eq!(found.payload_sha256.hex(), support::query(&built.binary, "%{payloaddigest}"));
        assert_eq!(found.size, fs::metadata(&built.binary).unwrap().len());
        assert!(!found.is_source);
        assert!(
            found.metadata.get_requires().unwrap().iter().any(|r| r.to_string() == "bash >= 4")
        );
        check_contents(&built.binary).unwrap();

        let source = inspect(&built.source).unwrap();
        assert!(source.is_source);
        assert_eq!(source.nevra.to_string(), "sample-2:1.0~rc1-3.el9.src");
        assert_eq!(source.nevra.file_name(), built.source.file_name().unwrap().to_str().unwrap());
        assert_eq!(source.source_rpm, None);
        check_contents(&built.source).unwrap();

        // The size is known from the header before anything is decompressed, and the archive has
        // that size.
        let asked = std::cell::RefCell::new(Vec::new());
        let holds = |contents: &UnpackedSize| {
            asked.borrow_mut().push(*contents);
            true
        };
        let found = check_contents_within(&built.binary, holds).unwrap().contents;
        let asked = asked.into_inner();
        assert_eq!((asked[0], asked[asked.len() - 1]), (found, found));
        assert!(found.files > 1 && found.bytes > 0, "{found:?}");
        let little = check_contents_within(&built.binary, |contents| contents.files == 0).unwrap();
        assert_eq!(little.contents, found, "refused by what the header says");
    }
}

/// The file that rpmbuild leaves when a package finds its build requirements during the build.
#[test]
fn reads_the_requirements_found_by_a_build() {
    let spec = "Name: x\nVersion: 1\nRelease: 1\nSummary: x\nLicense: x\nBuildArch: noarch\n\
                %description\nx\n%generate_buildrequires\necho not-there\n%files\n";
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("x.spec"), spec).unwrap();
    let status = Command::new("rpmbuild")
        .args(["-br", "--define", &format!("_topdir {}", dir.path().display())])
        .arg(dir.path().join("x.spec"))
        .output()
        .unwrap()
        .status;
    assert_eq!(status.code(), Some(11));
    let found = inspect(&dir.path().join("SRPMS/x-1-1.buildreqs.nosrc.rpm")).unwrap();
    assert!(found.is_source);
    let requires = found.metadata.get_requires().unwrap();
    assert!(requires.iter().any(|requirement| requirement.to_string() == "not-there"));
}

#[test]
fn names_the_damage() {
    let built = support::build("w19.zstdio");
    let good = fs::read(&built.binary).unwrap();
    let whole = inspect(&built.binary).unwrap();
    let damaged = built.dir.path().join("damaged.rpm");
    let error = |bytes: &[u8]| {
        fs::write(&damaged, bytes).unwrap();
        inspect(&damaged).unwrap_err()
    };
    let len = good.len() as u64;

    for cut in [1, 7, 1000] {
        let error = error(&good[..good.len() - cut]);
        assert!(
            matches!(error, RpmError::Truncated { place: "payload", expected, found }
                if expected == len && found == len - cut as u64),
            "{error}"
        );
    }
    let cut_header = error(&good[..whole.header.start as usize + 100]);
    assert!(matches!(cut_header, RpmError::Truncated { place: "main header", .. }), "{cut_header}");
    assert!(matches!(error(b""), RpmError::NotRpm));
    assert!(matches!(error(&[b'x'; 5000]), RpmError::NotRpm));

    let longer = error(&[good.as_slice(), b"more"].concat());
    assert!(matches!(longer, RpmError::Trailing { place: "payload", extra: 4 }), "{longer}");

    let flipped = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        error(&bytes)
    };
    let payload = flipped(good.len() - 10);
    assert!(
        payload.to_string().contains("payload") && matches!(payload, RpmError::Digest { .. }),
        "{payload}"
    );
    let header = flipped(whole.header.end as usize - 40);
    assert!(matches!(header, RpmError::Digest { what: "SHA-256 of the header", .. }), "{header}");
}

/// A change of any byte is refused, without a panic. Bytes of the lead and of the signature header
/// that no digest covers may change without harm.
#[test]
fn no_flipped_byte_of_the_headers_passes_or_panics() {
    let built = support::build("w9.gzdio");
    let good = fs::read(&built.binary).unwrap();
    let header = inspect(&built.binary).unwrap().header;
    let damaged = built.dir.path().join("damaged.rpm");
    for at in 0..header.end as usize {
        // Most of the signature header is reserved space.
        if at > 600 && at < header.start as usize - 32 && at % 32 != 0 {
            continue;
        }
        let mut bytes = good.clone();
        bytes[at] ^= [0x01, 0x80, 0xff][at % 3];
        fs::write(&damaged, &bytes).unwrap();
        let result = inspect(&damaged);
        assert!(at < header.start as usize || result.is_err(), "byte {at}");
    }
}

#[test]
fn contents_of_a_damaged_package_are_refused() {
    let built = support::build("w9.gzdio");
    let good = fs::read(&built.binary).unwrap();
    let damaged = built.dir.path().join("damaged.rpm");
    let check = |bytes: &[u8]| {
        fs::write(&damaged, bytes).unwrap();
        check_contents(&damaged)
    };
    check(&good).unwrap();
    assert!(check(&good[..good.len() - 100]).is_err());
    let trailing = check(&[good.as_slice(), b"more"].concat()).unwrap_err();
    assert!(matches!(trailing, RpmError::Trailing { extra: 4, .. }), "{trailing}");
}

#[test]
fn a_missing_file_is_named() {
    let error = inspect(Path::new("/nonexistent.rpm")).unwrap_err();
    assert!(error.to_string().contains("opening the package"), "{error}");
}

/// A process that writes to a file while it is read only has it refused.
#[test]
fn a_file_that_must_have_a_digest_is_read_to_its_end() {
    for compression in ALL {
        let built = support::build(compression);
        let good = fs::read(&built.binary).unwrap();
        let proved = || Proved::new(fs::File::open(&built.binary).unwrap(), Sha256::compute(&good));
        let mut package = proved();
        let (found, expected) = (package.inspect().unwrap(), inspect(&built.binary).unwrap());
        assert_eq!((found.header_sha256, found.size), (expected.header_sha256, expected.size));
        assert_eq!(
            package.check_contents_within(|_| true).unwrap(),
            check_contents(&built.binary).unwrap()
        );
        // Refused early, and proved all the same.
        package.check_contents_within(|_| false).unwrap();

        let is_other = |error: RpmError| matches!(error, RpmError::OtherFile { .. });
        let mut more = good.clone();
        more.push(0);
        for bad in [more, good[..good.len() / 2].to_vec(), b"no package".to_vec()] {
            let mut package = proved();
            package.inspect().unwrap();
            // The same file, as another program writes to it between two reads.
            fs::write(&built.binary, bad).unwrap();
            assert!(is_other(package.inspect().unwrap_err()));
            assert!(is_other(package.check_contents_within(|_| true).unwrap_err()));
            assert!(is_other(package.check_contents_within(|_| false).unwrap_err()));
            fs::write(&built.binary, &good).unwrap();
        }
    }
}
