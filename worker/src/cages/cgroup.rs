//! Control groups: limits on memory, processes and processor time, on v1, v2 and hybrid hosts.
//!
//! The worker makes a group for each cage and puts the cage's first process into it; everything
//! that this starts stays there. crun is told not to manage cgroups, so that the events can still
//! be read when the cage is gone, and no service manager needs to be asked.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::cage::CageLimits;

/// A controller of control groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Controller {
    Memory,
    Pids,
    Cpu,
}

impl Controller {
    const ALL: [Self; 3] = [Self::Memory, Self::Pids, Self::Cpu];

    const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Pids => "pids",
            Self::Cpu => "cpu",
        }
    }
}

/// A directory under which groups can be made, for one hierarchy.
#[derive(Debug, Clone)]
struct CgroupParent {
    directory: PathBuf,
    v2: bool,
    controllers: Vec<Controller>,
}

/// The parents below which the worker makes groups on this host.
#[derive(Debug, Clone, Default)]
pub struct Cgroups {
    places: Vec<CgroupParent>,
}

/// The group of one cage; removed when dropped.
#[derive(Debug)]
pub struct Cgroup {
    places: Vec<CgroupParent>,
}

/// The events of a group that explain a failure.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CgroupEvents {
    /// Processes that the kernel killed because the group was out of memory.
    pub oom_kills: u64,
    /// Times that a new process was refused.
    pub forks_refused: u64,
    /// The most memory used at once, in bytes, where the kernel says.
    pub memory_peak: Option<u64>,
}

impl Cgroups {
    /// Finds the hierarchies of this host and makes a parent named `name` in each.
    ///
    /// A hierarchy that is not usable is left out: [`missing`](Self::missing) names it.
    #[must_use]
    pub fn detect(name: &str) -> Self {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let places = hierarchies(&mounts, &own)
            .into_iter()
            .filter_map(|hierarchy| hierarchy.parent_group(name))
            .collect();
        Self { places }
    }

    /// Names of the limits that this host cannot enforce.
    #[must_use]
    pub fn missing(&self) -> Vec<&'static str> {
        let has = |c: &Controller| self.places.iter().any(|place| place.controllers.contains(c));
        Controller::ALL.iter().filter(|c| !has(c)).map(|c| c.name()).collect()
    }

    /// Removes the groups that an earlier process of this worker left, with their processes.
    pub fn clean(&self) {
        for place in &self.places {
            let Ok(entries) = fs::read_dir(&place.directory) else { continue };
            for entry in entries.flatten() {
                if entry.file_name().to_string_lossy().starts_with(PREFIX) {
                    remove(&entry.path(), place.v2);
                }
            }
        }
    }

    /// Removes empty parents.
    pub fn give_back(&self) {
        for place in &self.places {
            // A group that others use stays, and so does the worker's own.
            let _ = fs::remove_dir(&place.directory);
        }
    }

    /// Makes the group of a cage.
    ///
    /// # Errors
    /// When a directory cannot be made or a limit cannot be set.
    pub fn create(&self, name: &str, caps: &CageLimits) -> io::Result<Cgroup> {
        let mut group = Cgroup { places: Vec::new() };
        for place in &self.places {
            let directory = place.directory.join(format!("{PREFIX}{name}"));
            // The group of an attempt whose end could not be awaited.
            remove(&directory, place.v2);
            fs::create_dir(&directory)?;
            group.places.push(CgroupParent { directory, ..place.clone() });
        }
        for place in &group.places {
            for controller in &place.controllers {
                set(place, *controller, caps)?;
            }
        }
        Ok(group)
    }
}

const PREFIX: &str = "cage-";

impl Cgroup {
    /// The files that a process writes its id to, to join.
    #[must_use]
    pub fn join_files(&self) -> Vec<PathBuf> {
        self.places.iter().map(|place| place.directory.join("cgroup.procs")).collect()
    }

    /// The last part of its path; `None` where the host has no groups.
    #[must_use]
    pub fn name(&self) -> Option<String> {
        let last = self.places.first()?.directory.file_name()?;
        Some(last.to_string_lossy().into_owned())
    }

    /// Its events so far.
    #[must_use]
    pub fn events(&self) -> CgroupEvents {
        let mut events = CgroupEvents::default();
        for place in &self.places {
            for controller in &place.controllers {
                let read = |file: &str| fs::read_to_string(place.directory.join(file)).ok();
                match (controller, place.v2) {
                    (Controller::Memory, v2) => {
                        let (file, peak) = if v2 {
                            ("memory.events", "memory.peak")
                        } else {
                            ("memory.oom_control", "memory.max_usage_in_bytes")
                        };
                        events.oom_kills = field(read(file), "oom_kill");
                        events.memory_peak = read(peak).and_then(|text| text.trim().parse().ok());
                    }
                    (Controller::Pids, _) => {
                        events.forks_refused = field(read("pids.events"), "max");
                    }
                    (Controller::Cpu, _) => {}
                }
            }
        }
        events
    }
}

impl Cgroup {
    /// The memory that its processes have now, in bytes, without the files that the kernel keeps
    /// for them; 0 where the kernel does not say.
    #[must_use]
    pub fn memory_used(&self) -> u64 {
        let of_memory = |place: &&CgroupParent| place.controllers.contains(&Controller::Memory);
        let Some(place) = self.places.iter().find(of_memory) else { return 0 };
        let stat = fs::read_to_string(place.directory.join("memory.stat")).ok();
        field(stat, if place.v2 { "anon" } else { "total_rss" })
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for place in &self.places {
            remove(&place.directory, place.v2);
        }
    }
}

/// The number after a word in a file of `WORD NUMBER` lines.
fn field(text: Option<String>, word: &str) -> u64 {
    let text = text.unwrap_or_default();
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    lines
        .find(|(key, _)| *key == word)
        .and_then(|(_, value)| value.trim().parse().ok())
        .unwrap_or(0)
}

fn set(place: &CgroupParent, controller: Controller, caps: &CageLimits) -> io::Result<()> {
    let write = |file: &str, value: u64| fs::write(place.directory.join(file), value.to_string());
    let bytes = caps.memory_mib.saturating_mul(1 << 20);
    match (controller, place.v2) {
        (Controller::Memory, true) => {
            write("memory.max", bytes)?;
            // Absent where the host has no swap accounting.
            let _ = write("memory.swap.max", 0);
            Ok(())
        }
        (Controller::Memory, false) => {
            write("memory.limit_in_bytes", bytes)?;
            let _ = write("memory.memsw.limit_in_bytes", bytes);
            Ok(())
        }
        (Controller::Pids, _) => write("pids.max", caps.processes),
        (Controller::Cpu, v2) => {
            let Some(cpus) = caps.cpus else { return Ok(()) };
            let quota = u64::from(cpus) * 100_000;
            if v2 {
                fs::write(place.directory.join("cpu.max"), format!("{quota} 100000"))
            } else {
                write("cpu.cfs_quota_us", quota)
            }
        }
    }
}

/// Kills what runs in a group and removes it. A group can stay busy for a moment after its last
/// process has died.
fn remove(directory: &Path, v2: bool) {
    if v2 {
        let _ = fs::write(directory.join("cgroup.kill"), "1");
    }
    let deadline = Instant::now() + Duration::from_secs(2);
    while let Err(error) = fs::remove_dir(directory) {
        if error.kind() == io::ErrorKind::NotFound {
            return;
        }
        if Instant::now() > deadline {
            tracing::warn!(directory = %directory.display(), %error, "a control group could not be removed");
            return;
        }
        for pid in pids(directory) {
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn pids(directory: &Path) -> Vec<nix::unistd::Pid> {
    let text = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).map(nix::unistd::Pid::from_raw).collect()
}

/// A mounted hierarchy and the worker's own group in it.
#[derive(Debug, PartialEq, Eq)]
struct CgroupHierarchy {
    mount: PathBuf,
    own: PathBuf,
    v2: bool,
    controllers: Vec<&'static str>,
}

impl CgroupHierarchy {
    fn parent_group(&self, name: &str) -> Option<CgroupParent> {
        if self.v2 { self.take_v2(name) } else { self.take_v1(name) }
    }

    fn take_v1(&self, name: &str) -> Option<CgroupParent> {
        let controllers: Vec<_> =
            Controller::ALL.into_iter().filter(|c| self.controllers.contains(&c.name())).collect();
        if controllers.is_empty() {
            return None;
        }
        let directory = self.own.join(name);
        fs::create_dir_all(&directory).ok()?;
        Some(CgroupParent { directory, v2: false, controllers })
    }

    /// v2 delegates controllers only to groups without processes of their own. So the worker moves
    /// into a leaf beside its cages; where others share its group, it makes a parent below the root
    /// instead.
    fn take_v2(&self, name: &str) -> Option<CgroupParent> {
        let above = self.delegate().unwrap_or_else(|| {
            hand_down(&self.mount);
            self.mount.clone()
        });
        let directory = above.join(name);
        fs::create_dir_all(&directory).ok()?;
        let controllers = hand_down(&directory);
        Some(CgroupParent { directory, v2: true, controllers })
    }

    /// The worker's own group, prepared for the delegation of controllers.
    fn delegate(&self) -> Option<PathBuf> {
        if self.own == self.mount {
            return None;
        }
        // A restarted worker can find itself in its own leaf.
        let group = if self.own.ends_with(LEAF) { self.own.parent()? } else { &self.own };
        let leaf = group.join(LEAF);
        fs::create_dir_all(&leaf).ok()?;
        fs::write(leaf.join("cgroup.procs"), "0").ok()?;
        if hand_down(group).is_empty() {
            let _ = fs::write(self.own.join("cgroup.procs"), "0");
            return None;
        }
        Some(group.to_path_buf())
    }
}

const LEAF: &str = "supervisor";

/// Enables the wanted controllers for the children of a v2 group; returns those that are enabled.
fn hand_down(group: &Path) -> Vec<Controller> {
    let file = group.join("cgroup.subtree_control");
    for controller in Controller::ALL {
        let _ = fs::write(&file, format!("+{}", controller.name()));
    }
    let on = fs::read_to_string(&file).unwrap_or_default();
    Controller::ALL.into_iter().filter(|c| on.split_whitespace().any(|w| w == c.name())).collect()
}

/// Reads `/proc/self/mountinfo` and `/proc/self/cgroup`.
fn hierarchies(mounts: &str, own: &str) -> Vec<CgroupHierarchy> {
    mounts.lines().filter_map(|line| hierarchy(line, own)).collect()
}

fn hierarchy(line: &str, own: &str) -> Option<CgroupHierarchy> {
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ').skip(3);
    let (root, mount) = (left.next()?, PathBuf::from(left.next()?));
    let mut right = right.split(' ');
    let v2 = match right.next()? {
        "cgroup" => false,
        "cgroup2" => true,
        _ => return None,
    };
    let options: Vec<&str> = right.nth(1)?.split(',').collect();
    let controllers: Vec<&'static str> =
        Controller::ALL.iter().map(|c| c.name()).filter(|c| !v2 && options.contains(c)).collect();
    let path = own.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (names, path) = (parts.next()?, parts.next()?);
        let mine = if v2 {
            names.is_empty()
        } else {
            names.split(',').any(|name| controllers.contains(&name))
        };
        mine.then_some(path)
    })?;
    let below = Path::new(path).strip_prefix(root).unwrap_or(Path::new("")).to_path_buf();
    Some(CgroupHierarchy { own: mount.join(below), mount, v2, controllers })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_hierarchies_of_every_kind() {
        let mounts = "\
35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
36 31 0:33 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
23 1 0:2 / /proc rw - proc proc rw";
        let own = "4:memory:/a/b\n5:cpu,cpuacct:/\n9:name=systemd:/\n0::/x.service";
        let found = hierarchies(mounts, own);
        let expect = |mount: &str, own: &str, v2, controllers: &[&'static str]| CgroupHierarchy {
            mount: mount.into(),
            own: own.into(),
            v2,
            controllers: controllers.to_vec(),
        };
        let base = "/sys/fs/cgroup";
        assert_eq!(
            found,
            [
                expect(
                    &format!("{base}/memory"),
                    &format!("{base}/memory/a/b"),
                    false,
                    &["memory"]
                ),
                expect(
                    &format!("{base}/cpu,cpuacct"),
                    &format!("{base}/cpu,cpuacct/"),
                    false,
                    &["cpu"]
                ),
                expect(&format!("{base}/unified"), &format!("{base}/unified/x.service"), true, &[]),
            ]
        );
    }

    #[test]
    fn reads_event_files() {
        let text = "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n";
        assert_eq!(field(Some(text.into()), "oom_kill"), 3);
        assert_eq!(field(Some("max 12\n".into()), "max"), 12);
        assert_eq!(field(None, "max"), 0);
        let stat = "cache 9\nrss 4\ntotal_cache 9\ntotal_rss 5\n";
        assert_eq!(field(Some(stat.into()), "total_rss"), 5);
    }
}
