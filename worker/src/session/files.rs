//! Files by digest from the coordinator, for threads that block.

use std::fs;
use std::future::Future;
use std::io;
use std::path::Path;
use std::time::Duration;

use rpmfarm_core::{Sha256, name};
use tokio::runtime::Handle;

use crate::cages::{CancelFlag, CancelReason};
use crate::files::{FileSource, FilesError, WantedFile};
use crate::transfer::{CoordinatorConnection, FileCache, download};

/// The largest lock, in bytes: one of a thousand packages has about 400 kB.
const MAX_LOCK: usize = 16 << 20;

/// The coordinator's blobs, through the cache.
pub(super) struct RemoteFiles {
    pub(super) connection: CoordinatorConnection,
    pub(super) cache: FileCache,
    pub(super) runtime: Handle,
}

/// Waits until a flag is raised.
pub(super) async fn raised(cancel: &CancelFlag) -> CancelReason {
    loop {
        if let Some(why) = cancel.raised() {
            return why;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

impl RemoteFiles {
    fn wait<T>(
        &self,
        work: impl Future<Output = Result<T, FilesError>>,
        cancel: &CancelFlag,
    ) -> Result<T, FilesError> {
        self.runtime.block_on(async {
            tokio::select! {
                done = work => done,
                why = raised(cancel) => Err(FilesError::Cancelled(why)),
            }
        })
    }

    /// A small file, in memory.
    pub(super) fn small(&self, digest: Sha256, cancel: &CancelFlag) -> Result<Vec<u8>, FilesError> {
        self.wait(download::fetch_small(&self.connection, digest, MAX_LOCK), cancel)
    }
}

impl FileSource for RemoteFiles {
    fn place(
        &self,
        wanted: &[WantedFile],
        into: &Path,
        cancel: &CancelFlag,
    ) -> Result<(), FilesError> {
        self.wait(download::fetch(&self.connection, &self.cache, wanted), cancel)?;
        wanted.iter().try_for_each(|file| link(&self.cache.path(file.digest), file, into))
    }
}

/// A link costs nothing, and keeps the content when the file leaves the cache.
fn link(from: &Path, file: &WantedFile, into: &Path) -> Result<(), FilesError> {
    let to = into.join(&file.name);
    name::check_file(&file.name)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
        .and_then(|()| match fs::hard_link(from, &to) {
            // A later round of an attempt finds its input in place.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(_) => fs::copy(from, &to).map(drop),
            linked => linked,
        })
        .map_err(FilesError::local(&to))
}
