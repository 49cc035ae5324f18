//! The scene of resolving: keys, signed repositories with a server, a target, and a resolver.

use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use axum::extract::Request;
use axum::http::header::{ETAG, IF_NONE_MATCH, LOCATION};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse as _, Response};
use parking_lot::Mutex;
use rpmfarm_coordinator::blobs::Blobs;
use rpmfarm_coordinator::parts::Parts;
use rpmfarm_coordinator::resolve::{
    AgePolicy, DownloadTimeouts, FarmPackage, FarmPackages, FarmUpdate, Requirements, ResolveError,
    Resolver,
};
use rpmfarm_coordinator::store::StoreError;
use rpmfarm_core::target::Target;
use rpmfarm_core::{Arch, Lock, Nevra, Sha256};
use rpmfarm_lab::fixtures::TargetFile;
use rpmfarm_repodata::{Fragments, PackageFile};
use tower_http::services::ServeDir;

use crate::farms;

/// Runs a command; its failure is the test's.
pub(crate) fn run(command: &mut Command) {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
}

/// Packages of a spec: name, version, further lines of the preamble.
pub(crate) type Packages<'a> = &'a [(&'a str, &'a str, &'a str)];

/// The packages against which most tests resolve.
pub(crate) const UPSTREAM: Packages<'_> = &[
    ("rpm", "4", "Requires: shell"),
    ("shell", "5", ""),
    ("builder", "1", "Requires: shell\nRequires: lib"),
    ("lib", "3", ""),
    ("lib-devel", "3", "Requires: lib = 3-1\nProvides: pkgconfig(lib) = 3"),
    ("compiler", "12", "Requires: lib\nRecommends: manual"),
    ("manual", "1", ""),
    ("dynamic", "1", "Requires: compiler"),
    ("broken", "1", "Requires: nowhere >= 4"),
];

/// A directory with a server, and everything a resolver needs.
pub(crate) struct Scene {
    dir: tempfile::TempDir,
    address: SocketAddr,
    server: tokio::task::JoinHandle<()>,
    /// Answers that replace files: the path, and the fault.
    pub(crate) faults: Arc<Mutex<Vec<(&'static str, Fault)>>>,
    pub(crate) requests: Arc<AtomicUsize>,
    pub(crate) farm: Farm,
    pub(crate) blobs: Blobs,
}

/// The faults of a server.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    /// Never answers.
    Hang,
    /// Fails this often, then answers.
    Unavailable(usize),
    /// Says that it is elsewhere.
    Redirect(&'static str),
}

/// The farm's own packages.
#[derive(Debug, Clone, Default)]
pub(crate) struct Farm {
    pub(crate) packages: Arc<Mutex<(i64, Vec<FarmPackage>)>>,
    /// Its content in each version.
    past: Arc<Mutex<HashMap<i64, Vec<FarmPackage>>>>,
    /// How often a solver got all packages.
    whole: Arc<AtomicUsize>,
}

impl FarmPackages for Farm {
    async fn generation(&self, _: &str) -> Result<i64, StoreError> {
        Ok(self.packages.lock().0)
    }

    async fn update(&self, _: &str, since: Option<i64>) -> Result<FarmUpdate, StoreError> {
        let (version, all) = self.packages.lock().clone();
        let before = {
            let mut past = self.past.lock();
            past.insert(version, all.clone());
            since.and_then(|since| past.get(&since).cloned())
        };
        let Some(before) = before else {
            self.whole.fetch_add(1, Ordering::Relaxed);
            return Ok(FarmUpdate { version, is_whole: true, present: all, gone: Vec::new() });
        };
        let present = all.iter().filter(|one| !before.contains(one)).cloned().collect();
        let is_gone = |nevra: &Nevra| all.iter().all(|one| one.nevra != *nevra);
        let gone = before.into_iter().map(|one| one.nevra).filter(is_gone).collect();
        Ok(FarmUpdate { version, is_whole: false, present, gone })
    }
}

impl Scene {
    /// A scene with a signed repository of [`UPSTREAM`].
    pub(crate) async fn new() -> Self {
        let scene = Self::empty().await;
        scene.key("good");
        scene.build("repo", UPSTREAM);
        scene.sign_packages("repo", "good");
        scene.index("repo", &[]);
        scene.sign_page("repo", "good");
        scene
    }

    /// A scene without repositories.
    pub(crate) async fn empty() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("www")).unwrap();
        let faults: Arc<Mutex<Vec<(&str, Fault)>>> = Arc::default();
        let requests: Arc<AtomicUsize> = Arc::default();
        let (of, count) = (faults.clone(), requests.clone());
        let answer = move |request: Request, next: Next| {
            count.fetch_add(1, Ordering::Relaxed);
            let fault = fault(&of, request.uri().path());
            respond(fault, request, next)
        };
        let app = axum::Router::new()
            .fallback_service(ServeDir::new(dir.path().join("www")))
            .layer(from_fn(answer));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        let blobs = Blobs::open(dir.path().join("blobs")).unwrap();
        Self { dir, address, server, faults, requests, farm: Farm::default(), blobs }
    }

    /// A directory that is served.
    pub(crate) fn www(&self, repository: &str) -> PathBuf {
        self.dir.path().join("www").join(repository)
    }

    /// The directory where metadata are kept.
    pub(crate) fn cache(&self) -> PathBuf {
        self.dir.path().join("cache")
    }

    /// Makes a key pair; the public key lies beside the target file.
    pub(crate) fn key(&self, name: &str) {
        let home = self.gpg_home();
        fs::create_dir_all(&home).unwrap();
        run(Command::new("chmod").arg("700").arg(&home));
        let user = format!("{name} <{name}@example.org>");
        run(self.gpg().args([
            "--passphrase",
            "",
            "--quick-gen-key",
            &user,
            "rsa2048",
            "sign",
            "0",
        ]));
        let file = self.dir.path().join(format!("{name}.asc"));
        run(self.gpg().args(["--armor", "--output"]).arg(file).args(["--export", name]));
    }

    fn gpg_home(&self) -> PathBuf {
        self.dir.path().join("gpg")
    }

    fn gpg(&self) -> Command {
        let mut command = Command::new("gpg");
        command.args(["--batch", "--yes", "--homedir"]).arg(self.gpg_home());
        command
    }

    /// Builds packages into a served directory.
    pub(crate) fn build(&self, repository: &str, packages: Packages<'_>) {
        let mut spec = "Name: set\nVersion: 1\nRelease: 1\nSummary: s\nLicense: MIT\nBuildArch: noarch\n%description\nd\n".to_owned();
        for (name, version, more) in packages {
            spec.push_str(&format!(
                "%package -n {name}\nVersion: {version}\nSummary: s\n{more}\n%description -n {name}\nd\n%files -n {name}\n"
            ));
        }
        self.build_spec(repository, &spec);
    }

    /// Builds the packages of a spec into a served directory.
    pub(crate) fn build_spec(&self, repository: &str, spec: &str) {
        let dir = self.www(repository);
        fs::create_dir_all(&dir).unwrap();
        let file = self.dir.path().join("set.spec");
        fs::write(&file, spec).unwrap();
        let topdir = self.dir.path().join("build");
        run(Command::new("rpmbuild")
            .args(["-bb", "--quiet", "--define"])
            .arg(format!("_topdir {}", topdir.display()))
            .arg("--define")
            .arg(format!("_rpmdir {}", dir.display()))
            .arg(&file));
    }

    /// Signs all packages of a repository.
    pub(crate) fn sign_packages(&self, repository: &str, key: &str) {
        run(Command::new("rpmsign")
            .env("GNUPGHOME", self.gpg_home())
            .args(["--define", "__gpg /usr/bin/gpg", "--define"])
            .arg(format!("_gpg_name {key}"))
            .arg("--addsign")
            .args(self.rpms(repository)));
    }

    /// The packages of a repository.
    pub(crate) fn rpms(&self, repository: &str) -> Vec<PathBuf> {
        let files = fs::read_dir(self.www(repository).join("noarch")).unwrap();
        files.map(|entry| entry.unwrap().path()).collect()
    }

    /// Makes the metadata of a repository.
    pub(crate) fn index(&self, repository: &str, more: &[&str]) {
        let dir = self.www(repository);
        run(Command::new("createrepo_c").arg("--quiet").args(more).arg(dir));
    }

    /// Signs a repository's page.
    pub(crate) fn sign_page(&self, repository: &str, key: &str) {
        let page = self.page(repository);
        run(self.gpg().args(["-u", key, "--detach-sign", "--armor"]).arg(page));
    }

    pub(crate) fn page(&self, repository: &str) -> PathBuf {
        self.www(repository).join("repodata/repomd.xml")
    }

    /// Changes a repository's page.
    pub(crate) fn edit_page(&self, repository: &str, edit: impl Fn(&str) -> String) {
        let page = self.page(repository);
        let text = fs::read_to_string(&page).unwrap();
        let edited = edit(&text);
        assert_ne!(text, edited, "nothing was edited");
        fs::write(&page, edited).unwrap();
    }

    /// The primary metadata of a repository.
    pub(crate) fn primary(&self, repository: &str) -> PathBuf {
        let files = fs::read_dir(self.www(repository).join("repodata")).unwrap();
        let mut files = files.map(|entry| entry.unwrap().path());
        files.find(|path| path.to_string_lossy().ends_with("-primary.xml.gz")).unwrap()
    }

    /// A target with these repositories: served directory, further lines.
    pub(crate) fn target_of(&self, repositories: &[(&str, &str)]) -> Target {
        self.file_of(repositories).target()
    }

    /// The file of such a target.
    pub(crate) fn file_of(&self, repositories: &[(&str, &str)]) -> TargetFile {
        let mut lines = "base = [\"builder\"]\n".to_owned();
        for (directory, more) in repositories {
            lines.push_str(&format!(
                "[[repositories]]\nid = \"{directory}\"\nbaseurl = \"http://{}/{directory}\"\n{more}\n",
                self.address
            ));
        }
        TargetFile::small(&self.address.to_string()).named("t").with(&lines)
    }

    /// A target with the one repository of [`Self::new`], all checks on.
    pub(crate) fn target(&self) -> Target {
        self.target_of(&[("repo", "keys = [\"good.asc\"]\nrepo_gpgcheck = true")])
    }

    /// The same with further lines about the repository.
    pub(crate) fn target_with(&self, lines: &str) -> Target {
        self.target_of(&[(
            "repo",
            &format!("keys = [\"good.asc\"]\nrepo_gpgcheck = true\n{lines}"),
        )])
    }

    /// A target that has another repository instead.
    pub(crate) fn other_target(&self) -> Target {
        self.target_of(&[("other", "gpgcheck = false\ninsecure = true")])
    }

    /// A target with one repository that is not signed at all.
    pub(crate) fn unsigned_target(&self) -> Target {
        self.target_of(&[("repo", "gpgcheck = false\ninsecure = true")])
    }

    /// A farm whose one target, `t`, has the repository of [`Self::new`].
    pub(crate) async fn open_farm(&self) -> Parts {
        let file = self.file_of(&[("repo", "gpgcheck = false\ninsecure = true")]);
        file.write(&self.dir.path().join("targets"));
        farms::open(self.dir.path(), &[]).await
    }

    /// A resolver that has just started.
    pub(crate) fn resolver(&self) -> Resolver {
        self.resolver_with(env!("CARGO_BIN_EXE_rpmfarm-coordinator").into())
    }

    /// The same with another program as solver.
    pub(crate) fn resolver_with(&self, program: PathBuf) -> Resolver {
        let patience = DownloadTimeouts {
            silence: Duration::from_secs(2),
            tries: 3,
            pause: Duration::from_millis(1),
            ..DownloadTimeouts::default()
        };
        Resolver::new(self.cache(), self.dir.path(), self.blobs.clone(), patience, program).unwrap()
    }

    /// Resolves a list of build requirements.
    pub(crate) async fn resolve(
        &self,
        resolver: &Resolver,
        target: &Target,
        requires: &[&str],
    ) -> Result<Lock, ResolveError> {
        self.resolve_layers(resolver, target, &[requires]).await
    }

    pub(crate) async fn resolve_layers(
        &self,
        resolver: &Resolver,
        target: &Target,
        layers: &[&[&str]],
    ) -> Result<Lock, ResolveError> {
        self.resolve_layers_at(resolver, target, layers, SystemTime::now()).await
    }

    /// Resolves a list of build requirements at another time.
    pub(crate) async fn resolve_at(
        &self,
        resolver: &Resolver,
        target: &Target,
        requires: &[&str],
        now: SystemTime,
    ) -> Result<Lock, ResolveError> {
        self.resolve_layers_at(resolver, target, &[requires], now).await
    }

    async fn resolve_layers_at(
        &self,
        resolver: &Resolver,
        target: &Target,
        layers: &[&[&str]],
        now: SystemTime,
    ) -> Result<Lock, ResolveError> {
        let list = |list: &&[&str]| list.iter().map(|&r| r.to_owned()).collect();
        let wanted =
            Requirements { layers: layers.iter().map(list).collect(), ..Requirements::default() };
        resolver.resolve(target, Arch::X86_64, &self.farm, wanted, now).await
    }

    /// Refreshes; an error as text.
    pub(crate) async fn refresh(
        &self,
        resolver: &Resolver,
        target: &Target,
        older: AgePolicy,
    ) -> Result<bool, String> {
        let result = resolver.refresh(target, Arch::X86_64, older, SystemTime::now()).await;
        result
            .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    }

    /// Makes the packages of a served directory the farm's own.
    pub(crate) fn accept(&self, repository: &str) {
        self.accept_files(&self.rpms(repository));
    }

    /// Makes some packages the farm's own.
    pub(crate) fn accept_files(&self, paths: &[PathBuf]) {
        let mut farm = self.farm.packages.lock();
        farm.0 += 1;
        for path in paths {
            let bytes = fs::read(path).unwrap();
            let digest = self.blobs.put(&bytes).unwrap();
            let file = PackageFile { digest, size: bytes.len() as u64, href: "x.rpm".into() };
            let fragments = Fragments::of_rpm(path, &file).unwrap();
            let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
            farm.1.push(FarmPackage {
                nevra: stem.parse().unwrap(),
                digest,
                repodata: self.blobs.put(&fragments.to_bytes()).unwrap(),
            });
        }
    }

    /// How often a solver got all of the farm's own packages, and not what had changed, since the
    /// last call.
    pub(crate) fn wholes(&self) -> usize {
        self.farm.whole.swap(0, Ordering::Relaxed)
    }

    /// Takes the farm's own packages away.
    pub(crate) fn forget(&self) {
        let mut farm = self.farm.packages.lock();
        farm.0 += 1;
        farm.1.clear();
    }

    pub(crate) fn stop(&self) {
        self.server.abort();
    }

    /// How many requests there were since the last call.
    pub(crate) fn requests(&self) -> usize {
        self.requests.swap(0, Ordering::Relaxed)
    }
}

fn fault(faults: &Mutex<Vec<(&'static str, Fault)>>, path: &str) -> Option<Fault> {
    let mut faults = faults.lock();
    let (_, fault) = faults.iter_mut().find(|(end, _)| path.ends_with(end))?;
    let now = *fault;
    if let Fault::Unavailable(left) = fault {
        *left = left.checked_sub(1)?;
    }
    Some(now)
}

async fn respond(fault: Option<Fault>, request: Request, next: Next) -> Response {
    match fault {
        None => with_tag(request, next).await,
        Some(Fault::Hang) => std::future::pending().await,
        Some(Fault::Unavailable(_)) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Some(Fault::Redirect(to)) => (StatusCode::FOUND, [(LOCATION, to)]).into_response(),
    }
}

/// Answers with an entity tag, as most servers do; `ServeDir` sends none.
async fn with_tag(request: Request, next: Next) -> Response {
    let known = request.headers().get(IF_NONE_MATCH).cloned();
    let (mut parts, body) = next.run(request).await.into_parts();
    let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let tag: HeaderValue = format!("\"{}\"", Sha256::compute(&bytes)).parse().unwrap();
    if known.as_ref() == Some(&tag) {
        return StatusCode::NOT_MODIFIED.into_response();
    }
    parts.headers.insert(ETAG, tag);
    Response::from_parts(parts, bytes.into())
}

/// The names of each layer's packages, the bootstrap's first.
pub(crate) fn names(lock: &Lock) -> Vec<Vec<String>> {
    let names = |packages: &[rpmfarm_core::lock::LockedPackage]| {
        packages.iter().map(|p| format!("{}-{}", p.nevra.name, p.nevra.evr.version)).collect()
    };
    std::iter::once(&lock.bootstrap)
        .chain(&lock.layers)
        .map(|layer| names(layer.packages()))
        .collect()
}

/// The digest of a file.
pub(crate) fn digest(path: &Path) -> Sha256 {
    Sha256::compute(&fs::read(path).unwrap())
}
