//! Real dnf, which installs from the farm's repository into a directory with all signatures
//! checked.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context as _, bail};

/// A directory into which packages are installed.
#[derive(Debug)]
pub struct InstallRoot {
    root: PathBuf,
    arch: String,
    repositories: Vec<String>,
}

impl InstallRoot {
    /// An empty root.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn new(root: impl Into<PathBuf>, arch: &str) -> anyhow::Result<Self> {
        let root = root.into();
        for part in ["etc/yum.repos.d", "var/log"] {
            std::fs::create_dir_all(root.join(part))?;
        }
        Ok(Self { root, arch: arch.into(), repositories: Vec::new() })
    }

    /// Adds a repository whose packages and metadata must be signed with a key.
    ///
    /// # Errors
    /// When its file cannot be written.
    pub fn repository(&mut self, id: &str, baseurl: &str, key_url: &str) -> anyhow::Result<()> {
        let priority = 99 - self.repositories.len();
        let text = format!(
            "[{id}]\nname={id}\nbaseurl={baseurl}\nenabled=1\ngpgcheck=1\nrepo_gpgcheck=1\n\
             gpgkey={key_url}\npriority={priority}\nmetadata_expire=0\n"
        );
        self.add_file(id, &text)
    }

    /// Adds a downloaded `.repo` file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn add_file(&mut self, id: &str, text: &str) -> anyhow::Result<()> {
        std::fs::write(self.root.join(format!("etc/yum.repos.d/{id}.repo")), text)?;
        self.repositories.push(id.to_owned());
        Ok(())
    }

    /// Installs packages.
    ///
    /// # Errors
    /// When dnf fails, with its output.
    pub fn install(&self, packages: &[&str]) -> anyhow::Result<String> {
        self.dnf(&[&["install", "-y"], packages].concat())
    }

    /// Runs dnf on the root, and on nothing of the host.
    ///
    /// # Errors
    /// When dnf fails, with its output.
    pub fn dnf(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = self.command(arguments).output().context("cannot start dnf")?;
        let text = text(&output);
        if !output.status.success() {
            bail!("dnf {arguments:?}: {}\n{text}", output.status);
        }
        Ok(text)
    }

    /// dnf on the root, ready to run.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let option = |name: &str, path: &Path| format!("--setopt={name}={}", path.display());
        let mut command = Command::new("dnf");
        command
            .arg(format!("--installroot={}", self.root.display()))
            .arg(format!("--forcearch={}", self.arch))
            .args(["--noplugins", "--releasever=1", "--setopt=install_weak_deps=False"])
            .arg(option("reposdir", &self.root.join("etc/yum.repos.d")))
            .arg(option("cachedir", &self.root.join("var/cache/dnf")))
            .arg(option("persistdir", &self.root.join("var/lib/dnf")))
            .arg(option("logdir", &self.root.join("var/log")))
            .args(["--setopt=pluginpath=/nowhere", "--setopt=keepcache=False", "--refresh"])
            .args(arguments);
        command
    }

    /// Runs an installed program in the root.
    ///
    /// # Errors
    /// When it fails, with its output.
    pub fn run(&self, command: &[&str]) -> anyhow::Result<String> {
        let output = Command::new("chroot")
            .arg(&self.root)
            .args(command)
            .env_clear()
            .env("PATH", "/usr/bin:/usr/sbin:/bin:/sbin")
            .env("LANG", "C.UTF-8")
            .output()?;
        let text = text(&output);
        if !output.status.success() {
            bail!("{command:?}: {}\n{text}", output.status);
        }
        Ok(text)
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.root
    }
}

fn text(output: &Output) -> String {
    let both = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8_lossy(&both).into_owned()
}
