//! The options of one build beside its package and target: bconds, macros, no tests, more packages
//! and repositories, under the names of mock's options.
//!
//! Owns which options are valid, and how they change the target's definition for that build. It
//! must not know how options arrive nor where they are recorded.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use url::Url;

use crate::name::shown;
use crate::target::{KeySource, Repository, Target, Template, macro_line, macro_problem, problems};

/// How many options of one kind a build may have.
const MAX_WORDS: usize = 200;
/// The longest body of a macro, and the longest requirement, in bytes.
const MAX_TEXT: usize = 16 * 1024;
/// How many repositories a build may add.
const MAX_REPOSITORIES: usize = 8;
/// The longest armored keys of one repository together, in bytes.
const MAX_KEYS: usize = 256 * 1024;

/// The options of one build. They are recorded with it and apply to all its attempts, also after a
/// retry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BuildOptions {
    /// bconds that are switched on, `with`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub with: Vec<String>,
    /// bconds that are switched off, `without`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub without: Vec<String>,
    /// Macros, name and body, `define`. They come after the target's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub define: Vec<(String, String)>,
    /// Whether `%check` is left out, `nocheck`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub nocheck: bool,
    /// Requirements beside those of the spec, `additional-package`. They are also in the root that
    /// the SRPM is made in.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub additional_packages: Vec<String>,
    /// Repositories beside the target's, `addrepo`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub repositories: Vec<AddedRepository>,
}

/// A repository of one build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddedRepository {
    /// URL of the directory that holds `repodata/`. `{arch}`, and `$basearch` or `$arch` as dnf has
    /// them, stand for the architecture.
    pub baseurl: String,
    /// Armored keys that sign its packages; empty for those of the target's own repositories.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<String>,
    /// Whether its packages may be unsigned. Only where the target has `unsigned_addrepo`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub nogpgcheck: bool,
}

words! {
    /// An option of a build, by the name that mock has for it.
    pub enum BuildOption: "option of a build" {
        /// A bcond that is switched on.
        With = "with",
        /// A bcond that is switched off.
        Without = "without",
        Define = "define",
        /// `%check` is left out.
        NoCheck = "nocheck",
        /// A requirement beside those of the spec.
        AdditionalPackage = "additional-package",
        /// A repository beside the target's.
        AddRepo = "addrepo",
        /// The key of that repository.
        AddRepoKey = "addrepo-key",
        /// Packages of that repository need not be signed.
        AddRepoNoGpgCheck = "addrepo-nogpgcheck",
    }
}

/// An option that is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptionError {
    pub option: BuildOption,
    /// Its value, fit for a message.
    pub value: String,
    /// Why it is refused.
    pub why: OptionProblem,
}

/// Why an option is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OptionProblem {
    /// What is wrong, and what to write instead.
    Wrong(String),
    /// Another option has the same name.
    NamedBy(BuildOption),
    /// The target accepts no unsigned packages.
    MustBeSigned,
    /// A key is given, and also that none is needed.
    KeyAndNoCheck,
    /// No key is given, and the target has none.
    NoKey,
}

impl OptionProblem {
    /// The problem as text, with options as `written` writes them.
    #[must_use]
    pub fn text(&self, written: impl Fn(BuildOption) -> String) -> String {
        let key = || written(BuildOption::AddRepoKey);
        match self {
            Self::Wrong(text) => text.clone(),
            Self::NamedBy(option) => {
                format!("{} names it as well; leave one out", written(*option))
            }
            Self::MustBeSigned => format!(
                "this target takes signed packages only: name the key with {}, or set \
                 unsigned_addrepo = true in the target's file",
                key()
            ),
            Self::KeyAndNoCheck => {
                format!(
                    "{} and {} exclude each other",
                    key(),
                    written(BuildOption::AddRepoNoGpgCheck)
                )
            }
            Self::NoKey => format!(
                "there is no key to check its packages with, as the target's own repositories have \
                 none; name one with {}",
                key()
            ),
        }
    }
}

impl OptionError {
    /// The error as text, with options as `written` writes them.
    #[must_use]
    pub fn text(&self, written: impl Fn(BuildOption) -> String) -> String {
        format!("{} `{}`: {}", written(self.option), self.value, self.why.text(&written))
    }
}

impl fmt::Display for OptionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text(|option| option.to_string()))
    }
}

impl std::error::Error for OptionError {}

impl BuildOptions {
    /// Whether there are no options.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// Checks them against a target.
    ///
    /// # Errors
    /// The first option that is refused.
    pub fn check(&self, target: &Target) -> Result<(), OptionError> {
        self.check_words()?;
        let mut names = BTreeSet::new();
        for (name, body) in &self.define {
            if !names.insert(name) {
                return Err(refused(BuildOption::Define, name, "is defined twice; leave one out"));
            }
            if body.len() > MAX_TEXT {
                let what = format!("is longer than {MAX_TEXT} bytes; put it into the spec");
                return Err(refused(BuildOption::Define, name, what));
            }
            if let Some(what) = macro_problem(name, body) {
                return Err(refused(BuildOption::Define, &format!("{name} {body}"), what));
            }
        }
        self.repositories.iter().try_for_each(|added| added.check(target))?;
        // Options are refused for the same reasons as a target's file would be.
        let mut made = target.for_build("package", self);
        made.repositories.extend(self.target_repositories(target));
        match problems(&made).into_iter().next() {
            Some(problem) if problem.key.starts_with("repositories") => {
                Err(refused(BuildOption::AddRepo, &problem.value, problem.what))
            }
            Some(problem) => Err(refused(
                BuildOption::Define,
                &format!("{} {}", problem.key, problem.value),
                problem.what,
            )),
            None => Ok(()),
        }
    }

    /// Checks the options that need no target: bconds and requirements.
    ///
    /// # Errors
    /// The first option that is refused.
    pub(crate) fn check_words(&self) -> Result<(), OptionError> {
        self.check_counts()?;
        for (option, names) in
            [(BuildOption::With, &self.with), (BuildOption::Without, &self.without)]
        {
            for name in names {
                let good = !name.is_empty()
                    && name.len() <= 100
                    && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
                if !good {
                    let what = "write the name of a bcond: letters, digits and `_`";
                    return Err(refused(option, name, what));
                }
            }
        }
        if let Some(both) = self.with.iter().find(|name| self.without.contains(name)) {
            let why = OptionProblem::NamedBy(BuildOption::Without);
            return Err(OptionError { option: BuildOption::With, value: shown(both), why });
        }
        for requirement in &self.additional_packages {
            let good = !requirement.trim().is_empty()
                && requirement.len() <= MAX_TEXT
                && !requirement.starts_with(['-', '@'])
                && !requirement.chars().any(char::is_control);
            if !good {
                let what = "write what a spec could have in BuildRequires: a package, a file, \
                            `name >= version`";
                return Err(refused(BuildOption::AdditionalPackage, requirement, what));
            }
        }
        Ok(())
    }

    fn check_counts(&self) -> Result<(), OptionError> {
        for (option, count, most) in [
            (BuildOption::With, self.with.len(), MAX_WORDS),
            (BuildOption::Without, self.without.len(), MAX_WORDS),
            (BuildOption::Define, self.define.len(), MAX_WORDS),
            (BuildOption::AdditionalPackage, self.additional_packages.len(), MAX_WORDS),
            (BuildOption::AddRepo, self.repositories.len(), MAX_REPOSITORIES),
        ] {
            if count > most {
                let what = format!("at most {most} are accepted; put them into the target's file");
                return Err(refused(option, &format!("{count} times"), what));
            }
        }
        Ok(())
    }

    /// The repositories in the form of a target's file, named `addrepo-1` and so on.
    #[must_use]
    pub fn target_repositories(&self, target: &Target) -> Vec<Repository> {
        let number = 1..;
        let named = self.repositories.iter().zip(number);
        named.map(|(added, number)| added.of_target(target, number)).collect()
    }

    /// The lines of a macro file for bconds and macros, for a build without a target's file.
    #[must_use]
    pub fn macro_lines(&self) -> String {
        let bconds = |word: &str, names: &[String]| -> String {
            names.iter().map(|name| format!("%_{word}_{name} --{word}-{name}\n")).collect()
        };
        let define: String =
            self.define.iter().map(|(name, body)| macro_line(name, body)).collect();
        bconds("with", &self.with) + &bconds("without", &self.without) + &define
    }
}

impl AddedRepository {
    fn check(&self, target: &Target) -> Result<(), OptionError> {
        let refuse = |why| {
            let value = shown(&self.baseurl);
            Err(OptionError { option: BuildOption::AddRepo, value, why })
        };
        let refused = |what: &str| refuse(OptionProblem::Wrong(what.to_owned()));
        let url = self.template().expand(&[("arch", "x86_64")]);
        let Ok(parsed) = Url::parse(&url) else {
            return refused("is not a URL; write https://HOST/DIRECTORY/");
        };
        if url.contains('$') || url.contains('{') {
            return refused("has an unknown variable; known are $basearch, $arch and {arch}");
        }
        if !["http", "https"].contains(&parsed.scheme()) || parsed.host_str().is_none() {
            return refused("write the URL of a directory on a web server, https://…");
        }
        if !parsed.username().is_empty() || parsed.password().is_some() {
            return refused("holds a password, which would be recorded with the build");
        }
        if self.nogpgcheck && !target.unsigned_addrepo {
            return refuse(OptionProblem::MustBeSigned);
        }
        if self.nogpgcheck && !self.keys.is_empty() {
            return refuse(OptionProblem::KeyAndNoCheck);
        }
        if !self.nogpgcheck && self.of_target(target, 1).keys.is_empty() {
            return refuse(OptionProblem::NoKey);
        }
        if self.keys.iter().map(String::len).sum::<usize>() > MAX_KEYS {
            return refused("its keys are too long; export the one that signs its packages");
        }
        if self
            .keys
            .iter()
            .any(|key| !matches!(KeySource::from(key.clone()), KeySource::Armored(_)))
        {
            return refused("a key is not armored (gpg --armor --export)");
        }
        Ok(())
    }

    fn template(&self) -> Template {
        let text = self.baseurl.replace("$basearch", "{arch}").replace("$arch", "{arch}");
        Template::from(text.as_str())
    }

    fn of_target(&self, target: &Target, number: usize) -> Repository {
        let of_target = || {
            let checked = target.repositories.iter().filter(|repository| repository.gpgcheck);
            checked.flat_map(|repository| repository.keys.iter().cloned()).collect()
        };
        let keys = match (self.nogpgcheck, self.keys.is_empty()) {
            (true, _) => Vec::new(),
            (false, true) => of_target(),
            (false, false) => self.keys.iter().cloned().map(KeySource::from).collect(),
        };
        Repository {
            id: format!("addrepo-{number}"),
            baseurl: self.template().as_str().into(),
            gpgcheck: !self.nogpgcheck,
            keys,
            insecure: self.nogpgcheck,
            ..Repository::default()
        }
    }
}

fn refused(option: BuildOption, value: &str, what: impl Into<String>) -> OptionError {
    OptionError { option, value: shown(value), why: OptionProblem::Wrong(what.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A target whose package `hello` has options of its own.
    fn target() -> Target {
        let mut target = crate::target::tests::lab();
        target.macros.insert("rhel".into(), "9".into());
        let hello = target.packages.entry("hello".into()).or_default();
        hello.with = vec!["docs".into(), "tests".into()];
        hello.nocheck = true;
        hello.additional_packages = vec!["bc".into()];
        target
    }

    fn repository(baseurl: &str) -> AddedRepository {
        AddedRepository { baseurl: baseurl.into(), keys: Vec::new(), nogpgcheck: false }
    }

    fn pair(name: &str, body: &str) -> (String, String) {
        (name.to_owned(), body.to_owned())
    }

    #[test]
    fn what_is_asked_for_comes_after_the_targets_own() {
        let options = BuildOptions {
            with: vec!["gui".into()],
            without: vec!["tests".into()],
            define: vec![pair("rhel", "10"), pair("dist", ".lab1.test"), pair("body", "a%{?b}")],
            nocheck: false,
            additional_packages: vec!["zlib-devel".into()],
            repositories: vec![repository("https://example.org/$basearch/extra")],
        };
        options.check(&target()).expect("is good");
        let plain = target();
        let made = plain.for_build("hello", &options);
        let macros = made.macro_file("hello");
        for line in [
            "%_with_docs --with-docs",
            "%_with_gui --with-gui",
            "%_without_tests --without-tests",
            "%rhel 10",
            "%dist .lab1.test",
            "%body a%{?b}",
        ] {
            assert!(macros.lines().any(|found| found == line), "{line}: {macros}");
        }
        assert!(!macros.contains("_with_tests") && !macros.contains("%rhel 9"), "{macros}");
        assert!(made.nocheck("hello") && !made.nocheck("other"));
        assert_eq!(made.additional_packages("hello"), ["bc", "zlib-devel"]);
        let added = options.target_repositories(&plain);
        assert_eq!(added[0].id, "addrepo-1");
        assert_eq!(added[0].urls(crate::Arch::Ppc64le), ["https://example.org/ppc64le/extra/"]);
        assert_eq!(added[0].keys, plain.repositories[0].keys);
        assert!(added[0].gpgcheck);
        // Others of the target are as before.
        assert!(made.macro_file("other").contains("%rhel 9\n"));
        assert!(plain.macro_file("hello").contains("%_with_tests --with-tests\n"));
        assert_eq!(plain.for_build("hello", &BuildOptions::default()), plain);
    }

    #[test]
    fn refusals_name_option_value_and_remedy() {
        let with = |name: &str| BuildOptions { with: vec![name.into()], ..Default::default() };
        let define = |name: &str, body: &str| BuildOptions {
            define: vec![pair(name, body)],
            ..Default::default()
        };
        let package = |text: &str| BuildOptions {
            additional_packages: vec![text.into()],
            ..Default::default()
        };
        let added =
            |url: &str| BuildOptions { repositories: vec![repository(url)], ..Default::default() };
        let unsigned = AddedRepository { nogpgcheck: true, ..repository("https://example.org/") };
        let table = [
            (with("a b"), "--with `a b`: write the name of a bcond"),
            (BuildOptions { without: vec!["x".into()], ..with("x") }, "--without names it as well"),
            (define("_topdir", "/x"), "--define `_topdir /x`: is set by the worker"),
            (define("x y", "1"), "no such macro name"),
            (define("good", "%{"), "is not closed"),
            (define("dist", "el9"), "write the dist tag with its dot"),
            (
                BuildOptions { define: vec![pair("abc", "1"), pair("abc", "2")], ..with("x") },
                "defined twice",
            ),
            (package("--x"), "--additional-package `--x`: write what a spec"),
            (package("@buildsys"), "--additional-package"),
            (added("file:///srv"), "on a web server"),
            (added("nonsense"), "is not a URL"),
            (added("https://example.org/$releasever/"), "unknown variable"),
            (added("https://me:secret@example.org/"), "holds a password"),
            (
                BuildOptions { repositories: vec![unsigned], ..Default::default() },
                "signed packages only",
            ),
            (
                BuildOptions { with: vec!["x".into(); MAX_WORDS + 1], ..Default::default() },
                "at most 200",
            ),
        ];
        for (options, expected) in table {
            let error = options.check(&target()).expect_err(expected);
            let text = error.text(|option| format!("--{option}"));
            assert!(text.contains(expected), "{text}");
            assert!(!error.to_string().contains("--with"), "{error}");
        }
        let open = Target { unsigned_addrepo: true, ..target() };
        let unsigned = AddedRepository { nogpgcheck: true, ..repository("https://example.org/") };
        let options = BuildOptions { repositories: vec![unsigned], ..Default::default() };
        assert_eq!(options.check(&open), Ok(()));
        assert!(!options.target_repositories(&open)[0].gpgcheck);
    }

    #[test]
    fn options_survive_storage() {
        let options = BuildOptions {
            with: vec!["gui".into()],
            define: vec![pair("dist", ".x")],
            nocheck: true,
            ..Default::default()
        };
        assert_eq!(options.macro_lines(), "%_with_gui --with-gui\n%dist .x\n");
        let text = serde_json::to_string(&options).expect("is JSON");
        assert_eq!(serde_json::from_str::<BuildOptions>(&text).expect("reads"), options);
        assert!(BuildOptions::default().is_nothing() && !options.is_nothing());
        assert_eq!(serde_json::to_string(&BuildOptions::default()).expect("is JSON"), "{}");
    }
}
