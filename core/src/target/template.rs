//! Templates: text with variables in braces, `https://git.example.org/rpms/{name}.git`.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

/// Text with variables in braces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Template(String);

impl Template {
    /// The text as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The names of its variables, in order.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        self.0.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(name, _)| name)
    }

    /// Whether the braces are balanced and not nested.
    #[must_use]
    pub(crate) fn is_balanced(&self) -> bool {
        let mut open = false;
        for c in self.0.chars() {
            match (c, open) {
                ('{', true) | ('}', false) => return false,
                ('{', false) => open = true,
                ('}', true) => open = false,
                _ => {}
            }
        }
        !open
    }

    /// The text with values inserted unchanged. Unknown variables stay.
    #[must_use]
    pub fn fill(&self, values: &[(&str, &str)]) -> String {
        self.replace(values, |value| value.to_owned())
    }

    /// The URL with values inserted, percent-encoded so that they stay within its path.
    #[must_use]
    pub fn expand(&self, values: &[(&str, &str)]) -> String {
        self.replace(values, percent_encoded)
    }

    fn replace(&self, values: &[(&str, &str)], encode: impl Fn(&str) -> String) -> String {
        let mut out = String::with_capacity(self.0.len());
        let mut rest = self.0.as_str();
        while let Some((before, from)) = rest.split_once('{') {
            let Some((variable, after)) = from.split_once('}') else { break };
            out.push_str(before);
            match values.iter().find(|(name, _)| *name == variable) {
                Some((_, value)) => out.push_str(&encode(value)),
                None => {
                    let _ = write!(out, "{{{variable}}}");
                }
            }
            rest = after;
        }
        out.push_str(rest);
        out
    }
}

impl From<&str> for Template {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

/// A value as part of a URL's path. Slashes stay, since branches have them.
fn percent_encoded(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~+/@".contains(&byte) {
            out.push(byte as char);
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_put_in_and_stay_in_the_path() {
        let template = Template::from("https://h/{name}/{file}/{other}");
        assert_eq!(
            template.expand(&[("name", "gtk+"), ("file", "a b?c#d%.tar")]),
            "https://h/gtk+/a%20b%3Fc%23d%25.tar/{other}"
        );
        assert_eq!(template.variables().collect::<Vec<_>>(), ["name", "file", "other"]);
    }

    #[test]
    fn a_value_is_not_read_again() {
        let template = Template::from("{name}-{file}");
        assert_eq!(template.fill(&[("name", "{file}"), ("file", "x")]), "{file}-x");
    }

    #[test]
    fn braces() {
        for good in ["", "x", "{a}{b}"] {
            assert!(Template::from(good).is_balanced(), "{good}");
        }
        for bad in ["{", "}", "{a{b}}", "{a", "a}"] {
            assert!(!Template::from(bad).is_balanced(), "{bad}");
        }
    }
}
