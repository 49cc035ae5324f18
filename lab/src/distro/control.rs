//! Debian's control fields, and their equivalents in RPM.
//!
//! Owns the parsing of stanzas, versions and relations (Debian Policy, chapters 5 and 7). Pure.

use std::collections::BTreeMap;
use std::fmt;

/// The fields of one stanza, by name in lower case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Control(BTreeMap<String, String>);

/// A version in RPM's three parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Evr {
    /// Left out of the text when zero.
    pub(super) epoch: u64,
    /// Never holds `-`.
    pub(super) version: String,
    /// Never holds `-`; `0` for a package without a Debian revision.
    pub(super) release: String,
}

/// One alternative of a relation: `libc6 (>= 2.36)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Relation {
    /// The package, without `:any`.
    pub(super) name: String,
    /// The version, only where the relation has `=`.
    pub(super) exact: Option<Evr>,
}

impl Control {
    /// Reads one stanza: `Field: value` lines, continued by lines that begin with a space.
    #[must_use]
    pub(super) fn parse(text: &str) -> Self {
        let mut fields = BTreeMap::new();
        let mut current: Option<String> = None;
        for line in text.lines() {
            if line.starts_with([' ', '\t']) {
                if let Some(value) = current.as_ref().and_then(|name| fields.get_mut(name)) {
                    let value: &mut String = value;
                    value.push('\n');
                    value.push_str(line.trim());
                }
            } else if let Some((name, value)) = line.split_once(':') {
                let name = name.to_ascii_lowercase();
                fields.insert(name.clone(), value.trim().to_owned());
                current = Some(name);
            }
        }
        Self(fields)
    }

    /// A field's value, empty when it is absent.
    #[must_use]
    pub(super) fn get(&self, name: &str) -> &str {
        self.0.get(&name.to_ascii_lowercase()).map_or("", String::as_str)
    }

    /// The relations of a field: a list of alternatives each.
    #[must_use]
    pub(super) fn relations(&self, field: &str) -> Vec<Vec<Relation>> {
        self.get(field)
            .split(',')
            .map(|clause| clause.split('|').filter_map(Relation::parse).collect::<Vec<_>>())
            .filter(|alternatives| !alternatives.is_empty())
            .collect()
    }
}

impl Evr {
    /// Reads `[epoch:]upstream[-revision]`.
    #[must_use]
    pub(super) fn parse(text: &str) -> Self {
        let (epoch, rest) = text.split_once(':').unwrap_or(("0", text));
        let (version, release) = rest.rsplit_once('-').unwrap_or((rest, "0"));
        Self {
            epoch: epoch.parse().unwrap_or(0),
            version: version.replace('-', "_"),
            release: release.to_owned(),
        }
    }
}

impl fmt::Display for Evr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.epoch != 0 {
            write!(f, "{}:", self.epoch)?;
        }
        write!(f, "{}-{}", self.version, self.release)
    }
}

impl Relation {
    fn parse(text: &str) -> Option<Self> {
        let (name, condition) = text.split_once('(').unwrap_or((text, ""));
        let name = name.trim();
        let name = name.split_once(':').map_or(name, |(name, _)| name);
        let exact = condition
            .trim_end_matches([')', ' '])
            .strip_prefix('=')
            .map(|version| Evr::parse(version.trim()));
        (!name.is_empty()).then(|| Self { name: name.to_owned(), exact })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_stanza() {
        let control = Control::parse(
            "Package: awk\nPre-Depends: libc6 (>= 2.34), a:any | b\nDescription: short\n long\n more\n",
        );
        assert_eq!(control.get("package"), "awk");
        assert_eq!(control.get("Description"), "short\nlong\nmore");
        let relations = control.relations("Pre-Depends");
        assert_eq!(relations.len(), 2);
        assert_eq!(relations[0][0], Relation { name: "libc6".into(), exact: None });
        assert_eq!(relations[1].iter().map(|r| r.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(control.relations("Provides"), Vec::<Vec<Relation>>::new());
    }

    #[test]
    fn versions_become_evrs() {
        let cases = [
            ("1:1.2.13.dfsg-1", "1:1.2.13.dfsg-1"),
            ("5.7-0.5~deb12u1", "5.7-0.5~deb12u1"),
            ("20230311", "20230311-0"),
            ("1.0-rc1-2+b1", "1.0_rc1-2+b1"),
        ];
        for (debian, rpm) in cases {
            assert_eq!(Evr::parse(debian).to_string(), rpm);
        }
    }

    #[test]
    fn exact_versions_of_provides_are_kept() {
        let control = Control::parse("Provides: liblocale (= 1:2.3-4), other\n");
        let relations = control.relations("Provides");
        assert_eq!(relations[0][0].exact.as_ref().unwrap().to_string(), "1:2.3-4");
        assert!(relations[1][0].exact.is_none());
    }
}
