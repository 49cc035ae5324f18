//! Putting the documents of a repository together from the fragments of its packages.
//!
//! Packages are taken in runs of about 64. Where a run ends depends on the package that ends it
//! alone, so that one more package changes one run and leaves all others as they were. Each run
//! is a member of the compressed document (see [`crate::compression`]), named by the digests of
//! its packages; a member that the previous state of the repository has is copied from there.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use rpmfarm_core::Sha256;
use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use crate::error::io_at;
use crate::{Compression, Document, Fragments, RepodataError, RepomdRecord, Result};

/// One member of a compressed document: its position, and the run of packages in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Identifies the run: computed from the digests of its packages.
    pub run: Sha256,
    /// Where it begins in the file.
    pub offset: u64,
    /// Its compressed size in bytes.
    pub size: u64,
}

/// A written document: its record in repomd.xml, and its members.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssembledDocument {
    /// Its record in repomd.xml.
    pub record: RepomdRecord,
    /// For the next state of the repository.
    pub members: Vec<Member>,
}

/// The previous state of the repository, from which unchanged members are copied.
#[derive(Debug)]
pub struct PreviousState<'a> {
    /// Its directory `repodata`, with the documents.
    pub dir: &'a Path,
    /// Its documents, as [`assemble`] returned them.
    pub documents: &'a [AssembledDocument],
}

/// The version of the member format; raising it invalidates all earlier members.
const MEMBER_FORMAT: &[u8] = b"rpmfarm member 1\n";

/// Writes the documents of a repository of these packages into the directory `dir`, in the order
/// given, each under its [`RepomdRecord::file_name`]. `fragments` gives the fragments of a package;
/// it is asked only for packages in runs that `previous` does not have.
///
/// The same packages in the same order give the same bytes, with or without `previous`. Nothing
/// is synced; that is left to whoever makes the directory visible.
///
/// # Errors
/// What `fragments` or the disk says; [`RepodataError::Damaged`] when a member of `previous`
/// cannot be read (call again without it). Then the directory may hold a part.
pub fn assemble<E: From<RepodataError>>(
    dir: &Path,
    packages: &[Sha256],
    compression: Compression,
    previous: Option<PreviousState<'_>>,
    mut fragments: impl FnMut(Sha256) -> std::result::Result<Fragments, E>,
) -> std::result::Result<Vec<AssembledDocument>, E> {
    let mut writers = Document::ALL
        .into_iter()
        .map(|document| Writer::create(dir, document, compression, previous.as_ref()))
        .collect::<Result<Vec<_>>>()?;
    for writer in &mut writers {
        writer.plain(&writer.document.header(packages.len()))?;
    }
    for run in runs(packages) {
        let name = run_name(run);
        if writers.iter().all(|writer| writer.can_reuse(name)) {
            for writer in &mut writers {
                writer.reuse(name)?;
            }
        } else {
            let loaded = run
                .iter()
                .map(|digest| fragments(*digest))
                .collect::<std::result::Result<Vec<_>, E>>()?;
            for writer in &mut writers {
                writer.pack(name, &loaded)?;
            }
        }
    }
    let mut assembled = Vec::new();
    for mut writer in writers {
        writer.plain(writer.document.footer())?;
        assembled.push(writer.finish(dir)?);
    }
    Ok(assembled)
}

/// Splits the packages into runs: a run ends after a package whose digest is one of 64.
fn runs(packages: &[Sha256]) -> impl Iterator<Item = &[Sha256]> {
    packages.split_inclusive(|digest| digest.as_bytes()[0] < 4)
}

fn run_name(run: &[Sha256]) -> Sha256 {
    let mut hasher = sha2::Sha256::new_with_prefix(MEMBER_FORMAT);
    for digest in run {
        hasher.update(digest.as_bytes());
    }
    Sha256::from_bytes(hasher.finalize().into())
}

/// A document being written.
struct Writer {
    document: Document,
    compression: Compression,
    path: PathBuf,
    packed: CountingWriter<BufWriter<File>>,
    open: CountingWriter<io::Sink>,
    members: Vec<Member>,
    previous: Option<ReusableDocument>,
}

/// The previous file of the same document.
struct ReusableDocument {
    path: PathBuf,
    file: File,
    members: HashMap<Sha256, Member>,
}

impl Writer {
    fn create(
        dir: &Path,
        document: Document,
        compression: Compression,
        previous: Option<&PreviousState<'_>>,
    ) -> Result<Self> {
        let path = dir.join(format!(".{}.partial", document.as_str()));
        let file = File::create(&path).map_err(io_at(&path))?;
        Ok(Self {
            document,
            compression,
            path,
            packed: CountingWriter::new(BufWriter::new(file)),
            open: CountingWriter::new(io::sink()),
            members: Vec::new(),
            previous: previous.and_then(|p| ReusableDocument::open(p, document, compression)),
        })
    }

    /// Text around the packages, as a member of its own.
    fn plain(&mut self, text: &str) -> Result<()> {
        self.member(&[text.as_bytes()])
    }

    /// The packages of one run, as a member.
    fn pack(&mut self, run: Sha256, packages: &[Fragments]) -> Result<()> {
        let offset = self.packed.count;
        let texts: Vec<&[u8]> = packages.iter().map(|f| f.get(self.document)).collect();
        self.member(&texts)?;
        self.members.push(Member { run, offset, size: self.packed.count - offset });
        Ok(())
    }

    fn member(&mut self, texts: &[&[u8]]) -> Result<()> {
        let open = &mut self.open;
        self.compression
            .member(&mut self.packed, |out| {
                texts.iter().try_for_each(|text| {
                    open.write_all(text)?;
                    out.write_all(text)
                })
            })
            .map_err(io_at(&self.path))
    }

    fn can_reuse(&self, run: Sha256) -> bool {
        self.previous.as_ref().is_some_and(|previous| previous.members.contains_key(&run))
    }

    /// Copies a member, and decompresses it on the way for the checksum of the content.
    fn reuse(&mut self, run: Sha256) -> Result<()> {
        let previous = self.previous.as_mut().expect("asked before with can_reuse");
        let member = &previous.members[&run];
        let damaged = |source| RepodataError::Damaged {
            path: previous.path.clone(),
            offset: member.offset,
            source,
        };
        let offset = self.packed.count;
        previous.file.seek(SeekFrom::Start(member.offset)).map_err(damaged)?;
        let packed = Tee { from: (&previous.file).take(member.size), to: &mut self.packed };
        let mut content = self.compression.open(BufReader::new(packed)).map_err(damaged)?;
        io::copy(&mut content, &mut self.open).map_err(damaged)?;
        drop(content);
        let size = self.packed.count - offset;
        if size != member.size {
            return Err(damaged(io::ErrorKind::UnexpectedEof.into()));
        }
        self.members.push(Member { run, offset, size });
        Ok(())
    }

    fn finish(self, dir: &Path) -> Result<AssembledDocument> {
        let (size, digest, mut file) = self.packed.finish();
        file.flush().map_err(io_at(&self.path))?;
        let (open_size, open_digest, _) = self.open.finish();
        let record = RepomdRecord {
            document: self.document,
            compression: self.compression,
            digest,
            size,
            open_digest,
            open_size,
        };
        let path = dir.join(record.file_name());
        fs::rename(&self.path, &path).map_err(io_at(&path))?;
        Ok(AssembledDocument { record, members: self.members })
    }
}

impl ReusableDocument {
    /// `None` when the previous state has another compression or its file is gone: it is only a
    /// cache.
    fn open(
        previous: &PreviousState<'_>,
        document: Document,
        compression: Compression,
    ) -> Option<Self> {
        let assembled = previous.documents.iter().find(|assembled| {
            assembled.record.document == document && assembled.record.compression == compression
        })?;
        let path = previous.dir.join(assembled.record.file_name());
        let file = File::open(&path).ok()?;
        let members = assembled.members.iter().map(|m| (m.run, m.clone())).collect();
        Some(Self { path, file, members })
    }
}

/// Counts and hashes all bytes that are written through it.
struct CountingWriter<W> {
    inner: W,
    count: u64,
    hasher: sha2::Sha256,
}

impl<W: Write> CountingWriter<W> {
    fn new(inner: W) -> Self {
        Self { inner, count: 0, hasher: sha2::Sha256::new() }
    }

    fn finish(self) -> (u64, Sha256, W) {
        (self.count, Sha256::from_bytes(self.hasher.finalize().into()), self.inner)
    }
}

impl<W: Write> Write for CountingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.count += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Writes a copy of all bytes that are read through it.
struct Tee<R, W> {
    from: R,
    to: W,
}

impl<R: Read, W: Write> Read for Tee<R, W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(buffer)?;
        self.to.write_all(&buffer[..read])?;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    type Packages = BTreeSet<u16>;

    fn digest(package: u16) -> Sha256 {
        Sha256::compute(&package.to_le_bytes())
    }

    fn fragments(digest: Sha256) -> Fragments {
        Fragments::of_texts(&format!("<p {digest}/>\n"), &format!("<f {digest}/>\n"), "<o/>\n")
    }

    /// Assembles, and counts the packages whose fragments were asked for.
    fn build(
        dir: &Path,
        packages: &Packages,
        compression: Compression,
        previous: Option<(&Path, &[AssembledDocument])>,
    ) -> Result<(Vec<AssembledDocument>, usize)> {
        fs::create_dir_all(dir).unwrap();
        let order: Vec<_> = packages.iter().map(|package| digest(*package)).collect();
        let previous = previous.map(|(dir, documents)| PreviousState { dir, documents });
        let asked = Cell::new(0);
        let assembled = assemble(dir, &order, compression, previous, |digest| {
            asked.set(asked.get() + 1);
            Ok::<_, RepodataError>(fragments(digest))
        })?;
        Ok((assembled, asked.get()))
    }

    fn content(dir: &Path, record: &RepomdRecord) -> Vec<u8> {
        let packed = fs::read(dir.join(record.file_name())).unwrap();
        assert_eq!((Sha256::compute(&packed), packed.len() as u64), (record.digest, record.size));
        let mut open = Vec::new();
        record.compression.open(packed.as_slice()).unwrap().read_to_end(&mut open).unwrap();
        assert_eq!(
            (Sha256::compute(&open), open.len() as u64),
            (record.open_digest, record.open_size)
        );
        open
    }

    fn compressions() -> impl Strategy<Value = Compression> {
        prop_oneof![Just(Compression::Gzip), Just(Compression::Zstd)]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn the_way_to_a_state_does_not_show_in_it(
            before in prop::collection::btree_set(0..800_u16, 0..400),
            after in prop::collection::btree_set(0..800_u16, 0..400),
            first in compressions(),
            second in compressions(),
        ) {
            let dir = tempfile::tempdir().unwrap();
            let (a, b, c) = (dir.path().join("a"), dir.path().join("b"), dir.path().join("c"));
            let (old, _) = build(&a, &before, first, None).unwrap();
            let (updated, _) = build(&b, &after, second, Some((&a, &old))).unwrap();
            let (fresh, _) = build(&c, &after, second, None).unwrap();
            prop_assert_eq!(&updated, &fresh);
            for assembled in &updated {
                let document = assembled.record.document;
                let mut expected = document.header(after.len()).into_bytes();
                for package in &after {
                    expected.extend_from_slice(fragments(digest(*package)).get(document));
                }
                expected.extend_from_slice(document.footer().as_bytes());
                prop_assert_eq!(content(&b, &assembled.record), expected);
            }
        }
    }

    #[test]
    fn one_more_package_costs_one_run() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        let mut packages: Packages = (0..5000).collect();
        packages.remove(&2500);
        let (old, asked) = build(&a, &packages, Compression::Gzip, None).unwrap();
        assert_eq!(asked, 4999);
        packages.insert(2500);
        let (_, asked) = build(&b, &packages, Compression::Gzip, Some((&a, &old))).unwrap();
        assert!((1..1000).contains(&asked), "{asked} packages were packed again");
    }

    #[test]
    fn damage_in_the_previous_state_is_found() {
        for compression in [Compression::Gzip, Compression::Zstd] {
            let dir = tempfile::tempdir().unwrap();
            let (a, b) = (dir.path().join("a"), dir.path().join("b"));
            let packages: Packages = (0..500).collect();
            let (old, _) = build(&a, &packages, compression, None).unwrap();
            let path = a.join(old[0].record.file_name());
            let mut bytes = fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 4;
            fs::write(&path, &bytes).unwrap();
            let error = build(&b, &packages, compression, Some((&a, &old))).unwrap_err();
            assert!(matches!(error, RepodataError::Damaged { .. }), "{error}");
            fs::write(&path, &bytes[..middle]).unwrap();
            let error = build(&b, &packages, compression, Some((&a, &old))).unwrap_err();
            assert!(matches!(error, RepodataError::Damaged { .. }), "{error}");
        }
    }
}
