//! What follows from an accepted SRPM: its facts for each architecture, and the tasks that build
//! it.

use anyhow::Context as _;
use rpm::IndexTag;
use rpmfarm_core::noarch::NOARCH;
use rpmfarm_core::results::{
    ResultError, check_bounds, check_expanded, check_requires, check_sources,
};
use rpmfarm_core::source::SourceBundle;
use rpmfarm_core::task::Success;
use rpmfarm_core::terms::{self, Terms};
use rpmfarm_core::track::check_newer;
use rpmfarm_core::{Arch, Evr, Target};
use rpmfarm_sources::distgit::tag_agrees;

use super::{CheckError, CheckedPackage};
use crate::blobs::Blobs;
use crate::dispatch::assignment::MAX_DOCUMENT;
use crate::store::{Build, NewTask, Srpm, Store};
use crate::track;

/// The requirement by which rpmbuild marks a spec with `%generate_buildrequires`.
const DYNAMIC: &str = "rpmlib(DynamicBuildRequires)";

/// The expectations with which the SRPM of a build is compared.
pub struct ExpectedSrpm {
    /// The branch, tag or commit that the build was made from.
    git_ref: String,
    package: String,
    /// The published versions, which the SRPM must be newer than.
    published: Vec<Evr>,
    /// The files that were imported for the build.
    bundle: SourceBundle,
}

impl ExpectedSrpm {
    /// Reads the expectation of a build from the store. Only builds that follow from pushes must be
    /// newer than what is published.
    ///
    /// # Errors
    /// Database errors, and when the build's source bundle cannot be read.
    pub async fn for_build(
        store: &Store,
        blobs: &Blobs,
        build: &Build,
        target: &Target,
    ) -> anyhow::Result<Self> {
        // For a pattern of tags, the source record knows which tag was built.
        let record = store.source_record_fetch(build.id).await?.unwrap_or_default();
        let git_ref =
            if record.git_ref.is_empty() { build.git_ref.clone() } else { record.git_ref };
        let (channel, package) = (target.first_channel(), build.package.clone());
        let published = if build.submitter == track::SUBMITTER {
            store.channel_list_evrs(&target.name, channel, &package).await?
        } else {
            Vec::new()
        };
        let import = store.import_fetch(build.id).await?.context("a task has an import")?;
        let bundle = blobs.read_small(import.bundle, MAX_DOCUMENT)?;
        Ok(Self { git_ref, package, published, bundle: SourceBundle::from_bytes(&bundle)? })
    }

    /// Compares an SRPM with the expectation.
    ///
    /// # Errors
    /// When the SRPM holds other files than those that were imported, when the tag names another
    /// version or release, or when the SRPM is not newer than what is published.
    pub fn check(self, checked: &[CheckedPackage], target: &Target) -> Result<(), CheckError> {
        let file = checked.first().expect("a checked set of an SRPM task has one file");
        check_sources(&file.nevra, &file.sources, &self.bundle)?;
        if let Some(nvr) = target.tagged_nvr(&self.git_ref)
            && !tag_agrees(nvr, &file.nevra)
        {
            let (made, nvr) = (file.nevra.clone().into(), nvr.to_owned());
            return Err(ResultError::Tag { made, tag: self.git_ref.clone(), nvr }.into());
        }
        let channel = target.first_channel();
        check_newer(&self.package, &file.nevra.evr, self.published, channel)
            .map_err(|why| ResultError::from(Box::new(why)).into())
    }
}

/// Plans the build tasks from the SRPM's header. The header has the values of the architecture that
/// the SRPM was made on; the worker reports the values for the others. `arches` are the
/// architectures of the build, and `native` those that some worker runs without emulation.
///
/// # Errors
/// When the package cannot be built on any of the architectures.
pub fn plan(
    checked: &[CheckedPackage],
    success: &Success,
    own: Arch,
    arches: &[Arch],
    native: &[Arch],
) -> Result<(Srpm, Vec<NewTask>), CheckError> {
    let file = checked.first().expect("a checked set of an SRPM task has one file");
    let (header, dynamic) = header(file, success);
    let Success { mut terms, .. } = success.clone();
    terms.insert(own.to_string(), header.clone());
    for terms in terms.values() {
        let package = file.nevra.to_string();
        check_requires(&package, &terms.requires)?;
        for conflict in &terms.conflicts {
            check_bounds(&package, "BuildConflicts", conflict)?;
        }
        for (place, words) in
            [("ExclusiveArch", &terms.exclusive), ("ExcludeArch", &terms.excluded)]
        {
            words.iter().try_for_each(|word| check_expanded(place, word))?;
        }
    }
    let of = |arch: Arch| terms.get(arch.as_str()).unwrap_or(&header);
    let tasks: Vec<NewTask> = terms::tasks(arches, native, of, terms.get(NOARCH))
        .into_iter()
        .map(|(kind, arch)| NewTask { kind, arch })
        .collect();
    if tasks.is_empty() {
        return Err(ResultError::NoArch {
            nevra: file.nevra.clone().into(),
            arches: arches.to_vec(),
        }
        .into());
    }
    let srpm = Srpm {
        digest: file.digest,
        size: file.size,
        nevra: file.nevra.clone(),
        dynamic,
        requires: header.requires,
        conflicts: header.conflicts,
        predicts: header.predicts,
        terms,
    };
    Ok((srpm, tasks))
}

/// The terms of the header, and whether the spec has `%generate_buildrequires`.
fn header(file: &CheckedPackage, success: &Success) -> (Terms, bool) {
    let metadata = &file.inspected.metadata;
    let all = texts(&metadata.get_requires().unwrap_or_default());
    let dynamic = all.iter().any(|requirement| requirement.starts_with(DYNAMIC));
    let words = |tag: IndexTag| -> Vec<String> {
        let words = metadata.header.get_entry_data_as_string_array(tag).unwrap_or_default();
        words.into_iter().map(str::to_owned).collect()
    };
    let build_arches = words(IndexTag::RPMTAG_BUILDARCHS);
    let terms = Terms {
        requires: all.into_iter().filter(|text| !text.starts_with("rpmlib(")).collect(),
        conflicts: texts(&metadata.get_conflicts().unwrap_or_default()),
        predicts: success.predicts.clone(),
        provides: success.provides.clone(),
        exclusive: words(IndexTag::RPMTAG_EXCLUSIVEARCH),
        excluded: words(IndexTag::RPMTAG_EXCLUDEARCH),
        noarch: !build_arches.is_empty() && build_arches.iter().all(|arch| arch == NOARCH),
    };
    (terms, dynamic)
}

/// Dependencies as rpm prints them.
fn texts(dependencies: &[rpm::Dependency]) -> Vec<String> {
    let mut texts: Vec<String> = dependencies.iter().map(ToString::to_string).collect();
    texts.sort_unstable();
    texts.dedup();
    texts
}
