//! The spec from which real rpmbuild makes a package out of a tree of files. Pure.

use std::fmt::Write as _;

use super::control::Evr;

/// The description of a package, without its files.
#[derive(Debug, Clone, Default)]
pub(super) struct Spec {
    pub(super) name: String,
    pub(super) evr: String,
    pub(super) summary: String,
    pub(super) url: String,
    pub(super) noarch: bool,
    pub(super) requires: Vec<String>,
    pub(super) provides: Vec<String>,
    /// Whether installing the package, and installing libraries later, calls ldconfig.
    pub(super) ldconfig: bool,
    /// Top-level entries of the tree; a directory includes all its files.
    pub(super) files: Vec<String>,
}

impl Spec {
    /// The text for rpmbuild.
    pub(super) fn text(&self) -> String {
        let evr = Evr::parse(&self.evr);
        let mut text = String::new();
        let mut line = |name: &str, value: &str| {
            if !value.is_empty() {
                let _ = writeln!(text, "{name}: {}", value.replace('%', "%%"));
            }
        };
        line("Name", &self.name);
        if evr.epoch != 0 {
            line("Epoch", &evr.epoch.to_string());
        }
        line("Version", &evr.version);
        line("Release", &evr.release);
        line("Summary", if self.summary.is_empty() { &self.name } else { &self.summary });
        line("License", "DFSG");
        line("URL", &self.url);
        if self.noarch {
            line("BuildArch", "noarch");
        }
        line("AutoReqProv", "no");
        self.requires.iter().for_each(|value| line("Requires", value));
        self.provides.iter().for_each(|value| line("Provides", value));
        let _ = writeln!(text, "\n%description\n{}\n", self.summary.replace('%', "%%"));
        if self.ldconfig {
            text.push_str(
                "%post -p /usr/sbin/ldconfig\n\
                 %transfiletriggerin -P 2000000 -- /usr/lib /usr/lib64 /lib /lib64\n\
                 /usr/sbin/ldconfig\n\n",
            );
        }
        text.push_str("%files\n%defattr(-,root,root,-)\n");
        for file in &self.files {
            let _ = writeln!(text, "\"/{file}\"");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_escapes_macros_and_splits_the_version() {
        let spec = Spec {
            name: "a".into(),
            evr: "2:1.0-3+b1".into(),
            summary: "100%define".into(),
            requires: vec!["b".into()],
            files: vec!["usr".into()],
            ..Spec::default()
        };
        let text = spec.text();
        assert!(text.contains("Epoch: 2\nVersion: 1.0\nRelease: 3+b1\n"), "{text}");
        assert!(text.contains("Summary: 100%%define\n"), "{text}");
        assert!(text.ends_with("\"/usr\"\n"), "{text}");
    }
}
