//! The phrases by which tools report errors.

/// Whether the indented lines below a line belong to it.
pub(super) fn is_heading(line: &str) -> bool {
    ["error: Installed (but unpackaged) file(s) found:", "error: Failed build dependencies:"]
        .iter()
        .any(|heading| line.starts_with(heading))
}

/// Phrases of lines that say what is wrong.
const CAUSE: &[&str] = &[
    ": error: ",
    ": error:",
    ": fatal error: ",
    "undefined reference to ",
    "ld: cannot find ",
    "configure: error: ",
    "CMake Error",
    "No rule to make target",
    "ModuleNotFoundError: ",
    "ImportError: ",
    "SyntaxError: ",
    "Segmentation fault",
    "panicked at ",
    "Killed signal terminated",
    "hunk FAILED",
    "hunks FAILED",
    "can't find file to patch",
    "Bad file: ",
    "File not found: ",
    "File must begin with ",
    "Directory not found: ",
    "Arch dependent binaries in noarch package",
    "error: line ",
    "--- FAIL: ",
    "Bad system call",
    "File size limit exceeded",
    "Too many open files",
    "[  FAILED  ] ",
    " ... FAILED",
    "Failed test ",
];

/// Phrases that often say what is wrong, but also occur without an error.
const SUSPECT: &[&str] = &[
    "command not found",
    "No such file or directory",
    "No space left on device",
    "Permission denied",
    "Operation not permitted",
    "AssertionError",
    "core dumped",
    "Network is unreachable",
    "Could not resolve host",
    "Temporary failure in name resolution",
    "Name or service not known",
    "Connection refused",
    "Resource temporarily unavailable",
    "Cannot allocate memory",
    "out of memory",
    "Cannot fork",
    "Unable to open ",
];

/// Beginnings of lines with which a tool says what is wrong.
const CAUSE_AT_START: &[&str] = &[
    "error: ",
    "error[",
    "Error: ",
    "ERROR: ",
    "FAIL: ",
    "FAIL:\t",
    "FAILED ",
    "not ok ",
    "E   ",
    "fatal: ",
    "tar: ",
    "ERROR collecting ",
    "npm ERR! ",
    "npm error ",
    "[ERROR] ",
    "FAIL ",
];

/// rpmbuild's message about a failed script.
const END_OF_SCRIPT: &str = "Bad exit status from ";

/// Phrases of lines that only report an earlier failure.
const CONSEQUENCE: &[&str] = &[
    END_OF_SCRIPT,
    "RPM build errors:",
    "*** [",
    "ninja: build stopped",
    "error: command '",
    "recipe for target ",
    "# FAIL:",
    "# ERROR:",
    "test result: FAILED",
    "The following tests FAILED:",
    "Errors while running CTest",
    "FAILED (failures=",
    "FAILED (errors=",
    "Result: FAIL",
    "tests failed out of ",
];

/// Whether a line says what went wrong.
pub(super) fn is_cause(line: &str) -> bool {
    if is_consequence(line) || is_harmless(line) {
        return false;
    }
    let trimmed = line.trim_start();
    is_failed_test(line)
        || CAUSE_AT_START.iter().any(|words| trimmed.starts_with(words))
        || CAUSE.iter().any(|words| line.contains(words))
}

/// Whether a line is one of meson's, ctest's or prove's for a test that failed.
fn is_failed_test(line: &str) -> bool {
    // ` 2/10 suite / name   FAIL   0.05s   exit status 1`
    let meson = || {
        let number = line.trim_start().split_once('/').map(|(first, _)| first);
        let numbered = number.is_some_and(|word| !word.is_empty() && all_digits(word));
        numbered && [" FAIL ", " ERROR ", " TIMEOUT "].iter().any(|word| line.contains(word))
    };
    // ` 2/10 Test  #2: name ............***Failed    0.00 sec`
    let ctest = || {
        line.contains("***Failed") || line.contains("***Timeout") || line.contains("***Exception")
    };
    // `t/a.t  (Wstat: 256 (exited 1) Tests: 3 Failed: 1)`
    let prove = || {
        let good = line.contains("(Wstat: 0 ") && line.contains("Failed: 0)");
        line.contains(" (Wstat: ") && !good
    };
    meson() || ctest() || prove()
}

fn all_digits(word: &str) -> bool {
    word.bytes().all(|byte| byte.is_ascii_digit())
}

/// What a shell traces.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum TraceLine<'a> {
    Command(&'a str),
    /// A line that only ends a script, a function or a test, with its status if it has one.
    End(Option<u8>),
}

/// A line of a shell's trace (`set -x`). Commands of command substitutions, which bash traces with
/// further plus signs, are not the script's own.
pub(super) fn traced(line: &str) -> Option<TraceLine<'_>> {
    let command = line.strip_prefix("+ ")?;
    // How rpm ends each script: RPM_EC=$?; for pid in $(jobs -p); do kill -9 ${pid}; done; exit
    // ${RPM_EC}
    if let Some(status) = command.strip_prefix("RPM_EC=") {
        return Some(TraceLine::End(status.parse().ok()));
    }
    let end = ["exit", "return"].into_iter().find_map(|word| command.strip_prefix(word));
    match end {
        Some("") => Some(TraceLine::End(None)),
        Some(rest) if rest.starts_with(' ') => Some(TraceLine::End(rest.trim().parse().ok())),
        _ => Some(TraceLine::Command(command)),
    }
}

/// The status of a recipe in `make: *** [Makefile:3: all] Error 5`.
pub(super) fn status_of_make(line: &str) -> Option<u8> {
    let (_, after) = line.split_once("*** [")?;
    let (_, status) = after.rsplit_once("] Error ")?;
    status.split_whitespace().next()?.parse().ok()
}

/// Whether a line may say what went wrong.
pub(super) fn is_suspect(line: &str) -> bool {
    !is_harmless(line) && (SUSPECT.iter().any(|words| line.contains(words)) || is_exception(line))
}

/// Whether a line is the last of a traceback of Python: `package.SomeError: message`.
fn is_exception(line: &str) -> bool {
    let name = line.split(':').next().unwrap_or(line);
    let is_class = ["Error", "Exception"].iter().any(|end| name.ends_with(end));
    is_class && name.chars().all(|c| c.is_ascii_alphanumeric() || "._".contains(c))
}

/// Whether a line only reports that something before it went wrong.
pub(super) fn is_consequence(line: &str) -> bool {
    let none = line.ends_with("# FAIL:  0") || line.ends_with("# ERROR: 0");
    !none && CONSEQUENCE.iter().any(|words| line.contains(words))
}

/// Whether a line only says that a script of the spec has failed.
pub(super) fn is_end_of_script(line: &str) -> bool {
    line.contains(END_OF_SCRIPT)
}

/// Whether a line is output of configure scripts, shell traces and test suites that means no
/// failure.
fn is_harmless(line: &str) -> bool {
    // A test that is known to fail, or was left out, in the Test Anything Protocol.
    let tap = line.trim_start().starts_with("not ok ")
        && (line.contains("# TODO") || line.contains("# SKIP"));
    tap || ["checking ", "+ ", "warning: ", "libtool: ", "# FAIL:", "# XFAIL:", "# ERROR:"]
        .iter()
        .any(|start| line.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_shell_traces() {
        assert_eq!(traced("+ RPM_EC=1"), Some(TraceLine::End(Some(1))));
        use TraceLine::{Command, End};
        let table = [
            ("+ make check", Some(Command("make check"))),
            ("+ exit 7", Some(End(Some(7)))),
            ("+ return 3", Some(End(Some(3)))),
            ("+ exit", Some(End(None))),
            ("+ exit-tests --all", Some(Command("exit-tests --all"))),
            ("++ uname -m", None),
            ("hello", None),
        ];
        for (line, expected) in table {
            assert_eq!(traced(line), expected, "{line}");
        }
        assert_eq!(status_of_make("make[2]: *** [Makefile:3: all] Error 5"), Some(5));
        assert_eq!(status_of_make("make: *** [all] Error 2 (ignored)"), Some(2));
        assert_eq!(status_of_make("make: *** No rule to make target 'x'.  Stop."), None);
    }

    #[test]
    fn failed_tests_are_causes() {
        for line in [
            " 3/10 suite / parses                     FAIL            0.05s   exit status 1",
            "10/10 slow                               TIMEOUT         30.01s   killed by signal 15",
            " 2/3 Test #2: parses ...................***Failed    0.00 sec",
            "t/parses.t (Wstat: 256 (exited 1) Tests: 3 Failed: 1)",
            "test tests::parses ... FAILED",
            "--- FAIL: TestParses (0.00s)",
            "    --- FAIL: TestParses/empty (0.00s)",
            "FAIL: test_parses (tests.TestParses.test_parses)",
            "FAILED tests/test_a.py::test_parses - assert 1 == 2",
            "[  FAILED  ] Parser.Parses (0 ms)",
            "not ok 3 - parses",
            "#   Failed test 'parses'",
        ] {
            assert!(is_cause(line), "{line}");
        }
        for line in [
            "not ok 3 - parses # TODO later",
            "1/3 suite / parses                      OK              0.05s",
            "test result: FAILED. 1 passed; 1 failed; 0 ignored",
            "# FAIL:  0",
            "XFAIL: parses",
            "t/parses.t (Wstat: 0 Tests: 3 Failed: 0)",
        ] {
            assert!(!is_cause(line), "{line}");
        }
    }

    #[test]
    fn the_end_of_a_traceback_is_suspect() {
        for line in
            ["TypeError: 'NoneType' object is not callable", "pkg.mod.SomeException", "KeyError"]
        {
            assert!(is_suspect(line), "{line}");
        }
        for line in ["No Error: all is well", "  ValueError: in the middle", "Errors: 0"] {
            assert!(!is_suspect(line), "{line}");
        }
    }
}
