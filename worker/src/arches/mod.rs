//! Which architectures this worker runs: its own, and those that the kernel passes to an emulator.
//!
//! Owns the proof: a program of the architecture is really run, in a cage as builds are. An
//! architecture that was proved can be lost (somebody unregisters the emulator), so it is tried
//! again when a build fails, when the coordinator asks for it, and periodically until it runs
//! again. It must not know how builds are done.

mod program;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use rpmfarm_core::Arch;

use crate::cages::run::PlainWatcher;
use crate::cages::{Cage, CageExit, CageLimits, CageRoot, CageRunner, CageUser, CancelFlag};

/// The architectures of a worker.
#[derive(Debug)]
pub struct Arches {
    native: Arch,
    claimed: Vec<Arch>,
    /// Architectures that do not run now, and why.
    broken: Mutex<BTreeMap<Arch, String>>,
    sandbox: CageRunner,
    /// The directory of the roots of the probes.
    directory: PathBuf,
    probes: AtomicU64,
}

/// An architecture that this host does not run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "this host cannot run programs of {arch}: {reason}; register qemu-user in binfmt_misc with \
     flag F (Debian: install qemu-user-static), or leave {arch} out of --arch"
)]
pub struct UnrunnableError {
    pub arch: Arch,
    /// The error of running a program of it.
    pub reason: String,
}

/// How long the program may take; it needs milliseconds.
const TIME: Duration = Duration::from_secs(30);
const CAPS: CageLimits =
    CageLimits { memory_mib: 512, processes: 64, cpus: None, file_mib: Some(16) };
/// The program's place in its root.
const PROGRAM: &str = "program";

impl Arches {
    /// The architectures that a worker claims, each proved to run on this host, whose own is
    /// `native`. Roots of the probes are made in `directory`.
    ///
    /// # Errors
    /// The first one that does not run.
    pub fn prove(
        native: Arch,
        claimed: Vec<Arch>,
        sandbox: CageRunner,
        directory: PathBuf,
    ) -> Result<Self, UnrunnableError> {
        let broken = Mutex::default();
        let probes = AtomicU64::new(0);
        let arches = Self { native, claimed, broken, sandbox, directory, probes };
        for arch in &arches.claimed {
            arches.check(*arch)?;
        }
        Ok(arches)
    }

    /// The architectures that the worker builds for now.
    #[must_use]
    pub fn working(&self) -> Vec<Arch> {
        let broken = self.broken();
        self.claimed.iter().copied().filter(|arch| !broken.contains_key(arch)).collect()
    }

    /// Those of them that are emulated.
    #[must_use]
    pub fn emulated(&self) -> Vec<Arch> {
        self.working().into_iter().filter(|arch| *arch != self.native).collect()
    }

    /// Whether any was lost.
    #[must_use]
    pub fn any_broken(&self) -> bool {
        !self.broken().is_empty()
    }

    /// Tries all again. Takes a moment.
    pub fn probe(&self) {
        for arch in &self.claimed {
            let _ = self.check(*arch);
        }
    }

    /// Tries an emulated architecture again, and records the result. Takes a moment.
    ///
    /// # Errors
    /// When it does not run.
    pub fn check(&self, arch: Arch) -> Result<(), UnrunnableError> {
        // The worker's own program has this architecture, so it needs no proof.
        if arch == self.native {
            return Ok(());
        }
        let result = self.run(arch).map_err(|reason| UnrunnableError { arch, reason });
        let mut broken = self.broken();
        match &result {
            Ok(()) => {
                if broken.remove(&arch).is_some() {
                    tracing::info!(%arch, "programs of the architecture run again");
                }
            }
            Err(error) => {
                if broken.insert(arch, error.reason.clone()).is_none() {
                    tracing::error!("{error}");
                }
            }
        }
        result
    }

    fn broken(&self) -> MutexGuard<'_, BTreeMap<Arch, String>> {
        self.broken.lock()
    }

    /// Runs the program; the error says what happened instead.
    fn run(&self, arch: Arch) -> Result<(), String> {
        let number = self.probes.fetch_add(1, Ordering::Relaxed);
        let root = self.directory.join(format!("{arch}-{number}"));
        let made = make_root(&root, arch, self.sandbox.uid_base());
        let ended =
            made.map_err(|error| format!("its root cannot be made: {error}")).and_then(|()| {
                let cage = cage(format!("probe-{arch}-{number}"), &root);
                let (mut log, cancel) = (Vec::new(), CancelFlag::new());
                let mut watcher = PlainWatcher { log: &mut log, time: TIME, cancel: &cancel };
                let ended = self.sandbox.run(&cage, &mut watcher);
                ended.map(|ended| (ended.exit, log)).map_err(|error| error.to_string())
            });
        let _ = fs::remove_dir_all(&root);
        match ended? {
            (CageExit::Code(program::STATUS), _) => Ok(()),
            (exit, log) => {
                let last = last_line(&String::from_utf8_lossy(&log));
                Err(format!(
                    "a program that should end with {} ended with {exit:?} ({last})",
                    program::STATUS
                ))
            }
        }
    }
}

/// The last line of the cage's output. When the program could not be started, it is crun's own
/// message, which is JSON.
fn last_line(log: &str) -> String {
    let last = log.lines().last().unwrap_or("it printed nothing");
    let message = serde_json::from_str::<serde_json::Value>(last).ok();
    let message = message.as_ref().and_then(|line| line.get("msg")?.as_str());
    message.unwrap_or(last).to_owned()
}

fn cage(name: String, root: &Path) -> Cage {
    Cage {
        name,
        root: CageRoot::ReadOnly(root.to_path_buf()),
        binds: Vec::new(),
        system_at: vec![PathBuf::from("/")],
        tmpfs: Vec::new(),
        user: CageUser::Builder,
        command: vec![format!("/{PROGRAM}")],
        directory: PathBuf::from("/"),
        environment: Vec::new(),
        caps: CAPS,
        allow: rpmfarm_core::Allowed::new(),
    }
}

fn make_root(root: &Path, arch: Arch, uid_base: u32) -> io::Result<()> {
    let open = |path: &Path| {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
        chown(path, Some(uid_base), Some(uid_base))
    };
    fs::create_dir_all(root)?;
    open(root)?;
    for name in ["proc", "sys", "dev"] {
        let path = root.join(name);
        fs::create_dir(&path)?;
        open(&path)?;
    }
    let program = root.join(PROGRAM);
    fs::write(&program, program::file(arch))?;
    open(&program)
}
