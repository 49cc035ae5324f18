//! Excludes: packages of a repository that are hidden, by shell patterns as in dnf's `excludepkgs`.

use rpmfarm_core::Nevra;

/// Whether any pattern matches the package: its name, `name.arch`, `name-version-release`, or the
/// full name with architecture.
pub(crate) fn matches(patterns: &[String], nevra: &Nevra) -> bool {
    if patterns.is_empty() {
        return false;
    }
    let Nevra { name, evr, arch } = nevra;
    let (epoch, version, release) = (evr.epoch, &evr.version, &evr.release);
    // A pattern without an epoch matches any epoch; `0:` matches packages without one.
    let forms = [
        name.clone(),
        format!("{name}.{arch}"),
        format!("{name}-{version}"),
        format!("{name}-{epoch}:{version}"),
        format!("{name}-{version}-{release}"),
        format!("{name}-{epoch}:{version}-{release}"),
        format!("{name}-{version}-{release}.{arch}"),
        format!("{name}-{epoch}:{version}-{release}.{arch}"),
    ];
    patterns
        .iter()
        .any(|pattern| forms.iter().any(|form| glob(pattern.as_bytes(), form.as_bytes())))
}

/// `*` stands for any run of characters, `?` for one, `[a-c]` and `[!a-c]` for one of these or
/// none of these; everything else for itself.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    // Where to continue when a match fails: one character further for the last `*`.
    let mut retry = None;
    let (mut p, mut t) = (0, 0);
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            p += 1;
            retry = Some((p, t));
        } else if let Some(length) = one(&pattern[p..], text[t]) {
            (p, t) = (p + length, t + 1);
        } else if let Some((after_star, from)) = retry {
            (p, t) = (after_star, from + 1);
            retry = Some((after_star, from + 1));
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

/// The length of the first element of a pattern, if it matches this character.
fn one(pattern: &[u8], c: u8) -> Option<usize> {
    match pattern {
        [b'?', ..] => Some(1),
        [b'[', rest @ ..] => {
            let not = usize::from(matches!(rest.first(), Some(b'!' | b'^')));
            let set = &rest[not..];
            // A bracket right at the start is one of the set's characters.
            let Some(end) = set.iter().skip(1).position(|c| *c == b']').map(|at| at + 1) else {
                return (c == b'[').then_some(1);
            };
            let mut set = &set[..end];
            let mut found = false;
            while let [from, rest @ ..] = set {
                if let [b'-', to, rest @ ..] = rest {
                    found |= (*from..=*to).contains(&c);
                    set = rest;
                } else {
                    found |= *from == c;
                    set = rest;
                }
            }
            (found == (not == 0)).then_some(1 + not + end + 1)
        }
        [other, ..] => (*other == c).then_some(1),
        [] => None,
    }
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
            ("p[0-2]*", "p17"),
            ("p[!0-2]", "p3"),
            ("[]a]x", "]x"),
            ("a[b", "a[b"),
            ("*[0-9].el?", "x-1.el9"),
        ] {
            assert!(glob(pattern.as_bytes(), text.as_bytes()), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("gcc", "gcc-c++"),
            ("*-devel", "devel"),
            ("p?p", "pp"),
            ("", "a"),
            ("p[0-2]", "p3"),
            ("p[!0-2]", "p1"),
        ] {
            assert!(!glob(pattern.as_bytes(), text.as_bytes()), "{pattern} {text}");
        }
    }

    #[test]
    fn every_form_of_the_name_counts() {
        let nevra: Nevra = "foo-2.0-1.el9.x86_64".parse().expect("a NEVRA");
        for pattern in ["foo", "foo.x86_64", "foo-2.0-*", "foo-2.0-1.el9.x86_64"] {
            assert!(matches(&[pattern.to_owned()], &nevra), "{pattern}");
        }
        let old: Nevra = "foo-1:2.0-1.el9.x86_64".parse().expect("a NEVRA");
        for pattern in ["foo-2.0", "foo-2.0-1.el9", "foo-1:2.0-1.el9.x86_64", "foo-2.0-1.*.x86_64"]
        {
            assert!(matches(&[pattern.to_owned()], &old), "{pattern}");
        }
        assert!(!matches(&["foo-0:2.0".to_owned()], &old));
        assert!(!matches(&["foo.noarch".to_owned(), "fo".to_owned()], &nevra));
    }
}
