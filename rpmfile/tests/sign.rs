//! Signatures: spliced in by us, made by gpg, judged by rpmkeys; and the other way round.

#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::process::Command;
use std::time::{Duration, SystemTime};

use rpmfarm_core::Sha256;
use rpmfarm_rpmfile::{
    Certs, RpmError, UnsignedPackage, header_to_sign, inspect, splice_signature, verify_detached,
    verify_signature,
};
use support::Gpg;

fn day(n: u64) -> Duration {
    Duration::from_secs(n * 86400)
}

#[test]
fn rpm_accepts_what_is_spliced_in() {
    let gpg = Gpg::new("rsa3072", "never");
    let certs = Certs::from_armored(&gpg.public).unwrap();
    let built = support::build("w19.zstdio");
    for path in [&built.binary, &built.source] {
        let signed = built.dir.path().join("signed.rpm");
        let packet = gpg.sign(&header_to_sign(path).unwrap(), &[]);
        splice_signature(path, &signed, &packet).unwrap();

        let (good, output) = support::checksig(&signed, &gpg.public);
        assert!(good && output.contains("Header V4 RSA/SHA"), "{output}");
        let (before, after) = (inspect(path).unwrap(), inspect(&signed).unwrap());
        assert_eq!(before.header, after.header, "the reserved space was enough");
        assert_eq!((before.size, before.header_sha256), (after.size, after.header_sha256));
        let from = before.header.start as usize;
        assert_eq!(fs::read(path).unwrap()[from..], fs::read(&signed).unwrap()[from..]);
        for tag in ["%{archivesize}", "%{sigmd5}", "%{sha1header}", "%{longsigsize}"] {
            assert_eq!(support::query(path, tag), support::query(&signed, tag), "{tag}");
        }

        let verified = verify_signature(&signed, &certs, SystemTime::now()).unwrap();
        assert_eq!(verified.signed, before.header_sha256);
        assert_eq!(certs.fingerprints().concat(), verified.fingerprint);
        assert!(verified.fingerprint.ends_with(&verified.key_id));
        fs::remove_file(&signed).unwrap();
    }
}

/// The signature is over the header of the intended file, and the copy is of that file.
#[test]
fn a_file_that_was_swapped_is_not_the_one_that_is_signed() {
    let gpg = Gpg::new("rsa3072", "never");
    let built = support::build("w9.gzdio");
    let (path, good) = (&built.binary, fs::read(&built.binary).unwrap());
    let digest = Sha256::compute(&good);
    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let other = fs::read(&built.source).unwrap();
    for bad in [&flipped[..], &other, &good[..50], &[&good[..], b"x"].concat(), b""] {
        fs::write(path, bad).unwrap();
        let error = UnsignedPackage::open_proved(path, digest).unwrap_err();
        let RpmError::OtherFile { expected, found } = error else { panic!("{error}") };
        assert_eq!((expected, found), (digest, Sha256::compute(bad)));
    }
    fs::write(path, &good).unwrap();
    let unsigned = UnsignedPackage::open_proved(path, digest).unwrap();
    assert_eq!(unsigned.header(), header_to_sign(path).unwrap());
    // Another file takes its place between the reading and the copy.
    let packet = gpg.sign(unsigned.header(), &[]);
    let aside = built.dir.path().join("other.rpm");
    fs::write(&aside, other).unwrap();
    fs::rename(&aside, path).unwrap();
    let signed = built.dir.path().join("signed.rpm");
    unsigned.splice(&signed, &packet).unwrap();
    let certs = Certs::from_armored(&gpg.public).unwrap();
    verify_signature(&signed, &certs, SystemTime::now()).unwrap();
    assert_eq!(inspect(&signed).unwrap().size, good.len() as u64);
}

#[test]
fn a_signature_is_replaced_not_added() {
    let (first, second) = (Gpg::new("rsa2048", "never"), Gpg::new("rsa4096", "never"));
    let built = support::build("w9.gzdio");
    let header = header_to_sign(&built.binary).unwrap();
    let (once, twice) = (built.dir.path().join("1.rpm"), built.dir.path().join("2.rpm"));
    splice_signature(&built.binary, &once, &first.sign(&header, &[])).unwrap();
    splice_signature(&once, &twice, &second.sign(&header, &[])).unwrap();
    assert!(support::checksig(&twice, &second.public).0);
    assert!(!support::checksig(&twice, &first.public).0);
    let both = Certs::from_armored(&format!("{}\n{}", first.public, second.public)).unwrap();
    assert_eq!(both.fingerprints().len(), 2);
    let verified = verify_signature(&twice, &both, SystemTime::now()).unwrap();
    assert_eq!(verified.fingerprint, both.fingerprints()[1]);
    assert!(splice_signature(&built.binary, &once, b"x").is_err(), "an existing file is kept");
}

/// Without reserved space the signature header grows, and everything behind it moves.
#[test]
fn works_without_reserved_space() {
    let gpg = Gpg::new("rsa4096", "never");
    let built = support::build_spec(
        support::SPEC,
        &[("__gpg_reserved_space", "0"), ("_binary_payload", "w9.gzdio")],
    );
    let signed = built.dir.path().join("signed.rpm");
    let packet = gpg.sign(&header_to_sign(&built.binary).unwrap(), &[]);
    splice_signature(&built.binary, &signed, &packet).unwrap();
    assert!(inspect(&signed).unwrap().size > inspect(&built.binary).unwrap().size);
    let (good, output) = support::checksig(&signed, &gpg.public);
    assert!(good, "{output}");
}

#[test]
fn believes_what_rpmsign_makes() {
    let gpg = Gpg::new("rsa4096", "never");
    let built = support::build("w19.zstdio");
    support::run(
        Command::new("rpmsign")
            .arg("--addsign")
            .arg("--define")
            .arg(format!("_gpg_path {}", gpg.home.path().display()))
            .args(["--define", "_gpg_name test@example.com", "--define", "__gpg /usr/bin/gpg"])
            .args([
                "--define",
                "_gpg_sign_cmd_extra_args --batch --pinentry-mode loopback --passphrase ''",
            ])
            .arg(&built.binary),
    );
    let certs = Certs::from_armored(&gpg.public).unwrap();
    verify_signature(&built.binary, &certs, SystemTime::now()).unwrap();
}

#[test]
fn refuses_what_must_not_be_believed() {
    let gpg = Gpg::new("rsa2048", "2d");
    let certs = Certs::from_armored(&gpg.public).unwrap();
    let built = support::build("w9.gzdio");
    let now = SystemTime::now();
    let header = header_to_sign(&built.binary).unwrap();
    let signed = built.dir.path().join("signed.rpm");
    let verify = |packet: &[u8], certs: &Certs, now| {
        let _ = fs::remove_file(&signed);
        splice_signature(&built.binary, &signed, packet).unwrap();
        verify_signature(&signed, certs, now)
    };

    assert!(matches!(verify_signature(&built.binary, &certs, now), Err(RpmError::Unsigned)));
    let good = gpg.sign(&header, &[]);
    verify(&good, &certs, now).unwrap();
    let reason = |result: Result<_, RpmError>| {
        result.map(|_: rpmfarm_rpmfile::VerifiedHeader| ()).unwrap_err().to_string()
    };

    assert!(reason(verify(&good, &certs, now + day(3))).contains("the key has expired"));
    assert!(reason(verify(&good, &certs, now - day(3))).contains("in the future"));
    let other = Gpg::new("rsa2048", "never");
    let others = Certs::from_armored(&other.public).unwrap();
    assert!(reason(verify(&good, &others, now)).contains("not among those"));
    assert!(reason(verify(&gpg.sign(b"other", &[]), &certs, now)).contains("does not match"));
    for weak in ["SHA1", "RIPEMD160"] {
        let packet = gpg.sign(&header, &["--digest-algo", weak, "--allow-weak-digest-algos"]);
        assert!(reason(verify(&packet, &certs, now)).contains("not accepted"), "{weak}");
    }
    assert!(verify(b"garbage", &certs, now).is_err());
    assert!(verify(b"", &certs, now).is_err());
}

#[test]
fn revoked_keys_are_refused() {
    let gpg = Gpg::new("rsa2048", "never");
    let signature = gpg.sign(b"data", &["--armor"]);
    let armored = std::str::from_utf8(&signature).unwrap();
    let now = SystemTime::now();
    let certs = Certs::from_armored(&gpg.public).unwrap();
    verify_detached(b"data", armored, &certs, now).unwrap();
    assert!(verify_detached(b"other", armored, &certs, now).is_err());
    assert!(verify_detached(b"data", "", &certs, now).is_err());

    let revocations = gpg.home.path().join("openpgp-revocs.d");
    let file = fs::read_dir(revocations).unwrap().next().unwrap().unwrap().path();
    let text = fs::read_to_string(&file).unwrap().replace(":-----BEGIN", "-----BEGIN");
    fs::write(&file, text).unwrap();
    support::run(gpg.command().arg("--import").arg(&file));
    let public = support::run(gpg.command().args(["--armor", "--export"])).stdout;
    let certs = Certs::from_armored(std::str::from_utf8(&public).unwrap()).unwrap();
    let error = verify_detached(b"data", armored, &certs, now).unwrap_err();
    assert!(error.to_string().contains("revoked"), "{error}");
}

#[test]
fn keys_that_are_none_are_refused() {
    for bad in ["", "hello", "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nxx\n"] {
        assert!(matches!(Certs::from_armored(bad), Err(RpmError::Certs(_))), "{bad}");
    }
}
