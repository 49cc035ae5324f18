//! Packages of no architecture that several architectures made: what they consist of, whether
//! they agree, and which of them the build has.

use std::collections::BTreeMap;

use rpm::{Dependency, IndexTag, PackageMetadata, Scriptlet};
use rpmfarm_core::noarch::{self, Content, File, Made, NOARCH};
use rpmfarm_core::{Arch, Failure, Sha256};

use crate::blobs::Blobs;
use crate::store::{AcceptedTask, MadePackage};

/// The largest description of a package that is read into memory, in bytes.
const MAX_CONTENT: u64 = 256 << 20;

/// What a package consists of, as its header says.
///
/// # Errors
/// When a tag cannot be read.
pub fn content(metadata: &PackageMetadata) -> Result<Content, rpm::Error> {
    let mut files = BTreeMap::new();
    for entry in metadata.get_file_entries()? {
        let link = entry.linkto().filter(|target| !target.is_empty()).map(str::to_owned);
        let digest = || entry.digest().map(|digest| digest.to_string()).unwrap_or_default();
        let file = File {
            mode: entry.mode().into(),
            owner: format!("{}:{}", entry.user(), entry.group()),
            capabilities: entry.caps().unwrap_or_default().to_owned(),
            flags: entry.flags().bits(),
            content: link.unwrap_or_else(digest),
        };
        files.insert(entry.path().display().to_string(), file);
    }
    let texts = |dependencies: Vec<Dependency>| {
        dependencies.iter().map(ToString::to_string).collect::<std::collections::BTreeSet<_>>()
    };
    let relations = [
        ("requires", metadata.get_requires()?),
        ("provides", metadata.get_provides()?),
        ("conflicts", metadata.get_conflicts()?),
        ("obsoletes", metadata.get_obsoletes()?),
        ("recommends", metadata.get_recommends()?),
        ("suggests", metadata.get_suggests()?),
        ("supplements", metadata.get_supplements()?),
        ("enhances", metadata.get_enhances()?),
    ]
    .into_iter()
    .map(|(kind, dependencies)| (kind.to_owned(), texts(dependencies)))
    .filter(|(_, texts)| !texts.is_empty())
    .collect();
    Ok(Content { files, relations, scripts: scripts(metadata) })
}

/// The digest of the description of a package that is a blob.
///
/// # Errors
/// When it cannot be read.
pub fn content_of_blob(blobs: &Blobs, package: Sha256) -> anyhow::Result<Sha256> {
    let inspected = rpmfarm_rpmfile::inspect(&blobs.path(package))?;
    Ok(Sha256::of(&serde_json::to_vec(&content(&inspected.metadata)?)?))
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

/// Whether accepted tasks made the same packages of no architecture. Equal descriptions have one
/// digest, so nothing is read for that.
#[must_use]
pub fn agree(accepted: &[AcceptedTask]) -> bool {
    let of = |task: &AcceptedTask| -> Vec<_> {
        let noarch = task.packages.iter().filter(|made| made.package.nevra.arch == NOARCH);
        noarch.map(|made| (made.package.nevra.to_string(), made.content)).collect()
    };
    accepted.windows(2).all(|pair| of(&pair[0]) == of(&pair[1]))
}

/// The verdict on tasks that do not agree.
///
/// # Errors
/// When a description cannot be read.
pub fn verdict(blobs: &Blobs, accepted: &[AcceptedTask]) -> anyhow::Result<Option<Failure>> {
    let mut all = Vec::with_capacity(accepted.len());
    for task in accepted {
        let mut packages = BTreeMap::new();
        for MadePackage { package, content } in &task.packages {
            if let Some(digest) = content {
                let bytes = blobs.read_small(*digest, MAX_CONTENT)?;
                packages.insert(package.nevra.to_string(), serde_json::from_slice(&bytes)?);
            }
        }
        all.push(Made { arch: task.arch, packages });
    }
    Ok(noarch::verdict(&all))
}

/// The packages that a build has when all its tasks are accepted, each with the task that made
/// it: of a package that several made, that of the first architecture in the target's order.
#[must_use]
pub fn taken(order: &[Arch], accepted: &[AcceptedTask]) -> Vec<(usize, MadePackage)> {
    let all: Vec<(usize, &MadePackage)> = accepted
        .iter()
        .enumerate()
        .flat_map(|(index, task)| task.packages.iter().map(move |made| (index, made)))
        .collect();
    let named: Vec<(Arch, String)> = all
        .iter()
        .map(|(index, made)| (accepted[*index].arch, made.package.nevra.to_string()))
        .collect();
    let places = noarch::taken(order, &named);
    places.into_iter().map(|place| (all[place].0, all[place].1.clone())).collect()
}
