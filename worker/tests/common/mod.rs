//! A worker on the lab's distribution: locks, specs, builds from the command line, and their
//! reports. Tests run as root, with crun.

#![allow(clippy::unwrap_used, dead_code, reason = "a step that fails is the failure of its test")]

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::fcntl::{Flock, FlockArg};
use rpmfarm_core::lock::{Layer, LockedPackage};
use rpmfarm_core::{Arch, BuildOptions, Lock, Sha256};
use rpmfarm_solv::{Package, Pool, Repository, SolveRequest};
use serde_json::Value;

/// The packages of an EL9 build root, by the lab's names.
const BASE: &[&str] = &[
    "bash",
    "base-files",
    "bzip2",
    "coreutils",
    "cpio",
    "diffutils",
    "findutils",
    "gawk",
    "grep",
    "gzip",
    "patch",
    "rpm-build",
    "rpmfarm-lab-macros",
    "rpmfarm-lab-release",
    "sed",
    "tar",
    "unzip",
    "util-linux",
    "passwd",
    "debianutils",
    "xz-utils",
    "gcc",
    "make",
];
const BOOTSTRAP: &[&str] = &["bash", "base-files", "rpm", "rpmfarm-lab-release"];

/// Macros of a target that asks for the same bytes each time, as `deploy/targets/lab.toml` does.
pub(crate) const REPRODUCIBLE: &str = "%dist .lab9\n%use_source_date_epoch_as_buildtime 1\n\
     %clamp_mtime_to_source_date_epoch 1\n";

/// The default of `--uid-base`: root's id in files of builds, on disk.
pub(crate) const UID_BASE: u32 = 1_879_048_192;

/// Ids of one cage.
pub(crate) const ID_COUNT: u32 = 1 << 24;

/// Whether this kernel can give each cage ids of its own (overlayfs of idmapped layers, Linux
/// 5.19).
pub(crate) fn has_own_ids() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (5, 19)
}

pub(crate) const WORKER: &str = env!("CARGO_BIN_EXE_rpmfarm-worker");

/// A worker's directory with a lock for it. Roots are made by the first test and used by all; so
/// tests of different processes take turns.
pub(crate) struct Scene {
    pub(crate) data: PathBuf,
    pub(crate) dir: tempfile::TempDir,
    repo: PathBuf,
    lock: PathBuf,
    pub(crate) macros: String,
    pub(crate) arch: Arch,
    last: std::cell::RefCell<Value>,
    _turn: Flock<fs::File>,
}

impl Scene {
    /// A worker with the base root and these lists of requirements as layers.
    pub(crate) fn new(layers: &[&[&str]]) -> Self {
        Self::of(Arch::X86_64, layers)
    }

    /// The same for another architecture, which this host runs.
    pub(crate) fn of(arch: Arch, layers: &[&[&str]]) -> Self {
        let shared = Path::new(env!("CARGO_TARGET_TMPDIR")).join("worker");
        fs::create_dir_all(&shared).unwrap();
        let turn = fs::File::create(shared.join("turn")).unwrap();
        let turn = Flock::lock(turn, FlockArg::LockExclusive).map_err(|(_, error)| error).unwrap();
        let out = shared.join(match arch {
            Arch::X86_64 => "lab".to_owned(),
            other => format!("lab-{other}"),
        });
        let options = rpmfarm_lab::distro::Options {
            arch,
            out: out.clone(),
            cache: None,
            size: Default::default(),
            refresh: false,
        };
        rpmfarm_lab::distro::make(&options).unwrap();
        let repo = out.join("repo");
        let dir = tempfile::tempdir().unwrap();
        let lock = dir.path().join("lock.json");
        fs::write(&lock, solve(&repo, arch, layers).to_bytes()).unwrap();
        let (data, macros) = (shared.join("data"), REPRODUCIBLE.into());
        let last = Value::Null.into();
        Self { data, dir, repo, lock, macros, arch, last, _turn: turn }
    }

    pub(crate) fn lock(&self) -> Lock {
        Lock::from_bytes(&fs::read(&self.lock).unwrap()).unwrap()
    }

    pub(crate) fn lock_file(&self) -> &Path {
        &self.lock
    }

    /// Makes a source package of a spec and its sources.
    pub(crate) fn srpm(&self, name: &str, spec: &str, sources: &[(&str, &str)]) -> PathBuf {
        self.srpm_with(name, spec, sources, &[])
    }

    /// The same by a worker with these options.
    pub(crate) fn srpm_with(
        &self,
        name: &str,
        spec: &str,
        sources: &[(&str, &str)],
        options: &[&str],
    ) -> PathBuf {
        let beside = self.dir.path().join(format!("{name}.sources"));
        fs::create_dir_all(&beside).unwrap();
        let file = beside.join(format!("{name}.spec"));
        fs::write(&file, spec).unwrap();
        for (source, text) in sources {
            fs::write(beside.join(source), text).unwrap();
        }
        let report = self.run(&[&["--spec", file.to_str().unwrap()], options].concat());
        assert!(report["failure"].is_null(), "{report:#}\n{}", self.log());
        let made = report["files"][0].as_str().unwrap();
        // The next run clears its results away.
        let kept = self.dir.path().join(made);
        fs::copy(self.results().join(made), &kept).unwrap();
        kept
    }

    /// Builds a source package, and answers the report.
    pub(crate) fn build(&self, srpm: &Path, options: &[&str]) -> Value {
        let mut arguments = vec!["--srpm", srpm.to_str().unwrap()];
        arguments.extend(options);
        self.run(&arguments)
    }

    /// Makes the source package of a spec and builds it.
    pub(crate) fn build_spec(&self, name: &str, spec: &str, options: &[&str]) -> Value {
        let srpm = self.srpm(name, spec, &[]);
        self.build(&srpm, options)
    }

    fn run(&self, options: &[&str]) -> Value {
        let output = self.command(options).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let reports: Vec<Value> = serde_json::from_str(&text).unwrap_or_else(|error| {
            panic!("{error}: {text}\n{}", String::from_utf8_lossy(&output.stderr))
        });
        self.last.replace(reports[0].clone());
        reports[0].clone()
    }

    pub(crate) fn last(&self) -> Value {
        self.last.borrow().clone()
    }

    /// Starts a build and leaves it alone.
    pub(crate) fn start(&self, srpm: &Path) -> Child {
        let options = ["--srpm", srpm.to_str().unwrap()];
        self.command(&options).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// Another lock, for a coordinator to give out.
    pub(crate) fn add_lock(&self, layers: &[&[&str]]) -> Sha256 {
        let bytes = solve(&self.repo, self.arch, layers).to_bytes();
        fs::write(self.dir.path().join("more.json"), &bytes).unwrap();
        Sha256::compute(&bytes)
    }

    /// Adds a layer of one package with a scriptlet to the lock; answers the package.
    pub(crate) fn add_scriptlet(&self, name: &str, post: &str) -> PathBuf {
        let top = self.dir.path().join(name);
        fs::create_dir(&top).unwrap();
        let spec = top.join("x.spec");
        let text = format!(
            "Name: {name}\nVersion: 1\nRelease: 1\nSummary: x\nLicense: x\nBuildArch: noarch\n\
             %description\nx\n%post\n{post}\n%files\n"
        );
        fs::write(&spec, text).unwrap();
        let mut rpmbuild = Command::new("rpmbuild");
        rpmbuild.arg("-bb").arg("--define").arg(format!("_topdir {}", top.display())).arg(&spec);
        let output = rpmbuild.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let location = format!("extra/{name}-1-1.noarch.rpm");
        fs::create_dir_all(self.repo.join("extra")).unwrap();
        let made = top.join(format!("RPMS/noarch/{name}-1-1.noarch.rpm"));
        fs::copy(&made, self.repo.join(&location)).unwrap();
        let package = LockedPackage {
            nevra: format!("{name}-1-1.noarch").parse().unwrap(),
            digest: Sha256::compute(&fs::read(&made).unwrap()),
            size: fs::metadata(&made).unwrap().len(),
            source: name.into(),
            origin: "lab".into(),
            location,
            base: String::new(),
            module: String::new(),
        };
        let mut lock = self.lock();
        lock.layers.push(Layer::new(vec![package]));
        fs::write(&self.lock, lock.to_bytes()).unwrap();
        made
    }

    /// Adds a layer of one package whose scriptlet gives files to users with high ids.
    pub(crate) fn add_owners(&self) {
        let post = "cd /var/lib && touch owned nobodys && chown 60000:60001 owned && chmod 6755 owned\n\
                    chown 65534:65534 nobodys";
        self.add_scriptlet("owners", post);
    }

    /// A file of the uppermost layer on disk: owner, group and mode.
    pub(crate) fn on_disk(&self, file: &str) -> (u32, u32, u32) {
        let layer = self.lock().layer_ids().last().unwrap().hex();
        owner(&self.data.join("roots").join(layer).join("tree").join(file))
    }

    /// The files that a coordinator would give out: the lock, its packages, and this one.
    pub(crate) fn blobs(&self, more: &Path) -> HashMap<String, PathBuf> {
        let mut blobs = HashMap::new();
        for name in ["lock.json", "more.json"] {
            let path = self.dir.path().join(name);
            let Ok(bytes) = fs::read(&path) else { continue };
            for package in Lock::from_bytes(&bytes).unwrap().packages() {
                blobs.insert(package.digest.hex(), self.repo.join(&package.location));
            }
            blobs.insert(Sha256::compute(&bytes).hex(), path);
        }
        blobs.insert(Sha256::compute(&fs::read(more).unwrap()).hex(), more.into());
        blobs
    }

    fn command(&self, options: &[&str]) -> Command {
        let macros = self.dir.path().join("macros");
        fs::write(&macros, &self.macros).unwrap();
        let mut command = Command::new(WORKER);
        command.arg("run-once").arg("--data-dir").arg(&self.data);
        command.arg("--lock").arg(&self.lock).arg("--packages").arg(&self.repo);
        command.arg("--macros").arg(macros).arg("--out").arg(self.dir.path().join("out"));
        command.args(options);
        // A variable that no build may see.
        command.env("SECRET", "of the host");
        command
    }

    /// Where the results of the last build lie.
    pub(crate) fn results(&self) -> PathBuf {
        self.dir.path().join("out/0/results")
    }

    /// The build log of the last build.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("out/0/build.log")).unwrap_or_default()
    }
}

/// Owner, group and mode of a file.
pub(crate) fn owner(path: &Path) -> (u32, u32, u32) {
    let about = fs::symlink_metadata(path).unwrap();
    (about.uid(), about.gid(), about.mode() & 0o7777)
}

/// The commands of a build that checks the files of [`Scene::add_owners`], and that its home has
/// only files of the builder.
pub(crate) const FINDS_OWNERS: &str = "test $(stat -c %%u:%%g:%%a /var/lib/owned) = 60000:60001:6755\n\
     test $(stat -c %%u:%%g /var/lib/nobodys) = 65534:65534\n\
     test $(stat -c %%u:%%g /usr/bin) = 0:0\n\
     touch /builddir/made\ntest $(stat -c %%u:%%g /builddir/made) = 1000:1000\n\
     test -z \"$(find /builddir -not -path '/builddir/input*' -not -user 1000)\"\n";

/// A noarch package whose `%build` is this script.
pub(crate) fn spec(name: &str, build: &str) -> String {
    format!(
        "Name: {name}\nVersion: 1\nRelease: 1%{{?dist}}\nSummary: A test\nLicense: MIT\n\
         BuildArch: noarch\n%description\nA test.\n%prep\n%build\n{build}\n%install\n\
         mkdir -p %{{buildroot}}/usr/share/{name}\n%files\n/usr/share/{name}\n%changelog\n\
         * Mon Jan 01 2024 Lab <lab@example.org> - 1-1\n- First\n"
    )
}

/// The failure in a report: fault, stage, message.
pub(crate) fn failure(report: &Value) -> (String, String, String) {
    let text = |key: &str| report["failure"][key].as_str().unwrap_or("none").to_owned();
    (text("fault"), text("stage"), text("message"))
}

fn solve(repo: &Path, arch: Arch, layers: &[&[&str]]) -> Lock {
    let mut pool = Pool::new(arch);
    let about = Repository { id: "lab".into(), priority: 99, ..Repository::default() };
    let metadata = |kind: &str| {
        let files = fs::read_dir(repo.join("repodata")).unwrap().map(|entry| entry.unwrap().path());
        let is = |path: &PathBuf| path.to_string_lossy().contains(&format!("-{kind}.xml"));
        files.into_iter().find(is).unwrap()
    };
    pool.load_repository(about, &metadata("primary"), Some(&metadata("filelists"))).unwrap();
    let mut installed: Vec<Package> = Vec::new();
    let mut made = Vec::new();
    for list in [BASE].iter().chain(layers) {
        let pinned = installed.iter().map(|package| package.id).collect();
        let request = SolveRequest { install: list.to_vec(), forbid: vec![], pinned };
        let all = pool.solve(&request).unwrap().packages;
        let new: Vec<Package> = all.into_iter().filter(|new| !installed.contains(new)).collect();
        installed.extend(new.iter().cloned());
        made.push(layer(&new));
    }
    let request = SolveRequest { install: BOOTSTRAP.to_vec(), ..SolveRequest::default() };
    let bootstrap = layer(&pool.solve(&request).unwrap().packages);
    let options = BuildOptions::default();
    Lock { target: "lab".into(), arch, bootstrap, layers: made, options }
}

fn layer(packages: &[Package]) -> Layer {
    let locked = packages.iter().map(|package| LockedPackage {
        nevra: package.nevra.clone(),
        digest: package.digest,
        size: package.size,
        source: package.source.clone(),
        origin: "lab".into(),
        location: package.location.clone(),
        base: String::new(),
        module: String::new(),
    });
    Layer::new(locked.collect())
}
