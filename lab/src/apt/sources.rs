//! The host's list of package sources, reduced to one Debian release.
//!
//! Both formats are read (`sources.list` lines and deb822 `*.sources` stanzas, see
//! sources.list(5)); what is written is deb822, with source packages. Sources of others than
//! Debian have suites of other names, and are left out.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

/// deb822 stanzas for the suites of the release, or `None` when the host has none.
pub(super) fn of_host(suite: &str) -> io::Result<Option<String>> {
    let mut texts = Vec::new();
    let mut read = |path: &Path| {
        let text = fs::read_to_string(path)?;
        let deb822 = path.extension().is_some_and(|extension| extension == "sources");
        texts.push(if deb822 { from_stanzas(&text, suite) } else { from_lines(&text, suite) });
        io::Result::Ok(())
    };
    let main = Path::new("/etc/apt/sources.list");
    if main.exists() {
        read(main)?;
    }
    let parts = Path::new("/etc/apt/sources.list.d");
    if parts.exists() {
        let mut paths: Vec<_> = fs::read_dir(parts)?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<_, _>>()?;
        paths.sort();
        for path in paths {
            let extension = path.extension().and_then(|extension| extension.to_str());
            if matches!(extension, Some("list" | "sources")) {
                read(&path)?;
            }
        }
    }
    let text = texts.concat();
    Ok((!text.is_empty()).then_some(text))
}

/// The stanzas of [`of_host`], with only the release itself.
pub(super) fn release_alone(stanzas: &str, suite: &str) -> String {
    let of_release = |stanza: &&str| {
        let mut suites = stanza.lines().filter_map(|line| line.strip_prefix("Suites: "));
        suites.any(|line| line.split_whitespace().any(|name| name == suite))
    };
    let alone = |line: &str| match line.strip_prefix("Suites: ") {
        Some(_) => format!("Suites: {suite}\n"),
        None => format!("{line}\n"),
    };
    let kept = stanzas.split("\n\n").filter(of_release);
    kept.map(|stanza| stanza.lines().map(alone).collect::<String>() + "\n").collect()
}

/// The stanzas of [`of_host`], changed to name the source packages of other releases, which other
/// keys may sign.
pub(super) fn of_suites(stanzas: &str, suite: &str, suites: &[&str]) -> String {
    let mut result = String::new();
    for stanza in release_alone(stanzas, suite).split("\n\n").filter(|text| !text.trim().is_empty())
    {
        for wanted in suites {
            let of_wanted = |line: &str| match line.split_once(':').map_or("", |(name, _)| name) {
                "Suites" => format!("Suites: {wanted}\n"),
                "Types" => "Types: deb-src\nTrusted: yes\n".to_owned(),
                "Trusted" => String::new(),
                _ => format!("{line}\n"),
            };
            result.extend(stanza.lines().map(of_wanted));
            result.push('\n');
        }
    }
    result
}

/// Whether a suite is the release itself, its updates or its security updates.
fn wanted(name: &str, suite: &str) -> bool {
    name.strip_prefix(suite).is_some_and(|rest| matches!(rest, "" | "-updates" | "-security"))
}

fn from_stanzas(text: &str, suite: &str) -> String {
    let mut result = String::new();
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    for stanza in lines.split(|line| line.trim().is_empty()) {
        let field = |name: &str| {
            let value = stanza.iter().find_map(|line| {
                let (key, value) = line.split_once(':')?;
                key.eq_ignore_ascii_case(name).then_some(value.trim())
            });
            value.unwrap_or_default()
        };
        let suites: Vec<&str> =
            field("Suites").split_whitespace().filter(|name| wanted(name, suite)).collect();
        let enabled = !field("Enabled").eq_ignore_ascii_case("no");
        let binary = field("Types").split_whitespace().any(|word| word == "deb");
        if suites.is_empty() || !enabled || !binary {
            continue;
        }
        let _ =
            writeln!(result, "Types: deb deb-src\nSuites: {}\nComponents: main", suites.join(" "));
        // Signed-By can hold a key of many lines; every other field is copied unchanged.
        let mut keep = false;
        for line in stanza {
            if !line.starts_with([' ', '\t']) {
                let name = line.split_once(':').map_or("", |(name, _)| name).to_ascii_lowercase();
                let ours = ["types", "suites", "components", "architectures", "enabled"];
                keep = !ours.contains(&name.as_str());
            }
            if keep {
                let _ = writeln!(result, "{line}");
            }
        }
        result.push('\n');
    }
    result
}

fn from_lines(text: &str, suite: &str) -> String {
    let mut result = String::new();
    for line in text.lines() {
        let Some(rest) = line.trim().strip_prefix("deb ") else { continue };
        let (options, rest) = match rest.trim_start().strip_prefix('[') {
            Some(rest) => rest.split_once(']').unwrap_or(("", rest)),
            None => ("", rest),
        };
        let mut words = rest.split_whitespace();
        let (Some(uri), Some(name)) = (words.next(), words.next()) else { continue };
        if !wanted(name, suite) {
            continue;
        }
        let _ =
            writeln!(result, "Types: deb deb-src\nURIs: {uri}\nSuites: {name}\nComponents: main");
        for option in options.split_whitespace() {
            match option.split_once('=') {
                Some(("signed-by", value)) => {
                    let _ = writeln!(result, "Signed-By: {value}");
                }
                Some(("trusted", value)) => {
                    let _ = writeln!(result, "Trusted: {value}");
                }
                _ => {}
            }
        }
        result.push('\n');
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stanzas_of_others_are_left_out() {
        let text = "Types: deb\nURIs: scheme://one\nSuites: bookworm bookworm-backports bookworm-updates\n\
                    Components: main contrib\nSigned-By: /a.gpg\n\n\
                    Types: deb\nURIs: scheme://two\nSuites: nodistro\nComponents: main\n";
        let found = from_stanzas(text, "bookworm");
        assert_eq!(
            found,
            "Types: deb deb-src\nSuites: bookworm bookworm-updates\nComponents: main\n\
             URIs: scheme://one\nSigned-By: /a.gpg\n\n"
        );
    }

    #[test]
    fn the_release_alone_is_left_of_its_stanzas() {
        let text = "Types: deb deb-src\nSuites: bookworm bookworm-updates\nURIs: scheme://one\n\n\
                    Types: deb deb-src\nSuites: bookworm-security\nURIs: scheme://two\n\n";
        let alone = "Types: deb deb-src\nSuites: bookworm\nURIs: scheme://one\n\n";
        assert_eq!(release_alone(text, "bookworm"), alone);
        assert_eq!(release_alone(alone, "bookworm"), alone);
        assert_eq!(release_alone("", "bookworm"), "");
    }

    #[test]
    fn other_releases_are_of_the_same_mirror() {
        let text = "Types: deb deb-src\nSuites: bookworm bookworm-updates\nURIs: scheme://one\n\n\
                    Types: deb deb-src\nSuites: bookworm-security\nURIs: scheme://two\n\n";
        assert_eq!(
            of_suites(text, "bookworm", &["sid", "old"]),
            "Types: deb-src\nTrusted: yes\nSuites: sid\nURIs: scheme://one\n\n\
             Types: deb-src\nTrusted: yes\nSuites: old\nURIs: scheme://one\n\n"
        );
    }

    #[test]
    fn lines_are_read() {
        let text = "# deb scheme://no bookworm main\n\
                    deb [arch=amd64 signed-by=/a.gpg] scheme://one bookworm-security main\n\
                    deb scheme://two cloud-bookworm main\n";
        assert_eq!(
            from_lines(text, "bookworm"),
            "Types: deb deb-src\nURIs: scheme://one\nSuites: bookworm-security\nComponents: main\n\
             Signed-By: /a.gpg\n\n"
        );
    }
}
