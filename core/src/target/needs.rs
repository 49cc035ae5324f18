//! The needs of a package's tasks, as a target file sets them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::name::shown;
use crate::needs::{LabelError, Needs, check_label};

/// `needs = { memory = "32G", disk = "100G", label = "ssd" }`. Needs that are left out, except the
/// label, are learned from the package's last builds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NeedsSetting {
    /// Memory that the worker must have, and reserve for the task.
    pub memory: Option<Size>,

    /// Free disk that the worker must have.
    pub disk: Option<Size>,

    /// A label that the worker must carry (`rpmfarm-worker run --label`).
    pub label: Option<NeedsLabel>,
}

impl NeedsSetting {
    /// The form that placement takes.
    #[must_use]
    pub fn needs(&self) -> Needs {
        let mib = |size: &Option<Size>| size.map_or(0, |size| size.0);
        let label = self.label.as_ref().map(|label| label.0.clone()).unwrap_or_default();
        Needs { memory_mib: mib(&self.memory), disk_mib: mib(&self.disk), label }
    }
}

/// An amount in MiB, written `512M`, `32G` or `1T`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Size(u64);

/// A text that is not a size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not a size (expected a number with a unit, as 512M, 32G or 1T)", shown(.0))]
pub struct SizeError(pub String);

/// Units with their size in MiB, the largest first.
const UNITS: [(char, u64); 3] = [('T', 1 << 20), ('G', 1 << 10), ('M', 1)];

impl TryFrom<String> for Size {
    type Error = SizeError;

    fn try_from(text: String) -> Result<Self, SizeError> {
        let size = UNITS.iter().find_map(|(unit, mib)| {
            let number: u64 = text.strip_suffix(*unit)?.parse().ok()?;
            number.checked_mul(*mib)
        });
        size.filter(|mib| *mib > 0).map(Self).ok_or(SizeError(text))
    }
}

impl From<Size> for String {
    fn from(size: Size) -> Self {
        size.to_string()
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |(_, mib): &&(char, u64)| self.0.is_multiple_of(*mib);
        let (unit, mib) = UNITS.iter().find(fits).unwrap_or(&UNITS[2]);
        write!(f, "{}{unit}", self.0 / mib)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NeedsLabel(String);

impl TryFrom<String> for NeedsLabel {
    type Error = LabelError;

    fn try_from(text: String) -> Result<Self, LabelError> {
        check_label(&text).map(|()| Self(text))
    }
}

impl From<NeedsLabel> for String {
    fn from(label: NeedsLabel) -> Self {
        label.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needs_are_read_and_written() {
        let text = "memory = \"32G\"\ndisk = \"1536M\"\nlabel = \"ssd\"\n";
        let setting: NeedsSetting = toml::from_str(text).expect("good");
        let needs = Needs { memory_mib: 32 << 10, disk_mib: 1536, label: "ssd".into() };
        assert_eq!(setting.needs(), needs);
        assert_eq!(toml::to_string(&setting).expect("good"), text);
        assert!(toml::from_str::<NeedsSetting>("").expect("good").needs().is_nothing());
        for bad in ["memory = \"32\"", "memory = \"0G\"", "disk = 5", "label = \"a b\"", "x = 1"] {
            assert!(toml::from_str::<NeedsSetting>(bad).is_err(), "{bad}");
        }
    }
}
