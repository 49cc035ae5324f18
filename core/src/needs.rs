//! The needs of a task beyond a slot and its architecture.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::name::shown;

/// The needs of a task; none by default.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Needs {
    /// Memory in MiB; 0 for any amount.
    pub memory_mib: u64,
    /// Free disk in MiB; 0 for any amount.
    pub disk_mib: u64,
    /// A label that the worker must carry; empty for none.
    pub label: String,
}

/// A text that is not a list of needs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a list of needs (expected words as memory=1024 disk=2048 label=ssd)")]
pub struct NeedsError(String);

impl Needs {
    /// Whether every worker has enough.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// For people: `32 GiB of memory and the label ssd`; empty for nothing.
    #[must_use]
    pub fn shown(&self) -> String {
        let mut parts = Vec::new();
        if self.memory_mib > 0 {
            parts.push(format!("{} of memory", size(self.memory_mib)));
        }
        if self.disk_mib > 0 {
            parts.push(format!("{} of disk", size(self.disk_mib)));
        }
        if !self.label.is_empty() {
            parts.push(format!("the label {}", self.label));
        }
        parts.join(" and ")
    }
}

/// A text that is not a label; the message says what labels are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not a label (1 to 60 letters, digits, `.`, `_`, `-`)", shown(.0))]
pub struct LabelError(pub String);

/// Checks a label: letters, digits, `.`, `_` and `-`, at most 60.
///
/// # Errors
/// When it is not a list of needs.
pub fn check_label(label: &str) -> Result<(), LabelError> {
    let good = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if label.is_empty() || label.len() > 60 || !label.chars().all(good) {
        return Err(LabelError(label.to_owned()));
    }
    Ok(())
}

/// MiB as people write them: whole GiB where they are.
#[must_use]
pub fn size(mib: u64) -> String {
    match mib {
        mib if mib >= 1024 && mib.is_multiple_of(1024) => format!("{} GiB", mib / 1024),
        mib if mib >= 10 * 1024 => format!("{} GiB", mib.div_ceil(1024)),
        mib => format!("{mib} MiB"),
    }
}

/// The stored form; empty for nothing. It names a queue, so equal needs have equal text.
impl fmt::Display for Needs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut space = "";
        for (word, value) in [("memory", self.memory_mib), ("disk", self.disk_mib)] {
            if value > 0 {
                write!(f, "{space}{word}={value}")?;
                space = " ";
            }
        }
        if !self.label.is_empty() {
            write!(f, "{space}label={}", self.label)?;
        }
        Ok(())
    }
}

impl std::str::FromStr for Needs {
    type Err = NeedsError;

    fn from_str(text: &str) -> Result<Self, NeedsError> {
        let bad = || NeedsError(shown(text));
        let mut needs = Self::default();
        for word in text.split_whitespace() {
            match word.split_once('=') {
                Some(("memory", value)) => needs.memory_mib = value.parse().map_err(|_| bad())?,
                Some(("disk", value)) => needs.disk_mib = value.parse().map_err(|_| bad())?,
                Some(("label", value)) if !value.is_empty() => needs.label = value.to_owned(),
                _ => return Err(bad()),
            }
        }
        Ok(needs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stored_form_is_read_back() {
        let all = Needs { memory_mib: 32 << 10, disk_mib: 100, label: "ssd".into() };
        for (needs, text) in [
            (Needs::default(), ""),
            (Needs { label: "ssd".into(), ..Needs::default() }, "label=ssd"),
            (all.clone(), "memory=32768 disk=100 label=ssd"),
        ] {
            assert_eq!(needs.to_string(), text);
            assert_eq!(text.parse(), Ok(needs));
        }
        assert_eq!(all.shown(), "32 GiB of memory and 100 MiB of disk and the label ssd");
        assert!("memory".parse::<Needs>().is_err());
        assert!(check_label("ssd-2").is_ok());
        assert!(check_label("").is_err() && check_label("a b").is_err());
    }
}
