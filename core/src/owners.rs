//! Who may make which name: what a build makes that the package of another source has.
//!
//! Owns what is asked about a build's packages, what of the answers is a claim, and what may be
//! claimed without a person. It must not know where the answers come from: the coordinator asks the
//! solver's pool.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::glob;
use crate::lock::LockedPackage;
use crate::{BuildId, Failure, FailureStage, Fault, Nevra, Sha256};

/// Claims of one build that are recorded; with more than these it is refused.
pub const MAX_CLAIMS: usize = 10_000;

words! {
    /// What can be owned.
    pub enum Kind: "kind of claim" {
        /// The name of a binary package.
        Name = "name",
        /// A full name that a package of another source has already.
        Nevra = "nevra",
        /// What a package provides beside its own name.
        Provides = "provides",
        /// What a package obsoletes.
        Obsoletes = "obsoletes",
        /// A file: a program, what is below `/etc`, and any of a package of a bootstrap or base root.
        File = "file",
        /// A difference to what another worker made when it built the same ([`crate::repeat`]). Nobody owns
        /// that; it waits for a person like a claim.
        Repeat = "repeat",
    }
}

/// A binary package that a build made, as its header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// Its full name.
    pub nevra: Nevra,
    /// Names of what it provides, without versions.
    pub provides: Vec<String>,
    /// Names of what it obsoletes.
    pub obsoletes: Vec<String>,
    /// Paths of its files, those that are not in the archive among them.
    pub files: Vec<String>,
    /// Paths of its directories, which many packages may have: they count where a package or a build asks
    /// for one.
    pub directories: Vec<String>,
}

/// A package that owns something.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Owner {
    /// Its source package. Of one whose metadata do not say it, its own name.
    pub source: String,
    /// Its full name.
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

/// What has to be looked up for a build.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Questions {
    /// Names of packages.
    pub names: BTreeSet<String>,
    /// Names of what packages provide, paths among them.
    pub capabilities: BTreeSet<String>,
    /// Paths of files, as [`merged`] writes them.
    pub paths: BTreeSet<String>,
}

/// The packages of the pool and of base roots that the questions are about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// All packages of a name.
    pub names: BTreeMap<String, BTreeSet<Owner>>,
    /// All packages that provide something.
    pub capabilities: BTreeMap<String, BTreeSet<Owner>>,
    /// The packages that have a file: all of bootstrap and base roots, programs and what is below `/etc`
    /// of others.
    pub paths: BTreeMap<String, BTreeSet<Owner>>,
    /// What builds of the target have required, of all that was asked about.
    pub required: BTreeSet<String>,
}

/// A claim that a person has approved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approved {
    /// What kind of thing.
    pub kind: Kind,
    /// The thing.
    pub what: String,
    /// The source package that owns it since.
    pub source: String,
    /// The build that claimed it.
    pub build: BuildId,
}

/// What a source may make although others have it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rights<'a> {
    /// The target's `may_own` of the package.
    pub may_own: &'a [String],
    /// What was approved for the target, oldest first.
    pub approved: &'a [Approved],
}

/// Something that a build makes and that others own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// What kind of thing.
    pub kind: Kind,
    /// The thing.
    pub what: String,
    /// The first of the build's packages that makes it.
    pub package: Nevra,
    /// Who owns it.
    pub owners: BTreeSet<Owner>,
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, what, package, owners } = self;
        match kind {
            Kind::Name => write!(f, "makes the package {what}")?,
            Kind::Nevra => write!(f, "makes {what}, a name that is taken")?,
            Kind::Provides => write!(f, "{} provides {what}", package.name)?,
            Kind::Obsoletes => write!(f, "{} obsoletes {what}", package.name)?,
            Kind::File => write!(f, "{} has the file {what}", package.name)?,
            Kind::Repeat => write!(f, "differs when it is repeated: {what}")?,
        }
        let Some(first) = owners.first() else { return Ok(()) };
        let sources: BTreeSet<&str> = owners.iter().map(|owner| owner.source.as_str()).collect();
        let sources = sources.into_iter().collect::<Vec<_>>().join(", ");
        write!(f, " ({sources} owns it: {} of {})", first.package, first.repository)
    }
}

/// What is to be looked up of a build's packages.
#[must_use]
pub fn questions(made: &[Made]) -> Questions {
    let mut questions = Questions::default();
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

/// What a build of `source` makes that others own and that it has no right to.
#[must_use]
pub fn claims(source: &str, made: &[Made], known: &Known, rights: &Rights<'_>) -> Vec<Claim> {
    let judge = Judge { source, known, rights };
    let own: BTreeSet<&str> = made.iter().map(|package| package.nevra.name.as_str()).collect();
    let mut all = BTreeMap::<(Kind, String), Claim>::new();
    let mut add = |kind, what: &str, package: &Nevra, owners: BTreeSet<Owner>| {
        let key = (kind, what.to_owned());
        let claim = || Claim { kind, what: what.to_owned(), package: package.clone(), owners };
        all.entry(key).or_insert_with(claim);
    };
    for package in made {
        let nevra = &package.nevra;
        if let Some(owners) = judge.taken(nevra) {
            add(Kind::Nevra, &nevra.to_string(), nevra, owners);
        }
        if let Some(owners) = judge.of_name(&nevra.name) {
            add(Kind::Name, &nevra.name, nevra, owners);
        }
        let foreign = package.provides.iter().filter(|name| !is_own(name, &own));
        for what in foreign {
            if let Some(owners) = judge.of_capability(what) {
                add(Kind::Provides, what, nevra, owners);
            }
        }
        for what in package.obsoletes.iter().filter(|name| !own.contains(name.as_str())) {
            if let Some(owners) = judge.of_obsolete(what) {
                add(Kind::Obsoletes, what, nevra, owners);
            }
        }
        for path in &package.files {
            if let Some((what, owners)) = judge.of_file(path) {
                add(Kind::File, &what, nevra, owners);
            }
        }
        for what in &package.directories {
            if let Some(owners) = judge.of_directory(what) {
                add(Kind::File, what, nevra, owners);
            }
        }
    }
    all.into_values().collect()
}

/// A build that claims more than anybody could look at.
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

/// The claims that are not among those which somebody was shown.
#[must_use]
pub fn beyond(found: &[Claim], shown: &[Claim]) -> Vec<Claim> {
    let is_new = |claim: &&Claim| {
        !shown.iter().any(|known| known.kind == claim.kind && known.what == claim.what)
    };
    found.iter().filter(is_new).cloned().collect()
}

/// The farm's packages whose full names, or file names, are claimed: they give way to the build that
/// claims them, once a person has approved that.
#[must_use]
pub fn holders(claims: &[Claim]) -> Vec<Nevra> {
    let taken = claims.iter().filter(|claim| claim.kind == Kind::Nevra);
    let all: BTreeSet<String> =
        taken.flat_map(|claim| &claim.owners).map(|owner| owner.package.to_string()).collect();
    all.iter().filter_map(|nevra| nevra.parse().ok()).collect()
}

struct Judge<'a> {
    source: &'a str,
    known: &'a Known,
    rights: &'a Rights<'a>,
}

impl Judge<'_> {
    /// The packages of other sources that have this full name, or one that differs in the epoch and
    /// so has the same file.
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
        self.beyond(Kind::Name, name, owners)
    }

    fn of_capability(&self, name: &str) -> Option<BTreeSet<Owner>> {
        if is_soft(name) && !self.known.required.contains(name) {
            return None;
        }
        let mut owners = self.known.capabilities.get(name).cloned().unwrap_or_default();
        if name.starts_with('/') {
            owners.extend(self.known.paths.get(&merged(name)).into_iter().flatten().cloned());
        }
        self.beyond(Kind::Provides, name, &owners)
    }

    fn of_obsolete(&self, name: &str) -> Option<BTreeSet<Owner>> {
        let owners = self.known.names.get(name)?;
        self.beyond(Kind::Obsoletes, name, owners)
    }

    /// Of a file the forms that packages may ask for count, and what base roots have.
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
        self.beyond(Kind::File, &what, &owners).map(|owners| (what, owners))
    }

    fn of_directory(&self, path: &str) -> Option<BTreeSet<Owner>> {
        self.beyond(Kind::File, path, self.known.capabilities.get(path)?)
    }

    /// The owners of a thing, when the source is not among them and has no right to it.
    fn beyond(&self, kind: Kind, what: &str, owners: &BTreeSet<Owner>) -> Option<BTreeSet<Owner>> {
        let Rights { may_own, approved } = self.rights;
        if owners.is_empty() || may_own.iter().any(|pattern| glob::is_like(pattern, what)) {
            return None;
        }
        let mut approved = approved.iter().filter(|one| one.kind == kind && one.what == what);
        let is_owner = match kind {
            // The newest word counts alone.
            Kind::Name | Kind::File | Kind::Nevra | Kind::Repeat => match approved.next_back() {
                Some(newest) => newest.source == self.source,
                None => owners.iter().any(|owner| owner.source == self.source),
            },
            Kind::Provides | Kind::Obsoletes => {
                owners.iter().any(|owner| owner.source == self.source)
                    || approved.any(|one| one.source == self.source)
            }
        };
        let others = owners.iter().filter(|owner| owner.source != self.source).cloned().collect();
        if is_owner { None } else { filled(others) }
    }
}

/// Id of the farm's own repository.
const FARM: &str = "farm";

fn filled(owners: BTreeSet<Owner>) -> Option<BTreeSet<Owner>> {
    (!owners.is_empty()).then_some(owners)
}

/// Whether something provided is the name of one of the build's own packages, which has an owner as
/// a name.
fn is_own(provided: &str, own: &BTreeSet<&str>) -> bool {
    const ISA: [&str; 3] = ["(x86-64)", "(aarch-64)", "(ppc-64)"];
    let name = ISA.iter().find_map(|isa| provided.strip_suffix(isa)).unwrap_or(provided);
    own.contains(name)
}

/// Kinds of capabilities by which nobody chooses packages: rpm and desktops derive them from files,
/// and many packages have the same.
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

/// The paths, and the capabilities that many packages have, that requirements name, rich ones too.
#[must_use]
pub fn asked(requires: &[String]) -> BTreeSet<String> {
    let words = requires.iter().flat_map(|text| text.split_whitespace());
    let bare = words.map(|word| {
        let word = word.trim_start_matches('(');
        // What belongs to the rich requirement around it.
        let surplus = word.matches(')').count().saturating_sub(word.matches('(').count());
        let closing = word.len() - word.trim_end_matches(')').len();
        &word[..word.len() - surplus.min(closing)]
    });
    bare.filter(|word| word.starts_with('/') || is_soft(word)).map(str::to_owned).collect()
}

/// Directories that are links to those below `/usr`.
const MERGED: [&str; 4] = ["/bin/", "/sbin/", "/lib/", "/lib64/"];

/// A path by its place below `/usr`, where `/bin` and its like are links to there.
#[must_use]
pub fn merged(path: &str) -> String {
    let moved = MERGED.iter().any(|dir| path.starts_with(dir));
    if moved { format!("/usr{path}") } else { path.to_owned() }
}

/// The other way.
fn unmerged(path: &str) -> Option<String> {
    let rest = path.strip_prefix("/usr")?;
    MERGED.iter().any(|dir| rest.starts_with(dir)).then(|| rest.to_owned())
}

/// Which of the claimed things a root has: its packages that own one of them.
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

/// A build, what it made, and which of the farm's packages were in its roots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its number.
    pub build: BuildId,
    /// The digests of its packages.
    pub made: BTreeSet<Sha256>,
    /// The digests of the farm's packages in its roots.
    pub used: BTreeSet<Sha256>,
}

/// A build that was made with a package, or with what was made with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Impacted {
    /// Its number.
    pub build: BuildId,
    /// The build whose packages it was made with; none when it was the package itself.
    pub through: Option<BuildId>,
    /// The package.
    pub package: Sha256,
}

/// Everything that was made with some packages, those that used them themselves first.
#[must_use]
pub fn impact(packages: &BTreeSet<Sha256>, links: &[Link]) -> Vec<Impacted> {
    let mut found = Vec::<Impacted>::new();
    let mut known = BTreeSet::new();
    // Each package that spreads it, with the build that made it.
    let mut spreads: Vec<(Sha256, Option<BuildId>)> =
        packages.iter().map(|package| (*package, None)).collect();
    // What made the packages is not made with them.
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
            found.push(Impacted { build: link.build, through: *through, package: *package });
            next.extend(link.made.iter().map(|made| (*made, Some(link.build))));
        }
        known.extend(found.iter().map(|one| one.build));
        spreads = next;
    }
    found
}

#[cfg(test)]
mod tests;
