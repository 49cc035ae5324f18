//! What is fuzzed: one function for each reader of bytes that strangers send.
//!
//! The same functions are run by `cargo fuzz` (the folder `fuzz`, which needs a nightly toolchain)
//! and, for a moment and with seeds that do not change, by this crate's test. Each takes any bytes
//! and panics when the reader breaks what it promises. It owns no rule of its own.

use rpmfarm_core::distgit::LookasideFile;
use rpmfarm_core::name::{check_file, check_git_ref, check_package};
use rpmfarm_core::track::Forge;
use rpmfarm_core::track::hook::{Said, is_same_repository, read};
use rpmfarm_core::track::refs::{Reader, is_commit_id};
use rpmfarm_core::track::security::{cve_ids, fixed};
use rpmfarm_rpmfile::Headers;

/// A reader by its name.
pub type Fuzzed = (&'static str, fn(&[u8]));

/// All of them.
pub const ALL: &[Fuzzed] = &[
    ("sources", fuzz_sources),
    ("metadata", fuzz_metadata),
    ("webhook", fuzz_webhook),
    ("refs", fuzz_refs),
    ("forge", fuzz_forge),
    ("spec", fuzz_spec),
    ("rpm_header", fuzz_rpm_header),
];

/// A flat repository's list of look-aside files.
pub fn fuzz_sources(data: &[u8]) {
    list("sources", data);
}

/// An exploded repository's list of look-aside files.
pub fn fuzz_metadata(data: &[u8]) {
    list(".hello.metadata", data);
}

fn list(file: &str, data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match LookasideFile::parse_list(file, text) {
        Ok(files) => {
            for file in files {
                assert!(check_file(&file.name).is_ok(), "{:?} would lead elsewhere", file.name);
                assert!(file.checksum.hex.bytes().all(|b| b.is_ascii_hexdigit()));
            }
        }
        Err(error) => one_line(&error),
    }
}

/// The body of a webhook, of each forge.
pub fn fuzz_webhook(data: &[u8]) {
    for forge in Forge::ALL {
        for event in ["push", "Push Hook", "git.receive", "ping"] {
            match read(forge, event, data).map(|body| body.said) {
                Ok(Said::Push(notice)) => {
                    assert!(check_git_ref(&notice.branch).is_ok(), "{notice:?}");
                    assert!(is_commit_id(&notice.commit), "{notice:?}");
                    let _ = is_same_repository("https://h/rpms/bash.git", &notice.repository);
                }
                Ok(Said::Other(what)) => assert!(!what.contains(char::is_control), "{what:?}"),
                Err(error) => one_line(&error),
            }
        }
    }
}

/// A list of refs: in pieces it says the same as at once.
pub fn fuzz_refs(data: &[u8]) {
    let read = |size: usize| {
        let mut reader = Reader::new("c9s");
        for piece in data.chunks(size) {
            reader.feed(piece)?;
        }
        reader.end()
    };
    let whole = read(data.len().max(1));
    if let Ok(Some(commit)) = &whole {
        assert!(is_commit_id(commit), "{commit}");
    }
    if let Err(error) = &whole {
        one_line(error);
    }
    assert_eq!(whole, read(3));
}

/// A page of a forge's list of repositories.
pub fn fuzz_forge(data: &[u8]) {
    for forge in Forge::ALL {
        match forge.read_page(data) {
            Ok(page) => assert!(page.packages.iter().all(|name| check_package(name).is_ok())),
            Err(error) => one_line(&error),
        }
    }
}

/// The text of a spec, as far as it is read outside of the cage.
pub fn fuzz_spec(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (old, new) = text.split_at(text.floor_char_boundary(text.len() / 2));
    let ids = fixed(Some(old), new, "");
    assert!(ids.is_subset(&cve_ids(new)), "{ids:?}");
    assert!(fixed(Some(&text), &text, "").is_empty());
}

/// The headers of an RPM as it is uploaded.
pub fn fuzz_rpm_header(data: &[u8]) {
    let mut reader = data;
    if let Ok(headers) = Headers::read(&mut reader) {
        assert!(headers.header.end <= data.len() as u64);
        let _ = rpmfarm_rpmfile::nevra(&headers.metadata);
        let _ = rpmfarm_rpmfile::payload_digest(&headers.metadata);
        let _ = Headers::from_main(headers.main());
    }
}

/// Errors are shown to people: in one line, without what a terminal would obey.
fn one_line(error: &dyn std::error::Error) {
    let text = error.to_string();
    assert!(!text.contains(char::is_control), "{text:?}");
}
