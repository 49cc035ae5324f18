//! `rpmfarm-lab demo`: the main use on real input, for three architectures, explained as it runs,
//! and checked by real dnf.
#![allow(clippy::print_stdout, reason = "it is told to a person")]

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rpmfarm_core::Arch;

use crate::farm::{Farm, InstallRoot, Settings, TARGET, World, programs};

/// The longest that one rebuild may take.
const PATIENCE: Duration = Duration::from_secs(600);

/// Runs the demo in a directory. With `keep`, the farm runs on until Ctrl-C.
///
/// # Errors
/// When a step fails.
pub fn run(directory: &Path, keep: bool) -> anyhow::Result<()> {
    let story = DemoLog { begun: Instant::now() };
    story.print(
        "making the lab: distributions for three architectures out of Debian's packages, a \
         dist-git, a look-aside",
    );
    let world = World::with_arches(&directory.join("world"), &Arch::ALL)?;
    story.print("starting acceptor, signer, coordinator, and a worker for each architecture");
    let mut settings = Settings::new(directory.join("farm"));
    settings.workers = Arch::ALL.len();
    settings.worker_arches = Arch::ALL.into();
    let farm = Farm::start(&settings, &world.target_text()?)?;
    println!("          the farm is at {}, its files in {}", farm.server(), directory.display());

    let native = ["--arch", "x86_64"];
    let what = "GNU hello, from its commit to a signed package";
    build(&story, &farm, what, &[&native[..], &["hello"]].concat())?;
    let what = "a library and two programs that need it, requested in the wrong order";
    build(&story, &farm, what, &[&native[..], &["jshon", "plotnetcfg", "jansson"]].concat())?;
    let what = "a program, a library and a script for three architectures; aarch64 and ppc64le \
                build under emulation, and what has no architecture is taken from one";
    build(&story, &farm, what, &["xxhash", "colordiff"])?;

    for arch in Arch::ALL {
        install(&story, &world, &farm, directory, arch)?;
    }
    story.print("done");
    if keep {
        linger(&farm)?;
    } else {
        println!("\nmake demo KEEP=1 leaves the farm running, to look around.");
    }
    Ok(())
}

/// Installs the packages of an architecture and runs one.
fn install(
    story: &DemoLog,
    world: &World,
    farm: &Farm,
    directory: &Path,
    arch: Arch,
) -> anyhow::Result<()> {
    let native = arch == Arch::X86_64;
    story.print(&format!(
        "{arch}: installing from the farm with dnf, gpgcheck=1 and repo_gpgcheck=1, and running \
         what was installed{}",
        if native { "" } else { ", under emulation" }
    ));
    let mut root = InstallRoot::new(directory.join(format!("root-{arch}")), arch.as_str())?;
    root.repository("lab", &world.repository_for(arch), &world.key_url())?;
    root.repository("farm", &farm.repository("testing", arch.as_str()), &farm.key_url())?;
    let mut packages = vec!["xxhash", "colordiff", "bash", "diffutils", "libc-bin"];
    if native {
        packages.extend(["hello", "jshon", "plotnetcfg"]);
    }
    let output = root.install(&packages)?;
    for line in output.lines().filter(|line| line.contains(" farm ")) {
        println!("          {}", line.trim());
    }
    let run = |script: &str| -> anyhow::Result<String> {
        let output = root.run(&["bash", "-c", script])?;
        println!("          $ {script}");
        for line in output.trim().lines() {
            println!("          {line}");
        }
        Ok(output)
    };
    let version = run("xxhsum --version")?;
    ensure!(version.contains("compiled as"), "xxhsum said something else");
    let sum = run("echo rebuilt | xxhsum -H64")?;
    ensure!(sum.contains("stdin"), "xxhsum summed something else");
    let colours = run("cd /tmp && echo old > a && echo new > b && colordiff a b || true")?;
    ensure!(colours.contains("> new") && colours.contains('\x1b'), "colordiff coloured nothing");
    if native {
        let hello = run("hello")?;
        ensure!(hello.contains("Hello, world!"), "hello said something else");
        let count = run("echo '{\"rebuilt\": [1, 2, 3]}' | jshon -e rebuilt -l")?;
        ensure!(count.trim() == "3", "jshon counted something else");
        // One of the two makes JSON with the library, the other reads it.
        let name =
            run("plotnetcfg -f json | jshon -e namespaces -e 0 -e interfaces -e 0 -e name -u")?;
        ensure!(name.trim() == "lo", "plotnetcfg and jshon told of something else");
    }
    Ok(())
}

/// Builds a batch and shows its progress, as for a user.
fn build(story: &DemoLog, farm: &Farm, what: &str, packages: &[&str]) -> anyhow::Result<()> {
    story.print(what);
    let client = farm.client();
    let arguments = [&["build", "--watch", "--target", TARGET], packages].concat();
    println!("          $ rpmfarm {}", arguments.join(" "));
    let begun = Instant::now();
    let mut watch = client.command(&arguments).spawn().context("cannot start rpmfarm")?;
    let status = loop {
        if let Some(status) = watch.try_wait()? {
            break status;
        }
        if begun.elapsed() > PATIENCE {
            let _ = watch.kill();
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    ensure!(status.success(), "rpmfarm build ended with {status}");
    Ok(())
}

fn linger(farm: &Farm) -> anyhow::Result<()> {
    let token = farm.directory().join("coordinator/token");
    println!(
        "\nThe farm runs until Ctrl-C. To look around, paste this first; it is for one shell:\n\
         \n  export PATH={}:$PATH\n  \
         export RPMFARM_SERVER={} RPMFARM_TOKEN_FILE={}\n\n  \
         rpmfarm list                 what was built\n  \
         rpmfarm show 1               everything about a build\n  \
         rpmfarm log 1                its log\n  \
         rpmfarm lock 1               the exact packages of its root\n  \
         rpmfarm worker list          who builds for what, and how\n  \
         rpmfarm build tiny --target {TARGET} --arch aarch64 --watch\n  \
         rpmfarm build fails-build --target {TARGET} --watch\n  \
         curl {}/repo/{TARGET}/{TARGET}-testing.repo\n",
        quoted(&programs()),
        farm.server(),
        quoted(&token),
        farm.server()
    );
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(tokio::signal::ctrl_c())?;
    Ok(())
}

/// A path as one word of a shell.
fn quoted(path: &Path) -> String {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned()).display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    if path.chars().all(plain) { path } else { format!("'{}'", path.replace('\'', "'\\''")) }
}

/// Prints the steps, with the time since the beginning.
struct DemoLog {
    begun: Instant,
}

impl DemoLog {
    fn print(&self, what: &str) {
        println!("\n{:>7.1} s  {what}", self.begun.elapsed().as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_can_be_pasted() {
        for path in ["/usr/bin", "/tmp/it's here/$HOME"] {
            let shown = quoted(Path::new(path));
            let output = std::process::Command::new("sh")
                .args(["-c", &format!("printf %s {shown}")])
                .output()
                .expect("sh");
            let expected = Path::new(path).canonicalize().unwrap_or_else(|_| path.into());
            assert_eq!(String::from_utf8_lossy(&output.stdout), expected.display().to_string());
        }
    }
}
