//! The release: `modify_release`, and the number for a rebuild without a change.

use super::ApplyError;
use super::apply::Context;
use super::edit::ModifyRelease;
use super::lines::Lines;
use super::tree::Tree;
use crate::spec::{Macros, lines, names_macro, tag_value, version_tags};

/// The end of the definition of `%autorelease` that rpmautospec writes into a spec: the dist tag,
/// unless `-n` is given. Text after it follows the dist tag.
const AUTORELEASE_END: &str = "%{!?-n:%{?dist}}";

/// `modify_release`.
pub(super) fn modify(
    edit: &ModifyRelease,
    tree: &mut Tree<'_>,
    context: &Context,
) -> Result<(), ApplyError> {
    if !edit.enabled {
        return Ok(());
    }
    let path = tree.spec()?;
    let mut file = Lines::read(tree, &path)?;
    let suffix = match edit.auto_increment {
        true => incremented(&file.lines, &edit.suffix, context)?,
        false => edit.suffix.clone(),
    };
    append(&mut file.lines, &path, &suffix)?;
    file.write(tree, &path);
    Ok(())
}

/// Appends to the release of every package of a spec.
fn append(lines: &mut [String], path: &str, suffix: &str) -> Result<(), ApplyError> {
    let defined = defines_autorelease(lines);
    let mut found = false;
    let mut automatic = false;
    for line in lines.iter_mut() {
        let Some(value) = tag_value(line, "release") else { continue };
        found = true;
        if !names_macro(value, "autorelease") {
            let end = line.trim_end().len();
            line.truncate(end);
            line.push_str(suffix);
        } else if defined {
            automatic = true;
        } else {
            *line = autorelease_line(line, value, suffix);
        }
    }
    if !found {
        return Err(ApplyError::NoPlace { file: path.to_owned(), what: "Release tag".to_owned() });
    }
    if automatic {
        let end = lines.iter_mut().find_map(|line| {
            let at = line.find(AUTORELEASE_END)? + AUTORELEASE_END.len();
            line.insert_str(at, suffix);
            Some(())
        });
        end.ok_or_else(|| ApplyError::NoPlace {
            file: path.to_owned(),
            what: format!("line with {AUTORELEASE_END} that ends the definition of %autorelease"),
        })?;
    }
    Ok(())
}

fn defines_autorelease(lines: &[String]) -> bool {
    lines.iter().any(|line| {
        let mut words = line.split_whitespace();
        matches!(words.next(), Some("%define" | "%global"))
            && words.next().is_some_and(|name| name.split('(').next() == Some("autorelease"))
    })
}

/// `Release: %autorelease -b 3` with braces, so that rpm does not read the suffix as an argument.
fn autorelease_line(line: &str, value: &str, suffix: &str) -> String {
    let tag = line.split_once(value).map_or(line, |(tag, _)| tag);
    match value.strip_prefix("%autorelease") {
        Some(arguments) => format!("{tag}%{{autorelease{arguments}}}{suffix}"),
        None => format!("{tag}{value}{suffix}"),
    }
}

/// The suffix, with the number at its end raised above those of earlier builds of this release.
fn incremented(spec: &[String], suffix: &str, context: &Context) -> Result<String, ApplyError> {
    let stem = suffix.trim_end_matches(|c: char| c.is_ascii_digit());
    let tags = version_tags(spec, context.macros());
    let (version, release) = (tags.version?, tags.release?);
    let prefix = format!("{version}-{release}{stem}");
    let highest =
        context.built.iter().filter_map(|built| raisable(built.strip_prefix(&prefix)?)).max();
    Ok(match highest {
        Some(number) => format!("{stem}{}", number + 1),
        None => suffix.to_owned(),
    })
}

/// Raises the release in a tree's spec, for a rebuild without a change.
pub(super) fn bump_tree(
    tree: &mut Tree<'_>,
    context: &Context,
    number: Option<u64>,
) -> Result<(), ApplyError> {
    let path = tree.spec()?;
    let mut macros = context.macros();
    if let Some(number) = number {
        macros.set("autorelease", &format!("{number}%{{?dist}}"));
    }
    let text = bump(&tree.text(&path)?, &path, macros, &context.built)?;
    tree.write(&path, text.into_bytes());
    Ok(())
}

/// A spec for a rebuild without a change: with a number appended to the release of the main package
/// and of its subpackages, or with the number after the dist tag raised. `built` are
/// `VERSION-RELEASE` of earlier builds; the new release is higher than all of them that can be
/// compared with it.
fn bump(spec: &str, path: &str, macros: Macros, built: &[String]) -> Result<String, ApplyError> {
    let mut all = lines(spec);
    let tags = version_tags(&all, macros);
    // The number in the spec, and the highest number of earlier builds with the same text before
    // it.
    let mut number = trailing_number(&all).unwrap_or(0);
    if let (Ok(version), Ok(release)) = (&tags.version, &tags.release) {
        let stem = match number {
            0 => release.as_str(),
            number => release.strip_suffix(&format!(".{number}")).unwrap_or(release),
        };
        let prefix = format!("{version}-{stem}.");
        let highest = built.iter().filter_map(|built| raisable(built.strip_prefix(&prefix)?)).max();
        number = number.max(highest.unwrap_or(0));
    }
    let suffix = format!(".{}", number + 1);
    for line in &mut all {
        if tag_value(line, "release").is_some_and(|value| after_dist(value).is_some()) {
            let keep = line.rfind('.').unwrap_or(line.len());
            line.truncate(keep);
        }
    }
    append(&mut all, path, &suffix)?;
    Ok(all.join("\n") + "\n")
}

/// The number after the dist tag in the first release of a spec.
fn trailing_number(lines: &[String]) -> Option<u64> {
    lines.iter().find_map(|line| tag_value(line, "release")).and_then(after_dist)
}

/// `1%{?dist}.2` → 2.
fn after_dist(release: &str) -> Option<u64> {
    let (before, number) = release.trim_end().rsplit_once('.')?;
    let dist = ["%{?dist}", "%{dist}", "%dist", "%?dist"];
    if !dist.iter().any(|dist| before.ends_with(dist)) || number.is_empty() {
        return None;
    }
    number.bytes().all(|b| b.is_ascii_digit()).then(|| raisable(number)).flatten()
}

/// A number that can still be raised.
fn raisable(number: &str) -> Option<u64> {
    number.parse().ok().filter(|number| *number < u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn appended(spec: &str) -> Result<String, ApplyError> {
        let mut all = lines(spec);
        append(&mut all, "x.spec", ".alma.1")?;
        Ok(all.join("\n"))
    }

    #[test]
    fn the_highest_number_is_followed_by_another_level() {
        let most = u64::MAX;
        let spec = format!("Version: 1\nRelease: 2%{{?dist}}.{most}\n");
        let macros = Context::for_tests().macros();
        let built = [format!("1-2.el9.{most}.7"), format!("1-2.el9.{most}.{most}")];
        let bumped = bump(&spec, "x.spec", macros, &built).unwrap();
        assert_eq!(bumped, format!("Version: 1\nRelease: 2%{{?dist}}.{most}.8\n"));
    }

    #[test]
    fn suffixes() {
        for (spec, expected) in [
            ("Release: 1%{?dist}  \nRelease:2", "Release: 1%{?dist}.alma.1\nRelease:2.alma.1"),
            ("Release:   %autorelease", "Release:   %{autorelease}.alma.1"),
            ("Release: %autorelease -b 3", "Release: %{autorelease -b 3}.alma.1"),
            ("Release: %{autorelease -e x}", "Release: %{autorelease -e x}.alma.1"),
            (
                "%define autorelease(n) %{lua:\n}%{?-e:.%{-e*}}%{!?-n:%{?dist}}\nRelease: %autorelease",
                "%define autorelease(n) %{lua:\n}%{?-e:.%{-e*}}%{!?-n:%{?dist}}.alma.1\nRelease: %autorelease",
            ),
        ] {
            assert_eq!(appended(spec).as_deref(), Ok(expected), "{spec}");
        }
        assert!(appended("Name: x").is_err());
        assert!(appended("%global autorelease 1\nRelease: %autorelease").is_err());
    }

    fn bumped(release: &str, built: &[&str]) -> String {
        let spec = format!("Version: 1\nRelease: {release}\n");
        let built: Vec<_> = built.iter().map(|&b| b.to_owned()).collect();
        let macros = [("dist", ".el9")].into_iter().collect();
        let text = bump(&spec, "x.spec", macros, &built).unwrap();
        text.lines().nth(1).unwrap()["Release: ".len()..].to_owned()
    }

    #[test]
    fn a_rebuild_sorts_above_what_it_replaces() {
        for (release, built, expected) in [
            ("3%{?dist}", vec![], "3%{?dist}.1"),
            ("3%{?dist}", vec!["1-3.el9"], "3%{?dist}.1"),
            ("3%{?dist}", vec!["1-3.el9", "1-3.el9.2", "1-3.el9.1"], "3%{?dist}.3"),
            ("3%{?dist}", vec!["1-4.el9.9", "2-3.el9.9"], "3%{?dist}.1"),
            ("3%{?dist}.1", vec![], "3%{?dist}.2"),
            ("3%{?dist}.1", vec!["1-3.el9.1", "1-3.el9.4"], "3%{?dist}.5"),
            ("3%{?dist}.alma.1", vec!["1-3.el9.alma.1"], "3%{?dist}.alma.1.1"),
            ("0.1.rc1", vec!["1-0.1.rc1"], "0.1.rc1.1"),
            ("%autorelease", vec![], "%{autorelease}.1"),
        ] {
            assert_eq!(bumped(release, &built), expected, "{release} {built:?}");
        }
    }

    #[test]
    fn an_increment_is_above_what_was_built() {
        let spec = lines("Version: 1\nRelease: 3%{?dist}\n");
        let mut context = Context::for_tests();
        assert_eq!(incremented(&spec, ".alma.1", &context).as_deref(), Ok(".alma.1"));
        context.built =
            vec!["1-3.el9.alma.1".into(), "1-3.el9.alma.10".into(), "1-4.el9.alma.90".into()];
        assert_eq!(incremented(&spec, ".alma.1", &context).as_deref(), Ok(".alma.11"));
        let spec = lines("Version: 1\nRelease: %(x)\n");
        assert!(incremented(&spec, ".alma.1", &context).is_err());
    }
}
