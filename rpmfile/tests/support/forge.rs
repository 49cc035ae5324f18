//! Packages that no rpmbuild would make: any header, any archive.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use cpio::newc::Builder;
use rpm::{Header, HeaderEntry, IndexData, IndexSignatureTag, IndexTag, PackageMetadata};
use rpmfarm_core::Sha256;

/// One file of the header.
#[derive(Debug, Clone)]
pub struct File {
    pub path: String,
    pub mode: u16,
    pub size: u32,
    pub link: String,
    pub inode: u32,
    /// SHA-256 in hex.
    pub digest: String,
}

impl File {
    pub fn regular(path: &str, content: &[u8]) -> Self {
        let size = content.len() as u32;
        let digest = Sha256::compute(content).hex();
        Self { path: path.into(), mode: 0o100_644, size, link: String::new(), inode: 0, digest }
    }

    pub fn symlink(path: &str, link: &str) -> Self {
        let digest = String::new();
        Self { mode: 0o120_777, link: link.into(), digest, ..Self::regular(path, link.as_bytes()) }
    }

    pub fn directory(path: &str) -> Self {
        Self { mode: 0o040_755, digest: String::new(), ..Self::regular(path, b"") }
    }
}

/// A cpio archive of names, modes and contents.
pub fn archive(entries: &[(&str, u32, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, mode, content) in entries {
        let builder = Builder::new(name).mode(*mode).nlink(1);
        let mut writer = builder.write(&mut bytes, content.len() as u32);
        writer.write_all(content).unwrap();
        writer.finish().unwrap();
    }
    cpio::newc::trailer(&mut bytes).unwrap();
    bytes
}

/// An archive with the given files, with the paths as names.
pub fn honest(files: &[(File, &[u8])]) -> Vec<u8> {
    let names: Vec<String> = files.iter().map(|(file, _)| format!(".{}", file.path)).collect();
    let entries: Vec<_> = files
        .iter()
        .zip(&names)
        .map(|((file, content), name)| (name.as_str(), u32::from(file.mode), *content))
        .collect();
    archive(&entries)
}

/// Writes a package with these files in its header and this payload, its digests in order.
pub fn package(dir: &Path, files: &[File], payload: &[u8], compressor: Option<&str>) -> PathBuf {
    let text =
        |tag: IndexTag, text: &str| HeaderEntry::new(tag.into(), IndexData::StringTag(text.into()));
    let strings = |tag: IndexTag, list: Vec<String>| {
        HeaderEntry::new(tag.into(), IndexData::StringArray(list))
    };
    let words =
        |tag: IndexTag, list: Vec<u32>| HeaderEntry::new(tag.into(), IndexData::Int32(list));
    let all = |field: fn(&File) -> u32| files.iter().map(field).collect::<Vec<_>>();
    let split = |file: &File| {
        let at = file.path.rfind('/').map_or(0, |at| at + 1);
        (file.path[..at].to_owned(), file.path[at..].to_owned())
    };
    let mut entries = vec![
        text(IndexTag::RPMTAG_NAME, "forged"),
        text(IndexTag::RPMTAG_VERSION, "1"),
        text(IndexTag::RPMTAG_RELEASE, "1"),
        text(IndexTag::RPMTAG_ARCH, "noarch"),
        text(IndexTag::RPMTAG_SOURCERPM, "forged-1-1.src.rpm"),
        text(IndexTag::RPMTAG_PAYLOADFORMAT, "cpio"),
        strings(IndexTag::RPMTAG_PAYLOADSHA256, vec![Sha256::compute(payload).hex()]),
        words(IndexTag::RPMTAG_PAYLOADSHA256ALGO, vec![8]),
    ];
    if let Some(compressor) = compressor {
        entries.push(text(IndexTag::RPMTAG_PAYLOADCOMPRESSOR, compressor));
    }
    if !files.is_empty() {
        entries.extend([
            strings(IndexTag::RPMTAG_BASENAMES, files.iter().map(|f| split(f).1).collect()),
            strings(IndexTag::RPMTAG_DIRNAMES, files.iter().map(|f| split(f).0).collect()),
            words(IndexTag::RPMTAG_DIRINDEXES, (0..files.len() as u32).collect()),
            words(IndexTag::RPMTAG_FILESIZES, all(|file| file.size)),
            words(IndexTag::RPMTAG_FILEMTIMES, all(|_| 1_700_000_000)),
            words(IndexTag::RPMTAG_FILEFLAGS, all(|_| 0)),
            words(IndexTag::RPMTAG_FILEINODES, all(|file| file.inode)),
            words(
                IndexTag::RPMTAG_FILEDEVICES,
                (0..files.len() as u32)
                    .map(|n| if files[n as usize].inode == 0 { n + 1 } else { 0 })
                    .collect(),
            ),
            strings(IndexTag::RPMTAG_FILEDIGESTS, files.iter().map(|f| f.digest.clone()).collect()),
            words(IndexTag::RPMTAG_FILEDIGESTALGO, vec![8]),
            strings(IndexTag::RPMTAG_FILELINKTOS, files.iter().map(|f| f.link.clone()).collect()),
            HeaderEntry::new(
                IndexTag::RPMTAG_FILEMODES.into(),
                IndexData::Int16(files.iter().map(|file| file.mode).collect()),
            ),
        ]);
    }
    write(dir, entries, payload)
}

/// Writes a package without files: its name, version, release and architecture, and more tags.
pub fn called(dir: &Path, parts: [&str; 4], more: &[(IndexTag, &str)]) -> PathBuf {
    let tags = [
        IndexTag::RPMTAG_NAME,
        IndexTag::RPMTAG_VERSION,
        IndexTag::RPMTAG_RELEASE,
        IndexTag::RPMTAG_ARCH,
    ];
    let payload = archive(&[]);
    let digest = Sha256::compute(&payload).hex();
    let source = (IndexTag::RPMTAG_SOURCERPM, "forged-1-1.src.rpm");
    let texts = tags.into_iter().zip(parts).chain([source]).chain(more.iter().copied());
    let mut entries: Vec<HeaderEntry> = texts
        .map(|(tag, text)| HeaderEntry::new(tag.into(), IndexData::StringTag(text.into())))
        .collect();
    entries.extend([
        HeaderEntry::new(
            IndexTag::RPMTAG_PAYLOADSHA256.into(),
            IndexData::StringArray(vec![digest]),
        ),
        HeaderEntry::new(IndexTag::RPMTAG_PAYLOADSHA256ALGO.into(), IndexData::Int32(vec![8])),
    ]);
    write(dir, entries, &payload)
}

fn write(dir: &Path, entries: Vec<HeaderEntry>, payload: &[u8]) -> PathBuf {
    let path = dir.join("forged.rpm");
    let lead = {
        let mut lead = [0; 96];
        lead[..5].copy_from_slice(&[0xed, 0xab, 0xee, 0xdb, 3]);
        lead
    };
    let empty = [0x8e, 0xad, 0xe8, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let start = [lead.as_slice(), &empty, &empty].concat();
    let mut metadata = PackageMetadata::parse(&mut start.as_slice()).unwrap();
    metadata.header = Header::from_entries(entries, IndexTag::RPMTAG_HEADERIMMUTABLE);
    let header = metadata.header_bytes().unwrap();
    let digest = IndexData::StringTag(Sha256::compute(&header).hex());
    let size = IndexData::Int32(vec![(header.len() + payload.len()) as u32]);
    metadata.signature = Header::from_entries(
        [
            HeaderEntry::new(IndexSignatureTag::RPMSIGTAG_SHA256.into(), digest),
            HeaderEntry::new(IndexSignatureTag::RPMSIGTAG_SIZE.into(), size),
        ],
        IndexSignatureTag::HEADER_SIGNATURES,
    );
    let mut bytes = Vec::new();
    metadata.write(&mut bytes).unwrap();
    bytes.extend_from_slice(payload);
    fs::write(&path, bytes).unwrap();
    path
}
