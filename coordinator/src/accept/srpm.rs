//! What follows from an accepted SRPM: its facts, and a task for each architecture that builds
//! it; one task for a package that has no architecture.

use rpm::IndexTag;
use rpmfarm_core::distgit::tag_agrees;
use rpmfarm_core::noarch::{self, NOARCH};
use rpmfarm_core::task::TaskKind;
use rpmfarm_core::{Arch, Target};

use super::{CheckError, Checked};
use crate::store::{NewTask, Srpm};

/// The requirement by which rpmbuild marks a spec with `%generate_buildrequires`.
const DYNAMIC: &str = "rpmlib(DynamicBuildRequires)";

/// Compares an SRPM with what the tag says that was asked for.
///
/// # Errors
/// When the tag names another version or release.
pub fn check_tag(checked: &[Checked], target: &Target, git_ref: &str) -> Result<(), CheckError> {
    let Some(nvr) = target.tagged_nvr(git_ref) else { return Ok(()) };
    let file = checked.first().expect("a checked set of an SRPM task has one file");
    if tag_agrees(nvr, &file.nevra) {
        return Ok(());
    }
    let (made, tag) = (file.nevra.clone().into(), git_ref.to_owned());
    Err(rpmfarm_core::results::Refusal::Tag { made, tag, nvr: nvr.to_owned() }.into())
}

/// Reads the SRPM's header. `arches` are those that the build is for, and `native` those that
/// some worker runs without emulation.
///
/// # Errors
/// When it cannot be built on any of the architectures.
pub fn plan(
    checked: &[Checked],
    predicts: &[String],
    arches: &[Arch],
    native: &[Arch],
) -> Result<(Srpm, Vec<NewTask>), CheckError> {
    let file = checked.first().expect("a checked set of an SRPM task has one file");
    let metadata = &file.inspected.metadata;
    let all = texts(&metadata.get_requires().unwrap_or_default());
    let srpm = Srpm {
        digest: file.digest,
        size: file.size,
        nevra: file.nevra.clone(),
        dynamic: all.iter().any(|requirement| requirement.starts_with(DYNAMIC)),
        requires: all.into_iter().filter(|text| !text.starts_with("rpmlib(")).collect(),
        conflicts: texts(&metadata.get_conflicts().unwrap_or_default()),
        predicts: predicts.to_vec(),
    };
    let wanted: Vec<Arch> = arches.iter().copied().filter(|arch| builds_on(file, *arch)).collect();
    if wanted.is_empty() {
        return Err(rpmfarm_core::results::Refusal::NoArch {
            nevra: file.nevra.clone().into(),
            arches: arches.to_vec(),
        }
        .into());
    }
    let wanted = noarch::build_on(&wanted, is_noarch(file), native);
    let tasks = wanted.into_iter().map(|arch| NewTask { kind: TaskKind::Build, arch }).collect();
    Ok((srpm, tasks))
}

/// Dependencies as rpm prints them.
fn texts(dependencies: &[rpm::Dependency]) -> Vec<String> {
    let mut texts: Vec<String> = dependencies.iter().map(ToString::to_string).collect();
    texts.sort_unstable();
    texts.dedup();
    texts
}

/// Whether the spec says `BuildArch: noarch` of the whole package.
fn is_noarch(file: &Checked) -> bool {
    let header = &file.inspected.metadata.header;
    let build_arches =
        header.get_entry_data_as_string_array(IndexTag::RPMTAG_BUILDARCHS).unwrap_or_default();
    !build_arches.is_empty() && build_arches.iter().all(|arch| *arch == NOARCH)
}

/// `ExclusiveArch` and `ExcludeArch` of the spec.
fn builds_on(file: &Checked, arch: Arch) -> bool {
    let list = |tag: IndexTag| {
        let header = &file.inspected.metadata.header;
        header.get_entry_data_as_string_array(tag).unwrap_or_default()
    };
    let exclusive = list(IndexTag::RPMTAG_EXCLUSIVEARCH);
    let excluded = list(IndexTag::RPMTAG_EXCLUDEARCH);
    let names = |words: &[&str]| words.contains(&arch.as_str());
    // `noarch` in ExclusiveArch says that the package has no architecture, not that it is one.
    (exclusive.is_empty() || names(&exclusive) || exclusive.iter().all(|word| *word == "noarch"))
        && !names(&excluded)
}
