//! Channels in a bucket, read as plain files: by dnf over HTTP, and after the publisher was killed at
//! each of its requests.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use axum::Router;
use rpmfarm_coordinator::publish::{
    BucketView, ChannelPointer, PublishedPackage, ViewError, ViewOutcome,
};
use rpmfarm_coordinator::s3::{self, Bucket, S3Settings};
use rpmfarm_lab::serve::s3::{LastRequest, S3Server};
use rpmfarm_rpmfile::verify_detached;
use tempfile::TempDir;
use tokio::sync::OnceCell;
use tower_http::services::ServeDir;

use crate::clients::{dnf, text};
use crate::farm::{CHANNEL, Farm, Page, TARGET, names_in, run};

/// Where the farm itself would be reached.
const TREE: &str = "http://farm.example/repo";

/// A farm, a store with a bucket, and a web server for what lies in the bucket.
struct Scene {
    dir: TempDir,
    farm: Farm,
    store: S3Server,
    settings: S3Settings,
    bucket: OnceCell<Bucket>,
    packages: Vec<PublishedPackage>,
    url: String,
}

impl Scene {
    async fn new(ignores_preconditions: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let objects = dir.path().join("s3");
        let store = S3Server::start(&objects, &["farm"], ignores_preconditions).await.unwrap();
        let settings = S3Settings {
            endpoint: Some(store.url().parse().unwrap()),
            region: "us-east-1".into(),
            credentials: Some(store.write_key(dir.path()).unwrap()),
            single_writer: false,
        };
        let farm = Farm::new(dir.path());
        let packages = farm.packages(&["hello", "world"]);
        let router = Router::new().fallback_service(ServeDir::new(objects.join("farm")));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/repos", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let bucket = OnceCell::new();
        Self { dir, farm, store, settings, bucket, packages, url }
    }

    /// Publishes so many of the packages on the farm's own disk.
    async fn publish(&self, count: usize) {
        let request = self.farm.request(&self.packages[..count]);
        self.farm.publisher().publish(request, &self.farm.signer).await.unwrap();
    }

    async fn bucket(&self) -> Bucket {
        let open = async || s3::open(&"s3://farm/repos".parse().unwrap(), &self.settings).await;
        self.bucket.get_or_init(async || open().await.unwrap()).await.clone()
    }

    /// The view of a publisher that has just started.
    async fn view(&self, farm: &str) -> BucketView {
        let addresses = Some((TREE, self.url.as_str()));
        BucketView::new(self.farm.repos(), self.bucket().await, farm, addresses)
    }

    /// Where the files of the bucket lie.
    fn objects(&self) -> PathBuf {
        self.dir.path().join("s3/farm/repos")
    }

    fn repository(&self) -> PathBuf {
        self.objects().join(TARGET).join(CHANNEL).join("x86_64/os")
    }

    /// The packages that a client sees, all files and the signature checked.
    fn seen(&self) -> Vec<String> {
        let page = Page::read(&self.repository()).unwrap();
        let signature = page.signature();
        verify_detached(page.xml.as_bytes(), &signature, &self.farm.certs(), SystemTime::now())
            .unwrap();
        page.follow().unwrap()
    }

    fn pointer(&self) -> ChannelPointer {
        let path = self.objects().join(TARGET).join(CHANNEL).join("generation.json");
        serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
    }

    /// Copies all objects, as a bucket that another run begins with.
    fn copy(&self, from: &str, to: &str) {
        let path = |name: &str| self.dir.path().join(name);
        let _ = fs::remove_dir_all(path(to));
        run(Command::new("cp").arg("-a").arg(path(from)).arg(path(to)));
    }

    async fn dnf(&self, arguments: &[&str]) -> String {
        let dir = tempfile::tempdir_in(self.dir.path()).unwrap();
        let output = dnf(dir.path(), &self.url, arguments).await;
        assert!(output.status.success(), "{}", text(&output));
        text(&output)
    }
}

#[tokio::test]
async fn dnf_installs_from_a_bucket_over_plain_http() {
    let scene = Scene::new(false).await;
    let view = scene.view("one").await;
    assert_eq!(view.show(TARGET, CHANNEL).await.unwrap(), ViewOutcome::Nothing);
    scene.publish(1).await;
    assert_eq!(view.show(TARGET, CHANNEL).await.unwrap(), ViewOutcome::Shown(1));
    assert_eq!(view.show(TARGET, CHANNEL).await.unwrap(), ViewOutcome::Unchanged(1));
    scene.publish(3).await;
    let _ = scene.store.take_count();
    assert_eq!(view.show(TARGET, CHANNEL).await.unwrap(), ViewOutcome::Shown(2));
    let all = scene.packages.len();
    assert_eq!(all, 3);

    let installed = scene.dnf(&["install", "hello", "world"]).await;
    assert!(installed.contains("Complete!"), "{installed}");
    let debug = ["--enablerepo=lab-testing-debug", "--enablerepo=lab-testing-source", "repoquery"];
    assert!(scene.dnf(&debug).await.contains("made-0:1-1.src"));
    assert_eq!(scene.pointer().generation, 2);
    // The signature of the page before goes when the next pass looks again.
    let page = Page::read(&scene.repository()).unwrap();
    let own = fs::read_to_string(scene.farm.repository("os").join("repodata/repomd.xml.asc"));
    let own = own.unwrap();
    assert_ne!(page.signature(), own);
    assert_eq!(view.show(TARGET, CHANNEL).await.unwrap(), ViewOutcome::Unchanged(2));
    assert_eq!(page.signature(), own);
}

#[tokio::test]
async fn readers_see_the_old_or_the_new_when_the_publisher_is_killed_at_any_request() {
    let scene = Scene::new(false).await;
    scene.publish(1).await;
    scene.view("one").await.show(TARGET, CHANNEL).await.unwrap();
    scene.publish(3).await;
    scene.copy("s3", "before");
    let old = scene.seen();
    let view = scene.view("one").await;
    let _ = scene.store.take_count();
    view.show(TARGET, CHANNEL).await.unwrap();
    let (requests, new) = (scene.store.take_count(), scene.seen());
    assert_ne!(old, new);
    let (mut met, mut claimed) = (0, 0);
    // A request that is done and not answered leaves what the next one finds: only for the last there
    // is none.
    let cuts = (0..requests).map(|cut| (cut, LastRequest::Lost));
    for (cut, last) in cuts.chain([(requests - 1, LastRequest::Done)]) {
        scene.copy("before", "s3");
        let view = scene.view("one").await;
        scene.store.cut_after(cut, last);
        view.show(TARGET, CHANNEL).await.unwrap_err();
        scene.store.restore();
        let seen = scene.seen();
        assert!(seen == old || seen == new, "cut after {cut}: {seen:?}");
        claimed += usize::from(scene.pointer().next == Some(2));
        // Between the signature and its page, where a client would refuse both: dnf does not.
        let signature = Page::read(&scene.repository()).unwrap().signature();
        let before = "before/farm/repos/lab/testing/x86_64/os/repodata/repomd.xml.asc";
        let is_old = signature == fs::read_to_string(scene.dir.path().join(before)).unwrap();
        if seen == old && !is_old && met == 0 {
            met += 1;
            assert!(!scene.dnf(&["repoquery"]).await.contains("world"));
        }
        let view = scene.view("one").await;
        // A client may be at the old page when the next publisher takes over.
        let shown = view.show(TARGET, CHANNEL).await.unwrap();
        let answered = [ViewOutcome::Shown(2), ViewOutcome::Unchanged(2)];
        assert!(answered.contains(&shown), "{shown:?}");
        assert_eq!(scene.seen(), new);
        assert_eq!((scene.pointer().generation, scene.pointer().next), (2, None));
    }
    assert_eq!(met, 1, "the state between the two was reached");
    assert!(claimed > 4, "{claimed}");
}

#[tokio::test]
async fn a_second_publisher_on_one_bucket_is_refused() {
    let scene = Scene::new(false).await;
    scene.publish(1).await;
    let first = scene.view("one").await;
    first.show(TARGET, CHANNEL).await.unwrap();
    let before = scene.pointer();
    let other = scene.view("two").await;
    let error = other.show(TARGET, CHANNEL).await.unwrap_err();
    assert!(matches!(&error, ViewError::OtherFarm { other, .. } if other == "one"), "{error}");
    assert!(error.to_string().contains("another prefix"), "{error}");
    assert_eq!(scene.pointer(), before);

    // Two publishers of one farm, as after a takeover: whoever loses fails, and the bucket is whole.
    // Both can lose, when one claims the pointer and the other one exchanges the signature; then the
    // next pass completes it.
    let old = scene.seen();
    scene.publish(3).await;
    let second = scene.view("one").await;
    let (one, two) = tokio::join!(first.show(TARGET, CHANNEL), second.show(TARGET, CHANNEL));
    let lost: Vec<ViewError> = [one, two].into_iter().filter_map(Result::err).collect();
    assert!(lost.iter().all(|lost| matches!(lost, ViewError::Busy { .. })), "{lost:?}");
    if lost.len() == 2 {
        assert!(scene.seen() == old || scene.seen().len() == 2, "{:?}", scene.seen());
        first.show(TARGET, CHANNEL).await.unwrap();
    }
    assert_eq!((scene.seen().len(), scene.pointer().generation), (2, 2));

    // Data from before: what clients have seen is not taken back.
    let current = scene.farm.channel().join("current");
    fs::remove_file(&current).unwrap();
    std::os::unix::fs::symlink(".generations/1", &current).unwrap();
    let error = first.show(TARGET, CHANNEL).await.unwrap_err();
    assert!(matches!(error, ViewError::Ahead { there: 2, here: 1, .. }), "{error}");
    assert_eq!(names_in(&scene.repository()).len(), 2);
}

#[tokio::test]
async fn a_store_that_ignores_preconditions_is_refused() {
    let scene = Scene::new(true).await;
    let address = "s3://farm/repos".parse().unwrap();
    let error = s3::open(&address, &scene.settings).await.unwrap_err().to_string();
    for part in ["s3://farm/repos", "If-None-Match", "--single-writer"] {
        assert!(error.contains(part), "{error}");
    }
    let probes = |dir: &Path| fs::read_dir(dir.join("probe")).map_or(0, Iterator::count);
    assert_eq!(probes(&scene.objects()), 0, "nothing is left of the probe");
    // Somebody promises to be alone.
    let settings = S3Settings { single_writer: true, ..scene.settings.clone() };
    let bucket = s3::open(&address, &settings).await.unwrap();
    scene.publish(1).await;
    let view = BucketView::new(scene.farm.repos(), bucket.clone(), "one", None);
    assert_eq!(view.show(TARGET, CHANNEL).await.unwrap(), ViewOutcome::Shown(1));
    assert_eq!(scene.seen(), ["hello"]);
    // Even so, what is there is compared first.
    let other = BucketView::new(scene.farm.repos(), bucket, "two", None);
    other.show(TARGET, CHANNEL).await.unwrap_err();
}
