//! Watches a running rpmbuild: writes its log, follows its sections, enforces its limits.

use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use rpmfarm_core::Failure;
use rpmfarm_core::diagnosis::{Evidence, RunEnd, diagnose};
use rpmfarm_core::excerpt::{BuildSection, LogReader};
use rpmfarm_core::limits::Limits;
use rpmfarm_core::task::Phase;

use super::log::{LogFile, Observer};
use crate::cages::run::{CageResult, Watcher};
use crate::cages::scratch::Scratch;
use crate::cages::{CancelFlag, StopReason};
use crate::disk::free_mib;
use crate::trees::{self, TreeError};

pub(super) struct BuildWatcher<'a> {
    pub(super) log: LogFile,
    pub(super) reader: LogReader,
    pub(super) limits: &'a Limits,
    pub(super) scratch: &'a Scratch,
    /// A directory on the worker's own disk, and how many MiB must stay free there.
    pub(super) host: (&'a Path, u64),
    pub(super) cancel: &'a CancelFlag,
    pub(super) observer: &'a dyn Observer,
    /// Whether the scratch space was (nearly) full at some time.
    pub(super) disk_filled: bool,
    /// Whether the scratch space had (nearly) no inode left at some time.
    pub(super) inodes_filled: bool,
    /// When a scratch space without a file system of its own is measured next.
    pub(super) next_measurement: Duration,
}

/// How often that is measured, which reads all of its directories; after each measurement the build
/// is left alone for a multiple of the time that it took.
pub(super) const PERIOD: Duration = Duration::from_secs(5);
const REST: u32 = 10;

/// A scratch space counts as full with so much left, in MiB: a file system reserves some for
/// itself.
const FULL_MIB: u64 = 2;
/// It counts as out of inodes with so many left: a script that failed for want of one may have
/// removed some files since.
const FULL_INODES: u64 = 16;

impl BuildWatcher<'_> {
    /// The evidence of the run, which has ended.
    pub(super) fn evidence(&self, ending: RunEnd, ended: &CageResult) -> Evidence {
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

    /// The failure, with the worker's option that would help where there is one.
    pub(super) fn diagnose(&self, evidence: &Evidence) -> Failure {
        with_option(evidence.ending, diagnose(evidence, &self.reader))
    }

    fn check_disk(&mut self) {
        self.disk_filled |= self.scratch.free_mib().is_some_and(|mib| mib < FULL_MIB);
        self.inodes_filled |= self.scratch.free_inodes().is_some_and(|n| n < FULL_INODES);
    }

    /// Measures a scratch space without a file system of its own.
    fn measure(&mut self, running: Duration) -> Option<StopReason> {
        let bounds = self.scratch.bounds().filter(|_| running >= self.next_measurement)?;
        let begun = Instant::now();
        let measured = trees::measure(self.scratch.path(), &bounds);
        self.next_measurement = running + PERIOD.max(begun.elapsed() * REST);
        match measured {
            // A build may move its directories during a measurement; the next measurement finds
            // them.
            Ok(_) | Err(TreeError::Moved { .. }) => return None,
            Err(TreeError::Io { .. }) => return Some(StopReason::HostDisk),
            Err(TreeError::Large { .. }) => self.disk_filled = true,
            Err(_) => self.inodes_filled = true,
        }
        Some(StopReason::Disk)
    }

    fn limit_hit(&self, running: Duration, silent: Duration) -> Option<StopReason> {
        let Limits { seconds, silence_seconds, log_mib, .. } = *self.limits;
        if running.as_secs() >= seconds {
            return Some(StopReason::Time);
        }
        if silent.as_secs() >= silence_seconds {
            return Some(StopReason::Silence);
        }
        if self.log.bytes() > log_mib.saturating_mul(1 << 20) {
            return Some(StopReason::Log);
        }
        let (directory, reserve) = self.host;
        (free_mib(directory)? < reserve).then_some(StopReason::HostDisk)
    }
}

impl Watcher for BuildWatcher<'_> {
    fn wrote(&mut self, bytes: &[u8]) -> io::Result<()> {
        let before = self.reader.part();
        self.reader.feed(bytes);
        if self.reader.saw_no_space() && !self.disk_filled && !self.inodes_filled {
            self.check_disk();
        }
        let part = self.reader.part();
        if part != before
            && let Some(phase) = phase(part)
        {
            self.observer.phase(phase);
        }
        // Output after the limit was exceeded is not written to the log.
        if self.log.bytes() <= self.limits.log_mib.saturating_mul(1 << 20) {
            self.log.write_all(bytes)?;
        }
        Ok(())
    }

    fn check(&mut self, running: Duration, silent: Duration) -> Option<StopReason> {
        if self.cancel.raised().is_some() {
            return Some(StopReason::Cancelled);
        }
        self.check_disk();
        self.limit_hit(running, silent).or_else(|| self.measure(running))
    }
}

const fn phase(part: BuildSection) -> Option<Phase> {
    match part {
        BuildSection::Start => None,
        BuildSection::Prep => Some(Phase::Prep),
        BuildSection::Requires => Some(Phase::Requires),
        BuildSection::Build => Some(Phase::Build),
        BuildSection::Install => Some(Phase::Install),
        BuildSection::Check => Some(Phase::Check),
        BuildSection::Files => Some(Phase::Package),
    }
}

/// A failure with the worker's option that helps.
fn with_option(ending: RunEnd, mut failure: Failure) -> Failure {
    if ending == RunEnd::HostDisk {
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
        let message = |ending| {
            let full = "the worker's disk is full: free space";
            with_option(ending, Failure::new(Fault::Worker, FailureStage::Build, full)).message
        };
        assert!(message(RunEnd::HostDisk).ends_with("free space or lower --cache-size"));
        assert!(message(RunEnd::Disk).ends_with("free space"));
    }
}
