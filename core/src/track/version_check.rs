//! Whether a build is newer than the published package: clients update to nothing else.

use crate::Evr;
use crate::remedy::Remedy;

/// A build that no client would update to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{package} would be {made}, which is {} {published} in {channel}: clients would not update to it; {}",
    if made == published { "the same as" } else { "below" },
    advice(made, published)
)]
pub struct NotNewer {
    /// Name of the package.
    pub package: String,
    /// The version that would be made.
    pub made: Box<Evr>,
    /// The newest published version.
    pub published: Box<Evr>,
    pub channel: String,
}

fn advice(made: &Evr, published: &Evr) -> &'static str {
    if is_same_version(made, published) {
        "raise the release upstream, or by modify_release in its modifications"
    } else {
        "upstream went back: raise the epoch by a modification of the spec, or follow what it goes on \
         with"
    }
}

fn is_same_version(made: &Evr, published: &Evr) -> bool {
    (made.epoch, &made.version) == (published.epoch, &published.version)
}

impl NotNewer {
    /// The remedy that the text does not contain.
    #[must_use]
    pub fn remedy(&self) -> Option<Remedy> {
        // A bump of the same sources is newer than the same release, and than no other.
        let is_same = self.made == self.published;
        is_same.then(|| Remedy::BuildHigherRelease { package: self.package.clone() })
    }
}

/// Compares the version of a build of a package with all published versions.
///
/// # Errors
/// When it is not newer than the newest of them.
pub fn check_newer(
    package: &str,
    made: &Evr,
    published: impl IntoIterator<Item = Evr>,
    channel: &str,
) -> Result<(), NotNewer> {
    match published.into_iter().max() {
        Some(newest) if *made <= newest => Err(NotNewer {
            package: package.to_owned(),
            made: Box::new(made.clone()),
            published: Box::new(newest),
            channel: channel.to_owned(),
        }),
        _ => Ok(()),
    }
}

/// Says that a published package is not shown because a newer one is; `None` when it is the newest.
#[must_use]
pub fn superseded(
    package: &str,
    made: &Evr,
    published: impl IntoIterator<Item = Evr>,
    channel: &str,
) -> Option<String> {
    let newest = published.into_iter().max().filter(|newest| made < newest)?;
    Some(format!("{package} {made} is not in {channel}: {newest} is there, which is newer"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_than_the_newest_is_not_shown() {
        let (old, new) = (Evr::new(0, "1.0", "1"), Evr::new(0, "2.0", "1"));
        let both = || [old.clone(), new.clone()];
        assert_eq!(superseded("hello", &new, both(), "testing"), None);
        let said = superseded("hello", &old, both(), "testing").unwrap();
        assert_eq!(said, "hello 1.0-1 is not in testing: 2.0-1 is there, which is newer");
    }

    #[test]
    fn only_what_is_above_is_an_update() {
        let check = |made: &Evr, published: &[Evr]| {
            let error = check_newer("hello", made, published.to_vec(), "testing").err();
            error.map(|error| error.to_string()).unwrap_or_default()
        };
        let evr = |epoch, version: &str, release: &str| Evr::new(epoch, version, release);
        let published = [evr(0, "1.9", "1.el9"), evr(0, "1.10", "2.el9"), evr(0, "1.2", "9.el9")];
        for good in [evr(0, "1.10", "2.el9.1"), evr(0, "1.10", "10.el9"), evr(1, "1", "1")] {
            assert_eq!(check(&good, &published), "", "{good}");
        }
        assert_eq!(check(&evr(0, "1", "1"), &[]), "");
        for (made, words) in [
            (evr(0, "1.10", "2.el9"), "1.10-2.el9, which is the same as 1.10-2.el9 in testing"),
            (evr(0, "1.10", "2.el9"), "raise the release upstream, or by modify_release"),
            (evr(0, "1.10", "1.el9"), "would be 1.10-1.el9, which is below 1.10-2.el9 in testing"),
            (evr(0, "1.10", "1.el9"), "modify_release"),
            (evr(0, "1.9", "3.el9"), "raise the epoch"),
        ] {
            let text = check(&made, &published);
            assert!(text.contains(words), "{text}");
        }
        let remedy = |made: &Evr| {
            let error = check_newer("hello", made, published.to_vec(), "testing").err();
            error.and_then(|error| error.remedy())
        };
        let package = "hello".to_owned();
        let higher = Remedy::BuildHigherRelease { package };
        assert_eq!(remedy(&evr(0, "1.10", "2.el9")), Some(higher));
        assert_eq!(remedy(&evr(0, "1.10", "1.el9")), None);
        assert_eq!(remedy(&evr(0, "1.9", "3.el9")), None);
    }
}
