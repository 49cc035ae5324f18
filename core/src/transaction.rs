//! Why rpm refused to install packages into a root, in one line, from its output.
//!
//! Owns the wording of rpm's messages (lib/rpmprob.c, lib/rpmscript.c, lib/psm.c and lib/fsm.c of
//! rpm 4.14 to 4.20). It must not know who runs rpm.

/// How many conflicts and missing requirements are named.
const NAMED: usize = 3;

/// Whether a line of rpm's output reports a refusal.
#[must_use]
pub fn is_error(line: &str) -> bool {
    line.starts_with("error: ")
        || problem(line).is_some()
        || (line.starts_with("warning: ") && line.contains(" scriptlet failed"))
}

/// Why rpm refused, from its output: the scriptlet, file, requirement or package by name. Failed
/// scriptlets and problems of the set of packages come before their consequences.
#[must_use]
pub fn refusal(said: &[String], code: u8) -> String {
    let lines = || said.iter().map(|line| line.trim());
    if let Some(reason) = lines().filter(|line| line.starts_with("error: ")).find_map(scriptlet) {
        return reason;
    }
    let problems: Vec<String> = lines().filter_map(problem).collect();
    if let Some(first) = problems.get(..problems.len().min(NAMED)).filter(|list| !list.is_empty()) {
        let more = problems.len() - first.len();
        let more = if more > 0 { format!("; and {more} more") } else { String::new() };
        return first.join("; ") + &more;
    }
    let errors: Vec<&str> = lines().filter_map(|line| line.strip_prefix("error: ")).collect();
    let telling = errors.iter().find(|error| error.contains("failed on file"));
    match telling.or_else(|| errors.iter().find(|error| !error.ends_with(':'))) {
        Some(error) => (*error).to_owned(),
        None => match lines().next_back() {
            Some(line) => format!("exit status {code}: {line}"),
            None => format!("exit status {code}"),
        },
    }
}

/// `error: %prein(NEVRA) scriptlet failed, exit status 1`, with the section as specs have it.
fn scriptlet(line: &str) -> Option<String> {
    let (head, how) = line.split_once(" scriptlet failed, ")?;
    let head = head.strip_prefix("error: ").or_else(|| head.strip_prefix("warning: "))?;
    let (section, package) = head.strip_suffix(')')?.split_once('(')?;
    let section = match section {
        "%prein" => "%pre",
        "%postin" => "%post",
        other => other,
    };
    Some(format!("the scriptlet {section} of {package} failed, {how}"))
}

/// A line in which rpm reports one problem of a set of packages.
fn problem(line: &str) -> Option<String> {
    let line = line.trim();
    let conflict = line.starts_with("file ") && line.contains(" conflicts ");
    let word = |words: &[&str]| words.iter().any(|word| line.contains(word));
    let known = conflict
        || word(&[
            " is needed by ",
            " conflicts with ",
            " is obsoleted by ",
            " is intended for a different ",
            " does not verify: ",
            " is already installed",
        ])
        || (line.starts_with("installing package ") && word(&[" needs "]))
        || (line.starts_with("Unable to change root directory"));
    (known && !line.starts_with("error: ") && !line.starts_with("warning: "))
        .then(|| line.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The output of rpm 4.18 in a root of the lab, and the message from it.
    #[test]
    fn what_rpm_refuses_is_named() {
        let table = [
            (
                "Verifying packages...\nPreparing packages...\n\
                 /var/tmp/rpm-tmp.5LHbmU: line 1: /dev/fd/63: No such file or directory\n\
                 error: %prein(fd-provider-strict-1.0-1.lab9.noarch) scriptlet failed, exit status 1\n\
                 error: fd-provider-strict-1.0-1.lab9.noarch: install failed\n",
                "the scriptlet %pre of fd-provider-strict-1.0-1.lab9.noarch failed, exit status 1",
            ),
            (
                "error: %pretrans(a-1-1.noarch) scriptlet failed, signal 9\n",
                "the scriptlet %pretrans of a-1-1.noarch failed, signal 9",
            ),
            (
                "\tfile /usr/bin/x from install of b-1-1.noarch conflicts with file from package a-1-1.noarch\n",
                "file /usr/bin/x from install of b-1-1.noarch conflicts with file from package a-1-1.noarch",
            ),
            (
                "error: Failed dependencies:\n\tfoo >= 2 is needed by bar-1-1.noarch\n",
                "foo >= 2 is needed by bar-1-1.noarch",
            ),
            (
                "error: unpacking of archive failed on file /usr/bin/x;1234: cpio: Bad magic\n\
                 error: a-1-1.noarch: install failed\n",
                "unpacking of archive failed on file /usr/bin/x;1234: cpio: Bad magic",
            ),
            ("error: not an rpm package\n", "not an rpm package"),
            ("something went wrong\n", "exit status 7: something went wrong"),
            ("", "exit status 7"),
        ];
        for (said, expected) in table {
            let lines: Vec<String> = said.lines().map(str::to_owned).collect();
            assert_eq!(refusal(&lines, 7), expected, "{said}");
        }
    }

    #[test]
    fn of_many_problems_the_first_are_named() {
        let lines: Vec<String> =
            (1..=5).map(|n| format!("\tlib{n} is needed by a-1-1.noarch")).collect();
        let reason = refusal(&lines, 1);
        assert!(reason.starts_with("lib1 is needed by a-1-1.noarch; lib2"), "{reason}");
        assert!(reason.ends_with("; and 2 more"), "{reason}");
    }

    #[test]
    fn errors_are_told_from_progress() {
        for line in [
            "error: x",
            "\tfoo is needed by bar-1-1.noarch",
            "warning: %post(a-1-1.noarch) scriptlet failed, exit status 1",
        ] {
            assert!(is_error(line), "{line}");
        }
        for line in ["Preparing packages...", "warning: x.rpmnew created", "a-1-1.noarch"] {
            assert!(!is_error(line), "{line}");
        }
    }
}
