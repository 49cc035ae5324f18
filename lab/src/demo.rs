//! `rpmfarm-lab demo`: the main job on real input, told as it goes, and judged by real dnf.
#![allow(clippy::print_stdout, reason = "it is told to a person")]

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rpmfarm_core::Arch;

use crate::farm::{Farm, InstallRoot, Settings, TARGET, World};

/// The longest that one rebuild may take.
const PATIENCE: Duration = Duration::from_secs(600);

/// Runs the demo in a directory. With `keep`, the farm runs on until Ctrl-C.
///
/// # Errors
/// When anything of it fails.
pub fn run(directory: &Path, keep: bool) -> anyhow::Result<()> {
    let story = Story { begun: Instant::now() };
    story.tell("making the lab: a distribution out of Debian's packages, a dist-git, a look-aside");
    let world = World::make(&directory.join("world"), Arch::X86_64)?;
    story.tell("starting signer, coordinator and worker");
    let settings = Settings::new(directory.join("farm"));
    let farm = Farm::start(&settings, &world.target_text()?)?;
    println!("          the farm is at {}, its files in {}", farm.server(), directory.display());

    build(&story, &farm, "GNU hello, from its commit to a signed package", &["hello"])?;
    build(
        &story,
        &farm,
        "a library and two programs that need it, asked for in the wrong order",
        &["jshon", "plotnetcfg", "jansson"],
    )?;

    story.tell("installing from the farm with dnf, gpgcheck=1 and repo_gpgcheck=1");
    let mut root = InstallRoot::new(directory.join("root"), "x86_64")?;
    root.repository("lab", &world.repository(), &world.key_url())?;
    root.repository("farm", &farm.repository("testing", "x86_64"), &farm.key_url())?;
    let said = root.install(&["hello", "jshon", "bash", "libc-bin"])?;
    for line in said.lines().filter(|line| line.contains(" farm ")) {
        println!("          {}", line.trim());
    }
    story.tell("running what was installed");
    let hello = root.run(&["hello"])?;
    println!("          $ hello\n          {}", hello.trim());
    ensure!(hello.contains("Hello, world!"), "hello said something else");
    let script = "echo '{\"rebuilt\": [1, 2, 3]}' | jshon -e rebuilt -l";
    let count = root.run(&["bash", "-c", script])?;
    println!("          $ {script}\n          {}", count.trim());
    ensure!(count.trim() == "3", "jshon counted something else");
    story.tell("done");
    if keep {
        linger(&farm)?;
    } else {
        println!("\nmake demo KEEP=1 leaves the farm running, to look around.");
    }
    Ok(())
}

/// Builds a batch and shows its progress, as a person would see it.
fn build(story: &Story, farm: &Farm, what: &str, packages: &[&str]) -> anyhow::Result<()> {
    story.tell(what);
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
        "\nThe farm runs until Ctrl-C. To look around:\n\
         \n  export RPMFARM_SERVER={} RPMFARM_TOKEN_FILE={}\n  \
         rpmfarm list                 what was built\n  \
         rpmfarm show 1               everything about a build\n  \
         rpmfarm log 1                its log\n  \
         rpmfarm lock 1               the exact packages of its root\n  \
         rpmfarm build xxhash --target {TARGET} --watch\n  \
         rpmfarm build fails-build --target {TARGET} --watch\n  \
         curl {}/repo/{TARGET}/{TARGET}-testing.repo\n",
        farm.server(),
        token.display(),
        farm.server()
    );
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(tokio::signal::ctrl_c())?;
    Ok(())
}

/// Tells what happens, with the time since the beginning.
struct Story {
    begun: Instant,
}

impl Story {
    fn tell(&self, what: &str) {
        println!("\n{:>7.1} s  {what}", self.begun.elapsed().as_secs_f64());
    }
}
