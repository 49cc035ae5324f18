//! Mutations of good inputs: changed bytes, parts that are removed, repeated, moved and inserted,
//! extreme numbers, and deeper nesting.

/// Nothing longer is made.
const MAX_INPUT: usize = 16 << 10;

/// Levels in which a piece is put at most.
const LEVELS: usize = 2_000;

/// Xorshift: small, and the same everywhere.
pub(crate) struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        if end == 0 { 0 } else { (self.next() % end as u64) as usize }
    }
}

/// Words that readers know, and numbers at which things overflow.
const WORDS: &[&[u8]] = &[
    b"\n",
    b"\0",
    b" ",
    b"..",
    b"/",
    b"(",
    b") = ",
    b"{",
    b"[",
    b"\"",
    b"refs/heads/",
    b"0000",
    b"ffff",
    b"CVE-",
    b"%changelog",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\x8e\xad\xe8\x01",
    b"\xed\xab\xee\xdb",
    b"\xc3\xa9",
    b"null",
    b"  - ",
    b": ",
    b"&a ",
    b"*a",
    b"!!str ",
    b"(.*)*",
    b"../",
    b"-1",
    b"1e999",
    b"%{",
    b"}",
    b"%{?dist}",
    b"%if ",
    b"%global ",
    b"%autorelease ",
    b"<!--",
    b"-->",
    b"<![CDATA[",
    b"&#40;",
    b"<a b='",
    b"\\u0000",
    b"\r\n",
    b"\t",
    b" -> ",
    b"\xe2\x80\xae",
];

/// Opening and closing delimiters.
const PAIRS: &[(&[u8], &[u8])] = &[
    (b"(", b")"),
    (b"[", b"]"),
    (b"{", b"}"),
    (b"{\"a\":", b"}"),
    (b"<a>", b"</a>"),
    (b"%{", b"}"),
    (b"%{?x:", b"}"),
    (b"%if 1\n", b"\n%endif"),
    (b"- ", b""),
    (b"\n", b""),
];

/// Numbers at which things overflow.
const NUMBERS: &[&str] = &[
    "0",
    "-1",
    "127",
    "255",
    "32768",
    "65536",
    "2147483648",
    "4294967295",
    "4294967296",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "99999999999999999999999999",
    "00000000000000000000000001",
    "1e999",
];

const WORDS_32: &[u32] = &[0, 1, 0x7f, 0xff, 0xffff, 0x1_0000, 0x7fff_ffff, 0x8000_0000, u32::MAX];

/// An input: the same of the same seeds and number.
pub(crate) fn mutated(seeds: &[Vec<u8>], number: u64) -> Vec<u8> {
    let seed = 0x9E37_79B9_7F4A_7C15 ^ (number + 1).wrapping_mul(0xD1B5_4A32_D192_ED03);
    let random = &mut Random(seed);
    let mut data = seeds[random.below(seeds.len())].clone();
    for _ in 0..=random.below(6) {
        change(&mut data, seeds, random);
        data.truncate(MAX_INPUT);
    }
    data
}

fn change(data: &mut Vec<u8>, seeds: &[Vec<u8>], random: &mut Random) {
    let at = random.below(data.len() + 1);
    match random.below(14) {
        0 if at < data.len() => data[at] ^= 1 << random.below(8),
        1 if at < data.len() => data[at] = random.next() as u8,
        2 => data.truncate(at),
        3 => {
            let word = WORDS[random.below(WORDS.len())];
            data.splice(at..at, word.iter().copied());
        }
        4 => {
            let end = piece_end(data, at, random);
            data.drain(at..end);
        }
        5 => {
            let piece = data[at..piece_end(data, at, random)].to_vec();
            let to = random.below(data.len() + 1);
            data.splice(to..to, piece);
        }
        6 => {
            // Its beginning, and the end of another.
            let other = &seeds[random.below(seeds.len())];
            data.truncate(at);
            data.extend_from_slice(&other[random.below(other.len())..]);
        }
        7 => {
            let other = &seeds[random.below(seeds.len())];
            let from = random.below(other.len());
            let piece = other[from..piece_end(other, from, random)].to_vec();
            data.splice(at..at, piece);
        }
        8 | 9 => change_number(data, at, random),
        10 if at + 4 <= data.len() => {
            let word = WORDS_32[random.below(WORDS_32.len())];
            let bytes = if random.below(2) == 0 { word.to_be_bytes() } else { word.to_le_bytes() };
            data[at..at + 4].copy_from_slice(&bytes);
        }
        11 => {
            let piece = data[at..piece_end(data, at, random)].to_vec();
            let most = if random.below(8) == 0 { MAX_INPUT } else { 512 };
            let times = random.below(most / piece.len().max(1) + 1);
            data.splice(at..at, piece.repeat(times));
        }
        12 => nest(data, at, random),
        _ => swap_lines(data, random),
    }
}

/// Where a piece ends that begins there: often soon, now and then late.
fn piece_end(data: &[u8], at: usize, random: &mut Random) -> usize {
    let longest = if random.below(4) == 0 { 1024 } else { 32 };
    (at + random.below(longest)).min(data.len())
}

/// The next number as it is written, at one of its ends.
fn change_number(data: &mut Vec<u8>, at: usize, random: &mut Random) {
    let Some(start) = data[at..].iter().position(u8::is_ascii_digit) else { return };
    let start = at + start;
    let length = data[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let number = NUMBERS[random.below(NUMBERS.len())];
    data.splice(start..start + length, number.bytes());
}

/// A piece in brackets in brackets, which may not be closed.
fn nest(data: &mut Vec<u8>, at: usize, random: &mut Random) {
    let (open, close) = PAIRS[random.below(PAIRS.len())];
    let most = if random.below(4) == 0 { LEVELS } else { 80 };
    let levels = random.below(most).min(MAX_INPUT / (open.len() + close.len()));
    let end = piece_end(data, at, random);
    if random.below(4) > 0 {
        data.splice(end..end, close.repeat(levels));
    }
    data.splice(at..at, open.repeat(levels));
}

fn swap_lines(data: &mut Vec<u8>, random: &mut Random) {
    let mut lines: Vec<&[u8]> = data.split_inclusive(|byte| *byte == b'\n').collect();
    if lines.len() > 1 {
        let (one, other) = (random.below(lines.len()), random.below(lines.len()));
        lines.swap(one, other);
        *data = lines.concat();
    }
}
