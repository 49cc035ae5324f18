//! The release for which a branch of dist-git is built: the dist tag and macros of its
//! distribution.
//!
//! Owns the meaning of branch names. Must not know where branches are or what is on them.

use std::collections::BTreeMap;

/// The oldest Fedora whose specs are tried: older specs need tools that do not exist any more.
const OLDEST_FEDORA: u32 = 34;

/// The kinds of branches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Enterprise Linux: `el9`, `c8`, `el8-stream-3.9`.
    Enterprise,
    /// CentOS Stream: `c9s`.
    Stream,
    /// Fedora's packages for Enterprise Linux: `epel9`.
    Epel,
    /// Fedora: `f38`.
    Fedora,
}

/// The release for which packages of a branch are built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// The branch; each has a target of this name, so that the packages of module streams are not
    /// mixed.
    pub branch: String,
    pub kind: Kind,
    /// Its number: 9 of `el9`, 38 of `f38`.
    pub number: u32,
}

impl Release {
    /// The release of a branch; `None` for branches of other kinds (`rawhide`, `el-9.2`).
    #[must_use]
    pub fn of(branch: &str) -> Option<Self> {
        let made = |kind, number: &str| {
            let plain = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
            let number = plain.then(|| number.parse().ok()).flatten()?;
            Some(Self { branch: branch.to_owned(), kind, number })
        };
        let lower = branch.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'_')
        });
        if !lower {
            // It becomes the name of a target.
            return None;
        }
        if let Some(number) = branch.strip_prefix("epel") {
            return made(Kind::Epel, number);
        }
        if let Some(rest) = branch.strip_prefix("el") {
            let number = rest.split_once("-stream-").map_or(rest, |(number, _)| number);
            return made(Kind::Enterprise, number);
        }
        if let Some(rest) = branch.strip_prefix('c') {
            return match rest.strip_suffix('s') {
                Some(number) => made(Kind::Stream, number),
                None => made(Kind::Enterprise, rest),
            };
        }
        let release = made(Kind::Fedora, branch.strip_prefix('f')?)?;
        (release.number >= OLDEST_FEDORA).then_some(release)
    }

    /// `%{dist}`.
    #[must_use]
    pub fn dist(&self) -> String {
        match self.kind {
            Kind::Fedora => format!(".fc{}", self.number),
            _ => format!(".el{}", self.number),
        }
    }

    /// The macros that the distribution's own release package defines. The lab's root claims to be
    /// Enterprise Linux 9: macros that are wrong for this release are emptied.
    #[must_use]
    pub fn macros(&self) -> BTreeMap<String, String> {
        let number = self.number.to_string();
        let nil = || "%{nil}".to_owned();
        let mut macros = match self.kind {
            Kind::Fedora => BTreeMap::from([
                ("fedora".to_owned(), number),
                ("rhel".to_owned(), nil()),
                (format!("fc{}", self.number), "1".to_owned()),
            ]),
            _ => BTreeMap::from([
                ("rhel".to_owned(), number),
                (format!("el{}", self.number), "1".to_owned()),
            ]),
        };
        macros.entry("el9".to_owned()).or_insert_with(nil);
        macros
    }

    /// Debian's packages that the distribution has in every build root, beside those of the lab's.
    #[must_use]
    pub fn base(&self) -> &'static [&'static str] {
        match (self.kind, self.number) {
            (Kind::Enterprise | Kind::Epel, ..=8) => &["gcc", "g++", "make"],
            _ => &[],
        }
    }
}

/// Whether a name is what a pattern with `*` and `?` stands for.
#[must_use]
pub fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), name.chars().collect());
    let (mut at, mut from) = (0, 0);
    // Where to go on after the last star takes one more character.
    let mut star: Option<(usize, usize)> = None;
    while from < name.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, from));
                at += 1;
            }
            Some(&wanted) if wanted == '?' || wanted == name[from] => {
                at += 1;
                from += 1;
            }
            _ => match star {
                Some((place, taken)) => {
                    star = Some((place, taken + 1));
                    at = place + 1;
                    from = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|rest| *rest == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branches_have_their_release() {
        let dist = |branch: &str| Release::of(branch).map(|release| release.dist());
        assert_eq!(dist("el9").as_deref(), Some(".el9"));
        assert_eq!(dist("el8-stream-3.9").as_deref(), Some(".el8"));
        assert_eq!(dist("c10s").as_deref(), Some(".el10"));
        assert_eq!(dist("c8").as_deref(), Some(".el8"));
        assert_eq!(dist("epel9").as_deref(), Some(".el9"));
        assert_eq!(dist("f38").as_deref(), Some(".fc38"));
        for other in ["f12", "rawhide", "main", "el-9.2", "el", "c9s-rebase", "f", "F38", "EL9"] {
            assert_eq!(Release::of(other), None, "{other}");
        }
    }

    #[test]
    fn the_labs_own_release_is_undone() {
        let fedora = Release::of("f38").unwrap().macros();
        assert_eq!(fedora["fedora"], "38");
        assert_eq!((fedora["rhel"].as_str(), fedora["el9"].as_str()), ("%{nil}", "%{nil}"));
        let nine = Release::of("el9").unwrap().macros();
        assert_eq!((nine["rhel"].as_str(), nine["el9"].as_str()), ("9", "1"));
        let eight = Release::of("el8").unwrap().macros();
        assert_eq!((eight["rhel"].as_str(), eight["el9"].as_str()), ("8", "%{nil}"));
    }

    #[test]
    fn patterns_match() {
        assert!(matches("perl-*@el9", "perl-Error@el9"));
        assert!(matches("*", ""));
        assert!(matches("b?@*", "bc@f38"));
        assert!(matches("*a*b", "xaxxab"));
        assert!(!matches("perl-*@el9", "perl-Error@el8"));
        assert!(!matches("bc", "bcc"));
        assert!(!matches("", "a"));
    }
}
