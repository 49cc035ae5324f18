//! Security fixes: the CVE ids in a commit.

use std::collections::BTreeSet;

/// How many lines of a changelog are read. The newest entries come first.
const MAX_LINES: usize = 2_000;

/// How many ids of one commit are recorded.
const MAX_IDS: usize = 200;

/// The ids `CVE-YYYY-N` in a text, each once, in order.
#[must_use]
pub fn cve_ids(text: &str) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    let bytes = text.as_bytes();
    let mut at = 0;
    while at + 4 <= bytes.len() && ids.len() < MAX_IDS {
        if !bytes[at..at + 4].eq_ignore_ascii_case(b"CVE-")
            || at.checked_sub(1).is_some_and(|before| bytes[before].is_ascii_alphanumeric())
        {
            at += 1;
            continue;
        }
        at += 4;
        let year = digits(&bytes[at..]);
        let rest = &bytes[at + year..];
        if year != 4 || rest.first() != Some(&b'-') {
            continue;
        }
        let number = digits(&rest[1..]);
        if (4..=10).contains(&number) {
            // Only digits and a dash lie between these bounds.
            ids.insert(format!("CVE-{}", &text[at..at + year + 1 + number]));
        }
        at += year + 1 + number;
    }
    ids
}

/// The ids that are new in a spec's changelog. In a package's first spec every entry would be new,
/// so only the newest one counts.
#[must_use]
pub fn fixed(old_spec: Option<&str>, new_spec: &str) -> BTreeSet<String> {
    let new = changelog(new_spec);
    match old_spec {
        Some(old) => {
            let known: BTreeSet<&str> = changelog(old).into_iter().collect();
            let fresh: Vec<&str> = new.into_iter().filter(|line| !known.contains(line)).collect();
            cve_ids(&fresh.join("\n"))
        }
        None => {
            let mut entries = 0;
            let newest: Vec<&str> = new
                .into_iter()
                .take_while(|line| {
                    entries += usize::from(line.starts_with('*'));
                    entries <= 1
                })
                .collect();
            cve_ids(&newest.join("\n"))
        }
    }
}

/// The lines of `%changelog`.
fn changelog(spec: &str) -> Vec<&str> {
    spec.lines()
        .map(str::trim)
        .skip_while(|line| *line != "%changelog")
        .skip(1)
        .filter(|line| !line.is_empty())
        .take(MAX_LINES)
        .collect()
}

fn digits(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ids(text: &str) -> Vec<String> {
        cve_ids(text).into_iter().collect()
    }

    #[test]
    fn ids_in_text() {
        for (text, expected) in [
            ("", vec![]),
            ("Fix CVE-2024-3094.", vec!["CVE-2024-3094"]),
            ("fix cve-2024-3094, CVE-2024-3094", vec!["CVE-2024-3094"]),
            ("CVE-2023-1234567 (#12)\nCVE-2021-0001", vec!["CVE-2021-0001", "CVE-2023-1234567"]),
            ("CVE-24-1234 CVE-2024-12 xCVE-2024-1234 CVE-2024 CVE-", vec![]),
            ("CVE-2024-12345678901", vec![]),
            ("ÜCVE-2024-1234é", vec!["CVE-2024-1234"]),
            ("CVE-CVE-2024-1234", vec!["CVE-2024-1234"]),
        ] {
            assert_eq!(ids(text), expected, "{text}");
        }
    }

    const OLD: &str = "Name: x\n%changelog\n* Mon A <a@b> - 1-1\n- Fix CVE-2020-1111\n";

    #[test]
    fn only_what_is_new_counts() {
        let new = "Name: x\n# CVE-2019-9999\n%changelog\n* Tue A <a@b> - 1-2\n\
                   - Fix CVE-2024-2222\n* Mon A <a@b> - 1-1\n- Fix CVE-2020-1111\n";
        let fixed = |old| fixed(old, new).into_iter().collect::<Vec<_>>();
        assert_eq!(fixed(Some(OLD)), ["CVE-2024-2222"]);
        assert_eq!(fixed(Some(new)), Vec::<String>::new());
        // The first spec that is seen: its newest entry alone.
        assert_eq!(fixed(None), ["CVE-2024-2222"]);
        // Every line of every new entry.
        let more = new.replace("- Fix CVE-2024-2222\n", "- Fix things:\n  CVE-2024-4444,\n  (CVE-2024-5555)\n* Tue B - 1-1.1\n- and CVE-2024-6666\n");
        let ids = super::fixed(Some(OLD), &more).into_iter().collect::<Vec<_>>();
        assert_eq!(ids, ["CVE-2024-4444", "CVE-2024-5555", "CVE-2024-6666"]);
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in ".{0,200}", old in ".{0,80}") {
            for id in fixed(Some(&old), &format!("%changelog\n{text}")) {
                prop_assert!(id.starts_with("CVE-"));
            }
        }
    }
}
