//! The memory of many solver pools over one large repository, with the file lists read.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::process::Command;

use anyhow::Context as _;
use rpmfarm_core::Sha256;
use rpmfarm_core::target::Repository;
use serde::Deserialize;
use sha2::Digest as _;

use super::figure::{Figure, Report};
use crate::farm::{World, programs};
use crate::tool;

pub(super) const POOLS: &str = "pools.memory";

/// Packages of the repository.
const PACKAGES: u32 = 60_000;
/// Files of a package.
const FILES: u32 = 50;
/// Twelve targets and architectures.
const COUNT: u32 = 12;
/// A path that primary metadata do not have.
const PATH: &str = "/usr/share/package-41234/locale/fr/file-00007.txt";

/// The output of the coordinator's example.
#[derive(Debug, Deserialize)]
struct Pools {
    pools: u32,
    one_mib: f64,
    all_mib: f64,
    first_s: f64,
    all_s: f64,
}

/// Measures the solver processes of a coordinator, whose pools need a path of a file list each.
pub(super) fn measure(directory: &Path, world: &World, report: &mut Report) -> anyhow::Result<()> {
    let outside = directory.join("world/distro/large/repo/repodata");
    write_repository(&outside).context("cannot write the large repository")?;
    let mut target = world.target()?;
    let url = format!("{}/distro/large/repo/", world.address());
    target.repositories.push(Repository {
        id: "large".into(),
        baseurl: serde_json::from_value(serde_json::json!(url))?,
        gpgcheck: false,
        insecure: true,
        ..Repository::default()
    });
    let file = directory.join("pools.toml");
    fs::write(&file, toml::to_string_pretty(&target)?)?;
    let mut command = Command::new(programs().join("examples/bench_pools"));
    command.arg(&file).args(["x86_64", &COUNT.to_string(), PATH]);
    let pools: Pools = serde_json::from_slice(&tool::output(&mut command)?)?;
    report.add(figure(&pools));
    Ok(())
}

fn figure(pools: &Pools) -> Figure {
    let Pools { pools, one_mib, all_mib, first_s, all_s } = pools;
    Figure {
        name: POOLS,
        value: *all_mib,
        unit: "MiB",
        budget: 1024.0,
        peer: format!("as many times the first pool: {:.0} MiB", one_mib * f64::from(COUNT)),
        ratio: Some(all_mib / (one_mib * f64::from(COUNT))),
        note: format!(
            "proportional set sizes of the processes of {pools} pools of {PACKAGES} packages beside \
             the lab's, each with a root that needs a path of the file lists ({} million paths); the first in \
             {first_s:.1} s, all in {all_s:.1} s",
            u64::from(PACKAGES) * u64::from(FILES) / 1_000_000
        ),
    }
}

pub(super) fn write_repository(repodata: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(repodata)?;
    let mut repomd = String::from(
        "<repomd xmlns=\"http://linux.duke.edu/metadata/repo\">\n<revision>1</revision>\n",
    );
    for (kind, namespace, package) in [
        ("primary", "common", primary as fn(u32) -> String),
        ("filelists", "filelists", file_list as fn(u32) -> String),
    ] {
        let plain = repodata.join(format!("{kind}.xml"));
        let mut out = BufWriter::new(fs::File::create(&plain)?);
        let root = if kind == "primary" { "metadata" } else { "filelists" };
        writeln!(
            out,
            "<{root} xmlns=\"http://linux.duke.edu/metadata/{namespace}\" \
             xmlns:rpm=\"http://linux.duke.edu/metadata/rpm\" packages=\"{PACKAGES}\">"
        )?;
        for number in 0..PACKAGES {
            out.write_all(package(number).as_bytes())?;
        }
        writeln!(out, "</{root}>")?;
        out.flush()?;
        let size = fs::metadata(&plain)?.len();
        tool::output(Command::new("gzip").arg("-1nf").arg(&plain))?;
        let packed = fs::read(repodata.join(format!("{kind}.xml.gz")))?;
        writeln!(
            repomd,
            "<data type=\"{kind}\"><checksum type=\"sha256\">{}</checksum>\
             <location href=\"repodata/{kind}.xml.gz\"/><timestamp>1</timestamp>\
             <size>{}</size><open-size>{size}</open-size></data>",
            digest(&packed),
            packed.len()
        )?;
    }
    repomd += "</repomd>\n";
    Ok(fs::write(repodata.join("repomd.xml"), repomd)?)
}

fn digest(bytes: &[u8]) -> Sha256 {
    Sha256::from_bytes(sha2::Sha256::digest(bytes).into())
}

fn package_id(number: u32) -> Sha256 {
    digest(&number.to_be_bytes())
}

/// A package with some of each kind of dependency, as libraries and their users have.
fn primary(number: u32) -> String {
    let mut text = format!(
        "<package type=\"rpm\"><name>package-{number}</name><arch>x86_64</arch>\
         <version epoch=\"0\" ver=\"1.{number}\" rel=\"1.lab9\"/>\
         <checksum type=\"sha256\" pkgid=\"YES\">{id}</checksum><summary>Package {number}</summary>\
         <description>A package of a large repository</description><time file=\"1\" build=\"1\"/>\
         <size package=\"10000\" installed=\"20000\" archive=\"20000\"/>\
         <location href=\"package-{number}.rpm\"/><format><rpm:license>MIT</rpm:license>\
         <rpm:sourcerpm>source-{source}-1-1.src.rpm</rpm:sourcerpm><rpm:provides>\
         <rpm:entry name=\"package-{number}\" flags=\"EQ\" epoch=\"0\" ver=\"1.{number}\" rel=\"1.lab9\"/>\
         <rpm:entry name=\"package-{number}(x86-64)\" flags=\"EQ\" epoch=\"0\" ver=\"1.{number}\" rel=\"1.lab9\"/>",
        id = package_id(number),
        source = number / 2
    );
    for symbol in 0..6 {
        let _ = write!(text, "<rpm:entry name=\"lib{number}.so.1(V_{symbol})(64bit)\"/>");
    }
    text += "</rpm:provides><rpm:requires>";
    // Those before it, so that no requirement is without its provider, and none goes in a circle.
    for step in (1..=8).map(|power| 3_u32.pow(power)).take_while(|step| *step <= number) {
        let _ = write!(text, "<rpm:entry name=\"lib{}.so.1(V_1)(64bit)\"/>", number - step);
    }
    let _ =
        writeln!(text, "</rpm:requires><file>/usr/bin/program-{number}</file></format></package>");
    text
}

fn file_list(number: u32) -> String {
    let mut text = format!(
        "<package pkgid=\"{}\" name=\"package-{number}\" arch=\"x86_64\">\
         <version epoch=\"0\" ver=\"1.{number}\" rel=\"1.lab9\"/><file>/usr/bin/program-{number}</file>",
        package_id(number)
    );
    for file in 1..FILES {
        let folder = ["data", "doc", "locale/de", "locale/fr"][file as usize % 4];
        let _ =
            write!(text, "<file>/usr/share/package-{number}/{folder}/file-{file:05}.txt</file>");
    }
    text += "</package>\n";
    text
}
