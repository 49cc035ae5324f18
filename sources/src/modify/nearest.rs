//! Suggestions for a text or name that was not found: the most similar lines and names.

use rpmfarm_core::name;

/// How many suggestions a message shows.
const SHOWN: usize = 3;

/// The most lines of a file that are compared.
const MAX_LINES: usize = 20_000;

/// The least similarity, of 1, of a suggestion.
const ALIKE: f64 = 0.4;

/// The most similar lines, with their numbers from 1, best first.
pub(super) fn lines<'a>(
    wanted: &str,
    lines: impl IntoIterator<Item = &'a String>,
) -> Vec<(usize, String)> {
    let lines = lines.into_iter().take(MAX_LINES).enumerate();
    best(wanted, lines.map(|(index, line)| (index + 1, line.trim())))
        .into_iter()
        .map(|(number, line)| (number, name::shown(line)))
        .collect()
}

/// The paths with the most similar names.
pub(super) fn names<'a>(wanted: &str, paths: impl Iterator<Item = &'a String>) -> Vec<String> {
    let wanted = wanted.rsplit('/').next().unwrap_or(wanted);
    let names = paths.take(MAX_LINES).map(|path| (path, path.rsplit('/').next().unwrap_or(path)));
    best(wanted, names).into_iter().map(|(path, _)| path.clone()).collect()
}

fn best<'a, K>(wanted: &str, all: impl Iterator<Item = (K, &'a str)>) -> Vec<(K, &'a str)> {
    let pairs = pairs(wanted);
    let mut scored: Vec<_> = all
        .filter(|(_, text)| !text.is_empty())
        .map(|(key, text)| (likeness(&pairs, text), key, text))
        .filter(|(score, ..)| *score >= ALIKE)
        .collect();
    scored.sort_by(|(a, ..), (b, ..)| b.total_cmp(a));
    scored.into_iter().take(SHOWN).map(|(_, key, text)| (key, text)).collect()
}

/// Pairs of neighbouring characters, blanks left out.
fn pairs(text: &str) -> Vec<(char, char)> {
    let chars: Vec<char> = text
        .chars()
        .filter(|c| !c.is_whitespace())
        .flat_map(char::to_lowercase)
        .take(400)
        .collect();
    let mut pairs: Vec<_> = chars.windows(2).map(|pair| (pair[0], pair[1])).collect();
    pairs.sort_unstable();
    pairs
}

/// The share of pairs that both have in all pairs of both: 1 when they are equal.
fn likeness(wanted: &[(char, char)], text: &str) -> f64 {
    let other = pairs(text);
    let (mut i, mut j, mut common) = (0, 0, 0_u32);
    while i < wanted.len() && j < other.len() {
        match wanted[i].cmp(&other[j]) {
            std::cmp::Ordering::Less => i += 1,
            std::cmp::Ordering::Greater => j += 1,
            std::cmp::Ordering::Equal => {
                (i, j, common) = (i + 1, j + 1, common + 1);
            }
        }
    }
    let all = wanted.len() + other.len();
    if all == 0 { 0.0 } else { 2.0 * f64::from(common) / all as f64 }
}

/// The most similar lines as the end of a message.
pub(super) fn shown(nearest: &[(usize, String)]) -> String {
    if nearest.is_empty() {
        return ", and no line is like it".to_owned();
    }
    let lines: Vec<_> =
        nearest.iter().map(|(number, line)| format!("{number}: `{line}`")).collect();
    format!("; nearest lines: {}", lines.join(", "))
}

/// The most similar files as the end of a message.
pub(super) fn or_files(nearest: &[String]) -> String {
    if nearest.is_empty() { String::new() } else { format!("; there is {}", nearest.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_meant_is_found() {
        let file: Vec<_> = ["Name: x", "Requires: redhat-release", "Requires: bash", "%prep"]
            .map(str::to_owned)
            .to_vec();
        let found = lines("Requires:  redhat-releases", &file);
        assert_eq!(found[0], (2, "Requires: redhat-release".to_owned()));
        assert!(lines("completely else", &file).is_empty());
        let paths = ["SOURCES/redhat.cer".to_owned(), "SPECS/x.spec".to_owned()];
        assert_eq!(names("redhat1.cer", paths.iter()), ["SOURCES/redhat.cer"]);
    }
}
