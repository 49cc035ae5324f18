//! Runs the host's tools, and names the package to install when one is missing.
//!
//! Owns spawning, exit status and captured output. Must not know what a tool is run for.

use std::io;
use std::process::{Command, ExitStatus, Output, Stdio};

/// Why a tool of the host failed.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// The program is not installed.
    #[error("`{tool}` is not installed on this host; `apt-get install {package}` brings it")]
    Missing {
        /// The program that was searched for.
        tool: String,
        /// The Debian package that has it.
        package: &'static str,
    },
    /// It could not be started for another reason.
    #[error("cannot run `{tool}`")]
    Spawn {
        tool: String,
        /// The system's error.
        source: io::Error,
    },
    /// It ran and failed.
    #[error("`{tool}` failed ({status}): {message}")]
    Failed {
        tool: String,
        status: ExitStatus,
        /// The end of its output.
        message: String,
    },
}

/// How many lines of a failed tool's output an error repeats.
const LINES_SHOWN: usize = 15;

/// The Debian package of a tool that the lab calls.
fn package_of(tool: &str) -> &'static str {
    match tool {
        "apt-get" | "apt-config" | "apt-cache" => "apt",
        "dpkg-deb" => "dpkg",
        "rpmbuild" | "rpmsign" | "rpm" | "rpmkeys" | "/usr/lib/rpm/elfdeps" => "rpm",
        "createrepo_c" => "createrepo-c",
        "gpg" => "gnupg",
        "gpgconf" => "gpgconf",
        "git" => "git",
        _ => "the package of that name",
    }
}

/// Runs the command to its end and returns what it wrote to its standard output.
///
/// # Errors
/// When the program is missing, or fails; the error repeats the end of its messages.
pub fn output(command: &mut Command) -> Result<Vec<u8>, ToolError> {
    command.stdin(Stdio::null());
    finish(command, |command| command.output())
}

/// Like [`output`], with bytes for its standard input.
///
/// # Errors
/// As [`output`].
pub fn output_with_input(command: &mut Command, input: &[u8]) -> Result<Vec<u8>, ToolError> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    finish(command, |command| {
        let mut child = command.spawn()?;
        let mut stdin = child.stdin.take().ok_or_else(|| io::Error::other("no standard input"))?;
        std::thread::scope(|scope| {
            let writer = scope.spawn(move || io::Write::write_all(&mut stdin, input));
            let output = child.wait_with_output()?;
            // A tool that failed may not have read everything: its status says more.
            drop(writer.join());
            Ok(output)
        })
    })
}

fn finish(
    command: &mut Command,
    run: impl FnOnce(&mut Command) -> io::Result<Output>,
) -> Result<Vec<u8>, ToolError> {
    let tool = command.get_program().to_string_lossy().into_owned();
    let output = run(command.env("LC_ALL", "C.UTF-8")).map_err(|source| {
        if source.kind() == io::ErrorKind::NotFound {
            let package = package_of(&tool);
            ToolError::Missing { tool: tool.clone(), package }
        } else {
            ToolError::Spawn { tool: tool.clone(), source }
        }
    })?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let message = last_lines(&output);
    Err(ToolError::Failed { tool, status: output.status, message })
}

/// The end of a tool's error output, or of its standard output when it has no other.
fn last_lines(output: &Output) -> String {
    let spoken = if output.stderr.is_empty() { &output.stdout } else { &output.stderr };
    let text = String::from_utf8_lossy(spoken);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES_SHOWN)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_tool_names_its_package() {
        // A working directory that is not there also gives NotFound, so only the name is tried.
        let error = output(&mut Command::new("createrepo_c-that-is-not-there")).unwrap_err();
        assert!(matches!(error, ToolError::Missing { .. }), "{error}");
        assert_eq!(package_of("createrepo_c"), "createrepo-c");
    }

    #[test]
    fn failure_repeats_the_last_lines() {
        let error = output(Command::new("sh").args(["-c", "echo first; echo second >&2; exit 3"]))
            .unwrap_err()
            .to_string();
        assert!(error.contains("second") && error.contains('3'), "{error}");
    }

    #[test]
    fn input_longer_than_a_pipe_is_passed() {
        let input = vec![b'x'; 1 << 20];
        assert_eq!(output_with_input(&mut Command::new("cat"), &input).unwrap(), input);
    }
}
