//! Watches a pack as it arrives: how large its objects are when unpacked.
//!
//! A pack of some megabytes can hold gigabytes of zeros, which libgit2 would unpack in memory as
//! soon as another object is a delta of them. So each object is unpacked here once, piece by piece
//! without being kept, before libgit2 gets its bytes. Owns the limits, the position in the pack,
//! and as much of its format as sizes need (`gitprotocol-pack(5)`, `gitformat-pack(5)`). Whether
//! the pack is valid is checked by libgit2.

use flate2::{Decompress, FlushDecompress, Status};

/// The greatest length of a packet of the protocol, in bytes.
const MAX_PACKET: usize = 65_520;

/// The greatest length of the beginning of a delta that tells its sizes, in bytes.
const DELTA_HEAD: usize = 24;

const OFS_DELTA: u8 = 6;
const REF_DELTA: u8 = 7;
const SHA1: usize = 20;

/// The bounds on the unpacked objects of a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackLimits {
    /// One object, in bytes.
    pub object: u64,
    /// All of them together.
    pub total: u64,
}

/// Why a pack is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PackError {
    /// An object is too large.
    #[error("a git object of {0} bytes")]
    Object(u64),
    /// All objects together are too large.
    #[error("a pack that unpacks to {0} bytes")]
    Total(u64),
    #[error("the server did not send a valid pack: {0}")]
    Format(&'static str),
}

/// Watches the answer of a fetch.
#[derive(Debug)]
pub struct PackGuard {
    limits: PackLimits,
    outer: PackFraming,
    /// Bytes of a packet, or of the next header in the pack, that have not arrived completely.
    rest: Vec<u8>,
    inner: PackState,
    objects: u32,
    total: u64,
    /// Bytes of the pack that have not been checked yet.
    pack: Vec<u8>,
}

/// How the pack is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PackFraming {
    /// In packets, whose first byte names the band.
    Packets,
    Raw,
}

/// The position in the pack.
#[derive(Debug)]
enum PackState {
    Header,
    Object,
    Data(Box<ObjectInflater>),
    Trailer,
}

/// An object that is being unpacked.
#[derive(Debug)]
struct ObjectInflater {
    zlib: Decompress,
    size: u64,
    is_delta: bool,
    /// The beginning of a delta.
    head: Vec<u8>,
}

impl PackGuard {
    /// A guard that has seen no byte of the answer.
    #[must_use]
    pub const fn new(limits: PackLimits) -> Self {
        Self {
            limits,
            outer: PackFraming::Packets,
            rest: Vec::new(),
            inner: PackState::Header,
            objects: 0,
            total: 0,
            pack: Vec::new(),
        }
    }

    /// Checks the next bytes of the answer.
    ///
    /// # Errors
    /// When they unpack to more than is allowed, or are not a pack.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), PackError> {
        if self.outer == PackFraming::Raw {
            return self.feed_pack(bytes);
        }
        self.rest.extend_from_slice(bytes);
        let taken = std::mem::take(&mut self.rest);
        let mut at = 0;
        while let Some(head) = taken.get(at..at + 4) {
            if head == b"PACK" {
                self.outer = PackFraming::Raw;
                return self.feed_pack(&taken[at..]);
            }
            let length = packet_length(head)?;
            if length < 4 {
                at += 4;
                continue;
            }
            let Some(packet) = taken.get(at + 4..at + length) else { break };
            // Band 1 carries the pack; lines of text before it begin with a letter.
            if let Some((1, data)) = packet.split_first() {
                self.feed_pack(data)?;
            }
            at += length;
        }
        self.rest = taken[at..].to_vec();
        Ok(())
    }

    fn feed_pack(&mut self, bytes: &[u8]) -> Result<(), PackError> {
        self.pack.extend_from_slice(bytes);
        let pack = std::mem::take(&mut self.pack);
        let mut at = 0;
        while let Some(taken) = self.step(&pack[at..])? {
            at += taken;
        }
        self.pack = pack[at..].to_vec();
        Ok(())
    }

    /// Reads one part. Returns how many bytes it took, `None` when more bytes are needed.
    fn step(&mut self, bytes: &[u8]) -> Result<Option<usize>, PackError> {
        match &mut self.inner {
            PackState::Header => {
                let Some(head) = bytes.get(..12) else { return Ok(None) };
                if !head.starts_with(b"PACK") {
                    return Err(PackError::Format(
                        "it does not begin with the signature of a pack",
                    ));
                }
                self.objects = u32::from_be_bytes([head[8], head[9], head[10], head[11]]);
                self.inner = self.next_part();
                Ok(Some(12))
            }
            PackState::Object => {
                let Some((kind, size, taken)) = object_head(bytes)? else { return Ok(None) };
                self.admit(size)?;
                self.objects -= 1;
                self.inner = PackState::Data(Box::new(ObjectInflater {
                    zlib: Decompress::new(true),
                    size,
                    is_delta: kind == OFS_DELTA || kind == REF_DELTA,
                    head: Vec::new(),
                }));
                Ok(Some(taken))
            }
            PackState::Data(data) => {
                if bytes.is_empty() {
                    return Ok(None);
                }
                let (taken, ended) = data.unpack(bytes)?;
                if ended {
                    let result = if data.is_delta { delta_result(&data.head)? } else { 0 };
                    self.inner = self.next_part();
                    self.admit(result)?;
                    return Ok(Some(taken));
                }
                Ok((taken > 0).then_some(taken))
            }
            // The checksum of the pack, which libgit2 compares.
            PackState::Trailer => Ok((!bytes.is_empty()).then_some(bytes.len())),
        }
    }

    const fn next_part(&self) -> PackState {
        if self.objects == 0 { PackState::Trailer } else { PackState::Object }
    }

    fn admit(&mut self, size: u64) -> Result<(), PackError> {
        if size > self.limits.object {
            return Err(PackError::Object(size));
        }
        self.total = self.total.saturating_add(size);
        if self.total > self.limits.total {
            return Err(PackError::Total(self.total));
        }
        Ok(())
    }
}

impl ObjectInflater {
    /// Unpacks some bytes. Returns how many it took, and whether the object ended.
    fn unpack(&mut self, bytes: &[u8]) -> Result<(usize, bool), PackError> {
        let mut out = [0; 16 * 1024];
        let mut taken = 0;
        loop {
            let (before_in, before_out) = (self.zlib.total_in(), self.zlib.total_out());
            let status = self
                .zlib
                .decompress(&bytes[taken..], &mut out, FlushDecompress::None)
                .map_err(|_| PackError::Format("an object cannot be unpacked"))?;
            let read = usize::try_from(self.zlib.total_in() - before_in).unwrap_or(usize::MAX);
            let made = usize::try_from(self.zlib.total_out() - before_out).unwrap_or(usize::MAX);
            taken += read;
            if self.is_delta && self.head.len() < DELTA_HEAD {
                let more = made.min(DELTA_HEAD - self.head.len());
                self.head.extend_from_slice(&out[..more]);
            }
            if self.zlib.total_out() > self.size {
                return Err(PackError::Format("an object is longer than its header says"));
            }
            match status {
                Status::StreamEnd => return Ok((taken, true)),
                _ if read == 0 && made == 0 => return Ok((taken, false)),
                _ => {}
            }
        }
    }
}

/// The length of a packet including its header, from the four bytes of the header.
fn packet_length(head: &[u8]) -> Result<usize, PackError> {
    let text = std::str::from_utf8(head).ok().filter(|t| t.bytes().all(|b| b.is_ascii_hexdigit()));
    text.and_then(|text| usize::from_str_radix(text, 16).ok())
        .filter(|length| *length <= MAX_PACKET)
        .ok_or(PackError::Format("it is not in packets"))
}

/// Type and size of an object, and the length of its header; `None` when more bytes are needed.
fn object_head(bytes: &[u8]) -> Result<Option<(u8, u64, usize)>, PackError> {
    let Some(first) = bytes.first() else { return Ok(None) };
    let kind = (first >> 4) & 7;
    let mut size = u64::from(first & 15);
    let (mut at, mut shift, mut byte) = (1, 4, *first);
    while byte & 0x80 != 0 {
        let Some(next) = bytes.get(at) else { return Ok(None) };
        if shift > 57 {
            return Err(PackError::Format("an object has no size"));
        }
        byte = *next;
        size |= u64::from(byte & 0x7f) << shift;
        (at, shift) = (at + 1, shift + 7);
    }
    match kind {
        1..=4 => {}
        OFS_DELTA => loop {
            let Some(next) = bytes.get(at) else { return Ok(None) };
            at += 1;
            if next & 0x80 == 0 {
                break;
            }
            if at > 32 {
                return Err(PackError::Format("a delta has no base"));
            }
        },
        REF_DELTA => {
            at += SHA1;
            if bytes.len() < at {
                return Ok(None);
            }
        }
        _ => return Err(PackError::Format("an object has an unknown type")),
    }
    Ok(Some((kind, size, at)))
}

/// The size of the object that a delta makes, from the beginning of the delta.
fn delta_result(head: &[u8]) -> Result<u64, PackError> {
    let mut at = 0;
    let mut number = || {
        let (mut value, mut shift) = (0_u64, 0);
        loop {
            let byte = *head.get(at).ok_or(PackError::Format("a delta has no sizes"))?;
            if shift > 57 {
                return Err(PackError::Format("a delta has no sizes"));
            }
            value |= u64::from(byte & 0x7f) << shift;
            (at, shift) = (at + 1, shift + 7);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
    };
    number()?;
    number()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use flate2::Compression;
    use flate2::write::ZlibEncoder;
    use proptest::prelude::*;

    use super::*;

    const LIMITS: PackLimits = PackLimits { object: 1 << 20, total: 4 << 20 };

    fn zlib(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn head(kind: u8, mut size: u64) -> Vec<u8> {
        let mut head = vec![(kind << 4) | (size & 15) as u8];
        size >>= 4;
        while size > 0 {
            *head.last_mut().unwrap() |= 0x80;
            head.push((size & 0x7f) as u8);
            size >>= 7;
        }
        head
    }

    fn number(mut value: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        loop {
            let more = value > 0x7f;
            bytes.push((value & 0x7f) as u8 | if more { 0x80 } else { 0 });
            value >>= 7;
            if !more {
                return bytes;
            }
        }
    }

    fn pack(objects: &[Vec<u8>]) -> Vec<u8> {
        let count = u32::try_from(objects.len()).unwrap().to_be_bytes();
        let mut pack = [b"PACK\0\0\0\x02".as_slice(), &count].concat();
        pack.extend(objects.concat());
        pack.extend([0; 20]);
        pack
    }

    fn packets(pack: &[u8]) -> Vec<u8> {
        let mut out = b"0008NAK\n".to_vec();
        for piece in pack.chunks(1000) {
            out.extend(format!("{:04x}\x01", piece.len() + 5).bytes());
            out.extend(piece);
        }
        out.extend(b"0009\x02done0000");
        out
    }

    /// What it says of an answer that comes in pieces of any size.
    fn watch(answer: &[u8]) -> Result<(), PackError> {
        let results = [1, 7, 1000, usize::MAX].map(|size| {
            let mut guard = PackGuard::new(LIMITS);
            answer.chunks(size.min(answer.len().max(1))).try_for_each(|piece| guard.feed(piece))
        });
        assert!(results.iter().all(|result| *result == results[0]), "{results:?}");
        results[0]
    }

    fn blob(bytes: &[u8]) -> Vec<u8> {
        [head(3, bytes.len() as u64), zlib(bytes)].concat()
    }

    fn delta(size: u64) -> Vec<u8> {
        let delta = [number(100), number(size), vec![1, b'x']].concat();
        [head(REF_DELTA, delta.len() as u64), vec![0; 20], zlib(&delta)].concat()
    }

    #[test]
    fn packs_within_the_limits() {
        let good = pack(&[blob(b"hello"), blob(&vec![0; 1 << 20]), delta(1 << 20), blob(b"")]);
        assert_eq!(watch(&good), Ok(()));
        assert_eq!(watch(&packets(&good)), Ok(()));
        assert_eq!(watch(&packets(&pack(&[]))), Ok(()));
        assert_eq!(watch(b"0032ERR upload-pack: not our ref 0123456789012345"), Ok(()));
    }

    #[test]
    fn bombs() {
        let huge = 10 << 30;
        let zeros = vec![0; 1 << 20];
        // It says so itself.
        let stream = pack(&[[head(3, huge), zlib(&zeros)].concat()]);
        assert_eq!(watch(&packets(&stream)), Err(PackError::Object(huge)));
        assert_eq!(watch(&stream), Err(PackError::Object(huge)));
        // It lies.
        let lies = pack(&[[head(3, 10), zlib(&zeros)].concat()]);
        assert!(matches!(watch(&packets(&lies)), Err(PackError::Format(_))));
        // A few bytes that stand for many.
        assert_eq!(watch(&pack(&[blob(b"x"), delta(huge)])), Err(PackError::Object(huge)));
        // Many of them.
        let many = pack(&vec![blob(&zeros); 5]);
        assert_eq!(watch(&packets(&many)), Err(PackError::Total(5 << 20)));
    }

    #[test]
    fn what_is_no_pack() {
        for bad in [
            &b"<html>"[..],
            b"0009\x01JUNK000d\x01JUNKJUNK",
            &pack(&[vec![0x00, 1, 2]]),
            &pack(&[[head(3, 5), vec![0xff; 30]].concat()]),
            &pack(&[vec![0xff; 30]]),
            &pack(&[[head(REF_DELTA, 1), vec![0; 20], zlib(&[0x80])].concat()]),
        ] {
            assert!(matches!(watch(bad), Err(PackError::Format(_))), "{bad:?}");
        }
    }

    #[test]
    fn what_git_itself_makes() {
        let dir = tempfile::tempdir().unwrap();
        let git = |args: &[&str]| {
            let mut command = Command::new("git");
            command.current_dir(dir.path()).args(args).env("GIT_CONFIG_GLOBAL", "/dev/null");
            command.args([] as [&str; 0]).stdin(Stdio::null());
            let output = command.output().unwrap();
            assert!(output.status.success(), "git {args:?}");
            output.stdout
        };
        git(&["init", "-q"]);
        let mut text = String::new();
        for n in 0..3000 {
            text.push_str(&format!("line {n}\n"));
            if n % 1000 == 0 {
                std::fs::write(dir.path().join("file"), &text).unwrap();
                git(&["add", "."]);
                git(&["-c", "user.name=x", "-c", "user.email=x@y", "commit", "-qm", "x"]);
            }
        }
        let pack = git(&["pack-objects", "--stdout", "--all", "--delta-base-offset", "-q"]);
        assert_eq!(watch(&packets(&pack)), Ok(()));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = watch(&bytes);
            let _ = watch(&pack(&[bytes]));
        }
    }
}
