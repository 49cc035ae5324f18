//! Finds a position in an HTTP/2 stream where a flipped byte damages content, not the protocol.

/// Follows the frames of one direction.
#[derive(Debug)]
pub(super) struct Spoiler {
    /// Bytes before the next header.
    skip: usize,
    header: Vec<u8>,
    /// The position of the byte to flip, in bytes from here.
    at: Option<usize>,
}

/// The length of a client's preface, in bytes.
const PREFACE: usize = 24;
const HEADER: usize = 9;
/// A data frame of this length has a part of a chunk in its middle.
const LARGE: usize = 8 * 1024;

impl Default for Spoiler {
    fn default() -> Self {
        Self { skip: PREFACE, header: Vec::new(), at: None }
    }
}

impl Spoiler {
    /// Passes bytes on. At each large data frame, `wanted` decides whether to damage it.
    pub(super) fn pass(&mut self, bytes: &mut [u8], wanted: impl Fn() -> bool) {
        let mut from = 0;
        while from < bytes.len() {
            let rest = &mut bytes[from..];
            if self.skip > 0 {
                let step = self.skip.min(rest.len());
                if let Some(at) = self.at {
                    if at < step {
                        rest[at] ^= 0x01;
                        self.at = None;
                    } else {
                        self.at = Some(at - step);
                    }
                }
                self.skip -= step;
                from += step;
                continue;
            }
            let step = (HEADER - self.header.len()).min(rest.len());
            self.header.extend_from_slice(&rest[..step]);
            from += step;
            if self.header.len() == HEADER {
                let length = self.header[..3].iter().fold(0, |sum, byte| sum << 8 | *byte as usize);
                let is_data = self.header[3] == 0;
                self.header.clear();
                self.skip = length;
                if is_data && length >= LARGE && wanted() {
                    self.at = Some(length / 2);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, length: usize) -> Vec<u8> {
        let header = [(length >> 16) as u8, (length >> 8) as u8, length as u8, kind, 0, 0, 0, 0, 1];
        [header.as_slice(), &vec![7; length]].concat()
    }

    #[test]
    fn one_byte_of_a_large_frame_of_data_is_flipped() {
        let frames = [frame(4, 9000), frame(0, 100), frame(0, 16_384), frame(0, 16_384)];
        let stream = [vec![1; PREFACE], frames.concat()].concat();
        for step in [1, 7, 4096, stream.len()] {
            let mut spoilt = stream.clone();
            let mut spoiler = Spoiler::default();
            let wanted = std::cell::Cell::new(true);
            for part in spoilt.chunks_mut(step) {
                spoiler.pass(part, || wanted.replace(false));
            }
            let differs: Vec<usize> =
                (0..stream.len()).filter(|at| stream[*at] != spoilt[*at]).collect();
            let third = PREFACE + HEADER * 3 + 9000 + 100;
            assert_eq!(differs, [third + 8192], "in steps of {step}");
        }
    }
}
