//! Result files of an attempt, and the checks that need no file: names, kinds, sets.

use std::collections::{BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use crate::limits::Limits;
use crate::name::{self, NameError};
use crate::relation;
use crate::source::SourceBundle;
use crate::track::NotNewer;
use crate::{Arch, Fault, Nevra, Sha256};

words! {
    /// The kind of a result file.
    pub enum ResultKind: "kind of result" {
        Rpm = "rpm",
        Srpm = "srpm",
    }
}

/// One result file as the worker announces it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResultFile {
    /// Plain file name.
    pub name: String,
    pub kind: ResultKind,
    /// Its SHA-256.
    pub digest: Sha256,
    /// Its size in bytes.
    pub size: u64,
}

/// Why results are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResultError {
    /// A bad file name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// No files, or other ones than the task makes.
    #[error("the build made {found}, expected {expected}")]
    Set { found: String, expected: &'static str },
    /// Two files with one name.
    #[error("two result files are named `{0}`")]
    Twice(String),
    /// The header has another name than the file.
    #[error("file `{file}` holds the package {nevra} (expected a file named `{expected}`)")]
    FileName {
        file: String,
        nevra: Box<Nevra>,
        /// The file name for the package in the header.
        expected: String,
    },
    /// A package for another architecture.
    #[error("{nevra} is not a package for {arch}")]
    Arch {
        nevra: Box<Nevra>,
        /// The architecture of the task.
        arch: Arch,
    },
    /// A package that was built from another source package.
    #[error("{nevra} says it was built from `{found}`, not from `{expected}`")]
    Source {
        nevra: Box<Nevra>,
        found: String,
        /// The SRPM of the task.
        expected: String,
    },
    /// A package that is built on none of the build's architectures.
    #[error(
        "{nevra} is not for any of the requested architectures ({}); see its ExclusiveArch and ExcludeArch",
        list(arches)
    )]
    NoArch { nevra: Box<Nevra>, arches: Vec<Arch> },
    /// An SRPM whose version is not the one in the requested tag.
    #[error("the spec makes {}, but the tag `{tag}` says {nvr}", made.nvr())]
    Tag {
        /// The NEVRA in the SRPM's header.
        made: Box<Nevra>,
        /// The requested tag.
        tag: String,
        nvr: String,
    },
    /// A macro in a tag of the spec that is not defined.
    #[error("{place} is `{}`: {}", name::shown(text), crate::unexpanded::undefined(macro_name))]
    Macro {
        place: &'static str,
        /// The value of the tag, as rpm has expanded it.
        text: String,
        /// The macro that is left in it.
        macro_name: String,
    },
    /// More build requirements than are accepted.
    #[error(
        "{package} requires {count} packages for its build, more than the {MAX_REQUIRES} that are accepted"
    )]
    Requires { package: String, count: usize },
    /// A dependency or path that exceeds the bounds of the solver.
    #[error("{package}: {source}")]
    OutOfBounds { package: String, source: relation::RelationError },
    /// A file of an SRPM that is not among the imported sources.
    #[error(
        "{nevra}: `{file}` is not the file that was imported from dist-git ({expected}, found {found}): the worker replaced it"
    )]
    SourceFile {
        nevra: Box<Nevra>,
        file: String,
        /// The SHA-256 of the imported file, or that there is none.
        expected: String,
        /// The SHA-256 of the file in the package.
        found: Sha256,
    },
    /// Packages that are too large when they are unpacked.
    #[error(
        "the packages are too large unpacked: with {package} they have {found} {unit}, at most {limit} are accepted (limit `{key}`)"
    )]
    Unpacked {
        /// The file with which the limit was exceeded.
        package: String,
        /// `MiB` or `files`.
        unit: &'static str,
        /// How many there are, so far.
        found: u64,
        /// How many may be.
        limit: u64,
        /// The key of a target's limits.
        key: &'static str,
    },
    /// An SRPM that is not newer than the published package.
    #[error(transparent)]
    NotNewer(#[from] Box<NotNewer>),
    /// A binary package where the source package should be.
    #[error("{nevra} is not a source package")]
    NotSource { nevra: Box<Nevra> },
    /// An SRPM of another package.
    #[error("the spec makes the package `{found}`, but `{expected}` was requested")]
    Package { found: String, expected: String },
}

fn list(arches: &[Arch]) -> String {
    arches.iter().map(|arch| arch.as_str()).collect::<Vec<_>>().join(", ")
}

impl ResultError {
    /// Whose fault it is. Names that contradict the files come from a worker that damaged them; a
    /// spec that makes other packages than were requested is the package's fault.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Name(_) | Self::Twice(_) | Self::FileName { .. } | Self::SourceFile { .. } => {
                Fault::Worker
            }
            Self::Set { .. }
            | Self::Arch { .. }
            | Self::Source { .. }
            | Self::NoArch { .. }
            | Self::Tag { .. }
            | Self::NotNewer(_)
            | Self::Requires { .. }
            | Self::OutOfBounds { .. }
            | Self::Unpacked { .. }
            | Self::Macro { .. }
            | Self::NotSource { .. }
            | Self::Package { .. } => Fault::Package,
        }
    }
}

/// The size of packages when they are unpacked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UnpackedSize {
    /// Files, directories and links.
    pub files: u64,
    /// Bytes of their contents; files with several names count once.
    pub bytes: u64,
}

impl UnpackedSize {
    /// The sum of both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        let files = self.files.saturating_add(other.files);
        Self { files, bytes: self.bytes.saturating_add(other.bytes) }
    }

    /// Refuses more than the results of a task may hold. `file` is the last that was counted.
    ///
    /// # Errors
    /// [`ResultError::Unpacked`].
    pub fn check(&self, file: &str, limits: &Limits) -> Result<(), ResultError> {
        let mib = self.bytes.div_ceil(1 << 20);
        for (unit, found, limit, key) in [
            ("files", self.files, limits.results_files, "results_files"),
            ("MiB", mib, limits.results_unpacked_mib, "results_unpacked_mib"),
        ] {
            if found > limit {
                return Err(ResultError::Unpacked {
                    package: file.into(),
                    unit,
                    found,
                    limit,
                    key,
                });
            }
        }
        Ok(())
    }
}

/// How much more the results of a task may hold, file after file.
#[derive(Debug, Clone)]
pub struct ResultBudget {
    before: UnpackedSize,
    limits: Limits,
}

impl ResultBudget {
    /// All that these limits allow.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { before: UnpackedSize::default(), limits }
    }

    /// Refuses a file that is too large together with the files before it.
    ///
    /// # Errors
    /// [`ResultError::Unpacked`].
    pub fn check(&self, file: &str, held: UnpackedSize) -> Result<(), ResultError> {
        self.before.and(held).check(file, &self.limits)
    }

    /// Counts an accepted file.
    pub fn add(&mut self, held: UnpackedSize) {
        self.before = self.before.and(held);
    }
}

/// How many build requirements a package may have, also those of one round of
/// `%generate_buildrequires`. The largest packages of a distribution have some hundreds.
pub const MAX_REQUIRES: usize = 10_000;

/// Refuses more build requirements than [`MAX_REQUIRES`], those that exceed the bounds of
/// [`relation`], and those with a macro that rpm did not expand.
///
/// # Errors
/// [`ResultError::Requires`], [`ResultError::OutOfBounds`] and [`ResultError::Macro`].
pub fn check_requires(package: &str, requires: &[String]) -> Result<(), ResultError> {
    if requires.len() > MAX_REQUIRES {
        return Err(ResultError::Requires { package: package.to_owned(), count: requires.len() });
    }
    for requirement in requires {
        check_bounds(package, "BuildRequires", requirement)?;
        check_expanded("BuildRequires", requirement)?;
    }
    Ok(())
}

/// Refuses a dependency that exceeds the bounds of [`relation`].
///
/// # Errors
/// [`ResultError::OutOfBounds`].
pub fn check_bounds(package: &str, place: &'static str, text: &str) -> Result<(), ResultError> {
    relation::check(place, text)
        .map_err(|source| ResultError::OutOfBounds { package: name::shown(package), source })
}

/// Refuses a tag with a macro that rpm did not expand.
///
/// # Errors
/// [`ResultError::Macro`].
pub fn check_expanded(place: &'static str, text: &str) -> Result<(), ResultError> {
    match crate::unexpanded::unexpanded(text) {
        None => Ok(()),
        Some(name) => {
            Err(ResultError::Macro { place, text: text.to_owned(), macro_name: name.to_owned() })
        }
    }
}

/// How many dependencies with a macro are named.
const MACROS_NAMED: usize = 5;

/// Notes on dependencies of a package with a macro that rpm did not expand: rpm accepts them as
/// they are, and no package will ever match them. `dependencies` are names and versions by their
/// tags (`Provides`).
///
/// A bare `%name` is not reported: names of fonts and of other languages' modules may contain it.
#[must_use]
pub fn macros_left<'a>(
    nevra: &Nevra,
    dependencies: impl Iterator<Item = (&'static str, &'a str)>,
) -> Vec<String> {
    let found: BTreeSet<_> = dependencies
        .filter_map(|(tag, text)| Some((tag, text, crate::unexpanded::unexpanded(text)?)))
        .filter(|(.., name)| name.starts_with("%{"))
        .collect();
    let named = found.iter().take(MACROS_NAMED).map(|(tag, text, name)| {
        let text = name::shown(text);
        format!("{nevra}: {tag} is `{text}`: {}", crate::unexpanded::undefined(name))
    });
    let more = found.len().saturating_sub(MACROS_NAMED);
    let rest = (more > 0).then(|| format!("{nevra}: macros are left in {more} more dependencies"));
    named.chain(rest).collect()
}

/// Compares the files of an SRPM with the imported sources: rpmbuild copies files, so each must be
/// the same byte for byte. For a bundle with scripts nothing is compared, because their results are
/// unknown.
///
/// # Errors
/// [`ResultError::SourceFile`] for the first file that differs or was not imported.
pub fn check_sources(
    nevra: &Nevra,
    files: &[(Vec<u8>, Sha256)],
    bundle: &SourceBundle,
) -> Result<(), ResultError> {
    if bundle.plan.is_some() {
        return Ok(());
    }
    let known: HashMap<&[u8], Sha256> = std::iter::once(&bundle.spec)
        .chain(&bundle.sources)
        .map(|file| (file.name.as_bytes(), file.digest))
        .collect();
    let other = files.iter().find(|(name, digest)| known.get(name.as_slice()) != Some(digest));
    other.map_or(Ok(()), |(name, found)| {
        let expected = known.get(name.as_slice());
        Err(ResultError::SourceFile {
            nevra: nevra.clone().into(),
            file: name::shown(&String::from_utf8_lossy(name)),
            expected: expected.map_or_else(|| "no such file".into(), |d| format!("SHA-256 {d}")),
            found: *found,
        })
    })
}

/// Checks the announced set before any byte is read: names, kinds, no duplicates.
///
/// # Errors
/// A [`ResultError`] that names the file.
pub fn check_set(kind: crate::task::TaskKind, files: &[ResultFile]) -> Result<(), ResultError> {
    use crate::task::TaskKind;
    let mut names = BTreeSet::new();
    for file in files {
        name::check_file(&file.name)?;
        if !names.insert(&file.name) {
            return Err(ResultError::Twice(file.name.clone()));
        }
    }
    let srpms = files.iter().filter(|file| file.kind == ResultKind::Srpm).count();
    let rpms = files.len() - srpms;
    let found = || format!("{srpms} source and {rpms} binary packages");
    match kind {
        TaskKind::Srpm if (srpms, rpms) != (1, 0) => {
            Err(ResultError::Set { found: found(), expected: "one source package" })
        }
        TaskKind::Build | TaskKind::Noarch | TaskKind::Repeat if srpms != 0 || rpms == 0 => {
            Err(ResultError::Set {
                found: found(),
                expected: "binary packages (is every %files empty?)",
            })
        }
        _ => Ok(()),
    }
}

/// Checks a source package's header against the request.
///
/// # Errors
/// A [`ResultError`] that names both.
pub fn check_srpm(file: &ResultFile, nevra: &Nevra, package: &str) -> Result<(), ResultError> {
    // A binary package would enter the solver's pool without any of the checks of a built package.
    if !nevra.is_source() {
        return Err(ResultError::NotSource { nevra: nevra.clone().into() });
    }
    check_expanded("Name", &nevra.name)?;
    check_expanded("Version", &nevra.evr.version)?;
    check_expanded("Release", &nevra.evr.release)?;
    if nevra.name != package {
        return Err(ResultError::Package { found: nevra.name.clone(), expected: package.into() });
    }
    check_file_name(file, nevra)
}

/// Checks a binary package's header against the SRPM that it was built from.
///
/// # Errors
/// A [`ResultError`] that names the package and the value.
pub fn check_rpm(
    file: &ResultFile,
    nevra: &Nevra,
    source_rpm: &str,
    arch: Arch,
    srpm: &Nevra,
) -> Result<(), ResultError> {
    if !arch.accepts(&nevra.arch) {
        return Err(ResultError::Arch { nevra: nevra.clone().into(), arch });
    }
    let expected = srpm.file_name();
    if source_rpm != expected {
        let found = name::shown(source_rpm);
        return Err(ResultError::Source { nevra: nevra.clone().into(), found, expected });
    }
    check_file_name(file, nevra)
}

/// The expected header of each result file of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// The source package of a package.
    Srpm { package: String },
    Rpm {
        /// The architecture of the task.
        arch: Arch,
        /// The SRPM of the task.
        srpm: Nevra,
    },
}

impl Expected {
    /// Checks the header of a file. `source_rpm` is its SOURCERPM.
    ///
    /// # Errors
    /// A [`ResultError`] that names the package and the value.
    pub fn check(
        &self,
        file: &ResultFile,
        nevra: &Nevra,
        source_rpm: Option<&str>,
    ) -> Result<(), ResultError> {
        match self {
            Self::Srpm { package } => check_srpm(file, nevra, package),
            Self::Rpm { arch, srpm } => {
                check_rpm(file, nevra, source_rpm.unwrap_or_default(), *arch, srpm)
            }
        }
    }
}

fn check_file_name(file: &ResultFile, nevra: &Nevra) -> Result<(), ResultError> {
    let expected = nevra.file_name();
    if file.name == expected {
        return Ok(());
    }
    Err(ResultError::FileName { file: file.name.clone(), nevra: nevra.clone().into(), expected })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::SourceFile;
    use crate::task::TaskKind;

    fn file(name: &str, kind: ResultKind) -> ResultFile {
        ResultFile { name: name.into(), kind, digest: Sha256::compute(name.as_bytes()), size: 1 }
    }

    fn nevra(text: &str) -> Nevra {
        text.parse().expect("a NEVRA")
    }

    #[test]
    fn what_is_unpacked_is_bounded_by_the_target() {
        let limits = Limits { results_unpacked_mib: 3, results_files: 10, ..Limits::default() };
        let fits = UnpackedSize { files: 10, bytes: 3 << 20 };
        assert_eq!(fits.check("a.rpm", &limits), Ok(()));
        let more = UnpackedSize { files: 1, bytes: 0 };
        let many = fits.and(more).check("b.rpm", &limits).unwrap_err();
        assert_eq!(many.fault(), Fault::Package);
        let said = many.to_string();
        assert!(
            said.ends_with(
                "with b.rpm they have 11 files, at most 10 are accepted (limit `results_files`)"
            ),
            "{said}"
        );
        let large =
            UnpackedSize { files: 1, bytes: (3 << 20) + 1 }.check("b.rpm", &limits).unwrap_err();
        assert!(
            large
                .to_string()
                .contains("4 MiB, at most 3 are accepted (limit `results_unpacked_mib`)")
        );
        let most = UnpackedSize { files: u64::MAX, bytes: u64::MAX };
        assert!(most.and(most).check("b.rpm", &limits).is_err());
    }

    #[test]
    fn requirements_are_bounded() {
        let requires = vec!["gcc".to_owned(); MAX_REQUIRES + 1];
        check_requires("hello", &requires[1..]).unwrap();
        let refused = check_requires("hello", &requires).unwrap_err();
        assert_eq!(refused.fault(), Fault::Package);
        assert!(refused.to_string().contains("hello requires 10001 packages"), "{refused}");
    }

    #[test]
    fn sets() {
        let rpm = file("a-1-1.noarch.rpm", ResultKind::Rpm);
        let srpm = file("a-1-1.src.rpm", ResultKind::Srpm);
        assert_eq!(check_set(TaskKind::Srpm, std::slice::from_ref(&srpm)), Ok(()));
        assert_eq!(check_set(TaskKind::Build, std::slice::from_ref(&rpm)), Ok(()));
        assert!(check_set(TaskKind::Build, &[]).is_err());
        assert!(check_set(TaskKind::Build, &[rpm.clone(), srpm.clone()]).is_err());
        assert!(check_set(TaskKind::Srpm, &[rpm.clone(), srpm]).is_err());
        assert_eq!(
            check_set(TaskKind::Build, &[rpm.clone(), rpm]),
            Err(ResultError::Twice("a-1-1.noarch.rpm".into()))
        );
        assert!(check_set(TaskKind::Build, &[file("../a.rpm", ResultKind::Rpm)]).is_err());
    }

    #[test]
    fn headers_must_say_what_was_asked() {
        let srpm = nevra("a-1:1-1.src");
        let rpm = |name: &str, text: &str, source: &str| {
            check_rpm(&file(name, ResultKind::Rpm), &nevra(text), source, Arch::X86_64, &srpm)
        };
        assert_eq!(rpm("b-1-1.x86_64.rpm", "b-1:1-1.x86_64", "a-1-1.src.rpm"), Ok(()));
        assert!(matches!(
            rpm("c-1-1.x86_64.rpm", "b-1-1.x86_64", "a-1-1.src.rpm"),
            Err(ResultError::FileName { .. })
        ));
        assert!(matches!(
            rpm("b-1-1.ppc64le.rpm", "b-1-1.ppc64le", "a-1-1.src.rpm"),
            Err(ResultError::Arch { .. })
        ));
        assert!(matches!(
            rpm("b-1-1.x86_64.rpm", "b-1-1.x86_64", "evil-1-1.src.rpm"),
            Err(ResultError::Source { .. })
        ));
        let source = file("a-1-1.src.rpm", ResultKind::Srpm);
        assert_eq!(check_srpm(&source, &srpm, "a"), Ok(()));
        assert!(matches!(check_srpm(&source, &srpm, "other"), Err(ResultError::Package { .. })));
        let binary = file("a-1-1.x86_64.rpm", ResultKind::Srpm);
        let refused = check_srpm(&binary, &nevra("a-1:1-1.x86_64"), "a").unwrap_err();
        assert_eq!(refused.to_string(), "a-1:1-1.x86_64 is not a source package");
    }

    #[test]
    fn an_srpm_has_the_files_that_were_imported() {
        let file = |name: &str, text: &[u8]| SourceFile {
            name: name.into(),
            digest: Sha256::compute(text),
            size: 1,
            executable: false,
        };
        let mut bundle = SourceBundle {
            package: "a".into(),
            url: String::new(),
            commit: String::new(),
            spec: file("a.spec", b"spec"),
            sources: vec![file("a.tar", b"tar"), file("unused.patch", b"patch")],
            modification: None,
            plan: None,
        };
        let nevra: Nevra = "a-1-1.src".parse().unwrap();
        let found = |name: &str, text: &[u8]| (name.as_bytes().to_vec(), Sha256::compute(text));
        let (spec, tar) = (found("a.spec", b"spec"), found("a.tar", b"tar"));
        check_sources(&nevra, &[spec.clone(), tar], &bundle).unwrap();
        for (foreign, words) in [
            (found("a.tar", b"evil"), "`a.tar` is not the file that was imported"),
            (found("b.tar", b"tar"), "(no such file, found "),
        ] {
            let refusal = check_sources(&nevra, &[spec.clone(), foreign], &bundle).unwrap_err();
            assert_eq!(refusal.fault(), Fault::Worker);
            assert!(refusal.to_string().contains(words), "{refusal}");
        }
        bundle.plan = Some(file("plan", b"plan"));
        check_sources(&nevra, &[found("made-by-a-script", b"x")], &bundle).unwrap();
    }

    #[test]
    fn a_macro_in_a_dependency_is_named_once() {
        let nevra: Nevra = "a-1-1.noarch".parse().unwrap();
        let said = macros_left(
            &nevra,
            [
                ("Provides", "a(%{x})"),
                ("Provides", "a(%{x})"),
                ("Requires", "font(%lang)"),
                ("Requires", "b"),
            ]
            .into_iter(),
        );
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(
            said[0]
                .starts_with("a-1-1.noarch: Provides is `a(%{x})`: the macro %{x} is not defined")
        );
        let many: Vec<String> = (0..100).map(|number| format!("b(%{{x{number:03}}})")).collect();
        let said = macros_left(&nevra, many.iter().map(|text| ("Requires", text.as_str())));
        assert_eq!(said.len(), MACROS_NAMED + 1);
        assert_eq!(said[MACROS_NAMED], "a-1-1.noarch: macros are left in 95 more dependencies");
    }

    #[test]
    fn macros_that_nothing_defines() {
        for (name, version, release, words) in [
            ("%{foo}", "1", "1", "Name is `%{foo}`: the macro %{foo} is not defined"),
            ("x", "%{foo}", "1", "Version is `%{foo}`: the macro %{foo} is not defined"),
            (
                "x",
                "1",
                "1.lab9%{bar}",
                "Release is `1.lab9%{bar}`: the macro %{bar} is not defined",
            ),
        ] {
            let nevra = Nevra::new(name, crate::Evr::new(0, version, release), "src");
            let file = ResultFile {
                name: nevra.file_name(),
                kind: ResultKind::Srpm,
                digest: Sha256::compute(b""),
                size: 0,
            };
            let refusal = check_srpm(&file, &nevra, "x").unwrap_err();
            assert!(refusal.to_string().starts_with(words), "{refusal}");
            assert!(refusal.to_string().contains("[packages.NAME.macros]"), "{refusal}");
            assert_eq!(refusal.fault(), Fault::Package);
        }
        let refusal = check_requires("x", &["a >= 1".into(), "b%{d}".into()]).unwrap_err();
        assert!(
            refusal.to_string().starts_with("BuildRequires is `b%{d}`: the macro %{d}"),
            "{refusal}"
        );
        assert!(check_requires("x", &["perl(A)".into(), "a = 1.0%1".into()]).is_ok());
    }
}
