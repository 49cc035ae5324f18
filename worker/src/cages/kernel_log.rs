//! Messages of the kernel's log about a cage: the names of killed processes, which no counter has.
//! Source of the format: Documentation/ABI/testing/dev-kmsg, and `dump_oom_victim` in
//! mm/oom_kill.c.
//!
//! For messages only: where the log cannot be read, the names are missing and nothing else.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;

use rpmfarm_core::name;

/// How many names are listed.
const NAMES: usize = 3;
/// The kernel's longest record, with room to spare.
const RECORD: usize = 16 * 1024;
/// How many records are read at most, because a log may grow while it is read.
const RECORDS: usize = 100_000;

/// The log from a moment on.
pub(super) struct KernelLog(Option<File>);

/// Processes that the kernel killed for memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OomVictims {
    /// Their names, the first ones, each once.
    pub names: Vec<String>,
    /// Whether memory ran out elsewhere than in the control group that they were in: on the host,
    /// or in a group above.
    pub outside: bool,
}

impl KernelLog {
    /// From now on, because names of control groups are used again.
    pub(super) fn from_now() -> Self {
        let flags = nix::libc::O_NONBLOCK | nix::libc::O_CLOEXEC;
        let log = File::options().read(true).custom_flags(flags).open("/dev/kmsg").ok();
        // Behind the last present record.
        Self(log.filter(|mut log| log.seek(SeekFrom::End(0)).is_ok()))
    }

    /// The processes of this control group that were killed for memory since then.
    pub(super) fn victims(self, group: &str) -> OomVictims {
        let mut victims = OomVictims::default();
        let Some(mut log) = self.0 else { return victims };
        let mut record = vec![0; RECORD];
        for _ in 0..RECORDS {
            match log.read(&mut record) {
                Ok(0) => break,
                Ok(length) => {
                    let text = String::from_utf8_lossy(&record[..length]);
                    let Some(victim) = victim(&text, group) else { continue };
                    victims.outside |= victim.outside;
                    if victims.names.len() < NAMES && !victims.names.contains(&victim.name) {
                        victims.names.push(victim.name);
                    }
                }
                // Older records were overwritten: the next read continues behind them.
                Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
                Err(_) => break,
            }
        }
        victims
    }
}

#[derive(Debug, PartialEq, Eq)]
struct OomVictim {
    name: String,
    outside: bool,
}

/// The process of a record on a kill in this group.
fn victim(record: &str, group: &str) -> Option<OomVictim> {
    let (_, fields) = record.split_once("oom-kill:")?;
    let (before, after) = fields.split_once(",task_memcg=")?;
    let (path, after) = after.split_once(",task=")?;
    // A process chooses its own name, and may put commas and equal signs into it.
    let (task, _) = after.rsplit_once(",pid=")?;
    let last = |path: &str| path.rsplit('/').next() == Some(group);
    let full = before.split_once(",oom_memcg=").map(|(_, path)| path);
    last(path).then(|| OomVictim { name: name::shown(task), outside: !full.is_some_and(last) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "6,901,5113,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),\
        cpuset=/,mems_allowed=0,oom_memcg=/rpmfarm/cage-build-7-1,\
        task_memcg=/rpmfarm/cage-build-7-1,task=cc1plus,pid=41,uid=1879049192\n";

    #[test]
    fn a_victim_is_found_by_its_group() {
        let found = |record: &str, group| victim(record, group);
        let inside = |name: &str| Some(OomVictim { name: name.into(), outside: false });
        assert_eq!(found(LINE, "cage-build-7-1"), inside("cc1plus"));
        assert_eq!(found(LINE, "cage-build-7-11"), None);
        assert_eq!(found(LINE, "build-7-1"), None);
        let odd = LINE.replace("cc1plus", "a,pid=1\u{1b}");
        assert_eq!(found(&odd, "cage-build-7-1"), inside("a,pid=1\u{fffd}"));
        assert_eq!(found("6,1,1,-;Linux version 6", "cage-build-7-1"), None);
    }

    #[test]
    fn memory_that_ran_out_elsewhere_is_told_apart() {
        let host = LINE.replace("oom_memcg=/rpmfarm/cage-build-7-1", "global_oom");
        let above = LINE.replace("oom_memcg=/rpmfarm/cage-build-7-1", "oom_memcg=/rpmfarm");
        for record in [host, above] {
            let victim = victim(&record, "cage-build-7-1").expect("it is in the group");
            assert!(victim.outside, "{record}");
        }
    }
}
