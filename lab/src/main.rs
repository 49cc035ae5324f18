//! `rpmfarm-lab`: the command line of the lab.

use std::fs;
use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use rpmfarm_core::Arch;
use rpmfarm_lab::serve::Server;
use rpmfarm_lab::{bench, demo, distgit, distro, real, target};

/// Makes the lab (a small RPM distribution, upstream repositories, a server for both) and farms in
/// it.
///
/// A whole lab in DIR:
///
///   rpmfarm-lab distro --out DIR/distro/x86_64 rpmfarm-lab distgit --out DIR rpmfarm-lab serve
///   --dir DIR --listen 127.0.0.1:8170 rpmfarm-lab target --distro http://127.0.0.1:8170/distro
///   --distgit http://127.0.0.1:8170 --out lab.toml
#[derive(Debug, Parser)]
#[command(name = "rpmfarm-lab", version, verbatim_doc_comment)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Makes a signed RPM distribution out of Debian's binary packages.
    ///
    /// Needs rpm, createrepo-c and gnupg on a Debian 12 host, and a mirror that apt can reach.
    /// A second run takes everything out of the cache.
    Distro {
        /// The architecture: x86_64, aarch64 or ppc64le.
        #[arg(long, default_value = "x86_64")]
        arch: Arch,
        /// Where to put it: DIR/repo and DIR/RPM-GPG-KEY-lab.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// Downloads and finished work [default: rpmfarm-lab in the user's cache directory].
        #[arg(long, value_name = "DIR")]
        cache: Option<PathBuf>,
        /// Ask Debian's pool for newer packages than those of the first run.
        #[arg(long)]
        refresh: bool,
    },
    /// Makes dist-git repositories (DIR/rpms/NAME.git) and their look-aside cache (DIR/lookaside).
    Distgit {
        /// Where to put them.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// Downloads [default: rpmfarm-lab in the user's cache directory].
        #[arg(long, value_name = "DIR")]
        cache: Option<PathBuf>,
    },
    /// Serves DIR/distro, DIR/lookaside and DIR/rpms (as /git/rpms) over HTTP until it is stopped.
    Serve {
        /// The directory.
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
        /// Address and port; port 0 takes a free one.
        #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
        listen: SocketAddr,
        /// Write the port to this file once it is listened on.
        #[arg(long, value_name = "FILE")]
        port_file: Option<PathBuf>,
    },
    /// Rebuilds packages on a farm of its own and installs them with dnf, telling what it does.
    ///
    /// Needs root. Everything is made in a temporary directory and gone afterwards.
    Demo {
        /// Leave the farm running until Ctrl-C, and say how to use it.
        #[arg(long)]
        keep: bool,
    },
    /// Rebuilds real packages of other distributions, beside plain rpmbuild, and says what differs.
    ///
    /// Needs root. DIR holds clones of dist-git repositories, bare or not, in folders of any name;
    /// of each, the branches of Enterprise Linux (`el9`, `c9`, `c9s`, `epel9`) and Fedora (`f34`
    /// and later) are taken. Each is built on a farm of its own making, and by plain rpmbuild in a
    /// chroot with the same packages; then the packages are compared, header by header. A second
    /// run with the same --state goes on where the first one stopped. Exit code 1: there is a
    /// difference without an explanation.
    Real {
        /// The clones.
        #[arg(long, value_name = "DIR", env = "RPMFARM_REAL_DIR")]
        repositories: PathBuf,
        /// Tarballs, by name or by digest; those that are not there are searched for in Debian's
        /// pool.
        #[arg(long, value_name = "DIR", env = "RPMFARM_REAL_LOOKASIDE")]
        lookaside: Option<PathBuf>,
        /// Where roots, results and packages are kept.
        #[arg(long, value_name = "DIR", default_value = "target/real")]
        state: PathBuf,
        /// Rebuild only these, by a pattern of PACKAGE@BRANCH with `*` and `?`.
        #[arg(long, value_name = "PATTERN", default_value = "*")]
        only: String,
        /// Discard the stored results of the branches that are rebuilt.
        #[arg(long)]
        again: bool,
    },
    /// Measures what rpmfarm is held to, each figure beside its peer in the same run.
    ///
    /// Needs root, and the programs and examples of the workspace (make bench). A missed budget is
    /// reported, and does not change the exit code.
    Bench {
        /// The file to write: a JSON list of {name, value, unit, budget, peer, ratio}.
        #[arg(long, value_name = "FILE", default_value = "target/bench.json")]
        out: PathBuf,
        /// The chart of dispatch latency over queue length to write, as SVG.
        #[arg(long, value_name = "FILE", default_value = "docs/dispatch.svg")]
        chart: PathBuf,
        /// Measure only the figures whose names begin with NAME.
        #[arg(long, value_name = "NAME")]
        only: Option<String>,
        /// How many packages mass.lab builds.
        #[arg(long, value_name = "N", default_value_t = 300)]
        packages: usize,
    },
    /// Writes the target definition for a lab that is served.
    Target {
        /// The architectures, separated by commas.
        #[arg(long, value_delimiter = ',', default_value = "x86_64")]
        arch: Vec<Arch>,
        /// Where the distributions are: http://HOST:PORT/distro.
        #[arg(long, value_name = "URL")]
        distro: String,
        /// The server with /git and /lookaside: http://HOST:PORT.
        #[arg(long, value_name = "URL")]
        distgit: String,
        /// The file to write.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// The cache with the lab's key [default: rpmfarm-lab in the user's cache directory].
        #[arg(long, value_name = "DIR")]
        cache: Option<PathBuf>,
    },
}

fn main() -> anyhow::Result<()> {
    // In a file the codes of colours are noise.
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal() && !plain)
        .with_target(false)
        .init();
    match Cli::parse().command {
        Command::Distro { arch, out, cache, refresh } => {
            let size = distro::Size::Lab;
            make_distro(distro::Options { arch, out, cache, size, refresh })
        }
        Command::Distgit { out, cache } => make_distgit(&out, cache.as_deref()),
        Command::Serve { dir, listen, port_file } => serve(dir, listen, port_file.as_deref()),
        Command::Demo { keep } => {
            let directory = tempfile::Builder::new().prefix("rpmfarm-demo-").tempdir()?;
            demo::run(directory.path(), keep)
        }
        Command::Real { repositories, lookaside, state, only, again } => {
            let options = real::Options { repositories, lookaside, state, only, again };
            let explained = real::run(&options)?;
            anyhow::ensure!(explained, "there are differences without an explanation");
            Ok(())
        }
        Command::Bench { out, chart, only, packages } => {
            let directory = tempfile::Builder::new().prefix("rpmfarm-figures-").tempdir()?;
            let options = bench::Options { out, chart, only, packages };
            bench::run(directory.path(), &options)
        }
        Command::Target { arch, distro, distgit, out, cache } => {
            let key = distro::public_key(cache.as_deref()).context("cannot read the lab's key")?;
            let places =
                target::Places { arches: &arch, distro: &distro, distgit: &distgit, key: &key };
            target::write(&places, &out).with_context(|| format!("cannot write {}", out.display()))
        }
    }
}

fn make_distro(options: distro::Options) -> anyhow::Result<()> {
    let begin = Instant::now();
    let made = distro::make(&options)
        .with_context(|| format!("cannot make the {} distribution", options.arch))?;
    tracing::info!(
        packages = made.packages,
        cached = made.cached,
        seconds = begin.elapsed().as_secs_f32(),
        "distribution is at {}",
        made.path.display()
    );
    Ok(())
}

fn make_distgit(out: &Path, cache: Option<&Path>) -> anyhow::Result<()> {
    let begin = Instant::now();
    let made = distgit::make(out, cache).context("cannot make the dist-git")?;
    tracing::info!(
        repositories = made.commits.len(),
        seconds = begin.elapsed().as_secs_f32(),
        "dist-git is at {}",
        made.path.display()
    );
    Ok(())
}

#[tokio::main]
async fn serve(dir: PathBuf, listen: SocketAddr, port_file: Option<&Path>) -> anyhow::Result<()> {
    anyhow::ensure!(dir.is_dir(), "{} is not a directory", dir.display());
    let server =
        Server::start(dir, listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    if let Some(path) = port_file {
        // Renamed, so that whoever waits for the file never reads half of it.
        let half = path.with_extension("part");
        fs::write(&half, format!("{}\n", server.address().port()))
            .and_then(|()| fs::rename(&half, path))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    tracing::info!("serving at {}", server.url());
    tokio::select! {
        ended = server.wait() => ended.context("the server ended"),
        stopped = tokio::signal::ctrl_c() => stopped.context("cannot wait for a signal"),
    }
}
