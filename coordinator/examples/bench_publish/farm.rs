//! A farm of one process with a real signer, whose builds are written into its database as accepted
//! and signed.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Parser as _;
use rpm::signature::pgp::Signer;
use rpmfarm_coordinator::clock;
use rpmfarm_coordinator::config::Config;
use rpmfarm_coordinator::parts::Parts;
use rpmfarm_coordinator::publish::PublishStage;
use rpmfarm_coordinator::start;
use rpmfarm_coordinator::store::Signature;
use rpmfarm_core::{Arch, BuildId, Sha256, Stage};
use rpmfarm_lab::fixtures::TargetFile;
use sqlx::any::AnyConnectOptions;
use sqlx::{AnyConnection, AssertSqlSafe, ConnectOptions as _, Executor as _};
use tower_http::services::ServeDir;

use crate::packages::{self, MadeBuild, MadePackage};

/// The name of the target, of its key, and of the first channel.
pub(crate) const TARGET: &str = "lab";
pub(crate) const CHANNEL: &str = "testing";

pub(crate) struct BenchFarm {
    pub(crate) parts: Parts,
    pub(crate) directory: PathBuf,
    arches: Vec<Arch>,
    signer: Child,
    key: Signer,
    /// How many builds there are.
    builds: usize,
}

impl Drop for BenchFarm {
    fn drop(&mut self) {
        let _ = self.signer.kill();
        let _ = self.signer.wait();
    }
}

impl BenchFarm {
    /// Starts a farm in a directory, with lines of its target file.
    pub(crate) async fn start(
        directory: &Path,
        signer: &Path,
        arches: &[Arch],
        lines: &str,
    ) -> anyhow::Result<Self> {
        let data = directory.join("data");
        fs::create_dir_all(&data)?;
        let secret = secret_key(&directory.join("gpg"))?;
        let key = Signer::from_asc(&secret)?;
        let signer = serve(signer, &data, &secret).context("the signer does not start")?;
        let address = distribution(directory).await?;
        let words: Vec<String> = arches.iter().map(|arch| format!("\"{arch}\"")).collect();
        TargetFile::small(&address)
            .unsigned()
            .with(&format!("arches = [{}]\n{lines}", words.join(", ")))
            .write(&directory.join("targets"));
        let path = |name: &str| directory.join(name).display().to_string();
        let (at, targets) = (path("data"), path("targets"));
        let config = ["rpmfarm-coordinator", "--data", &at, "--targets", &targets];
        let parts = start::open(&Config::parse_from(config), "http://127.0.0.1:1").await?.0;
        let (directory, arches) = (directory.to_owned(), arches.to_vec());
        Ok(Self { parts, directory, arches, signer, key, builds: 0 })
    }

    /// Makes builds, which nobody knows of yet.
    pub(crate) fn make(&mut self, builds: usize) -> anyhow::Result<Vec<(BuildId, MadeBuild)>> {
        let numbers = self.builds..self.builds + builds;
        self.builds = numbers.end;
        let ids = numbers.clone().map(|number| BuildId(i64::try_from(number).unwrap_or(0) + 1));
        let made = packages::make(numbers, &self.arches, &self.parts.blobs, &self.key)?;
        Ok(ids.zip(made).collect())
    }

    /// Records that builds are accepted and signed, each of a request of its own. They are
    /// published when they [end](Self::end).
    pub(crate) async fn record(&self, builds: &[(BuildId, MadeBuild)]) -> anyhow::Result<()> {
        let database = self.directory.join("data/farm.db");
        let url = format!("sqlite://{}", database.display());
        let mut connection = url.parse::<AnyConnectOptions>()?.connect().await?;
        connection.execute("BEGIN IMMEDIATE").await?;
        for (id, build) in builds {
            for row in rows(*id, build, &self.arches) {
                run(&mut connection, row).await?;
            }
        }
        connection.execute("COMMIT").await?;
        let packages = || builds.iter().flat_map(|(_, build)| &build.packages);
        let signatures: Vec<(Sha256, Signature)> = packages().map(signature).collect();
        let stamp =
            |package: &MadePackage| Some((package.digest, self.parts.blobs.stamp(package.digest)?));
        let proofs: Vec<_> = packages().filter_map(stamp).collect();
        let now = clock::now();
        Ok(self.parts.store.signature_insert(TARGET, &signatures, &proofs, now).await?)
    }

    /// Ends builds that are recorded: from now on they wait to be published.
    pub(crate) async fn end(&self, builds: impl Iterator<Item = BuildId>) -> anyhow::Result<()> {
        Ok(self.parts.store.reindex(builds, clock::now()).await?)
    }

    /// Publishes all that waits.
    pub(crate) async fn publish(&self, stage: &PublishStage) -> anyhow::Result<()> {
        let store = self.parts.fenced(Stage::Publish).context("there is no other coordinator")?;
        stage.publish_target(&store, TARGET).await
    }

    /// Makes builds and publishes them, in as many steps as the stage takes.
    pub(crate) async fn fill(
        &mut self,
        stage: &PublishStage,
        builds: usize,
    ) -> anyhow::Result<Vec<(BuildId, MadeBuild)>> {
        let made = self.make(builds)?;
        self.record(&made).await?;
        self.end(made.iter().map(|(id, _)| *id)).await?;
        while !self.parts.store.build_list_accepted_of_target(TARGET).await?.is_empty() {
            self.publish(stage).await?;
        }
        Ok(made)
    }

    /// The directory of the channel.
    pub(crate) fn channel(&self) -> PathBuf {
        self.parts.repos.join(TARGET).join(CHANNEL)
    }
}

fn signature(package: &MadePackage) -> (Sha256, Signature) {
    let MadePackage { digest, size, repodata, .. } = package;
    let signature = Signature { signed_digest: *digest, signed_size: *size, repodata: *repodata };
    (unsigned(package), signature)
}

/// The digest of the package before it was signed, which nothing reads.
fn unsigned(package: &MadePackage) -> Sha256 {
    Sha256::compute(package.nevra.to_string().as_bytes())
}

async fn run(connection: &mut AnyConnection, statement: String) -> anyhow::Result<()> {
    sqlx::query(AssertSqlSafe(statement)).persistent(false).execute(connection).await?;
    Ok(())
}

/// The facts of an accepted build, in SQL.
fn rows(id: BuildId, build: &MadeBuild, arches: &[Arch]) -> Vec<String> {
    let (id, name, now) = (id.0, &build.name, clock::now().as_us());
    let digest = "c".repeat(64);
    let mut rows = vec![
        format!(
            "INSERT INTO builds (id, batch, target, package, git_ref, submitter, request_key,
             created_us, priority) VALUES ({id}, {id}, '{TARGET}', '{name}', '', 'ann', '', {now},
             'mass')"
        ),
        format!("INSERT INTO open_builds (build) VALUES ({id})"),
        format!(
            "INSERT INTO imports (build, url, commit_id, subject, bundle, at_us)
             VALUES ({id}, 'http://git', 'c0ffee', 'x', '{digest}', {now})"
        ),
        format!(
            "INSERT INTO srpms (build, digest, size, nevra, requires, conflicts, predicts, dynamic)
             VALUES ({id}, '{digest}', 1, '{name}-1.0-1.src', '[]', '[]', '[]', 0)"
        ),
    ];
    let srpm = (0, "srpm", arches[0]);
    let tasks = arches.iter().enumerate().map(|(place, arch)| (place + 1, "build", *arch));
    for (place, kind, arch) in std::iter::once(srpm).chain(tasks) {
        let task = 10 * id + i64::try_from(place).unwrap_or(0);
        rows.extend([
            format!(
                "INSERT INTO tasks (id, build, kind, arch, created_us)
                 VALUES ({task}, {id}, '{kind}', '{arch}', {now})"
            ),
            format!(
                "INSERT INTO attempts (id, task, epoch, worker, started_us)
                 VALUES ({task}, {task}, 1, 'w', {now})"
            ),
            format!(
                "INSERT INTO attempt_ends (attempt, outcome, report, at_us)
                 VALUES ({task}, 'succeeded', 'null', {now})"
            ),
            format!(
                "INSERT INTO acceptances (task, attempt, rpmbuild_ms, at_us)
                 VALUES ({task}, {task}, 1, {now})"
            ),
        ]);
        let made = build.packages.iter().filter(|made| kind == "build" && made.arch == arch);
        rows.extend(made.map(|made| {
            let (nevra, unsigned, repodata) = (&made.nevra, unsigned(made), made.repodata);
            format!(
                "INSERT INTO packages (target, nevra, build, task, arch, digest, size, repodata)
                 VALUES ('{TARGET}', '{nevra}', {id}, {task}, '{arch}', '{unsigned}', {},
                 '{repodata}')",
                made.size
            )
        }));
    }
    rows
}

/// A secret key of gpg, in a home of its own.
fn secret_key(home: &Path) -> anyhow::Result<String> {
    fs::create_dir_all(home)?;
    fs::set_permissions(home, fs::Permissions::from_mode(0o700))?;
    let gpg = |arguments: &[&str]| -> anyhow::Result<Vec<u8>> {
        let output = Command::new("gpg")
            .args(["--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""])
            .arg("--homedir")
            .arg(home)
            .args(arguments)
            .output()?;
        ensure!(output.status.success(), "gpg: {}", String::from_utf8_lossy(&output.stderr));
        Ok(output.stdout)
    };
    gpg(&["--quick-gen-key", "farm@example.com", "rsa2048", "sign", "never"])?;
    let secret = gpg(&["--armor", "--export-secret-keys"])?;
    let _ = Command::new("gpgconf").env("GNUPGHOME", home).args(["--kill", "all"]).status();
    Ok(String::from_utf8(secret)?)
}

/// Starts the signer beside the coordinator's data.
fn serve(program: &Path, data: &Path, secret: &str) -> anyhow::Result<Child> {
    let keys = data.join("keys");
    fs::create_dir_all(&keys)?;
    fs::set_permissions(&keys, fs::Permissions::from_mode(0o700))?;
    let key = keys.join(format!("{TARGET}.key"));
    fs::write(&key, secret)?;
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600))?;
    let socket = data.join("signer.sock");
    let mut child = Command::new(program)
        .args(["serve", "--bind", "lab=lab", "--keys"])
        .arg(&keys)
        .arg("--audit-log")
        .arg(data.join("audit.jsonl"))
        .arg("--socket")
        .arg(&socket)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()?;
    while std::os::unix::net::UnixStream::connect(&socket).is_err() {
        ensure!(child.try_wait()?.is_none(), "{} ended", program.display());
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(child)
}

/// Serves an empty repository as the distribution, and returns its address.
async fn distribution(directory: &Path) -> anyhow::Result<String> {
    let repository = directory.join("www/repo/x86_64");
    fs::create_dir_all(&repository)?;
    let status = Command::new("createrepo_c").arg("--quiet").arg(&repository).status()?;
    ensure!(status.success(), "createrepo_c failed");
    for arch in ["aarch64", "ppc64le"] {
        std::os::unix::fs::symlink("x86_64", directory.join("www/repo").join(arch))?;
    }
    let www = axum::Router::new().fallback_service(ServeDir::new(directory.join("www")));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    tokio::spawn(async move { axum::serve(listener, www).await });
    Ok(address)
}
