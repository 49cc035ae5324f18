//! The form of a fetch's answer, as far as sizes need it: lengths of packets, heads of objects, and
//! what a delta makes (`gitprotocol-pack(5)`, `gitformat-pack(5)`).
//!
//! Owns how bytes are read. It must not know what is allowed: that is the guard's.

use super::guard::PackError;

/// A packet of the protocol is at most so long.
const MAX_PACKET: usize = 65_520;

/// As much of a delta as tells its sizes.
pub(super) const DELTA_HEAD: usize = 24;

pub(super) const OFS_DELTA: u8 = 6;
pub(super) const REF_DELTA: u8 = 7;
const SHA1: usize = 20;

/// The length of a packet with its head, from the four bytes of that.
pub(super) fn packet_length(head: &[u8]) -> Result<usize, PackError> {
    let text = std::str::from_utf8(head).ok().filter(|t| t.bytes().all(|b| b.is_ascii_hexdigit()));
    text.and_then(|text| usize::from_str_radix(text, 16).ok())
        .filter(|length| *length <= MAX_PACKET)
        .ok_or(PackError::Format("it is not in packets"))
}

/// Type and size of an object, and how long its head is; none when more bytes are needed.
pub(super) fn object_head(bytes: &[u8]) -> Result<Option<(u8, u64, usize)>, PackError> {
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
        _ => return Err(PackError::Format("an object is of no known type")),
    }
    Ok(Some((kind, size, at)))
}

/// The size of what a delta makes, from its beginning.
pub(super) fn delta_result(head: &[u8]) -> Result<u64, PackError> {
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
