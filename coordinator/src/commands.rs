//! The commands that carry out a remedy of `core`.
//!
//! Owns the words of the command lines in messages that more than one folder writes. It must not
//! know when a remedy applies: that is `core`'s to say.

use rpmfarm_core::BuildOptions;
use rpmfarm_core::options::{AddedRepository, BuildOption, OptionError};
use rpmfarm_core::remedy::Remedy;
use rpmfarm_core::track::NotNewer;

/// The command of a remedy.
#[must_use]
pub fn command(remedy: &Remedy) -> String {
    match remedy {
        Remedy::StartWorker => "rpmfarm-worker --help".to_owned(),
        Remedy::BuildHigherRelease { package } => format!("rpmfarm build {package} --bump"),
        Remedy::EnrolWorker => "rpmfarm worker enrol".to_owned(),
        Remedy::ResumeBatch { batch } => format!("rpmfarm batch resume {batch}"),
    }
}

/// A text with the command of its remedy, if it has one.
#[must_use]
pub fn with_command(text: String, remedy: Option<&Remedy>) -> String {
    match remedy {
        Some(remedy) => format!("{text} ({})", command(remedy)),
        None => text,
    }
}

/// The message for a build that clients would not update to.
#[must_use]
pub fn not_newer(why: &NotNewer) -> String {
    match why.remedy() {
        Some(remedy) => format!("{why}, or ask for {}", command(&remedy)),
        None => why.to_string(),
    }
}

/// The message for an option of a build that is refused.
#[must_use]
pub fn refused_option(error: &OptionError) -> String {
    error.text(flag)
}

/// The options of a build as words of a command line, one for each. Keys are left out.
#[must_use]
pub fn option_words(options: &BuildOptions) -> Vec<String> {
    let with = flag(BuildOption::With);
    let without = flag(BuildOption::Without);
    let define = flag(BuildOption::Define);
    let package = flag(BuildOption::AdditionalPackage);
    let mut words = Vec::new();
    words.extend(options.with.iter().map(|name| format!("{with} {name}")));
    words.extend(options.without.iter().map(|name| format!("{without} {name}")));
    words.extend(options.define.iter().map(|(name, body)| format!("{define} '{name} {body}'")));
    words.extend(options.nocheck.then(|| flag(BuildOption::NoCheck)));
    words.extend(options.additional_packages.iter().map(|text| format!("{package} '{text}'")));
    words.extend(options.repositories.iter().map(repository));
    words
}

fn repository(AddedRepository { baseurl, nogpgcheck, .. }: &AddedRepository) -> String {
    let option = flag(BuildOption::AddRepo);
    if *nogpgcheck {
        format!("{option} {baseurl} {}", flag(BuildOption::AddRepoNoGpgCheck))
    } else {
        format!("{option} {baseurl}")
    }
}

fn flag(option: BuildOption) -> String {
    format!("--{option}")
}

#[cfg(test)]
mod tests {
    use rpmfarm_core::Evr;
    use rpmfarm_core::track::check_newer;

    use super::*;

    #[test]
    fn a_remedy_is_shown_as_a_command() {
        let text = with_command("start one".to_owned(), Some(&Remedy::StartWorker));
        assert_eq!(text, "start one (rpmfarm-worker --help)");
        assert_eq!(with_command("wait".to_owned(), None), "wait");
        assert_eq!(command(&Remedy::EnrolWorker), "rpmfarm worker enrol");
    }

    #[test]
    fn the_same_release_may_be_built_higher_and_no_other() {
        let published = Evr::new(0, "1.10", "2.el9");
        let hint = |release: &str| {
            let made = Evr::new(0, "1.10", release);
            let why = check_newer("hello", &made, [published.clone()], "testing");
            not_newer(&why.expect_err("it is not newer"))
        };
        assert!(hint("2.el9").ends_with(", or ask for rpmfarm build hello --bump"));
        assert!(!hint("1.el9").contains("--bump"));
    }

    #[test]
    fn options_are_shown_as_they_are_typed() {
        let unsigned = AddedRepository {
            baseurl: "https://example.org/".into(),
            keys: Vec::new(),
            nogpgcheck: true,
        };
        let options = BuildOptions {
            with: vec!["gui".into()],
            define: vec![("dist".into(), ".x".into())],
            nocheck: true,
            ..BuildOptions::default()
        };
        assert_eq!(option_words(&options).join(" "), "--with gui --define 'dist .x' --nocheck");
        let options = BuildOptions {
            without: vec!["tests".into()],
            additional_packages: vec!["gcc >= 14".into()],
            repositories: vec![unsigned],
            ..BuildOptions::default()
        };
        let words = [
            "--without tests",
            "--additional-package 'gcc >= 14'",
            "--addrepo https://example.org/ --addrepo-nogpgcheck",
        ];
        assert_eq!(option_words(&options), words);
        assert!(option_words(&BuildOptions::default()).is_empty());
    }
}
