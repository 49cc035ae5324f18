//! What the signer lets be signed, where that depends on what it has signed before and on what its
//! operator has said: which key for which target, which revision after which, how many a minute.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::Sha256;
use crate::name;

/// The version of the protocol between coordinator and signer that this code speaks. It is raised
/// when one that does not know of a change would do something wrong. Before there was a number it
/// was 1, without targets and revisions; requests of then say 0.
pub const PROTOCOL: u32 = 2;

/// The oldest protocol of a coordinator that still gets signatures.
pub const OLDEST_PROTOCOL: u32 = 2;

/// Longest text of a path below a channel, in characters.
const MAX_PATH: usize = 255;

/// What is wrong with the protocol of whoever asks; `None` when it fits.
#[must_use]
pub fn outdated(protocol: u32) -> Option<String> {
    (protocol < OLDEST_PROTOCOL).then(|| {
        format!(
            "the coordinator speaks protocol {protocol} to the signer, which needs \
             {OLDEST_PROTOCOL} or newer: update rpmfarm-coordinator together with rpmfarm-signer"
        )
    })
}

/// Why a repository cannot be named so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// A part of its name is not a plain name.
    #[error("{part} `{}` is not a plain name", name::shown(.text))]
    Part {
        /// Which part: target, channel or path.
        part: &'static str,
        /// What was given for it.
        text: String,
    },
    /// The path below the channel is too long.
    #[error("the path is longer than {} characters", MAX_PATH)]
    LongPath,
}

/// One repository that has a `repomd.xml` of its own. Written `TARGET/CHANNEL/PATH`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    /// Name of the target.
    pub target: String,
    /// Name of the channel.
    pub channel: String,
    /// Where it lies below the channel, as `x86_64/os`.
    pub path: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.target, self.channel, self.path)
    }
}

impl Place {
    /// A place whose parts are plain names.
    ///
    /// # Errors
    /// Which part is not one.
    pub fn new(target: &str, channel: &str, path: &str) -> Result<Self, PlaceError> {
        plain("target", target)?;
        plain("channel", channel)?;
        if path.len() > MAX_PATH {
            return Err(PlaceError::LongPath);
        }
        for part in path.split('/') {
            plain("path", part)?;
        }
        Ok(Self { target: target.into(), channel: channel.into(), path: path.into() })
    }

    /// Whether both belong to one channel.
    #[must_use]
    pub fn shares_channel(&self, other: &Self) -> bool {
        (&self.target, &self.channel) == (&other.target, &other.channel)
    }
}

fn plain(part: &'static str, text: &str) -> Result<(), PlaceError> {
    name::check_package(text).map_err(|_| PlaceError::Part { part, text: text.to_owned() })
}

/// For which targets each key signs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Bindings(BTreeMap<String, BTreeSet<String>>);

impl Bindings {
    /// Adds targets that a key signs for.
    pub fn add(&mut self, key: &str, targets: impl IntoIterator<Item = String>) {
        self.0.entry(key.to_owned()).or_default().extend(targets);
    }

    /// The keys that are bound.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The targets that a key is bound to; `None` when it signs for any.
    #[must_use]
    pub fn of(&self, key: &str) -> Option<&BTreeSet<String>> {
        self.0.get(key)
    }

    /// Whether a key signs for a target. A key that is bound to nothing signs for any.
    #[must_use]
    pub fn allow(&self, key: &str, target: &str) -> bool {
        self.of(key).is_none_or(|targets| targets.contains(target))
    }
}

/// The newest page of a place that was signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// Its revision.
    pub revision: u64,
    /// SHA-256 of its bytes.
    pub digest: Sha256,
}

/// Why a page is not signed after another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StaleRevision {
    /// It is older.
    #[error("revision {asked} is older than revision {last}, which was signed already")]
    Older {
        /// Of the page that is not signed.
        asked: u64,
        /// Of the newest that was.
        last: u64,
    },
    /// It is of the same revision and says something else.
    #[error("revision {revision} was signed already with another content ({signed}, not {asked})")]
    Changed {
        /// The revision of both.
        revision: u64,
        /// Digest of what was signed.
        signed: Sha256,
        /// Digest of what was asked for.
        asked: Sha256,
    },
}

/// Whether a page may follow the newest that was signed: it is newer, or it is the same again.
///
/// # Errors
/// Why not.
pub fn may_follow(last: Option<&Page>, asked: &Page) -> Result<(), StaleRevision> {
    let Some(last) = last else { return Ok(()) };
    if asked.revision < last.revision {
        return Err(StaleRevision::Older { asked: asked.revision, last: last.revision });
    }
    if asked.revision == last.revision && asked.digest != last.digest {
        let (revision, signed, asked) = (last.revision, last.digest, asked.digest);
        return Err(StaleRevision::Changed { revision, signed, asked });
    }
    Ok(())
}

/// Signatures that may be made now: so many at once, and as many again in each minute.
#[derive(Debug, Clone, Copy)]
pub struct Allowance {
    per_minute: u32,
    left: f64,
    at: Instant,
}

impl Allowance {
    /// Full at `now`.
    #[must_use]
    pub fn new(per_minute: u32, now: Instant) -> Self {
        Self { per_minute, left: f64::from(per_minute), at: now }
    }

    /// Takes one.
    ///
    /// # Errors
    /// No signature is left in this minute: how long until there is one.
    pub fn take(&mut self, now: Instant) -> Result<(), Duration> {
        let full = f64::from(self.per_minute);
        let in_a_second = full / 60.0;
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.left = (self.left + passed * in_a_second).min(full);
        self.at = self.at.max(now);
        if self.left < 1.0 {
            // No less than one is allowed in a minute.
            return Err(Duration::from_secs_f64((1.0 - self.left) / in_a_second.max(1.0 / 60.0)));
        }
        self.left -= 1.0;
        Ok(())
    }
}

/// Where the signer's log stood when something was signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Logged {
    /// Which log: each signer has its own.
    pub log: String,
    /// The number of the line, from 1.
    pub line: u64,
    /// SHA-256 of the line, which holds that of the line before.
    pub digest: Sha256,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_follows_an_older_one_or_itself() {
        let page = |revision, text: &str| Page { revision, digest: Sha256::of(text.as_bytes()) };
        let last = page(7, "seven");
        assert_eq!(may_follow(None, &page(1, "x")), Ok(()));
        for (asked, good) in [
            (page(8, "x"), true),
            (page(7, "seven"), true),
            (page(7, "x"), false),
            (page(6, "seven"), false),
        ] {
            assert_eq!(may_follow(Some(&last), &asked).is_ok(), good, "{asked:?}");
        }
        let error = may_follow(Some(&last), &page(3, "x")).unwrap_err().to_string();
        assert_eq!(error, "revision 3 is older than revision 7, which was signed already");
    }

    #[test]
    fn a_bound_key_signs_for_its_targets_only() {
        let mut bindings = Bindings::default();
        bindings.add("lab", ["lab".to_owned(), "lab-next".to_owned()]);
        assert!(bindings.allow("lab", "lab") && bindings.allow("lab", "lab-next"));
        assert!(!bindings.allow("lab", "prod") && !bindings.allow("lab", ""));
        assert!(bindings.allow("free", "prod"), "a key that is not bound");
        bindings.add("none", []);
        assert!(!bindings.allow("none", "lab"), "bound to nothing");
    }

    #[test]
    fn places_have_plain_parts() {
        let place = Place::new("lab", "testing", "x86_64/os").unwrap();
        assert_eq!(place.to_string(), "lab/testing/x86_64/os");
        for (target, channel, path) in [
            ("", "testing", "x86_64/os"),
            ("lab", "a/b", "x86_64/os"),
            ("lab", "testing", ""),
            ("lab", "testing", "x86_64//os"),
            ("lab", "testing", "x86_64/../os"),
            ("lab\n", "testing", "os"),
        ] {
            assert!(Place::new(target, channel, path).is_err(), "{target} {channel} {path}");
        }
        assert!(Place::new("lab", "testing", &"x/".repeat(200)).is_err());
    }

    #[test]
    fn so_many_signatures_in_a_minute() {
        let begun = Instant::now();
        let mut allowance = Allowance::new(60, begun);
        assert!((0..60).all(|_| allowance.take(begun).is_ok()));
        let wait = allowance.take(begun).unwrap_err();
        assert!(wait <= Duration::from_secs(1) && wait > Duration::from_millis(900), "{wait:?}");
        let later = begun + Duration::from_secs(2);
        assert!(allowance.take(later).is_ok() && allowance.take(later).is_ok());
        assert!(allowance.take(later).is_err());
        // A clock that goes back gives nothing, and an hour no more than a minute.
        assert!(allowance.take(begun).is_err());
        let hour = begun + Duration::from_secs(3600);
        assert_eq!((0..100).filter(|_| allowance.take(hour).is_ok()).count(), 60);
    }

    #[test]
    fn coordinators_from_before_are_told() {
        assert!(outdated(0).unwrap().contains("update rpmfarm-coordinator"));
        assert_eq!(outdated(PROTOCOL), None);
    }
}
