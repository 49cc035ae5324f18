//! Reads the list of refs of a git server (`gitprotocol-v2(5)`, `gitprotocol-http(5)`).
//!
//! With protocol 2 one request asks for one branch, or for the tags of one package; with protocol
//! 0, which has no queries, the whole list is read. Only the queried ref is kept.

use std::cmp::Ordering;

pub use super::ref_query::{REQUEST_TYPE, RefQuery, RefTip, request};
use crate::name::shown;

/// How many refs are read of a server that sends its whole list.
pub const MAX_REFS: usize = 200_000;

/// The greatest length of a packet (`gitprotocol-common(5)`).
const MAX_PACKET: usize = 65_520;

/// Why a list is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RefsError {
    /// It is not what git servers send.
    #[error("not a valid list of refs: {0}")]
    Format(String),
    /// The server refuses.
    #[error("the git server says: {0}")]
    Refused(String),
    /// More refs than any package has.
    #[error("more than {0} refs; a server that speaks git protocol 2 sends only the requested one")]
    TooMany(usize),
}

/// A tag that was seen.
#[derive(Debug)]
struct PeeledTag {
    name: String,
    id: String,
    /// The commit that an annotated tag points to.
    peeled: Option<String>,
}

/// Reads a list piece by piece and keeps the queried ref.
#[derive(Debug)]
pub struct RefReader {
    question: RefQuery,
    branch: Option<String>,
    /// The queried tag, or the newest so far.
    tag: Option<PeeledTag>,
    /// A packet that has not arrived completely.
    rest: Vec<u8>,
    refs: usize,
    /// Whether `# service=…` came, whose flush packet is not the end.
    announced: bool,
    ended: bool,
}

impl RefReader {
    /// A reader for the answer to this query.
    #[must_use]
    pub fn new(question: &RefQuery) -> Self {
        Self {
            question: question.clone(),
            branch: None,
            tag: None,
            rest: Vec::new(),
            refs: 0,
            announced: false,
            ended: false,
        }
    }

    /// Reads the next bytes.
    ///
    /// # Errors
    /// When they are not a list of refs, or it is too long.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), RefsError> {
        self.rest.extend_from_slice(bytes);
        let taken = std::mem::take(&mut self.rest);
        let mut at = 0;
        while let Some(header) = taken.get(at..at + 4) {
            let length = packet_length(header)?;
            if length < 4 {
                at += 4;
                self.mark(length);
                continue;
            }
            let Some(line) = taken.get(at + 4..at + length) else { break };
            self.line(line)?;
            at += length;
        }
        self.rest = taken[at..].to_vec();
        Ok(())
    }

    /// The branch, or else the tag, with its commit.
    ///
    /// # Errors
    /// When the list is incomplete.
    pub fn end(self) -> Result<Option<RefTip>, RefsError> {
        if !self.ended {
            return Err(RefsError::Format("it is incomplete".to_owned()));
        }
        let branch =
            self.branch.map(|commit| RefTip { name: self.question.git_ref().to_owned(), commit });
        let tag = |tag: PeeledTag| RefTip { name: tag.name, commit: tag.peeled.unwrap_or(tag.id) };
        Ok(branch.or_else(|| self.tag.map(tag)))
    }

    /// Handles a flush packet: it ends the list; the one after `# service` begins it.
    fn mark(&mut self, length: usize) {
        if length == 0 && self.announced {
            self.announced = false;
        } else {
            self.ended |= length == 0;
        }
    }

    fn line(&mut self, line: &[u8]) -> Result<(), RefsError> {
        // Invalid names of other refs must not hide the queried one.
        let line = String::from_utf8_lossy(line);
        let line = line.strip_suffix('\n').unwrap_or(&line);
        if let Some(why) = line.strip_prefix("ERR ") {
            return Err(RefsError::Refused(shown(why)));
        }
        if line.starts_with("# service=") {
            self.announced = true;
            return Ok(());
        }
        let (id, rest) = line
            .split_once(' ')
            .filter(|(id, _)| is_commit_id(id))
            .ok_or_else(|| RefsError::Format(shown(line)))?;
        self.refs += 1;
        if self.refs > MAX_REFS {
            return Err(RefsError::TooMany(MAX_REFS));
        }
        // Capabilities follow the first ref of protocol 0, attributes a ref of protocol 2.
        let rest = rest.split('\0').next().unwrap_or_default();
        let mut words = rest.split(' ');
        let name = words.next().unwrap_or_default();
        if let Some(tag) = name.strip_prefix("refs/tags/") {
            let peeled = words.find_map(|word| word.strip_prefix("peeled:"));
            self.tag(tag, id, peeled.filter(|id| is_commit_id(id)));
        } else if !self.question.is_pattern()
            && name.strip_prefix("refs/heads/") == Some(self.question.git_ref())
        {
            self.branch = Some(id.to_owned());
        }
        Ok(())
    }

    /// Handles a tag, or the commit of the annotated tag before it.
    fn tag(&mut self, name: &str, id: &str, peeled: Option<&str>) {
        if let Some(name) = name.strip_suffix("^{}") {
            if let Some(tag) = self.tag.as_mut().filter(|tag| tag.name == name) {
                tag.peeled = Some(id.to_owned());
            }
            return;
        }
        let is_wanted = match self.question.newest() {
            None => name == self.question.git_ref(),
            Some((pattern, package)) => {
                let newer = |tag: &PeeledTag| pattern.compare(package, name, &tag.name);
                pattern.evr(package, name).is_some()
                    && self.tag.as_ref().is_none_or(|tag| newer(tag) != Ordering::Less)
            }
        };
        if is_wanted {
            let (name, id, peeled) = (name.to_owned(), id.to_owned(), peeled.map(str::to_owned));
            self.tag = Some(PeeledTag { name, id, peeled });
        }
    }
}

fn packet_length(header: &[u8]) -> Result<usize, RefsError> {
    let text =
        std::str::from_utf8(header).ok().filter(|t| t.bytes().all(|b| b.is_ascii_hexdigit()));
    text.and_then(|text| usize::from_str_radix(text, 16).ok())
        .filter(|length| *length <= MAX_PACKET)
        .ok_or_else(|| RefsError::Format(shown(&String::from_utf8_lossy(header))))
}

/// Whether a text is the full id of a commit: 40 digits of SHA-1, or 64 of SHA-256.
#[must_use]
pub fn is_commit_id(text: &str) -> bool {
    matches!(text.len(), 40 | 64)
        && text.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packets(lines: &[&str]) -> Vec<u8> {
        let mut out = Vec::new();
        for line in lines {
            if *line == "0000" {
                out.extend(b"0000");
            } else {
                out.extend(format!("{:04x}{line}", line.len() + 4).bytes());
            }
        }
        out
    }

    fn read(name: &str, bytes: &[u8]) -> Result<Option<String>, RefsError> {
        let mut reader = RefReader::new(&RefQuery::name(name));
        reader.feed(bytes)?;
        Ok(reader.end()?.map(|tip| tip.commit))
    }

    fn id(digit: char) -> String {
        digit.to_string().repeat(40)
    }

    #[test]
    fn protocol_2() {
        let (a, b, c) = (id('a'), id('b'), id('c'));
        let list = packets(&[
            &format!("{a} refs/heads/c9s\n"),
            &format!("{b} refs/heads/c9s-next\n"),
            &format!("{b} refs/tags/v1 peeled:{c}\n"),
            "0000",
        ]);
        assert_eq!(read("c9s", &list), Ok(Some(a)));
        assert_eq!(read("v1", &list), Ok(Some(c)));
        assert_eq!(read("c9", &list), Ok(None));
        assert_eq!(read("c9", b"0000"), Ok(None));
        let request = String::from_utf8(request(&RefQuery::name("c9s"))).unwrap();
        assert!(request.starts_with("0014command=ls-refs\n"), "{request}");
        assert!(request.contains("001eref-prefix refs/heads/c9s\n"), "{request}");
        assert!(request.ends_with("0000"), "{request}");
    }

    #[test]
    fn protocol_0() {
        let (a, b, c) = (id('a'), id('b'), id('c'));
        let list = packets(&[
            "# service=git-upload-pack\n",
            "0000",
            &format!("{a} HEAD\0multi_ack symref=HEAD:refs/heads/c9s\n"),
            &format!("{a} refs/heads/c9s\n"),
            &format!("{b} refs/tags/v1\n"),
            &format!("{c} refs/tags/v1^{{}}\n"),
            "0000",
        ]);
        assert_eq!(read("c9s", &list), Ok(Some(a)));
        assert_eq!(read("v1", &list), Ok(Some(c)));
        // An empty repository.
        let empty = packets(&[
            "# service=git-upload-pack\n",
            "0000",
            &format!("{} capabilities^{{}}\0x\n", "0".repeat(40)),
            "0000",
        ]);
        assert_eq!(read("c9s", &empty), Ok(None));
    }

    #[test]
    fn the_newest_tag_of_a_pattern() {
        let (a, b, c, d) = (id('a'), id('b'), id('c'), id('d'));
        let question = RefQuery::for_ref("imports/c9/{nvr}", "gcc");
        let asked = String::from_utf8(request(&question)).unwrap();
        assert!(asked.contains("ref-prefix refs/tags/imports/c9/gcc-\n"), "{asked}");
        assert!(!asked.contains("refs/heads"), "{asked}");
        let lists = [
            packets(&[
                &format!("{a} refs/heads/imports/c9/gcc-99-1\n"),
                &format!("{a} refs/tags/imports/c9/gcc-11-10.el9 peeled:{b}\n"),
                &format!("{c} refs/tags/imports/c9/gcc-11-9.el9\n"),
                &format!("{d} refs/tags/imports/c9/gcc-toolset-13-13-1.el9\n"),
                "0000",
            ]),
            packets(&[
                "# service=git-upload-pack\n",
                "0000",
                &format!("{a} HEAD\0multi_ack\n"),
                &format!("{a} refs/tags/imports/c9/gcc-11-10.el9\n"),
                &format!("{b} refs/tags/imports/c9/gcc-11-10.el9^{{}}\n"),
                &format!("{c} refs/tags/imports/c9/gcc-11-9.el9\n"),
                &format!("{d} refs/tags/imports/c9/gcc-11-9.el9^{{}}\n"),
                "0000",
            ]),
        ];
        for list in lists {
            let mut reader = RefReader::new(&question);
            reader.feed(&list).unwrap();
            let tip = RefTip { name: "imports/c9/gcc-11-10.el9".into(), commit: b.clone() };
            assert_eq!(reader.end(), Ok(Some(tip)));
        }
    }

    #[test]
    fn refusals() {
        for (bytes, words) in [
            (&b"<html>"[..], "not a valid list of refs"),
            (b"", "incomplete"),
            (b"0032", "incomplete"),
            (b"ffff", "not a valid list of refs"),
            (b"0008abcd", "not a valid list of refs: abcd"),
            (b"000eERR no\x1b[m\n", "the git server says: no\u{fffd}[m"),
        ] {
            let error = read("x", bytes).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn too_many() {
        let line = packets(&[&format!("{} refs/heads/branch000\n", id('a'))]);
        let block = line.repeat(1000);
        let mut reader = RefReader::new(&RefQuery::name("x"));
        let fed = (0..1000).try_for_each(|_| reader.feed(&block));
        assert_eq!(fed, Err(RefsError::TooMany(MAX_REFS)));
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(cut in 0usize..200, name in "[a-c]{1,3}") {
            let (a, b) = (id('a'), id('b'));
            let list = packets(&[
                &format!("{a} refs/heads/ab\n"), &format!("{b} refs/heads/abc\n"), "0000",
            ]);
            let cut = cut.min(list.len());
            let mut reader = RefReader::new(&RefQuery::name(&name));
            reader.feed(&list[..cut]).unwrap();
            reader.feed(&list[cut..]).unwrap();
            let found = reader.end().unwrap().map(|tip| tip.commit);
            prop_assert_eq!(Ok(found), read(&name, &list));
        }

        #[test]
        fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = read("x", &bytes);
        }
    }
}
