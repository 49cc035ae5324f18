//! A farm whose attempts the test reports, and whose acceptance it drives by hand.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use rpmfarm_coordinator::clock;
use rpmfarm_coordinator::parts::Parts;
use rpmfarm_coordinator::store::{EndedAttempt, NewBuild, NewTask, Task};
use rpmfarm_core::lock::{Layer, LockedPackage};
use rpmfarm_core::results::{ResultFile, ResultKind};
use rpmfarm_core::source::{SourceBundle, SourceFile};
use rpmfarm_core::statement::{Proof, Statement};
use rpmfarm_core::task::{Outcome, Success, TaskKind};
use rpmfarm_core::{
    Arch, AttemptId, BuildId, BuildOptions, Failure, Lock, Sha256, Stage, Timestamp,
};
use rpmfarm_guarded::key::SigningKey;
use rpmfarm_lab::fixtures::TargetFile;
use tokio::task::JoinHandle;
use tower_http::services::ServeDir;

use rpmfarm_rpmfile::check_contents;

use crate::builds::{bundle, import, new_build, planned};
use crate::farms;
use crate::support::{Built, build_spec, run};

/// An uploaded file: its name and its bytes.
pub(crate) type File = (String, Vec<u8>);

pub(crate) struct Scene {
    pub(crate) farm: Parts,
    /// Whether the test has recorded an import.
    imported: AtomicBool,
    /// The base root of every lock.
    pub(crate) base: Mutex<Vec<LockedPackage>>,
    /// The key with which workers sign; `None` for workers of before there was an acceptor.
    pub(crate) key: Option<SigningKey>,
    /// Where the distribution's server listens.
    address: String,
    dir: tempfile::TempDir,
    server: JoinHandle<()>,
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// An attempt whose results wait to be accepted.
pub(crate) struct Waiting(pub(crate) EndedAttempt);

/// The distribution's one repository, for each architecture.
const REPO: &str = "www/distro/x86_64/repo";

/// A spec of a package with one file.
pub(crate) fn spec(name: &str, tags: &str, content: &str) -> String {
    format!(
        "Name: {name}\nVersion: 1\nSummary: x\nLicense: x\nSource0: sample.txt\n{tags}\n\
         %define debug_package %{{nil}}\n%description\n{content}\n%install\n\
         mkdir -p %{{buildroot}}/usr/share/{name}\n\
         echo '{content}' > %{{buildroot}}/usr/share/{name}/data\n%files\n/usr/share/{name}\n"
    )
}

/// Builds it with rpmbuild.
pub(crate) fn built(name: &str, tags: &str, content: &str) -> Built {
    build_spec(&spec(name, tags, content), &[])
}

/// A file as it is, under its own name.
pub(crate) fn file(path: &Path) -> File {
    (path.file_name().unwrap().to_str().unwrap().into(), std::fs::read(path).unwrap())
}

impl Scene {
    pub(crate) async fn new() -> Self {
        Self::with("").await
    }

    /// With lines in which the target differs from the lab's.
    pub(crate) async fn with(lines: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        std::fs::create_dir_all(path(REPO)).unwrap();
        for arch in ["aarch64", "ppc64le"] {
            symlink("x86_64", path(&format!("www/distro/{arch}"))).unwrap();
        }
        run(Command::new("createrepo_c").arg("--quiet").arg(path(REPO)));
        let www = axum::Router::new().fallback_service(ServeDir::new(path("www")));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = tokio::spawn(async move { axum::serve(listener, www).await.unwrap() });
        TargetFile::lab(&address).unsigned().with(lines).write(&dir.path().join("targets"));
        let farm = farms::open(dir.path(), &[]).await;
        let (imported, base) = (AtomicBool::new(false), Mutex::default());
        Self { farm, imported, base, key: None, address, dir, server }
    }

    /// A target beside the lab's, which differs in its name only.
    #[allow(dead_code, reason = "the tests of publication use it")]
    pub(crate) fn add_target(&self, name: &str) {
        let target = TargetFile::lab(&self.address).unsigned().named(name);
        target.write(&self.dir.path().join("targets"));
        assert!(self.farm.targets.pass().unwrap(), "it is read");
    }

    /// Writes the target anew, with lines in which it differs from the lab's.
    #[allow(dead_code, reason = "the tests of publication use it")]
    pub(crate) fn change_target(&self, lines: &str) {
        let target = TargetFile::lab(&self.address).unsigned().with(lines);
        target.write(&self.dir.path().join("targets"));
        assert!(self.farm.targets.pass().unwrap(), "it is read");
    }

    /// The file of the database.
    #[allow(dead_code, reason = "the tests of publication use it")]
    pub(crate) fn database(&self) -> std::path::PathBuf {
        self.dir.path().join("data/farm.db")
    }

    /// Puts packages into the distribution's repository, before its metadata are read.
    pub(crate) fn distribution(&self, packages: &[&Built]) {
        let repo = self.dir.path().join(REPO);
        for package in packages {
            let name = package.binary.file_name().unwrap();
            std::fs::copy(&package.binary, repo.join(name)).unwrap();
        }
        run(Command::new("createrepo_c").arg("--quiet").arg(repo));
    }

    /// Puts a package of the distribution into every base root from now on.
    pub(crate) fn base(&self, source: &str, package: &Built) {
        let bytes = std::fs::read(&package.binary).unwrap();
        let name = package.binary.file_stem().unwrap().to_str().unwrap();
        let locked = LockedPackage {
            nevra: name.parse().unwrap(),
            digest: self.farm.blobs.put(&bytes).unwrap(),
            size: bytes.len() as u64,
            source: source.into(),
            origin: "lab".into(),
            location: "x.rpm".into(),
            base: String::new(),
            module: String::new(),
        };
        self.base.lock().push(locked);
    }

    /// A lock with the base and these packages of the farm.
    pub(crate) fn lock(&self, own: Vec<LockedPackage>) -> Sha256 {
        let lock = Lock {
            target: "lab".into(),
            arch: Arch::X86_64,
            bootstrap: Layer::default(),
            layers: vec![Layer::new(self.base.lock().clone()), Layer::new(own)],
            options: BuildOptions::default(),
        };
        self.farm.blobs.put(&lock.to_bytes()).unwrap()
    }

    /// Builds a package whose whole way goes well, as far as its packages may go.
    pub(crate) async fn made(&self, package: &str, of: &Built) -> BuildId {
        let build = self.build(package).await;
        self.srpm(build, of).await.unwrap();
        self.binary(build, of).await.unwrap();
        build
    }

    /// A build whose sources are there and whose SRPM is to be made.
    pub(crate) async fn build(&self, package: &str) -> BuildId {
        self.build_of(package, "").await
    }

    /// The same of a branch, tag or commit.
    pub(crate) async fn build_of(&self, package: &str, git_ref: &str) -> BuildId {
        self.build_with(package, git_ref, BuildOptions::default()).await
    }

    /// The same with options.
    pub(crate) async fn build_with(
        &self,
        package: &str,
        git_ref: &str,
        options: BuildOptions,
    ) -> BuildId {
        let new = NewBuild {
            git_ref: git_ref.into(),
            arches: vec![Arch::X86_64],
            options,
            ..new_build("lab", package)
        };
        self.start(new).await
    }

    /// The same for all architectures of the target.
    pub(crate) async fn build_everywhere(&self, package: &str) -> BuildId {
        self.start(new_build("lab", package)).await
    }

    async fn start(&self, new: NewBuild) -> BuildId {
        self.start_batch(&[new]).await[0]
    }

    /// Builds of one request whose sources are there and whose SRPMs are to be made.
    pub(crate) async fn start_batch(&self, new: &[NewBuild]) -> Vec<BuildId> {
        let store = &self.farm.store;
        let builds = store.build_insert(new, "tester", "", clock::now()).await.unwrap().ids;
        for build in &builds {
            let task = NewTask { kind: TaskKind::Srpm, arch: Arch::X86_64 };
            planned(store, *build, &import(clock::now()), task).await;
        }
        builds
    }

    /// Ends the build's next task of a kind with these files, and returns the result of the
    /// acceptance.
    pub(crate) async fn report(
        &self,
        build: BuildId,
        kind: TaskKind,
        files: &[File],
    ) -> Result<(), Failure> {
        let success = Success::default();
        self.report_on(build, (kind, None), files, success).await
    }

    /// The same for the task of one of several architectures, with the other parts of the report.
    pub(crate) async fn report_on(
        &self,
        build: BuildId,
        of: (TaskKind, Option<Arch>),
        files: &[File],
        success: Success,
    ) -> Result<(), Failure> {
        self.report_of("w", build, of, files, success).await
    }

    /// The same of a worker.
    pub(crate) async fn report_of(
        &self,
        worker: &str,
        build: BuildId,
        of: (TaskKind, Option<Arch>),
        files: &[File],
        success: Success,
    ) -> Result<(), Failure> {
        let Waiting(ended) = self.ended(worker, build, of, files, success).await;
        self.accept(&ended).await.unwrap();
        let store = &self.farm.store;
        if store.acceptance_fetch(ended.attempt.task).await.unwrap().is_some() {
            return Ok(());
        }
        Err(store
            .failure_list(build, None)
            .await
            .unwrap()
            .pop()
            .expect("refused for a reason")
            .failure)
    }

    /// Has an attempt's results accepted, or refused.
    pub(crate) async fn accept(&self, ended: &EndedAttempt) -> anyhow::Result<()> {
        let store = self.farm.fenced(Stage::Accept).expect("there is no other coordinator");
        self.farm.accept().accept(&store, ended).await
    }

    /// The same up to the worker's report: the results then wait to be accepted.
    pub(crate) async fn ended(
        &self,
        worker: &str,
        build: BuildId,
        (kind, arch): (TaskKind, Option<Arch>),
        files: &[File],
        success: Success,
    ) -> Waiting {
        let store = &self.farm.store;
        let tasks = store.task_list(build).await.unwrap();
        let is_it = |task: &&Task| task.kind == kind && arch.is_none_or(|arch| task.arch == arch);
        let of = tasks.iter().find(is_it).expect("it is planned");
        let task = of.id;
        store.lock_insert(task, 0, self.lock(Vec::new()), clock::now()).await.unwrap();
        // The pause after earlier tries is over.
        store.ready_task_insert_due(Timestamp::from_us(i64::MAX / 2), 9).await.unwrap();
        let granted =
            store.attempt_grant(task, build, worker, clock::now()).await.unwrap().expect("granted");
        let (attempt, epoch) = (granted.id, granted.epoch);
        let mut results = Vec::new();
        for (name, bytes) in files {
            let digest = self.farm.blobs.put(bytes).unwrap();
            if kind == TaskKind::Srpm && !self.imported.load(Ordering::Relaxed) {
                self.import(&self.farm.blobs.path(digest));
            }
            let size = bytes.len() as u64;
            store
                .upload_announce(attempt, (digest, size), u64::MAX, clock::now())
                .await
                .unwrap()
                .unwrap();
            let kind = match kind {
                TaskKind::Srpm => ResultKind::Srpm,
                TaskKind::Build | TaskKind::Noarch | TaskKind::Repeat => ResultKind::Rpm,
            };
            results.push(ResultFile { name: name.clone(), kind, digest, size });
        }
        let signed = self.proof(worker, build, (of, attempt), &results).await;
        let proof = success.proof.clone().or(signed);
        let success = Success { files: results, proof, ..success };
        let outcome = Outcome::Succeeded(success);
        assert!(store.attempt_end_succeeded(attempt, epoch, &outcome, clock::now()).await.unwrap());
        // Long after: the build may wait for a retry.
        let mut ended = store
            .attempt_list_to_accept(Timestamp::from_us(i64::MAX / 2))
            .await
            .unwrap()
            .into_iter();
        Waiting(ended.find(|ended| ended.attempt.id == attempt).expect("it waits"))
    }

    /// The worker's signed statement about its results.
    async fn proof(
        &self,
        worker: &str,
        build: BuildId,
        (task, attempt): (&Task, AttemptId),
        files: &[ResultFile],
    ) -> Option<Box<Proof>> {
        let key = self.key.as_ref()?;
        let made = self.farm.store.build_fetch(build).await.unwrap().unwrap();
        let input = match self.farm.store.srpm_fetch(build).await.unwrap() {
            Some(srpm) => srpm.digest,
            None => Sha256::compute(b"sources"),
        };
        let statement = Statement {
            worker,
            target: &made.target,
            build,
            task: task.id,
            attempt,
            kind: task.kind,
            package: &made.package,
            arch: task.arch,
            input,
            files,
        };
        let signature = key.sign(&statement.to_bytes());
        Some(Box::new(Proof { key: key.public(), input, signature }))
    }

    /// Makes the files of a source package those that were imported for all builds, instead of
    /// those that each brings itself.
    pub(crate) fn imports(&self, srpm: &Path) {
        self.import(srpm);
        self.imported.store(true, Ordering::Relaxed);
    }

    fn import(&self, srpm: &Path) {
        // One that cannot be read is refused before its files are compared.
        let files = check_contents(srpm).unwrap_or_default().sources;
        let file = |(name, digest): &(Vec<u8>, Sha256)| SourceFile {
            name: String::from_utf8(name.clone()).unwrap(),
            digest: *digest,
            size: 1,
            executable: false,
        };
        let bundle = SourceBundle { sources: files.iter().map(file).collect(), ..bundle("none") };
        let path = self.farm.blobs.path(import(Timestamp::ZERO).bundle);
        std::fs::write(path, serde_json::to_vec(&bundle).unwrap()).unwrap();
    }

    /// Has a build's source package accepted.
    pub(crate) async fn srpm(&self, build: BuildId, of: &Built) -> Result<(), Failure> {
        self.report(build, TaskKind::Srpm, &[file(&of.source)]).await
    }

    /// Has a build's binary package accepted.
    pub(crate) async fn binary(&self, build: BuildId, of: &Built) -> Result<(), Failure> {
        self.report(build, TaskKind::Build, &[file(&of.binary)]).await
    }

    /// The packages that a build has, by name.
    pub(crate) async fn packages(&self, build: BuildId) -> Vec<String> {
        let rows = self.farm.store.package_list_of_build(build, "lab").await.unwrap();
        rows.iter().map(|row| row.package.nevra.to_string()).collect()
    }
}
