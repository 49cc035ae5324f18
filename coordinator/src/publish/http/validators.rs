//! Conditional and partial requests (RFC 9110, 13 and 14), as far as files need them.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;

use axum::http::header::{self, HeaderMap, HeaderName};
use jiff::Timestamp;
use jiff::fmt::rfc2822::{DateTimeParser, DateTimePrinter};

/// The entity tag and the modification time of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Validators {
    /// A strong tag: a file of the tree is replaced, never changed in place.
    pub(super) etag: String,
    /// The time in the format of HTTP.
    pub(super) modified: String,
    seconds: i64,
}

impl Validators {
    pub(super) fn from_metadata(metadata: &Metadata) -> Self {
        let (inode, size) = (metadata.ino(), metadata.len());
        let (seconds, nanoseconds) = (metadata.mtime(), metadata.mtime_nsec());
        let etag = format!("\"{inode:x}-{size:x}-{seconds:x}.{nanoseconds:x}\"");
        let time = Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH);
        let modified = DateTimePrinter::new()
            .timestamp_to_rfc9110_string(&time)
            .unwrap_or_else(|_| "Thu, 01 Jan 1970 00:00:00 GMT".into());
        Self { etag, modified, seconds }
    }
}

/// The conditional headers of a request.
#[derive(Debug, Default)]
pub(super) struct RequestConditions<'a> {
    if_none_match: Option<&'a str>,
    if_modified_since: Option<&'a str>,
    if_range: Option<&'a str>,
    range: Option<&'a str>,
}

/// The part of the file to answer with. Bytes `start` to `end`, both included.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ResponseRange {
    NotModified,
    Unsatisfiable,
    Whole,
    Part { start: u64, end: u64 },
}

impl<'a> RequestConditions<'a> {
    pub(super) fn from_headers(headers: &'a HeaderMap) -> Self {
        let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        Self {
            if_none_match: text(header::IF_NONE_MATCH),
            if_modified_since: text(header::IF_MODIFIED_SINCE),
            if_range: text(header::IF_RANGE),
            range: text(header::RANGE),
        }
    }

    pub(super) fn select(&self, validators: &Validators, size: u64) -> ResponseRange {
        if self.not_modified(validators) {
            return ResponseRange::NotModified;
        }
        match self.range {
            Some(range) if self.range_holds(validators) => part(range, size),
            _ => ResponseRange::Whole,
        }
    }

    fn not_modified(&self, validators: &Validators) -> bool {
        if let Some(tags) = self.if_none_match {
            let weak = |tag: &str| tag.trim().trim_start_matches("W/") == validators.etag;
            return tags.trim() == "*" || tags.split(',').any(weak);
        }
        self.if_modified_since.and_then(seconds).is_some_and(|since| validators.seconds <= since)
    }

    fn range_holds(&self, validators: &Validators) -> bool {
        self.if_range.is_none_or(|condition| {
            condition == validators.etag || seconds(condition) == Some(validators.seconds)
        })
    }
}

fn seconds(date: &str) -> Option<i64> {
    DateTimeParser::new().parse_timestamp(date).ok().map(Timestamp::as_second)
}

/// The range of a request. Several ranges and unknown units are answered with the whole file, which
/// RFC 9110 permits.
fn part(range: &str, size: u64) -> ResponseRange {
    let Some((first, last)) = range
        .strip_prefix("bytes=")
        .filter(|ranges| !ranges.contains(','))
        .and_then(|range| range.trim().split_once('-'))
    else {
        return ResponseRange::Whole;
    };
    let parsed = |text: &str| text.parse::<u64>().ok();
    let (start, end) = match (first, last) {
        ("", suffix) => match parsed(suffix) {
            Some(0) => return ResponseRange::Unsatisfiable,
            Some(length) => (size.saturating_sub(length), size.saturating_sub(1)),
            None => return ResponseRange::Whole,
        },
        (start, "") => match parsed(start) {
            Some(start) => (start, size.saturating_sub(1)),
            None => return ResponseRange::Whole,
        },
        (start, end) => match (parsed(start), parsed(end)) {
            (Some(start), Some(end)) if start <= end => (start, end.min(size.saturating_sub(1))),
            _ => return ResponseRange::Whole,
        },
    };
    if start >= size { ResponseRange::Unsatisfiable } else { ResponseRange::Part { start, end } }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn validators() -> Validators {
        let modified = "Sun, 06 Nov 1994 08:49:37 GMT";
        Validators { etag: "\"a\"".into(), modified: modified.into(), seconds: 784_111_777 }
    }

    #[test]
    fn ranges() {
        for (range, expected) in [
            ("bytes=0-4", ResponseRange::Part { start: 0, end: 4 }),
            ("bytes=5-", ResponseRange::Part { start: 5, end: 9 }),
            ("bytes=5-100", ResponseRange::Part { start: 5, end: 9 }),
            ("bytes=-3", ResponseRange::Part { start: 7, end: 9 }),
            ("bytes=-30", ResponseRange::Part { start: 0, end: 9 }),
            ("bytes=10-", ResponseRange::Unsatisfiable),
            ("bytes=-0", ResponseRange::Unsatisfiable),
            ("bytes=4-2", ResponseRange::Whole),
            ("bytes=0-1,3-4", ResponseRange::Whole),
            ("bytes=18446744073709551616-", ResponseRange::Whole),
            ("lines=1-2", ResponseRange::Whole),
            ("bytes=a-b", ResponseRange::Whole),
        ] {
            assert_eq!(part(range, 10), expected, "{range}");
        }
        assert_eq!(part("bytes=0-", 0), ResponseRange::Unsatisfiable);
        assert_eq!(part("bytes=-5", 0), ResponseRange::Unsatisfiable);
    }

    #[test]
    fn conditions() {
        let select = |conditions: RequestConditions<'_>| conditions.select(&validators(), 10);
        let tag = |tag| {
            select(RequestConditions { if_none_match: Some(tag), ..RequestConditions::default() })
        };
        assert_eq!(tag("\"b\", W/\"a\""), ResponseRange::NotModified);
        assert_eq!(tag("\"b\""), ResponseRange::Whole);
        let since = |date| {
            select(RequestConditions {
                if_modified_since: Some(date),
                ..RequestConditions::default()
            })
        };
        assert_eq!(since("Sun, 06 Nov 1994 08:49:37 GMT"), ResponseRange::NotModified);
        assert_eq!(since("Sun, 06 Nov 1994 08:49:36 GMT"), ResponseRange::Whole);
        assert_eq!(since("yesterday"), ResponseRange::Whole);
        let range = |if_range| {
            select(RequestConditions {
                if_range: Some(if_range),
                range: Some("bytes=1-2"),
                ..RequestConditions::default()
            })
        };
        assert_eq!(range("\"a\""), ResponseRange::Part { start: 1, end: 2 });
        assert_eq!(range("\"b\""), ResponseRange::Whole);
    }
}
