//! The Unix socket: created with narrow permissions; taken over from a process that has ended,
//! never from a running one.

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::{Context, bail};
use nix::sys::stat::{Mode, umask};
use tokio::net::UnixListener;

/// Owner and group may connect; each connection is then checked by user id.
const MODE: u32 = 0o660;

/// The longest path of a Unix socket, in bytes (`unix(7)`).
const LONGEST: usize = 107;

/// Listens at a path.
///
/// # Errors
/// When another process listens there, the path is something else than a socket, or a system call
/// fails.
pub fn listen(path: &Path) -> anyhow::Result<UnixListener> {
    if path.as_os_str().len() > LONGEST {
        bail!("--socket {}: a socket's path has at most {LONGEST} bytes", path.display());
    }
    remove_stale(path)?;
    let before = umask(Mode::from_bits_truncate(0o177));
    let bound = UnixListener::bind(path);
    umask(before);
    let listener = bound.with_context(|| format!("listening at {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(MODE))
        .with_context(|| format!("setting the permissions of {}", path.display()))?;
    Ok(listener)
}

fn remove_stale(path: &Path) -> anyhow::Result<()> {
    let Ok(there) = fs::symlink_metadata(path) else { return Ok(()) };
    if !there.file_type().is_socket() {
        bail!("{} exists and is not a socket; choose another path", path.display());
    }
    if UnixStream::connect(path).is_ok() {
        bail!("another process listens at {}", path.display());
    }
    fs::remove_file(path).with_context(|| format!("removing the stale socket {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn takes_over_only_what_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let first = listen(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, MODE);
        assert!(listen(&path).unwrap_err().to_string().contains("another process"));
        drop(first);
        listen(&path).unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(listen(&file).unwrap_err().to_string().contains("not a socket"));
    }
}
