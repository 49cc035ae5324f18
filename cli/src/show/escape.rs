//! Untrusted text (of packages, workers, logs), escaped for a terminal.

/// One line: control characters, line breaks and characters that change the direction of writing
/// are shown escaped.
pub(crate) fn line(text: &str) -> String {
    escaped(text, |c| c == '\t')
}

/// As above, for a text of several lines that is shown in one: its line breaks become blanks.
pub(crate) fn flat(text: &str) -> String {
    line(&text.lines().map(str::trim_end).collect::<Vec<_>>().join(" "))
}

/// Several lines: the same, but line breaks stay.
pub(crate) fn lines(text: &str) -> String {
    escaped(text, |c| c == '\t' || c == '\n')
}

fn escaped(text: &str, keep: fn(char) -> bool) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            c if keep(c) || !is_unsafe(c) => shown.push(c),
            c if (c as u32) < 0x100 => shown.push_str(&format!("\\x{:02x}", c as u32)),
            c => shown.push_str(&format!("\\u{{{:x}}}", c as u32)),
        }
    }
    shown
}

fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Escapes a stream of bytes, whose pieces may end in the middle of a character.
#[derive(Debug, Default)]
pub(crate) struct StreamEscaper {
    rest: Vec<u8>,
}

impl StreamEscaper {
    /// The text of a piece, up to its last complete character.
    pub(crate) fn push(&mut self, piece: &[u8]) -> String {
        self.rest.extend_from_slice(piece);
        let whole = whole_characters(&self.rest);
        let text = readable(&self.rest[..whole]);
        self.rest.drain(..whole);
        text
    }

    /// The rest at the end.
    pub(crate) fn finish(&mut self) -> String {
        readable(&std::mem::take(&mut self.rest))
    }
}

/// Build logs use various line ends; a lone carriage return is of a progress bar.
fn readable(bytes: &[u8]) -> String {
    lines(&String::from_utf8_lossy(bytes).replace("\r\n", "\n"))
}

/// How many bytes come before a character, or a line break of two bytes, that may continue in the
/// next piece.
fn whole_characters(bytes: &[u8]) -> usize {
    if bytes.last() == Some(&b'\r') {
        return bytes.len() - 1;
    }
    match std::str::from_utf8(bytes) {
        Ok(_) => bytes.len(),
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        Err(_) => unfinished_after_bad(bytes),
    }
}

/// The same after bytes that are not text: at most three bytes can begin a character.
fn unfinished_after_bad(bytes: &[u8]) -> usize {
    let open = |back: &usize| {
        let tail = &bytes[bytes.len() - back..];
        std::str::from_utf8(tail)
            .is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
    };
    let back = (1..=3.min(bytes.len())).find(open).unwrap_or(0);
    bytes.len() - back
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_sees_no_control_character() {
        assert_eq!(line("a\u{1b}[31mred\nb\tc"), "a\\x1b[31mred\\x0ab\tc");
        assert_eq!(line("x\u{202e}y\u{9b}"), "x\\u{202e}y\\x9b");
        assert_eq!(lines("a\nb\u{7}"), "a\nb\\x07");
        assert_eq!(flat("TOML parse error\r\n  | x\u{7}\n"), "TOML parse error   | x\\x07");
    }

    #[test]
    fn pieces_may_be_cut_anywhere() {
        let log = "größe\r\nα\u{1b}[0m\rβ \u{1f600}\n".as_bytes().to_vec();
        let log = [log.as_slice(), b"\xff\xfe bad ", "ü\n".as_bytes()].concat();
        let mut whole = StreamEscaper::default();
        let expected = whole.push(&log) + &whole.finish();
        assert!(expected.contains("größe\nα\\x1b[0m\\x0dβ"), "{expected}");
        for cut in 0..log.len() {
            let mut stream = StreamEscaper::default();
            let text = stream.push(&log[..cut]) + &stream.push(&log[cut..]) + &stream.finish();
            assert_eq!(text, expected, "cut at {cut}");
        }
    }
}
