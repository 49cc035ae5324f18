//! Tags that name what upstream built: `imports/c9/hello-2.12-1.el9_0`.

use crate::Nevra;

/// Whether a source package is what a tag says: the same name, version and release. The dist tag
/// may differ, and what comes after it: those are the rebuild's own.
#[must_use]
pub fn tag_agrees(nvr: &str, made: &Nevra) -> bool {
    let Some((rest, release)) = nvr.rsplit_once('-') else { return false };
    let Some((name, version)) = rest.rsplit_once('-') else { return false };
    let (tagged, own) = (before_dist(release), before_dist(&made.evr.release));
    let same = own == tagged || own.strip_prefix(tagged).is_some_and(|rest| rest.starts_with('.'));
    name == made.name && version == made.evr.version && same
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
    use super::*;
    use crate::Evr;

    #[test]
    fn a_rebuild_may_differ_from_its_dist_tag_on() {
        for (tag, release, agrees) in [
            ("hello-1-2.el9", "2.el9", true),
            ("hello-1-2.el9_0.1", "2.el9.1", true),
            ("hello-1-2.module+el8.9.0+1+abc", "2.el8", true),
            ("hello-1-2.el9", "2.el9.alma.1", true),
            ("hello-1-2.el9", "2.lab9.1", true),
            ("hello-1-2.el9", "3.el9", false),
            ("hello-1-2.el9", "20.el9", false),
            ("hello-1-0.1.rc1.el9", "0.1.rc1.lab9", true),
            ("hello-2-2.el9", "2.el9", false),
            ("hallo-1-2.el9", "2.el9", false),
            ("hello", "2.el9", false),
        ] {
            let made = Nevra::new("hello", Evr::new(0, "1", release), "src");
            assert_eq!(tag_agrees(tag, &made), agrees, "{tag} {release}");
        }
    }
}
