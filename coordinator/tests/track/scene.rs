//! A farm whose passes the test drives, and its upstream.

use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use rpmfarm_coordinator::clock;
use rpmfarm_coordinator::parts::Parts;
use rpmfarm_coordinator::store::{
    Build, BuildFilter, NewTracked, PushFilter, PushRow, TrackedPackage,
};
use rpmfarm_core::{Stage, Timestamp};
use rpmfarm_lab::fixtures::TargetFile;

use crate::common::farms;
use crate::upstream::Upstream;

/// The secret of every forge.
pub(crate) const SECRET: &str = "a secret of the tests";

pub(crate) struct Scene {
    pub(crate) farm: Parts,
    pub(crate) upstream: Upstream,
    pub(crate) dir: tempfile::TempDir,
}

impl Scene {
    pub(crate) async fn new() -> Self {
        Self::with("").await
    }

    /// With more lines of the target's `[track]`.
    pub(crate) async fn with(track: &str) -> Self {
        Self::of(Upstream::start().await, |port| target(port).with(&format!("[track]\n{track}")))
            .await
    }

    /// Packages with modifications on the branch `a9` of `autopatch-NAME.git`, in a farm whose
    /// `[track]` has more lines.
    pub(crate) async fn modified(track: &str) -> Self {
        let file = |port| {
            let url = format!("http://127.0.0.1:{port}/rpms/autopatch-{{name}}.git");
            let modifications = format!("[modifications]\nurl = \"{url}\"\nref = \"a9\"\n");
            target(port).with(&format!("{modifications}[track]\n{track}"))
        };
        Self::of(Upstream::start().await, file).await
    }

    /// Packages that are followed by their tags.
    pub(crate) async fn tagged() -> Self {
        let file = |port| target(port).with("upstream.ref = \"imports/c9/{nvr}\"");
        Self::of(Upstream::start().await, file).await
    }

    /// With a target's file that knows the server's port.
    pub(crate) async fn of(upstream: Upstream, file: impl Fn(u16) -> TargetFile) -> Self {
        let dir = tempfile::tempdir().unwrap();
        file(upstream.port).write(&dir.path().join("targets"));
        let secrets = dir.path().join("hooks.toml");
        let forges =
            ["github", "gitlab", "gitea", "pagure"].map(|f| format!("{f} = [\"{SECRET}\"]\n"));
        std::fs::write(&secrets, format!("[lab]\n{}", forges.concat())).unwrap();
        std::fs::set_permissions(&secrets, std::fs::Permissions::from_mode(0o600)).unwrap();
        let farm = Self::open(dir.path()).await;
        Self { farm, upstream, dir }
    }

    async fn open(dir: &std::path::Path) -> Parts {
        let secrets = dir.join("hooks.toml").display().to_string();
        farms::open(dir, &["--hook-secrets", &secrets]).await
    }

    /// The same farm in another process.
    pub(crate) async fn restart(self) -> Self {
        let Self { farm, upstream, dir } = self;
        farm.store.close().await;
        drop(farm);
        let farm = Self::open(dir.path()).await;
        Self { farm, upstream, dir }
    }

    pub(crate) async fn track(&self, packages: &[&str]) {
        let new: Vec<NewTracked> = packages
            .iter()
            .map(|package| NewTracked {
                package: (*package).into(),
                git_ref: String::new(),
                build_first: false,
                due: Timestamp::ZERO,
            })
            .collect();
        let added =
            self.farm.store.tracked_insert("lab", &new, "tester", clock::now()).await.unwrap();
        assert_eq!(added.len(), packages.len());
    }

    pub(crate) async fn tracked(&self, package: &str) -> TrackedPackage {
        self.farm.store.tracked_fetch("lab", package).await.unwrap().unwrap()
    }

    /// Has packages polled, and waits until they were.
    pub(crate) async fn poll_packages(&self, packages: &[&str]) {
        let mut before = Vec::new();
        for package in packages {
            before.push(self.tracked(package).await.polls);
            assert!(self.farm.store.tracked_poll_now("lab", package).await.unwrap());
        }
        self.wait_for_polls(packages, &before).await;
    }

    /// Runs the pass `poll` until each package was polled once more than before.
    pub(crate) async fn wait_for_polls(&self, packages: &[&str], before: &[i64]) {
        let begun = Instant::now();
        for (package, before) in packages.iter().zip(before) {
            while self.tracked(package).await.polls <= *before {
                assert!(begun.elapsed() < Duration::from_secs(60), "{package} is not polled");
                self.poll().await.unwrap();
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }

    pub(crate) async fn import(&self, build: &Build) -> anyhow::Result<()> {
        let store = self.farm.fenced(Stage::Import).expect("there is no other coordinator");
        self.farm.import().import(&store, build).await
    }

    /// Runs the pass `poll` once.
    pub(crate) async fn poll(&self) -> anyhow::Result<()> {
        self.farm.runner().pass(&self.farm.poll()).await
    }

    /// Git ref and modification of all builds, oldest first.
    pub(crate) async fn pairs(&self) -> Vec<(String, String)> {
        let mut pairs = Vec::new();
        for build in self.builds().await {
            let modification =
                self.farm.store.build_fetch_modification_ref(build.id).await.unwrap();
            pairs.push((build.git_ref, modification.unwrap_or_default()));
        }
        pairs
    }

    pub(crate) async fn decide(&self) {
        let farm = &self.farm;
        farm.runner().pass(&farm.decide()).await.unwrap();
    }

    /// Packages and refs of all builds, oldest first.
    pub(crate) async fn builds(&self) -> Vec<Build> {
        let filter = BuildFilter { limit: 5000, ..Default::default() };
        let mut builds = self.farm.store.build_list(&filter).await.unwrap();
        builds.reverse();
        builds
    }

    /// All pushes, oldest first.
    pub(crate) async fn pushes(&self) -> Vec<PushRow> {
        let filter = PushFilter { limit: 5000, ..Default::default() };
        let mut pushes = self.farm.store.push_list(&filter).await.unwrap();
        pushes.reverse();
        pushes
    }
}

/// A target whose upstream is at a port, polled as often as the test likes.
pub(crate) fn target(port: u16) -> TargetFile {
    let address = format!("127.0.0.1:{port}");
    TargetFile::small(&address).with(&format!(
        "[upstream]\nurl = \"http://{address}/rpms/{{name}}.git\"\nref = \"c9s\"\n\
         [track]\nspacing_seconds = 0\nhost_connections = 16\nhost_requests = 1000\n"
    ))
}
