//! Bodies as HTML forms send them: `payload=` and the JSON, escaped.

/// The field that holds the JSON.
const FIELD: &[u8] = b"payload";

/// The state of the parser.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FormState {
    /// In a name: how much of it matches the field; `None` when it is another one.
    Name(Option<usize>),
    /// The value of the field.
    Wanted,
    /// In an escape: the first digit, if it was read.
    Escaped(Option<u8>),
    /// In another value, or behind the first field of this name.
    Other,
    Done,
}

/// Extracts the JSON from a form, piece by piece.
#[derive(Debug)]
pub(super) struct FormDecoder(FormState);

impl FormDecoder {
    pub(super) fn new() -> Self {
        Self(FormState::Name(Some(0)))
    }

    /// Appends the JSON in the next bytes.
    pub(super) fn feed(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        for byte in bytes {
            self.0 = self.step(*byte, out);
        }
    }

    fn step(&self, byte: u8, out: &mut Vec<u8>) -> FormState {
        match (self.0, byte) {
            (FormState::Done, _) => FormState::Done,
            (FormState::Name(Some(length)), b'=') if length == FIELD.len() => FormState::Wanted,
            (FormState::Name(_), b'=') => FormState::Other,
            (FormState::Name(_) | FormState::Other, b'&') => FormState::Name(Some(0)),
            (FormState::Other, _) => FormState::Other,
            (FormState::Name(length), byte) => {
                let next = length.filter(|length| FIELD.get(*length) == Some(&byte));
                FormState::Name(next.map(|length| length + 1))
            }
            (FormState::Wanted | FormState::Escaped(_), b'&') => FormState::Done,
            (FormState::Wanted, b'%') => FormState::Escaped(None),
            (FormState::Wanted, b'+') => push(out, b' '),
            (FormState::Wanted, byte) => push(out, byte),
            (FormState::Escaped(None), byte) => FormState::Escaped(Some(byte)),
            (FormState::Escaped(Some(first)), second) => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                let value = digit(first).zip(digit(second)).map(|(high, low)| high * 16 + low);
                match value.and_then(|value| u8::try_from(value).ok()) {
                    Some(value) => push(out, value),
                    None => {
                        out.extend([b'%', first]);
                        push(out, second)
                    }
                }
            }
        }
    }
}

fn push(out: &mut Vec<u8>, byte: u8) -> FormState {
    out.push(byte);
    FormState::Wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_field() {
        for (form, json) in [
            ("payload=%7B%22a%22%3A+%22b%2Bc%22%7d", "{\"a\": \"b+c\"}"),
            ("x=1&payload={}&payload=2", "{}"),
            ("payloads=1&xpayload=2&payload=3&y", "3"),
            ("payload=%zz%4", "%zz"),
            ("payload", ""),
            ("", ""),
        ] {
            let mut out = Vec::new();
            let mut whole = FormDecoder::new();
            whole.feed(form.as_bytes(), &mut out);
            assert_eq!(String::from_utf8_lossy(&out), json, "{form}");
            let (mut out, mut pieces) = (Vec::new(), FormDecoder::new());
            form.bytes().for_each(|byte| pieces.feed(&[byte], &mut out));
            assert_eq!(String::from_utf8_lossy(&out), json, "{form}");
        }
    }
}
