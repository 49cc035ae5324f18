//! Numbers as configurations write them: `9`, `"9"`, and `Latest` where a number may follow the
//! last.
//!
//! Owns how they are read and written.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

/// The number of a patch or source.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PatchNumber {
    /// `Latest`: one more than the last.
    #[default]
    Latest,
    Is(u32),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum TextOrNumber {
    Number(u32),
    Text(String),
}

/// `el_version: 9` and `el_version: "9"`.
pub(super) fn text_or_number<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<String, D::Error> {
    Ok(match TextOrNumber::deserialize(deserializer)? {
        TextOrNumber::Number(number) => number.to_string(),
        TextOrNumber::Text(text) => text,
    })
}

impl<'de> Deserialize<'de> for PatchNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match TextOrNumber::deserialize(deserializer)? {
            TextOrNumber::Number(number) if number > 0 => Ok(Self::Is(number)),
            TextOrNumber::Text(text) if text == "Latest" => Ok(Self::Latest),
            TextOrNumber::Number(_) => Err(D::Error::custom("`number` must be 1 or more")),
            TextOrNumber::Text(text) => Err(D::Error::custom(format!(
                "`number` is `{}`: write a number, or `Latest`",
                rpmfarm_core::name::shown(&text)
            ))),
        }
    }
}

impl Serialize for PatchNumber {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Latest => serializer.serialize_str("Latest"),
            Self::Is(number) => serializer.serialize_u32(*number),
        }
    }
}
