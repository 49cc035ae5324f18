//! Macros that rpm has not expanded, because they are not defined.

/// The first macro that is left in a text after rpm has expanded it: `%{name}`, or `%name`, which
/// rpm recognises from three letters on.
#[must_use]
pub fn unexpanded(text: &str) -> Option<&str> {
    text.match_indices('%').find_map(|(at, _)| {
        let rest = &text[at + 1..];
        let name_of = |text: &str| {
            let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let length = text.find(|c: char| !is_part(c)).unwrap_or(text.len());
            let is_name = !text.starts_with(|c: char| c.is_ascii_digit());
            if is_name { length } else { 0 }
        };
        if let Some(inside) = rest.strip_prefix('{') {
            let bare = inside.trim_start_matches(['?', '!', '-']);
            let end = inside.find('}')?;
            return (name_of(bare) > 0).then(|| &text[at..at + 3 + end]);
        }
        let length = name_of(rest);
        (length >= 3).then(|| &text[at..at + 1 + length])
    })
}

/// Words of a spec file that begin with `%` and are not macros: conditions, sections and directives
/// of `%files` (rpm's `build/parseSpec.c`, `build/files.c`). rpm quotes them where it cannot read a
/// line.
const SYNTAX: &[&str] = &[
    "if",
    "else",
    "elif",
    "endif",
    "ifarch",
    "ifnarch",
    "elifarch",
    "ifos",
    "ifnos",
    "elifos",
    "include",
    "package",
    "description",
    "prep",
    "generate_buildrequires",
    "conf",
    "build",
    "install",
    "check",
    "clean",
    "files",
    "changelog",
    "pre",
    "post",
    "preun",
    "postun",
    "pretrans",
    "posttrans",
    "preuntrans",
    "postuntrans",
    "verifyscript",
    "sourcelist",
    "patchlist",
    "sepolicy",
    "trigger",
    "triggerin",
    "triggerun",
    "triggerprein",
    "triggerpostun",
    "filetriggerin",
    "filetriggerun",
    "filetriggerpostun",
    "transfiletriggerin",
    "transfiletriggerun",
    "transfiletriggerpostun",
    "doc",
    "license",
    "config",
    "dir",
    "ghost",
    "attr",
    "defattr",
    "verify",
    "caps",
    "lang",
    "exclude",
    "docdir",
    "artifact",
    "missingok",
    "readme",
    "pubkey",
    "dev",
];

/// The first undefined macro in rpm's message about a spec file, as [`unexpanded`] finds it,
/// without the syntax of spec files that rpm quotes.
#[must_use]
pub fn unexpanded_in_message(message: &str) -> Option<&str> {
    let mut rest = message;
    while let Some(found) = unexpanded(rest) {
        if !found.strip_prefix('%').is_some_and(|name| SYNTAX.contains(&name)) {
            return Some(found);
        }
        rest = &rest[rest.find(found)? + found.len()..];
    }
    None
}

/// What to do about an undefined macro.
#[must_use]
pub fn undefined(name: &str) -> String {
    format!(
        "the macro {} is not defined: set it in the target under [macros] or [packages.NAME.macros], \
         or add the package that defines it to `base`",
        crate::name::shown(name)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rpm_has_left() {
        for (text, found) in [
            ("1.lab9%{bar}", Some("%{bar}")),
            ("%{py_req}", Some("%{py_req}")),
            ("%{rust_crates -n x}-1", Some("%{rust_crates -n x}")),
            ("x-%version.tar", Some("%version")),
            ("50% of %{x}", Some("%{x}")),
            ("%x %12 100%", None),
            ("%{", None),
            ("%{}", None),
            ("1.0", None),
        ] {
            assert_eq!(unexpanded(text), found, "{text}");
        }
    }

    #[test]
    fn the_syntax_of_a_spec_file_is_no_macro() {
        for (text, found) in [
            ("error: line 16: %files nosuchpackage: package foo does not exist", None),
            ("error: line 7: Unknown tag: %if", None),
            ("error: line 9: %package: bad %{x}", Some("%{x}")),
            ("error: %{files} is left", Some("%{files}")),
            ("error: line 2: %filesystem", Some("%filesystem")),
        ] {
            assert_eq!(unexpanded_in_message(text), found, "{text}");
        }
    }
}
