//! Patterns of file names: `*`, `?` and `[…]` within a name, and `/` between names. A pattern
//! matches the end of a path, so `x.conf` is found in every directory.

/// Whether the last names of a path match the names of a pattern.
#[must_use]
pub fn matches_end(pattern: &str, path: &str) -> bool {
    let wanted: Vec<_> =
        pattern.split('/').filter(|name| !name.is_empty() && *name != ".").collect();
    let names: Vec<_> = path.split('/').collect();
    if wanted.is_empty() || wanted.len() > names.len() {
        return false;
    }
    let tail = &names[names.len() - wanted.len()..];
    wanted.iter().zip(tail).all(|(pattern, name)| one(pattern, name))
}

/// Whether a whole text matches a pattern; `*` stands for any text, including slashes.
#[must_use]
pub fn is_like(pattern: &str, text: &str) -> bool {
    one(pattern, text)
}

fn one(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<_>, Vec<_>) = (pattern.chars().collect(), name.chars().collect());
    // The usual algorithm in linear time: on a mismatch the last star takes one more character.
    let (mut p, mut n) = (0, 0);
    let mut star = None;
    while n < name.len() {
        if pattern.get(p) == Some(&'*') {
            star = Some((p, n));
            p += 1;
        } else if let Some(next) = step(&pattern, p, name[n]) {
            p = next;
            n += 1;
        } else if let Some((at, taken)) = star {
            p = at + 1;
            n = taken + 1;
            star = Some((at, taken + 1));
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

/// The position in the pattern after this character; `None` if it does not match.
fn step(pattern: &[char], at: usize, c: char) -> Option<usize> {
    match pattern.get(at)? {
        '?' => Some(at + 1),
        '[' => {
            let Some(end) = pattern[at + 1..].iter().skip(1).position(|c| *c == ']') else {
                return (c == '[').then_some(at + 1);
            };
            let end = at + 2 + end;
            let mut set = &pattern[at + 1..end];
            let negated = set.first() == Some(&'!');
            if negated {
                set = &set[1..];
            }
            let mut found = false;
            let mut i = 0;
            while i < set.len() {
                if i + 2 < set.len() && set[i + 1] == '-' {
                    found |= (set[i]..=set[i + 2]).contains(&c);
                    i += 3;
                } else {
                    found |= set[i] == c;
                    i += 1;
                }
            }
            (found != negated).then_some(end + 1)
        }
        other => (*other == c).then_some(at + 1),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns() {
        for (pattern, path, fits) in [
            ("*.spec", "SPECS/hello.spec", true),
            ("*.spec", "hello.spec.in", false),
            ("hello.spec", "SPECS/hello.spec", true),
            ("SOURCES/x", "SOURCES/x", true),
            ("SOURCES/x", "x", false),
            ("kernel*.config", "SOURCES/kernel-x86_64.config", true),
            ("kernel-[a-x]*.config", "kernel-x86.config", true),
            ("kernel-[!x]*.config", "kernel-x86.config", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*a*b*", "xxaxxbxx", true),
            ("", "x", false),
            ("[", "[", true),
        ] {
            assert_eq!(matches_end(pattern, path), fits, "{pattern} {path}");
        }
    }

    proptest! {
        #[test]
        fn a_name_matches_itself_and_a_star(name in "[a-z][a-z.-]{0,11}", pattern in "[a\\[\\]*?!-]{0,8}") {
            prop_assert!(matches_end(&name, &name));
            prop_assert!(matches_end("*", &name));
            let _ = matches_end(&pattern, &name);
        }
    }
}
