//! The directory of stored roots: their names, whether they are complete, which are evicted first.
//!
//! A root is made in a directory with a temporary name and renamed to its id when it is complete.
//! It counts as kept only when there is a mark beside it, which is written after the data were
//! synced: so making a root never waits for the disk, and after a power failure only roots without
//! the mark are made again.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::SystemTime;

use parking_lot::Mutex;
use rpmfarm_core::Sha256;

use crate::trees::{self, ASIDE, clear_or_leave, tell_aside};

/// Stored roots, by id.
#[derive(Debug)]
pub struct RootStore {
    directory: PathBuf,
    next: AtomicU64,
    /// Roots that are being synced.
    syncing: Mutex<Vec<JoinHandle<()>>>,
}

/// A stored root as eviction sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRoot {
    pub id: Sha256,
    /// Its size in bytes.
    pub bytes: u64,
    /// When it was used last.
    pub used: SystemTime,
}

/// Written after the data are on disk; holds the size. Its time is when the root was used last.
const MARK: &str = "kept";
const MAKING: &str = "making-";

/// The file with warnings about a root, a line each.
const WARNINGS: &str = "warnings";

/// The version of how the roots of a store were made. The files that the farm adds change with its
/// versions, and no lock contains them: roots of another version are made again.
const FORM: &str = "form";
const THIS_FORM: &str = "2\n";

impl RootStore {
    /// Opens the directory, and removes what an earlier life left half done. What cannot be removed
    /// is moved aside, within the directory.
    ///
    /// # Errors
    /// When it cannot be made or read.
    pub fn open(directory: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&directory)?;
        let form = directory.join(FORM);
        let same = fs::read_to_string(&form).is_ok_and(|text| text == THIS_FORM);
        let aside = directory.join(ASIDE);
        tell_aside(&aside);
        for entry in fs::read_dir(&directory)? {
            let path = entry?.path();
            let stays = [&form, &aside].contains(&&path) || same && path.join(MARK).exists();
            if !stays {
                clear_or_leave(&path, &aside);
            }
        }
        fs::write(&form, THIS_FORM)?;
        Ok(Self { directory, next: AtomicU64::new(0), syncing: Mutex::default() })
    }

    /// The tree of a root, if it is there; this counts as a use.
    #[must_use]
    pub fn tree(&self, id: &Sha256) -> Option<PathBuf> {
        let root = self.directory.join(id.hex());
        let tree = root.join("tree");
        if !tree.is_dir() {
            return None;
        }
        if let Ok(mark) = fs::File::options().write(true).open(root.join(MARK)) {
            let _ = mark.set_modified(SystemTime::now());
        }
        Some(tree)
    }

    /// The warnings of rpm while a root was made.
    #[must_use]
    pub fn warnings(&self, id: &Sha256) -> Vec<String> {
        let text = fs::read_to_string(self.directory.join(id.hex()).join(WARNINGS));
        text.unwrap_or_default().lines().map(str::to_owned).collect()
    }

    /// A fresh directory to make a root in; its `tree` becomes the root.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn begin(&self) -> io::Result<UnfinishedRoot> {
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let path = self.directory.join(format!("{MAKING}{number}"));
            match fs::create_dir(&path) {
                // A directory that could be neither removed nor moved aside when the worker
                // started.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => return made.map(|()| UnfinishedRoot(path)),
            }
        }
    }

    /// Gives what was made, of so many bytes, its name. Its durability is seen to in the
    /// background.
    ///
    /// # Errors
    /// When it cannot be renamed.
    pub fn finish(
        &self,
        mut making: UnfinishedRoot,
        id: &Sha256,
        bytes: u64,
    ) -> io::Result<PathBuf> {
        let root = self.directory.join(id.hex());
        fs::rename(&making.0, &root)?;
        // The directory was renamed, so its drop has nothing to remove.
        making.0 = PathBuf::new();
        let kept = root.clone();
        let sync = std::thread::spawn(move || {
            if let Err(error) = keep(&kept, bytes) {
                tracing::warn!(%error, root = %kept.display(), "a root may not survive a restart");
            }
        });
        let mut syncing = self.syncing.lock();
        syncing.retain(|thread| !thread.is_finished());
        syncing.push(sync);
        Ok(root.join("tree"))
    }

    /// Waits until all roots are synced and have their marks.
    pub fn settle(&self) {
        let mut syncing = self.syncing.lock();
        for thread in syncing.drain(..) {
            // A panic was reported; it costs only the mark.
            let _ = thread.join();
        }
    }

    /// All roots that are whole and synced.
    #[must_use]
    pub fn list(&self) -> Vec<StoredRoot> {
        let Ok(entries) = fs::read_dir(&self.directory) else { return Vec::new() };
        let stored = entries.flatten().filter_map(|entry| {
            let id = entry.file_name().to_str()?.parse().ok()?;
            let mark = entry.path().join(MARK);
            let bytes = fs::read_to_string(&mark).ok()?.trim().parse().ok()?;
            Some(StoredRoot { id, bytes, used: fs::metadata(&mark).ok()?.modified().ok()? })
        });
        stored.collect()
    }

    /// Removes a root. Renamed first: half a root never has its id. What cannot be removed is moved
    /// aside.
    ///
    /// # Errors
    /// When it can be neither removed nor moved.
    pub fn remove(&self, id: &Sha256) -> io::Result<()> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let going = self.directory.join(format!("going-{number}"));
        let root = self.directory.join(id.hex());
        // The mark is removed first: after a crash in between, the next start removes the rest.
        fs::remove_file(root.join(MARK))?;
        fs::rename(&root, &going)?;
        trees::clear(&going, &self.directory.join(ASIDE))
    }
}

/// A root that is being made; removed when dropped unfinished.
#[derive(Debug)]
pub struct UnfinishedRoot(PathBuf);

impl UnfinishedRoot {
    /// A directory in it.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn directory(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.0.join(name);
        fs::create_dir_all(&path)?;
        Ok(path)
    }

    /// Keeps with the root what went wrong while it was made.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn warn(&self, warnings: &[String]) -> io::Result<()> {
        if warnings.is_empty() {
            return Ok(());
        }
        fs::write(self.0.join(WARNINGS), warnings.join("\n"))
    }

    /// Removes a directory that the finished root does not need.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn discard(&self, name: &str) -> io::Result<()> {
        trees::remove(&self.0.join(name))
    }
}

impl Drop for UnfinishedRoot {
    fn drop(&mut self) {
        if !self.0.as_os_str().is_empty()
            && let Some(store) = self.0.parent()
        {
            clear_or_leave(&self.0, &store.join(ASIDE));
        }
    }
}

fn keep(root: &Path, bytes: u64) -> io::Result<()> {
    // The mark comes last, because without a sync the root may be incomplete after a loss of power.
    nix::unistd::syncfs(fs::File::open(root)?)?;
    let mark = root.join(MARK);
    fs::write(&mark, bytes.to_string())?;
    fs::File::open(&mark)?.sync_all()
}

/// Which roots are evicted so that the rest fits: those that were used longest ago.
///
/// A use of a root touches the roots below it last, so a layer is always evicted before those below
/// it.
#[must_use]
pub fn evicted(
    mut stored: Vec<StoredRoot>,
    limit: u64,
    in_use: impl Fn(&Sha256) -> bool,
) -> Vec<Sha256> {
    stored.sort_by_key(|root| root.used);
    let mut total: u64 = stored.iter().map(|root| root.bytes).sum();
    let mut gone = Vec::new();
    for root in stored {
        if total <= limit {
            break;
        }
        if !in_use(&root.id) {
            total = total.saturating_sub(root.bytes);
            gone.push(root.id);
        }
    }
    gone
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn id(name: &str) -> Sha256 {
        Sha256::compute(name.as_bytes())
    }

    #[test]
    fn the_longest_unused_go_first_and_none_in_use() {
        let stored = |name: &str, bytes, seconds| StoredRoot {
            id: id(name),
            bytes,
            used: SystemTime::UNIX_EPOCH + Duration::from_secs(seconds),
        };
        let all = vec![stored("new", 10, 3), stored("old", 10, 1), stored("middle", 10, 2)];
        assert_eq!(evicted(all.clone(), 30, |_| false), []);
        assert_eq!(evicted(all.clone(), 15, |_| false), [id("old"), id("middle")]);
        assert_eq!(evicted(all, 15, |root| *root == id("old")), [id("middle"), id("new")]);
    }

    #[test]
    fn only_what_is_whole_survives_a_restart() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("roots");
        let store = RootStore::open(path.clone()).expect("opens");
        let making = store.begin().expect("begins");
        fs::write(making.directory("tree").expect("a tree").join("f"), vec![1; 5000])
            .expect("writes");
        making.warn(&["one".into(), "two".into()]).expect("writes");
        store.finish(making, &id("whole"), 5000).expect("finishes");
        let half = store.begin().expect("begins");
        half.directory("tree").expect("a tree");
        std::mem::forget(half);
        store.settle();
        fs::create_dir_all(path.join(id("unsynced").hex()).join("tree")).expect("a directory");
        let store = RootStore::open(path.clone()).expect("opens again");
        assert!(store.tree(&id("whole")).is_some());
        assert!(store.list()[0].bytes >= 5000);
        assert_eq!(store.warnings(&id("whole")), ["one", "two"]);
        assert_eq!(fs::read_dir(&path).expect("reads").count(), 2);
        store.remove(&id("whole")).expect("removes");
        assert!(store.tree(&id("whole")).is_none());
        assert_eq!(fs::read_dir(&path).expect("reads").count(), 1);
    }

    #[test]
    fn a_store_opens_over_what_cannot_be_removed() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("roots");
        let half = path.join("making-7");
        fs::create_dir_all(half.join("tree/kept")).expect("a directory");
        let none = None::<&str>;
        // Nothing that is mounted on can be removed, not by root either.
        let stuck = half.join("tree/kept");
        let flags = nix::mount::MsFlags::MS_BIND;
        let private = nix::mount::MsFlags::MS_PRIVATE | nix::mount::MsFlags::MS_REC;
        if nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).is_err() {
            return; // Without the privilege for it there is nothing to try.
        }
        nix::mount::mount(none, "/", none, private, none).expect("parts mounts");
        nix::mount::mount(Some(&stuck), &stuck, none, flags, none).expect("mounts");
        let opened = RootStore::open(path.clone());
        // A directory below which something is mounted can still be renamed.
        let moved = path.join("aside/making-7");
        assert!(opened.expect("opens").list().is_empty());
        assert!(moved.is_dir() && !half.exists());
        assert!(RootStore::open(path).expect("opens again").begin().is_ok());
        assert!(moved.is_dir(), "only a person removes it");
    }

    #[test]
    fn roots_of_another_version_are_made_again() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("roots");
        let old = path.join(id("old").hex());
        fs::create_dir_all(old.join("tree")).expect("a directory");
        fs::write(old.join(MARK), "1").expect("writes");
        assert!(RootStore::open(path.clone()).expect("opens").list().is_empty());
        assert!(!old.exists());
    }
}
