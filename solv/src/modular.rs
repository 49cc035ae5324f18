//! Modules: which streams are active, and which packages they hide.
//!
//! Owns the decisions of dnf in `ModulePackageContainer` and `setModuleExcludes` of libdnf: default
//! and chosen streams are solved together with their requirements, as packages of a pool of their
//! own. Packages of inactive streams are hidden, and so is each package that has or provides the
//! name of a package of an active one. It must not know where the metadata come from.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt::Write as _;

use rpmfarm_core::modules::{
    DefaultsError, ModuleChoice, Modules, Stream, StreamName, default_streams,
};
use rpmfarm_core::{Arch, Evr, Nevra};

use crate::ffi::{Id, Job, RawPool, Rule};
use crate::{Pool, PoolError};

/// Why the chosen modules cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, thiserror::Error)]
pub enum ModuleError {
    /// No repository has the chosen stream.
    #[error(
        "no repository has the module stream `{chosen}`{}",
        known_streams(.known)
    )]
    UnknownStream {
        /// The stream as the target names it.
        chosen: String,
        /// The known streams of that module.
        known: Vec<String>,
    },
    /// The requirements of the chosen stream cannot be fulfilled.
    #[error("the module stream `{chosen}` cannot be used: {}", .reasons.join("; "))]
    Unsolvable {
        /// The stream as the target names it.
        chosen: String,
        /// libsolv's explanation, one line each.
        reasons: Vec<String>,
    },
    /// Streams require a platform, and no package names one.
    #[error(
        "module stream `{stream}` requires a platform, and no package that provides `system-release` names it by `base-module(…)`; set module_platform_id in the target, like \"platform:el9\""
    )]
    NoPlatform {
        /// The first stream that requires a platform.
        stream: String,
    },
    /// Repositories contradict each other.
    #[error(transparent)]
    Defaults(#[from] DefaultsError),
    /// The metadata cannot be used for solving.
    #[error("module metadata: {0}")]
    Metadata(String),
}

fn known_streams(known: &[String]) -> String {
    if known.is_empty() { String::new() } else { format!("; there are {}", known.join(", ")) }
}

impl From<PoolError> for ModuleError {
    fn from(error: PoolError) -> Self {
        Self::Metadata(error.to_string())
    }
}

impl Pool {
    /// Hides the packages that the repositories' modules hide. `metadata` are in the order of the
    /// repositories. Must be called once, when all repositories with metadata are loaded.
    ///
    /// # Errors
    /// When a chosen stream cannot be used, or the metadata contradict each other.
    pub fn choose_modules(
        &mut self,
        metadata: &[(String, Modules)],
        choice: &ModuleChoice,
        platform: Option<&StreamName>,
    ) -> Result<(), ModuleError> {
        if metadata.iter().all(|(_, modules)| modules.streams.is_empty()) {
            return match choice.enabled.iter().next() {
                Some((module, stream)) => Err(unknown(metadata, module, stream)),
                None => Ok(()),
            };
        }
        let platform = match platform {
            Some(platform) => Some(platform.clone()),
            None => self.platform()?,
        };
        let active = ActiveStreams::solve(self.arch, metadata, choice, platform.as_ref())?;
        self.mask(&active)
    }

    /// The platform that the newest packages of `system-release` name, if they agree on one.
    fn platform(&mut self) -> Result<Option<StreamName>, PoolError> {
        self.prepare()?;
        let dep = self.raw.dependency("system-release");
        let mut newest: BTreeMap<String, (Evr, Vec<Id>)> = BTreeMap::new();
        for id in self.raw.providers(dep) {
            let Some(nevra) = self.nevra(id) else { continue };
            let entry = newest.entry(nevra.name).or_insert_with(|| (nevra.evr.clone(), Vec::new()));
            match nevra.evr.cmp(&entry.0) {
                std::cmp::Ordering::Greater => *entry = (nevra.evr, vec![id]),
                std::cmp::Ordering::Equal => entry.1.push(id),
                std::cmp::Ordering::Less => {}
            }
        }
        let mut platforms = BTreeSet::new();
        for id in newest.into_values().flat_map(|(_, ids)| ids) {
            for dep in self.raw.provides(id) {
                let text = self.raw.dependency_text(dep);
                let name = text.split(' ').next().unwrap_or_default();
                platforms.extend(
                    name.strip_prefix("base-module(")
                        .and_then(|rest| rest.strip_suffix(')'))
                        .map(str::to_owned),
                );
            }
        }
        let one = (platforms.len() == 1).then(|| platforms.pop_first()).flatten();
        Ok(one.and_then(|text| text.try_into().ok()))
    }

    fn mask(&mut self, active: &ActiveStreams<'_>) -> Result<(), ModuleError> {
        let latest = active.demodularized();
        let mut included: HashMap<Nevra, String> = HashMap::new();
        let mut excluded: HashSet<&Nevra> = HashSet::new();
        let mut names: HashSet<&str> = HashSet::new();
        for (stream, is_active) in active.streams() {
            if !is_active {
                excluded.extend(&stream.artifacts);
                continue;
            }
            let left = latest.get(&key(stream));
            for artifact in &stream.artifacts {
                let has_left = left.is_some_and(|left| left.contains(artifact.name.as_str()));
                if !has_left && !artifact.is_source() {
                    names.insert(&artifact.name);
                }
                included.entry(artifact.clone()).or_insert_with(|| stream.name_stream());
            }
        }
        self.prepare()?;
        let masked: HashSet<_> = self
            .repositories
            .iter()
            .filter(|loaded| !loaded.about.module_hotfixes)
            .map(|loaded| loaded.index)
            .collect();
        let mut hidden = HashSet::new();
        for id in 1..self.raw.end() {
            if let Some(nevra) = self.nevra(id)
                && !included.contains_key(&nevra)
                && (excluded.contains(&nevra) || names.contains(nevra.name.as_str()))
            {
                hidden.insert(id);
            }
        }
        for name in &names {
            let dep = self.raw.dependency(name);
            for id in self.raw.providers(dep) {
                if self.nevra(id).is_none_or(|nevra| !included.contains_key(&nevra)) {
                    hidden.insert(id);
                }
            }
        }
        hidden.retain(|id| self.raw.repo_of(*id).is_some_and(|index| masked.contains(&index)));
        self.hide(hidden);
        self.modular = included;
        Ok(())
    }
}

/// All streams of all repositories, and which of them are active.
struct ActiveStreams<'a> {
    all: Vec<SolvableStream<'a>>,
    active: HashSet<String>,
}

/// A stream as a package of the modules' own pool.
struct SolvableStream<'a> {
    stream: &'a Stream,
    /// `NAME:STREAM:CONTEXT`; all versions with an active name are active.
    name: String,
    id: Id,
}

impl<'a> ActiveStreams<'a> {
    fn solve(
        arch: Arch,
        metadata: &'a [(String, Modules)],
        choice: &ModuleChoice,
        platform: Option<&StreamName>,
    ) -> Result<Self, ModuleError> {
        let defaults = default_streams(metadata.iter().map(|(_, m)| m.defaults.as_slice()))?;
        let mut all = ordered(metadata);
        check_choice(&all, metadata, choice, platform)?;
        let mut raw = RawPool::new(arch.as_str());
        let mut jobs = Vec::new();
        if let Some(platform) = platform {
            let text = format!("{platform}:00000000");
            let xml = document([(text.as_str(), "0", "noarch", provided(platform), String::new())]);
            let ids = add(&mut raw, &xml, 1)?;
            jobs.push(Job::Package(ids.start));
        }
        add_streams(&mut raw, &mut all)?;
        raw.resolve_file_dependencies();
        let mut wanted: Vec<(String, bool)> = Vec::new();
        for SolvableStream { stream, id, .. } in &all {
            if choice.disabled.contains(&stream.name) {
                raw.remove(*id);
                continue;
            }
            let enabled = choice.enabled.get(&stream.name);
            let is_default =
                enabled.is_none() && defaults.get(&stream.name) == Some(&stream.stream);
            if is_default || enabled == Some(&stream.stream) {
                let dep = format!("module({})", stream.name_stream());
                if !wanted.iter().any(|(known, _)| *known == dep) {
                    wanted.push((dep, is_default));
                }
            }
        }
        let (chosen, reasons) = steps(&mut raw, &jobs, &wanted);
        let active: HashSet<String> = all
            .iter()
            .filter(|solvable| chosen.contains(&solvable.id))
            .map(|solvable| solvable.name.clone())
            .collect();
        let found = Self { all, active };
        for (module, stream) in &choice.enabled {
            let is = |s: &Stream| s.name == *module && s.stream == *stream;
            if !found.streams().any(|(stream, active)| active && is(stream)) {
                let chosen = format!("{module}:{stream}");
                return Err(ModuleError::Unsolvable { chosen, reasons });
            }
        }
        Ok(found)
    }

    fn streams(&self) -> impl Iterator<Item = (&'a Stream, bool)> + '_ {
        self.all.iter().map(|solvable| (solvable.stream, self.active.contains(&solvable.name)))
    }

    /// The packages that have left their module (`demodularized`), by stream and architecture: the
    /// newest version of each active context decides.
    fn demodularized(&self) -> HashMap<(String, String), HashSet<&'a str>> {
        let mut newest: HashMap<(&str, &str), u64> = HashMap::new();
        let active = || self.all.iter().filter(|s| self.active.contains(&s.name));
        let place =
            |s: &'_ SolvableStream<'a>| (s.name.clone(), s.stream.arch.clone().unwrap_or_default());
        for solvable in active() {
            let arch = solvable.stream.arch.as_deref().unwrap_or_default();
            let version = newest.entry((&solvable.name, arch)).or_default();
            *version = (*version).max(solvable.stream.version);
        }
        let mut found: HashMap<_, HashSet<&str>> = HashMap::new();
        for solvable in active() {
            let (name, arch) = place(solvable);
            if newest.get(&(name.as_str(), arch.as_str())) == Some(&solvable.stream.version)
                && !solvable.stream.demodularized.is_empty()
            {
                let left = solvable.stream.demodularized.iter().map(String::as_str);
                found.entry(key(solvable.stream)).or_default().extend(left);
            }
        }
        found
    }
}

fn key(stream: &Stream) -> (String, String) {
    (stream.name_stream(), stream.arch.clone().unwrap_or_default())
}

fn unknown(metadata: &[(String, Modules)], module: &str, stream: &str) -> ModuleError {
    let streams = metadata.iter().flat_map(|(_, modules)| &modules.streams);
    let known: BTreeSet<String> =
        streams.filter(|s| s.name == module).map(Stream::name_stream).collect();
    let chosen = format!("{module}:{stream}");
    ModuleError::UnknownStream { chosen, known: known.into_iter().take(20).collect() }
}

/// Checks that the chosen streams exist, and that the platform is known if one of them needs it.
fn check_choice(
    all: &[SolvableStream<'_>],
    metadata: &[(String, Modules)],
    choice: &ModuleChoice,
    platform: Option<&StreamName>,
) -> Result<(), ModuleError> {
    for (module, stream) in &choice.enabled {
        if !all.iter().any(|s| s.stream.name == *module && s.stream.stream == *stream) {
            return Err(unknown(metadata, module, stream));
        }
    }
    if platform.is_none() {
        let wants =
            |s: &&SolvableStream<'_>| s.stream.requires.iter().any(|(m, _)| m == "platform");
        if let Some(found) = all.iter().find(wants) {
            return Err(ModuleError::NoPlatform { stream: found.stream.name_stream() });
        }
    }
    Ok(())
}

/// Adds all streams to a pool as packages, and records their ids.
fn add_streams(raw: &mut RawPool, all: &mut [SolvableStream<'_>]) -> Result<(), ModuleError> {
    let xml = document(all.iter().map(|solvable| {
        let stream = solvable.stream;
        let own = StreamName::try_from(stream.name_stream()).map(|name| provided(&name));
        let arch = stream.arch.as_deref().unwrap_or("noarch");
        let version = stream.version.to_string();
        (solvable.name.as_str(), version, arch, own.unwrap_or_default(), required(stream))
    }));
    let ids = add(raw, &xml, all.len())?;
    for (solvable, id) in all.iter_mut().zip(ids) {
        solvable.id = id;
    }
    Ok(())
}

/// All streams in the order in which dnf makes packages of them: first those with a static context.
/// The order decides between streams that are equal otherwise.
fn ordered(metadata: &[(String, Modules)]) -> Vec<SolvableStream<'_>> {
    let mut contexts: HashMap<(String, String), &str> = HashMap::new();
    let mut all = Vec::new();
    for is_static in [true, false] {
        for (_, modules) in metadata {
            let mut streams: Vec<&Stream> =
                modules.streams.iter().filter(|s| s.static_context == is_static).collect();
            streams.sort_by(|a, b| a.name.cmp(&b.name));
            for stream in streams {
                let requires = requires_text(stream);
                let of = (stream.name_stream(), requires.clone());
                let context = if is_static {
                    contexts.entry(of).or_insert(&stream.context);
                    stream.context.clone()
                } else {
                    // Builds of one stream with the same requirements are versions of one another.
                    match contexts.get(&of) {
                        Some(context) => (*context).to_owned(),
                        None if requires.is_empty() => "NoRequires".to_owned(),
                        None => requires,
                    }
                };
                let name = format!("{}:{context}", stream.name_stream());
                all.push(SolvableStream { stream, name, id: 0 });
            }
        }
    }
    all
}

/// The requirements of a stream, besides the platform, as one text: dnf's `getRequires`.
fn requires_text(stream: &Stream) -> String {
    let mut parts: Vec<String> = stream
        .requires
        .iter()
        .filter(|(module, _)| module != "platform")
        .map(|(module, streams)| {
            let mut streams = streams.clone();
            streams.sort();
            streams.dedup();
            if streams.is_empty() {
                module.clone()
            } else {
                format!("{module}:[{}]", streams.join(","))
            }
        })
        .collect();
    parts.sort();
    parts.join(";")
}

/// The two entries that a stream provides; it also conflicts with the first of them.
fn provided(name: &StreamName) -> [String; 2] {
    [format!("module({})", name.module()), format!("module({name})")]
}

/// The conflicts and requirements of a stream, as elements: dnf's `createDependencies`.
fn required(stream: &Stream) -> String {
    let (mut requires, mut conflicts) = (String::new(), String::new());
    let push = |to: &mut String, what: &str| {
        let _ = write!(to, "<rpm:entry name=\"{what}\"/>");
    };
    for (module, streams) in &stream.requires {
        let mut wanted = Vec::new();
        for stream in streams {
            // dnf reads a hyphen anywhere as the mark of an unwanted stream.
            if stream.contains('-') {
                let mut rest = stream.chars();
                rest.next();
                push(&mut conflicts, &format!("module({module}:{})", rest.as_str()));
            } else {
                wanted.push(format!("module({module}:{stream})"));
            }
        }
        match &wanted[..] {
            [] => push(&mut requires, &format!("module({module})")),
            [one] => push(&mut requires, one),
            several => push(&mut requires, &format!("({})", several.join(" or "))),
        }
    }
    format!(
        "<rpm:requires>{requires}</rpm:requires><rpm:conflicts>\
         <rpm:entry name=\"module({})\"/>{conflicts}</rpm:conflicts>",
        stream.name
    )
}

/// A metadata document with streams as packages. All texts were checked when they were read: none
/// needs escapes.
fn document<V: std::fmt::Display>(
    packages: impl IntoIterator<Item = (impl AsRef<str>, V, impl AsRef<str>, [String; 2], String)>,
) -> String {
    let mut xml = String::from(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<metadata xmlns=\"http://linux.duke.edu/metadata/common\" xmlns:rpm=\"http://linux.duke.edu/metadata/rpm\">\n",
    );
    for (name, version, arch, [module, stream], rest) in packages {
        let _ = writeln!(
            xml,
            "<package type=\"rpm\"><name>{}</name><arch>{}</arch>\
             <version epoch=\"0\" ver=\"{version}\" rel=\"\"/><format><rpm:provides>\
             <rpm:entry name=\"{module}\"/><rpm:entry name=\"{stream}\"/></rpm:provides>{rest}\
             </format></package>",
            name.as_ref(),
            arch.as_ref(),
        );
    }
    xml.push_str("</metadata>\n");
    xml
}

fn add(raw: &mut RawPool, xml: &str, count: usize) -> Result<std::ops::Range<Id>, ModuleError> {
    let repo = raw.add_repo("modules", 0, 0);
    let first = raw.end();
    raw.read_bytes(repo, xml.as_bytes(), false).map_err(ModuleError::Metadata)?;
    let ids = first..raw.end();
    if ids.len() != count {
        let what = format!("{} packages were made of {count} streams", ids.len());
        return Err(ModuleError::Metadata(what));
    }
    Ok(ids)
}

/// Solves in the steps in which dnf relaxes its request: everything in its best version; then
/// default streams only where they fit; then without best versions; then without anything that
/// conflicts. Returns the active streams, and the message of the first step when it failed.
fn steps(
    raw: &mut RawPool,
    fixed: &[Job],
    wanted: &[(String, bool)],
) -> (HashSet<Id>, Vec<String>) {
    if wanted.is_empty() {
        return (HashSet::new(), Vec::new());
    }
    let wanted: Vec<(Id, bool)> =
        wanted.iter().map(|(dep, weak)| (raw.dependency(dep), *weak)).collect();
    let jobs = |defaults_weak: bool, all_weak: bool, best: bool| -> Vec<Job> {
        let module = |(dep, is_default): &(Id, bool)| Job::Module {
            dep: *dep,
            weak: all_weak || (defaults_weak && *is_default),
            best,
        };
        fixed.iter().copied().chain(wanted.iter().map(module)).collect()
    };
    raw.index();
    let first = match raw.solve(&jobs(false, false, true)) {
        Ok(ids) => return (ids.into_iter().collect(), Vec::new()),
        Err(problems) => problems,
    };
    let reasons = reasons(&first);
    if let Ok(ids) = raw.solve(&jobs(true, false, true)) {
        return (ids.into_iter().collect(), reasons);
    }
    let third = match raw.solve(&jobs(true, false, false)) {
        Ok(ids) => return (ids.into_iter().collect(), reasons),
        Err(problems) => problems,
    };
    for id in third.iter().flatten().flat_map(|rule| &rule.clash) {
        if !fixed.iter().any(|job| matches!(job, Job::Package(kept) if kept == id)) {
            raw.remove(*id);
        }
    }
    raw.index();
    let last = raw.solve(&jobs(true, true, false)).unwrap_or_default();
    (last.into_iter().collect(), reasons)
}

fn reasons(problems: &[Vec<Rule>]) -> Vec<String> {
    let mut texts: Vec<String> = Vec::new();
    for rule in problems.iter().flatten() {
        if !texts.contains(&rule.text) && texts.len() < 10 {
            texts.push(rule.text.clone());
        }
    }
    texts
}
