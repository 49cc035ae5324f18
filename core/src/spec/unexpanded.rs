//! Macros that rpm has left as they are, because nothing defines them.

/// The first macro that is still in a text which rpm has expanded: `%{name}`, or `%name`, which rpm
/// knows from three letters on.
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

/// What is to be done about a macro that nothing defines.
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
}
