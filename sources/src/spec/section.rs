//! The sections of a spec: which line opens one, and to which package it belongs.

/// Sections that belong to a package, with their options that take a value. All except `%package`
/// may belong to the main package.
const OF_PACKAGES: [&str; 21] = [
    "package",
    "description",
    "files",
    "pre",
    "post",
    "preun",
    "postun",
    "pretrans",
    "posttrans",
    "preuntrans",
    "postuntrans",
    "verifyscript",
    "triggerin",
    "triggerun",
    "triggerprein",
    "triggerpostun",
    "trigger",
    "filetriggerin",
    "filetriggerun",
    "filetriggerpostun",
    "transfiletriggerin",
];

/// Sections of the whole spec.
const OF_SPEC: [&str; 13] = [
    "prep",
    "generate_buildrequires",
    "conf",
    "build",
    "install",
    "check",
    "clean",
    "changelog",
    "sepolicy",
    "patchlist",
    "sourcelist",
    "transfiletriggerun",
    "transfiletriggerpostun",
];

/// A line that opens a section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SectionHeader<'a> {
    /// Its name without the `%`.
    pub section: &'a str,
    /// The package that it names, as written: `-n NAME` or `SUFFIX`; `None` for the main package,
    /// or when the section belongs to no package.
    pub package: Option<&'a str>,
    /// Whether sections of this name belong to packages.
    pub of_package: bool,
}

/// Parses a line that opens a section; `None` for any other line.
#[must_use]
pub fn header(line: &str) -> Option<SectionHeader<'_>> {
    let mut words = line.split_whitespace();
    let section = words.next()?.strip_prefix('%')?;
    let of_package = OF_PACKAGES.contains(&section);
    if !of_package && !OF_SPEC.contains(&section) {
        return None;
    }
    let mut package = None;
    while of_package && let Some(word) = words.next() {
        match word {
            "--" => break,
            "-n" => package = words.next(),
            // Each takes a value: the interpreter, a list of files, a language, a priority.
            "-p" | "-f" | "-l" | "-P" => {
                words.next();
            }
            word if word.starts_with('-') || word.starts_with("%{?") => {}
            word => package = package.or(Some(word)),
        }
    }
    Some(SectionHeader { section, package, of_package })
}

/// Whether a line opens a section.
#[must_use]
pub fn is_header(line: &str) -> bool {
    header(line).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers() {
        for (line, section, package) in [
            ("%files", "files", None),
            ("%files -f x.lang", "files", None),
            ("%files -n libx -f x.lang", "files", Some("libx")),
            ("%files -f x.lang devel", "files", Some("devel")),
            ("%description   devel", "description", Some("devel")),
            ("%post -p /sbin/ldconfig", "post", None),
            ("%post -n libx -p /sbin/ldconfig", "post", Some("libx")),
            ("%triggerin -- bash", "triggerin", None),
            (" %prep ", "prep", None),
        ] {
            let header = header(line).unwrap();
            assert_eq!((header.section, header.package), (section, package), "{line}");
        }
        for line in ["%prepare", "%build_x", "prep", "%{files}", "", "%if 1"] {
            assert_eq!(header(line), None, "{line}");
        }
    }
}
