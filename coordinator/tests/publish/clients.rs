//! dnf as the client, with everything checked that it can check.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use axum::Router;
use rpmfarm_coordinator::publish::{
    PublishRequest, PublishedPackage, RepomdSignature, RepomdSigner, SignError, router,
};
use rpmfarm_core::Arch;
use rpmfarm_core::signing::RepositoryId;
use rpmfarm_repodata::Compression;
use rpmfarm_rpmfile::join_detached;

use crate::farm::{CHANNEL, Farm, Gpg, TARGET, rpmbuild, run};

/// Serves the farm's tree on a port of loopback, and returns the URL of the tree.
async fn serve(farm: &Farm) -> String {
    let router = Router::new().nest_service("/repo", router(&farm.repos()).unwrap());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    format!("http://{address}/repo")
}

async fn fetch(url: &str) -> String {
    let url = url.to_owned();
    let get = move || run(Command::new("curl").args(["--fail", "--silent", "--show-error", &url]));
    tokio::task::spawn_blocking(get).await.unwrap()
}

/// Runs dnf on an empty root, with the `.repo` file that the farm hands out.
pub(crate) async fn dnf(dir: &Path, url: &str, arguments: &[&str]) -> Output {
    let file = fetch(&format!("{url}/{TARGET}/{TARGET}-{CHANNEL}.repo")).await;
    dnf_with(dir, file, arguments).await
}

/// The same, with a `.repo` file of the client's own.
async fn dnf_with(dir: &Path, file: String, arguments: &[&str]) -> Output {
    let repos = dir.join("yum.repos.d");
    fs::create_dir_all(&repos).unwrap();
    fs::write(repos.join("farm.repo"), file).unwrap();
    let mut command = Command::new("dnf");
    command
        .args(["--noplugins", "--assumeyes", "--releasever=1", "--refresh"])
        .arg(format!("--installroot={}", dir.join("root").display()))
        .arg(format!("--setopt=reposdir={}", repos.display()))
        .arg(format!("--setopt=cachedir={}", dir.join("cache").display()))
        .args(arguments);
    tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap()
}

pub(crate) fn text(output: &Output) -> String {
    [&output.stdout[..], &output.stderr[..]].map(String::from_utf8_lossy).concat()
}

#[tokio::test]
async fn dnf_installs_and_upgrades_with_all_checks_on() {
    for compression in [Compression::Gzip, Compression::Zstd] {
        let dir = tempfile::tempdir().unwrap();
        let farm = Farm::new(dir.path());
        let url = serve(&farm).await;
        let packages = farm.packages(&["hello.x86_64", "world", "hello-debuginfo.x86_64"]);
        let request = |count: usize| PublishRequest {
            base_url: url.clone(),
            compression,
            ..farm.request(&packages[..count])
        };
        let publisher = farm.publisher();
        publisher.publish(request(1), &farm.signer).await.unwrap();
        publisher.publish(request(packages.len()), &farm.signer).await.unwrap();

        let output = dnf(dir.path(), &url, &["install", "hello", "world"]).await;
        assert!(output.status.success(), "{}", text(&output));
        for name in ["hello", "world"] {
            let file = dir.path().join("root/usr/share").join(name);
            assert_eq!(fs::read_to_string(file).unwrap(), format!("{name}\n"));
        }
        let debug = ["--enablerepo=lab-testing-debug", "--enablerepo=lab-testing-source"];
        let output = dnf(dir.path(), &url, &[&debug[..], &["repoquery"]].concat()).await;
        let found = text(&output);
        for name in ["hello-debuginfo-0:1-1.x86_64", "made-0:1-1.src"] {
            assert!(found.contains(name), "{found}");
        }
        split(dir.path(), &farm, &url, PublishRequest { compression, ..farm.request(&packages) })
            .await;
    }
}

/// The channel becomes several repositories; dnf finds each package in its own, and installs from
/// all of them.
async fn split(dir: &Path, farm: &Farm, url: &str, request: PublishRequest) {
    let named = [("BaseOS", &["hello", "hello-debuginfo"][..]), ("AppStream", &["world", "made"])];
    let request = PublishRequest {
        base_url: url.to_owned(),
        compression: request.compression,
        ..farm.split(&request.packages, &named)
    };
    farm.publisher().publish(request, &farm.signer).await.unwrap();
    for (id, expected) in [
        ("BaseOS", "hello-0:1-1.x86_64"),
        ("BaseOS-debug", "hello-debuginfo-0:1-1.x86_64"),
        ("AppStream", "world-0:1-1.noarch"),
        ("AppStream-source", "made-0:1-1.src"),
    ] {
        let repository = format!("--repo=lab-testing-{id}");
        let output = dnf(dir, url, &["--quiet", &repository, "repoquery"]).await;
        let found = String::from_utf8_lossy(&output.stdout);
        assert_eq!(found.trim(), expected, "{id}: {}", text(&output));
    }
    let output = dnf(dir, url, &["reinstall", "hello", "world"]).await;
    let said = text(&output);
    assert!(output.status.success(), "{said}");
    for id in ["BaseOS", "AppStream"] {
        assert!(said.contains(&format!("lab-testing-{id}")), "{said}");
    }
}

/// While a target changes its key, a client that knows the old one alone and one that knows the new
/// one alone read the channel, and each installs what its key has signed. One that takes the key from
/// the farm installs all.
#[tokio::test]
async fn clients_of_either_key_go_on_while_the_key_changes() {
    let dir = tempfile::tempdir().unwrap();
    let farm = Farm::new(dir.path());
    let url = serve(&farm).await;
    let next = Gpg::generate(&dir.path().join("next"));
    let mut packages = farm.packages(&["hello"]);
    let rpms = rpmbuild(dir.path(), &["world"]);
    next.rpmsign(&rpms);
    packages.push(farm.admit(&rpms[0]));
    let request = PublishRequest {
        base_url: url.clone(),
        public_key: [&next.public_key[..], &farm.signer.public_key].concat(),
        ..farm.request(&packages)
    };
    let both = BothKeys(&next, &farm.signer);
    farm.publisher().publish(request, &both).await.unwrap();

    let file = fetch(&format!("{url}/{TARGET}/{TARGET}-{CHANNEL}.repo")).await;
    let farms_key = format!("{url}/{TARGET}/RPM-GPG-KEY-{TARGET}");
    for (name, key, own, other) in
        [("old", &farm.signer, "hello", "world"), ("new", &next, "world", "hello")]
    {
        let client = dir.path().join(name);
        fs::create_dir_all(&client).unwrap();
        let path = client.join("key.asc");
        fs::write(&path, &key.public_key).unwrap();
        let file = file.replace(&farms_key, &format!("file://{}", path.display()));
        assert!(file.contains("key.asc"), "{file}");
        let output = dnf_with(&client, file.clone(), &["install", own]).await;
        assert!(output.status.success(), "{name}: {}", text(&output));
        let output = dnf_with(&client, file, &["install", other]).await;
        assert!(!output.status.success(), "{name} does not know who signed {other}");
    }
    let output = dnf(dir.path(), &url, &["install", "hello", "world"]).await;
    assert!(output.status.success(), "{}", text(&output));
}

/// Signs with two keys, as a target does while it changes from one to the other.
struct BothKeys<'a>(&'a Gpg, &'a Gpg);

impl RepomdSigner for BothKeys<'_> {
    async fn sign(
        &self,
        place: &RepositoryId,
        repomd: &[u8],
    ) -> Result<RepomdSignature, SignError> {
        let (one, two) = (self.0.sign(place, repomd).await?, self.1.sign(place, repomd).await?);
        let armored = join_detached(&[one.armored, two.armored])?;
        Ok(RepomdSignature { armored, logged: None })
    }
}

#[tokio::test]
async fn dnf_refuses_a_page_that_was_changed() {
    let dir = tempfile::tempdir().unwrap();
    let farm = Farm::new(dir.path());
    let url = serve(&farm).await;
    let packages = farm.packages(&["hello"]);
    let request = PublishRequest { base_url: url.clone(), ..farm.request(&packages) };
    farm.publisher().publish(request, &farm.signer).await.unwrap();
    let page = farm.repository("os").join("repodata/repomd.xml");
    let changed = fs::read_to_string(&page).unwrap().replace("<revision>1", "<revision>2");
    fs::write(&page, changed).unwrap();
    let output = dnf(dir.path(), &url, &["install", "hello"]).await;
    assert!(!output.status.success() && text(&output).contains("GPG"), "{}", text(&output));
}

#[tokio::test]
async fn a_repository_is_without_what_is_kept_from_its_architecture() {
    let dir = tempfile::tempdir().unwrap();
    let farm = Farm::new(dir.path());
    let mut packages = farm.packages(&["words", "java"]);
    let arches = vec![Arch::X86_64, Arch::Aarch64];
    let publisher = farm.publisher();
    let listed = |arch: &str| {
        let repodata = farm.channel().join(arch).join("os/repodata");
        let primary = fs::read_dir(repodata).unwrap().map(|entry| entry.unwrap().path());
        let newest = primary.filter(|path| path.to_string_lossy().ends_with("primary.xml.gz"));
        let newest = newest.max_by_key(|path| path.metadata().unwrap().modified().unwrap());
        let text = run(Command::new("gzip").arg("-dc").arg(newest.unwrap()));
        ["java", "words"].map(|name| text.contains(&format!("<name>{name}</name>")))
    };
    let request = |packages: &[PublishedPackage]| PublishRequest {
        arches: arches.clone(),
        ..farm.request(packages)
    };
    publisher.publish(request(&packages), &farm.signer).await.unwrap();
    assert_eq!((listed("x86_64"), listed("aarch64")), ([true, true], [true, true]));
    // Nothing but its place has changed: that is a generation of its own.
    let java = packages.iter_mut().find(|package| package.nevra.name == "java").unwrap();
    java.without = vec![Arch::Aarch64];
    let published = publisher.publish(request(&packages), &farm.signer).await.unwrap();
    assert!(published.is_new);
    assert_eq!((listed("x86_64"), listed("aarch64")), ([true, true], [false, true]));
}
