//! Why an rpmbuild that ended badly ended, and whose fault that is.

use crate::excerpt::{LogReader, Part};
use crate::limits::Limits;
use crate::spec::{undefined, unexpanded};
use crate::{Failure, Fault};

/// How the run ended, as seen from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// rpmbuild ended with this exit status; signals are 128 and their number.
    Status(u8),
    /// It was killed: its whole time was over.
    Time,
    /// It was killed: it had written nothing for too long.
    Silence,
    /// It was killed: its log was too long.
    Log,
    /// It was killed: the worker's own disk was nearly full.
    HostDisk,
}

/// What is known about a run beside its log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// How it ended.
    pub ending: Ending,
    /// Processes that were killed because the build reached its memory limit.
    pub oom_kills: u64,
    /// New processes that were refused because the build reached its limit of them.
    pub forks_refused: u64,
    /// Whether the build's own disk space was (nearly) used up at some time.
    pub disk_filled: bool,
    /// The limits that held.
    pub limits: Limits,
}

/// What rpmbuild exits with when requirements are not installed.
const UNMET_REQUIREMENTS: u8 = 11;
/// 128 and SIGKILL.
const KILLED: u8 = 137;

/// Says why a run failed. Limits come first: they are the cause of what the log shows.
#[must_use]
pub fn diagnose(evidence: &Evidence, log: &LogReader) -> Failure {
    let (fault, message) = verdict(evidence, log);
    Failure::new(fault, stage(evidence, log), message).with_excerpt(log.excerpt())
}

fn stage(evidence: &Evidence, log: &LogReader) -> &'static str {
    match evidence.ending {
        Ending::Status(UNMET_REQUIREMENTS) if log.part() == Part::Start => "resolve",
        _ => log.part().as_str(),
    }
}

fn verdict(evidence: &Evidence, log: &LogReader) -> (Fault, String) {
    let limits = &evidence.limits;
    let part = part_name(log.part());
    let package = |message: String| (Fault::Package, message);
    match evidence.ending {
        Ending::Time => package(format!(
            "{part} did not end: the build was killed after its {}",
            duration(limits.seconds)
        )),
        Ending::Silence => package(format!(
            "{part} wrote nothing for {}: the build was killed",
            duration(limits.silence_seconds)
        )),
        Ending::Log => package(format!("{part} wrote a log of more than {} MiB", limits.log_mib)),
        Ending::HostDisk => {
            (Fault::Worker, "the worker's disk is full: free space or lower --cache-size".into())
        }
        Ending::Status(_) if evidence.oom_kills > 0 => {
            package(format!("{part} needed more than its {} MiB of memory", limits.memory_mib))
        }
        Ending::Status(_) if evidence.disk_filled && log.saw_no_space() => {
            package(format!("{part} filled its {} MiB of disk space", limits.disk_mib))
        }
        Ending::Status(_) if evidence.forks_refused > 0 => {
            package(format!("{part} reached its limit of {} processes", limits.processes))
        }
        Ending::Status(KILLED) => {
            (Fault::Worker, format!("{part} was killed from outside, without reaching a limit"))
        }
        Ending::Status(UNMET_REQUIREMENTS) if log.part() == Part::Start => {
            (Fault::Farm, "the build root lacks packages that the spec requires".into())
        }
        Ending::Status(status) => package(failed(part, status, log)),
    }
}

fn failed(part: &str, status: u8, log: &LogReader) -> String {
    match log.cause() {
        Some(cause) => {
            // Before any script, rpm's own words are shown, with the macro as the spec has it.
            let name = unexpanded(cause).filter(|_| log.part() == Part::Start);
            let remedy = name.map_or_else(String::new, |name| format!("; {}", undefined(name)));
            format!("{part} failed: {}{remedy}", cause.trim())
        }
        None => format!("{part} failed with exit status {status}"),
    }
}

const fn part_name(part: Part) -> &'static str {
    match part {
        Part::Start => "reading the spec",
        Part::Prep => "%prep",
        Part::Requires => "%generate_buildrequires",
        Part::Build => "%build",
        Part::Install => "%install",
        Part::Check => "%check",
        Part::Files => "packaging",
    }
}

fn duration(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} seconds"),
        120..7200 => format!("{} minutes", seconds / 60),
        _ => format!("{} hours", seconds / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evidence(ending: Ending) -> Evidence {
        let limits = Limits { seconds: 90, disk_mib: 64, ..Limits::default() };
        Evidence { ending, oom_kills: 0, forks_refused: 0, disk_filled: false, limits }
    }

    fn told(evidence: &Evidence, log: &str) -> (Fault, String, String) {
        let mut reader = LogReader::new();
        reader.feed(log.as_bytes());
        let failure = diagnose(evidence, &reader);
        (failure.fault, failure.stage, failure.message)
    }

    #[test]
    fn a_macro_that_nothing_defines() {
        let log = "error: line 7: Dependency tokens must begin with alpha-numeric, '_' or '/': \
                   BuildRequires: %{py_req}\n";
        let (fault, _, message) = told(&evidence(Ending::Status(1)), log);
        assert_eq!(fault, Fault::Package);
        let words = "; the macro %{py_req} is not defined: set it in the target under [macros]";
        assert!(message.contains(words), "{message}");
        // What a script prints is its own.
        let log = format!("Executing(%build): x\n{log}");
        let (.., message) = told(&evidence(Ending::Status(1)), &log);
        assert!(!message.contains("is not defined"), "{message}");
    }

    #[test]
    fn whose_fault_it_is() {
        use Fault::{Farm, Package, Worker};
        let build = "Executing(%build): x\n";
        let error = "Executing(%check): x\nFAIL: t1\n";
        let full = "Executing(%install): x\ncp: error writing 'a': No space left on device\n";
        let status = evidence(Ending::Status(1));
        let table = [
            (status.clone(), error, Package, "check", "%check failed: FAIL: t1"),
            (status.clone(), build, Package, "build", "%build failed with exit status 1"),
            (
                evidence(Ending::Time),
                build,
                Package,
                "build",
                "%build did not end: the build was killed after its 90 seconds",
            ),
            (
                evidence(Ending::Silence),
                build,
                Package,
                "build",
                "%build wrote nothing for 3 hours: the build was killed",
            ),
            (
                evidence(Ending::Log),
                build,
                Package,
                "build",
                "%build wrote a log of more than 256 MiB",
            ),
            (
                evidence(Ending::HostDisk),
                build,
                Worker,
                "build",
                "the worker's disk is full: free space or lower --cache-size",
            ),
            (
                Evidence { oom_kills: 2, ..status.clone() },
                build,
                Package,
                "build",
                "%build needed more than its 8192 MiB of memory",
            ),
            (
                Evidence { disk_filled: true, ..status.clone() },
                full,
                Package,
                "install",
                "%install filled its 64 MiB of disk space",
            ),
            (
                status.clone(),
                full,
                Package,
                "install",
                "%install failed: cp: error writing 'a': No space left on device",
            ),
            (
                Evidence { forks_refused: 1, ..status },
                build,
                Package,
                "build",
                "%build reached its limit of 8192 processes",
            ),
            (
                evidence(Ending::Status(137)),
                build,
                Worker,
                "build",
                "%build was killed from outside, without reaching a limit",
            ),
            (
                evidence(Ending::Status(11)),
                "error: Failed build dependencies:\n\tfoo is needed by a\n",
                Farm,
                "resolve",
                "the build root lacks packages that the spec requires",
            ),
        ];
        for (evidence, log, fault, stage, message) in table {
            let expected = (fault, stage.to_owned(), message.to_owned());
            assert_eq!(told(&evidence, log), expected, "{evidence:?}");
        }
    }
}
