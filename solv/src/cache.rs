//! Solver data of external repositories, kept between processes in libsolv's own form: packages in
//! one file, their file lists in another that extends it. Their names are derived from their input,
//! so that all targets and architectures with the same repository share them.
//!
//! Owns the names, the check that a file is intact, that each file appears complete, and its
//! removal. libsolv trusts such a file, so each ends with a cookie, as those of libsolv's own tools
//! do: here a SHA-256 of the file's input, with all versions, and of all of its content. A file
//! with a wrong cookie is never passed to libsolv but made again. It must not know who uses the
//! packages.

use std::fs::{self, File};
use std::io::{self, Read, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rpmfarm_core::{Arch, Sha256};
use sha2::Digest as _;
use tempfile::NamedTempFile;

use crate::ffi;
use crate::{Pool, PoolError, Repository};

/// The form of the files: another number for other content or another cookie.
const FORM: u32 = 1;
/// Bytes of the cookie.
const COOKIE: usize = 32;
/// Files that were not opened for so long are removed. A process that has one open keeps it.
const UNUSED: Duration = Duration::from_secs(3 * 24 * 3600);

/// A directory in which solver data are kept. Several processes may share it.
#[derive(Debug, Clone)]
pub struct SolverCache {
    dir: PathBuf,
}

/// The metadata files of a repository in one state.
#[derive(Debug, Clone)]
pub struct RepositoryFiles {
    /// Digest of its `repomd.xml`, which names the other files with their digests.
    pub digest: Sha256,
    /// `primary.xml`, compressed as its name says.
    pub primary: PathBuf,
    /// `filelists.xml`, if the repository has one.
    pub filelists: Option<PathBuf>,
}

impl SolverCache {
    /// Solver data in this directory, which is made when it is first needed.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// Removes files that were not used for long. A file that cannot be removed is tried again the
    /// next time.
    fn remove_unused(&self, now: SystemTime) {
        let Ok(entries) = fs::read_dir(&self.dir) else { return };
        for entry in entries.filter_map(Result::ok) {
            let used = entry.metadata().and_then(|metadata| metadata.modified());
            let idle = used.ok().and_then(|used| now.duration_since(used).ok());
            if idle.is_some_and(|idle| idle > UNUSED) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

/// The two files of a repository.
#[derive(Debug, Clone, Copy)]
enum Part {
    Packages,
    FileLists,
}

impl Part {
    /// How the file's name ends; libdnf has the same.
    const fn suffix(self) -> &'static str {
        match self {
            Self::Packages => ".solv",
            Self::FileLists => "-filenames.solvx",
        }
    }
}

/// The solver data of one repository.
#[derive(Debug, Clone)]
pub(crate) struct CachedRepository {
    cache: SolverCache,
    about: Repository,
    files: RepositoryFiles,
}

impl CachedRepository {
    pub(crate) fn new(cache: &SolverCache, about: &Repository, files: &RepositoryFiles) -> Self {
        Self { cache: cache.clone(), about: about.clone(), files: files.clone() }
    }

    /// The file of its packages, without excluded ones. Made when there is no intact one; the
    /// second value has the warnings about the packages.
    ///
    /// # Errors
    /// [`PoolError::Cache`] when it cannot be made, another when the metadata cannot be read.
    pub(crate) fn packages(&self) -> Result<(File, Vec<String>), PoolError> {
        if let Some(file) = self.known(Part::Packages) {
            return Ok((file, Vec::new()));
        }
        self.cache.remove_unused(SystemTime::now());
        // A pool of its own, so that the first process has the same numbers of packages as the
        // later ones.
        let mut pool = Pool::new(Arch::X86_64);
        pool.load_repository(self.about.clone(), &self.files.primary, None)?;
        let file = self.make(Part::Packages, |file| pool.write_solv(file, false))?;
        Ok((file, pool.take_warnings()))
    }

    /// The file of their file lists, made when there is none that fits.
    ///
    /// # Errors
    /// As [`Self::packages`].
    pub(crate) fn file_lists(&self, filelists: &Path) -> Result<File, PoolError> {
        if let Some(file) = self.known(Part::FileLists) {
            return Ok(file);
        }
        let mut pool = Pool::new(Arch::X86_64);
        pool.load_packages(self, None)?;
        pool.extend_last(filelists)?;
        self.make(Part::FileLists, |file| pool.write_solv(file, true))
    }

    /// That libsolv does not take a file whose cookie fits.
    pub(crate) fn refused(&self, reason: String) -> PoolError {
        PoolError::Cache { path: self.path(Part::Packages), reason }
    }

    /// The path of `filelists.xml`.
    pub(crate) fn filelists(&self) -> Option<&Path> {
        self.files.filelists.as_deref()
    }

    /// The warnings about the repository.
    pub(crate) fn about(&self) -> &Repository {
        &self.about
    }

    /// The subject of the files: everything that determines their content.
    fn subject(&self) -> String {
        let Repository { excludes, includes, .. } = &self.about;
        let (libsolv, repomd) = (ffi::version(), self.files.digest);
        format!(
            "solver data {FORM}\nlibsolv {libsolv}\nrepomd {repomd}\nexcludes {excludes:?}\nincludes {includes:?}\n"
        )
    }

    fn path(&self, part: Part) -> PathBuf {
        let name = Sha256::compute(self.subject().as_bytes()).hex();
        self.cache.dir.join(format!("{name}{}", part.suffix()))
    }

    /// A file at its beginning, if it is there and whole.
    fn known(&self, part: Part) -> Option<File> {
        let mut file = File::open(self.path(part)).ok()?;
        if !self.fits(part, &mut file).unwrap_or(false) {
            return None;
        }
        // So that it is not taken for unused.
        let _ = file.set_modified(SystemTime::now());
        Some(file)
    }

    /// Whether a file ends with the cookie of its content. Leaves it at its beginning.
    fn fits(&self, part: Part, file: &mut File) -> io::Result<bool> {
        let Some(content) = file.metadata()?.len().checked_sub(COOKIE as u64) else {
            return Ok(false);
        };
        let expected = self.cookie(part, &mut Read::by_ref(file).take(content))?;
        let mut cookie = [0; COOKIE];
        file.read_exact(&mut cookie)?;
        file.rewind()?;
        Ok(cookie == expected)
    }

    fn cookie(&self, part: Part, content: &mut impl Read) -> io::Result<[u8; COOKIE]> {
        let mut hash = sha2::Sha256::new();
        hash.update(self.subject());
        hash.update(part.suffix());
        let mut buffer = vec![0; 64 << 10];
        loop {
            match content.read(&mut buffer)? {
                0 => return Ok(hash.finalize().into()),
                length => hash.update(&buffer[..length]),
            }
        }
    }

    /// Writes a file and puts it into its place; returns it at its beginning. A file that a power
    /// failure has damaged is recognised by its cookie, so nothing waits for the disk.
    fn make(
        &self,
        part: Part,
        write: impl FnOnce(File) -> Result<(), String>,
    ) -> Result<File, PoolError> {
        let path = self.path(part);
        let failed = |reason: String| PoolError::Cache { path: path.clone(), reason };
        let made = || -> io::Result<File> {
            fs::create_dir_all(&self.cache.dir)?;
            let new = NamedTempFile::new_in(&self.cache.dir)?;
            write(new.reopen()?).map_err(io::Error::other)?;
            let mut file = new.reopen()?;
            let cookie = self.cookie(part, &mut file)?;
            // It stands at the end now.
            file.write_all(&cookie)?;
            file.rewind()?;
            new.persist(&path).map_err(|error| error.error)?;
            Ok(file)
        };
        made().map_err(|error| failed(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cached(dir: &Path, about: &Repository, digest: &[u8]) -> CachedRepository {
        let digest = Sha256::compute(digest);
        let files = RepositoryFiles { digest, primary: dir.join("primary.xml"), filelists: None };
        CachedRepository::new(&SolverCache::new(dir), about, &files)
    }

    fn write(cached: &CachedRepository, part: Part) -> File {
        let write = |mut file: File| file.write_all(b"content").map_err(|error| error.to_string());
        cached.make(part, write).unwrap()
    }

    #[test]
    fn only_what_was_written_of_the_same_thing_fits() {
        let dir = tempfile::tempdir().unwrap();
        let plain = Repository { id: "a".into(), ..Repository::default() };
        let one = cached(dir.path(), &plain, b"1");
        assert!(one.known(Part::Packages).is_none());
        let mut text = String::new();
        let mut file = write(&one, Part::Packages);
        assert_eq!(Read::by_ref(&mut file).take(7).read_to_string(&mut text).unwrap(), 7);
        assert_eq!(text, "content");
        assert!(one.known(Part::Packages).is_some());
        assert!(one.known(Part::FileLists).is_none());
        // Of another name it is the same; of another state or with other packages it is not.
        let named = Repository { id: "b".into(), priority: 9, ..Repository::default() };
        assert!(cached(dir.path(), &named, b"1").known(Part::Packages).is_some());
        assert!(cached(dir.path(), &plain, b"2").known(Part::Packages).is_none());
        let less = Repository { excludes: vec!["x".into()], ..plain.clone() };
        assert!(cached(dir.path(), &less, b"1").known(Part::Packages).is_none());
        // Whole files in each other's places are not believed either.
        let two = cached(dir.path(), &plain, b"2");
        fs::copy(one.path(Part::Packages), two.path(Part::Packages)).unwrap();
        assert!(two.known(Part::Packages).is_none());
        fs::copy(one.path(Part::Packages), one.path(Part::FileLists)).unwrap();
        assert!(one.known(Part::FileLists).is_none());
    }

    #[test]
    fn damage_is_found_at_each_byte() {
        let dir = tempfile::tempdir().unwrap();
        let one = cached(dir.path(), &Repository::default(), b"1");
        write(&one, Part::Packages);
        let path = one.path(Part::Packages);
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            fs::write(&path, &damaged).unwrap();
            assert!(one.known(Part::Packages).is_none(), "byte {at}");
            fs::write(&path, &whole[..at]).unwrap();
            assert!(one.known(Part::Packages).is_none(), "{at} bytes");
        }
        fs::write(&path, [&whole[..], b"x"].concat()).unwrap();
        assert!(one.known(Part::Packages).is_none());
        write(&one, Part::Packages);
        assert!(one.known(Part::Packages).is_some());
    }

    #[test]
    fn a_write_that_fails_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let one = cached(dir.path(), &Repository::default(), b"1");
        let error = one.make(Part::Packages, |_| Err("no way".into())).unwrap_err();
        assert!(error.to_string().contains("no way"), "{error}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_nobody_uses_goes() {
        let dir = tempfile::tempdir().unwrap();
        let one = cached(dir.path(), &Repository::default(), b"1");
        write(&one, Part::Packages);
        one.cache.remove_unused(SystemTime::now() + UNUSED - Duration::from_secs(600));
        assert!(one.known(Part::Packages).is_some());
        one.cache.remove_unused(SystemTime::now() + UNUSED + Duration::from_secs(600));
        assert!(one.known(Part::Packages).is_none());
    }
}
