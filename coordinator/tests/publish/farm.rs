//! A small farm for the tests: a key made by gpg, packages made by rpmbuild and signed by
//! rpmsign, a blob store and a publisher; and the eye of a client that reads everything.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use rpmfarm_coordinator::blobs::Blobs;
use rpmfarm_coordinator::publish::{
    PublishRequest, PublishedPackage, Publisher, RepomdSignature, RepomdSigner, SignError, describe,
};
use rpmfarm_core::published_repositories::PublishedRepository;
use rpmfarm_core::signing::RepositoryId;
use rpmfarm_core::{Arch, Sha256};
use rpmfarm_repodata::Compression;
use rpmfarm_rpmfile::Certs;

pub(crate) const TARGET: &str = "lab";
pub(crate) const CHANNEL: &str = "testing";

/// Lies in one directory, so that another process can open it again.
pub(crate) struct Farm {
    pub(crate) root: PathBuf,
    pub(crate) blobs: Blobs,
    pub(crate) signer: Gpg,
}

/// Signs with the key of a home directory of gpg.
pub(crate) struct Gpg {
    home: PathBuf,
    pub(crate) public_key: String,
}

/// Runs a command to its end and returns what it printed; a failure fails the test.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{out}\n{err}", output.status);
    out
}

impl Gpg {
    pub(crate) fn generate(home: &Path) -> Self {
        use std::os::unix::fs::PermissionsExt as _;
        fs::create_dir_all(home).unwrap();
        fs::set_permissions(home, fs::Permissions::from_mode(0o700)).unwrap();
        let generate = ["--quick-gen-key", "farm@example.com", "rsa2048", "sign", "never"];
        run(gpg(home).args(["--pinentry-mode", "loopback", "--passphrase", ""]).args(generate));
        Self::open(home)
    }

    fn open(home: &Path) -> Self {
        let public_key = run(gpg(home).args(["--armor", "--export"]));
        Self { home: home.to_owned(), public_key }
    }

    pub(crate) fn secret_key(&self) -> String {
        run(gpg(&self.home).args(["--armor", "--export-secret-keys"]))
    }

    pub(crate) fn rpmsign(&self, rpms: &[PathBuf]) {
        run(Command::new("rpmsign")
            .args(["--define", "__gpg /usr/bin/gpg", "--define", "_gpg_name farm@example.com"])
            .args(["--define", &format!("_gpg_path {}", self.home.display())])
            .arg("--addsign")
            .args(rpms));
    }
}

impl Drop for Gpg {
    fn drop(&mut self) {
        let _ =
            Command::new("gpgconf").env("GNUPGHOME", &self.home).args(["--kill", "all"]).output();
    }
}

fn gpg(home: &Path) -> Command {
    let mut command = Command::new("gpg");
    command.args(["--batch", "--quiet", "--homedir"]).arg(home);
    command
}

impl RepomdSigner for Gpg {
    async fn sign(
        &self,
        place: &RepositoryId,
        repomd: &[u8],
    ) -> Result<RepomdSignature, SignError> {
        assert_eq!(place.target, TARGET);
        let data = tempfile::NamedTempFile::new()?;
        fs::write(&data, repomd)?;
        let armored = run(gpg(&self.home)
            .args(["--armor", "--output", "-", "--detach-sign"])
            .arg(data.path()));
        Ok(RepomdSignature { armored, logged: None })
    }
}

impl Farm {
    pub(crate) fn new(root: &Path) -> Self {
        let signer = Gpg::generate(&root.join("gpg"));
        Self { root: root.to_owned(), blobs: Blobs::open(root.join("blobs")).unwrap(), signer }
    }

    /// The farm that another process made.
    pub(crate) fn open(root: &Path) -> Self {
        let signer = Gpg::open(&root.join("gpg"));
        Self { root: root.to_owned(), blobs: Blobs::open(root.join("blobs")).unwrap(), signer }
    }

    pub(crate) fn repos(&self) -> PathBuf {
        self.root.join("repos")
    }

    pub(crate) fn publisher(&self) -> Publisher {
        Publisher::new(self.repos(), self.blobs.clone())
    }

    /// A request for these packages, based on the generation that is shown.
    pub(crate) fn request(&self, packages: &[PublishedPackage]) -> PublishRequest {
        PublishRequest {
            target: TARGET.into(),
            channel: CHANNEL.into(),
            base_url: "http://farm.example/repo".into(),
            public_key: self.signer.public_key.clone(),
            arches: vec![Arch::X86_64],
            compression: Compression::Gzip,
            repositories: Vec::new(),
            packages: packages.to_vec(),
            based_on: self.publisher().shown(TARGET, CHANNEL).unwrap(),
            signed: 0,
            now: SystemTime::now(),
            prove_all: false,
        }
    }

    /// Makes, signs and describes packages of these names, each with a file `/usr/share/NAME`;
    /// their source package comes last.
    pub(crate) fn packages(&self, names: &[&str]) -> Vec<PublishedPackage> {
        let rpms = rpmbuild(&self.root, names);
        self.signer.rpmsign(&rpms);
        rpms.iter().map(|rpm| self.admit(rpm)).collect()
    }

    /// Stores any file as the blob of a signed package.
    pub(crate) fn admit(&self, rpm: &Path) -> PublishedPackage {
        let nevra = rpm.file_name().unwrap().to_str().unwrap().strip_suffix(".rpm").unwrap();
        let (digest, size) = self.store(rpm);
        let nevra = nevra.parse().unwrap();
        let repodata = describe(&self.blobs, &nevra, digest, size).unwrap();
        let without = Vec::new();
        PublishedPackage { nevra, digest, size, repodata, without, repository: 0, proved: None }
    }

    /// A request for these packages in several repositories of the channel, which are named with
    /// their packages; the first one has all others.
    pub(crate) fn split(
        &self,
        packages: &[PublishedPackage],
        repositories: &[(&str, &[&str])],
    ) -> PublishRequest {
        let mut request = self.request(packages);
        for package in &mut request.packages {
            let is_in = |(_, names): &(&str, &[&str])| names.contains(&&*package.nevra.name);
            package.repository = repositories.iter().position(is_in).unwrap_or(0);
        }
        let named = repositories.iter().map(|(name, _)| PublishedRepository {
            name: (*name).to_owned(),
            ..PublishedRepository::default()
        });
        PublishRequest { repositories: named.collect(), ..request }
    }

    fn store(&self, file: &Path) -> (Sha256, u64) {
        let mut writer = self.blobs.writer(u64::MAX).unwrap();
        writer.append(&fs::read(file).unwrap()).unwrap();
        writer.finish("package", None).unwrap()
    }

    pub(crate) fn channel(&self) -> PathBuf {
        self.repos().join(TARGET).join(CHANNEL)
    }

    /// A repository as clients name it.
    pub(crate) fn repository(&self, kind: &str) -> PathBuf {
        self.channel().join("x86_64").join(kind)
    }

    pub(crate) fn certs(&self) -> Certs {
        Certs::from_armored(&self.signer.public_key).unwrap()
    }
}

/// Builds one spec with a package for each name (`NAME` or `NAME.ARCH`), and its source package.
pub(crate) fn rpmbuild(root: &Path, names: &[&str]) -> Vec<PathBuf> {
    let top = tempfile::tempdir_in(root).unwrap().keep();
    let mut spec = String::from(
        "Name: made\nVersion: 1\nRelease: 1\nSummary: x\nLicense: MIT\n\
         %global debug_package %{nil}\n%description\nx\n\n",
    );
    for name in names {
        let (name, arch) = name.split_once('.').unwrap_or((name, "noarch"));
        let build_arch = if arch == "noarch" { "BuildArch: noarch\n" } else { "" };
        write!(spec, "%package -n {name}\nSummary: x\n{build_arch}%description -n {name}\nx\n")
            .unwrap();
        write!(spec, "%files -n {name}\n/usr/share/{name}\n").unwrap();
    }
    spec.push_str("%install\nmkdir -p %{buildroot}/usr/share\n");
    for name in names {
        let name = name.split_once('.').map_or(*name, |(name, _)| name);
        writeln!(spec, "echo {name} > %{{buildroot}}/usr/share/{name}").unwrap();
    }
    let path = top.join("made.spec");
    fs::write(&path, spec).unwrap();
    run(Command::new("rpmbuild")
        .args(["-ba", "--define", &format!("_topdir {}", top.display())])
        .env("HOME", &top)
        .arg(&path));
    let mut rpms: Vec<_> = ["RPMS/noarch", "RPMS/x86_64", "SRPMS"]
        .iter()
        .filter_map(|dir| fs::read_dir(top.join(dir)).ok())
        .flat_map(|entries| {
            let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
            paths.sort();
            paths
        })
        .collect();
    rpms.retain(|rpm| rpm.extension().is_some_and(|extension| extension == "rpm"));
    assert_eq!(rpms.len(), names.len() + 1);
    rpms
}

/// `repomd.xml` as a client has it after its first request.
pub(crate) struct Page {
    repository: PathBuf,
    pub(crate) xml: String,
}

impl Page {
    pub(crate) fn read(repository: &Path) -> Result<Self, String> {
        let path = repository.join("repodata/repomd.xml");
        let xml = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(Self { repository: repository.to_owned(), xml })
    }

    pub(crate) fn signature(&self) -> String {
        fs::read_to_string(self.repository.join("repodata/repomd.xml.asc")).unwrap()
    }

    /// Reads all files that the page names, and the files that these name, and compares all digests
    /// and sizes. Returns the names of the packages.
    pub(crate) fn follow(&self) -> Result<Vec<String>, String> {
        let mut primary = String::new();
        for record in self.xml.split("<data ").skip(1) {
            let path = self.repository.join(between(record, "<location href=\"", "\""));
            check(
                &path,
                between(record, "<checksum type=\"sha256\">", "<"),
                between(record, "<size>", "<"),
            )?;
            let file = BufReader::new(File::open(&path).unwrap());
            let mut open = String::new();
            Compression::Gzip.open(file).unwrap().read_to_string(&mut open).unwrap();
            let open_digest = between(record, "<open-checksum type=\"sha256\">", "<");
            assert_eq!(Sha256::compute(open.as_bytes()).hex(), open_digest);
            if record.starts_with("type=\"primary\"") {
                primary = open;
            }
        }
        let mut names = Vec::new();
        for package in primary.split("<package ").skip(1) {
            let path = self.repository.join(between(package, "<location href=\"", "\""));
            check(
                &path,
                between(package, "<checksum type=\"sha256\" pkgid=\"YES\">", "<"),
                between(package, "<size package=\"", "\""),
            )?;
            names.push(between(package, "<name>", "<").to_owned());
        }
        let count: usize = between(&primary, "packages=\"", "\"").parse().unwrap();
        assert_eq!(count, names.len());
        Ok(names)
    }
}

fn check(path: &Path, digest: &str, size: &str) -> Result<(), String> {
    let bytes = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    if (Sha256::compute(&bytes).hex().as_str(), bytes.len().to_string().as_str()) == (digest, size)
    {
        Ok(())
    } else {
        Err(format!("{}: is not what is said of it", path.display()))
    }
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    let rest = text.split_once(before).unwrap_or_else(|| panic!("no {before} in {text}")).1;
    rest.split_once(after).unwrap().0
}

/// The packages that a client sees in a repository now.
pub(crate) fn names_in(repository: &Path) -> Vec<String> {
    Page::read(repository).and_then(|page| page.follow()).unwrap()
}
