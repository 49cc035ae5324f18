//! Debian's pool, through apt with a state and cache of its own.
//!
//! Owns the private configuration, the index, the lists of files and the downloads, each checked by
//! its digest. The host's list of sources is read, and nothing of the host is written. Must not
//! know what the packages are for.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cache::{self, Cache, CacheError, CacheLock};
use crate::tool::{self, ToolError};

mod sources;

/// apt with a private state, for one architecture.
#[derive(Debug)]
pub struct Apt {
    config: PathBuf,
    /// Changes whenever the index is fetched again.
    stamp: String,
    downloads: PathBuf,
    /// apt refuses to run twice in one state instead of waiting.
    _lock: CacheLock,
}

/// A file of the pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolFile {
    /// apt's name of the file.
    pub name: String,
    /// SHA-256 in hexadecimal.
    pub sha256: String,
}

/// Why the pool cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AptError {
    /// A tool is missing or failed.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// The cache cannot be written.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// A file of the private state cannot be written.
    #[error("cannot write apt's private state")]
    Io(#[from] io::Error),
    /// The host's apt has no sources of the Debian release.
    #[error(
        "the host's sources list has no Debian suite `{0}`; the lab is made from Debian 12: \
         run it on a host (or in a container) whose /etc/apt/sources.list names `{0}`"
    )]
    NoSuite(&'static str),
    /// The state lacks a list of packages.
    #[error(
        "apt has no list of packages whose name ends with `{0}`; `rpmfarm-lab distro --refresh` fetches \
         it"
    )]
    NoIndex(String),
    /// A download failed; earlier ones are kept.
    #[error(
        "cannot download from Debian's pool; when its mirror has dropped what the index names, \
         --refresh asks for newer packages"
    )]
    Download(#[source] ToolError),
    /// apt printed an unexpected line.
    #[error("apt-get printed a line that is not `'URI' NAME SIZE SHA256:DIGEST`: {0}")]
    Line(String),
    /// A source package has no file of this name.
    #[error("the source package {package} has no file {file}")]
    NotThere {
        /// The package with its version.
        package: String,
        file: String,
    },
    /// A download does not match the index.
    #[error("{name} has the digest {found}, and the index says {expected}")]
    Digest {
        name: String,
        /// The digest in the index.
        expected: String,
        found: String,
    },
}

/// The Debian release for which the recipes are written.
const SUITE: &str = "bookworm";

impl Apt {
    /// Opens the private state for Debian's architecture `arch`; fetches the index when there is
    /// none yet, or when `refresh` is set.
    ///
    /// # Errors
    /// When the host has no sources of the release, or apt fails.
    pub fn open(cache: &Cache, arch: &str, refresh: bool) -> Result<Self, AptError> {
        let state = cache.directory(&format!("apt/{arch}"))?;
        let lock = cache.lock(&format!("apt/{arch}"))?;
        let sources = sources::of_host(SUITE)?.ok_or(AptError::NoSuite(SUITE))?;
        let stamp_file = state.join("stamp");
        let wanted = cache::key([sources.as_str()]);
        let found = fs::read_to_string(&stamp_file).unwrap_or_default();
        let config = state.join("apt.conf");
        if refresh || !found.starts_with(&wanted) {
            let update = |sources: &str| -> Result<(), AptError> {
                write_state(&state, arch, sources)?;
                tool::output(apt_get(&config).arg("update").arg("--error-on=any"))?;
                Ok(())
            };
            if let Err(error) = update(&sources) {
                // The indexes of updates may be inconsistent while a mirror is being updated. The
                // release itself never changes, and is enough.
                let release = sources::release_alone(&sources, SUITE);
                if release.is_empty() || release == sources {
                    return Err(error);
                }
                tracing::warn!(arch, %error, "{SUITE} is taken without its updates");
                update(&release)?;
            }
            let now = std::time::UNIX_EPOCH.elapsed().map_or(0, |age| age.as_secs());
            fs::write(&stamp_file, format!("{wanted} {now}"))?;
        }
        let stamp = fs::read_to_string(&stamp_file)?;
        Ok(Self { config, stamp, downloads: cache.directory("pool")?, _lock: lock })
    }

    /// Opens a state of its own for source packages of several releases, on the mirror that the
    /// host names for the recipes' release. A release that the mirror has no more is left out. What
    /// is fetched from there proves nothing by itself: the caller knows the digest that it wants.
    ///
    /// # Errors
    /// When the host has no sources of the recipes' release, or the mirror has none of them all.
    pub fn open_sources(cache: &Cache, suites: &[&str]) -> Result<Self, AptError> {
        let state = cache.directory("apt/sources")?;
        let lock = cache.lock("apt/sources")?;
        let host = sources::of_host(SUITE)?.ok_or(AptError::NoSuite(SUITE))?;
        let stanzas = sources::of_suites(&host, SUITE, suites);
        let stamp = cache::key([stanzas.as_str()]);
        let (stamp_file, config) = (state.join("stamp"), state.join("apt.conf"));
        if fs::read_to_string(&stamp_file).unwrap_or_default() != stamp {
            write_state(&state, "amd64", &stanzas)?;
            let updated = tool::output(apt_get(&config).arg("update"));
            let opened = Self {
                config,
                stamp: stamp.clone(),
                downloads: cache.directory("pool")?,
                _lock: lock,
            };
            match (updated, opened.source_indexes()?.is_empty()) {
                (Err(error), true) => return Err(error.into()),
                (Err(error), false) => tracing::warn!(%error, "some releases are left out"),
                (Ok(_), _) => fs::write(stamp_file, stamp)?,
            }
            return Ok(opened);
        }
        Ok(Self { config, stamp, downloads: cache.directory("pool")?, _lock: lock })
    }

    /// The lists of source packages, each in the form of Debian's `Sources`.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn source_indexes(&self) -> Result<Vec<PathBuf>, AptError> {
        let lists = self.config.with_file_name("lists");
        let mut found: Vec<PathBuf> = fs::read_dir(lists)?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<_, _>>()?;
        found.retain(|path| path.to_string_lossy().ends_with("_Sources"));
        found.sort();
        Ok(found)
    }

    /// Downloads the tarballs of one version of a source package, and returns the path of one of
    /// them.
    ///
    /// # Errors
    /// When the download fails, or brings no such file.
    pub fn fetch_from(
        &self,
        package: &str,
        version: &str,
        file: &str,
    ) -> Result<PathBuf, AptError> {
        let wanted = format!("{package}={version}");
        let mut files = self.source(&wanted)?;
        files.retain(|one| one.name == file);
        let paths = if file.ends_with(".asc") {
            // apt counts signatures among the other files.
            self.fetch_whole_source(&wanted, &files)?
        } else {
            self.fetch_source(&wanted, &files)?
        };
        let none = || AptError::NotThere { package: wanted, file: file.to_owned() };
        paths.into_iter().next().ok_or_else(none)
    }

    /// The lists of the binary and of the source packages of the release itself, without its
    /// updates: Debian's `Packages` and `Sources`.
    ///
    /// # Errors
    /// When the state cannot be read, or has no such list.
    pub fn release_indexes(&self, arch: &str) -> Result<(PathBuf, PathBuf), AptError> {
        let lists = self.config.with_file_name("lists");
        let find = |kind: String| -> Result<PathBuf, AptError> {
            let end = format!("_{SUITE}_main_{kind}");
            let mut paths = fs::read_dir(&lists)?.filter_map(Result::ok).map(|entry| entry.path());
            let found = paths.find(|path| path.to_string_lossy().ends_with(&end));
            found.ok_or(AptError::NoIndex(end))
        };
        Ok((find(format!("binary-{arch}_Packages"))?, find("source_Sources".into())?))
    }

    /// Changes whenever the index is fetched again: a closure is valid until then.
    #[must_use]
    pub fn stamp(&self) -> &str {
        &self.stamp
    }

    /// The closure of binary packages over Pre-Depends and Depends, as apt solves it.
    ///
    /// # Errors
    /// When a package does not exist or the set cannot be solved.
    pub fn closure(&self, packages: &[String]) -> Result<Vec<PoolFile>, AptError> {
        let mut command = apt_get(&self.config);
        command.args(["install", "--print-uris", "--yes", "--quiet=2"]).args(packages);
        parse_uris(&tool::output(&mut command)?)
    }

    /// The files of a source package, its `.dsc` among them.
    ///
    /// # Errors
    /// When there is no such package.
    pub fn source(&self, package: &str) -> Result<Vec<PoolFile>, AptError> {
        let mut command = apt_get(&self.config);
        command.args(["source", "--print-uris", "--quiet=2", package]);
        parse_uris(&tool::output(&mut command)?)
    }

    /// Downloads the closure of `packages`, which gave `files`, and returns the path of each file.
    ///
    /// # Errors
    /// When the download fails, or a file is not what the index says.
    pub fn fetch(&self, packages: &[String], files: &[PoolFile]) -> Result<Vec<PathBuf>, AptError> {
        self.fetch_missing(files, |directory| {
            let mut command = apt_get(&self.config);
            command.arg("-o").arg(format!("Dir::Cache::archives={}", directory.display()));
            command.args(["install", "--download-only", "--yes", "--quiet=2"]).args(packages);
            command
        })
    }

    /// Downloads the named tarballs of a source package.
    ///
    /// # Errors
    /// As [`Self::fetch`].
    pub fn fetch_source(
        &self,
        package: &str,
        files: &[PoolFile],
    ) -> Result<Vec<PathBuf>, AptError> {
        self.fetch_missing(files, |directory| {
            let mut command = apt_get(&self.config);
            command.current_dir(directory);
            // Mirrors lose files of older versions, so only the needed ones are fetched.
            command.args(["source", "--download-only", "--tar-only", "--quiet=2", package]);
            command
        })
    }

    fn fetch_whole_source(
        &self,
        package: &str,
        files: &[PoolFile],
    ) -> Result<Vec<PathBuf>, AptError> {
        self.fetch_missing(files, |directory| {
            let mut command = apt_get(&self.config);
            command.current_dir(directory);
            command.args(["source", "--download-only", "--quiet=2", package]);
            command
        })
    }

    /// Runs `download` in a directory when a file is not in the cache, and moves the results into
    /// the cache.
    fn fetch_missing(
        &self,
        files: &[PoolFile],
        download: impl Fn(&Path) -> Command,
    ) -> Result<Vec<PathBuf>, AptError> {
        let kept = |file: &PoolFile| self.downloads.join(&file.sha256);
        if !files.iter().all(|file| kept(file).exists()) {
            let directory = tempfile::tempdir_in(&self.downloads)?;
            // Files in the cache need no download.
            for file in files.iter().filter(|file| kept(file).exists()) {
                cache::link_or_copy(&kept(file), &directory.path().join(&file.name))?;
            }
            fs::create_dir_all(directory.path().join("partial"))?;
            let downloaded = tool::output(&mut download(directory.path()));
            self.take_in(directory.path(), files, downloaded.is_ok())?;
            downloaded.map_err(AptError::Download)?;
        }
        Ok(files.iter().map(kept).collect())
    }

    /// Moves downloads into the cache. A missing or wrong file is an error only if the download
    /// claimed to be complete.
    fn take_in(
        &self,
        directory: &Path,
        files: &[PoolFile],
        complete: bool,
    ) -> Result<(), AptError> {
        for file in files {
            let path = directory.join(&file.name);
            if !complete && !path.exists() {
                continue;
            }
            let found = cache::sha256_of(&path)?;
            if found == file.sha256 {
                fs::rename(&path, self.downloads.join(&file.sha256))?;
            } else if complete {
                let (name, expected) = (file.name.clone(), file.sha256.clone());
                return Err(AptError::Digest { name, expected, found });
            }
        }
        Ok(())
    }
}

fn apt_get(config: &Path) -> Command {
    let mut command = Command::new("apt-get");
    command.env("APT_CONFIG", config).env("DEBIAN_FRONTEND", "noninteractive");
    command
}

/// Lines of `apt-get --print-uris`: `'URI' NAME SIZE SHA256:DIGEST`.
fn parse_uris(output: &[u8]) -> Result<Vec<PoolFile>, AptError> {
    let text = String::from_utf8_lossy(output);
    let lines = text.lines().filter(|line| line.starts_with('\''));
    lines
        .map(|line| {
            let mut words = line.split_whitespace().skip(1);
            let name = words.next();
            let digest = words.nth(1).and_then(|word| word.strip_prefix("SHA256:"));
            match (name, digest) {
                (Some(name), Some(sha256)) => {
                    Ok(PoolFile { name: name.to_owned(), sha256: sha256.to_owned() })
                }
                _ => Err(AptError::Line(line.to_owned())),
            }
        })
        .collect()
}

/// Writes the private configuration: it copies how the host reaches the pool, but not its hooks,
/// state and preferences.
fn write_state(state: &Path, arch: &str, sources: &str) -> Result<(), AptError> {
    let dump = tool::output(Command::new("apt-config").arg("dump"))?;
    let mut text: String = String::from_utf8_lossy(&dump)
        .lines()
        .filter(|line| line.starts_with("Acquire::") && !line.starts_with("Acquire::IndexTargets"))
        .flat_map(|line| [line, "\n"])
        .collect();
    for directory in ["lists/partial", "cache", "sources.list.d"] {
        fs::create_dir_all(state.join(directory))?;
    }
    fs::write(state.join("status"), "")?;
    fs::write(state.join("sources.list.d/lab.sources"), sources)?;
    let root = state.display();
    let settings = [
        ("Acquire::GzipIndexes", "false".to_owned()),
        ("Acquire::Languages", "none".to_owned()),
        ("Acquire::Retries", "3".to_owned()),
        // Downloads are named by this digest.
        ("Acquire::ForceHash", "SHA256".to_owned()),
        ("APT::Architecture", arch.to_owned()),
        ("APT::Sandbox::User", "root".to_owned()),
        ("APT::Install-Recommends", "false".to_owned()),
        ("APT::Get::List-Cleanup", "false".to_owned()),
        ("Dir::State", format!("{root}")),
        ("Dir::State::Lists", format!("{root}/lists")),
        ("Dir::State::status", format!("{root}/status")),
        ("Dir::Cache", format!("{root}/cache")),
        ("Dir::Cache::archives", format!("{root}/cache")),
        ("Dir::Cache::pkgcache", String::new()),
        ("Dir::Cache::srcpkgcache", String::new()),
        ("Dir::Etc::main", "/dev/null".to_owned()),
        ("Dir::Etc::parts", "/dev/null".to_owned()),
        ("Dir::Etc::sourcelist", "/dev/null".to_owned()),
        ("Dir::Etc::sourceparts", format!("{root}/sources.list.d")),
        ("Dir::Etc::preferences", "/dev/null".to_owned()),
        ("Dir::Etc::preferencesparts", "/dev/null".to_owned()),
    ];
    for (name, value) in settings {
        let _ = writeln!(text, "{name} \"{value}\";");
    }
    let _ = writeln!(text, "APT::Architectures {{ \"{arch}\"; }};");
    fs::write(state.join("apt.conf"), text)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_are_read() {
        let text = b"'scheme://x/a%3a1.deb' a_1.deb 12 SHA256:ab\nnoise\n";
        let files = parse_uris(text).unwrap();
        assert_eq!(files, [PoolFile { name: "a_1.deb".into(), sha256: "ab".into() }]);
        assert!(parse_uris(b"'scheme://x/a.deb' a.deb 12 MD5Sum:ab\n").is_err());
    }
}
