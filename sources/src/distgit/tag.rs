//! Tags that name what upstream built: `imports/c9/hello-2.12-1.el9_0`.

use std::collections::BTreeSet;

use rpmfarm_core::Nevra;

/// Whether a source package is what a tag says: the same name, version and release, and the same
/// epoch where the tag has one. The dist tag may differ, and what comes after it: those are the
/// rebuild's own. What a tag cannot hold may be written in any of the ways that importers have;
/// the package decides which of them is meant.
#[must_use]
pub fn tag_agrees(nvr: &str, made: &Nevra) -> bool {
    let (name, evr) = (&made.name, &made.evr);
    let named =
        [format!("{name}-{}", evr.version), format!("{name}-{}:{}", evr.epoch, evr.version)];
    // Hyphens may stand for something else, so each may be the one before the release.
    nvr.match_indices('-').any(|(at, _)| {
        let (rest, release) = (&nvr[..at], &nvr[at + 1..]);
        named.iter().any(|named| is_written(named, rest)) && release_agrees(release, &evr.release)
    })
}

/// The same of a release alone, each without its dist tag: a rebuild may have more parts than
/// the tag.
fn release_agrees(tagged: &str, own: &str) -> bool {
    let (tagged, own) = (before_dist(tagged), before_dist(own));
    let ends = own.match_indices('.').map(|(at, _)| at).chain([own.len()]);
    ends.into_iter().any(|end| is_written(&own[..end], tagged))
}

/// Whether a text may be what a tag has in place of another: `%7E`, `_7E`, `_` or `-` for `~`, and
/// so for every character but letters, digits and the dot.
fn is_written(text: &str, written: &str) -> bool {
    let written = written.as_bytes();
    let mut at = BTreeSet::from([0]);
    for byte in text.bytes() {
        let mut next = BTreeSet::new();
        for at in at {
            let rest = &written[at..];
            let Some(first) = rest.first() else { continue };
            let is_sign = !byte.is_ascii_alphanumeric() && byte != b'.';
            if *first == byte || (is_sign && b"_-".contains(first)) {
                next.insert(at + 1);
            }
            let escaped = rest.get(1..3).and_then(|digits| std::str::from_utf8(digits).ok());
            let value = escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok());
            if value == Some(byte) && (*first == b'%' || (is_sign && *first == b'_')) {
                next.insert(at + 3);
            }
        }
        at = next;
    }
    at.contains(&written.len())
}

/// A release without its dist tag and what comes after: the part of `.el9`, `.fc40`, `.lab9` or
/// `.module+el8…` is the first that begins with two letters and is no number of a pre-release.
fn before_dist(release: &str) -> &str {
    let mut at = 0;
    for part in release.split('.') {
        let letters = part.bytes().take_while(u8::is_ascii_alphabetic).count();
        let is_dist = ["el", "fc", "lab", "module"].contains(&&part[..letters]);
        if is_dist && at > 0 {
            return &release[..at - 1];
        }
        at += part.len() + 1;
    }
    release
}

#[cfg(test)]
mod tests {
    use rpmfarm_core::Evr;

    use super::*;

    #[test]
    fn a_rebuild_may_differ_from_its_dist_tag_on() {
        for (tag, release, agrees) in [
            ("hello-1-2.el9", "2.el9", true),
            ("hello-1-2.el9_0.1", "2.el9.1", true),
            ("hello-1-2.module+el8.9.0+1+abc", "2.el8", true),
            ("hello-1-2.module_el8.9.0+1+abc", "2.module+el8.9.0+1+abc", true),
            ("hello-1-2.el9", "2.el9.alma.1", true),
            ("hello-1-2.el9", "2.lab9.1", true),
            ("hello-1-2.el9", "3.el9", false),
            ("hello-1-2.el9", "20.el9", false),
            ("hello-1-2.1.el9", "2.el9", false),
            ("hello-1-0.1.rc1.el9", "0.1.rc1.lab9", true),
            ("hello-1-0.1_rc1.el9", "0.1~rc1.lab9", true),
            ("hello-2-2.el9", "2.el9", false),
            ("hallo-1-2.el9", "2.el9", false),
            ("hello", "2.el9", false),
            ("hello-1", "2.el9", false),
            ("hello-1-", "2.el9", false),
        ] {
            let made = Nevra::new("hello", Evr::new(0, "1", release), "src");
            assert_eq!(tag_agrees(tag, &made), agrees, "{tag} {release}");
        }
    }

    #[test]
    fn what_tags_cannot_hold_is_written_in_many_ways() {
        for (tag, version, agrees) in [
            ("2.0%7Erc1", "2.0~rc1", true),
            ("2.0%7erc1", "2.0~rc1", true),
            ("2.0_7Erc1", "2.0~rc1", true),
            ("2.0_rc1", "2.0~rc1", true),
            ("2.0-rc1", "2.0~rc1", true),
            ("2.0~rc1", "2.0~rc1", true),
            ("2.0%5E20240101", "2.0^20240101", true),
            ("2.0_20240101", "2.0^20240101", true),
            ("2.0_1", "2.0_1", true),
            ("2.0%2B1", "2.0+1", true),
            ("2.0.rc1", "2.0~rc1", false),
            ("2.0rc1", "2.0~rc1", false),
            ("2.0_rc1", "2.0.rc1", false),
            ("2.0%7Erc1", "2.0^rc1", false),
            ("2.0_rc1", "2.0~rc2", false),
            ("2.0%7", "2.0~", false),
        ] {
            let made = Nevra::new("c++-x", Evr::new(0, version, "1.el9"), "src");
            for name in ["c++-x", "c%2B%2B-x"] {
                let tag = format!("{name}-{tag}-1.el9");
                assert_eq!(tag_agrees(&tag, &made), agrees, "{tag} {version}");
            }
        }
        let made = Nevra::new("hello", Evr::new(1, "2.0", "1.el9"), "src");
        for (tag, agrees) in [
            ("hello-2.0-1.el9", true),
            ("hello-1%3A2.0-1.el9", true),
            ("hello-1_2.0-1.el9", true),
            ("hello-2%3A2.0-1.el9", false),
            ("hello-0%3A2.0-1.el9", false),
        ] {
            assert_eq!(tag_agrees(tag, &made), agrees, "{tag}");
        }
        // However it is written, it takes a moment.
        let made = Nevra::new("x", Evr::new(0, "~7E".repeat(200), "1"), "src");
        assert!(!tag_agrees(&format!("x-{}-2", "_7E".repeat(300)), &made));
    }
}
