//! What the kernel's log says of a cage: names that no counter has.
//! Source of the format: Documentation/ABI/testing/dev-kmsg, and `dump_oom_victim` in mm/oom_kill.c.
//!
//! Only for messages: where the log cannot be read, the names are missing and nothing else.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt as _;

use rpmfarm_core::name;

/// So many names are told.
const NAMES: usize = 3;
/// The kernel's longest record, with room to spare.
const RECORD: usize = 16 * 1024;
/// Records beyond this number are not read: a log that grows while it is read has no end.
const RECORDS: usize = 100_000;

/// Names of the processes that were killed for memory in the control group of this name, the first
/// ones, each once.
pub(super) fn oom_victims(group: &str) -> Vec<String> {
    let flags = nix::libc::O_NONBLOCK | nix::libc::O_CLOEXEC;
    let Ok(mut log) = File::options().read(true).custom_flags(flags).open("/dev/kmsg") else {
        return Vec::new();
    };
    let mut names: Vec<String> = Vec::new();
    let mut record = vec![0; RECORD];
    for _ in 0..RECORDS {
        match log.read(&mut record) {
            Ok(0) => break,
            Ok(length) => {
                let text = String::from_utf8_lossy(&record[..length]);
                if let Some(name) = victim(&text, group)
                    && !names.contains(&name)
                {
                    names.push(name);
                }
            }
            // Older records were overwritten meanwhile: the next read goes on behind them.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
            Err(_) => break,
        }
        if names.len() == NAMES {
            break;
        }
    }
    names
}

/// The process of a record on a kill in this group.
fn victim(record: &str, group: &str) -> Option<String> {
    let (_, said) = record.split_once("oom-kill:")?;
    let (_, after) = said.split_once(",task_memcg=")?;
    let (path, after) = after.split_once(",task=")?;
    // A process chooses its own name, and may put commas and equal signs into it.
    let (task, _) = after.rsplit_once(",pid=")?;
    (path.rsplit('/').next() == Some(group)).then(|| name::shown(task))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: &str = "6,901,5113,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),\
        cpuset=/,mems_allowed=0,oom_memcg=/rpmfarm/cage-build-7-1,\
        task_memcg=/rpmfarm/cage-build-7-1,task=cc1plus,pid=41,uid=1879049192\n";

    #[test]
    fn a_victim_is_found_by_its_group() {
        assert_eq!(victim(RECORD, "cage-build-7-1"), Some("cc1plus".into()));
        assert_eq!(victim(RECORD, "cage-build-7-11"), None);
        assert_eq!(victim(RECORD, "build-7-1"), None);
        let odd = RECORD.replace("cc1plus", "a,pid=1\u{1b}");
        assert_eq!(victim(&odd, "cage-build-7-1"), Some("a,pid=1\u{fffd}".into()));
        assert_eq!(victim("6,1,1,-;Linux version 6", "cage-build-7-1"), None);
    }
}
