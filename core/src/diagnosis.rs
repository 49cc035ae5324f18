//! Why rpmbuild failed, and whose fault that is.

use crate::excerpt::{BuildSection, LogReader};
use crate::limits::Limits;
use crate::unexpanded::{undefined, unexpanded_in_message};
use crate::{Failure, FailureStage, Fault};

/// How the run of rpmbuild ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunEnd {
    /// rpmbuild ended with this exit status; signals are 128 and their number.
    Status(u8),
    /// It was killed because its time was over.
    Time,
    /// It was killed because it had written nothing for too long.
    Silence,
    /// It was killed because its log was too long.
    Log,
    /// It was killed because the worker's own disk was nearly full.
    HostDisk,
    /// It was killed because it used more disk space, or had more files, than it may.
    Disk,
}

/// The facts about a run besides its log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    pub ending: RunEnd,
    /// Processes that the kernel killed because memory ran out.
    pub oom_kills: u64,
    /// Whether the build reached its own limit. If the kernel's log says otherwise, memory ran out
    /// elsewhere: on the host, or in the worker's service.
    pub memory_at_limit: bool,
    /// Names of the processes that the kernel killed because memory ran out, as far as its log
    /// says.
    pub oom_victims: Vec<String>,
    /// New processes that were refused because the build reached its limit of them.
    pub forks_refused: u64,
    /// Whether the build's own disk space was (nearly) used up at some time.
    pub disk_filled: bool,
    /// Whether the file system of that disk space had no inode left at some time.
    pub inodes_filled: bool,
    /// The limits that held.
    pub limits: Limits,
}

/// rpmbuild's exit status when requirements are not installed.
const UNMET_REQUIREMENTS: u8 = 11;

/// Says why a run failed. Limits are checked first, because they cause the errors in the log.
#[must_use]
pub fn diagnose(evidence: &Evidence, log: &LogReader) -> Failure {
    let (fault, message) = verdict(evidence, log);
    Failure::new(fault, stage(evidence, log), message).with_excerpt(log.excerpt())
}

fn stage(evidence: &Evidence, log: &LogReader) -> FailureStage {
    match evidence.ending {
        RunEnd::Status(UNMET_REQUIREMENTS) if log.part() == BuildSection::Start => {
            FailureStage::Transaction
        }
        _ => FailureStage::from(log.part()),
    }
}

fn verdict(evidence: &Evidence, log: &LogReader) -> (Fault, String) {
    let limits = &evidence.limits;
    let part = part_name(log.part());
    let package = |message: String| (Fault::Package, message);
    match evidence.ending {
        RunEnd::Time => package(format!(
            "{part} did not end: the build was killed after its {} (limit `seconds`)",
            duration(limits.seconds)
        )),
        RunEnd::Silence => package(format!(
            "{part} wrote nothing for {}: the build was killed (limit `silence_seconds`)",
            duration(limits.silence_seconds)
        )),
        RunEnd::Log => package(format!(
            "{part} wrote a log of more than {} MiB (limit `log_mib`)",
            limits.log_mib
        )),
        RunEnd::HostDisk => (Fault::Worker, "the worker's disk is full: free space".into()),
        RunEnd::Disk if evidence.inodes_filled => package(no_inode(part, limits)),
        RunEnd::Disk => package(no_space(part, limits)),
        RunEnd::Status(_) if evidence.oom_kills > 0 => out_of_memory(evidence, part),
        RunEnd::Status(_) if evidence.inodes_filled && log.saw_no_space() => {
            package(no_inode(part, limits))
        }
        RunEnd::Status(_) if evidence.disk_filled && log.saw_no_space() => {
            package(no_space(part, limits))
        }
        RunEnd::Status(_) if evidence.forks_refused > 0 => package(format!(
            "{part} reached its limit of {} processes (limit `processes`)",
            limits.processes
        )),
        // The worker reports when it kills, the kernel counts when it kills for memory, and nobody
        // else outside can signal a process in a cage unless the runtime dies with it, which is an
        // error of the runtime. So a process of the build did it, as a test that kills whatever it
        // can.
        RunEnd::Status(status) if signal(status).is_some() => package(format!(
            "rpmbuild was killed by the build itself ({} in {part}, and no limit was reached): look for \
             a test or script that sends signals to its parents or to every process",
            signal(status).unwrap_or_default()
        )),
        RunEnd::Status(UNMET_REQUIREMENTS) if log.part() == BuildSection::Start => {
            (Fault::Worker, format!("the build root lacks what the spec requires{}", unmet(log)))
        }
        RunEnd::Status(status) => package(failed(part, status, log)),
    }
}

fn no_inode(part: &str, limits: &Limits) -> String {
    format!(
        "{part} made more files than fit: its {} MiB of disk space had no inode left (a larger limit \
         `disk_mib` brings more)",
        limits.disk_mib
    )
}

fn no_space(part: &str, limits: &Limits) -> String {
    format!("{part} filled its {} MiB of disk space (limit `disk_mib`)", limits.disk_mib)
}

fn out_of_memory(evidence: &Evidence, part: &str) -> (Fault, String) {
    let killed = match evidence.oom_victims.as_slice() {
        [] => String::new(),
        names => format!(": the kernel killed {}", names.join(", ")),
    };
    if evidence.memory_at_limit {
        let mib = evidence.limits.memory_mib;
        let message =
            format!("{part} needed more than its {mib} MiB of memory{killed} (limit `memory_mib`)");
        return (Fault::Package, message);
    }
    let message = format!(
        "the worker's host ran out of memory while {part} was within its limit{killed}: give the \
         worker fewer slots or more memory"
    );
    (Fault::Worker, message)
}

/// The signal that an exit status of a shell stands for, where rpmbuild does not exit with that
/// status by itself.
fn signal(status: u8) -> Option<String> {
    let number = status.checked_sub(128).filter(|number| (1..=64).contains(number))?;
    let name = SIGNALS.iter().find(|(signal, _)| *signal == number).map(|(_, name)| *name);
    Some(name.map_or_else(|| format!("signal {number}"), str::to_owned))
}

/// Signals by their numbers on x86, Arm and POWER (signal(7)).
const SIGNALS: &[(u8, &str)] = &[
    (1, "SIGHUP"),
    (2, "SIGINT"),
    (3, "SIGQUIT"),
    (4, "SIGILL"),
    (5, "SIGTRAP"),
    (6, "SIGABRT"),
    (7, "SIGBUS"),
    (8, "SIGFPE"),
    (9, "SIGKILL"),
    (10, "SIGUSR1"),
    (11, "SIGSEGV"),
    (12, "SIGUSR2"),
    (13, "SIGPIPE"),
    (14, "SIGALRM"),
    (15, "SIGTERM"),
    (24, "SIGXCPU"),
    (25, "SIGXFSZ"),
    (26, "SIGVTALRM"),
    (31, "SIGSYS"),
];

/// The requirements that rpmbuild lists as missing.
fn unmet(log: &LogReader) -> String {
    let excerpt = log.excerpt();
    let missing: Vec<&str> = excerpt
        .iter()
        .filter_map(|line| line.split_once(" is needed by "))
        .map(|(requirement, _)| requirement.trim())
        .collect();
    if missing.is_empty() { String::new() } else { format!(": {}", missing.join(", ")) }
}

/// How many entries of a list the message has.
const LISTED: usize = 3;
/// How many characters of a command the message has.
const COMMAND: usize = 100;

fn failed(part: &str, status: u8, log: &LogReader) -> String {
    let Some(cause) = log.cause() else {
        return format!("{part} failed with exit status {status}");
    };
    let command = log.command().map(|command| {
        let cut = if command.chars().count() > COMMAND { "…" } else { "" };
        format!("`{}{cut}`", command.chars().take(COMMAND).collect::<String>())
    });
    // A cause that contains the status needs it only once.
    let status = log.status().filter(|_| !cause.contains("] Error "));
    let status = status.map(|status| format!("exit status {status}"));
    // Where nothing else was printed, the command is all that is known.
    if let Some(command) = command.as_ref().filter(|_| cause.starts_with("+ ")) {
        let status = status.unwrap_or_else(|| "which printed nothing".to_owned());
        return format!("{part} failed at {command} ({status})");
    }
    let ran: Vec<String> = command.into_iter().chain(status).collect();
    let ran = if ran.is_empty() { String::new() } else { format!(" (at {})", ran.join(", ")) };
    // Before any script, rpm's own message is shown, with the macro as in the spec.
    let name = unexpanded_in_message(cause).filter(|_| log.part() == BuildSection::Start);
    let remedy =
        name.map_or_else(|| hint(cause).to_owned(), |name| format!("; {}", undefined(name)));
    format!("{part} failed: {}{ran}{}{remedy}", cause.trim(), list(&log.listed()))
}

fn list(listed: &[&str]) -> String {
    let more = listed.len().saturating_sub(LISTED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    match listed.get(..listed.len().min(LISTED)) {
        Some(first) if !first.is_empty() => format!(" {}{more}", first.join(", ")),
        _ => String::new(),
    }
}

/// rpm does not find a file that a spec names as a source or patch.
const NO_SUCH_SOURCE: &str =
    "; it is neither in the commit nor listed in `sources` or .NAME.metadata: add it in dist-git";

/// The remedy for a cause whose message does not contain it.
fn hint(cause: &str) -> &'static str {
    const HINTS: &[(&str, &str)] = &[
        (
            "Installed (but unpackaged) file(s) found",
            "; list them in %files, or remove them in %install",
        ),
        (
            "Arch dependent binaries in noarch package",
            "; a package with programs for one architecture must not say BuildArch: noarch",
        ),
        // The cage answers each forbidden system call with an error, not with a signal.
        (
            "Bad system call",
            "; the cage does not send SIGSYS: look for a seccomp filter that the program sets itself",
        ),
        ("Bad file: ", NO_SUCH_SOURCE),
        ("Bad source: ", NO_SUCH_SOURCE),
        ("File size limit exceeded", "; a file grew beyond `ulimit -f` (SIGXFSZ)"),
        ("Too many open files", "; the soft limit may be raised by the build itself (`ulimit -n`)"),
        ("Could not resolve host", "; builds have no network"),
        ("Temporary failure in name resolution", "; builds have no network"),
        ("Network is unreachable", "; builds have no network"),
    ];
    HINTS.iter().find(|(words, _)| cause.contains(words)).map_or("", |(_, hint)| hint)
}

const fn part_name(part: BuildSection) -> &'static str {
    match part {
        BuildSection::Start => "reading the spec",
        BuildSection::Prep => "%prep",
        BuildSection::Requires => "%generate_buildrequires",
        BuildSection::Build => "%build",
        BuildSection::Install => "%install",
        BuildSection::Check => "%check",
        BuildSection::Files => "packaging",
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

    fn evidence(ending: RunEnd) -> Evidence {
        let limits = Limits { seconds: 90, disk_mib: 64, ..Limits::default() };
        Evidence {
            ending,
            oom_kills: 0,
            memory_at_limit: true,
            oom_victims: Vec::new(),
            forks_refused: 0,
            disk_filled: false,
            inodes_filled: false,
            limits,
        }
    }

    fn diagnosed(evidence: &Evidence, log: &str) -> (Fault, FailureStage, String) {
        let mut reader = LogReader::new();
        reader.feed(log.as_bytes());
        let failure = diagnose(evidence, &reader);
        (failure.fault, failure.stage, failure.message)
    }

    #[test]
    fn a_source_that_dist_git_lacks() {
        let log =
            "error: Bad file: /builddir/build/SOURCES/x-1.0.tar.gz: No such file or directory\n";
        let (fault, stage, message) = diagnosed(&evidence(RunEnd::Status(1)), log);
        assert_eq!((fault, stage.as_str()), (Fault::Package, "spec"));
        assert!(message.ends_with(NO_SUCH_SOURCE), "{message}");
    }

    #[test]
    fn a_macro_that_nothing_defines() {
        let log = "error: line 7: Dependency tokens must begin with alpha-numeric, '_' or '/': \
                   BuildRequires: %{py_req}\n";
        let (fault, _, message) = diagnosed(&evidence(RunEnd::Status(1)), log);
        assert_eq!(fault, Fault::Package);
        let words = "; the macro %{py_req} is not defined: set it in the target under [macros]";
        assert!(message.contains(words), "{message}");
        // What a script prints is its own.
        let log = format!("Executing(%build): x\n{log}");
        let (.., message) = diagnosed(&evidence(RunEnd::Status(1)), &log);
        assert!(!message.contains("is not defined"), "{message}");
    }

    #[test]
    fn whose_fault_it_is() {
        use Fault::{Package, Worker};
        let build = "Executing(%build): x\n";
        let error = "Executing(%check): x\nFAIL: t1\n";
        let full = "Executing(%install): x\ncp: error writing 'a': No space left on device\n";
        let status = evidence(RunEnd::Status(1));
        let table = [
            (status.clone(), error, Package, "check", "%check failed: FAIL: t1"),
            (status.clone(), build, Package, "build", "%build failed with exit status 1"),
            (
                evidence(RunEnd::Time),
                build,
                Package,
                "build",
                "%build did not end: the build was killed after its 90 seconds (limit `seconds`)",
            ),
            (
                evidence(RunEnd::Silence),
                build,
                Package,
                "build",
                "%build wrote nothing for 3 hours: the build was killed (limit `silence_seconds`)",
            ),
            (
                evidence(RunEnd::Log),
                build,
                Package,
                "build",
                "%build wrote a log of more than 256 MiB (limit `log_mib`)",
            ),
            (
                evidence(RunEnd::HostDisk),
                build,
                Worker,
                "build",
                "the worker's disk is full: free space",
            ),
            (
                Evidence { disk_filled: true, ..evidence(RunEnd::Disk) },
                build,
                Package,
                "build",
                "%build filled its 64 MiB of disk space (limit `disk_mib`)",
            ),
            (
                Evidence { inodes_filled: true, ..evidence(RunEnd::Disk) },
                build,
                Package,
                "build",
                "%build made more files than fit: its 64 MiB of disk space had no inode left (a larger limit `disk_mib` brings more)",
            ),
            (
                Evidence { oom_kills: 2, ..status.clone() },
                build,
                Package,
                "build",
                "%build needed more than its 8192 MiB of memory (limit `memory_mib`)",
            ),
            (
                Evidence { oom_kills: 2, oom_victims: vec!["cc1plus".into()], ..status.clone() },
                build,
                Package,
                "build",
                "%build needed more than its 8192 MiB of memory: the kernel killed cc1plus (limit `memory_mib`)",
            ),
            (
                Evidence { oom_kills: 2, memory_at_limit: false, ..status.clone() },
                build,
                Worker,
                "build",
                "the worker's host ran out of memory while %build was within its limit: give the \
                 worker fewer slots or more memory",
            ),
            (
                Evidence { inodes_filled: true, ..status.clone() },
                full,
                Package,
                "install",
                "%install made more files than fit: its 64 MiB of disk space had no inode left (a \
                 larger limit `disk_mib` brings more)",
            ),
            (
                Evidence { disk_filled: true, ..status.clone() },
                full,
                Package,
                "install",
                "%install filled its 64 MiB of disk space (limit `disk_mib`)",
            ),
            (
                status.clone(),
                full,
                Package,
                "install",
                "%install failed: cp: error writing 'a': No space left on device",
            ),
            (
                Evidence { forks_refused: 1, ..status.clone() },
                build,
                Package,
                "build",
                "%build reached its limit of 8192 processes (limit `processes`)",
            ),
            (
                evidence(RunEnd::Status(137)),
                build,
                Package,
                "build",
                "rpmbuild was killed by the build itself (SIGKILL in %build, and no limit was \
                 reached): look for a test or script that sends signals to its parents or to every \
                 process",
            ),
            (
                status.clone(),
                "Executing(%build): x\n+ test -e /nowhere\nerror: Bad exit status from x (%build)\n",
                Package,
                "build",
                "%build failed at `test -e /nowhere` (which printed nothing)",
            ),
            (
                status.clone(),
                "Executing(%build): x\n+ test 2 = 1\n+ exit 7\nerror: Bad exit status from x (%build)\n",
                Package,
                "build",
                "%build failed at `test 2 = 1` (exit status 7)",
            ),
            (
                status.clone(),
                "Executing(%check): x\n+ make check\nFAIL: t1\nmake: *** [Makefile:4: check] Error 1\n\
                 error: Bad exit status from x (%check)\n",
                Package,
                "check",
                "%check failed: FAIL: t1 (at `make check`, exit status 1)",
            ),
            (
                status.clone(),
                "Processing files: a-1-1.noarch\nerror: Installed (but unpackaged) file(s) found:\n   \
                 /usr/a\n   /usr/b\n",
                Package,
                "files",
                "packaging failed: error: Installed (but unpackaged) file(s) found: /usr/a, /usr/b; list \
                 them in %files, or remove them in %install",
            ),
            (
                evidence(RunEnd::Status(143)),
                error,
                Package,
                "check",
                "rpmbuild was killed by the build itself (SIGTERM in %check, and no limit was \
                 reached): look for a test or script that sends signals to its parents or to every \
                 process",
            ),
            (
                evidence(RunEnd::Status(255)),
                build,
                Package,
                "build",
                "%build failed with exit status 255",
            ),
            (
                evidence(RunEnd::Status(11)),
                "error: Failed build dependencies:\n\tfoo is needed by a\n",
                Worker,
                "transaction",
                "the build root lacks what the spec requires: foo",
            ),
        ];
        for (evidence, log, fault, stage, message) in table {
            let expected = (fault, FailureStage::from_word(stage), message.to_owned());
            assert_eq!(diagnosed(&evidence, log), expected, "{evidence:?}");
        }
    }
}
