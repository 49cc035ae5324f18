//! `rpmfarm-worker check`: whether this host can build.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde::Serialize;

use super::options::{HostOptions, find};
use crate::cages::cgroup::Cgroups;
use crate::cages::scratch::ScratchKind;
use crate::disk::free_mib;
use crate::session::facts;

/// Options of `check`.
#[derive(Debug, Args)]
pub(super) struct CheckOptions {
    /// Prints JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    host: HostOptions,
}

/// One thing that was checked.
#[derive(Debug, Serialize)]
struct Finding {
    name: &'static str,
    level: Level,
    message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Ok,
    Warning,
    Error,
}

impl CheckOptions {
    #[allow(clippy::print_stdout)] // The answer to whoever asked.
    pub(super) fn run(self) -> Result<ExitCode> {
        let findings = self.findings();
        if self.json {
            println!("{}", serde_json::to_string_pretty(&findings)?);
        } else {
            for finding in &findings {
                let level = match finding.level {
                    Level::Ok => "ok",
                    Level::Warning => "warning",
                    Level::Error => "error",
                };
                println!("{level:<8} {:<16} {}", finding.name, finding.message);
            }
        }
        let worst = findings.iter().map(|finding| finding.level).max();
        Ok(if worst == Some(Level::Error) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }

    fn findings(&self) -> Vec<Finding> {
        let needed = |name, result: Result<String>| finding(name, Level::Error, result);
        let wanted = |name, result: Result<String>| finding(name, Level::Warning, result);
        vec![
            needed("root", root()),
            needed("crun", crun(&self.host.crun)),
            needed("user namespaces", user_namespaces()),
            needed("ids", self.host.disk_ids().map(|ids| ids.to_string())),
            needed("seccomp", seccomp()),
            needed("overlayfs", overlayfs(&self.host.data_dir)),
            wanted("ids of cages", ids_of_cages(&self.host)),
            wanted("control groups", control_groups()),
            wanted("scratch", scratch(self.host.scratch)),
            wanted("disk", disk(&self.host.data_dir)),
            wanted("memory", memory()),
        ]
    }
}

fn finding(name: &'static str, level: Level, result: Result<String>) -> Finding {
    match result {
        Ok(message) => Finding { name, level: Level::Ok, message },
        Err(error) => Finding { name, level, message: format!("{error:#}") },
    }
}

fn root() -> Result<String> {
    ensure!(nix::unistd::geteuid().is_root(), "run it as root: it maps users and mounts");
    Ok("runs as root".into())
}

fn crun(program: &Path) -> Result<String> {
    let program = find(program)?;
    let output = Command::new(&program).arg("--version").stdin(Stdio::null()).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(text.contains("SECCOMP"), "{} was built without seccomp", program.display());
    Ok(format!("{}: {}", program.display(), text.lines().next().unwrap_or_default()))
}

fn user_namespaces() -> Result<String> {
    let text = fs::read_to_string("/proc/sys/user/max_user_namespaces")
        .context("the kernel has no user namespaces")?;
    let most: u64 = text.trim().parse()?;
    ensure!(most > 0, "they are switched off: sysctl -w user.max_user_namespaces=15000");
    Ok(format!("at most {most}"))
}

fn seccomp() -> Result<String> {
    let text = fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail")
        .context("the kernel has no seccomp filters")?;
    ensure!(text.contains("errno"), "the kernel's seccomp filters cannot refuse a call");
    Ok("the kernel has filters".into())
}

/// Mounts one, where builds will.
fn overlayfs(data: &Path) -> Result<String> {
    fs::create_dir_all(data).with_context(|| format!("cannot make {}", data.display()))?;
    let test = tempfile::Builder::new().prefix("check-").tempdir_in(data)?;
    let at = |name: &str| -> Result<String> {
        let path = test.path().join(name);
        fs::create_dir(&path)?;
        Ok(path.to_str().context("the data directory's name is not UTF-8")?.to_owned())
    };
    let options =
        format!("lowerdir={},upperdir={},workdir={}", at("lower")?, at("upper")?, at("work")?);
    let merged = at("merged")?;
    nix::mount::mount(
        Some("overlay"),
        merged.as_str(),
        Some("overlay"),
        nix::mount::MsFlags::empty(),
        Some(options.as_str()),
    )
    .with_context(|| format!("cannot mount overlayfs in {} (use ext4 or XFS)", data.display()))?;
    nix::mount::umount(merged.as_str())?;
    Ok(format!("mounts in {}", data.display()))
}

/// Tries it in the data directory, where layers will be.
fn ids_of_cages(host: &HostOptions) -> Result<String> {
    let test = tempfile::Builder::new().prefix("check-").tempdir_in(&host.data_dir)?;
    let place = test.path().canonicalize()?;
    host.own_ids(Path::new("/proc/self/exe"), &place, &place)
        .context("all builds of a worker will have the same ids of the host")?;
    Ok("each build has its own".into())
}

fn control_groups() -> Result<String> {
    let groups = Cgroups::detect("rpmfarm-worker-check");
    groups.give_back();
    let missing = groups.missing();
    ensure!(
        missing.is_empty(),
        "the limits of builds cannot be enforced for: {}",
        missing.join(", ")
    );
    Ok("memory, pids and cpu".into())
}

fn scratch(kind: Option<ScratchKind>) -> Result<String> {
    match kind.unwrap_or_else(ScratchKind::best) {
        ScratchKind::Image => Ok("images with loop devices".into()),
        ScratchKind::Tmpfs => Ok("memory".into()),
        ScratchKind::Plain => {
            anyhow::bail!("builds can fill the disk: install e2fsprogs and load the loop module")
        }
    }
}

fn disk(data: &Path) -> Result<String> {
    let mib = free_mib(data).context("the data directory's file system does not say")?;
    ensure!(mib >= 20 * 1024, "{mib} MiB free in {}: 20 GiB are a good start", data.display());
    Ok(format!("{} GiB free in {}", mib >> 10, data.display()))
}

fn memory() -> Result<String> {
    let mib = facts::memory_mib();
    ensure!(mib >= 3 * 1024, "{mib} MiB: many packages need 4 GiB or more");
    Ok(format!("{mib} MiB, {} processors", facts::cpus()))
}
