//! Text broken into lines for a terminal, with later lines indented under the first.

use console::measure_text_width;

use super::escape;

/// The lines of a text, none wider than `width` unless a single word is: paths and addresses stay
/// whole, so that they can be copied.
pub(crate) fn lines(text: &str, width: usize) -> Vec<String> {
    broken(text, width, width)
}

/// The same where the first line has other room than those after it.
fn broken(text: &str, first: usize, later: usize) -> Vec<String> {
    let mut broken = Vec::new();
    for line in text.lines() {
        let room = |broken: &Vec<String>| if broken.is_empty() { first } else { later };
        if measure_text_width(line) <= room(&broken) {
            broken.push(line.trim_end().to_owned());
            continue;
        }
        let mut last = String::new();
        for word in line.split_whitespace() {
            let wide = measure_text_width(&last) + 1 + measure_text_width(word);
            if !last.is_empty() && wide > room(&broken) {
                broken.push(std::mem::take(&mut last));
            }
            if !last.is_empty() {
                last.push(' ');
            }
            last.push_str(word);
        }
        broken.push(last);
    }
    broken
}

/// A text after its label, later lines indented by `indent`; ends with a line break. The text is
/// escaped; without a width only its own line breaks break it.
pub(crate) fn hanging(label: &str, text: &str, indent: usize, width: Option<usize>) -> String {
    let text = escape::lines(text.trim_end());
    let beside = |used: usize| width.map_or(usize::MAX, |width| width.saturating_sub(used).max(8));
    let mut shown = label.to_owned();
    for (number, line) in
        broken(&text, beside(measure_text_width(label)), beside(indent)).iter().enumerate()
    {
        if number > 0 {
            shown.push_str(&format!("\n{:indent$}", ""));
        }
        shown.push_str(line);
    }
    format!("{}\n", shown.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stay_whole_and_lines_short() {
        assert_eq!(lines("one two three", 7), ["one two", "three"]);
        assert_eq!(lines("/a/very/long/path is kept", 7), ["/a/very/long/path", "is kept"]);
        assert_eq!(lines("a\n\nb", 7), ["a", "", "b"]);
    }

    #[test]
    fn later_lines_are_indented() {
        assert_eq!(
            hanging("  because  ", "one two\nthree", 11, None),
            "  because  one two\n           three\n"
        );
        assert_eq!(hanging("  x  ", "one two three", 5, Some(13)), "  x  one two\n     three\n");
        assert_eq!(hanging("  x  ", "a\u{1b}b", 5, None), "  x  a\\x1bb\n");
    }
}
