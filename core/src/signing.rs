//! The signer's rules that depend on what it has signed before and on its operator's settings:
//! which key for which target, which revision after which, how many signatures a minute.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::Sha256;
use crate::name;

/// The version of the protocol between coordinator and signer. It is raised when a program that
/// does not know a change would do something wrong. The protocol without a number was 1, without
/// targets and revisions; its requests have 0.
pub const PROTOCOL: u32 = 2;

/// The oldest protocol of a coordinator that still gets signatures.
pub const OLDEST_PROTOCOL: u32 = 2;

/// Longest text of a path below a channel, in characters.
const MAX_PATH: usize = 255;

/// Why the protocol of a caller is too old; `None` when it is supported.
#[must_use]
pub fn outdated(protocol: u32) -> Option<String> {
    (protocol < OLDEST_PROTOCOL).then(|| {
        format!(
            "the coordinator speaks protocol {protocol} to the signer, which needs \
             {OLDEST_PROTOCOL} or newer: update rpmfarm-coordinator together with rpmfarm-signer"
        )
    })
}

/// Why a repository's name is invalid.
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
pub struct RepositoryId {
    /// Name of the target.
    pub target: String,
    /// Name of the channel.
    pub channel: String,
    /// Its path below the channel, as `x86_64/os`.
    pub path: String,
}

impl fmt::Display for RepositoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.target, self.channel, self.path)
    }
}

impl RepositoryId {
    /// A repository whose name has plain parts.
    ///
    /// # Errors
    /// The part that is not plain.
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

    /// Whether both are in one channel.
    #[must_use]
    pub fn shares_channel(&self, other: &Self) -> bool {
        (&self.target, &self.channel) == (&other.target, &other.channel)
    }
}

fn plain(part: &'static str, text: &str) -> Result<(), PlaceError> {
    name::check_package(text).map_err(|_| PlaceError::Part { part, text: text.to_owned() })
}

/// The targets that each key may sign for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct KeyBindings(BTreeMap<String, BTreeSet<String>>);

impl KeyBindings {
    /// Adds targets that a key signs for.
    pub fn add(&mut self, key: &str, targets: impl IntoIterator<Item = String>) {
        self.0.entry(key.to_owned()).or_default().extend(targets);
    }

    /// The keys with bindings.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The targets that a key is bound to; `None` when it signs for any.
    #[must_use]
    pub fn targets_of(&self, key: &str) -> Option<&BTreeSet<String>> {
        self.0.get(key)
    }

    /// Whether a key signs for a target. A key that is bound to nothing signs for any.
    #[must_use]
    pub fn allow(&self, key: &str, target: &str) -> bool {
        self.targets_of(key).is_none_or(|targets| targets.contains(target))
    }
}

/// The last signed `repomd.xml` of a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignedPage {
    pub revision: u64,
    /// SHA-256 of its bytes.
    pub digest: Sha256,
}

/// Why a `repomd.xml` is not signed after another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StaleRevisionError {
    #[error("revision {asked} is older than revision {last}, which was signed already")]
    Older {
        /// The revision of the request.
        asked: u64,
        /// The highest revision that was signed.
        last: u64,
    },
    /// The same revision, with another content.
    #[error("revision {revision} was signed already with another content ({signed}, not {asked})")]
    Changed {
        /// The revision of both.
        revision: u64,
        /// The digest that was signed.
        signed: Sha256,
        /// The digest in the request.
        asked: Sha256,
    },
}

/// Whether a `repomd.xml` may be signed after the last one: it has a higher revision, or is the
/// same again.
///
/// # Errors
/// Why it may not.
pub fn may_follow(last: Option<&SignedPage>, asked: &SignedPage) -> Result<(), StaleRevisionError> {
    let Some(last) = last else { return Ok(()) };
    if asked.revision < last.revision {
        return Err(StaleRevisionError::Older { asked: asked.revision, last: last.revision });
    }
    if asked.revision == last.revision && asked.digest != last.digest {
        let (revision, signed, asked) = (last.revision, last.digest, asked.digest);
        return Err(StaleRevisionError::Changed { revision, signed, asked });
    }
    Ok(())
}

/// The rate of signatures: so many at once, and as many again in each minute.
#[derive(Debug, Clone, Copy)]
pub struct SigningRate {
    per_minute: u32,
    left: f64,
    at: Instant,
}

impl SigningRate {
    /// Full at `now`.
    #[must_use]
    pub fn new(per_minute: u32, now: Instant) -> Self {
        Self { per_minute, left: f64::from(per_minute), at: now }
    }

    /// Takes one signature.
    ///
    /// # Errors
    /// None is left in this minute: how long until there is one.
    pub fn acquire(&mut self, now: Instant) -> Result<(), Duration> {
        let full = f64::from(self.per_minute);
        let in_a_second = full / 60.0;
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.left = (self.left + passed * in_a_second).min(full);
        self.at = self.at.max(now);
        if self.left < 1.0 {
            // The denominator is not 0, because at least one signature a minute is allowed.
            return Err(Duration::from_secs_f64((1.0 - self.left) / in_a_second.max(1.0 / 60.0)));
        }
        self.left -= 1.0;
        Ok(())
    }
}

/// The head of the signer's log when something was signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogHead {
    /// The id of the log: each signer has its own.
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
        let page = |revision, text: &str| SignedPage {
            revision,
            digest: Sha256::compute(text.as_bytes()),
        };
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
        let mut bindings = KeyBindings::default();
        bindings.add("lab", ["lab".to_owned(), "lab-next".to_owned()]);
        assert!(bindings.allow("lab", "lab") && bindings.allow("lab", "lab-next"));
        assert!(!bindings.allow("lab", "prod") && !bindings.allow("lab", ""));
        assert!(bindings.allow("free", "prod"), "a key that is not bound");
        bindings.add("none", []);
        assert!(!bindings.allow("none", "lab"), "bound to nothing");
    }

    #[test]
    fn places_have_plain_parts() {
        let place = RepositoryId::new("lab", "testing", "x86_64/os").unwrap();
        assert_eq!(place.to_string(), "lab/testing/x86_64/os");
        for (target, channel, path) in [
            ("", "testing", "x86_64/os"),
            ("lab", "a/b", "x86_64/os"),
            ("lab", "testing", ""),
            ("lab", "testing", "x86_64//os"),
            ("lab", "testing", "x86_64/../os"),
            ("lab\n", "testing", "os"),
        ] {
            assert!(RepositoryId::new(target, channel, path).is_err(), "{target} {channel} {path}");
        }
        assert!(RepositoryId::new("lab", "testing", &"x/".repeat(200)).is_err());
    }

    #[test]
    fn so_many_signatures_in_a_minute() {
        let begun = Instant::now();
        let mut allowance = SigningRate::new(60, begun);
        assert!((0..60).all(|_| allowance.acquire(begun).is_ok()));
        let wait = allowance.acquire(begun).unwrap_err();
        assert!(wait <= Duration::from_secs(1) && wait > Duration::from_millis(900), "{wait:?}");
        let later = begun + Duration::from_secs(2);
        assert!(allowance.acquire(later).is_ok() && allowance.acquire(later).is_ok());
        assert!(allowance.acquire(later).is_err());
        // A clock that goes back gives nothing, and an hour no more than a minute.
        assert!(allowance.acquire(begun).is_err());
        let hour = begun + Duration::from_secs(3600);
        assert_eq!((0..100).filter(|_| allowance.acquire(hour).is_ok()).count(), 60);
    }

    #[test]
    fn coordinators_from_before_are_told() {
        assert!(outdated(0).unwrap().contains("update rpmfarm-coordinator"));
        assert_eq!(outdated(PROTOCOL), None);
    }
}
