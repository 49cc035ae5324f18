//! Which target files are refused. All problems of a file are found at once.

use std::collections::{BTreeMap, BTreeSet};

use url::Url;

use super::problem::{TargetError, TargetProblem};
use super::{
    KeySource, PackageOverrides, Repository, Target, Template, address, is_modifications_config,
    macros, published,
};
use crate::limits::Limits;
use crate::lock::FARM;
use crate::modules::{ModuleName, StreamName};
use crate::options::{BuildOption, BuildOptions};
use crate::{kept_files, name};

/// Each of them signs each `repomd.xml`.
const MAX_PREVIOUS_KEYS: usize = 3;

/// Checks what the types do not.
pub(super) fn check(file: &str, target: &Target) -> Result<(), TargetError> {
    match problems(target) {
        problems if problems.is_empty() => Ok(()),
        problems => Err(TargetError::Values { file: file.to_owned(), problems }),
    }
}

/// All problems of a target that its types allow.
pub(crate) fn problems(target: &Target) -> Vec<TargetProblem> {
    let mut check = TargetCheck { target, problems: Vec::new() };
    check.identity();
    check.lists();
    check.modules("", &target.modules, &target.disabled_modules);
    check.upstream();
    check.modifications();
    check.repositories();
    check.published_repositories();
    check.macros("macros", &target.macros);
    check.limits("limits", &target.limits);
    check.packages();
    check.track();
    check.problems
}

struct TargetCheck<'a> {
    target: &'a Target,
    problems: Vec<TargetProblem>,
}

impl TargetCheck<'_> {
    fn refuse(&mut self, key: &str, value: &str, what: impl Into<String>) {
        self.problems.push(TargetProblem {
            key: key.to_owned(),
            value: name::shown(value),
            what: what.into(),
        });
    }

    fn previous_keys(&mut self) {
        let target = self.target;
        for (place, key) in target.previous_keys.iter().enumerate() {
            self.word("previous_keys", key);
            if target.accepted_keys().take(place + 1).any(|earlier| earlier == key) {
                self.refuse("previous_keys", key, "is named twice, or is signing_key itself");
            }
        }
        if target.previous_keys.len() > MAX_PREVIOUS_KEYS {
            let count = target.previous_keys.len().to_string();
            let what = format!("more than {MAX_PREVIOUS_KEYS} keys: end the oldest change first");
            self.refuse("previous_keys", &count, what);
        }
    }

    fn identity(&mut self) {
        let target = self.target;
        self.word("name", &target.name);
        self.word("signing_key", &target.signing_key);
        self.previous_keys();
        for (key, text) in [
            ("description", &target.description),
            ("vendor", &target.vendor),
            ("packager", &target.packager),
        ] {
            if text.chars().any(char::is_control) {
                self.refuse(key, text, "must be one line without control characters");
            }
        }
        let host = &target.build_host;
        if host.is_empty() || !host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-".contains(&b))
        {
            self.refuse("build_host", host, "write a host name (letters, digits, `.` and `-`)");
        }
        self.percent("repeat_percent", target.repeat_percent);
        let tag = target.dist.strip_prefix('.').unwrap_or_default();
        if tag.is_empty()
            || !tag.bytes().all(|b| b.is_ascii_alphanumeric() || b"._+~^".contains(&b))
        {
            self.refuse("dist", &target.dist, "write the dist tag with its dot, like `.el9`");
        }
        for entry in target.private_hosts.entries() {
            let url = Url::parse(&format!("http://{entry}/"));
            let is_host = url.is_ok_and(|url| {
                url.path() == "/" && url.username().is_empty() && url.query().is_none()
            });
            if !is_host || entry.contains(['/', '*', '@', '?', '#']) {
                self.refuse("private_hosts", entry, "write `HOST` or `HOST:PORT`, no pattern");
            }
        }
    }

    fn percent(&mut self, key: &str, percent: u8) {
        if percent > 100 {
            self.refuse(key, &percent.to_string(), "write a number from 0 to 100");
        }
    }

    fn lists(&mut self) {
        let target = self.target;
        if let Some((pattern, what)) = kept_files::pattern_problem(&target.keep_on_failure) {
            self.refuse("keep_on_failure", pattern, what);
        }
        let arches: Vec<_> = target.arches.iter().map(|arch| arch.as_str().to_owned()).collect();
        self.filled_and_unique("arches", &arches);
        self.filled_and_unique("channels", &target.channels);
        for channel in &target.channels {
            self.word("channels", channel);
        }
        for source in target.base_from_farm.iter().filter(|source| *source != "*") {
            if let Err(error) = name::check_package(source) {
                self.refuse("base_from_farm", source, error.to_string());
            }
        }
        for (key, packages) in [("bootstrap", &target.bootstrap), ("base", &target.base)] {
            self.filled_and_unique(key, packages);
            for package in packages {
                if let Err(error) = name::check_package(package) {
                    self.refuse(key, package, error.to_string());
                }
            }
        }
    }

    fn modules(&mut self, table: &str, enabled: &[StreamName], disabled: &[ModuleName]) {
        let mut seen = BTreeSet::new();
        for stream in enabled {
            if !seen.insert(stream.module()) {
                let text = stream.to_string();
                self.refuse(
                    &format!("{table}modules"),
                    &text,
                    "another stream of the same module is listed, too; a root can have only one",
                );
            }
        }
        for module in disabled {
            if !seen.insert(module.as_str()) {
                let key = format!("{table}disabled_modules");
                self.refuse(&key, module.as_str(), "is listed twice, or also in `modules`");
            }
        }
    }

    fn upstream(&mut self) {
        let upstream = &self.target.upstream;
        if let Some(url) = self.url("upstream.url", &upstream.url, &["name"], "name")
            && url.scheme() == "http"
            && !upstream.insecure
            && !self.may_be_private(&url)
        {
            self.refuse(
                "upstream.url",
                upstream.url.as_str(),
                "sources fetched by plain http can be changed on the way; write https, or set \
                 upstream.insecure = true",
            );
        }
        let git_ref = upstream.git_ref.fill(&[("name", "name")]);
        if let Err(error) = name::check_git_ref(&git_ref) {
            self.refuse("upstream.ref", upstream.git_ref.as_str(), error.to_string());
        }
        let unknown = upstream.git_ref.variables().find(|v| !["name", "nvr"].contains(v));
        if unknown.is_some() || upstream.git_ref.variables().filter(|v| *v == "nvr").count() > 1 {
            self.refuse(
                "upstream.ref",
                upstream.git_ref.as_str(),
                "known are {name}, and one {nvr}, which makes it a pattern of tags",
            );
        }
        for template in &upstream.tags {
            let variables: Vec<_> = template.variables().collect();
            if variables != ["nvr"] || !template.is_balanced() {
                self.refuse(
                    "upstream.tags",
                    template.as_str(),
                    "write the tag with {nvr} for what it names, like `imports/c9/{nvr}`",
                );
            }
        }
        for template in &upstream.lookaside {
            let variables = ["name", "branch", "file", "hashtype", "hash"];
            self.url("upstream.lookaside", template, &variables, "hash");
        }
        if upstream.max_file_mib == 0 {
            self.refuse("upstream.max_file_mib", "0", "must be more than 0");
        }
    }

    fn modifications(&mut self) {
        let Some(modifications) = &self.target.modifications else { return };
        let url = self.url("modifications.url", &modifications.url, &["name"], "name");
        if let Some(url) = url
            && url.scheme() == "http"
            && !modifications.insecure
            && !self.may_be_private(&url)
        {
            self.refuse(
                "modifications.url",
                modifications.url.as_str(),
                "modifications fetched by plain http can be changed on the way; write https, or \
                 set modifications.insecure = true",
            );
        }
        let git_ref = modifications.git_ref.fill(&[("name", "name")]);
        if let Err(error) = name::check_git_ref(&git_ref) {
            self.refuse("modifications.ref", modifications.git_ref.as_str(), error.to_string());
        }
        if !is_modifications_config(&modifications.config) {
            self.refuse(
                "modifications.config",
                &modifications.config,
                "write the name of a configuration, `config.yaml` or `config-….yaml`",
            );
        }
    }

    fn published_repositories(&mut self) {
        let problems = published::problems(&self.target.published_repositories);
        self.problems.extend(problems);
    }

    fn repositories(&mut self) {
        let target = self.target;
        let ids: Vec<_> = target.repositories.iter().map(|r| r.id.clone()).collect();
        self.filled_and_unique("repositories.id", &ids);
        for repository in &target.repositories {
            self.repository(repository);
        }
    }

    fn repository(&mut self, repository: &Repository) {
        let Repository { id, gpgcheck, repo_gpgcheck, keys, .. } = repository;
        let key = |field: &str| format!("repositories.{}.{field}", name::shown(id));
        if id == FARM {
            self.refuse(&key("id"), id, "is the name of the farm's own builds; choose another");
        } else if !is_plain(id) {
            self.refuse(&key("id"), id, "use letters, digits, `.`, `_` and `-` only");
        }
        let checked = *gpgcheck || *repo_gpgcheck;
        self.locations(repository, checked);
        if checked && keys.is_empty() {
            self.refuse(
                &key("keys"),
                "[]",
                "gpgcheck and repo_gpgcheck need a key; name its file, or set both to false",
            );
        }
        for source in keys {
            if let KeySource::File(path) = source
                && path.as_os_str().is_empty()
            {
                self.refuse(&key("keys"), "", "write the path of a key file or an armored key");
            }
        }
        let lists = [("excludes", &repository.excludes), ("includepkgs", &repository.includepkgs)];
        for (field, patterns) in lists {
            for pattern in patterns {
                let is_bad = |c: char| c.is_whitespace() || c.is_control() || c == ',';
                if pattern.is_empty() || pattern.chars().any(is_bad) {
                    self.refuse(&key(field), pattern, "write one package name or pattern");
                }
            }
        }
    }

    /// Where a repository is. `checked` says whether signatures protect what is read from it.
    fn locations(&mut self, repository: &Repository, checked: bool) {
        let key = |field: &str| format!("repositories.{}.{field}", name::shown(&repository.id));
        let base = repository.baseurl.templates();
        let places: Vec<(&str, &Template)> = base
            .iter()
            .map(|url| ("baseurl", url))
            .chain(repository.mirrorlist.iter().map(|url| ("mirrorlist", url)))
            .chain(repository.metalink.iter().map(|url| ("metalink", url)))
            .collect();
        let kinds: BTreeSet<&str> = places.iter().map(|(field, _)| *field).collect();
        if kinds.len() != 1 {
            let found: Vec<&str> = kinds.into_iter().collect();
            self.refuse(
                &key("baseurl"),
                &found.join(", "),
                "set one of baseurl, mirrorlist and metalink, and only one",
            );
        }
        for (field, template) in places {
            if template.as_str().contains('$') {
                self.refuse(
                    &key(field),
                    template.as_str(),
                    "variables of dnf are not filled in; write {arch} for $basearch and $arch, \
                     and the release itself for $releasever",
                );
                continue;
            }
            let url = self.url(&key(field), template, &["arch"], "");
            let is_http = url.is_some_and(|url| url.scheme() == "http");
            if is_http && !checked && !repository.insecure {
                self.refuse(
                    &key(field),
                    template.as_str(),
                    "plain http without any signature check lets anyone on the way change build \
                     roots; set gpgcheck or repo_gpgcheck, or insecure = true",
                );
            }
        }
    }

    fn macros(&mut self, table: &str, bodies: &BTreeMap<String, String>) {
        for (name, body) in bodies {
            let key = format!("{table}.{}", name::shown(name));
            let field = macros::OF_FIELDS.iter().find(|(m, _)| *m == macros::name_of(name));
            if let Some((_, field)) = field {
                self.refuse(&key, body, format!("is set by the target's field `{field}`"));
            } else if let Some(what) = macros::problem(name, body) {
                self.refuse(&key, body, what);
            }
        }
    }

    fn limits(&mut self, table: &str, limits: &Limits) {
        for (field, value) in [
            ("seconds", limits.seconds),
            ("silence_seconds", limits.silence_seconds),
            ("memory_mib", limits.memory_mib),
            ("processes", limits.processes),
            ("disk_mib", limits.disk_mib),
            ("log_mib", limits.log_mib),
            ("results_mib", limits.results_mib),
            ("results_unpacked_mib", limits.results_unpacked_mib),
            ("results_files", limits.results_files),
        ] {
            if value == 0 {
                self.refuse(&format!("{table}.{field}"), "0", "must be more than 0");
            }
        }
    }

    fn packages(&mut self) {
        let target = self.target;
        for (package, overrides) in &target.packages {
            let key = format!("packages.{}", name::shown(package));
            if let Err(error) = name::check_package(package) {
                self.refuse(&key, package, error.to_string());
            }
            self.package_sources(&key, package, overrides);
            self.percent(&format!("{key}.repeat_percent"), overrides.repeat_percent.unwrap_or(0));
            for pattern in &overrides.may_own {
                let is_bad = |c: char| c.is_whitespace() || c.is_control();
                if pattern.is_empty() || pattern.chars().any(is_bad) {
                    let what = "write a name, what is provided, or a path; `*` stands for any text";
                    self.refuse(&format!("{key}.may_own"), pattern, what);
                }
            }
            self.modules(&format!("{key}."), &overrides.modules, &overrides.disabled_modules);
            self.macros(&format!("{key}.macros"), &overrides.macros);
            self.package_options(&key, overrides);
            // A 0 in the target's own limits has been reported already.
            let fine = Limits::default();
            self.limits(&format!("{key}.limits"), &overrides.limits.over(&fine));
        }
    }

    /// Where the sources of a package are.
    fn package_sources(&mut self, key: &str, package: &str, overrides: &PackageOverrides) {
        let target = self.target;
        if let Some(spec) = &overrides.spec {
            let named = spec.strip_suffix(".spec").filter(|name| !name.is_empty());
            if named.is_none() || name::check_file(spec).is_err() {
                let why = "is not the name of a spec file: NAME.spec, without a folder";
                self.refuse(&format!("{key}.spec"), spec, why.to_owned());
            }
        }
        if let Some(repository) = &overrides.repository {
            if let Err(error) = name::check_package(repository) {
                self.refuse(&format!("{key}.repository"), repository, error.to_string());
            }
            let same = |other: &&String| {
                *other != package && target.packages[*other].repository.as_ref() == Some(repository)
            };
            if let Some(other) = target.packages.keys().find(same) {
                let reason = format!("is the repository of {} too", name::shown(other));
                self.refuse(&format!("{key}.repository"), repository, reason);
            }
        }
        if let Some(git_ref) = &overrides.git_ref
            && let Err(error) = name::check_git_ref(git_ref)
        {
            self.refuse(&format!("{key}.ref"), git_ref, error.to_string());
        }
    }

    /// The options that every build of a package has.
    fn package_options(&mut self, key: &str, overrides: &PackageOverrides) {
        let options = BuildOptions {
            with: overrides.with.clone(),
            without: overrides.without.clone(),
            additional_packages: overrides.additional_packages.clone(),
            ..BuildOptions::default()
        };
        if let Err(error) = options.check_words() {
            let field = match error.option {
                BuildOption::AdditionalPackage => "additional_packages",
                option => option.as_str(),
            };
            let what = error.why.text(|option| option.to_string());
            self.refuse(&format!("{key}.{field}"), &error.value, what);
        }
    }

    fn track(&mut self) {
        let track = &self.target.track;
        for (key, count) in track.counts() {
            if count == 0 {
                self.refuse(key, "0", "must be more than 0");
            }
        }
        if track.poll_longest_seconds < track.poll_seconds {
            let longest = track.poll_longest_seconds.to_string();
            self.refuse("track.poll_longest_seconds", &longest, "is less than track.poll_seconds");
        }
        for (forge, url) in &track.forges {
            let template = Template::from(url.as_str());
            self.url(&format!("track.forges.{forge}"), &template, &[], "");
        }
    }

    /// Checks a name that becomes part of paths and URLs.
    fn word(&mut self, key: &str, text: &str) {
        let good = is_plain(text) && !text.bytes().any(|b| b.is_ascii_uppercase());
        if !good {
            self.refuse(key, text, "use lower-case letters, digits, `.`, `_` and `-`, at most 64");
        }
    }

    fn filled_and_unique(&mut self, key: &str, values: &[String]) {
        if values.is_empty() {
            self.refuse(key, "[]", "must not be empty");
        }
        let mut seen = BTreeSet::new();
        for value in values {
            if !seen.insert(value) {
                self.refuse(key, value, "is listed twice; remove one");
            }
        }
    }

    /// Checks a template of URLs, and returns the URL that it expands to.
    fn url(
        &mut self,
        key: &str,
        template: &Template,
        variables: &[&str],
        needed: &str,
    ) -> Option<Url> {
        match address::check(template, variables, needed, &self.target.private_hosts) {
            Ok(url) => Some(url),
            Err(what) => {
                self.refuse(key, template.as_str(), what);
                None
            }
        }
    }

    fn may_be_private(&self, url: &Url) -> bool {
        address::may_be_private(url, &self.target.private_hosts)
    }
}

/// Whether a text can be a part of a path.
pub(super) fn is_plain(text: &str) -> bool {
    text.len() <= 64
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        && !text.contains("..")
}
