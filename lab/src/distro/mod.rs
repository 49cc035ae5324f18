//! The distribution: Debian's binary packages as signed RPMs in a repository.
//!
//! Owns the way from the recipe to the finished directory, and its cache. Each package is cached
//! by what it is made of, and so is the whole: a second run links files.

mod arch;
mod build;
mod control;
mod convert;
mod key;
mod own;
mod provides;
pub mod recipe;
mod spec;
mod tree;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use rpmfarm_core::Arch;

use crate::apt::{Apt, AptError, PoolFile};
use crate::cache::{self, Cache, CacheError};
use crate::parallel;
use crate::tool::{self, ToolError};
use convert::{Converter, Deb};
use key::Key;
use recipe::Recipe;
pub use recipe::{Size, real_macros};
pub use tree::TreeError;

/// The code that makes a package: cached packages are valid as long as it stays the same.
const CODE: [&str; 5] = [
    include_str!("build.rs"),
    include_str!("control.rs"),
    include_str!("convert.rs"),
    include_str!("provides.rs"),
    include_str!("tree.rs"),
];

/// The name of the public key's file.
pub const KEY_FILE: &str = "RPM-GPG-KEY-lab";

/// Why the distribution could not be made.
#[derive(Debug, thiserror::Error)]
pub enum DistroError {
    /// A tool of the host is missing or failed.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// The cache cannot be used.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// Debian's pool cannot be used.
    #[error(transparent)]
    Apt(#[from] AptError),
    /// A change of the recipe cannot be made.
    #[error(transparent)]
    Tree(#[from] tree::TreeError),
    /// The recipe cannot be read.
    #[error("the recipe is wrong")]
    Recipe(#[from] toml::de::Error),
    /// A file operation failed.
    #[error("cannot write the distribution")]
    Io(#[from] io::Error),
    /// gpg made no key.
    #[error("gpg has no secret key after making one; remove the cache's `gnupg` and try again")]
    NoKey,
    /// A package could not be made.
    #[error("cannot make the package {name}")]
    Package { name: String, source: Box<DistroError> },
}

/// What to make, and how the caches are used.
#[derive(Debug, Clone)]
pub struct Options {
    pub arch: Arch,
    /// The directory of the distribution; an earlier one is replaced.
    pub out: PathBuf,
    /// The cache; the default one when absent.
    pub cache: Option<PathBuf>,
    /// The set of packages.
    pub size: Size,
    /// Asks Debian's pool for newer packages. Without it the first index is kept, so that the
    /// lab does not change from day to day.
    pub refresh: bool,
}

#[derive(Debug, Clone)]
pub struct Distro {
    /// The directory with `repo/` and the public key.
    pub path: PathBuf,
    /// The key in the cache: equal keys, equal distributions.
    pub key: String,
    pub packages: usize,
    /// Whether it came out of the cache as a whole.
    pub cached: bool,
}

/// Makes the distribution, or takes it out of the cache.
///
/// # Errors
/// When a tool is missing, the pool cannot be reached, or a package cannot be made.
pub fn make(options: &Options) -> Result<Distro, DistroError> {
    let arch = options.arch;
    let recipe = Recipe::load(options.size)?;
    let cache = Cache::open(options.cache.as_deref())?;
    let _lock = cache.lock(&format!("distro-{arch}"))?;
    let key = open_key(&cache)?;
    let apt = Apt::open(&cache, arch::debian(arch), options.refresh)?;
    let texts = options.size.texts();
    let plan = plan(&cache, &apt, &recipe, texts, arch)?;
    let distro_key = distro_key(&plan, texts, key.fingerprint());
    let finished = cache.directory("distros")?.join(&distro_key);
    let cached = finished.exists();
    if !cached {
        assemble(&cache, &apt, &recipe, &key, arch, &plan, &finished)?;
    }
    replace(&finished, &options.out)?;
    let packages = fs::read_dir(finished.join("repo/Packages"))?.count();
    Ok(Distro { path: options.out.clone(), key: distro_key, packages, cached })
}

/// The armoured public key that signs every distribution of this cache; made when there is none.
///
/// # Errors
/// When gpg is missing or the cache cannot be used.
pub fn public_key(cache: Option<&Path>) -> Result<String, DistroError> {
    let key = open_key(&Cache::open(cache)?)?.public()?;
    Ok(String::from_utf8_lossy(&key).into_owned())
}

fn open_key(cache: &Cache) -> Result<Key, DistroError> {
    let _lock = cache.lock("gnupg")?;
    Key::open(cache)
}

/// The files to be converted; apt is asked once for each index.
fn plan(
    cache: &Cache,
    apt: &Apt,
    recipe: &Recipe,
    texts: &[&str],
    arch: Arch,
) -> Result<Vec<PoolFile>, DistroError> {
    let key = cache::key([apt.stamp(), arch.as_str()].into_iter().chain(texts.iter().copied()));
    let path = cache.directory("plans")?.join(key);
    if let Ok(text) = fs::read_to_string(&path) {
        let lines = text.lines().filter_map(|line| line.split_once(' '));
        return Ok(lines
            .map(|(sha256, name)| PoolFile { name: name.to_owned(), sha256: sha256.to_owned() })
            .collect());
    }
    let files = apt.closure(recipe.roots_for(arch))?;
    let text: String =
        files.iter().map(|file| format!("{} {}\n", file.sha256, file.name)).collect();
    fs::write(path, text)?;
    Ok(files)
}

fn distro_key(plan: &[PoolFile], texts: &[&str], fingerprint: &str) -> String {
    let own: Vec<String> = own::PACKAGES.iter().map(own::OwnPackage::key).collect();
    let digests = plan.iter().map(|file| file.sha256.as_str());
    let fixed = [include_str!("mod.rs"), include_str!("spec.rs")].into_iter();
    let fixed = fixed.chain(texts.iter().copied()).chain([fingerprint]);
    cache::key(CODE.into_iter().chain(fixed).chain(own.iter().map(String::as_str)).chain(digests))
}

/// Downloads, converts, signs and indexes; the result is renamed to `finished` when complete.
fn assemble(
    cache: &Cache,
    apt: &Apt,
    recipe: &Recipe,
    key: &Key,
    arch: Arch,
    plan: &[PoolFile],
    finished: &Path,
) -> Result<(), DistroError> {
    tracing::info!(%arch, files = plan.len(), "downloading");
    let paths = apt.fetch(recipe.roots_for(arch), plan)?;
    let files: Vec<(PathBuf, String)> =
        paths.into_iter().zip(plan.iter().map(|file| file.sha256.clone())).collect();
    let debs = convert::read(recipe, &files)?;
    tracing::info!(%arch, packages = debs.len(), "converting");
    let rpms = packages(cache, recipe, key, arch, &debs)?;

    tracing::info!(%arch, "indexing");
    let work = cache.work()?;
    let repo = work.path().join("repo");
    fs::create_dir_all(repo.join("Packages"))?;
    for rpm in &rpms {
        let name = rpm.file_name().unwrap_or_default();
        cache::link_or_copy(rpm, &repo.join("Packages").join(name))?;
    }
    let mut command = Command::new("createrepo_c");
    tool::output(command.args(["--quiet", "--no-database"]).arg(&repo))?;
    key.sign_file(&repo.join("repodata/repomd.xml"))?;
    fs::write(work.path().join(KEY_FILE), key.public()?)?;
    fs::rename(work.keep(), finished)?;
    Ok(())
}

/// Every package of the distribution, signed, in the cache; missing ones are made.
fn packages(
    cache: &Cache,
    recipe: &Recipe,
    key: &Key,
    arch: Arch,
    debs: &[Deb],
) -> Result<Vec<PathBuf>, DistroError> {
    let converter = Converter::new(arch, recipe, debs);
    let shelf = cache.directory("rpms")?;
    let code = cache::key(CODE);
    let common = [&code, arch.as_str(), key.fingerprint()];
    let prune = recipe.prune.join("\n");
    let mut rpms = parallel::map(debs, |deb| {
        let spec = converter.spec(deb).text();
        let changes = format!("{:?}", recipe.packages.get(deb.name()));
        let parts = [deb.sha256.as_str(), &spec, &changes, &prune];
        let slot = shelf.join(cache::key(common.into_iter().chain(parts)));
        shelve(cache, key, &slot, deb.name(), |work| converter.convert(deb, work))
    })?;
    rpms.extend(parallel::map(&own::PACKAGES, |package| {
        let slot = shelf.join(cache::key(common.into_iter().chain([package.key().as_str()])));
        shelve(cache, key, &slot, package.name(), |work| package.build(arch, work))
    })?);
    Ok(rpms)
}

/// The package in the slot of the cache; made, signed and put there when the slot is empty.
fn shelve(
    cache: &Cache,
    key: &Key,
    slot: &Path,
    name: &str,
    make: impl FnOnce(&Path) -> Result<PathBuf, DistroError>,
) -> Result<PathBuf, DistroError> {
    if let Some(found) = fs::read_dir(slot).ok().and_then(|mut entries| entries.next()) {
        return Ok(found?.path());
    }
    let wrap = |source: DistroError| DistroError::Package {
        name: name.to_owned(),
        source: Box::new(source),
    };
    let work = cache.work()?;
    let rpm = make(work.path()).map_err(wrap)?;
    key.sign_packages(std::slice::from_ref(&rpm)).map_err(wrap)?;
    let file = file_name(&rpm)?;
    let directory = work.path().join("done");
    fs::create_dir(&directory)?;
    fs::rename(&rpm, directory.join(&file))?;
    fs::rename(&directory, slot)?;
    Ok(slot.join(file))
}

/// `NAME-VERSION-RELEASE.ARCH.rpm`, from the package's header.
fn file_name(rpm: &Path) -> Result<String, DistroError> {
    let mut command = Command::new("rpm");
    command.args([
        "--query",
        "--nosignature",
        "--queryformat",
        "%{NAME}-%{VERSION}-%{RELEASE}.%{ARCH}.rpm",
    ]);
    let output = tool::output(command.arg("--package").arg(rpm))?;
    Ok(String::from_utf8_lossy(&output).into_owned())
}

/// Puts the finished distribution at `out`, beside which it is made first.
fn replace(finished: &Path, out: &Path) -> Result<(), DistroError> {
    for name in ["repo", KEY_FILE] {
        let path = out.join(name);
        if path.is_dir() {
            fs::remove_dir_all(&path)?;
        } else if path.exists() {
            fs::remove_file(&path)?;
        }
    }
    cache::link_tree(finished, out)?;
    Ok(())
}
