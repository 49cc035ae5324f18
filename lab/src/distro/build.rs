//! Makes an RPM out of a tree of files, with the host's rpmbuild.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use rpmfarm_core::Arch;

use super::DistroError;
use super::spec::Spec;
use crate::tool;

/// The build time of every package of the lab: 2026-01-01.
const BUILD_TIME: &str = "1767225600";

/// The only rule of rpmbuild for types of files, see magic(5): the word size of ELF files becomes
/// their colour. With the whole database it spends most of its time on classes that no one reads.
const MAGIC: &str = "0\tstring\t\\177ELF\tELF\n>4\tbyte\t1\t32-bit\n>4\tbyte\t2\t64-bit\n";

/// Builds `spec` over the files of `root`, which are moved; returns the package's path. `work` is a
/// directory of this build alone.
pub(super) fn build(
    arch: Arch,
    mut spec: Spec,
    root: &Path,
    work: &Path,
) -> Result<PathBuf, DistroError> {
    spec.files = entries(root)?;
    spec.files.sort();
    let path = work.join("package.spec");
    fs::write(&path, spec.text())?;
    let magic = work.join("magic");
    fs::write(&magic, MAGIC)?;
    let out = work.join("out");
    let mut command = Command::new("rpmbuild");
    command
        .env("SOURCE_DATE_EPOCH", BUILD_TIME)
        .env("MAGIC", &magic)
        .env("HOME", work)
        .current_dir(work);
    command.args(["-bb", "--quiet", "--nodeps", "--target"]).arg(format!("{arch}-linux"));
    command.arg("--buildroot").arg(root);
    let directory = work.display();
    let definitions = [
        format!("_topdir {directory}"),
        format!("_builddir {directory}"),
        format!("_rpmdir {}", out.display()),
        format!("_tmppath {directory}"),
        format!("_dbpath {directory}/db"),
        "_rpmfilename %%{NAME}.rpm".to_owned(),
        // The tree is complete: rpmbuild must not clean, strip, check or index it.
        "__spec_install_pre %{nil}".to_owned(),
        "__spec_install_post %{nil}".to_owned(),
        "__spec_clean_body %{nil}".to_owned(),
        "_build_id_links none".to_owned(),
        "_missing_build_ids_terminate_build 0".to_owned(),
        "_unpackaged_files_terminate_build 0".to_owned(),
        "_binaries_in_noarch_packages_terminate_build 0".to_owned(),
        "_binary_payload w3.zstdio".to_owned(),
        "_buildhost rpmfarm.invalid".to_owned(),
        "use_source_date_epoch_as_buildtime 1".to_owned(),
        "vendor rpmfarm lab".to_owned(),
    ];
    for definition in definitions {
        command.arg("--define").arg(definition);
    }
    tool::output(command.arg(&path)).map_err(|source| DistroError::Package {
        name: spec.name.clone(),
        source: Box::new(source.into()),
    })?;
    Ok(out.join(format!("{}.rpm", spec.name)))
}

fn entries(root: &Path) -> io::Result<Vec<String>> {
    fs::read_dir(root)?
        .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
        .collect()
}
