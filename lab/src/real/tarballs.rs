//! Where the files are that dist-git names by digest: in a directory that the person has filled, or
//! in Debian's pool, which holds most upstream tarballs byte for byte.
//!
//! Owns the search. A file counts when its digest is the one that dist-git says; what it is called,
//! and who says so, proves nothing. Must not know what the files are for.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rpmfarm_core::digest::{Checksum, DigestKind};
use rpmfarm_sources::distgit::LookasideFile;

use crate::apt::{Apt, AptError};
use crate::cache::{self, Cache};

/// The releases whose pool is searched, beside the lab's own.
const SUITES: [&str; 4] = ["bookworm", "bullseye", "trixie", "sid"];

/// Finds files by digest.
#[derive(Debug)]
pub struct Tarballs {
    cache: Cache,
    kept: PathBuf,
    /// Files that the person has, by name and by digest (where that is their name).
    given: BTreeMap<String, PathBuf>,
    pool: Option<Pool>,
    /// Names of files that were not found, so that they are not requested again in this run.
    lost: BTreeSet<String>,
}

#[derive(Debug)]
struct Pool {
    apt: Apt,
    index: Index,
}

impl Tarballs {
    /// Files of `given`, of the cache, and of Debian's pool.
    ///
    /// # Errors
    /// When the cache or the directory cannot be read.
    pub fn new(cache: Cache, given: Option<&Path>) -> anyhow::Result<Self> {
        let kept = cache.directory("sources")?;
        let mut files = BTreeMap::new();
        if let Some(given) = given {
            walk(given, &mut files)?;
        }
        Ok(Self { cache, kept, given: files, pool: None, lost: BTreeSet::new() })
    }

    /// The file that a list names, or `None` when no place has it.
    ///
    /// # Errors
    /// When a file cannot be read, or apt is missing.
    pub fn find(&mut self, file: &LookasideFile) -> anyhow::Result<Option<PathBuf>> {
        let kept = self.kept.join(&file.checksum.hex);
        if kept.exists() {
            return Ok(Some(kept));
        }
        for name in [&file.checksum.hex, &file.name] {
            let Some(path) = self.given.get(name) else { continue };
            if digest(file.checksum.kind, path)? == file.checksum.hex {
                return Ok(Some(path.clone()));
            }
        }
        if self.lost.contains(&file.checksum.hex) {
            return Ok(None);
        }
        for place in self.pool()?.index.places(file) {
            let Some(pool) = &self.pool else { break };
            let path = match pool.apt.fetch_from(&place.package, &place.version, &place.file) {
                Ok(path) => path,
                Err(AptError::Download(error)) => {
                    // Mirrors lose files of older releases.
                    tracing::info!(file = place.file, %error, "not in the pool any more");
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            if digest(file.checksum.kind, &path)? == file.checksum.hex {
                cache::link_or_copy(&path, &kept)?;
                return Ok(Some(kept));
            }
        }
        self.lost.insert(file.checksum.hex.clone());
        Ok(None)
    }

    fn pool(&mut self) -> anyhow::Result<&Pool> {
        if self.pool.is_none() {
            let apt = Apt::open_sources(&self.cache, &SUITES)?;
            let mut index = Index::default();
            for list in apt.source_indexes()? {
                index.add(&fs::read_to_string(list)?);
            }
            self.pool = Some(Pool { apt, index });
        }
        self.pool.as_ref().ok_or_else(|| anyhow::anyhow!("no pool"))
    }
}

fn walk(directory: &Path, files: &mut BTreeMap<String, PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            walk(&entry.path(), files)?;
        } else if kind.is_file() {
            files.insert(entry.file_name().to_string_lossy().into_owned(), entry.path());
        }
    }
    Ok(())
}

/// The file's digest of one kind, in hexadecimal.
fn digest(kind: DigestKind, path: &Path) -> io::Result<String> {
    fn of<D: sha2::Digest + io::Write>(path: &Path) -> io::Result<String> {
        let mut hasher = D::new();
        io::copy(&mut fs::File::open(path)?, &mut hasher)?;
        Ok(hex::encode(hasher.finalize()))
    }
    match kind {
        DigestKind::Md5 => of::<md5::Md5>(path),
        DigestKind::Sha1 => of::<sha1::Sha1>(path),
        DigestKind::Sha256 => of::<sha2::Sha256>(path),
        DigestKind::Sha512 => of::<sha2::Sha512>(path),
    }
}

/// A file of a source package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct TarballSource {
    package: String,
    version: String,
    file: String,
}

/// Debian's lists of source packages, by digest and by upstream version.
#[derive(Debug, Default)]
struct Index {
    by_digest: BTreeMap<String, TarballSource>,
    /// Upstream version → tarballs of it.
    by_version: BTreeMap<String, BTreeSet<TarballSource>>,
}

impl Index {
    /// Adds a list in the form of Debian's `Sources`.
    fn add(&mut self, text: &str) {
        for stanza in text.split("\n\n") {
            let field =
                |name: &str| stanza.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
            let (Some(package), Some(version)) = (field("Package:"), field("Version:")) else {
                continue;
            };
            for line in stanza.lines().filter(|line| line.starts_with(' ')) {
                // ` DIGEST SIZE NAME`, of MD5 below `Files:`, of SHA-256 below `Checksums-Sha256:`.
                let words: Vec<&str> = line.split_whitespace().collect();
                let &[digest, _, file] = words.as_slice() else { continue };
                let known = matches!(digest.len(), 32 | 64);
                if !known || !digest.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                    continue;
                }
                let place = TarballSource {
                    package: package.into(),
                    version: version.into(),
                    file: file.into(),
                };
                if let Some((_, upstream)) = file
                    .split_once(".orig.")
                    .or_else(|| file.split_once(".tar."))
                    .and_then(|(stem, _)| stem.split_once('_'))
                    .filter(|_| !file.ends_with(".asc"))
                {
                    self.by_version.entry(upstream.into()).or_default().insert(place.clone());
                }
                self.by_digest.insert(digest.into(), place);
            }
        }
    }

    /// Where a file may be: the one with its digest; or, when the lists have no digests of that
    /// kind, those of packages with its version and a similar name.
    fn places(&self, file: &LookasideFile) -> Vec<TarballSource> {
        let Checksum { kind, hex } = &file.checksum;
        if matches!(kind, DigestKind::Md5 | DigestKind::Sha256) {
            return self.by_digest.get(hex).cloned().into_iter().collect();
        }
        let (stem, end) = split(&file.name);
        let Some((name, version)) = stem.rsplit_once(['-', '_']) else { return Vec::new() };
        let name = plain(name);
        let version = version.strip_prefix('v').unwrap_or(version);
        let found = self.by_version.get(version).into_iter().flatten();
        let alike = found.filter(|place| {
            split(&place.file).1 == end && {
                let package = plain(&place.package);
                package == name
                    || package == format!("lib{name}")
                    || package == format!("lib{name}perl")
                    || package == format!("python{name}")
                    || name == format!("python{package}")
            }
        });
        alike.cloned().collect()
    }
}

/// A name without the parts that distributions write differently.
fn plain(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

/// The name of a tarball, and its extension: `.tar.gz`, `.tgz`.
fn split(file: &str) -> (&str, &str) {
    let file_end = [".tar.gz", ".tar.xz", ".tar.bz2", ".tgz", ".zip", ".tar.gz.asc", ".tar.xz.asc"];
    let end =
        file_end.iter().copied().filter(|end| file.ends_with(end)).max_by_key(|end| end.len());
    match end {
        Some(end) => (&file[..file.len() - end.len()], if end == ".tgz" { ".tar.gz" } else { end }),
        None => (file, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "Package: libdbi-perl\nBinary: libdbi-perl\nVersion: 1.643-4\nFiles:\n \
        0123456789abcdef0123456789abcdef 100 libdbi-perl_1.643-4.dsc\n \
        1123456789abcdef0123456789abcdef 200 libdbi-perl_1.643.orig.tar.gz\n\n\
        Package: dumb-init\nVersion: 1.2.5-2\nChecksums-Sha256:\n \
        aa23456789abcdef0123456789abcdefaa23456789abcdef0123456789abcdef 9 dumb-init_1.2.5.orig.tar.gz\n\n";

    fn file(name: &str, hex: &str) -> LookasideFile {
        let list = format!("{hex} {name}\n");
        LookasideFile::parse_list("sources", &list).unwrap().remove(0)
    }

    #[test]
    fn what_has_the_digest_is_found_whatever_its_name() {
        let mut index = Index::default();
        index.add(LIST);
        let places = index.places(&file("odd.tar.gz", "1123456789abcdef0123456789abcdef"));
        assert_eq!(places.len(), 1);
        assert_eq!(
            (places[0].package.as_str(), places[0].version.as_str()),
            ("libdbi-perl", "1.643-4")
        );
        assert_eq!(index.places(&file("x.tar.gz", &"0".repeat(32))), []);
    }

    #[test]
    fn other_digests_are_tried_by_name_and_version() {
        let mut index = Index::default();
        index.add(LIST);
        let sha512 = "ab".repeat(64);
        let found = |name: &str| index.places(&file(name, &sha512)).len();
        assert_eq!(found("DBI-1.643.tar.gz"), 1);
        assert_eq!(found("dumb-init-1.2.5.tar.gz"), 1);
        assert_eq!(found("dumb-init-v1.2.5.tar.gz"), 1);
        assert_eq!(found("dumb-init-1.2.5.tar.xz"), 0);
        assert_eq!(found("DBI-1.642.tar.gz"), 0);
        assert_eq!(found("other-1.643.tar.gz"), 0);
    }

    #[test]
    fn a_file_of_another_digest_is_not_taken() {
        let directory = tempfile::tempdir().unwrap();
        let given = directory.path().join("given");
        fs::create_dir(&given).unwrap();
        fs::write(given.join("a-1.tar.gz"), "right").unwrap();
        let right = digest(DigestKind::Sha256, &given.join("a-1.tar.gz")).unwrap();
        let cache = Cache::open(Some(&directory.path().join("cache"))).unwrap();
        let mut tarballs = Tarballs::new(cache, Some(&given)).unwrap();
        let wrong = "ab".repeat(32);
        tarballs.lost.insert(wrong.clone());
        assert!(tarballs.find(&file("a-1.tar.gz", &right)).unwrap().is_some());
        assert_eq!(tarballs.find(&file("a-1.tar.gz", &wrong)).unwrap(), None);
    }
}
