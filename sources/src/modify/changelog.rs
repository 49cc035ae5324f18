//! Adding an entry to the changelog: `changelog_entry`.

use super::ApplyError;
use super::apply::{ChangelogNote, Context};
use super::config::Parameters;
use super::edit::ChangelogEntry;
use super::lines::Lines;
use super::tree::Tree;
use crate::spec::{is_changelog, names_macro, tag_value, version_tags};

/// The longest line of an entry, in characters.
const WIDTH: usize = 80;

/// `changelog_entry`. With `%autochangelog` the spec stays unchanged and the entry is returned, to
/// be put before the entries of the history.
pub(super) fn add(
    edit: &ChangelogEntry,
    parameters: &Parameters,
    tree: &mut Tree<'_>,
    context: &Context,
) -> Result<Option<ChangelogNote>, ApplyError> {
    let path = tree.spec()?;
    let mut file = Lines::read(tree, &path)?;
    if file.lines.iter().any(|line| line.trim() == "%autochangelog") {
        return Ok(Some(note(edit)));
    }
    let Some(at) = file.lines.iter().position(|line| is_changelog(line)) else {
        return Err(ApplyError::NoPlace { file: path, what: "%changelog".to_owned() });
    };
    let today = context.date();
    let date = newest(&file.lines[at + 1..]).map_or(today, |date| date.max(today));
    let mut new = vec![format!(
        "* {} {} <{}> - {}",
        date.strftime("%a %b %d %Y"),
        edit.name,
        edit.email,
        evr(&file.lines[..at], parameters, context)
    )];
    new.extend(edit.line.iter().flat_map(|line| wrapped(line, WIDTH)));
    new.push(String::new());
    file.lines.splice(at + 1..at + 1, new);
    file.write(tree, &path);
    Ok(None)
}

fn note(edit: &ChangelogEntry) -> ChangelogNote {
    let mut lines = edit.line.clone();
    if let Some(first) = lines.first_mut()
        && !first.to_lowercase().contains("almalinux changes:")
    {
        *first = format!("AlmaLinux changes: {first}");
    }
    ChangelogNote { name: edit.name.clone(), email: edit.email.clone(), lines }
}

/// The date of the newest entry: rpm refuses one that is older than the entry after it.
fn newest(lines: &[String]) -> Option<jiff::civil::Date> {
    let line = lines.iter().find(|line| line.starts_with('*'))?;
    let words: Vec<_> = line[1..].split_whitespace().take(4).collect();
    jiff::civil::Date::strptime("%a %b %d %Y", words.join(" ")).ok()
}

/// `EPOCH:VERSION-RELEASE` of the main package, without the dist tag. A part that the text alone
/// does not give is left for rpm to expand, which it does in changelogs as well.
fn evr(spec: &[String], parameters: &Parameters, context: &Context) -> String {
    let mut macros = context.macros();
    macros.set("dist", "");
    if !parameters.el_version.is_empty() {
        macros.set("rhel", &parameters.el_version);
    }
    let tags = version_tags(spec, macros);
    let raw = |tag: &str| {
        let line = spec.iter().find_map(|line| tag_value(line, tag))?;
        // The value as written, unless it has arguments or would run something at each place.
        let plain = !line.contains(char::is_whitespace) && !names_macro(line, "autorelease");
        plain.then(|| line.to_owned())
    };
    let version = match parameters.ignore_version_macros {
        true => raw("version"),
        false => tags.version.ok(),
    };
    let release = match parameters.ignore_release_macros {
        true => raw("release"),
        false => tags.release.ok(),
    };
    let epoch = match tags.epoch {
        Some(Ok(epoch)) => format!("{epoch}:"),
        Some(Err(_)) => "%{epoch}:".to_owned(),
        None => String::new(),
    };
    let version = version.unwrap_or_else(|| "%{version}".to_owned());
    let release = release.unwrap_or_else(|| "%{release}".to_owned());
    format!("{epoch}{version}-{release}")
}

/// An item of an entry, `- ` before its first line and two blanks before the others, in lines of at
/// most `width` characters where words allow it.
#[must_use]
pub fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::from("-");
    let mut length = 1;
    for word in text.split_whitespace() {
        let more = word.chars().count() + 1;
        if length + more > width && length > 1 {
            lines.push(std::mem::replace(&mut line, String::from(" ")));
            length = 1;
        }
        line.push(' ');
        line.push_str(word);
        length += more;
    }
    if length > 1 {
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::modify::tree::Node;

    fn added(spec: &str, parameters: &Parameters) -> (String, Option<ChangelogNote>) {
        let original: BTreeMap<_, _> = [("x.spec".to_owned(), spec.as_bytes().to_vec())].into();
        let mut tree = Tree::new([("x.spec".to_owned(), Node::Original)], &original);
        let edit = ChangelogEntry {
            name: "A".into(),
            email: "a@example.org".into(),
            line: vec!["Debrand".into(), "More".into()],
        };
        let note = add(&edit, parameters, &mut tree, &Context::for_tests()).unwrap();
        (tree.text("x.spec").unwrap(), note)
    }

    #[test]
    fn an_entry_names_the_release() {
        let plain = Parameters::default();
        let raw = Parameters {
            ignore_release_macros: true,
            ignore_version_macros: true,
            ..Parameters::default()
        };
        for (spec, parameters, header) in [
            (
                "Version: 1\nRelease: 2%{?dist}.alma.1",
                &plain,
                "Tue Nov 24 2026 A <a@example.org> - 1-2.alma.1",
            ),
            (
                "Epoch: 3\nVersion: 1\nRelease: 2",
                &plain,
                "Tue Nov 24 2026 A <a@example.org> - 3:1-2",
            ),
            (
                "Version: %(x)\nRelease: 2",
                &plain,
                "Tue Nov 24 2026 A <a@example.org> - %{version}-2",
            ),
            (
                "Version: 1\nRelease: %autorelease",
                &raw,
                "Tue Nov 24 2026 A <a@example.org> - 1-%{release}",
            ),
            (
                "Version: %{v}\nRelease: %{r}%{?dist}",
                &raw,
                "Tue Nov 24 2026 A <a@example.org> - %{v}-%{r}%{?dist}",
            ),
        ] {
            let (text, note) =
                added(&format!("{spec}\n%changelog\n* Mon Nov 23 2026 B\n"), parameters);
            let expected = format!(
                "{spec}\n%changelog\n* {header}\n- Debrand\n- More\n\n* Mon Nov 23 2026 B\n"
            );
            assert_eq!((text, note), (expected, None));
        }
    }

    #[test]
    fn an_entry_is_never_older_than_the_one_before() {
        let spec = "Version: 1\nRelease: 1\n%changelog\n* Fri Jan  1 2027 B\n";
        let (text, _) = added(spec, &Parameters::default());
        assert!(text.contains("%changelog\n* Fri Jan 01 2027 A"), "{text}");
    }

    #[test]
    fn an_automatic_changelog_gets_a_note() {
        let spec = "Version: 1\nRelease: 1\n%changelog\n%autochangelog\n";
        let (text, note) = added(spec, &Parameters::default());
        assert_eq!(text, spec);
        assert_eq!(note.unwrap().lines, ["AlmaLinux changes: Debrand", "More"]);
    }

    proptest! {
        #[test]
        fn lines_are_short_and_lose_no_word(words in prop::collection::vec("[a-z]{1,30}", 0..40)) {
            let lines = wrapped(&words.join(" "), WIDTH);
            prop_assert!(lines.iter().all(|line| line.len() <= WIDTH));
            let back: Vec<_> = lines.iter().flat_map(|line| line[2..].split(' ')).collect();
            prop_assert_eq!(back, words);
        }
    }
}
