//! `noarch` packages that several architectures made: their content, their differences, and which
//! one the build keeps.

use std::collections::{BTreeMap, BTreeSet};

use rpm::{Dependency, IndexTag, PackageMetadata, Scriptlet};
use rpmfarm_core::noarch::{
    self, Difference, HeaderTags, NoarchCandidate, NoarchPackages, PackageContent, PackageFile,
};
use rpmfarm_core::{Arch, Sha256};

use crate::blobs::Blobs;
use crate::store::{AcceptedTask, ResultPackage};

/// The largest description of a package that is read into memory, in bytes.
const MAX_CONTENT: u64 = 256 << 20;

/// The content of a package, as its header describes it.
///
/// # Errors
/// When a tag cannot be read.
pub fn content(metadata: &PackageMetadata) -> Result<PackageContent, rpm::Error> {
    let mut files = BTreeMap::new();
    // One value for each file, in the order of the entries; a header without files has neither tag.
    let header = &metadata.header;
    let verify = header.get_entry_data_as_u32_array(IndexTag::RPMTAG_FILEVERIFYFLAGS);
    let devices = header.get_entry_data_as_u16_array(IndexTag::RPMTAG_FILERDEVS);
    let (verify, devices) = (verify.unwrap_or_default(), devices.unwrap_or_default());
    for (at, entry) in metadata.get_file_entries()?.iter().enumerate() {
        let link = entry.linkto().filter(|target| !target.is_empty()).map(str::to_owned);
        let digest = || entry.digest().map(|digest| digest.to_string()).unwrap_or_default();
        let file = PackageFile {
            mode: entry.mode().into(),
            owner: format!("{}:{}", entry.user(), entry.group()),
            capabilities: entry.caps().unwrap_or_default().to_owned(),
            flags: entry.flags().bits(),
            content: link.unwrap_or_else(digest),
            verify: Some(verify.get(at).copied().unwrap_or_default()),
            device: Some(devices.get(at).copied().unwrap_or_default()),
        };
        files.insert(entry.path().display().to_string(), file);
    }
    let all = [
        ("requires", metadata.get_requires()?),
        ("provides", metadata.get_provides()?),
        ("conflicts", metadata.get_conflicts()?),
        ("obsoletes", metadata.get_obsoletes()?),
        ("recommends", metadata.get_recommends()?),
        ("suggests", metadata.get_suggests()?),
        ("supplements", metadata.get_supplements()?),
        ("enhances", metadata.get_enhances()?),
    ];
    let by_kind = |text: fn(&Dependency) -> String| {
        all.iter()
            .filter(|(_, dependencies)| !dependencies.is_empty())
            .map(|(kind, dependencies)| {
                ((*kind).to_owned(), dependencies.iter().map(text).collect::<BTreeSet<_>>())
            })
            .collect::<BTreeMap<_, _>>()
    };
    let texts = [
        ("summary", metadata.get_summary()),
        ("description", metadata.get_description()),
        ("group", metadata.get_group()),
        ("license", metadata.get_license()),
        ("url", metadata.get_url()),
    ];
    let texts = texts.into_iter().filter_map(|(name, text)| Some((name.into(), text.ok()?.into())));
    let tags = HeaderTags {
        texts: texts.collect(),
        flagged: by_kind(|dependency| format!("{dependency} {:#x}", dependency.flags.bits())),
    };
    let relations = by_kind(ToString::to_string);
    Ok(PackageContent { files, relations, scripts: scripts(metadata), tags: Some(tags) })
}

/// The digest of the blob that describes a package.
///
/// # Errors
/// When the package cannot be read.
pub fn content_of_blob(blobs: &Blobs, package: Sha256) -> anyhow::Result<Sha256> {
    let inspected = rpmfarm_rpmfile::inspect(&blobs.path(package))?;
    Ok(Sha256::compute(&serde_json::to_vec(&content(&inspected.metadata)?)?))
}

fn scripts(metadata: &PackageMetadata) -> BTreeMap<String, String> {
    let scriptlets = [
        ("%pre", metadata.get_pre_install_script()),
        ("%post", metadata.get_post_install_script()),
        ("%preun", metadata.get_pre_uninstall_script()),
        ("%postun", metadata.get_post_uninstall_script()),
        ("%pretrans", metadata.get_pre_trans_script()),
        ("%posttrans", metadata.get_post_trans_script()),
        ("%verifyscript", metadata.get_verify_script()),
    ];
    let mut all: BTreeMap<String, String> = scriptlets
        .into_iter()
        .filter_map(|(name, scriptlet)| Some((name.to_owned(), script_text(&scriptlet.ok()?))))
        .collect();
    let triggers = [
        ("triggers", IndexTag::RPMTAG_TRIGGERSCRIPTS, IndexTag::RPMTAG_TRIGGERNAME),
        ("file triggers", IndexTag::RPMTAG_FILETRIGGERSCRIPTS, IndexTag::RPMTAG_FILETRIGGERNAME),
        (
            "transaction file triggers",
            IndexTag::RPMTAG_TRANSFILETRIGGERSCRIPTS,
            IndexTag::RPMTAG_TRANSFILETRIGGERNAME,
        ),
    ];
    for (name, scripts, names) in triggers {
        let list = |tag| metadata.header.get_entry_data_as_string_array(tag).unwrap_or_default();
        let text: Vec<&str> = list(names).into_iter().chain(list(scripts)).collect();
        if !text.is_empty() {
            all.insert(name.to_owned(), text.join("\n"));
        }
    }
    all
}

fn script_text(scriptlet: &Scriptlet) -> String {
    let program = scriptlet.program.as_ref().map(|words| words.join(" ")).unwrap_or_default();
    format!("{program}\n{}", scriptlet.script)
}

/// Whether all accepted tasks that made a package describe it alike. Equal descriptions have one
/// digest, so no blob is read.
#[must_use]
pub fn agree(accepted: &[AcceptedTask]) -> bool {
    let mut known = BTreeMap::new();
    accepted.iter().flat_map(|task| &task.packages).all(|made| {
        let first = known.entry(made.package.nevra.to_string()).or_insert(made.content);
        *first == made.content
    })
}

/// The differences between packages that several tasks made.
///
/// # Errors
/// When a description cannot be read.
pub fn differences(blobs: &Blobs, accepted: &[AcceptedTask]) -> anyhow::Result<Vec<Difference>> {
    let mut all = Vec::with_capacity(accepted.len());
    for task in accepted {
        let mut packages = BTreeMap::new();
        for ResultPackage { package, content } in &task.packages {
            if let Some(digest) = content {
                let bytes = blobs.read_small(*digest, MAX_CONTENT)?;
                packages.insert(package.nevra.to_string(), serde_json::from_slice(&bytes)?);
            }
        }
        all.push(NoarchPackages { on: task.kind.rpm_target(task.arch).to_owned(), packages });
    }
    Ok(noarch::differences(&all))
}

/// The packages of a build whose tasks are all accepted, each with the task that made it.
#[must_use]
pub fn taken(order: &[Arch], accepted: &[AcceptedTask]) -> Vec<(usize, ResultPackage)> {
    let all: Vec<(usize, &ResultPackage)> = accepted
        .iter()
        .enumerate()
        .flat_map(|(index, task)| task.packages.iter().map(move |made| (index, made)))
        .collect();
    let candidates: Vec<NoarchCandidate<'_>> = all
        .iter()
        .map(|(index, made)| {
            let AcceptedTask { kind, arch, .. } = accepted[*index];
            NoarchCandidate { kind, arch, nevra: &made.package.nevra }
        })
        .collect();
    let places = noarch::taken(order, &candidates);
    places.into_iter().map(|place| (all[place].0, all[place].1.clone())).collect()
}
