//! Excludes: packages of a repository that must not be seen, by shell patterns as in dnf's
//! `excludepkgs`.

use rpmfarm_core::Nevra;

/// Whether any pattern names the package: by name, `name.arch`, `name-version-release`, or the
/// full name with architecture.
pub(crate) fn matches(patterns: &[String], nevra: &Nevra) -> bool {
    if patterns.is_empty() {
        return false;
    }
    let forms = [
        nevra.name.clone(),
        format!("{}.{}", nevra.name, nevra.arch),
        format!("{}-{}", nevra.name, nevra.evr),
        nevra.to_string(),
    ];
    patterns
        .iter()
        .any(|pattern| forms.iter().any(|form| glob(pattern.as_bytes(), form.as_bytes())))
}

/// `*` stands for any run of characters, `?` for one; everything else for itself.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    // Where to go on when a match fails: one character further for the last `*`.
    let mut retry = None;
    let (mut p, mut t) = (0, 0);
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            p += 1;
            retry = Some((p, t));
        } else if pattern.get(p).is_some_and(|c| *c == b'?' || *c == text[t]) {
            (p, t) = (p + 1, t + 1);
        } else if let Some((after_star, from)) = retry {
            (p, t) = (after_star, from + 1);
            retry = Some((after_star, from + 1));
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_a_shell_does() {
        for (pattern, text) in [
            ("gcc", "gcc"),
            ("gcc*", "gcc-c++"),
            ("*-devel", "a-b-devel"),
            ("p?p", "php"),
            ("*", ""),
        ] {
            assert!(glob(pattern.as_bytes(), text.as_bytes()), "{pattern} {text}");
        }
        for (pattern, text) in [("gcc", "gcc-c++"), ("*-devel", "devel"), ("p?p", "pp"), ("", "a")]
        {
            assert!(!glob(pattern.as_bytes(), text.as_bytes()), "{pattern} {text}");
        }
    }

    #[test]
    fn every_form_of_the_name_counts() {
        let nevra: Nevra = "foo-2.0-1.el9.x86_64".parse().expect("a NEVRA");
        for pattern in ["foo", "foo.x86_64", "foo-2.0-*", "foo-2.0-1.el9.x86_64"] {
            assert!(matches(&[pattern.to_owned()], &nevra), "{pattern}");
        }
        assert!(!matches(&["foo.noarch".to_owned(), "fo".to_owned()], &nevra));
    }
}
