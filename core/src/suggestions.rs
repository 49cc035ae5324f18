//! Suggestions for mistyped names.
//!
//! Owns how similar two names are. The caller has the known names.

/// How many suggestions there are at most.
const MOST: usize = 3;

/// The known names that differ least from an unknown word, the nearest first; empty when no name is
/// near. An additional, missing, different or swapped letter counts one, and a third of the word
/// may differ.
#[must_use]
pub fn near<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Vec<&'k str> {
    let word: Vec<char> = word.to_lowercase().chars().collect();
    let most = (word.len() / 3).max(1);
    let mut found: Vec<(usize, &str)> = known
        .into_iter()
        .filter(|name| name.chars().count().abs_diff(word.len()) <= most)
        .filter_map(|name| {
            let name_chars: Vec<char> = name.to_lowercase().chars().collect();
            let steps = distance(&word, &name_chars);
            (steps <= most).then_some((steps, name))
        })
        .collect();
    found.sort_unstable();
    found.dedup();
    found.into_iter().map(|(_, name)| name).take(MOST).collect()
}

/// The suggestions as the end of a message: `; did you mean hello?`, or nothing.
#[must_use]
pub fn did_you_mean<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> String {
    match near(word, known).as_slice() {
        [] => String::new(),
        names => format!("; did you mean {}?", names.join(" or ")),
    }
}

/// How many letters must be added, removed, replaced or swapped with the next one, each at most
/// once (the optimal string alignment distance).
fn distance(one: &[char], other: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in other.iter().enumerate() {
            let replaced = last[j] + usize::from(a != b);
            let mut least = replaced.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == other[j - 1] && one[i - 1] == *b {
                least = least.min(before[j - 1] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[other.len()]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KNOWN: [&str; 6] = ["hello", "help2man", "openssl", "openssh", "libgreet", "which"];

    #[test]
    fn a_typo_finds_what_was_meant() {
        for (word, meant) in [
            ("helo", vec!["hello"]),
            ("hlelo", vec!["hello"]),
            ("Hello", vec!["hello"]),
            ("opensl", vec!["openssl", "openssh"]),
            ("libgret", vec!["libgreet"]),
            ("bash", vec![]),
            ("", vec![]),
        ] {
            assert_eq!(near(word, KNOWN), meant, "{word}");
        }
        assert_eq!(did_you_mean("wich", KNOWN), "; did you mean which?");
        assert_eq!(did_you_mean("kernel", KNOWN), "");
    }

    proptest! {
        #[test]
        fn one_slip_is_always_found(name in "[a-z]{4,12}", at in 0_usize..4, to in "[a-z]") {
            let mut slipped = name.clone();
            slipped.replace_range(at..=at, &to);
            prop_assert_eq!(near(&slipped, [name.as_str()]), [name.as_str()]);
            let mut short = name.clone();
            short.remove(at);
            prop_assert_eq!(near(&short, [name.as_str()]), [name.as_str()]);
        }

        #[test]
        fn how_far_two_names_are_apart_does_not_depend_on_their_order(
            one in "[ab-]{0,8}", other in "[ab-]{0,8}"
        ) {
            let (one, other): (Vec<char>, Vec<char>) =
                (one.chars().collect(), other.chars().collect());
            prop_assert_eq!(distance(&one, &other), distance(&other, &one));
            prop_assert_eq!(distance(&one, &one), 0);
            prop_assert!(distance(&one, &other) <= one.len().max(other.len()));
        }
    }
}
