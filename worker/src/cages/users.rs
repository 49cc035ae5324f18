//! The user namespace of a cage, and the user whom the kernel charges for its resources.
//!
//! What the kernel counts for a user (inotify instances and watches, namespaces, signals that wait,
//! message queues) counts in a namespace for the id there, and besides, all together, for the id
//! that made the namespace. crun would make it as the host's root, and a build could then take all
//! that root may have. So it is made here, by an id that is this cage's alone while it lives, with
//! limits that nothing in the cage can raise, and crun joins it.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, bail, ensure};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{Uid, seteuid};
use rpmfarm_core::id_ranges::{IdRange, cage_map};
use rpmfarm_core::{Allowance, Allowed};
use serde::{Deserialize, Serialize};

use super::cage::ID_COUNT;

/// The users of one cage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CageUsers {
    /// The host's ids of the cage; the first is root in it.
    pub(super) ids: IdRange,
    /// The host's id that makes the namespace and is charged for all of it.
    pub(super) owner: u32,
    /// Whether the cage may have namespaces of its own in it.
    pub(super) nested: bool,
}

/// Of a worker's ids on disk so many, the last ones, own cages; no file belongs to them.
const OWNERS: u32 = 1 << 16;

/// Where the namespace is bound, in the cage's directory.
const NAMESPACE: &str = "users";

/// Per user in the cage: what a kernel gives by default, whatever the host has been set to. Where
/// the host has less, that holds.
const COUNTS: &[(&str, u64)] = &[
    ("max_inotify_instances", 128),
    ("max_inotify_watches", 65_536),
    ("max_fanotify_groups", 128),
    ("max_fanotify_marks", 8192),
];

/// Kinds of namespaces: `max_KIND_namespaces`. crun makes one of each but of users.
const KINDS: &[&str] = &["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"];
/// How many of each kind a user in the cage may make, without and with `user_namespaces`.
const NAMESPACES: (u64, u64) = (8, 1024);

/// Resource limits that the kernel counts for a user and not for a process: pending signals, bytes
/// of message queues, and bytes of locked shared memory. They apply to each user in the cage and to
/// all of them together.
pub(super) const COUNTED: &[(&str, Resource, u64)] = &[
    ("RLIMIT_MEMLOCK", Resource::RLIMIT_MEMLOCK, 8 << 20),
    ("RLIMIT_MSGQUEUE", Resource::RLIMIT_MSGQUEUE, 819_200),
    ("RLIMIT_SIGPENDING", Resource::RLIMIT_SIGPENDING, 32_768),
];

impl CageUsers {
    /// The users of the next cage of this process, whose ids are these and have the ids of `disk`
    /// in its files; with an owner that no other of its living cages has.
    pub(super) fn next(ids: IdRange, disk: IdRange, allow: &Allowed) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        // Workers with the same ids, each with a data directory of its own, begin elsewhere.
        let number = NEXT.fetch_add(1, Ordering::Relaxed).wrapping_add(std::process::id());
        let nested = allow.contains(&Allowance::UserNamespaces);
        Self { ids, owner: disk.first() + (ID_COUNT - 1 - number % OWNERS), nested }
    }

    /// The limits that are written to `/proc/sys/user` in the namespace.
    fn counts(&self) -> Vec<(String, u64)> {
        let namespaces = if self.nested { NAMESPACES.1 } else { NAMESPACES.0 };
        let kinds = KINDS.iter().map(|kind| (format!("max_{kind}_namespaces"), namespaces));
        COUNTS.iter().map(|(name, most)| ((*name).to_owned(), *most)).chain(kinds).collect()
    }

    /// Where the namespace of a cage is bound.
    pub(super) fn place(directory: &Path) -> PathBuf {
        directory.join(NAMESPACE)
    }

    /// Makes the namespace through a process that becomes its owner, and binds it at its place. To
    /// be called by the cage's init, whose `/proc` shows that process.
    pub(super) fn create(&self, directory: &Path) -> Result<()> {
        let mut owner = Command::new(std::env::current_exe()?)
            .arg("cage-owner")
            .arg(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting the owner of the user namespace")?;
        let (asks, says) = (owner.stdin.take(), owner.stdout.take());
        let (mut asks, says) = asks.zip(says).context("no pipes to the owner")?;
        let mut says = BufReader::new(says);
        expect(&mut says, MADE)?;
        let process = PathBuf::from(format!("/proc/{}", owner.id()));
        for map in ["uid_map", "gid_map"] {
            fs::write(process.join(map), cage_map(self.ids))
                .with_context(|| format!("writing {map}"))?;
        }
        asks.write_all(b"\n")?;
        expect(&mut says, LIMITED)?;
        let place = Self::place(directory);
        File::create(&place)?;
        let none = None::<&str>;
        mount(Some(&process.join("ns/user")), &place, none, MsFlags::MS_BIND, none)
            .context("binding the user namespace")?;
        // The owner ends when nobody can ask any more.
        drop(asks);
        ensure!(owner.wait()?.success(), "the owner of the user namespace failed");
        Ok(())
    }

    /// The owner process: becomes the owner, makes the namespace, and limits it when its ids are
    /// mapped. Errors are printed on standard output, because it can write nowhere else.
    pub(super) fn own(&self) -> u8 {
        let mut says = io::stdout();
        let mut asks = io::stdin();
        let done = self.own_namespace(&mut asks, &mut says);
        if let Err(error) = &done {
            // The reader is dead in that case.
            let _ = writeln!(says, "{error:#}");
        }
        u8::from(done.is_err())
    }

    fn own_namespace(&self, asks: &mut impl Read, says: &mut impl Write) -> Result<()> {
        for (name, resource, most) in COUNTED {
            let most = at_most(*resource, *most);
            setrlimit(*resource, most, most).with_context(|| format!("setting {name}"))?;
        }
        // Some hosts let nobody without privileges make user namespaces. On the others, in a
        // container that may not change this, it works without.
        let _ = keep_privileges();
        seteuid(Uid::from_raw(self.owner)).context("becoming the owner")?;
        unshare(CloneFlags::CLONE_NEWUSER).context("making the user namespace")?;
        writeln!(says, "{MADE}")?;
        says.flush()?;
        asks.read_exact(&mut [0])?;
        for (name, most) in self.counts() {
            limit(&Path::new("/proc/sys/user").join(&name), most)
                .with_context(|| format!("limiting {name}"))?;
        }
        writeln!(says, "{LIMITED}")?;
        says.flush()?;
        // Until the namespace is bound.
        asks.read_to_end(&mut Vec::new())?;
        Ok(())
    }
}

/// The owner's words when the namespace is there, and when its limits are set.
pub(super) const MADE: &str = "made";
const LIMITED: &str = "limited";

/// Waits for a word of the process that makes a user namespace; anything else is its error.
pub(super) fn expect(says: &mut impl BufRead, word: &str) -> Result<()> {
    let mut line = String::new();
    says.take(4096).read_line(&mut line)?;
    match line.trim_end() {
        answer if answer == word => Ok(()),
        "" => bail!("the process that makes the user namespace ended before it was {word}"),
        answer => bail!("{answer}"),
    }
}

/// Lowers a count; an older kernel does not count everything.
fn limit(file: &Path, most: u64) -> io::Result<()> {
    match fs::write(file, most.to_string()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        written => written,
    }
}

/// A resource limit that is not above the worker's own: raising it would need a privilege.
pub(super) fn at_most(resource: Resource, most: u64) -> u64 {
    getrlimit(resource).map_or(most, |(_, own)| most.min(own))
}

/// The one call for which there is no safe wrapper.
fn keep_privileges() -> io::Result<()> {
    /// `SECBIT_NO_SETUID_FIXUP`, include/uapi/linux/securebits.h: another user id takes no
    /// capabilities away.
    const NO_SETUID_FIXUP: nix::libc::c_ulong = 1 << 2;
    // SAFETY: this option has integers as its arguments and touches no memory of the process.
    #[allow(unsafe_code)]
    let done = unsafe { nix::libc::prctl(nix::libc::PR_SET_SECUREBITS, NO_SETUID_FIXUP, 0, 0, 0) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: u32) -> IdRange {
        IdRange::new(first, ID_COUNT).expect("a range")
    }

    #[test]
    fn cages_have_owners_of_their_own() {
        let (disk, own) = (range(1 << 30), range(1 << 31));
        let next = || CageUsers::next(own, disk, &Allowed::new());
        let (one, two) = (next(), next());
        assert_ne!(one.owner, two.owner);
        let end = disk.first() + ID_COUNT;
        for users in [&one, &two] {
            assert_eq!(users.ids, own);
            assert!((end - OWNERS..end).contains(&users.owner));
        }
    }

    #[test]
    fn namespaces_are_few_unless_a_build_may_make_them() {
        let most = |allow: Allowed| {
            let counts = CageUsers::next(range(1 << 30), range(1 << 30), &allow).counts();
            counts.into_iter().find(|(name, _)| name == "max_mnt_namespaces").map(|(_, most)| most)
        };
        assert_eq!(most(Allowed::new()), Some(8));
        assert_eq!(most([Allowance::UserNamespaces].into()), Some(1024));
    }

    #[test]
    fn an_owner_that_fails_is_heard() {
        assert!(expect(&mut b"made\n".as_slice(), MADE).is_ok());
        let error = expect(&mut b"making the user namespace: EPERM\n".as_slice(), MADE);
        assert_eq!(error.expect_err("failed").to_string(), "making the user namespace: EPERM");
        assert!(expect(&mut b"".as_slice(), MADE).is_err());
    }
}
