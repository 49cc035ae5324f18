//! The pool: the files of all packages that were ever published, and their proof before they are
//! shown.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rpmfarm_core::snapshot::belongs_to;
use rpmfarm_core::{Arch, Nevra, Sha256};
use rpmfarm_repodata::{Fragments, PackageFile};
use rpmfarm_rpmfile::{Certs, Proved, RpmError};
use sha2::Digest as _;

use super::disk;
use super::error::{ProofError, Result, io_at};
use super::layout::ChannelLayout;
use super::manifest::PublishedPackage;
use crate::blobs::{Blobs, FileStamp};
use crate::pool_path::{href, href_of_signed};

/// The largest repodata fragments of a package, in bytes; those of the largest packages of a
/// distribution are some ten MiB.
pub(super) const MAX_FRAGMENTS: u64 = 1 << 30;

/// The conditions that packages are proved against.
pub(super) struct PackageProver<'a> {
    pub(super) layout: &'a ChannelLayout,
    pub(super) blobs: &'a Blobs,
    pub(super) arches: &'a [Arch],
    pub(super) certs: &'a Certs,
    pub(super) now: SystemTime,
    /// Whether files are read that were proved not long ago, too.
    pub(super) all: bool,
}

impl PackageProver<'_> {
    /// Proves a package that the channel does not show yet, and puts it into the pool. A file that
    /// is in the pool already was proved when it was put there, but perhaps not against this
    /// request.
    pub(super) fn admit(&self, package: &PublishedPackage) -> Result<()> {
        let (path, href) = self.place(package)?;
        if path.exists() {
            return self.whole_at(package, &path, href);
        }
        let blob = self.blobs.path(package.digest);
        self.whole_at(package, &blob, href.clone())?;
        let dir = path.parent().expect("a package of the pool lies in a directory");
        disk::make_dir(dir)?;
        match fs::hard_link(&blob, &path) {
            Ok(()) => {}
            // Another publisher has put a file there meanwhile, which is proved again.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return self.whole_at(package, &path, href);
            }
            Err(_) => copy(package, &blob, &path)?,
        }
        // Blobs are private, and published files must be readable for everyone who copies a mirror.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).map_err(io_at(&path))?;
        disk::sync(dir)
    }

    /// Checks that the file of a package that the channel shows still exists.
    pub(super) fn still_there(&self, package: &PublishedPackage) -> Result<()> {
        size(package, &self.layout.lies_at(&package.nevra, package.digest))
    }

    /// The path of a package in the pool, and the `href` of its repodata, which shows whether the
    /// package was signed again.
    fn place(&self, package: &PublishedPackage) -> Result<(PathBuf, String)> {
        let PublishedPackage { nevra, digest, repodata, .. } = package;
        let anew = href_of_signed(nevra, *digest);
        let stored = self.blobs.read_small(*repodata, MAX_FRAGMENTS);
        let stored = stored.map_err(|error| ProofError::Described(error).for_package(nevra))?;
        let part = format!("/{}/", &digest.hex()[..16]);
        Ok(if Fragments::from_bytes(&stored)?.lies_below(&part) {
            (self.layout.pooled_anew(nevra, *digest), anew)
        } else {
            (self.layout.pooled(nevra), href(nevra))
        })
    }

    /// Proves a package in its place: its architecture, digests, signature and header, and that its
    /// repodata describe this very file. A file that has not changed since it was proved is not
    /// read to its end again: its digest is the same (docs/decisions/0029).
    fn whole_at(&self, package: &PublishedPackage, path: &Path, href: String) -> Result<()> {
        let PublishedPackage { nevra, digest, repodata, .. } = package;
        let target = || self.layout.target.clone();
        if !self.arches.iter().any(|arch| belongs_to(nevra, *arch)) {
            let arches = self.arches.iter().map(Arch::to_string).collect::<Vec<_>>().join(", ");
            return Err(ProofError::Arch { target: target(), arches }.for_package(nevra));
        }
        size(package, path)?;
        let found = self.name_in(package, path)?;
        if found != *nevra {
            return Err(ProofError::Header(Box::new(found)).for_package(nevra));
        }
        rpmfarm_rpmfile::verify_signature(path, self.certs, self.now).map_err(|source| {
            ProofError::Signature { target: target(), source }.for_package(nevra)
        })?;
        let file = PackageFile { digest: *digest, size: package.size, href };
        let stored = self.blobs.read_small(*repodata, MAX_FRAGMENTS);
        let stored = stored.map_err(|error| ProofError::Described(error).for_package(nevra))?;
        let stored = Fragments::from_bytes(&stored)?;
        if stored != Fragments::of_rpm(path, &file)? {
            return Err(ProofError::Fragments(*repodata).for_package(nevra));
        }
        Ok(())
    }

    /// The name that the header of a file has, whose digest is right.
    fn name_in(&self, package: &PublishedPackage, path: &Path) -> Result<Nevra> {
        let mut file = File::open(path).map_err(io_at(path))?;
        let stamp = FileStamp::from_metadata(&file.metadata().map_err(io_at(path))?);
        let damaged = |error| ProofError::Damaged(error).for_package(&package.nevra);
        if package.proved == Some(stamp) && !self.all {
            return rpmfarm_rpmfile::nevra_of_header(&mut file).map_err(damaged);
        }
        match Proved::new(file, package.digest).inspect() {
            Ok(whole) => Ok(whole.nevra),
            Err(RpmError::OtherFile { expected, found }) => {
                let path = path.to_owned();
                Err(ProofError::Digest { path, expected, found }.for_package(&package.nevra))
            }
            Err(error) => Err(damaged(error)),
        }
    }
}

/// Copies a blob where it cannot be linked: the pool is on another file system, or the file has too
/// many links.
fn copy(package: &PublishedPackage, blob: &Path, path: &Path) -> Result<()> {
    let dir = path.parent().expect("a package of the pool lies in a directory");
    let new = tempfile::Builder::new().prefix(".new-").tempfile_in(dir).map_err(io_at(dir))?;
    fs::copy(blob, new.path()).map_err(io_at(new.path()))?;
    disk::sync(new.path())?;
    let found = hash(new.path()).map_err(io_at(new.path()))?;
    if found != package.digest {
        let path = new.path().to_owned();
        return Err(ProofError::Digest { path, expected: package.digest, found }
            .for_package(&package.nevra));
    }
    new.persist(path).map(drop).map_err(|error| io_at(path)(error.error))
}

fn size(package: &PublishedPackage, path: &Path) -> Result<()> {
    let PublishedPackage { nevra, size: expected, .. } = package;
    match fs::metadata(path) {
        Ok(metadata) if metadata.len() == *expected => Ok(()),
        Ok(metadata) => {
            let (path, found) = (path.to_owned(), metadata.len());
            Err(ProofError::Size { path, expected: *expected, found }.for_package(nevra))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(ProofError::Missing { path: path.to_owned() }.for_package(nevra))
        }
        Err(error) => Err(io_at(path)(error)),
    }
}

/// The SHA-256 of a file.
pub(crate) fn hash(path: &Path) -> io::Result<Sha256> {
    let mut hasher = sha2::Sha256::new();
    io::copy(&mut File::open(path)?, &mut hasher)?;
    Ok(Sha256::from_bytes(hasher.finalize().into()))
}
