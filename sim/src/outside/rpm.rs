//! Packages as files: RPMs of version 4 without any files in them, with valid digests. Their layout
//! is that of docs/manual/format_v4.md of rpm.

use rpmfarm_core::{Evr, Nevra, Sha256};

/// A package that a build makes, or that a repository has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rpm {
    pub(crate) nevra: Nevra,
    /// File name of the source package; empty for a source package.
    pub(crate) source_rpm: String,
    /// What it requires.
    pub(crate) requires: Vec<String>,
    /// `ExclusiveArch` of a source package; empty for all architectures.
    pub(crate) exclusive: Vec<String>,
    /// The build host; a different one gives the same content another digest.
    pub(crate) host: String,
    /// Whether its file is undamaged.
    pub(crate) whole: bool,
}

impl Default for Rpm {
    fn default() -> Self {
        Self {
            nevra: Nevra::new("none", Evr::new(0, "0", "0"), "noarch"),
            source_rpm: String::new(),
            requires: Vec::new(),
            exclusive: Vec::new(),
            host: "sim".into(),
            whole: true,
        }
    }
}

/// The payload: `07070100…` with the name that ends an archive, and nothing else.
fn payload() -> Vec<u8> {
    const NAME: &[u8] = b"TRAILER!!!\0";
    let mut bytes = b"070701".to_vec();
    for field in [0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, NAME.len(), 0] {
        bytes.extend_from_slice(format!("{field:08X}").as_bytes());
    }
    bytes.extend_from_slice(NAME);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

impl Rpm {
    /// The bytes of the file.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let is_source = self.source_rpm.is_empty();
        let mut payload = payload();
        let main = self.header(is_source, &Sha256::compute(&payload).hex());
        let mut bytes = vec![0; 96];
        bytes[..6].copy_from_slice(&[0xed, 0xab, 0xee, 0xdb, 3, 0]);
        bytes[7] = u8::from(is_source);
        bytes[9] = 1;
        let name = self.nevra.to_string();
        let shown = name.as_bytes();
        let length = shown.len().min(65);
        bytes[10..10 + length].copy_from_slice(&shown[..length]);
        (bytes[77], bytes[79]) = (1, 5);
        let size = u32::try_from(main.len() + payload.len()).unwrap_or(u32::MAX);
        let mut signature = HeaderWriter::new(62);
        signature.add_text(273, &Sha256::compute(&main).hex());
        signature.add_numbers(1000, &[size]);
        bytes.extend(signature.bytes());
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes.extend(main);
        if !self.whole
            && let Some(first) = payload.get_mut(20)
        {
            *first ^= 1;
        }
        bytes.extend(payload);
        bytes
    }

    fn header(&self, is_source: bool, payload: &str) -> Vec<u8> {
        let Nevra { name, evr, arch } = &self.nevra;
        let mut header = HeaderWriter::new(63);
        header.add_text(1000, name);
        header.add_text(1001, &evr.version);
        header.add_text(1002, &evr.release);
        header.add_entry(1004, 9, 1, b"A package\0");
        header.add_entry(1005, 9, 1, b"A package.\0");
        header.add_numbers(1006, &[1_600_000_000]);
        header.add_text(1007, &self.host);
        header.add_numbers(1009, &[0]);
        header.add_text(1014, "MIT");
        header.add_text(1021, "linux");
        header.add_text(1022, if is_source { "x86_64" } else { arch.as_str() });
        if !is_source {
            header.add_text(1044, &self.source_rpm);
            header.add_texts(1047, std::slice::from_ref(name));
        }
        if !self.requires.is_empty() {
            let is_rpms = |one: &String| one.starts_with("rpmlib(");
            let flags = |one| if is_rpms(one) { 0x0100_000a } else { 0 };
            let version = |one| if is_rpms(one) { "4.15.0-1".to_owned() } else { String::new() };
            let flags: Vec<u32> = self.requires.iter().map(flags).collect();
            let versions: Vec<String> = self.requires.iter().map(version).collect();
            header.add_numbers(1048, &flags);
            header.add_texts(1049, &self.requires);
            header.add_texts(1050, &versions);
        }
        if !self.exclusive.is_empty() {
            header.add_texts(1061, &self.exclusive);
        }
        header.add_text(1064, "4.16.1.3");
        if is_source {
            header.add_numbers(1106, &[1]);
        } else {
            // EQUAL.
            header.add_numbers(1112, &[8]);
            header.add_texts(1113, &[format!("{}-{}", evr.version, evr.release)]);
        }
        header.add_text(1124, "cpio");
        header.add_texts(5092, &[payload.to_owned()]);
        header.add_numbers(5093, &[8]);
        header.bytes()
    }
}

/// A header under construction: an index of tags, their data, and the region that holds both.
struct HeaderWriter {
    region: u32,
    index: Vec<[u32; 4]>,
    data: Vec<u8>,
}

impl HeaderWriter {
    const fn new(region: u32) -> Self {
        Self { region, index: Vec::new(), data: Vec::new() }
    }

    fn add_entry(&mut self, tag: u32, kind: u32, count: usize, data: &[u8]) {
        let number = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        self.index.push([tag, kind, number(self.data.len()), number(count)]);
        self.data.extend_from_slice(data);
    }

    fn add_text(&mut self, tag: u32, text: &str) {
        self.add_entry(tag, 6, 1, format!("{text}\0").as_bytes());
    }

    fn add_texts(&mut self, tag: u32, texts: &[String]) {
        let data: String = texts.iter().flat_map(|text| [text.as_str(), "\0"]).collect();
        self.add_entry(tag, 8, texts.len(), data.as_bytes());
    }

    fn add_numbers(&mut self, tag: u32, words: &[u32]) {
        self.data.resize(self.data.len().next_multiple_of(4), 0);
        let data: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        self.add_entry(tag, 4, words.len(), &data);
    }

    fn bytes(self) -> Vec<u8> {
        const BINARY: u32 = 7;
        let Self { region, index, mut data } = self;
        let number = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        let entries = number(index.len() + 1);
        let first = [region, BINARY, number(data.len()), 16];
        for word in [region, BINARY, (entries * 16).wrapping_neg(), 16] {
            data.extend_from_slice(&word.to_be_bytes());
        }
        let mut bytes = vec![0x8e, 0xad, 0xe8, 1, 0, 0, 0, 0];
        bytes.extend_from_slice(&entries.to_be_bytes());
        bytes.extend_from_slice(&number(data.len()).to_be_bytes());
        for word in std::iter::once(first).chain(index).flatten() {
            bytes.extend_from_slice(&word.to_be_bytes());
        }
        bytes.extend(data);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What these files are for is that the coordinator's own code reads them.
    #[test]
    fn the_farm_reads_them() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("a.rpm");
        let evr = Evr::new(0, "1", "1");
        let source = Rpm {
            nevra: Nevra::new("p0", evr.clone(), "src"),
            requires: vec!["p1".into(), "rpmlib(DynamicBuildRequires)".into()],
            exclusive: vec!["x86_64".into()],
            ..Rpm::default()
        };
        let nevra = Nevra::new("p0", evr, "x86_64");
        let binary = Rpm { nevra, source_rpm: "p0-1-1.src.rpm".into(), ..Rpm::default() };
        for rpm in [source, binary] {
            std::fs::write(&path, rpm.bytes()).expect("it is written");
            let inspected = rpmfarm_rpmfile::inspect(&path).expect("it is a package");
            assert_eq!(inspected.nevra, rpm.nevra);
            assert_eq!(inspected.source_rpm.unwrap_or_default(), rpm.source_rpm);
            rpmfarm_rpmfile::check_contents(&path).expect("its archive is right");
            let broken = Rpm { whole: false, ..rpm };
            std::fs::write(&path, broken.bytes()).expect("it is written");
            assert!(rpmfarm_rpmfile::inspect(&path).is_err());
            assert!(!rpmfarm_rpmfile::is_intact(&path));
        }
    }
}
