//! What follows from an accepted SRPM: its facts, and a task for each architecture that builds
//! it; one task for a package that has no architecture.

use rpm::IndexTag;
use rpmfarm_core::distgit::tag_agrees;
use rpmfarm_core::noarch::{self, NOARCH};
use rpmfarm_core::results::{Refusal, check_expanded, check_requires};
use rpmfarm_core::task::TaskKind;
use rpmfarm_core::track::check_above;
use rpmfarm_core::{Arch, Evr, Target};

use super::{CheckError, Checked};
use crate::farm::Farm;
use crate::store::{Build, NewTask, Srpm, StoreError};
use crate::track;

/// The requirement by which rpmbuild marks a spec with `%generate_buildrequires`.
const DYNAMIC: &str = "rpmlib(DynamicBuildRequires)";

/// What the SRPM of a build must be.
pub struct Expected {
    /// The branch, tag or commit that it is made of.
    git_ref: String,
    package: String,
    /// What it must be above.
    published: Vec<Evr>,
}

impl Expected {
    /// Looks up what is known of a build. Only builds that follow from pushes must be above what
    /// was published.
    ///
    /// # Errors
    /// Database errors.
    pub async fn of(farm: &Farm, build: &Build, target: &Target) -> Result<Self, StoreError> {
        // Of a pattern of tags the record knows which one was built.
        let record = farm.store.source_record(build.id()).await?.unwrap_or_default();
        let git_ref =
            if record.git_ref.is_empty() { build.git_ref.clone() } else { record.git_ref };
        let (channel, package) = (target.first_channel(), build.package.clone());
        let published = if build.submitter == track::SUBMITTER {
            farm.store.published_evrs(&target.name, channel, &package).await?
        } else {
            Vec::new()
        };
        Ok(Self { git_ref, package, published })
    }

    /// Compares an SRPM with it.
    ///
    /// # Errors
    /// When the tag names another version or release, or when it is not above what was published.
    pub fn check(self, checked: &[Checked], target: &Target) -> Result<(), CheckError> {
        let file = checked.first().expect("a checked set of an SRPM task has one file");
        if let Some(nvr) = target.tagged_nvr(&self.git_ref)
            && !tag_agrees(nvr, &file.nevra)
        {
            let (made, nvr) = (file.nevra.clone().into(), nvr.to_owned());
            return Err(Refusal::Tag { made, tag: self.git_ref.clone(), nvr }.into());
        }
        let channel = target.first_channel();
        check_above(&self.package, &file.nevra.evr, self.published, channel)
            .map_err(|why| Refusal::from(Box::new(why)).into())
    }
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
    check_requires(&file.nevra.to_string(), &srpm.requires)?;
    for (place, tag) in [
        ("ExclusiveArch", IndexTag::RPMTAG_EXCLUSIVEARCH),
        ("ExcludeArch", IndexTag::RPMTAG_EXCLUDEARCH),
    ] {
        let words = metadata.header.get_entry_data_as_string_array(tag).unwrap_or_default();
        words.iter().try_for_each(|word| check_expanded(place, word))?;
    }
    let wanted: Vec<Arch> = arches.iter().copied().filter(|arch| builds_on(file, *arch)).collect();
    if wanted.is_empty() {
        return Err(
            Refusal::NoArch { nevra: file.nevra.clone().into(), arches: arches.to_vec() }.into()
        );
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
