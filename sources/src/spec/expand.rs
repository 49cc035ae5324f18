//! Expansion of macros: the forms of rpm, except those that run a program or Lua.

use std::cell::Cell;
use std::collections::BTreeMap;

/// The deepest nesting of macros.
const MAX_DEPTH: usize = 32;

/// The longest text that an expansion may return, in bytes.
const MAX_TEXT: usize = 64 * 1024;

/// The most bytes that an expansion may read: macros that each expand to others twice may take for
/// ever and return nothing.
const MAX_WORK: usize = 1024 * 1024;

/// A value that only rpm can determine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot be determined from the text alone: {0}")]
pub struct UnknownValueError(pub String);

/// Macros and their bodies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Macros(BTreeMap<String, String>);

impl<'a> FromIterator<(&'a str, &'a str)> for Macros {
    fn from_iter<T: IntoIterator<Item = (&'a str, &'a str)>>(pairs: T) -> Self {
        Self(pairs.into_iter().map(|(name, body)| (name.to_owned(), body.to_owned())).collect())
    }
}

impl Macros {
    /// Defines a macro, in place of an earlier one.
    pub fn set(&mut self, name: &str, body: &str) {
        self.0.insert(name.to_owned(), body.to_owned());
    }

    pub fn unset(&mut self, name: &str) {
        self.0.remove(name);
    }

    /// Whether a macro is defined.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The text with its macros expanded.
    ///
    /// # Errors
    /// When it names a macro that is not defined here, or one that runs a program or Lua, or when
    /// the expansion does not end.
    pub fn expand(&self, text: &str) -> Result<String, UnknownValueError> {
        self.expand_within(text, &Cell::new(MAX_WORK))
    }

    /// As [`Self::expand`], for several expansions that share one limit of bytes to read; `left` is
    /// what remains of it.
    pub(super) fn expand_within(
        &self,
        text: &str,
        left: &Cell<usize>,
    ) -> Result<String, UnknownValueError> {
        if !text.contains('%') {
            return Ok(text.to_owned());
        }
        self.expand_at(text, 0, left)
    }

    fn expand_at(
        &self,
        text: &str,
        depth: usize,
        left: &Cell<usize>,
    ) -> Result<String, UnknownValueError> {
        if depth > MAX_DEPTH {
            return Err(UnknownValueError(format!("macros nested deeper than {MAX_DEPTH}")));
        }
        left.set(left.get().saturating_sub(text.len() + 1));
        if left.get() == 0 {
            return Err(UnknownValueError("macros that take too long".to_owned()));
        }
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('%') {
            out.push_str(before);
            rest = self.one(after, &mut out, depth, left)?;
            if out.len() > MAX_TEXT {
                return Err(UnknownValueError("an expansion without end".to_owned()));
            }
        }
        out.push_str(rest);
        Ok(out)
    }

    /// Expands the macro that begins after a `%`, and returns the text after it.
    fn one<'t>(
        &self,
        text: &'t str,
        out: &mut String,
        depth: usize,
        left: &Cell<usize>,
    ) -> Result<&'t str, UnknownValueError> {
        if let Some(rest) = text.strip_prefix('%') {
            out.push('%');
            return Ok(rest);
        }
        if let Some(inside) = text.strip_prefix('{') {
            let end = closing(inside, '{', '}')
                .ok_or_else(|| UnknownValueError(format!("an open brace in `%{}`", clip(text))))?;
            self.braced(&inside[..end], out, depth, left)?;
            return Ok(&inside[end + 1..]);
        }
        if text.starts_with(['(', '[']) {
            return Err(UnknownValueError(format!("`%{}` is for rpm to run", clip(text))));
        }
        let bare = text.trim_start_matches(['?', '!']);
        let flags = &text[..text.len() - bare.len()];
        let length = name_length(bare);
        if length == 0 {
            out.push('%');
            return Ok(text);
        }
        out.push_str(&self.named(flags, &bare[..length], None, depth, left)?);
        Ok(&bare[length..])
    }

    /// Expands the text between the braces of `%{…}`.
    fn braced(
        &self,
        inside: &str,
        out: &mut String,
        depth: usize,
        left: &Cell<usize>,
    ) -> Result<(), UnknownValueError> {
        let bare = inside.trim_start_matches(['?', '!']);
        let flags = &inside[..inside.len() - bare.len()];
        let length = name_length(bare);
        let (name, after) = bare.split_at(length);
        let argument = match after.chars().next() {
            None => None,
            Some(':') if !flags.is_empty() => Some(&after[1..]),
            _ => {
                return Err(UnknownValueError(format!(
                    "`%{{{}}}` is for rpm to run",
                    clip(inside)
                )));
            }
        };
        out.push_str(&self.named(flags, name, argument, depth, left)?);
        Ok(())
    }

    fn named(
        &self,
        flags: &str,
        name: &str,
        argument: Option<&str>,
        depth: usize,
        left: &Cell<usize>,
    ) -> Result<String, UnknownValueError> {
        if name == "nil" {
            return Ok(String::new());
        }
        let body = self.0.get(name);
        let asked = flags.contains('?');
        let wanted = body.is_some() != (flags.matches('!').count() % 2 == 1);
        let text = match (asked, wanted, argument) {
            (true, false, _) => return Ok(String::new()),
            (true, true, Some(argument)) => argument,
            (true, true, None) => body.map_or("", String::as_str),
            (false, _, _) => body.map(String::as_str).ok_or_else(|| {
                UnknownValueError(format!("the macro `{name}` is not defined here"))
            })?,
        };
        self.expand_at(text, depth + 1, left)
    }
}

/// The position of the brace that closes the one opened just before this text.
fn closing(text: &str, open: char, close: char) -> Option<usize> {
    let mut depth = 1_usize;
    for (at, c) in text.char_indices() {
        if c == open {
            depth += 1;
        } else if c == close {
            depth -= 1;
            if depth == 0 {
                return Some(at);
            }
        }
    }
    None
}

fn name_length(text: &str) -> usize {
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    if starts { end } else { 0 }
}

fn clip(text: &str) -> String {
    rpmfarm_core::name::shown(text).chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn macros() -> Macros {
        [("name", "hello"), ("dist", ".el9"), ("nested", "%{name}-x"), ("loop", "%{loop}")]
            .into_iter()
            .collect()
    }

    #[test]
    fn the_forms_that_run_nothing() {
        for (text, expanded) in [
            ("1%{?dist}", "1.el9"),
            ("%name %{name}", "hello hello"),
            ("%{nested}", "hello-x"),
            ("%{?no}%{!?no:a%{name}b}%{?name:c}%{!?name:d}", "ahellobc"),
            ("%?dist|%?no|%!?no|", ".el9|||"),
            ("100%% %", "100% %"),
            ("%{nil}x", "x"),
        ] {
            assert_eq!(macros().expand(text), Ok(expanded.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_rpm_would_have_to_run_is_unknown() {
        for text in ["%(date)", "%{lua:print(1)}", "%[1+1]", "%{no}", "%no", "%{loop}", "%{name"] {
            assert!(macros().expand(text).is_err(), "{text}");
        }
    }

    #[test]
    fn nothing_at_all_may_not_take_for_ever() {
        let mut macros = macros();
        macros.set("m0", "%nil");
        for n in 1..32 {
            macros.set(&format!("m{n}"), &format!("%{{m{0}}}%{{m{0}}}", n - 1));
        }
        assert_eq!(macros.expand("%m4"), Ok(String::new()));
        let error = macros.expand("%m31").unwrap_err();
        assert!(error.to_string().contains("take too long"), "{error}");
    }

    proptest! {
        #[test]
        fn any_text_ends(text in "[%{}?!:a-c(){} ]{0,40}") {
            let mut macros = Macros::default();
            macros.set("a", "%{b}%b");
            macros.set("b", &text);
            let _ = macros.expand(&text);
        }
    }
}
