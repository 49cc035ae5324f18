//! The processes between the worker and crun.
//!
//! The outer one dies with the worker, joins the cage's control groups and makes a PID and a mount
//! namespace; the inner one is the init of that PID namespace, has a third make the user namespace,
//! mounts what the cage needs and becomes crun. So however the worker ends, SIGKILL included, the
//! kernel kills everything in the cage and unmounts everything that was mounted for it. The worker
//! ends a cage by SIGTERM to the outer process, and when that has exited, nothing of the cage is
//! alive.

use std::fs;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::symlink;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use anyhow::{Context, Result, bail};
use nix::mount::{MsFlags, mount};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rpmfarm_core::Allowed;
use rpmfarm_core::id_ranges::IdRange;
use serde::{Deserialize, Serialize};

use super::cage::Overlay;
use super::compiled_filters::{AwaitedFilter, PACE_MS};
use super::devices::CageDevices;
use super::idmap::{self, IdMap};
use super::users::CageUsers;
use super::{id_probe, sockets};

/// The plan for the stages: a file in the cage's directory.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StagePlan {
    pub(super) name: String,
    /// The worker; if it is no longer the parent, it is dead.
    pub(super) worker: u32,
    pub(super) crun: PathBuf,
    /// Files to join the control groups by.
    pub(super) cgroups: Vec<PathBuf>,
    /// The mounts, with their places.
    pub(super) layers: Vec<(MountedLayers, PathBuf)>,
    /// The `/dev` of each root.
    pub(super) devices: Vec<CageDevices>,
    /// Allowances beyond the default.
    pub(super) allow: Allowed,
    /// Whether the filter of system calls is copied for later cages.
    pub(super) copy_filter: bool,
    pub(super) users: CageUsers,
    /// The ids on disk, where they differ from those of the cage.
    pub(super) mapped: Option<Mapped>,
}

/// The directories that are mounted with the ids of a cage, where those differ from the ids on
/// disk.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Mapped {
    /// The ids on disk.
    pub(super) disk: IdRange,
    /// The worker's data directory. Only root of the range on disk may pass through it, and crun is
    /// root of another.
    pub(super) data: PathBuf,
}

/// A mount of a cage.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum MountedLayers {
    /// Layers with a writable one on top.
    Overlay(Overlay),
    /// The tree of a root, read-only.
    Root(PathBuf),
    /// A directory of the worker's own files, read-only.
    Shown(PathBuf),
}

pub(super) const PLAN: &str = "plan.json";
pub(super) const CONFIG: &str = "config.json";
/// Where crun writes the number of the first process in the cage, once there is one.
pub(super) const FIRST_PROCESS: &str = "pid";

/// Where crun keeps the state of the cage.
const STATE: &str = "state";

/// Where crun writes its own errors.
pub(super) const CRUN_LOG: &str = "crun.log";
/// The file with an error of the stages themselves.
pub(super) const STAGE_ERROR: &str = "stage.error";

impl StagePlan {
    fn read(directory: &Path) -> Result<Self> {
        let bytes = fs::read(directory.join(PLAN))?;
        Ok(serde_json::from_slice(&bytes)?)
    }
}

/// The outer stage. Returns the exit code of the command in the cage.
#[must_use]
pub fn outer(directory: &Path) -> u8 {
    noting(directory, || run_outer(directory))
}

/// The inner stage. Returns only when crun could not be started.
#[must_use]
pub fn inner(directory: &Path) -> u8 {
    noting(directory, || run_inner(directory))
}

/// The stage that owns the cage's user namespace.
#[must_use]
pub fn owner(directory: &Path) -> u8 {
    noting(directory, || {
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        Ok(StagePlan::read(directory)?.users.own())
    })
}

/// The process that holds a map of ids. It ends with its standard input.
#[must_use]
pub fn map() -> u8 {
    idmap::hold()
}

/// The process that tries whether this host can give cages ids of their own.
#[must_use]
pub fn probe_ids(directory: &Path) -> u8 {
    id_probe::try_in(directory)
}

/// Writes an error to the file where the worker reads it.
fn noting(directory: &Path, stage: impl FnOnce() -> Result<u8>) -> u8 {
    stage().unwrap_or_else(|error| {
        let _ = fs::write(directory.join(STAGE_ERROR), format!("{error:#}"));
        1
    })
}

fn run_outer(directory: &Path) -> Result<u8> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    let plan = StagePlan::read(directory).context("reading the cage's plan")?;
    if u32::try_from(nix::unistd::getppid().as_raw()) != Ok(plan.worker) {
        bail!("the worker is gone");
    }
    for file in &plan.cgroups {
        fs::write(file, "0").with_context(|| format!("joining by {}", file.display()))?;
    }
    let signals = signals().context("watching for signals")?;
    unshare(CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNS).context("making namespaces")?;
    let none = None::<&str>;
    // Mounts made here stay here; unmounts by the worker still reach here, so that no file system
    // of another build lives on in this namespace.
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SLAVE, none).context("parting mounts")?;
    let init = Command::new(std::env::current_exe()?).arg("cage-inner").arg(directory).spawn();
    // crun's state is in this mount namespace, too, and crun removes it at the end.
    let state = directory.join(STATE).join(&plan.name);
    let filter = plan.copy_filter.then(|| AwaitedFilter::new(directory, &state));
    wait(init.context("starting the cage's init")?, &signals, filter)
}

fn signals() -> io::Result<SignalFd> {
    let mut set = SigSet::empty();
    set.add(Signal::SIGTERM);
    set.add(Signal::SIGCHLD);
    set.thread_block()?;
    Ok(SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC)?)
}

/// Waits for the init, and kills it on request. The kernel lets an init be reaped only when
/// everything in its namespace is dead.
fn wait(mut init: Child, signals: &SignalFd, mut filter: Option<AwaitedFilter>) -> Result<u8> {
    loop {
        if let Some(status) = init.try_wait()? {
            // crun exits with the exit status of the command. The command cannot kill crun, which
            // is outside of the cage's PID namespace.
            if let Some(signal) = status.signal() {
                bail!("crun was killed by signal {signal}");
            }
            return Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1));
        }
        filter = filter.filter(AwaitedFilter::is_awaited);
        // A process with a PID namespace for its children can have no threads, so the filter is
        // looked for between signals.
        let pace = if filter.is_some() { PACE_MS.into() } else { PollTimeout::NONE };
        if poll(&mut [PollFd::new(signals.as_fd(), PollFlags::POLLIN)], pace)? == 0 {
            continue;
        }
        let signal = signals.read_signal()?;
        if signal.is_some_and(|info| info.ssi_signo == Signal::SIGTERM as u32) {
            init.kill()?;
        }
    }
}

fn run_inner(directory: &Path) -> Result<u8> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    let plan = StagePlan::read(directory)?;
    let none = None::<&str>;
    mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), none).context("mounting /proc")?;
    plan.users.create(directory).context("making the user namespace")?;
    // crun refuses hybrid hierarchies even when told to leave cgroups alone; it sees none.
    mount(Some("tmpfs"), "/sys/fs/cgroup", Some("tmpfs"), MsFlags::empty(), none)
        .context("hiding /sys/fs/cgroup")?;
    let state = directory.join(STATE);
    fs::create_dir_all(&state)?;
    mount(Some("tmpfs"), &state, Some("tmpfs"), MsFlags::empty(), none)
        .context("mounting crun's state")?;
    let map = plan.mapped.as_ref().map(|mapped| IdMap::make(mapped.disk, plan.users.ids));
    let map = map.transpose().context("making the map of ids")?;
    for (layers, at) in &plan.layers {
        mount_layers(layers, at, map.as_ref())
            .with_context(|| format!("mounting the layers at {}", at.display()))?;
    }
    for devices in &plan.devices {
        devices.create().with_context(|| format!("making devices at {}", devices.at.display()))?;
    }
    if let (Some(map), Some(mapped)) = (&map, &plan.mapped) {
        map.cover(&mapped.data)?;
    }
    sockets::install(&plan.allow).context("filtering sockets")?;
    let error = Command::new(&plan.crun)
        .args(["--cgroup-manager=disabled", "--log-format=json", "--root"])
        .arg(&state)
        .arg("--log")
        .arg(directory.join(CRUN_LOG))
        .args(["run", "--bundle"])
        .arg(directory)
        .arg("--pid-file")
        .arg(directory.join(FIRST_PROCESS))
        .arg(&plan.name)
        .exec();
    Err(error).with_context(|| format!("starting {}", plan.crun.display()))
}

/// Mounts layers, by short names: a cage sees in its `/proc` what was mounted, and must not see the
/// worker's paths. A directory that is only shown is mounted as a layer, too, because a bind mount
/// shows its path. With a map, files with the ids on disk are shown with those of the cage.
pub(super) fn mount_layers(layers: &MountedLayers, at: &Path, map: Option<&IdMap>) -> Result<()> {
    fs::create_dir_all(at)?;
    let names = at.with_extension("names");
    fs::create_dir_all(&names)?;
    let options = match layers {
        MountedLayers::Root(tree) => name_shown(tree, &names, map)?,
        MountedLayers::Shown(directory) => name_shown(directory, &names, None)?,
        MountedLayers::Overlay(overlay) => name_overlay(overlay, &names, map)?,
    };
    let before = std::env::current_dir()?;
    std::env::set_current_dir(&names)?;
    let mounted = mount_overlay(at, &options, !matches!(layers, MountedLayers::Overlay(_)));
    std::env::set_current_dir(before)?;
    mounted
}

/// Names a directory that is only shown. Answers the options of the mount.
fn name_shown(directory: &Path, names: &Path, map: Option<&IdMap>) -> Result<String> {
    name(directory, &names.join("0"), map)?;
    // overlayfs wants two of them where there is nothing to write to.
    fs::create_dir(names.join("empty"))?;
    Ok("lowerdir=0:empty".to_owned())
}

/// Names the parts of an overlay. Answers the options of the mount.
fn name_overlay(overlay: &Overlay, names: &Path, map: Option<&IdMap>) -> Result<String> {
    for (number, layer) in overlay.layers.iter().enumerate() {
        name(layer, &names.join(number.to_string()), map)?;
    }
    let (upper, work) = match map {
        None => (overlay.upper.clone(), overlay.work.clone()),
        Some(map) => map_upper(overlay, names, map)?,
    };
    symlink(upper, names.join("upper"))?;
    symlink(work, names.join("work"))?;
    let numbers = (0..overlay.layers.len()).rev().map(|number| number.to_string());
    let lower = numbers.collect::<Vec<_>>().join(":");
    Ok(format!("lowerdir={lower},upperdir=upper,workdir=work"))
}

/// Mounts the directory of `upper` and `work` with the ids of the cage, and answers where both are
/// then: overlayfs wants the two on one mount.
fn map_upper(overlay: &Overlay, names: &Path, map: &IdMap) -> Result<(PathBuf, PathBuf)> {
    let Overlay { upper, work, .. } = overlay;
    let both = upper.parent().filter(|both| work.parent() == Some(*both)).with_context(|| {
        format!("{} and {} are not in one directory", upper.display(), work.display())
    })?;
    let mapped = names.join("both");
    name(both, &mapped, Some(map))?;
    Ok((mapped.join(upper.strip_prefix(both)?), mapped.join(work.strip_prefix(both)?)))
}

/// Gives a directory a name: a link, or a mount where its ids are mapped.
fn name(directory: &Path, name: &Path, map: Option<&IdMap>) -> Result<()> {
    let Some(map) = map else { return Ok(symlink(directory, name)?) };
    fs::create_dir(name)?;
    map.show(directory, name)
}

fn mount_overlay(at: &Path, options: &str, read_only: bool) -> Result<()> {
    let mut flags = MsFlags::MS_NODEV | MsFlags::MS_NOSUID | MsFlags::MS_NOATIME;
    flags.set(MsFlags::MS_RDONLY, read_only);
    let attempt = |options: &str| mount(Some("overlay"), at, Some("overlay"), flags, Some(options));
    if read_only {
        return Ok(attempt(options)?);
    }
    // `volatile` skips syncing on unmount; kernels before 5.10 do not know it.
    attempt(&format!("{options},volatile")).or_else(|_| attempt(options))?;
    Ok(())
}
