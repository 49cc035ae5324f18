//! A farm whose passes the test drives, and its upstream.

use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use clap::Parser as _;
use rpmfarm_coordinator::clock::now_us;
use rpmfarm_coordinator::config::Config;
use rpmfarm_coordinator::parts::Parts;
use rpmfarm_coordinator::start::open;
use rpmfarm_coordinator::store::{Build, BuildFilter, NewTracked, PushFilter, PushRow, Tracked};
use rpmfarm_core::Stage;

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
        Self::of(Upstream::start().await, |port| target(port, track)).await
    }

    /// Packages with modifications on the branch `a9` of `autopatch-NAME.git`, in a farm whose
    /// `[track]` has more lines.
    pub(crate) async fn modified(track: &str) -> Self {
        let text = |port| {
            let url = format!("http://127.0.0.1:{port}/rpms/autopatch-{{name}}.git");
            let modifications = format!("[modifications]\nurl = \"{url}\"\nref = \"a9\"\n");
            target(port, track) + &modifications
        };
        Self::of(Upstream::start().await, text).await
    }

    /// Packages that are followed by their tags.
    pub(crate) async fn tagged() -> Self {
        let text = |port| target(port, "").replace("\"c9s\"", "\"imports/c9/{nvr}\"");
        Self::of(Upstream::start().await, text).await
    }

    /// With a target's file that knows the server's port.
    pub(crate) async fn of(upstream: Upstream, text: impl Fn(u16) -> String) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let targets = dir.path().join("targets");
        std::fs::create_dir(&targets).unwrap();
        std::fs::write(targets.join("lab.toml"), text(upstream.port)).unwrap();
        let secrets = dir.path().join("hooks.toml");
        let forges =
            ["github", "gitlab", "gitea", "pagure"].map(|f| format!("{f} = [\"{SECRET}\"]\n"));
        std::fs::write(&secrets, format!("[lab]\n{}", forges.concat())).unwrap();
        std::fs::set_permissions(&secrets, std::fs::Permissions::from_mode(0o600)).unwrap();
        let farm = Self::open(dir.path()).await;
        Self { farm, upstream, dir }
    }

    async fn open(dir: &std::path::Path) -> Parts {
        let path = |name: &str| dir.join(name).display().to_string();
        let config = Config::parse_from([
            "rpmfarm-coordinator",
            "--data",
            &path("data"),
            "--targets",
            &path("targets"),
            "--hook-secrets",
            &path("hooks.toml"),
        ]);
        let (farm, words) = open(&config, "http://127.0.0.1:1").await.unwrap();
        // Nobody listens.
        std::mem::forget(words);
        farm
    }

    /// The same farm in another process.
    pub(crate) async fn restart(self) -> Self {
        let Self { farm, upstream, dir } = self;
        farm.store.close().await;
        drop(farm);
        let farm = Self::open(dir.path()).await;
        Self { farm, upstream, dir }
    }

    /// Follows packages.
    pub(crate) async fn track(&self, packages: &[&str]) {
        let new: Vec<NewTracked> = packages
            .iter()
            .map(|package| NewTracked {
                package: (*package).into(),
                git_ref: String::new(),
                build_first: false,
                due_us: 0,
            })
            .collect();
        let added = self.farm.store.track("lab", &new, "tester", now_us()).await.unwrap();
        assert_eq!(added.len(), packages.len());
    }

    pub(crate) async fn tracked(&self, package: &str) -> Tracked {
        self.farm.store.tracked("lab", package).await.unwrap().unwrap()
    }

    /// Has packages looked at, and waits until they were.
    pub(crate) async fn look(&self, packages: &[&str]) {
        let mut before = Vec::new();
        for package in packages {
            before.push(self.tracked(package).await.looks);
            assert!(self.farm.store.look_now("lab", package).await.unwrap());
        }
        self.wait_for_looks(packages, &before).await;
    }

    /// Runs the pass `poll` until each package was looked at once more than before.
    pub(crate) async fn wait_for_looks(&self, packages: &[&str], before: &[i64]) {
        let begun = Instant::now();
        for (package, before) in packages.iter().zip(before) {
            while self.tracked(package).await.looks <= *before {
                assert!(begun.elapsed() < Duration::from_secs(60), "{package} is not looked at");
                self.poll().await.unwrap();
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }

    /// Imports a build.
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
            let modification = self.farm.store.modification_ref(build.id()).await.unwrap();
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
        let mut builds = self.farm.store.builds(&filter).await.unwrap();
        builds.reverse();
        builds
    }

    /// All pushes, oldest first.
    pub(crate) async fn pushes(&self) -> Vec<PushRow> {
        let filter = PushFilter { limit: 5000, ..Default::default() };
        let mut pushes = self.farm.store.pushes(&filter).await.unwrap();
        pushes.reverse();
        pushes
    }
}

pub(crate) fn target(port: u16, track: &str) -> String {
    format!(
        r#"
        name = "lab"
        arches = ["x86_64"]
        dist = ".lab1"
        channels = ["testing"]
        signing_key = "lab"
        bootstrap = ["rpm"]
        base = ["rpm-build"]
        private_hosts = ["127.0.0.1:{port}"]
        [upstream]
        url = "http://127.0.0.1:{port}/rpms/{{name}}.git"
        ref = "c9s"
        [[repositories]]
        id = "lab"
        baseurl = "http://127.0.0.1:{port}/repo/"
        keys = ["lab.asc"]
        [track]
        spacing_seconds = 0
        host_connections = 16
        host_requests = 1000
        {track}
        "#
    )
}
