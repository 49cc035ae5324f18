//! Short texts that become names, numbers, versions, patterns and paths.

use std::cmp::Ordering;

use rpmfarm_core::digest::Checksum;
use rpmfarm_core::enrolment::EnrolmentToken;
use rpmfarm_core::kept_files::{check_path, is_wanted, pattern_problem};
use rpmfarm_core::name::check_package;
use rpmfarm_core::signing::RepositoryId;
use rpmfarm_core::statement::Acceptance;
use rpmfarm_core::target::Size;
use rpmfarm_core::track::TagPattern;
use rpmfarm_core::{Evr, Needs, Nevra, Sha256};
use rpmfarm_signer::config::KeyBinding;
use rpmfarm_sources::distgit::tag_agrees;

use crate::one_line;

/// Names of packages: each is read as it is printed, and versions are ordered.
pub fn fuzz_nevra(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut evrs: Vec<Evr> = Vec::new();
    for line in text.lines() {
        match line.parse::<Nevra>() {
            Ok(nevra) => {
                assert_eq!(nevra.to_string().parse::<Nevra>(), Ok(nevra.clone()));
                evrs.push(nevra.evr);
            }
            Err(error) => one_line(&error),
        }
    }
    for (one, other) in evrs.iter().zip(evrs.iter().skip(1)) {
        assert_eq!(one.cmp(other), other.cmp(one).reverse(), "{one}, {other}");
        assert_eq!(one.cmp(&one.clone()), Ordering::Equal, "{one}");
    }
}

/// Words of files, commands and requests, and the text of an acceptance: each is read as it is
/// printed.
pub fn fuzz_words(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for line in text.lines() {
        match line.parse::<Needs>() {
            Ok(needs) => assert_eq!(needs.to_string().parse::<Needs>(), Ok(needs.clone())),
            Err(error) => one_line(&error),
        }
        if let Ok(size) = Size::try_from(line.to_owned()) {
            assert_eq!(Size::try_from(size.to_string()), Ok(size));
        }
        match Checksum::from_hex(line) {
            Ok(checksum) => {
                assert_eq!(checksum.hex.len(), checksum.kind.digits());
                assert_eq!(Checksum::from_hex(&checksum.hex), Ok(checksum.clone()));
            }
            Err(error) => one_line(&error),
        }
        if let Ok(digest) = line.parse::<Sha256>() {
            assert_eq!(digest.hex().parse::<Sha256>(), Ok(digest));
        }
        if let Ok(token) = line.parse::<EnrolmentToken>() {
            assert_eq!(token.to_string().parse::<EnrolmentToken>(), Ok(token.clone()));
        }
        if let Ok(bind) = line.parse::<KeyBinding>() {
            assert!(bind.targets.iter().all(|target| check_package(target).is_ok()), "{bind:?}");
        }
        place(line);
    }
    match Acceptance::parse(&text) {
        Ok(acceptance) => assert_eq!(acceptance.to_text(), text),
        Err(error) => one_line(&error),
    }
}

/// A place that the signer is asked to sign for.
fn place(line: &str) {
    let mut parts = line.splitn(3, '/');
    let (Some(target), Some(channel), Some(path)) = (parts.next(), parts.next(), parts.next())
    else {
        return;
    };
    match RepositoryId::new(target, channel, path) {
        Ok(place) => assert_eq!(place.to_string(), line),
        Err(error) => one_line(&error),
    }
}

/// Tags of a package: a version from a tag is one that packages can have.
pub fn fuzz_tags(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let pattern = TagPattern::parse("imports/c9/{nvr}").expect("it is a pattern");
    let tags: Vec<&str> = text.lines().collect();
    let made = Nevra::new("hello", Evr::new(0, "1.0~rc1", "1.el9"), "src");
    for tag in &tags {
        if let Some(evr) = pattern.evr("hello", tag) {
            for part in [&evr.version, &evr.release] {
                assert!(!part.is_empty() && !part.contains([':', '/', '-']), "{tag}: {evr}");
            }
        }
        let _ = pattern.nvr(tag).map(|nvr| tag_agrees(nvr, &made));
    }
    for (one, other) in tags.iter().zip(tags.iter().skip(1)) {
        let order = pattern.compare("hello", one, other);
        assert_eq!(order, pattern.compare("hello", other, one).reverse(), "{one}, {other}");
    }
    let newest = pattern.newest("hello", tags.iter().copied());
    let is_tag = |tag: &&str| pattern.evr("hello", tag).is_some();
    assert_eq!(newest.is_some(), tags.iter().any(is_tag));
}

/// Patterns of kept files, on the first line, and paths.
pub fn fuzz_kept(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut lines = text.lines();
    let patterns: Vec<String> =
        lines.next().unwrap_or_default().split(' ').map(str::to_owned).collect();
    if pattern_problem(&patterns).is_some() {
        return;
    }
    for path in lines {
        assert!(!is_wanted(&patterns, path) || check_path(path).is_ok(), "{path:?}");
    }
}
