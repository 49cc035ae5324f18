//! Which streams a target or a package chooses, as `NAME:STREAM`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::name::shown;

/// The name of a module.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ModuleName(String);

/// A stream of a module, written `NAME:STREAM`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StreamName {
    module: String,
    stream: String,
}

/// Text that names no module or stream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChoiceError {
    #[error("`{0}` is not a module stream; write NAME:STREAM, like `nodejs:20`")]
    Stream(String),
    #[error("`{0}` is not the name of a module; write it without a stream, like `perl`")]
    Module(String),
}

/// The characters of names of modules and streams. Others would mean something else in the
/// dependencies that dnf makes of them.
pub(super) fn is_word(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 256
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._+~^-".contains(&b))
}

impl TryFrom<String> for ModuleName {
    type Error = ChoiceError;

    fn try_from(text: String) -> Result<Self, ChoiceError> {
        if is_word(&text) { Ok(Self(text)) } else { Err(ChoiceError::Module(shown(&text))) }
    }
}

impl From<ModuleName> for String {
    fn from(name: ModuleName) -> Self {
        name.0
    }
}

impl ModuleName {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for StreamName {
    type Error = ChoiceError;

    fn try_from(text: String) -> Result<Self, ChoiceError> {
        match text.split_once(':') {
            Some((module, stream)) if is_word(module) && is_word(stream) => {
                Ok(Self { module: module.to_owned(), stream: stream.to_owned() })
            }
            _ => Err(ChoiceError::Stream(shown(&text))),
        }
    }
}

impl From<StreamName> for String {
    fn from(name: StreamName) -> Self {
        name.to_string()
    }
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.module, self.stream)
    }
}

impl StreamName {
    #[must_use]
    pub fn module(&self) -> &str {
        &self.module
    }

    #[must_use]
    pub fn stream(&self) -> &str {
        &self.stream
    }
}

/// The choice of module streams for one build; every other module has its default stream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ModuleChoice {
    /// The stream of each module that is enabled, as `dnf module enable` would.
    pub enabled: BTreeMap<String, String>,
    /// The modules of which no stream is used, as `dnf module disable` would.
    pub disabled: BTreeSet<String>,
}

impl ModuleChoice {
    /// Adds the choices of a list; they replace earlier ones for the same modules.
    pub fn apply(&mut self, enabled: &[StreamName], disabled: &[ModuleName]) {
        for stream in enabled {
            self.disabled.remove(&stream.module);
            self.enabled.insert(stream.module.clone(), stream.stream.clone());
        }
        for module in disabled {
            self.enabled.remove(&module.0);
            self.disabled.insert(module.0.clone());
        }
    }
}
