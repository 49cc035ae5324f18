//! Untrusted trees: measuring, removing and moving aside whatever a package or its scriptlets left
//! in a directory.
//!
//! Owns every walk over such a tree. It uses descriptors and never paths, so that no link is
//! followed and no path is too long, and it needs neither stack nor descriptors in proportion to
//! the depth or width of a tree. It must not know what a tree is for.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::dir::{Dir, Type};
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use rpmfarm_core::name;

/// The bounds on a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TreeBounds {
    /// Files and directories, with the topmost one.
    pub entries: u64,
    /// How deep directories may be nested.
    pub depth: usize,
    /// Bytes that are allocated for it.
    pub bytes: u64,
}

/// The measured size of a tree.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TreeSize {
    /// Files and directories, with the topmost one.
    pub entries: u64,
    /// Bytes that are allocated for it on disk; files with several names count once in all.
    pub bytes: u64,
}

/// Why a tree could not be measured.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// It is too deep.
    #[error("directories are nested more than {limit} levels deep, in {place}")]
    Deep {
        limit: usize,
        /// The first steps of the path, as it can be shown.
        place: String,
    },
    /// It has too many entries.
    #[error("more than {limit} files and directories, the last in {place}")]
    Many {
        /// How many it may have.
        limit: u64,
        /// The first steps of the path, as it can be shown.
        place: String,
    },
    /// It takes too much of the disk.
    #[error("more than {} MiB of disk", limit >> 20)]
    Large {
        /// How many bytes it may take.
        limit: u64,
    },
    /// More names of directories are waiting to be read than are remembered.
    #[error("the names of directories that are still to be read take more than {} MiB, in {place}", NAMES >> 20)]
    Names {
        /// The first steps of the path, as it can be shown.
        place: String,
    },
    /// A directory was moved while the walk was below it.
    #[error("a directory was moved away while it was measured, in {place}")]
    Moved {
        /// The first steps of the path, as it can be shown.
        place: String,
    },
    #[error("{place}: {source}")]
    Io {
        /// The first steps of the path, as it can be shown.
        place: String,
        source: io::Error,
    },
}

/// How many levels of a walk keep their descriptors. Further up it goes by `..`, and compares.
const KEPT: usize = 64;

/// How many bytes the names of waiting directories may take: some hundred thousand names.
const NAMES: usize = 64 << 20;

/// How many components of a path a message names.
const TOLD: usize = 4;

const DIRECTORY: OFlag =
    OFlag::O_DIRECTORY.union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC).union(OFlag::O_RDONLY);

/// Measures a tree. Files that come and go meanwhile are counted or not; a directory that becomes a
/// link meanwhile is not entered.
///
/// # Errors
/// When a bound is broken or anything cannot be read: then nothing is known of its size.
pub fn measure(top: &Path, bounds: &TreeBounds) -> Result<TreeSize, TreeError> {
    let mut walk = TreeWalk { bounds, size: TreeSize::default(), levels: Vec::new(), names: 0 };
    let opened = openat(AT_FDCWD, top, DIRECTORY, Mode::empty());
    let opened = opened.map_err(|error| walk.io(error))?;
    let stat = fstat(&opened).map_err(|error| walk.io(error))?;
    walk.count(&stat)?;
    walk.enter(c"".to_owned(), opened, &stat)?;
    while !walk.levels.is_empty() {
        walk.step()?;
    }
    Ok(walk.size)
}

/// A walk over a tree, depth first.
struct TreeWalk<'a> {
    bounds: &'a TreeBounds,
    size: TreeSize,
    levels: Vec<WalkLevel>,
    /// Bytes of all names that wait.
    names: usize,
}

/// A directory that the walk is in.
struct WalkLevel {
    name: CString,
    id: (u64, u64),
    /// Kept by the last levels only.
    descriptor: Option<OwnedFd>,
    /// Directories in it that are still to be entered.
    below: Vec<CString>,
}

impl TreeWalk<'_> {
    /// Enters the next directory, or leaves the current one.
    fn step(&mut self) -> Result<(), TreeError> {
        let Some(level) = self.levels.last_mut() else { return Ok(()) };
        let Some(name) = level.below.pop() else { return self.leave() };
        self.names -= name.as_bytes().len();
        let Some(here) = &level.descriptor else { return Err(self.moved()) };
        let opened = match openat(here, name.as_c_str(), DIRECTORY, Mode::empty()) {
            Ok(opened) => opened,
            Err(error) if is_gone(error) => return Ok(()),
            Err(error) => return Err(self.io(error)),
        };
        let stat = fstat(&opened).map_err(|error| self.io(error))?;
        self.enter(name, opened, &stat)
    }

    fn enter(&mut self, name: CString, opened: OwnedFd, stat: &FileStat) -> Result<(), TreeError> {
        if self.levels.len() >= self.bounds.depth {
            return Err(TreeError::Deep { limit: self.bounds.depth, place: self.place() });
        }
        if let Some(far) = self.levels.len().checked_sub(KEPT) {
            self.levels[far].descriptor = None;
        }
        self.levels.push(WalkLevel { name, id: id(stat), descriptor: None, below: Vec::new() });
        let below = self.read(&opened)?;
        if let Some(level) = self.levels.last_mut() {
            (level.descriptor, level.below) = (Some(opened), below);
        }
        Ok(())
    }

    /// Counts the entries of a directory, and answers the directories among them.
    fn read(&mut self, directory: &OwnedFd) -> Result<Vec<CString>, TreeError> {
        let mut below = Vec::new();
        for entry in list(directory).map_err(|error| self.io(error))?.iter() {
            let entry = entry.map_err(|error| self.io(error))?;
            let name = entry.file_name();
            if is_dots(name) {
                continue;
            }
            let stat = match fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                Err(nix::Error::ENOENT) => continue,
                Err(error) => return Err(self.io(error)),
            };
            self.count(&stat)?;
            if is_directory(&stat) {
                self.names += name.to_bytes().len();
                if self.names > NAMES {
                    return Err(TreeError::Names { place: self.place() });
                }
                below.push(name.to_owned());
            }
        }
        Ok(below)
    }

    fn count(&mut self, stat: &FileStat) -> Result<(), TreeError> {
        let blocks = u64::try_from(stat.st_blocks).unwrap_or(0);
        // A name of a file with several names has its part of it. Directories have many links too,
        // and are counted whole.
        #[allow(clippy::useless_conversion)] // Its type depends on the architecture.
        let names = if is_directory(stat) { 1 } else { u64::from(stat.st_nlink.max(1)) };
        self.size.entries += 1;
        self.size.bytes = self.size.bytes.saturating_add((blocks * 512).div_ceil(names));
        if self.size.entries > self.bounds.entries {
            return Err(TreeError::Many { limit: self.bounds.entries, place: self.place() });
        }
        if self.size.bytes > self.bounds.bytes {
            return Err(TreeError::Large { limit: self.bounds.bytes });
        }
        Ok(())
    }

    /// Goes back to the directory above, which must be the one that the walk came from.
    fn leave(&mut self) -> Result<(), TreeError> {
        let Some(left) = self.levels.pop() else { return Ok(()) };
        let Some(above) = self.levels.last() else { return Ok(()) };
        if above.descriptor.is_some() {
            return Ok(());
        }
        let Some(from) = left.descriptor else { return Err(self.moved()) };
        let up = openat(&from, "..", DIRECTORY, Mode::empty());
        let up = up.map_err(|error| self.io(error))?;
        let stat = fstat(&up).map_err(|error| self.io(error))?;
        match self.levels.last_mut() {
            Some(above) if above.id == id(&stat) => above.descriptor = Some(up),
            _ => return Err(self.moved()),
        }
        Ok(())
    }

    fn moved(&self) -> TreeError {
        TreeError::Moved { place: self.place() }
    }

    fn io(&self, error: impl Into<io::Error>) -> TreeError {
        TreeError::Io { place: self.place(), source: error.into() }
    }

    /// The first steps of the path to where the walk is.
    fn place(&self) -> String {
        let steps = self.levels.iter().skip(1).take(TOLD);
        let shown = steps.map(|level| format!("/{}", name::shown(&level.name.to_string_lossy())));
        let rest = if self.levels.len() > TOLD + 1 { "/…" } else { "" };
        let path = shown.collect::<String>();
        if path.is_empty() { "/".to_owned() } else { path + rest }
    }
}

/// The entries of a directory, from the first on.
fn list(directory: &OwnedFd) -> nix::Result<Dir> {
    Dir::openat(directory, ".", DIRECTORY, Mode::empty())
}

fn id(stat: &FileStat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

fn is_directory(stat: &FileStat) -> bool {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR
}

fn is_dots(name: &CStr) -> bool {
    [b".".as_slice(), b".."].contains(&name.to_bytes())
}

/// Whether a directory is not there any more: removed, or something else has its name.
fn is_gone(error: nix::Error) -> bool {
    matches!(error, nix::Error::ENOENT | nix::Error::ENOTDIR | nix::Error::ELOOP)
}

/// Removes a tree or a file; nothing when there is none. Links are removed and not followed.
///
/// # Errors
/// The first entry that could not be removed; all others are removed.
pub fn remove(top: &Path) -> io::Result<()> {
    let opened = match openat(AT_FDCWD, top, DIRECTORY, Mode::empty()) {
        Ok(opened) => opened,
        Err(nix::Error::ENOENT) => return Ok(()),
        Err(error) if is_gone(error) => return std::fs::remove_file(top),
        Err(error) => return Err(error.into()),
    };
    empty(&opened)?;
    std::fs::remove_dir(top)
}

/// Removes everything in a directory, pass by pass. Directories that are not empty are emptied of
/// their files, and what lies in them is moved up: so a walk is never more than one level below the
/// topmost directory, and remembers nothing.
fn empty(top: &OwnedFd) -> io::Result<()> {
    let mut moved = UniqueNames { prefix: format!("{:016x}", rand::random::<u64>()), count: 0 };
    loop {
        let pass = pass(top, &mut moved)?;
        match pass.kept {
            None if !pass.again => return Ok(()),
            Some(error) if !pass.again => return Err(error.into()),
            _ => {}
        }
    }
}

/// Names for what was moved up.
struct UniqueNames {
    prefix: String,
    count: u64,
}

impl UniqueNames {
    fn next(&mut self) -> String {
        self.count += 1;
        format!("{}-{}", self.prefix, self.count)
    }
}

/// The result of a pass over a directory.
#[derive(Default)]
struct RemovalPass {
    /// Whether something went, so that another pass finds other things.
    again: bool,
    kept: Option<nix::Error>,
}

impl RemovalPass {
    fn note(&mut self, done: nix::Result<()>) {
        match done {
            Ok(()) => self.again = true,
            Err(nix::Error::ENOENT) => {}
            Err(error) => {
                self.kept.get_or_insert(error);
            }
        }
    }
}

fn pass(top: &OwnedFd, moved: &mut UniqueNames) -> io::Result<RemovalPass> {
    let mut pass = RemovalPass::default();
    for entry in list(top)?.iter() {
        let entry = entry?;
        let name = entry.file_name();
        if is_dots(name) {
            continue;
        }
        let done = match unlink(top, name, entry.file_type()) {
            Err(nix::Error::ENOTEMPTY | nix::Error::EEXIST) => hollow(top, name, moved),
            done => done,
        };
        pass.note(done);
    }
    Ok(pass)
}

/// Removes a file or an empty directory.
fn unlink(from: &OwnedFd, name: &CStr, kind: Option<Type>) -> nix::Result<()> {
    let file = || unlinkat(from, name, UnlinkatFlags::NoRemoveDir);
    let directory = || unlinkat(from, name, UnlinkatFlags::RemoveDir);
    let other = |error| matches!(error, nix::Error::EISDIR | nix::Error::EPERM);
    match kind {
        Some(Type::Directory) => match directory() {
            Err(nix::Error::ENOTDIR) => file(),
            done => done,
        },
        _ => match file() {
            Err(error) if other(error) => directory().map_err(|again| match again {
                nix::Error::ENOTDIR => error,
                again => again,
            }),
            done => done,
        },
    }
}

/// Empties a directory: its files go, and the directories in it move up beside it. It goes itself
/// when that was all.
fn hollow(top: &OwnedFd, name: &CStr, moved: &mut UniqueNames) -> nix::Result<()> {
    let opened = match openat(top, name, DIRECTORY, Mode::empty()) {
        // Something else has its name now; the next pass sees what.
        Err(error) if is_gone(error) => return Ok(()),
        opened => opened?,
    };
    let (mut went, mut kept) = (false, None);
    for entry in list(&opened)?.iter() {
        let entry = entry?;
        let below = entry.file_name();
        if is_dots(below) {
            continue;
        }
        let done = match unlink(&opened, below, entry.file_type()) {
            Err(nix::Error::ENOTEMPTY | nix::Error::EEXIST) => move_up(&opened, below, top, moved),
            done => done,
        };
        match done {
            Ok(()) => went = true,
            Err(error) => kept = Some(error),
        }
    }
    match (unlinkat(top, name, UnlinkatFlags::RemoveDir), kept) {
        // The rest is read again, as long as a round removes something.
        (Err(_), _) if went => Ok(()),
        (Err(_), Some(kept)) => Err(kept),
        (done, _) => done,
    }
}

fn move_up(from: &OwnedFd, name: &CStr, top: &OwnedFd, moved: &mut UniqueNames) -> nix::Result<()> {
    loop {
        match renameat(from, name, top, moved.next().as_str()) {
            // The name exists already: an untrusted process has guessed it.
            Err(nix::Error::EEXIST | nix::Error::ENOTEMPTY | nix::Error::ENOTDIR) => {}
            done => return done,
        }
    }
}

/// The directory for what could not be removed.
pub const ASIDE: &str = "aside";

/// Makes sure that a name is free: an existing entry is removed, or else moved into `aside`, under
/// its own name if that is free there. A moved entry is logged, with the remedy.
///
/// # Errors
/// When it can be neither removed nor moved.
pub fn clear(path: &Path, aside: &Path) -> io::Result<()> {
    let Err(error) = remove(path) else { return Ok(()) };
    let to = move_aside(path, aside)?;
    tracing::warn!(
        %error,
        was = %path.display(),
        "what an earlier life left could not be removed and was moved aside; it takes disk until \
         somebody removes it: rm -rf {}",
        to.display()
    );
    Ok(())
}

/// The same where the worker can continue without it: an entry that can be neither removed nor
/// moved stays, and that is logged.
pub fn clear_or_leave(path: &Path, aside: &Path) {
    if let Err(error) = clear(path, aside) {
        tracing::warn!(
            %error,
            "{} can be neither removed nor moved aside; it takes disk until somebody removes it: \
             rm -rf {0}",
            path.display()
        );
    }
}

fn move_aside(path: &Path, aside: &Path) -> io::Result<PathBuf> {
    std::fs::create_dir_all(aside)?;
    let name = path.file_name().unwrap_or_default();
    let numbered = |number: u32| {
        let mut name = name.to_owned();
        name.push(format!(".{number}"));
        aside.join(name)
    };
    let free = |path: &PathBuf| path.symlink_metadata().is_err();
    let to = std::iter::once(aside.join(name)).chain((1..).map(numbered)).find(free);
    let to = to.ok_or_else(|| io::Error::other("no name is free"))?;
    std::fs::rename(path, &to)?;
    Ok(to)
}

/// An empty directory of the worker's own: its old content is removed, moved aside, or left with a
/// warning, so that a worker always starts.
///
/// # Errors
/// When it cannot be made or read.
pub fn emptied(directory: &Path, aside: &Path) -> io::Result<()> {
    std::fs::create_dir_all(directory)?;
    for entry in std::fs::read_dir(directory)? {
        clear_or_leave(&entry?.path(), aside);
    }
    Ok(())
}

/// Logs the trees that were moved aside before and are still there.
pub fn tell_aside(aside: &Path) {
    let Ok(entries) = std::fs::read_dir(aside) else { return };
    for entry in entries.flatten() {
        tracing::warn!(
            "{} was moved aside since it could not be removed, and takes disk: rm -rf {0}",
            entry.path().display()
        );
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use nix::sys::stat::mkdirat;

    use super::*;

    const WIDE: TreeBounds = TreeBounds { entries: 1 << 20, depth: 1 << 20, bytes: 1 << 40 };

    /// Makes directories in each other below one; the path of the last is far longer than any path
    /// may be.
    fn nest(top: &Path, count: usize) {
        let mut here = openat(AT_FDCWD, top, DIRECTORY, Mode::empty()).expect("opens");
        for _ in 0..count {
            mkdirat(&here, "deep", Mode::S_IRWXU).expect("makes");
            here = openat(&here, "deep", DIRECTORY, Mode::empty()).expect("opens");
        }
        let flags = OFlag::O_CREAT | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
        let file = openat(&here, "file", flags, Mode::S_IRWXU).expect("makes");
        nix::unistd::write(&file, &[7; 100_000]).expect("writes");
    }

    #[test]
    fn depth_and_long_paths_do_not_matter() {
        let dir = tempfile::tempdir().expect("a directory");
        let top = dir.path().join("top");
        fs::create_dir(&top).expect("makes");
        nest(&top, 20_000);
        let size = measure(&top, &WIDE).expect("is measured");
        assert_eq!(size.entries, 20_002);
        assert!(size.bytes >= 100_000, "{size:?}");
        let deep = measure(&top, &TreeBounds { depth: 100, ..WIDE }).expect_err("is too deep");
        assert_eq!(
            deep.to_string(),
            "directories are nested more than 100 levels deep, in /deep/deep/deep/deep/…"
        );
        remove(&top).expect("is removed");
        assert!(!top.exists());
    }

    /// Removing and measuring use few descriptors, however wide a tree is and wherever it is wide.
    #[test]
    fn a_wide_tree_is_measured_and_removed() {
        let dir = tempfile::tempdir().expect("a directory");
        let top = dir.path().join("top");
        for directory in 0..300 {
            for below in 0..5 {
                let place = top.join(format!("d{directory}/e{below}/f"));
                fs::create_dir_all(&place).expect("makes");
                fs::write(place.join("g"), "x").expect("writes");
            }
        }
        let expected = 1 + 300 * (1 + 5 * 3);
        assert_eq!(measure(&top, &WIDE).expect("is measured").entries, expected);
        let exact = TreeBounds { entries: expected, depth: 4, ..WIDE };
        assert!(measure(&top, &exact).is_ok());
        for tight in [TreeBounds { entries: expected - 1, ..WIDE }, TreeBounds { depth: 3, ..WIDE }]
        {
            let error = measure(&top, &tight).expect_err("is too large").to_string();
            assert!(error.contains("more than"), "{error}");
        }
        remove(&top).expect("is removed");
        assert!(!top.exists());
    }

    #[test]
    fn bytes_are_those_on_disk_and_each_file_counts_once() {
        let dir = tempfile::tempdir().expect("a directory");
        let at = |name: &str| dir.path().join(name);
        let empty = measure(dir.path(), &WIDE).expect("is measured").bytes;
        fs::File::create(at("sparse")).and_then(|file| file.set_len(1 << 40)).expect("makes");
        fs::write(at("file"), vec![1; 1 << 20]).expect("writes");
        for name in 0..9 {
            fs::hard_link(at("file"), at(&format!("again{name}"))).expect("links");
        }
        let bytes = measure(dir.path(), &WIDE).expect("is measured").bytes - empty;
        assert!(((1 << 20)..(2 << 20)).contains(&bytes), "{bytes}");
        let tight = TreeBounds { bytes: 1 << 20, ..WIDE };
        assert!(matches!(measure(dir.path(), &tight), Err(TreeError::Large { .. })));
    }

    #[test]
    fn links_are_never_followed() {
        let dir = tempfile::tempdir().expect("a directory");
        let (top, outside) = (dir.path().join("top"), dir.path().join("outside"));
        fs::create_dir_all(outside.join("below")).expect("makes");
        fs::write(outside.join("below/file"), vec![1; 1 << 20]).expect("writes");
        fs::create_dir_all(top.join("a/b")).expect("makes");
        symlink(&outside, top.join("link")).expect("links");
        symlink(outside.join("below"), top.join("a/b/link")).expect("links");
        symlink("/nothing/at/all", top.join("a/dangling")).expect("links");
        let size = measure(&top, &WIDE).expect("is measured");
        assert_eq!(size.entries, 6);
        assert!(size.bytes < 1 << 20, "{size:?}");
        remove(&top).expect("is removed");
        assert!(!top.exists() && outside.join("below/file").exists());
        // Nor the topmost one.
        symlink(&outside, &top).expect("links");
        assert!(measure(&top, &WIDE).is_err());
        remove(&top).expect("is removed");
        assert!(top.symlink_metadata().is_err() && outside.join("below/file").exists());
        remove(&top).expect("nothing is there");
    }

    /// A directory that was listed becomes a link before it is entered.
    #[test]
    fn a_directory_that_becomes_a_link_is_not_entered() {
        let dir = tempfile::tempdir().expect("a directory");
        let (top, outside) = (dir.path().join("top"), dir.path().join("outside"));
        fs::create_dir_all(top.join("below")).expect("makes");
        fs::create_dir_all(outside.join("of/the/host")).expect("makes");
        let opened = openat(AT_FDCWD, &top, DIRECTORY, Mode::empty()).expect("opens");
        let stat = fstat(&opened).expect("looks");
        let mut walk =
            TreeWalk { bounds: &WIDE, size: TreeSize::default(), levels: vec![], names: 0 };
        walk.enter(c"".to_owned(), opened, &stat).expect("enters");
        fs::remove_dir(top.join("below")).expect("removes");
        symlink(&outside, top.join("below")).expect("links");
        while !walk.levels.is_empty() {
            walk.step().expect("goes on");
        }
        assert_eq!(walk.size.entries, 1, "the entry alone");
        let opened = openat(AT_FDCWD, &top, DIRECTORY, Mode::empty()).expect("opens");
        let mut moved = UniqueNames { prefix: "x".into(), count: 0 };
        hollow(&opened, c"below", &mut moved).expect("leaves it to the next pass");
        assert!(outside.join("of/the/host").exists());
        remove(&top).expect("is removed");
        assert!(outside.join("of/the/host").exists());
    }

    /// Going up leads elsewhere when a directory was moved out of a deep tree meanwhile.
    #[test]
    fn a_walk_does_not_leave_by_a_directory_that_was_moved() {
        let dir = tempfile::tempdir().expect("a directory");
        let top = dir.path().join("top");
        let deep: PathBuf = std::iter::repeat_n("d", 2 * KEPT).collect();
        fs::create_dir_all(top.join(&deep)).expect("makes");
        let opened = openat(AT_FDCWD, &top, DIRECTORY, Mode::empty()).expect("opens");
        let stat = fstat(&opened).expect("looks");
        let mut walk =
            TreeWalk { bounds: &WIDE, size: TreeSize::default(), levels: vec![], names: 0 };
        walk.enter(c"".to_owned(), opened, &stat).expect("enters");
        while walk.levels.len() <= 2 * KEPT {
            walk.step().expect("goes down");
        }
        fs::rename(top.join("d/d"), dir.path().join("elsewhere")).expect("moves");
        let ended = loop {
            if let Err(error) = walk.step() {
                break error;
            }
            assert!(!walk.levels.is_empty(), "it came back to where it never was");
        };
        assert!(matches!(ended, TreeError::Moved { .. }), "{ended}");
    }

    #[test]
    fn what_cannot_be_removed_is_moved_aside() {
        use nix::mount::{MsFlags, mount};
        use nix::sched::{CloneFlags, unshare};
        let dir = tempfile::tempdir().expect("a directory");
        let (store, aside) = (dir.path().join("store"), dir.path().join("aside"));
        if unshare(CloneFlags::CLONE_NEWNS).is_err() {
            return; // Without the privilege for it there is nothing to try.
        }
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_PRIVATE | MsFlags::MS_REC, none).expect("parts mounts");
        for name in ["aside/stuck", "store/stuck/busy", "store/stuck/free", "store/other"] {
            fs::create_dir_all(dir.path().join(name)).expect("makes");
        }
        fs::write(store.join("stuck/busy/file"), "x").expect("writes");
        let busy = store.join("stuck/busy");
        mount(Some(&busy), &busy, none, MsFlags::MS_BIND, none).expect("mounts");
        emptied(&store, &aside).expect("is emptied");
        assert_eq!(fs::read_dir(&store).expect("lists").count(), 0);
        // Its name was taken; what could go is gone.
        let left = aside.join("stuck.1");
        let names = fs::read_dir(&left).expect("lists").map(|entry| entry.expect("an entry"));
        assert_eq!(names.map(|entry| entry.file_name()).collect::<Vec<_>>(), ["busy"]);
    }
}
