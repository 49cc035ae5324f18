//! The words with which tools say that something went wrong.

/// A line whose indented lines below belong to it.
pub(super) fn is_heading(line: &str) -> bool {
    ["error: Installed (but unpackaged) file(s) found:", "error: Failed build dependencies:"]
        .iter()
        .any(|heading| line.starts_with(heading))
}

/// Words that a tool uses to say what is wrong.
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
    " --- FAIL: ",
];

/// Words that say so often, but also of what did not matter.
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
    "error: ", "error[", "Error: ", "ERROR: ", "FAIL: ", "FAIL:\t", "FAILED ", "not ok ", "E   ",
    "fatal: ", "tar: ",
];

/// What rpmbuild says of a script that failed.
const END_OF_SCRIPT: &str = "Bad exit status from ";

/// What only says that something before has failed.
const CONSEQUENCE: &[&str] = &[
    END_OF_SCRIPT,
    "RPM build errors:",
    "*** [",
    "ninja: build stopped",
    "error: command '",
    "recipe for target ",
    "# FAIL:",
    "# ERROR:",
];

/// Whether a line says what went wrong.
pub(super) fn is_cause(line: &str) -> bool {
    if is_consequence(line) || is_harmless(line) {
        return false;
    }
    let trimmed = line.trim_start();
    CAUSE_AT_START.iter().any(|words| trimmed.starts_with(words))
        || CAUSE.iter().any(|words| line.contains(words))
}

/// Whether a line may say what went wrong.
pub(super) fn is_suspect(line: &str) -> bool {
    !is_harmless(line) && (SUSPECT.iter().any(|words| line.contains(words)) || is_exception(line))
}

/// Whether a line is the last of a traceback of Python: `package.SomeError: what it says`.
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

/// What configure scripts try, shells trace and test suites count.
fn is_harmless(line: &str) -> bool {
    ["checking ", "+ ", "warning: ", "libtool: ", "# FAIL:", "# XFAIL:", "# ERROR:"]
        .iter()
        .any(|start| line.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

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
