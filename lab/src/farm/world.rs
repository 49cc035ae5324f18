//! The world outside of a farm: the lab's distribution, dist-git and look-aside, served.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rpmfarm_core::{Arch, Target};

use super::{Process, program};
use crate::{distgit, distro, target};

/// A world with its server, which ends when this is dropped.
pub struct World {
    directory: PathBuf,
    address: String,
    key: String,
    arches: Vec<Arch>,
    pub server: Process,
}

/// How long the server may take until it listens.
const PATIENCE: Duration = Duration::from_secs(10);

impl World {
    /// Makes a world of one architecture in a directory, mostly out of the cache, and serves it.
    ///
    /// # Errors
    /// When a part cannot be made, or the server does not come up.
    pub fn make(directory: &Path, arch: Arch) -> anyhow::Result<Self> {
        Self::with_arches(directory, &[arch])
    }

    /// The same with a distribution of each architecture.
    ///
    /// # Errors
    /// As [`Self::make`].
    pub fn with_arches(directory: &Path, arches: &[Arch]) -> anyhow::Result<Self> {
        std::fs::create_dir_all(directory.join("distro"))?;
        for arch in arches.iter().copied() {
            let out = directory.join("distro").join(arch.as_str());
            let size = distro::Size::Lab;
            distro::make(&distro::Options { arch, out, cache: None, size, refresh: false })
                .with_context(|| format!("cannot make the {arch} distribution"))?;
        }
        distgit::make(directory, None).context("cannot make the dist-git")?;
        Self::serve(directory, arches)
    }

    /// Serves a world that was made by somebody else: `distro/ARCH`, `rpms`, `lookaside`.
    ///
    /// # Errors
    /// When the server does not come up.
    pub fn serve(directory: &Path, arches: &[Arch]) -> anyhow::Result<Self> {
        let port_file = directory.join("port");
        // The file of an earlier run would be read as this server's.
        let _ = std::fs::remove_file(&port_file);
        let mut command = program("rpmfarm-lab");
        command.arg("serve").arg("--dir").arg(directory).arg("--port-file").arg(&port_file);
        let mut server = Process::start("world", &mut command, directory)?;
        let begun = Instant::now();
        let port = loop {
            match std::fs::read_to_string(&port_file) {
                Ok(text) if !text.trim().is_empty() => break text.trim().to_owned(),
                _ if server.ended().is_some() || begun.elapsed() > PATIENCE => {
                    bail!("the lab's server does not listen:\n{}", server.log_tail());
                }
                _ => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        let key = distro::public_key(None).context("cannot read the lab's key")?;
        let address = format!("http://127.0.0.1:{port}");
        Ok(Self { directory: directory.into(), address, key, arches: arches.into(), server })
    }

    /// The target that rebuilds this world.
    ///
    /// # Errors
    /// When its template is broken.
    pub fn target(&self) -> anyhow::Result<Target> {
        let places = target::Places {
            arches: &self.arches,
            distro: &format!("{}/distro", self.address),
            distgit: &self.address,
            key: &self.key,
        };
        Ok(target::at(&places)?)
    }

    /// The target as the text of its file.
    ///
    /// # Errors
    /// When its template is broken.
    pub fn target_text(&self) -> anyhow::Result<String> {
        Ok(toml::to_string_pretty(&self.target()?)?)
    }

    /// `http://HOST:PORT` of the server.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The address of the distribution's repository, of the first architecture.
    #[must_use]
    pub fn repository(&self) -> String {
        self.repository_for(self.first_arch())
    }

    /// The address of the distribution's repository of an architecture.
    #[must_use]
    pub fn repository_for(&self, arch: Arch) -> String {
        format!("{}/distro/{arch}/repo/", self.address)
    }

    /// The address of the distributions' public key.
    #[must_use]
    pub fn key_url(&self) -> String {
        format!("{}/distro/{}/{}", self.address, self.first_arch(), distro::KEY_FILE)
    }

    fn first_arch(&self) -> Arch {
        self.arches.first().copied().unwrap_or(Arch::X86_64)
    }

    /// The bare repository of a package.
    #[must_use]
    pub fn repository_of(&self, package: &str) -> PathBuf {
        self.directory.join("rpms").join(format!("{package}.git"))
    }

    /// The bare repository of a package's modifications.
    #[must_use]
    pub fn modifications_of(&self, package: &str) -> PathBuf {
        self.directory.join("autopatch").join(format!("{package}.git"))
    }

    /// Where the look-aside cache has the file of a digest.
    #[must_use]
    pub fn lookaside(&self, hash: &str) -> PathBuf {
        self.directory.join("lookaside").join(hash)
    }
}
