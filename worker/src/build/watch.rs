//! Watches a running rpmbuild: keeps its log, follows its parts, enforces its limits.

use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use rpmfarm_core::Failure;
use rpmfarm_core::diagnosis::{Ending, Evidence, diagnose};
use rpmfarm_core::excerpt::{LogReader, Part};
use rpmfarm_core::limits::Limits;
use rpmfarm_core::task::Phase;

use super::log::{LogFile, Observer};
use crate::disk::free_mib;
use crate::sandbox::run::{Ended, Watcher};
use crate::sandbox::scratch::Scratch;
use crate::sandbox::{Cancel, Stop};
use crate::trees::{self, TreeError};

/// Watches one build.
pub(super) struct Watch<'a> {
    pub(super) log: LogFile,
    pub(super) reader: LogReader,
    pub(super) limits: &'a Limits,
    pub(super) scratch: &'a Scratch,
    /// A directory on the worker's own disk, and how many MiB must stay free there.
    pub(super) host: (&'a Path, u64),
    pub(super) cancel: &'a Cancel,
    pub(super) observer: &'a dyn Observer,
    /// Whether the scratch space was (nearly) used up at some time.
    pub(super) disk_filled: bool,
    /// Whether it had (nearly) no inode left at some time.
    pub(super) inodes_filled: bool,
    /// When a scratch space without a file system of its own is measured next.
    pub(super) next_look: Duration,
}

/// How often that is done, which reads all of its directories; and so many times as long as it took,
/// the build is left alone afterwards.
pub(super) const LOOK: Duration = Duration::from_secs(5);
const REST: u32 = 10;

/// Of a scratch space, what is left when it counts as used up, in MiB: a file system keeps some
/// for itself.
const FULL_MIB: u64 = 2;
/// Of its inodes, so many: a script that failed for want of one may have removed a few files since.
const FULL_INODES: u64 = 16;

impl Watch<'_> {
    /// What is known of the run, now that it has ended.
    pub(super) fn evidence(&self, ending: Ending, ended: &Ended) -> Evidence {
        Evidence {
            ending,
            oom_kills: ended.events.oom_kills,
            memory_at_limit: !ended.victims.outside,
            oom_victims: ended.victims.names.clone(),
            forks_refused: ended.events.forks_refused,
            disk_filled: self.disk_filled,
            inodes_filled: self.inodes_filled,
            limits: self.limits.clone(),
        }
    }

    /// What the evidence says, with the option that helps where there is one.
    pub(super) fn diagnose(&self, evidence: &Evidence) -> Failure {
        with_option(evidence.ending, diagnose(evidence, &self.reader))
    }

    fn look_at_disk(&mut self) {
        self.disk_filled |= self.scratch.free_mib().is_some_and(|mib| mib < FULL_MIB);
        self.inodes_filled |= self.scratch.free_inodes().is_some_and(|n| n < FULL_INODES);
    }

    /// Measures a scratch space that has no file system of its own to limit it.
    fn measure(&mut self, running: Duration) -> Option<Stop> {
        let bounds = self.scratch.bounds().filter(|_| running >= self.next_look)?;
        let begun = Instant::now();
        let measured = trees::measure(self.scratch.path(), &bounds);
        self.next_look = running + LOOK.max(begun.elapsed() * REST);
        match measured {
            // A build may move its directories; the next look finds them elsewhere.
            Ok(_) | Err(TreeError::Moved { .. }) => return None,
            Err(TreeError::Io { .. }) => return Some(Stop::HostDisk),
            Err(TreeError::Large { .. }) => self.disk_filled = true,
            Err(_) => self.inodes_filled = true,
        }
        Some(Stop::Disk)
    }

    fn limit_hit(&self, running: Duration, silent: Duration) -> Option<Stop> {
        let Limits { seconds, silence_seconds, log_mib, .. } = *self.limits;
        if running.as_secs() >= seconds {
            return Some(Stop::Time);
        }
        if silent.as_secs() >= silence_seconds {
            return Some(Stop::Silence);
        }
        if self.log.bytes() > log_mib.saturating_mul(1 << 20) {
            return Some(Stop::Log);
        }
        let (directory, reserve) = self.host;
        (free_mib(directory)? < reserve).then_some(Stop::HostDisk)
    }
}

impl Watcher for Watch<'_> {
    fn wrote(&mut self, bytes: &[u8]) -> io::Result<()> {
        let before = self.reader.part();
        self.reader.feed(bytes);
        if self.reader.saw_no_space() && !self.disk_filled && !self.inodes_filled {
            self.look_at_disk();
        }
        let part = self.reader.part();
        if part != before
            && let Some(phase) = phase(part)
        {
            self.observer.phase(phase);
        }
        // What comes until the build is stopped for it belongs to no log.
        if self.log.bytes() <= self.limits.log_mib.saturating_mul(1 << 20) {
            self.log.write_all(bytes)?;
        }
        Ok(())
    }

    fn check(&mut self, running: Duration, silent: Duration) -> Option<Stop> {
        if self.cancel.raised().is_some() {
            return Some(Stop::Cancelled);
        }
        self.look_at_disk();
        self.limit_hit(running, silent).or_else(|| self.measure(running))
    }
}

const fn phase(part: Part) -> Option<Phase> {
    match part {
        Part::Start => None,
        Part::Prep => Some(Phase::Prep),
        Part::Requires => Some(Phase::Requires),
        Part::Build => Some(Phase::Build),
        Part::Install => Some(Phase::Install),
        Part::Check => Some(Phase::Check),
        Part::Files => Some(Phase::Package),
    }
}

/// A failure with the worker's option that helps.
fn with_option(ending: Ending, mut failure: Failure) -> Failure {
    if ending == Ending::HostDisk {
        failure.message.push_str(" or lower --cache-size");
    }
    failure
}

#[cfg(test)]
mod tests {
    use rpmfarm_core::{FailureStage, Fault};

    use super::*;

    #[test]
    fn a_full_disk_names_the_option_that_helps() {
        let told = |ending| {
            let full = "the worker's disk is full: free space";
            with_option(ending, Failure::new(Fault::Worker, FailureStage::Build, full)).message
        };
        assert!(told(Ending::HostDisk).ends_with("free space or lower --cache-size"));
        assert!(told(Ending::Disk).ends_with("free space"));
    }
}
