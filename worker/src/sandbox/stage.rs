//! The processes between the worker and crun.
//!
//! The outer one dies with the worker, joins the cage's control groups and makes a PID and a
//! mount namespace; the inner one is the init of that PID namespace, has a third make the user
//! namespace, mounts what the cage needs and becomes crun. So however the worker ends, SIGKILL included, the kernel kills everything in
//! the cage and unmounts everything that was mounted for it. The worker ends a cage by SIGTERM
//! to the outer process, and when that has exited, nothing of the cage is alive.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use anyhow::{Context, Result, bail};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rpmfarm_core::Allowed;
use serde::{Deserialize, Serialize};

use super::cage::Overlay;
use super::devices::Devices;
use super::sockets;
use super::users::Users;

/// What the stages need to know; a file in the cage's directory.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Plan {
    pub(super) name: String,
    /// The worker; if it is no longer the parent, it is dead.
    pub(super) worker: u32,
    pub(super) crun: PathBuf,
    /// Files to join the control groups by.
    pub(super) cgroups: Vec<PathBuf>,
    /// What to mount, and where.
    pub(super) layers: Vec<(Layers, PathBuf)>,
    /// The `/dev` of each root.
    pub(super) devices: Vec<Devices>,
    /// What is open in the cage.
    pub(super) allow: Allowed,
    /// Its users.
    pub(super) users: Users,
}

/// What is mounted for a cage.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Layers {
    /// Layers with one on top that takes what is written.
    Overlay(Overlay),
    /// A directory, read-only.
    Shown(PathBuf),
}

pub(super) const PLAN: &str = "plan.json";
pub(super) const CONFIG: &str = "config.json";
/// Where crun writes the number of the first process in the cage, once there is one.
pub(super) const FIRST_PROCESS: &str = "pid";

/// Where crun writes its own errors.
pub(super) const CRUN_LOG: &str = "crun.log";
/// What the stages themselves failed with.
pub(super) const STAGE_ERROR: &str = "stage.error";

impl Plan {
    fn read(directory: &Path) -> Result<Self> {
        let bytes = fs::read(directory.join(PLAN))?;
        Ok(serde_json::from_slice(&bytes)?)
    }
}

/// The outer stage. Answers the exit code of the command in the cage.
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
        Ok(Plan::read(directory)?.users.own())
    })
}

/// Leaves the error where the worker looks for it.
fn noting(directory: &Path, stage: impl FnOnce() -> Result<u8>) -> u8 {
    stage().unwrap_or_else(|error| {
        let _ = fs::write(directory.join(STAGE_ERROR), format!("{error:#}"));
        1
    })
}

fn run_outer(directory: &Path) -> Result<u8> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    let plan = Plan::read(directory).context("reading the cage's plan")?;
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
    wait(init.context("starting the cage's init")?, &signals)
}

fn signals() -> io::Result<SignalFd> {
    let mut set = SigSet::empty();
    set.add(Signal::SIGTERM);
    set.add(Signal::SIGCHLD);
    set.thread_block()?;
    Ok(SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC)?)
}

/// Waits for the init, and kills it when asked to end. The kernel lets an init be reaped only
/// when everything in its namespace is dead.
fn wait(mut init: Child, signals: &SignalFd) -> Result<u8> {
    loop {
        if let Some(status) = init.try_wait()? {
            // crun exits with what the command ended with. That it dies itself is nothing that the
            // command could do: it is outside of the cage's PID namespace.
            if let Some(signal) = status.signal() {
                bail!("crun was killed by signal {signal}");
            }
            return Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1));
        }
        let signal = signals.read_signal()?;
        if signal.is_some_and(|info| info.ssi_signo == Signal::SIGTERM as u32) {
            init.kill()?;
        }
    }
}

fn run_inner(directory: &Path) -> Result<u8> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    let plan = Plan::read(directory)?;
    let none = None::<&str>;
    mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), none).context("mounting /proc")?;
    plan.users.make(directory).context("making the user namespace")?;
    // crun refuses hybrid hierarchies even when told to leave cgroups alone; it sees none.
    mount(Some("tmpfs"), "/sys/fs/cgroup", Some("tmpfs"), MsFlags::empty(), none)
        .context("hiding /sys/fs/cgroup")?;
    let state = directory.join("state");
    fs::create_dir_all(&state)?;
    mount(Some("tmpfs"), &state, Some("tmpfs"), MsFlags::empty(), none)
        .context("mounting crun's state")?;
    for (layers, at) in &plan.layers {
        mount_layers(layers, at)
            .with_context(|| format!("mounting the layers at {}", at.display()))?;
    }
    for devices in &plan.devices {
        devices.make().with_context(|| format!("making devices at {}", devices.at.display()))?;
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

/// Mounts layers at a place, by short names: a cage sees in its `/proc` what was mounted, and where a
/// worker keeps its files is nobody's business there. A directory that is only shown is mounted as a
/// layer too: a bind mount tells its path.
fn mount_layers(layers: &Layers, at: &Path) -> Result<()> {
    fs::create_dir_all(at)?;
    let names = at.with_extension("names");
    fs::create_dir_all(&names)?;
    let options = match layers {
        Layers::Shown(directory) => {
            symlink(directory, names.join("0"))?;
            // overlayfs wants two of them where there is nothing to write to.
            fs::create_dir(names.join("empty"))?;
            "lowerdir=0:empty".to_owned()
        }
        Layers::Overlay(overlay) => {
            for (number, layer) in overlay.layers.iter().enumerate() {
                symlink(layer, names.join(number.to_string()))?;
            }
            symlink(&overlay.upper, names.join("upper"))?;
            symlink(&overlay.work, names.join("work"))?;
            let numbers = (0..overlay.layers.len()).rev().map(|number| number.to_string());
            let lower = numbers.collect::<Vec<_>>().join(":");
            format!("lowerdir={lower},upperdir=upper,workdir=work")
        }
    };
    let before = std::env::current_dir()?;
    std::env::set_current_dir(&names)?;
    let mounted = mount_overlay(at, &options, matches!(layers, Layers::Shown(_)));
    std::env::set_current_dir(before)?;
    mounted
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
