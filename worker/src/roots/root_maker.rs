//! Makes the missing layers of a root, and lends roots to builds.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use rpmfarm_core::lock::Layer;
use rpmfarm_core::{Lock, Sha256};

use super::error::RootError;
use super::root_store::{self, RootStore, UnfinishedRoot};
use super::root_use::{MakeGuard, ReadGuard, RootUse};
use super::transaction::{RpmTransaction, about};
use super::{accounts, bootstrap, bounds};
use crate::cages::cage::{BindSource, Overlay};
use crate::cages::{CageRunner, CancelFlag};
use crate::files::{FileSource, WantedFile};
use crate::trees;

/// Makes roots and lends them to builds.
#[derive(Debug)]
pub struct Roots {
    store: RootStore,
    sandbox: CageRunner,
    in_use: RootUse,
    next: AtomicU64,
    hits: AtomicU64,
    misses: AtomicU64,
}

/// The layers of a root. They are kept as long as this exists.
#[derive(Debug, Default)]
pub struct RootHandle {
    /// Trees to stack, the lowest first.
    pub layers: Vec<PathBuf>,
    /// Warnings of the transactions that made them: failed scriptlets, missing owners.
    pub warnings: Vec<String>,
    _users: Vec<ReadGuard>,
}

/// The parts of one request for a root.
struct RootRequest<'a> {
    lock: &'a Lock,
    files: &'a dyn FileSource,
    log: &'a mut dyn Write,
    cancel: &'a CancelFlag,
}

impl Roots {
    /// Roots in this store, made in this sandbox.
    #[must_use]
    pub fn new(store: RootStore, sandbox: CageRunner) -> Self {
        Self {
            store,
            sandbox,
            in_use: RootUse::default(),
            next: AtomicU64::new(0),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        }
    }

    /// The root of a lock. Missing layers are made, each once, however many builds ask for it.
    ///
    /// # Errors
    /// When packages cannot be fetched or installed, or the work is cancelled.
    pub fn lend(
        &self,
        lock: &Lock,
        files: &dyn FileSource,
        log: &mut dyn Write,
        cancel: &CancelFlag,
    ) -> Result<RootHandle, RootError> {
        if lock.layers.is_empty() {
            return Err(RootError::Empty);
        }
        let ids = lock.layer_ids();
        if let Some(lease) = self.stored(&ids, cancel)? {
            self.hits.fetch_add(1, Ordering::Relaxed);
            write_line(log, format_args!("root {} is there\n", ids[ids.len() - 1]))?;
            for warning in &lease.warnings {
                write_line(log, format_args!("when it was made: {warning}\n"))?;
            }
            return Ok(lease);
        }
        self.misses.fetch_add(1, Ordering::Relaxed);
        self.make_layers(&ids, &mut RootRequest { lock, files, log, cancel })
    }

    /// How often a requested root was stored, and how often something of it had to be made.
    #[must_use]
    pub fn hits_and_misses(&self) -> (u64, u64) {
        (self.hits.load(Ordering::Relaxed), self.misses.load(Ordering::Relaxed))
    }

    /// All layers, if all are stored. The top one is touched first, so that it is evicted first.
    fn stored(&self, ids: &[Sha256], cancel: &CancelFlag) -> Result<Option<RootHandle>, RootError> {
        let mut lease = RootHandle::default();
        for id in ids.iter().rev() {
            let user = self.in_use.hold(*id, cancel).map_err(RootError::Cancelled)?;
            let Some(tree) = self.store.tree(id) else { return Ok(None) };
            lease._users.push(user);
            lease.layers.insert(0, tree);
            lease.warnings.splice(0..0, self.store.warnings(id));
        }
        Ok(Some(lease))
    }

    fn make_layers(
        &self,
        ids: &[Sha256],
        request: &mut RootRequest<'_>,
    ) -> Result<RootHandle, RootError> {
        let (_bootstrap, tree) =
            self.ensure(request.lock.bootstrap_id(), request, |making, request| {
                let packages = self.place(making, &request.lock.bootstrap, request)?;
                let tree =
                    making.directory("tree").map_err(RootError::local("make a directory"))?;
                bootstrap::unpack_packages(
                    &tree,
                    &packages,
                    self.sandbox.uid_base(),
                    request.cancel,
                )?;
                let layer = &request.lock.bootstrap;
                measured(&tree, layer, "bootstrap root", &names(&packages))
            })?;
        let mut lease = RootHandle::default();
        for (id, layer) in ids.iter().zip(&request.lock.layers) {
            let below = &lease.layers;
            let (user, layer) = self.ensure(*id, request, |making, request| {
                self.install(making, &tree, below, layer, request)
            })?;
            lease.layers.push(layer);
            lease.warnings.extend(self.store.warnings(id));
            lease._users.push(user);
        }
        Ok(lease)
    }

    /// A root by its id, made if need be: `root_maker` answers its size in bytes.
    fn ensure(
        &self,
        id: Sha256,
        request: &mut RootRequest<'_>,
        make: impl FnOnce(&UnfinishedRoot, &mut RootRequest<'_>) -> Result<u64, RootError>,
    ) -> Result<(ReadGuard, PathBuf), RootError> {
        let user = self.in_use.hold(id, request.cancel).map_err(RootError::Cancelled)?;
        if let Some(tree) = self.store.tree(&id) {
            return Ok((user, tree));
        }
        // The maker waits until nobody uses the root, so its own use must end first.
        drop(user);
        let maker: MakeGuard =
            self.in_use.begin_make(id, request.cancel).map_err(RootError::Cancelled)?;
        // Another build may have made it in between.
        if let Some(tree) = self.store.tree(&id) {
            return Ok((maker.made(), tree));
        }
        let started = Instant::now();
        let making = self.store.begin().map_err(RootError::local("begin a root"))?;
        let bytes = make(&making, request)?;
        for spent in ["packages", "work", "empty"] {
            match making.discard(spent) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(RootError::local("clear up after making a root")(error));
                }
                _ => {}
            }
        }
        let stored = self.store.finish(making, &id, bytes);
        let tree = stored.map_err(RootError::local("store a root"))?;
        let took = started.elapsed();
        write_line(request.log, format_args!("made {id} in {:.2} s\n", took.as_secs_f64()))?;
        Ok((maker.made(), tree))
    }

    /// Installs one layer on top of those below. Answers its size in bytes.
    fn install(
        &self,
        making: &UnfinishedRoot,
        bootstrap: &Path,
        below: &[PathBuf],
        layer: &Layer,
        request: &mut RootRequest<'_>,
    ) -> Result<u64, RootError> {
        let local = |error| RootError::local("make a directory")(error);
        let packages = self.place(making, layer, request)?;
        let tree = making.directory("tree").map_err(local)?;
        own_root(&tree, self.sandbox.uid_base()).map_err(local)?;
        let mut layers = below.to_vec();
        if below.is_empty() {
            accounts::prepare(&tree, self.sandbox.uid_base())
                .map_err(RootError::local("prepare the root"))?;
            // overlayfs needs a layer. It also keeps rpm from waiting for the disk, because this
            // mount syncs nothing.
            layers.push(making.directory("empty").map_err(local)?);
        }
        let work = making.directory("work").map_err(local)?;
        let target = BindSource::Overlay(Overlay { layers, upper: tree.clone(), work });
        let transaction = RpmTransaction {
            name: format!("root-{}", self.next.fetch_add(1, Ordering::Relaxed)),
            layer: if below.is_empty() { "base root" } else { "build requirements" },
            bootstrap,
            target,
            packages: &making.directory("packages").map_err(local)?,
            names: names(&packages),
            fills: (&tree, bounds::of_layer(layer)),
        };
        let warnings = transaction.run(&self.sandbox, request.log, request.cancel)?;
        for warning in &warnings {
            tracing::warn!(
                warning,
                layer = transaction.layer,
                "a root is not configured as it should be"
            );
        }
        making.warn(&warnings).map_err(RootError::local("write a root's warnings"))?;
        if below.is_empty() {
            accounts::add(&tree, self.sandbox.uid_base())
                .map_err(RootError::local("add the build user to the root"))?;
        }
        measured(&tree, layer, transaction.layer, &transaction.names)
    }

    /// Puts the packages of a layer into the directory of the root that is being made.
    fn place(
        &self,
        making: &UnfinishedRoot,
        layer: &Layer,
        request: &mut RootRequest<'_>,
    ) -> Result<Vec<PathBuf>, RootError> {
        let into = making.directory("packages").map_err(RootError::local("make a directory"))?;
        let wanted: Vec<WantedFile> = layer
            .packages()
            .iter()
            .map(|package| WantedFile {
                digest: package.digest,
                size: package.size,
                name: package.nevra.file_name(),
            })
            .collect();
        write_line(request.log, format_args!("{} packages\n", wanted.len()))?;
        request.files.place(&wanted, &into, request.cancel)?;
        Ok(wanted.iter().map(|wanted| into.join(&wanted.name)).collect())
    }

    /// Removes the roots that were used longest ago, until the rest takes no more than `limit`
    /// bytes. Those in use stay.
    pub fn evict(&self, limit: u64) {
        for id in root_store::evicted(self.store.list(), limit, |id| self.in_use.contains(id)) {
            let Some(_sole) = self.in_use.try_make(id) else { continue };
            match self.store.remove(&id) {
                Ok(()) => tracing::info!(%id, "evicted a root"),
                Err(error) => tracing::warn!(%id, %error, "cannot evict a root"),
            }
        }
    }

    /// Waits until all finished roots are durable.
    pub fn settle(&self) {
        self.store.settle();
    }

    /// Bytes that all stored roots take.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.store.list().iter().map(|root| root.bytes).sum()
    }
}

/// The size of a layer in bytes, within its bounds.
fn measured(
    tree: &Path,
    layer: &Layer,
    what: &'static str,
    packages: &[String],
) -> Result<u64, RootError> {
    let size = trees::measure(tree, &bounds::of_layer(layer));
    size.map(|size| size.bytes).map_err(|error| RootError::tree(what, about(packages), error))
}

fn names(packages: &[PathBuf]) -> Vec<String> {
    packages.iter().filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect()
}

/// The root directory of a root belongs to the root user in it.
fn own_root(tree: &Path, uid_base: u32) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(tree, std::fs::Permissions::from_mode(0o755))?;
    std::os::unix::fs::chown(tree, Some(uid_base), Some(uid_base))
}

fn write_line(log: &mut dyn Write, line: std::fmt::Arguments<'_>) -> Result<(), RootError> {
    log.write_fmt(line).map_err(RootError::local("write the root's log"))
}
