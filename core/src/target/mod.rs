//! Targets: what the farm rebuilds, from where, against what, and how it is published.
//!
//! Owns the form of a target file (TOML) and what is refused in one; the fields' comments here
//! are its reference. It must not know where the files lie: reading them, and the keys that they
//! name, is the caller's.
//!
//! ```
//! # use rpmfarm_core::target::Target;
//! let text = r#"
//! name = "lab"
//! arches = ["x86_64"]
//! dist = ".lab1"
//! channels = ["testing", "stable"]
//! signing_key = "lab"
//! bootstrap = ["rpm"]
//! base = ["bash", "rpm-build"]
//! private_hosts = ["127.0.0.1:8080"]
//!
//! [upstream]
//! url = "http://127.0.0.1:8080/git/{name}.git"
//! ref = "lab1"
//! lookaside = ["http://127.0.0.1:8080/lookaside/{name}/{file}/{hashtype}/{hash}/{file}"]
//!
//! [[repositories]]
//! id = "lab"
//! baseurl = "http://127.0.0.1:8080/repo/{arch}/"
//! keys = ["lab.asc"]
//!
//! [macros]
//! _host = "x86_64-lab-linux-gnu"
//!
//! [packages.slow]
//! limits = { seconds = 172800 }
//! needs = { memory = "32G", disk = "100G", label = "ssd" }
//! "#;
//! let target = Target::parse("lab.toml", text)?;
//! assert_eq!(target.git_url("hello"), "http://127.0.0.1:8080/git/hello.git");
//! # Ok::<(), rpmfarm_core::target::TargetError>(())
//! ```

mod address;
mod check;
mod hosts;
mod macros;
mod modifications;
mod needs;
mod package;
mod problem;
mod published;
mod repository;
mod template;
mod track;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use address::{BaseError, check_base};
pub(crate) use check::problems;
pub use hosts::{PrivateHosts, is_private};
pub(crate) use macros::{line as macro_line, problem as macro_problem};
pub use modifications::{MODIFICATIONS_CONFIG, Modifications, is_modifications_config};
pub use needs::{NeedsLabel, NeedsSetting, Size, SizeError};
pub use package::{LimitOverrides, PackageOverrides};
pub use problem::{TargetError, TargetProblem};
pub use repository::{BaseUrls, KeySource, Repository};
pub use template::Template;
pub use track::Tracking;

use crate::batch::OrderMode;
use crate::digest::Checksum;
use crate::limits::Limits;
use crate::modules::{ModuleChoice, ModuleName, StreamName};
use crate::needs::Needs;
use crate::options::BuildOptions;
use crate::proof::ClosureRule;
use crate::published_repositories::PublishedRepository;
use crate::track::TagPattern;
use crate::{Allowed, Arch, kept_files, name};

/// One distribution that the farm rebuilds: the content of one file `NAME.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// The name for `--target NAME` and in its repositories' paths: lower-case letters, digits,
    /// `.`, `_` and `-`.
    pub name: String,

    /// A description in one line, for people.
    #[serde(default)]
    pub description: String,

    /// The architectures of its builds: `x86_64`, `aarch64`, `ppc64le`. A package's `ExclusiveArch`
    /// and `ExcludeArch` restrict them.
    pub arches: Vec<Arch>,

    /// Whether workers that only emulate an architecture may build for it. Emulation takes five to
    /// twenty times as long, and a test suite may notice the emulator: packages that must be
    /// compatible with a real distribution are better built natively.
    #[serde(default)]
    pub emulation: bool,

    /// The percentage of builds, for each architecture, that are repeated on another worker and
    /// compared before they are accepted ([`crate::repeat`]). Differences wait for a person.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub repeat_percent: u8,

    /// Which needs put the builds of one request in order ([`OrderMode`]), where the request does
    /// not say it: `requires`, `bootstrap` or `none`.
    #[serde(default, skip_serializing_if = "is_default_order")]
    pub order: OrderMode,

    /// The dist tag, `%{dist}` in specs, with its leading dot: `.el9`.
    pub dist: String,

    /// `Vendor` of every package built.
    #[serde(default)]
    pub vendor: String,

    /// `Packager` of every package built.
    #[serde(default)]
    pub packager: String,

    /// `Build Host` of every package built: the same on every worker, so that builds can be
    /// reproduced. (The times in packages are set by the macros of the root, unless `macros` here
    /// set them.)
    #[serde(default = "default_build_host")]
    pub build_host: String,

    /// The channels, each with repositories of its own. Builds are published in the first; packages get
    /// into the others by promotion.
    pub channels: Vec<String>,

    /// The repositories that each channel consists of, with the rules for what is in each. Without
    /// any, a channel is one repository.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub published_repositories: Vec<PublishedRepository>,

    /// The name of the key, known to the signer, that signs this target's packages and metadata.
    pub signing_key: String,

    /// Names of keys that were `signing_key` before, as long as clients may know no newer one. What
    /// they signed counts until it is signed again, they sign the metadata too, and their public
    /// parts are published beside the new one.
    #[serde(default)]
    pub previous_keys: Vec<String>,

    /// Packages of the bootstrap root, which the worker unpacks without running their scripts: only
    /// what the target's own rpm needs to install the base root. The solver adds their
    /// requirements.
    pub bootstrap: Vec<String>,

    /// Packages of the base root, in which the SRPM is made and on top of which build requirements
    /// are installed. The solver adds their requirements.
    pub base: Vec<String>,

    /// Source packages whose packages, as the farm has built them, may be in the bootstrap and base
    /// roots; `*` for all. Other packages of the farm get into these roots only where no external
    /// repository provides a requirement.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub base_from_farm: Vec<String>,

    /// The module streams that build roots use besides the default ones, as `NAME:STREAM`: what
    /// `dnf module enable` does. Only Enterprise Linux 8 and 9 have modules.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub modules: Vec<StreamName>,

    /// The modules of which no stream is used, not even the default one: what `dnf module disable`
    /// does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub disabled_modules: Vec<ModuleName>,

    /// The platform that module streams require, as `platform:el9`. If it is left out, it comes
    /// from the repositories' package that provides `system-release`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub module_platform_id: Option<StreamName>,

    /// Servers that may have a loopback, private or link-local address, as `HOST` (every port) or
    /// `HOST:PORT`. All other hosts are refused when they resolve to one, at the first request and
    /// at each redirect.
    #[serde(default)]
    pub private_hosts: PrivateHosts,

    /// The upstream of the sources.
    pub upstream: Upstream,

    /// The modifications of the distribution; none when it builds upstream unchanged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modifications: Option<Modifications>,

    /// The external repositories that build roots are solved against. The farm's own builds take
    /// precedence over all of them.
    pub repositories: Vec<Repository>,

    /// Accepts `--addrepo-nogpgcheck`: repositories of a single build with unsigned packages.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unsigned_addrepo: bool,

    /// Files of a failed build that are kept, for `rpmfarm files`: patterns of the end of a path
    /// below rpm's build directory, with `*`, `?` and `[…]`. Of one attempt at most 200 files, 32
    /// MiB each and 64 MiB together.
    #[serde(default = "default_keep_on_failure")]
    pub keep_on_failure: Vec<String>,

    /// RPM macros of all builds, name → body. A name may have options as in a macro file,
    /// `"ldconfig_scriptlets(n:)"`. The body needs no escapes beyond those of TOML, and it may have
    /// several lines. Blanks at both ends are dropped.
    #[serde(default)]
    pub macros: BTreeMap<String, String>,

    /// Limits of one build, unless its package has its own.
    #[serde(default)]
    pub limits: Limits,

    /// What all builds may do beyond the defaults, see [`Allowance`](crate::Allowance): `allow =
    /// ["fuse", "keyring"]`. Better set for the packages that need it.
    #[serde(default, skip_serializing_if = "Allowed::is_empty")]
    pub allow: Allowed,

    /// How upstream is followed.
    #[serde(default)]
    pub track: Tracking,

    /// What is proved before a channel changes, and what follows from problems.
    #[serde(default, skip_serializing_if = "is_default_proof")]
    pub proof: ProofPolicy,

    /// Settings of single packages, by name.
    #[serde(default)]
    pub packages: BTreeMap<String, PackageOverrides>,
}

/// What problems of a target's proofs do (`[proof]`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProofPolicy {
    /// `refuse`: a build, or a promotion, that would bring new problems is not published until they
    /// are gone or a person accepts them, nor while an external repository cannot be read. `warn`:
    /// problems are only shown.
    pub closure: ClosureRule,
}

impl Default for ProofPolicy {
    fn default() -> Self {
        Self { closure: ClosureRule::Refuse }
    }
}

/// The upstream of a target's sources.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    /// URL of a package's dist-git repository, with `{name}` for the package. Only `https`, and
    /// `http` for a host in `private_hosts` or with `insecure`. Redirects of the git server are
    /// not followed.
    pub url: Template,

    /// The default branch (or tag) for builds. `{name}` is the package. A pattern of tags with
    /// `{nvr}`, as in `tags`, stands for the newest tag of the package, in rpm's order of versions.
    #[serde(rename = "ref")]
    pub git_ref: Template,

    /// Tags by which upstream names what it built, with `{nvr}` for NAME-VERSION-RELEASE. A build
    /// of such a tag, as `imports/c9/{nvr}`, must make that version and release; the dist tag and
    /// what comes after it may differ.
    #[serde(default)]
    pub tags: Vec<Template>,

    /// URLs of the look-aside cache, tried in this order, with the variables `{name}` (package),
    /// `{branch}` (the requested branch, or `ref` when a commit id was requested), `{file}`,
    /// `{hashtype}` (`sha512`, `sha256`, `sha1`, `md5`) and `{hash}` (hex digits). Each needs
    /// `{hash}`.
    #[serde(default)]
    pub lookaside: Vec<Template>,

    /// Accepts files whose only digest is MD5. MD5 is no protection against an attacker.
    #[serde(default)]
    pub allow_md5: bool,

    /// The largest look-aside file, in MiB.
    #[serde(default = "default_max_file_mib")]
    pub max_file_mib: u64,

    /// Accepts a dist-git server over plain `http`: whoever is on the network path can then change
    /// the sources.
    #[serde(default)]
    pub insecure: bool,
}

fn default_build_host() -> String {
    "rpmfarm".to_owned()
}

fn default_keep_on_failure() -> Vec<String> {
    kept_files::DEFAULT.iter().map(|pattern| (*pattern).to_owned()).collect()
}

const fn default_max_file_mib() -> u64 {
    4096
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
const fn is_zero(percent: &u8) -> bool {
    *percent == 0
}

fn is_default_proof(proof: &ProofPolicy) -> bool {
    *proof == ProofPolicy::default()
}

fn is_default_order(order: &OrderMode) -> bool {
    *order == OrderMode::default()
}

impl Target {
    /// Reads and checks a target file. `file` is its name, for messages.
    ///
    /// # Errors
    /// With every problem that was found, each naming the key, its value and what to do.
    pub fn parse(file: &str, text: &str) -> Result<Self, TargetError> {
        let target: Self = toml::from_str(text)
            .map_err(|source| TargetError::Syntax { file: file.to_owned(), source })?;
        check::check(file, &target)?;
        Ok(target)
    }

    /// URL of a package's dist-git repository.
    #[must_use]
    pub fn git_url(&self, package: &str) -> String {
        let named = self.packages.get(package).and_then(|package| package.repository.as_deref());
        self.upstream.url.expand(&[("name", named.unwrap_or(package))])
    }

    /// The file names that the package's spec may have if there are several specs, the preferred
    /// one first: the target's setting, or the names of the package and of its repository.
    #[must_use]
    pub fn spec_names(&self, package: &str) -> Vec<String> {
        let overrides = self.packages.get(package);
        if let Some(spec) = overrides.and_then(|package| package.spec.clone()) {
            return vec![spec];
        }
        let repository = overrides.and_then(|package| package.repository.as_deref());
        [Some(package), repository]
            .into_iter()
            .flatten()
            .map(|name| format!("{name}.spec"))
            .collect()
    }

    /// The package whose dist-git repository has this name.
    #[must_use]
    pub fn package_of<'a>(&'a self, repository: &'a str) -> &'a str {
        let mut named = self.packages.iter();
        named
            .find(|(_, package)| package.repository.as_deref() == Some(repository))
            .map_or(repository, |(name, _)| name.as_str())
    }

    /// URL and branch of a package's modifications; `None` when the target has none, or the package
    /// is to stay unmodified.
    #[must_use]
    pub fn modifications_of(&self, package: &str) -> Option<(String, String)> {
        let modifications = self.modifications.as_ref()?;
        if self.packages.get(package).is_some_and(|package| package.unmodified) {
            return None;
        }
        let url = modifications.url.expand(&[("name", package)]);
        Some((url, modifications.git_ref.fill(&[("name", package)])))
    }

    /// Macros that are known before a package's spec is read: the target's, the package's, and
    /// `dist`.
    #[must_use]
    pub fn macros_of(&self, package: &str) -> Vec<(String, String)> {
        let of_package = self.packages.get(package).map(|package| &package.macros);
        let mut macros: BTreeMap<String, String> = self.macros.clone();
        macros.extend(of_package.into_iter().flatten().map(|(n, b)| (n.clone(), b.clone())));
        macros.extend(macros::bconds(self, package));
        macros.insert("dist".to_owned(), self.dist.clone());
        macros.into_iter().collect()
    }

    /// The branch, tag or commit of a build: the requested one, else the package's, else the
    /// target's.
    ///
    /// # Errors
    /// When the requested one cannot be a git reference.
    pub fn git_ref(
        &self,
        package: &str,
        asked: Option<&str>,
    ) -> Result<String, crate::name::NameError> {
        let of_package = self.packages.get(package).and_then(|p| p.git_ref.as_deref());
        let git_ref = match asked.or(of_package) {
            Some(git_ref) => git_ref.to_owned(),
            None => self.upstream.git_ref.fill(&[("name", package)]),
        };
        name::check_git_ref(&git_ref)?;
        Ok(git_ref)
    }

    /// The architectures of a build: those of the target, in its order, that were requested. An
    /// empty request stands for all.
    #[must_use]
    pub fn arches_among(&self, asked: &[Arch]) -> Vec<Arch> {
        let wanted = |arch: &Arch| asked.is_empty() || asked.contains(arch);
        self.arches.iter().copied().filter(wanted).collect()
    }

    /// The NAME-VERSION-RELEASE in a tag of upstream, when it matches one of `tags`.
    #[must_use]
    pub fn tagged_nvr<'r>(&self, git_ref: &'r str) -> Option<&'r str> {
        let own = std::iter::once(&self.upstream.git_ref);
        self.upstream
            .tags
            .iter()
            .chain(own)
            .find_map(|tag| TagPattern::parse(tag.as_str())?.nvr(git_ref))
    }

    /// The look-aside URLs of a file, in the order in which they are tried.
    #[must_use]
    pub fn lookaside_urls(
        &self,
        package: &str,
        branch: &str,
        file: &str,
        checksum: &Checksum,
    ) -> Vec<String> {
        let values = [
            ("name", package),
            ("branch", branch),
            ("file", file),
            ("hashtype", checksum.kind.as_str()),
            ("hash", &checksum.hex),
        ];
        self.upstream.lookaside.iter().map(|template| template.expand(&values)).collect()
    }

    /// The limits of a package's builds.
    #[must_use]
    pub fn limits_of(&self, package: &str) -> Limits {
        self.packages
            .get(package)
            .map_or_else(|| self.limits.clone(), |p| p.limits.over(&self.limits))
    }

    /// The module streams of a package's build roots that differ from the default: the package's
    /// settings replace the target's for the same modules.
    #[must_use]
    pub fn modules_of(&self, package: &str) -> ModuleChoice {
        let mut choice = ModuleChoice::default();
        choice.apply(&self.modules, &self.disabled_modules);
        if let Some(package) = self.packages.get(package) {
            choice.apply(&package.modules, &package.disabled_modules);
        }
        choice
    }

    /// Names that a package may make although packages of other sources own them.
    #[must_use]
    pub fn may_own(&self, package: &str) -> &[String] {
        self.packages.get(package).map_or(&[], |package| &package.may_own)
    }

    /// The percentage of a package's builds that are repeated.
    #[must_use]
    pub fn repeat_percent(&self, package: &str) -> u8 {
        let of_package = self.packages.get(package).and_then(|package| package.repeat_percent);
        of_package.unwrap_or(self.repeat_percent)
    }

    /// Whether packages of the farm from a source package may be in bootstrap and base roots.
    #[must_use]
    pub fn is_base_from_farm(&self, source: &str) -> bool {
        self.base_from_farm.iter().any(|name| name == "*" || name == source)
    }

    /// What builds of a package may do beyond the defaults: what the target allows all packages,
    /// and what it allows this one.
    #[must_use]
    pub fn allowed(&self, package: &str) -> Allowed {
        let of_package = self.packages.get(package).map(|package| &package.allow);
        self.allow.iter().chain(of_package.into_iter().flatten()).copied().collect()
    }

    /// The needs of the tasks that build a package, as far as the target sets them.
    #[must_use]
    pub fn needs_of(&self, package: &str) -> Needs {
        self.packages.get(package).map_or_else(Needs::default, |p| p.needs.needs())
    }

    /// The rpm macro file of a package's builds: the farm's own, the target's, the package's.
    #[must_use]
    pub fn macro_file(&self, package: &str) -> String {
        macros::render(self, package)
    }

    /// Whether a package's builds leave `%check` out.
    #[must_use]
    pub fn nocheck(&self, package: &str) -> bool {
        self.packages.get(package).is_some_and(|package| package.nocheck)
    }

    /// The requirements of a package's builds in addition to those of its spec.
    #[must_use]
    pub fn additional_packages(&self, package: &str) -> &[String] {
        self.packages.get(package).map_or(&[], |package| &package.additional_packages)
    }

    /// The target for one build of a package with options, which are applied after the target's
    /// settings. Repositories stay the target's: those of the options are
    /// [`BuildOptions::target_repositories`].
    #[must_use]
    pub fn for_build(&self, package: &str, options: &BuildOptions) -> Self {
        let mut target = self.clone();
        if options.is_nothing() {
            return target;
        }
        let BuildOptions { with, without, define, nocheck, additional_packages, .. } = options;
        let of_package = target.packages.entry(package.to_owned()).or_default();
        of_package.with.retain(|name| !without.contains(name));
        of_package.without.retain(|name| !with.contains(name));
        for (list, more) in [(&mut of_package.with, with), (&mut of_package.without, without)] {
            list.extend(
                more.iter().filter(|name| !list.contains(name)).cloned().collect::<Vec<_>>(),
            );
        }
        of_package.nocheck |= nocheck;
        of_package.additional_packages.extend(additional_packages.iter().cloned());
        for (name, body) in define {
            let field = macros::OF_FIELDS.into_iter().find(|(of_field, _)| of_field == name);
            match field.map(|(_, field)| field) {
                Some("dist") => target.dist.clone_from(body),
                Some("vendor") => target.vendor.clone_from(body),
                Some("packager") => target.packager.clone_from(body),
                Some(_) => target.build_host.clone_from(body),
                None => {
                    of_package
                        .macros
                        .retain(|known, _| macros::name_of(known) != macros::name_of(name));
                    of_package.macros.insert(name.clone(), body.clone());
                }
            }
        }
        target
    }

    /// Whether the `noarch` packages of a package may differ between architectures.
    #[must_use]
    pub fn noarch_may_differ(&self, package: &str) -> bool {
        self.packages.get(package).is_some_and(|package| package.noarch_may_differ)
    }

    /// The names of all keys whose signatures count: `signing_key` first, then earlier ones.
    pub fn accepted_keys(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.signing_key).chain(&self.previous_keys).map(String::as_str)
    }

    /// The channel that builds are published in.
    #[must_use]
    pub fn first_channel(&self) -> &str {
        self.channels.first().map_or("", String::as_str)
    }
}

#[cfg(test)]
pub(crate) mod tests;
