//! The chain of a log: each line has its number and the SHA-256 of the line before, so that a line
//! cannot be removed, inserted or changed without changing all later ones.
//!
//! A line that is not part of the chain (cut off by a crash, or written before logs had chains) is
//! still covered by the digest in the next one.

use std::io::{self, BufRead};

use rpmfarm_core::Sha256;
use serde::{Deserialize, Serialize};

/// The longest line, in bytes.
const MAX_LINE: u64 = 64 << 10;

/// The last line of a log, which the next one names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainHead {
    /// Its number, from 1; 0 before the first.
    pub line: u64,
    /// SHA-256 of its bytes, without the end of the line.
    pub digest: Sha256,
}

impl ChainHead {
    /// The head before the first line.
    pub const START: Self = Self { line: 0, digest: Sha256::from_bytes([0; 32]) };

    /// Appends a line: returns its bytes with the end of the line, and the new head.
    ///
    /// # Errors
    /// When the entry is not a JSON object.
    pub fn next<E: Serialize>(&self, entry: &E) -> Result<(Vec<u8>, Self), serde_json::Error> {
        let link = Link { line: self.line.saturating_add(1), prev: self.digest };
        let mut bytes = serde_json::to_vec(&Line { link, entry })?;
        let head = self.over(&bytes);
        bytes.push(b'\n');
        Ok((bytes, head))
    }

    /// The head after a further line, whatever its content.
    #[must_use]
    pub fn over(&self, line: &[u8]) -> Self {
        Self { line: self.line.saturating_add(1), digest: Sha256::compute(line) }
    }
}

#[derive(Serialize, Deserialize)]
struct Link {
    line: u64,
    prev: Sha256,
}

#[derive(Serialize)]
struct Line<'a, E> {
    #[serde(flatten)]
    link: Link,
    #[serde(flatten)]
    entry: &'a E,
}

/// The result of reading a log from its beginning or from a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChainSummary {
    /// The head before the first line. It is not the start in a file that continues another one.
    pub from: ChainHead,
    pub head: ChainHead,
    /// Where the last line begins and ends, in bytes from where reading began.
    pub last: (u64, u64),
    /// The number of lines that were written before logs had chains.
    pub before: u64,
    /// The number of other lines that are not part of the chain.
    pub cut: u64,
    /// Whether the last line lacks its line feed.
    pub is_torn: bool,
}

/// Why a log is not a valid chain.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// A line does not name the one before.
    #[error("line {line} does not follow the line before it: {reason}")]
    Line {
        /// Its number in the file.
        line: u64,
        reason: String,
    },
    /// The file cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Reads lines to the end and checks that each names the one before. `from` is the head before the
/// first line, when it is known; `each` is called for every line of the chain.
///
/// # Errors
/// With the first line that does not name the one before.
pub fn walk(
    mut reader: impl BufRead,
    from: Option<ChainHead>,
    mut each: impl FnMut(ChainHead, &[u8]),
) -> Result<ChainSummary, ChainError> {
    let start = from.unwrap_or(ChainHead::START);
    let mut walked =
        ChainSummary { from: start, head: start, last: (0, 0), before: 0, cut: 0, is_torn: false };
    let mut chained = from.is_some();
    let mut count = 0;
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = io::Read::take(&mut reader, MAX_LINE).read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(walked);
        }
        count += 1;
        walked.last = (walked.last.1, walked.last.1 + read as u64);
        let whole = line.strip_suffix(b"\n");
        walked.is_torn = whole.is_none();
        let bytes = whole.unwrap_or(&line);
        match serde_json::from_slice::<Link>(bytes) {
            Ok(link) => {
                // After a log rotation, the first line names a head in another file.
                if !chained && count == 1 {
                    let head = ChainHead { line: link.line.saturating_sub(1), digest: link.prev };
                    (walked.from, walked.head) = (head, head);
                }
                follows(&walked.head, &link)
                    .map_err(|reason| ChainError::Line { line: count, reason })?;
                chained = true;
                walked.head = walked.head.over(bytes);
                each(walked.head, bytes);
            }
            Err(_) => {
                walked.cut += u64::from(chained);
                walked.before += u64::from(!chained);
                walked.head = walked.head.over(bytes);
            }
        }
    }
}

fn follows(head: &ChainHead, link: &Link) -> Result<(), String> {
    if link.prev != head.digest {
        return Err(format!("it names the digest {}, not {}", link.prev, head.digest));
    }
    if link.line != head.line.saturating_add(1) {
        return Err(format!("it is number {} after {}", link.line, head.line));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(reason: &str) -> serde_json::Value {
        serde_json::json!({ "time": "2026-01-01T00:00:00Z", "reason": reason })
    }

    fn log(count: usize) -> Vec<Vec<u8>> {
        let mut head = ChainHead::START;
        let line = |n| {
            let (bytes, next) = head.next(&entry(&format!("line {n}"))).unwrap();
            head = next;
            bytes
        };
        (0..count).map(line).collect()
    }

    fn walk_all(lines: &[Vec<u8>]) -> Result<ChainSummary, ChainError> {
        walk(lines.concat().as_slice(), None, |_, _| ())
    }

    #[test]
    fn every_change_of_a_line_is_found() {
        let lines = log(5);
        let walked = walk_all(&lines).unwrap();
        assert_eq!((walked.head.line, walked.from, walked.cut), (5, ChainHead::START, 0));
        assert_eq!(walked.head.digest, Sha256::compute(lines[4].strip_suffix(b"\n").unwrap()));
        let end = lines.concat().len() as u64;
        assert_eq!(walked.last, (end - lines[4].len() as u64, end));
        for place in 1..4 {
            let mut without = lines.clone();
            without.remove(place);
            assert!(walk_all(&without).is_err(), "without {place}");
            let mut changed = lines.clone();
            changed[place][40] ^= 1;
            assert!(walk_all(&changed).is_err(), "{place} changed");
            let mut twice = lines.clone();
            twice.insert(place, lines[place].clone());
            assert!(walk_all(&twice).is_err(), "{place} twice");
            let mut swapped = lines.clone();
            swapped.swap(place, place + 1);
            assert!(walk_all(&swapped).is_err(), "{place} swapped");
            let mut more = lines.clone();
            more.insert(place, b"{\"half\n".to_vec());
            assert!(walk_all(&more).is_err(), "something before {place}");
        }
    }

    #[test]
    fn cut_lines_and_older_logs_are_part_of_the_chain() {
        let old: Vec<Vec<u8>> = vec![b"{\"kind\":\"file\"}\n".to_vec(), b"{\"ki\n".to_vec()];
        let begun = walk_all(&old).unwrap();
        assert_eq!((begun.before, begun.head.line, begun.cut), (2, 2, 0));
        let (next, head) = begun.head.next(&entry("first")).unwrap();
        let torn = b"{\"line\":4,\"pre".to_vec();
        let mut all = [old, vec![next, torn]].concat();
        let walked = walk_all(&all).unwrap();
        assert_eq!((walked.cut, walked.is_torn), (1, true));
        all[3].push(b'\n');
        all.push(head.over(&all[3][..all[3].len() - 1]).next(&entry("after")).unwrap().0);
        let walked = walk_all(&all).unwrap();
        assert_eq!((walked.before, walked.cut, walked.is_torn, walked.head.line), (2, 1, false, 5));
        all[0][3] ^= 1;
        all[1][1] ^= 1;
        assert!(walk_all(&all).is_err(), "what is before the chain is covered by it");
    }

    #[test]
    fn a_file_may_go_on_from_another_one() {
        let lines = log(5);
        let walked = walk_all(&lines[2..]).unwrap();
        assert_eq!((walked.from.line, walked.head.line), (2, 5));
        let from = walk_all(&lines[..2]).unwrap().head;
        assert_eq!(from, walked.from);
        assert!(walk(lines[3..].concat().as_slice(), Some(from), |_, _| ()).is_err());
    }
}
