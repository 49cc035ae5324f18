//! Who may make which name: the names that a build makes and that packages of other sources have.
//!
//! Owns which owners are queried, which names are claims, and what may be claimed without a
//! person's approval. It must not know where the answers come from: the coordinator asks the
//! solver's pool.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::glob;
use crate::lock::{FARM, LockedPackage};
use crate::{BuildId, Failure, FailureStage, Fault, Nevra, Sha256};

/// How many claims of one build are recorded; a build with more is refused.
pub const MAX_CLAIMS: usize = 10_000;

words! {
    /// The kinds of things that have owners.
    pub enum ClaimKind: "kind of claim" {
        /// The name of a binary package.
        Name = "name",
        /// A NEVRA that a package of another source has already.
        Nevra = "nevra",
        /// A capability that a package provides beside its own name.
        Provides = "provides",
        /// An obsolete of a package.
        Obsoletes = "obsoletes",
        /// A file: a program, a file below `/etc`, or any file of a package of a bootstrap or base
        /// root.
        File = "file",
        /// A difference from the packages of another worker that built the same
        /// ([`crate::repeat`]). Nobody owns it; it waits for a person like a claim.
        Repeat = "repeat",
    }
}

/// A binary package that a build made, as its header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltPackage {
    pub nevra: Nevra,
    /// Names of what it provides, without versions.
    pub provides: Vec<String>,
    /// Names of what it obsoletes.
    pub obsoletes: Vec<String>,
    /// Paths of its files, including `%ghost` files.
    pub files: Vec<String>,
    /// Paths of its directories, which many packages may have: they count only where a package or a
    /// build requires one.
    pub directories: Vec<String>,
}

/// A package that owns a name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Owner {
    /// Its source package; its own name where the metadata do not say it.
    pub source: String,
    pub package: Nevra,
    /// Id of the repository that has it; `farm` for the farm's own.
    pub repository: String,
}

impl Owner {
    fn place(&self) -> (&str, String, &str) {
        (&self.source, self.package.to_string(), &self.repository)
    }
}

impl PartialOrd for Owner {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Owner {
    fn cmp(&self, other: &Self) -> Ordering {
        self.place().cmp(&other.place())
    }
}

/// The names whose owners a build needs to know.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnerQuery {
    pub names: BTreeSet<String>,
    /// Capabilities that packages provide, including paths.
    pub capabilities: BTreeSet<String>,
    /// Paths of files, as [`merged`] writes them.
    pub paths: BTreeSet<String>,
}

/// The packages of the pool and of base roots that the query matches.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownOwners {
    /// All packages with a name.
    pub names: BTreeMap<String, BTreeSet<Owner>>,
    /// All packages that provide a capability.
    pub capabilities: BTreeMap<String, BTreeSet<Owner>>,
    /// The packages that have a file: for bootstrap and base roots any file, for others programs
    /// and files below `/etc`.
    pub paths: BTreeMap<String, BTreeSet<Owner>>,
    /// Of the names in the query, those that builds of the target have required.
    pub required: BTreeSet<String>,
}

/// A claim that a person has approved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovedClaim {
    pub kind: ClaimKind,
    pub what: String,
    /// The source package that owns the name since the approval.
    pub source: String,
    /// The build that claimed it.
    pub build: BuildId,
}

/// The names that a source may make although others own them.
#[derive(Debug, Clone, Copy, Default)]
pub struct OwnerRights<'a> {
    /// The target's `may_own` of the package.
    pub may_own: &'a [String],
    /// The approved claims of the target, oldest first.
    pub approved: &'a [ApprovedClaim],
}

/// A name that a build makes and that others own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    pub kind: ClaimKind,
    pub what: String,
    /// The first of the build's packages that makes it.
    pub package: Nevra,
    pub owners: BTreeSet<Owner>,
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, what, package, owners } = self;
        match kind {
            ClaimKind::Name => write!(f, "makes the package {what}")?,
            ClaimKind::Nevra => write!(f, "makes {what}, a name that is taken")?,
            ClaimKind::Provides => write!(f, "{} provides {what}", package.name)?,
            ClaimKind::Obsoletes => write!(f, "{} obsoletes {what}", package.name)?,
            ClaimKind::File => write!(f, "{} has the file {what}", package.name)?,
            ClaimKind::Repeat => write!(f, "differs when it is repeated: {what}")?,
        }
        let Some(first) = owners.first() else { return Ok(()) };
        let sources: BTreeSet<&str> = owners.iter().map(|owner| owner.source.as_str()).collect();
        let sources = sources.into_iter().collect::<Vec<_>>().join(", ");
        write!(f, " ({sources} owns it: {} of {})", first.package, first.repository)
    }
}

/// The query for the owners of a build's names.
#[must_use]
pub fn questions(made: &[BuiltPackage]) -> OwnerQuery {
    let mut questions = OwnerQuery::default();
    for package in made {
        questions.names.insert(package.nevra.name.clone());
        questions.names.extend(package.obsoletes.iter().cloned());
        questions.capabilities.extend(package.provides.iter().cloned());
        questions.paths.extend(package.files.iter().map(|path| merged(path)));
        let provided = package.provides.iter().filter(|name| name.starts_with('/'));
        questions.paths.extend(provided.map(|path| merged(path)));
        // Packages require paths as capabilities, in either form.
        questions.capabilities.extend(package.files.iter().cloned());
        questions.capabilities.extend(package.files.iter().filter_map(|path| unmerged(path)));
        questions.capabilities.extend(package.files.iter().map(|path| merged(path)));
        questions.capabilities.extend(package.directories.iter().cloned());
    }
    questions
}

/// The names that a build of `source` makes, that others own, and that it has no right to.
#[must_use]
pub fn claims(
    source: &str,
    made: &[BuiltPackage],
    known: &KnownOwners,
    rights: &OwnerRights<'_>,
) -> Vec<Claim> {
    let judge = ClaimJudge { source, known, rights };
    let own: BTreeSet<&str> = made.iter().map(|package| package.nevra.name.as_str()).collect();
    let mut all = BTreeMap::<(ClaimKind, String), Claim>::new();
    let mut add = |kind, what: &str, package: &Nevra, owners: BTreeSet<Owner>| {
        let key = (kind, what.to_owned());
        let claim = || Claim { kind, what: what.to_owned(), package: package.clone(), owners };
        all.entry(key).or_insert_with(claim);
    };
    for package in made {
        let nevra = &package.nevra;
        if let Some(owners) = judge.taken(nevra) {
            add(ClaimKind::Nevra, &nevra.to_string(), nevra, owners);
        }
        if let Some(owners) = judge.of_name(&nevra.name) {
            add(ClaimKind::Name, &nevra.name, nevra, owners);
        }
        let foreign = package.provides.iter().filter(|name| !is_own(name, &own));
        for what in foreign {
            if let Some(owners) = judge.of_capability(what) {
                add(ClaimKind::Provides, what, nevra, owners);
            }
        }
        for what in package.obsoletes.iter().filter(|name| !own.contains(name.as_str())) {
            if let Some(owners) = judge.of_obsolete(what) {
                add(ClaimKind::Obsoletes, what, nevra, owners);
            }
        }
        for path in &package.files {
            if let Some((what, owners)) = judge.of_file(path) {
                add(ClaimKind::File, &what, nevra, owners);
            }
        }
        for what in &package.directories {
            if let Some(owners) = judge.of_directory(what) {
                add(ClaimKind::File, what, nevra, owners);
            }
        }
    }
    all.into_values().collect()
}

/// The failure of a build that claims more than anybody could review.
#[must_use]
pub fn too_many(claims: &[Claim]) -> Option<Failure> {
    (claims.len() > MAX_CLAIMS).then(|| {
        let message = format!(
            "it makes {} things that packages of other sources own, more than the {} that a person \
             can be asked about; the first: {}",
            claims.len(),
            MAX_CLAIMS,
            claims[0]
        );
        Failure::new(Fault::Package, FailureStage::Accept, message)
    })
}

/// The claims that were not among those shown to a person.
#[must_use]
pub fn beyond(found: &[Claim], shown: &[Claim]) -> Vec<Claim> {
    let is_new = |claim: &&Claim| {
        !shown.iter().any(|known| known.kind == claim.kind && known.what == claim.what)
    };
    found.iter().filter(is_new).cloned().collect()
}

/// The farm's packages whose NEVRAs, or file names, are claimed: they are withdrawn when a person
/// approves the claim.
#[must_use]
pub fn holders(claims: &[Claim]) -> Vec<Nevra> {
    let taken = claims.iter().filter(|claim| claim.kind == ClaimKind::Nevra);
    let all: BTreeSet<String> =
        taken.flat_map(|claim| &claim.owners).map(|owner| owner.package.to_string()).collect();
    all.iter().filter_map(|nevra| nevra.parse().ok()).collect()
}

struct ClaimJudge<'a> {
    source: &'a str,
    known: &'a KnownOwners,
    rights: &'a OwnerRights<'a>,
}

impl ClaimJudge<'_> {
    /// The packages of other sources with this NEVRA, or with one that differs only in the epoch
    /// and so has the same file name.
    fn taken(&self, nevra: &Nevra) -> Option<BTreeSet<Owner>> {
        let holds = |owner: &&Owner| {
            owner.repository == FARM
                && owner.source != self.source
                && owner.package.file_name() == nevra.file_name()
        };
        let holders = self.known.names.get(&nevra.name)?.iter().filter(holds);
        filled(holders.cloned().collect())
    }

    fn of_name(&self, name: &str) -> Option<BTreeSet<Owner>> {
        let owners = self.known.names.get(name)?;
        self.beyond(ClaimKind::Name, name, owners)
    }

    fn of_capability(&self, name: &str) -> Option<BTreeSet<Owner>> {
        if is_soft(name) && !self.known.required.contains(name) {
            return None;
        }
        let mut owners = self.known.capabilities.get(name).cloned().unwrap_or_default();
        if name.starts_with('/') {
            owners.extend(self.known.paths.get(&merged(name)).into_iter().flatten().cloned());
        }
        self.beyond(ClaimKind::Provides, name, &owners)
    }

    fn of_obsolete(&self, name: &str) -> Option<BTreeSet<Owner>> {
        let owners = self.known.names.get(name)?;
        self.beyond(ClaimKind::Obsoletes, name, owners)
    }

    /// The owners of a file. It counts under the paths that packages may require, and for base
    /// roots under any path.
    fn of_file(&self, path: &str) -> Option<(String, BTreeSet<Owner>)> {
        let what = merged(path);
        if what.starts_with("/usr/lib/.build-id/") {
            return None;
        }
        let mut owners = self.known.paths.get(&what).cloned().unwrap_or_default();
        for form in [Some(path.to_owned()), Some(what.clone()), unmerged(path)] {
            let asked = form.and_then(|form| self.known.capabilities.get(&form));
            owners.extend(asked.into_iter().flatten().cloned());
        }
        self.beyond(ClaimKind::File, &what, &owners).map(|owners| (what, owners))
    }

    fn of_directory(&self, path: &str) -> Option<BTreeSet<Owner>> {
        self.beyond(ClaimKind::File, path, self.known.capabilities.get(path)?)
    }

    /// The owners of a name, when the source is not among them and has no right to it.
    fn beyond(
        &self,
        kind: ClaimKind,
        what: &str,
        owners: &BTreeSet<Owner>,
    ) -> Option<BTreeSet<Owner>> {
        let OwnerRights { may_own, approved } = self.rights;
        if owners.is_empty() || may_own.iter().any(|pattern| glob::is_like(pattern, what)) {
            return None;
        }
        let mut approved = approved.iter().filter(|one| one.kind == kind && one.what == what);
        let is_owner = match kind {
            // Only the newest approval counts.
            ClaimKind::Name | ClaimKind::File | ClaimKind::Nevra | ClaimKind::Repeat => {
                match approved.next_back() {
                    Some(newest) => newest.source == self.source,
                    None => owners.iter().any(|owner| owner.source == self.source),
                }
            }
            ClaimKind::Provides | ClaimKind::Obsoletes => {
                owners.iter().any(|owner| owner.source == self.source)
                    || approved.any(|one| one.source == self.source)
            }
        };
        let others = owners.iter().filter(|owner| owner.source != self.source).cloned().collect();
        if is_owner { None } else { filled(others) }
    }
}

fn filled(owners: BTreeSet<Owner>) -> Option<BTreeSet<Owner>> {
    (!owners.is_empty()).then_some(owners)
}

/// Whether a capability is the name of one of the build's own packages, whose owner is that of the
/// name.
fn is_own(provided: &str, own: &BTreeSet<&str>) -> bool {
    const ISA: [&str; 3] = ["(x86-64)", "(aarch-64)", "(ppc-64)"];
    let name = ISA.iter().find_map(|isa| provided.strip_suffix(isa)).unwrap_or(provided);
    own.contains(name)
}

/// Capabilities by which nobody chooses packages: rpm and desktops derive them from files, and many
/// packages have the same.
const SOFT: [&str; 9] = [
    "application(",
    "bundled(",
    "config(",
    "debuginfo(",
    "font(",
    "metainfo(",
    "mimehandler(",
    "rpmlib(",
    "appdata(",
];

fn is_soft(capability: &str) -> bool {
    SOFT.iter().any(|kind| capability.starts_with(kind))
}

/// The paths, and the capabilities that many packages have, in requirements, including rich ones.
#[must_use]
pub fn asked(requires: &[String]) -> BTreeSet<String> {
    let words = requires.iter().flat_map(|text| text.split_whitespace());
    let bare = words.map(|word| {
        let word = word.trim_start_matches('(');
        // The parentheses of the rich requirement around it.
        let surplus = word.matches(')').count().saturating_sub(word.matches('(').count());
        let closing = word.len() - word.trim_end_matches(')').len();
        &word[..word.len() - surplus.min(closing)]
    });
    bare.filter(|word| word.starts_with('/') || is_soft(word)).map(str::to_owned).collect()
}

/// Directories that are links to those below `/usr`.
const MERGED: [&str; 4] = ["/bin/", "/sbin/", "/lib/", "/lib64/"];

/// A path below `/usr`, where `/bin` and similar directories are links to there.
#[must_use]
pub fn merged(path: &str) -> String {
    let moved = MERGED.iter().any(|dir| path.starts_with(dir));
    if moved { format!("/usr{path}") } else { path.to_owned() }
}

/// `/bin/sh` for `/usr/bin/sh`; `None` for a path without such a link.
fn unmerged(path: &str) -> Option<String> {
    let rest = path.strip_prefix("/usr")?;
    MERGED.iter().any(|dir| rest.starts_with(dir)).then(|| rest.to_owned())
}

/// The packages of a root that own one of the claimed names.
#[must_use]
pub fn in_root<'a>(
    claims: &[Claim],
    root: impl IntoIterator<Item = &'a LockedPackage>,
) -> BTreeSet<String> {
    let owners: BTreeSet<&str> = claims
        .iter()
        .flat_map(|claim| &claim.owners)
        .map(|owner| owner.package.name.as_str())
        .collect();
    root.into_iter()
        .filter(|package| owners.contains(package.nevra.name.as_str()))
        .map(|package| package.nevra.name.clone())
        .collect()
}

/// A build with its packages, and the farm's packages in its roots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildLink {
    pub build: BuildId,
    /// The digests of its packages.
    pub made: BTreeSet<Sha256>,
    /// The digests of the farm's packages in its roots.
    pub used: BTreeSet<Sha256>,
}

/// A build that was made with a package, directly or through other builds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImpactedBuild {
    pub build: BuildId,
    /// The build whose packages it was made with; `None` when it was the package itself.
    pub through: Option<BuildId>,
    pub package: Sha256,
}

/// All builds that were made with some packages, those that used them directly first.
#[must_use]
pub fn impact(packages: &BTreeSet<Sha256>, links: &[BuildLink]) -> Vec<ImpactedBuild> {
    let mut found = Vec::<ImpactedBuild>::new();
    let mut known = BTreeSet::new();
    // Each affected package, with the build that made it.
    let mut spreads: Vec<(Sha256, Option<BuildId>)> =
        packages.iter().map(|package| (*package, None)).collect();
    // The builds of the packages themselves are not affected by them.
    let makers = links.iter().filter(|link| !link.made.is_disjoint(packages));
    known.extend(makers.map(|link| link.build));
    while !spreads.is_empty() {
        let mut next = Vec::new();
        for link in links.iter().filter(|link| !known.contains(&link.build)) {
            let Some((package, through)) =
                spreads.iter().find(|(package, _)| link.used.contains(package))
            else {
                continue;
            };
            found.push(ImpactedBuild { build: link.build, through: *through, package: *package });
            next.extend(link.made.iter().map(|made| (*made, Some(link.build))));
        }
        known.extend(found.iter().map(|one| one.build));
        spreads = next;
    }
    found
}

#[cfg(test)]
mod tests;
