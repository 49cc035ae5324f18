//! Default streams, merged over the repositories of a target.
//!
//! The rules are those of `modulemd_defaults_v1_merge` in libmodulemd, which dnf uses.

use std::collections::{BTreeMap, BTreeSet};

/// A document `modulemd-defaults`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Defaults {
    /// Name of the module.
    pub module: String,
    /// Its default stream; `None` when the module has no default.
    pub stream: Option<String>,
    /// When the document was written: of two documents that contradict each other the newer one is
    /// used.
    pub modified: u64,
    /// The default profiles of streams. They install nothing into a build root, but two
    /// repositories must not contradict each other there.
    pub profiles: BTreeMap<String, BTreeSet<String>>,
}

/// Two repositories that contradict each other so that dnf would drop the defaults of all modules.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, thiserror::Error)]
#[error(
    "the repositories name different default profiles for stream `{stream}` of module `{module}`, so that dnf would not use any default stream; exclude one of the repositories"
)]
pub struct DefaultsError {
    pub module: String,
    pub stream: String,
}

/// The defaults of one module that were read so far.
struct MergedDefaults {
    stream: Option<String>,
    /// Two documents of the same age named different streams: then the module has no default.
    conflict: bool,
    modified: u64,
    profiles: BTreeMap<String, BTreeSet<String>>,
}

/// The default stream of each module, over all repositories. Each repository is one list.
///
/// # Errors
/// When default profiles contradict each other.
pub fn default_streams<'a>(
    repositories: impl IntoIterator<Item = &'a [Defaults]>,
) -> Result<BTreeMap<String, String>, DefaultsError> {
    let mut all: BTreeMap<String, MergedDefaults> = BTreeMap::new();
    for repository in repositories {
        // Within one file the last document of a module is used.
        let last: BTreeMap<&str, &Defaults> =
            repository.iter().map(|defaults| (defaults.module.as_str(), defaults)).collect();
        for (module, from) in last {
            match all.get_mut(module) {
                Some(into) => into.merge(module, from)?,
                None => {
                    all.insert(module.to_owned(), MergedDefaults::from_defaults(from));
                }
            }
        }
    }
    let streams = all.into_iter().filter(|(_, merged)| !merged.conflict);
    Ok(streams.filter_map(|(module, merged)| Some((module, merged.stream?))).collect())
}

impl MergedDefaults {
    fn from_defaults(from: &Defaults) -> Self {
        Self {
            stream: from.stream.clone(),
            conflict: false,
            modified: from.modified,
            profiles: from.profiles.clone(),
        }
    }

    fn merge(&mut self, module: &str, from: &Defaults) -> Result<(), DefaultsError> {
        match (&self.stream, &from.stream) {
            (None, Some(_)) if !self.conflict => self.stream.clone_from(&from.stream),
            (Some(ours), Some(theirs)) if ours != theirs && !self.conflict => {
                if from.modified > self.modified {
                    self.stream.clone_from(&from.stream);
                } else if from.modified == self.modified {
                    self.conflict = true;
                }
            }
            _ => {}
        }
        for (stream, theirs) in &from.profiles {
            let known = self.profiles.entry(stream.clone()).or_insert_with(|| theirs.clone());
            if known != theirs {
                if from.modified == self.modified {
                    let (module, stream) = (module.to_owned(), stream.clone());
                    return Err(DefaultsError { module, stream });
                }
                if from.modified > self.modified {
                    known.clone_from(theirs);
                }
            }
        }
        self.modified = self.modified.max(from.modified);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn defaults(stream: &str, modified: u64) -> Defaults {
        Defaults {
            module: "m".into(),
            stream: (!stream.is_empty()).then(|| stream.into()),
            modified,
            profiles: BTreeMap::new(),
        }
    }

    fn merged(repositories: &[&[Defaults]]) -> Option<String> {
        let found = default_streams(repositories.iter().copied()).expect("no conflict");
        found.get("m").cloned()
    }

    #[test]
    fn the_newer_counts_and_a_contradiction_of_the_same_age_leaves_none() {
        let (one, two, none) = ([defaults("1", 0)], [defaults("2", 0)], [defaults("", 0)]);
        let newer = [defaults("2", 7)];
        assert_eq!(merged(&[&one]), Some("1".into()));
        assert_eq!(merged(&[&one, &none]), Some("1".into()));
        assert_eq!(merged(&[&none, &one]), Some("1".into()));
        assert_eq!(merged(&[&one, &two]), None);
        assert_eq!(merged(&[&one, &two, &one]), None);
        assert_eq!(merged(&[&one, &newer]), Some("2".into()));
        assert_eq!(merged(&[&newer, &one]), Some("2".into()));
        assert_eq!(merged(&[&[defaults("1", 0), defaults("2", 0)]]), Some("2".into()));
    }

    #[test]
    fn contradicting_profiles_are_told() {
        let with = |profile: &str| {
            let mut one = defaults("1", 0);
            one.profiles.insert("1".into(), [profile.to_owned()].into());
            one
        };
        let (a, b) = ([with("a")], [with("b")]);
        assert!(default_streams([&a[..], &a[..]]).is_ok());
        let error = default_streams([&a[..], &b[..]]).expect_err("they contradict each other");
        assert_eq!((error.module.as_str(), error.stream.as_str()), ("m", "1"));
    }
}
