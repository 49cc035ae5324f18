//! Whether the text of a spec alone determines its version.

use super::{is_header, tag_value};

/// Whether the version of a spec is the same wherever it is built: no condition precedes the tags
/// that make it, and they name no macro that a build root may or may not define, except the dist
/// tag.
#[must_use]
pub fn is_version_fixed(lines: &[String]) -> bool {
    let preamble =
        || lines.iter().map(|line| line.trim_start()).take_while(|line| !is_header(line));
    let is_tag = |line: &str| {
        ["epoch", "version", "release"].into_iter().any(|tag| tag_value(line, tag).is_some())
    };
    let Some(last) = preamble().enumerate().filter(|(_, line)| is_tag(line)).last() else {
        return false;
    };
    let is_conditional = |line: &str| {
        let rest = line.replace("%{?dist}", "");
        line.starts_with("%if") || rest.contains("%{?") || rest.contains("%{!?")
    };
    let mut before = preamble().take(last.0 + 1);
    !before.any(|line| (line.starts_with('%') || is_tag(line)) && is_conditional(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_that_are_the_same_everywhere() {
        let fixed =
            |text: &str| is_version_fixed(&text.lines().map(str::to_owned).collect::<Vec<_>>());
        for good in [
            "Name: x\nVersion: 1\nRelease: 1%{?dist}\n%if 0%{?rhel}\nBuildRequires: y\n%endif\n",
            "%global rel 2\nURL: %{?x}\nVersion: 1\nRelease: %{rel}%{?dist}.1\n%description\n%if 1\n",
        ] {
            assert!(fixed(good), "{good}");
        }
        for bad in [
            "%if 0%{?rhel}\n%global rel 2\n%else\n%global rel 1\n%endif\nVersion: 1\nRelease: %{rel}\n",
            "Version: 1\nRelease: 1%{?prerelease}%{?dist}\n",
            "%{!?rel:%global rel 1}\nVersion: 1\nRelease: %{rel}\n",
            "%description\n",
        ] {
            assert!(!fixed(bad), "{bad}");
        }
    }
}
