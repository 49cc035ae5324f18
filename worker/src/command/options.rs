//! The options about the host, and the engine that is made from them.

use std::fs;
use std::ops::Range;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::Args;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use rpmfarm_core::id_ranges::{self, IdRange};
use rpmfarm_core::{Arch, Sha256};

use super::serve::host_arch;
use crate::arches::Arches;
use crate::build::Engine;
use crate::cages::cage::ID_COUNT;
use crate::cages::cgroup::Cgroups;
use crate::cages::scratch::{ScratchKind, ScratchPool};
use crate::cages::{CageIds, CageRunner, CompiledFilters, IdProbe};
use crate::roots::{RootStore, Roots};
use crate::session::facts;
use crate::trees::{self, ASIDE};

/// First of the host ids of builds, where nobody says otherwise.
pub(super) const UID_BASE: u32 = 1_879_048_192;

/// Options about this host.
#[derive(Debug, Clone, Args)]
pub struct HostOptions {
    /// Directory for roots, fetched files and builds; on ext4 or XFS.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/rpmfarm-worker")]
    pub data_dir: PathBuf,
    /// The crun program.
    #[arg(long, value_name = "FILE", default_value = "crun")]
    pub crun: PathBuf,
    /// First of the 16,777,216 host user and group ids that files of builds have; each build that
    /// runs gets as many above them. They must belong to nobody else, nor to another worker of this
    /// host; the default lies above those of container managers.
    #[arg(long, value_name = "ID", default_value_t = UID_BASE)]
    pub uid_base: u32,
    /// How builds get disk space of limited size [default: image where mkfs.ext4 and loop devices
    /// are there, else plain].
    #[arg(long, value_enum)]
    pub scratch: Option<ScratchKind>,
    /// Number of builds at once.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub slots: u32,
    /// SRPMs that are made at once beside those builds, so that no build has to end before the next
    /// SRPMs are there [default: a quarter of the slots, at least 1].
    #[arg(long, value_name = "N")]
    pub srpm_slots: Option<u32>,
    /// Processors that one build sees [default: those of the host over the slots].
    #[arg(long, value_name = "N")]
    pub cpus: Option<u32>,
    /// Limit each build to the time of its processors, even when others are idle.
    #[arg(long)]
    pub cap_cpus: bool,
    /// GiB that stored roots and fetched files may take together.
    #[arg(long, value_name = "GIB", default_value_t = 40)]
    pub cache_size: u64,
    /// MiB that builds leave free in the data directory; with less, they are ended as the
    /// worker's fault.
    #[arg(long, value_name = "MIB", default_value_t = 512)]
    pub reserve: u64,
}

/// More builds at once than any host runs.
const MOST_SLOTS: u32 = 4096;

/// A larger cache than any host has, in GiB: 1 PiB.
const MOST_CACHE: u64 = 1 << 20;

/// How many cages there are beside those of builds: architectures are probed, by the session and
/// after failed builds.
const CAGES_BESIDE: usize = 4;

/// Ids that systemd keeps for files of images (systemd's UIDS-GIDS.md, "foreign UID range").
const FOREIGN: Range<u64> = 0x7ffe_0000..0x7fff_0000;

/// The files in which hosts record the ids of users.
const GIVEN: [&str; 2] = ["/etc/subuid", "/etc/subgid"];

/// The scratch space, in MiB, with which it is tried whether cages can have ids of their own.
const PROBE_MIB: u64 = 16;

/// The share of stored roots in the cache; fetched files get the rest.
const ROOTS_SHARE: (u64, u64) = (3, 4);

/// The name of a worker's parent among control groups: one for each data directory, so that a
/// worker never cleans another's at its start.
fn group(data_dir: &Path) -> String {
    let digest = Sha256::compute(data_dir.as_os_str().as_encoded_bytes()).hex();
    format!("rpmfarm-worker-{}", &digest[..12])
}

/// Builds run as users of their own, which must be able to walk to the data directory.
fn reachable(data_dir: &Path) -> Result<()> {
    for directory in data_dir.ancestors().skip(1) {
        let mode = fs::metadata(directory)?.permissions().mode();
        ensure!(
            mode & 0o001 != 0,
            "builds cannot reach {}: {} is closed to other users (mode {:04o}); \
             choose another --data-dir, as below /var/lib",
            data_dir.display(),
            directory.display(),
            mode & 0o7777
        );
    }
    Ok(())
}

/// A host that is prepared for builds. The lock is held as long as this exists.
pub(super) struct PreparedHost {
    pub(super) engine: Arc<Engine>,
    pub(super) roots_bytes: u64,
    pub(super) files_bytes: u64,
    _lock: nix::fcntl::Flock<fs::File>,
}

impl Drop for PreparedHost {
    fn drop(&mut self) {
        self.engine.sandbox.cgroups.give_back();
    }
}

impl HostOptions {
    /// A host that cages run on and no builds: enough to prove architectures on it.
    pub(super) const fn for_cages(data_dir: PathBuf, crun: PathBuf, uid_base: u32) -> Self {
        Self {
            data_dir,
            crun,
            uid_base,
            scratch: None,
            slots: 1,
            srpm_slots: None,
            cpus: None,
            cap_cpus: false,
            cache_size: 0,
            reserve: 0,
        }
    }

    /// Prepares the host, and removes what an earlier process left. To be called while the program
    /// has one thread: namespaces belong to threads.
    pub(super) fn prepare(&mut self) -> Result<PreparedHost> {
        ensure!(self.slots > 0, "--slots 0: a worker without slots does nothing");
        ensure!(self.slots <= MOST_SLOTS, "--slots {}: at most {MOST_SLOTS}", self.slots);
        let srpm_slots = self.srpm_slots();
        ensure!(srpm_slots <= MOST_SLOTS, "--srpm-slots {srpm_slots}: at most {MOST_SLOTS}");
        ensure!(self.cpus != Some(0), "--cpus 0: a build needs a processor");
        ensure!(
            (1..=MOST_CACHE).contains(&self.cache_size),
            "--cache-size {}: between 1 and {MOST_CACHE} GiB; roots are kept there",
            self.cache_size
        );
        ensure!(
            self.reserve <= MOST_CACHE << 10,
            "--reserve {}: at most {} MiB",
            self.reserve,
            MOST_CACHE << 10
        );
        let (sandbox, lock) = self.sandbox()?;
        for limit in sandbox.cgroups.missing() {
            tracing::warn!(
                limit,
                "the limits of builds are not enforced: the host has no control group for it"
            );
        }
        trees::tell_aside(&self.data_dir.join(ASIDE));
        self.emptied("attempts")?;
        let engine = self.engine(sandbox)?;
        let cache_bytes = self.cache_size << 30;
        let roots_bytes = cache_bytes / ROOTS_SHARE.1 * ROOTS_SHARE.0;
        let files_bytes = cache_bytes - roots_bytes;
        Ok(PreparedHost { engine: Arc::new(engine), roots_bytes, files_bytes, _lock: lock })
    }

    /// Makes the host ready for cages, and locks the data directory. To be called while the
    /// program has one thread.
    fn sandbox(&mut self) -> Result<(CageRunner, nix::fcntl::Flock<fs::File>)> {
        ensure!(nix::unistd::geteuid().is_root(), "it must run as root (it maps users and mounts)");
        let ids = CageIds::shared(self.disk_ids()?);
        own_mounts().context("cannot make a mount namespace")?;
        fs::create_dir_all(&self.data_dir)
            .with_context(|| format!("cannot make {}", self.data_dir.display()))?;
        // Mounts and crun want whole paths.
        self.data_dir = self.data_dir.canonicalize()?;
        reachable(&self.data_dir)?;
        self.close_data_dir().context("cannot make the data directory private")?;
        let lock = lock(&self.data_dir)?;
        let cgroups = Cgroups::detect(&group(&self.data_dir));
        cgroups.clean();
        let sandbox = CageRunner {
            crun: find(&self.crun)?,
            program: PathBuf::from("/proc/self/exe"),
            data: self.data_dir.clone(),
            directory: {
                CageRunner::clear_left(&self.data_dir.join("cages"));
                self.emptied("cages")?
            },
            ids,
            cgroups,
            filters: CompiledFilters::default(),
        };
        Ok((sandbox, lock))
    }

    /// Proves that this host runs architectures, without making it ready for builds. To be called
    /// while the program has one thread.
    ///
    /// # Errors
    /// The first architecture that does not run; a host without what cages need; a data directory
    /// that a worker uses.
    pub(super) fn prove(&mut self, arches: &[Arch]) -> Result<()> {
        let native = host_arch()?;
        // The program's own architecture needs neither proof nor preparation.
        if arches.iter().all(|arch| *arch == native) {
            return Ok(());
        }
        let (sandbox, _lock) = self.sandbox()?;
        let cgroups = sandbox.cgroups.clone();
        let probes = self.emptied("probes")?;
        let proved = Arches::prove(native, arches.to_vec(), sandbox, probes);
        cgroups.give_back();
        proved?;
        Ok(())
    }

    /// Makes the directory accessible for root only, because sources of builds can be secret; root
    /// of a cage may pass through.
    fn close_data_dir(&self) -> std::io::Result<()> {
        chown(&self.data_dir, Some(0), Some(self.uid_base))?;
        fs::set_permissions(&self.data_dir, fs::Permissions::from_mode(0o710))
    }

    /// Gives each cage ids of its own, where the host can do that.
    fn with_own_ids(&self, mut sandbox: CageRunner, scratch: &ScratchPool) -> Result<CageRunner> {
        let layers = self.emptied("probes")?;
        let own = scratch
            .make(PROBE_MIB)
            .context("cannot make scratch space")
            .and_then(|scratch| self.own_ids(&sandbox.program, &layers, scratch.path()));
        self.emptied("probes")?;
        match own {
            Ok(ids) => sandbox.ids = ids,
            Err(error) => tracing::warn!(
                "all cages of this worker have the same ids of the host, from {} on: {error:#}",
                self.uid_base
            ),
        }
        Ok(sandbox)
    }

    /// Ids for each cage, when there are enough, and a cage with ids of its own has the right
    /// files: this is tried with layers and scratch space in these empty directories.
    pub(super) fn own_ids(&self, program: &Path, layers: &Path, scratch: &Path) -> Result<CageIds> {
        let disk = self.disk_ids()?;
        let mut taken: Vec<Range<u64>> = given().into_iter().map(|(ids, ..)| ids).collect();
        taken.push(FOREIGN);
        let wanted = self.slots as usize + self.srpm_slots() as usize + CAGES_BESIDE;
        let ranges = id_ranges::for_cages(disk, &taken, wanted).map_err(|error| {
            anyhow!("{error}: use fewer --slots and --srpm-slots or a lower --uid-base")
        })?;
        let cage = *ranges.first().context("no range of ids is wanted")?;
        let (layers, scratch) = (layers.to_path_buf(), scratch.to_path_buf());
        IdProbe { layers, scratch, disk, cage }.run(program)?;
        Ok(CageIds::own(disk, ranges))
    }

    fn engine(&self, sandbox: CageRunner) -> Result<Engine> {
        let kind = self.scratch.unwrap_or_else(ScratchKind::best);
        if kind == ScratchKind::Plain {
            tracing::warn!(
                "what a build writes is measured periodically, and in between only the size of single files is limited; sparse files count with their holes (--scratch)"
            );
        }
        let scratch = ScratchPool::new(kind, self.emptied("scratch")?);
        let sandbox = self.with_own_ids(sandbox, &scratch)?;
        let store = RootStore::open(self.data_dir.join("roots"))
            .context("cannot open the store of roots")?;
        Ok(Engine {
            roots: Roots::new(store, sandbox.clone()),
            sandbox,
            scratch,
            cpus: self.cpus.unwrap_or_else(|| (facts::cpus() / self.slots).max(1)),
            cap_cpus: self.cap_cpus,
            data: self.data_dir.clone(),
            reserve_mib: self.reserve,
        })
    }

    /// How many SRPMs are made at once in addition to builds.
    pub(super) fn srpm_slots(&self) -> u32 {
        self.srpm_slots.unwrap_or((self.slots / 4).max(1))
    }

    /// Where attempts have their directories.
    pub(super) fn attempts(&self) -> PathBuf {
        self.data_dir.join("attempts")
    }

    /// Where fetched files lie.
    pub(super) fn files(&self) -> PathBuf {
        self.data_dir.join("files")
    }

    /// A directory in the data directory, emptied of everything that can be removed or moved.
    pub(super) fn emptied(&self, name: &str) -> Result<PathBuf> {
        let path = self.data_dir.join(name);
        trees::emptied(&path, &self.data_dir.join(ASIDE))
            .with_context(|| format!("cannot empty {}", path.display()))?;
        Ok(path)
    }

    /// The ids that files of cages have on disk. Ids that the host has given to users are refused.
    pub(super) fn disk_ids(&self) -> Result<IdRange> {
        let base = self.uid_base;
        let ids = IdRange::new(base, ID_COUNT).filter(|_| base >= 65536).with_context(|| {
            format!("--uid-base {base}: the ids must lie above 65535 and below 2^32")
        })?;
        if let Some((_, line, file)) = given().into_iter().find(|(taken, ..)| ids.overlaps(taken)) {
            bail!("--uid-base {base}: the ids are taken by `{line}` in {file}");
        }
        Ok(ids)
    }
}

/// Ids that the host has given to users, with the line and the file that say so.
fn given() -> Vec<(Range<u64>, String, &'static str)> {
    let mut given = Vec::new();
    for file in GIVEN {
        let text = fs::read_to_string(file).unwrap_or_default();
        let lines = text.lines().filter_map(|line| Some((ids_of(line)?, line.to_owned(), file)));
        given.extend(lines);
    }
    given
}

/// The ids of a line `NAME:FIRST:COUNT`.
fn ids_of(line: &str) -> Option<Range<u64>> {
    let mut numbers = line.split(':').skip(1).map(|number| number.trim().parse::<u64>());
    let (first, count) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    Some(first..first.saturating_add(count))
}

/// A mount namespace of the worker's own: its mounts end with it in any case. They are shared with
/// the cages' namespaces below it, so that an unmount reaches those, and with no other.
fn own_mounts() -> nix::Result<()> {
    let none = None::<&str>;
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SHARED, none)
}

/// Two workers in one directory would remove each other's files.
fn lock(data: &Path) -> Result<nix::fcntl::Flock<fs::File>> {
    let file = fs::File::create(data.join("lock"))?;
    nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockExclusiveNonblock)
        .map_err(|(_, error)| error)
        .with_context(|| format!("another worker uses {} (--data-dir)", data.display()))
}

/// Finds a program as a shell would.
pub(super) fn find(program: &Path) -> Result<PathBuf> {
    if program.components().count() > 1 {
        ensure!(program.is_file(), "{} is not there", program.display());
        return Ok(program.to_path_buf());
    }
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/sbin:/usr/bin:/sbin:/bin".into());
    std::env::split_paths(&path)
        .map(|directory| directory.join(program))
        .find(|file| file.is_file())
        .with_context(|| format!("program {} not found: install its package", program.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_others_are_seen() {
        assert_eq!(ids_of("me:100000:65536"), Some(100_000..165_536));
        assert_eq!(ids_of("me: 7 : 1 "), Some(7..8));
        assert_eq!(ids_of("me:18446744073709551615:2"), Some(u64::MAX..u64::MAX));
        for none in ["# a comment", "me:100000", "me:-1:5", ""] {
            assert_eq!(ids_of(none), None, "{none}");
        }
    }

    #[test]
    fn a_quarter_of_the_slots_makes_srpms_beside_builds() {
        let host = |slots, srpm_slots| {
            let host = HostOptions::for_cages(PathBuf::new(), PathBuf::new(), UID_BASE);
            HostOptions { slots, srpm_slots, ..host }.srpm_slots()
        };
        assert_eq!([1, 4, 7, 64].map(|slots| host(slots, None)), [1, 1, 1, 16]);
        assert_eq!(host(4, Some(0)), 0);
    }

    #[test]
    fn ids_that_are_none_are_refused() {
        let shown = |base| {
            let host = HostOptions::for_cages(PathBuf::new(), PathBuf::new(), base);
            host.disk_ids().expect_err("refused").to_string()
        };
        for base in [0, 65_535, u32::MAX - 10] {
            let expected =
                format!("--uid-base {base}: the ids must lie above 65535 and below 2^32");
            assert_eq!(shown(base), expected);
        }
    }
}
