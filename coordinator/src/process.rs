//! The settings of the process before it opens anything: how many files it may open, how it returns
//! memory to the system, and who may read what it writes.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::{Mode, umask};

/// The subdirectories of the data and the cache directory that only this user may read. Nobody else
/// may enter them, so the modes below them do not matter.
const PRIVATE: [&str; 8] =
    ["farm.db", "farm.db-wal", "farm.db-shm", "blobs", "logs", "git", "lookaside", "metadata"];

/// With fewer open files, a farm with some workers and watchers reaches its limit.
const FEW_FILES: u64 = 8192;

/// Raises the limit of open files to the system's maximum, and sets a umask that hides new files
/// from other users. Files that others may read get their modes where they are written (`publish`).
pub fn prepare() {
    umask(Mode::from_bits_truncate(0o077));
    give_memory_back();
    raise_files();
    let files = files();
    if files < FEW_FILES {
        tracing::warn!(
            files,
            "few open files are allowed (LimitNOFILE= of systemd, ulimit -Hn); {FEW_FILES} or more \
             are better"
        );
    }
}

/// The size of allocations that glibc maps and unmaps one by one, in bytes: glibc's initial value.
#[cfg(target_env = "gnu")]
const MAPPED_FROM: i32 = 128 << 10;

/// Keeps glibc's thresholds at their initial values (mallopt(3)). By default each large buffer that
/// is freed raises them, up to 32 MiB; then buffers of packages and metadata lie among small
/// allocations, and an idle coordinator holds half as much memory again.
#[cfg(target_env = "gnu")]
fn give_memory_back() {
    use nix::libc::{M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, mallopt};
    for parameter in [M_MMAP_THRESHOLD, M_TRIM_THRESHOLD] {
        // SAFETY: mallopt takes two numbers, and no other thread runs yet.
        #[allow(unsafe_code)]
        let taken = unsafe { mallopt(parameter, MAPPED_FROM) };
        if taken == 0 {
            tracing::debug!(parameter, "the allocator keeps its thresholds");
        }
    }
}

#[cfg(not(target_env = "gnu"))]
const fn give_memory_back() {}

fn raise_files() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        if soft < hard { setrlimit(Resource::RLIMIT_NOFILE, hard, hard) } else { Ok(()) }
    });
    if let Err(error) = raised {
        tracing::warn!(%error, "the limit of open files cannot be raised");
    }
}

/// Makes the data directory. Other users may pass through it to the published repositories, and
/// cannot list it. The mode of an existing directory is left as it is.
pub fn make_data(data: &Path) -> io::Result<()> {
    if data.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(data)?;
    fs::set_permissions(data, Permissions::from_mode(0o711))
}

/// Removes permissions for others that a coordinator of an older version gave: to the database,
/// blobs and logs below the data directory. Published repositories stay open.
pub fn keep_private(data: &Path) -> io::Result<()> {
    for name in PRIVATE {
        let path = data.join(name);
        let metadata = match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            metadata => metadata?,
        };
        let mode = metadata.permissions().mode();
        if mode & 0o077 != 0 {
            fs::set_permissions(&path, Permissions::from_mode(mode & 0o700))?;
        }
    }
    Ok(())
}

/// How many files this process may open.
#[must_use]
pub fn files() -> u64 {
    getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_files_as_the_system_allows() {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, hard.min(256), hard).unwrap();
        prepare();
        assert_eq!(files(), hard);
        assert_eq!(umask(Mode::empty()).bits(), 0o077);
    }

    #[test]
    fn others_pass_through_the_data_directory_and_read_nothing_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        make_data(&data).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let set = |name: &str, mode| {
            fs::set_permissions(data.join(name), Permissions::from_mode(mode)).unwrap();
        };
        assert_eq!(mode(&data), 0o711);
        fs::write(data.join("farm.db"), "x").unwrap();
        set("farm.db", 0o644);
        for name in ["blobs", "repos"] {
            fs::create_dir(data.join(name)).unwrap();
            set(name, 0o755);
        }
        keep_private(&data).unwrap();
        assert_eq!(mode(&data.join("farm.db")), 0o600);
        assert_eq!(mode(&data.join("blobs")), 0o700);
        assert_eq!(mode(&data.join("repos")), 0o755);
        // A mode that an administrator has set is kept.
        fs::set_permissions(&data, Permissions::from_mode(0o750)).unwrap();
        make_data(&data).unwrap();
        assert_eq!(mode(&data), 0o750);
    }
}
