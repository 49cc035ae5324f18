//! Replacing and deleting lines: `replace` and `delete_line`.
//!
//! As in the autopatch tool: in the spec, nothing from `%changelog` on is touched, nor comment
//! lines unless a comment is searched for; a single line is searched for anywhere in a line, a
//! block by whole lines without their indentation.

use fancy_regex::RegexBuilder;

use super::edit::{DeleteLine, Replace};
use super::tree::Tree;
use super::{ApplyError, nearest};
use crate::spec::is_changelog;

/// The most backtracking steps of a regular expression on one line.
const BACKTRACKS: usize = 100_000;

/// The lines of a file, and their line ending.
pub(super) struct Lines {
    pub(super) lines: Vec<String>,
    crlf: bool,
}

impl Lines {
    pub(super) fn read(tree: &Tree<'_>, path: &str) -> Result<Self, ApplyError> {
        let text = tree.text(path)?;
        let crlf = text.contains("\r\n");
        Ok(Self { lines: text.lines().map(str::to_owned).collect(), crlf })
    }

    pub(super) fn write(self, tree: &mut Tree<'_>, path: &str) {
        let end = if self.crlf { "\r\n" } else { "\n" };
        let mut text = String::new();
        // A replacement may itself have several lines.
        for line in self.lines.iter().flat_map(|line| line.split('\n')) {
            text.push_str(line);
            text.push_str(end);
        }
        tree.write(path, text.into_bytes());
    }
}

/// The text to search for.
enum Search {
    /// Text within a line.
    Text(String),
    /// A regular expression within a line, and the template that replaces it.
    Pattern(fancy_regex::Regex, String),
    /// Whole lines in a row, without indentation.
    Block(Vec<String>),
}

/// One search through one file.
struct LineSearch<'a> {
    search: Search,
    /// The lines that replace it; `None` to delete whole lines.
    replacement: Option<Vec<String>>,
    /// The most replacements; `None` for all.
    count: Option<usize>,
    wanted: &'a str,
}

/// `replace`: in each file that its target matches.
pub(super) fn replace(edit: &Replace, tree: &mut Tree<'_>) -> Result<(), ApplyError> {
    let wanted = edit.find.as_deref().or(edit.rfind.as_deref()).unwrap_or_default();
    for path in tree.targets(&edit.target)? {
        let search = match (split(wanted), &edit.rfind) {
            (SearchText::Block(lines), _) => Search::Block(lines),
            (SearchText::Line(line), None) => Search::Text(line),
            (SearchText::Line(line), Some(_)) => {
                Search::Pattern(pattern(&line)?, template(&edit.replace, &line)?)
            }
        };
        let replacement = match split(&edit.replace) {
            SearchText::Line(line) => vec![line],
            SearchText::Block(lines) => lines,
        };
        let count = usize::try_from(edit.count).ok();
        let job = LineSearch { search, replacement: Some(replacement), count, wanted };
        job.run(&path, edit.target == "spec", tree)?;
    }
    Ok(())
}

/// `delete_line`: in the first file that its target matches.
pub(super) fn delete(edit: &DeleteLine, tree: &mut Tree<'_>) -> Result<(), ApplyError> {
    let path = tree.targets(&edit.target)?.remove(0);
    for wanted in &edit.lines {
        let search = match split(wanted) {
            SearchText::Line(line) => Search::Text(line),
            SearchText::Block(lines) => Search::Block(lines),
        };
        let job = LineSearch { search, replacement: None, count: None, wanted };
        job.run(&path, edit.target == "spec", tree)?;
    }
    Ok(())
}

enum SearchText {
    Line(String),
    Block(Vec<String>),
}

fn split(text: &str) -> SearchText {
    let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
    match lines.len() {
        0 => SearchText::Line(String::new()),
        1 => SearchText::Line(lines.remove(0)),
        _ => SearchText::Block(lines),
    }
}

impl LineSearch<'_> {
    fn run(&self, path: &str, is_spec: bool, tree: &mut Tree<'_>) -> Result<(), ApplyError> {
        let mut file = Lines::read(tree, path)?;
        let end = match is_spec {
            true => file.lines.iter().position(|line| is_changelog(line)),
            false => None,
        };
        let rest = end.map_or_else(Vec::new, |end| file.lines.split_off(end));
        let comments = !is_spec || self.wanted.starts_with('#');
        let (done, lines) = self.through(&file.lines, comments)?;
        if done == 0 {
            return Err(ApplyError::NoMatch {
                file: path.to_owned(),
                wanted: self.wanted.lines().next().unwrap_or_default().to_owned(),
                nearest: nearest::lines(
                    self.wanted.lines().next().unwrap_or_default(),
                    &file.lines,
                ),
            });
        }
        file.lines = lines;
        file.lines.extend(rest);
        file.write(tree, path);
        Ok(())
    }

    /// The lines with all matches replaced, and the number of replacements.
    fn through(
        &self,
        lines: &[String],
        comments: bool,
    ) -> Result<(usize, Vec<String>), ApplyError> {
        let mut out = Vec::with_capacity(lines.len());
        let mut done = 0;
        let mut at = 0;
        while at < lines.len() {
            let line = &lines[at];
            at += 1;
            if line.starts_with('#') && !comments {
                out.push(line.clone());
                continue;
            }
            let left = self.count.map_or(usize::MAX, |count| count.saturating_sub(done));
            match &self.search {
                Search::Text(wanted) => match &self.replacement {
                    None if line.trim() == wanted => done += 1,
                    None => out.push(line.clone()),
                    Some(new) => {
                        let (times, line) = replaced(line, wanted, new, left);
                        done += times;
                        out.push(line);
                    }
                },
                Search::Pattern(pattern, template) => {
                    let (times, line) = self.matched(line, pattern, template)?;
                    done += times;
                    out.push(line);
                }
                Search::Block(wanted) => {
                    let block = lines.get(at - 1..at - 1 + wanted.len());
                    let fits = left > 0
                        && block.is_some_and(|block| {
                            block.iter().zip(wanted).all(|(a, b)| a.trim_start() == b.trim_start())
                        });
                    if !fits {
                        out.push(line.clone());
                        continue;
                    }
                    at += wanted.len() - 1;
                    done += 1;
                    let indent = indent_of(line);
                    out.extend(
                        self.replacement.iter().flatten().map(|new| format!("{indent}{new}")),
                    );
                }
            }
        }
        Ok((done, out))
    }

    /// A limited count means the first match of each line, as in the original tool.
    fn matched(
        &self,
        line: &str,
        pattern: &fancy_regex::Regex,
        template: &str,
    ) -> Result<(usize, String), ApplyError> {
        let wrong = |error: fancy_regex::Error| ApplyError::Pattern {
            pattern: pattern.as_str().to_owned(),
            why: error.to_string(),
        };
        if !pattern.is_match(line).map_err(wrong)? {
            return Ok((0, line.to_owned()));
        }
        let limit = usize::from(self.count.is_some());
        let new = pattern.try_replacen(line, limit, template).map_err(wrong)?;
        Ok((1, new.into_owned()))
    }
}

/// A line with some text replaced from the left, and the number of replacements.
fn replaced(line: &str, wanted: &str, new: &[String], most: usize) -> (usize, String) {
    let found = line.matches(wanted).count().min(most);
    if found == 0 {
        return (0, line.to_owned());
    }
    let mut text = new.to_vec();
    if line != wanted {
        // Further lines are indented like the line into which they were inserted.
        let indent = indent_of(line);
        for further in text.iter_mut().skip(1).filter(|further| !further.trim().is_empty()) {
            further.insert_str(0, indent);
        }
    }
    (found, line.replacen(wanted, &text.join("\n"), found))
}

fn indent_of(line: &str) -> &str {
    &line[..line.len() - line.trim_start().len()]
}

fn pattern(text: &str) -> Result<fancy_regex::Regex, ApplyError> {
    // Python writes `\Z` for the end of the text.
    let ours = text.replace("\\Z", "\\z");
    RegexBuilder::new(&ours)
        .backtrack_limit(BACKTRACKS)
        .build()
        .map_err(|error| ApplyError::Pattern { pattern: text.to_owned(), why: error.to_string() })
}

/// A replacement as Python has it (`\1`, `\g<name>`) as a template of ours (`${1}`, `${name}`).
fn template(text: &str, pattern: &str) -> Result<String, ApplyError> {
    let text = text.strip_suffix('\n').unwrap_or(text);
    let wrong = |why: String| ApplyError::Pattern { pattern: pattern.to_owned(), why };
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['\\', '$']) {
        out.push_str(&rest[..at]);
        let dollar = rest[at..].starts_with('$');
        rest = &rest[at + 1..];
        if dollar {
            out.push_str("$$");
            continue;
        }
        let Some(c) = rest.chars().next() else {
            return Err(wrong("the replacement ends with a backslash".to_owned()));
        };
        let digits = rest.bytes().take(2).take_while(u8::is_ascii_digit).count();
        if digits > 0 {
            out.push_str(&format!("${{{}}}", &rest[..digits]));
            rest = &rest[digits..];
        } else if let Some(name) = rest.strip_prefix("g<") {
            let (name, after) = name
                .split_once('>')
                .ok_or_else(|| wrong("`\\g<` of the replacement is not closed".to_owned()))?;
            out.push_str(&format!("${{{name}}}"));
            rest = after;
        } else {
            match c {
                'n' => out.push('\n'),
                't' => out.push('\t'),
                'r' => out.push('\r'),
                '\\' => out.push('\\'),
                c if c.is_ascii_alphabetic() => {
                    return Err(wrong(format!("`\\{c}` of the replacement means nothing")));
                }
                c => {
                    out.push('\\');
                    out.push_str(if c == '$' { "$$" } else { &rest[..c.len_utf8()] });
                }
            }
            rest = &rest[c.len_utf8()..];
        }
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::modify::tree::Node;

    fn replace_in(
        file: &str,
        text: &str,
        find: (Option<&str>, Option<&str>),
        replace: &str,
        count: i64,
    ) -> Result<String, ApplyError> {
        let original: BTreeMap<_, _> = [(file.to_owned(), text.as_bytes().to_vec())].into();
        let mut tree = Tree::new([(file.to_owned(), Node::Original)], &original);
        let target = if file.ends_with(".spec") { "spec" } else { file };
        let edit = Replace {
            target: target.to_owned(),
            find: find.0.map(str::to_owned),
            rfind: find.1.map(str::to_owned),
            replace: replace.to_owned(),
            count,
        };
        super::replace(&edit, &mut tree)?;
        tree.text(file)
    }

    #[test]
    fn text() {
        for (before, find, new, count, after) in [
            ("a b a\na\n", "a", "x", -1, "x b x\nx\n"),
            ("a b a\na\n", "a", "x", 2, "x b x\na\n"),
            ("a b a\na\n", "a", "x", 1, "x b a\na\n"),
            ("aa\n", "a", "aa", -1, "aaaa\n"),
            ("# a\na\n", "a", "x", -1, "# a\nx\n"),
            ("# a\na\n", "# a", "x", -1, "x\na\n"),
            ("a\n%changelog\n- a\n", "a", "x", -1, "x\n%changelog\n- a\n"),
            ("  a b\n", "a", "x\ny\n", -1, "  x\n  y b\n"),
            ("a\n", "a", "x\n  y\n", -1, "x\n  y\n"),
            ("a", "a", "", -1, "\n"),
            ("a\r\nb\r\n", "b", "c", -1, "a\r\nc\r\n"),
            ("  a\n    b\nc\n", "a\nb\n", "x\ny\n", -1, "  x\n  y\nc\n"),
            ("a\nb\na\nb\n", "a\nb\n", "x\n", 1, "x\na\nb\n"),
        ] {
            let result = replace_in("x.spec", before, (Some(find), None), new, count);
            assert_eq!(result.as_deref(), Ok(after), "{before:?} {find:?}");
        }
    }

    #[test]
    fn patterns() {
        for (before, find, new, count, after) in [
            ("Requires: clang-18\n", "Requires:.*clang.*", "Requires: x", 1, "Requires: x\n"),
            ("a1 b2\n", "([a-z])([0-9])", r"\2\1", -1, "1a 2b\n"),
            ("a1 b2\nc3\n", "[a-z]", "x", 1, "x1 b2\nx3\n"),
            ("ab ac\n", "a(?=c)", "$x", -1, "ab $xc\n"),
            ("aa bb\n", r"(?P<c>b)\1", r"<\g<c>>", -1, "aa <b>\n"),
        ] {
            let result = replace_in("x.conf", before, (None, Some(find)), new, count);
            assert_eq!(result.as_deref(), Ok(after), "{before:?} {find:?}");
        }
        for (find, new) in [("(", "x"), ("a", r"\q"), ("a", "\\"), ("a", r"\g<x")] {
            let error = replace_in("x.conf", "a\n", (None, Some(find)), new, -1).unwrap_err();
            assert!(matches!(error, ApplyError::Pattern { .. }), "{error}");
        }
    }

    #[test]
    fn nothing_found_names_the_file_and_what_is_like_it() {
        let text = "Name: x\nRequires: redhat-release\n%changelog\n- Requires: redhat-releases\n";
        let result = replace_in("x.spec", text, (Some("Requires: redhat-releases"), None), "", -1);
        assert_eq!(
            result.unwrap_err().to_string(),
            "`Requires: redhat-releases` is not in x.spec; nearest lines: 2: `Requires: redhat-release`"
        );
        let error = replace_in("x.conf", "a\n", (Some("b"), None), "c", -1).unwrap_err();
        assert_eq!(error.to_string(), "`b` is not in x.conf, and no line is like it");
    }

    #[test]
    fn lines_are_deleted_whole() {
        let text = b"  ExcludeArch: ppc64le\nExcludeArch: ppc64le s390x\nif x\n    y\nfi\nend\n";
        let original: BTreeMap<_, _> = [("x.spec".to_owned(), text.to_vec())].into();
        let mut tree = Tree::new([("x.spec".to_owned(), Node::Original)], &original);
        let lines = vec!["ExcludeArch: ppc64le".to_owned(), "if x\n  y\nfi\n".to_owned()];
        delete(&DeleteLine { target: "spec".into(), lines }, &mut tree).unwrap();
        assert_eq!(tree.text("x.spec").unwrap(), "ExcludeArch: ppc64le s390x\nend\n");
        let lines = vec!["ExcludeArch".to_owned()];
        assert!(delete(&DeleteLine { target: "spec".into(), lines }, &mut tree).is_err());
    }

    proptest! {
        #[test]
        fn what_is_replaced_is_gone_and_the_rest_stays(
            lines in prop::collection::vec("[a-c ]{0,6}", 1..8),
            find in "[a-c]{1,3}",
            count in prop_oneof![Just(-1_i64), 1..4_i64],
        ) {
            let text = lines.join("\n") + "\n";
            let there = text.matches(&find).count();
            match replace_in("x.txt", &text, (Some(&find), None), "XX", count) {
                Ok(after) => {
                    let done = usize::try_from(count).map_or(there, |count| there.min(count));
                    prop_assert_eq!(after.matches("XX").count(), done);
                    prop_assert_eq!(after.lines().count(), text.lines().count());
                    prop_assert_eq!(after.replace("XX", &find), text);
                }
                Err(_) => prop_assert_eq!(there, 0),
            }
        }
    }
}
