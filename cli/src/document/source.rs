//! The documents of sources and modifications.

use rpmfarm_proto::v1;
use serde::Serialize;

use super::known;
use crate::show::time;

/// The changes of modifications.
#[derive(Debug, Serialize)]
pub(crate) struct ModificationsPreviewDocument {
    url: String,
    #[serde(rename = "ref")]
    git_ref: String,
    commit: String,
    subject: String,
    modification: Option<ModificationDocument>,
    actions: Vec<ActionDocument>,
    files: Vec<FileDiffDocument>,
}

#[derive(Debug, Serialize)]
struct ModificationDocument {
    url: String,
    commit: String,
    config: String,
    subject: String,
}

#[derive(Debug, Serialize)]
struct ActionDocument {
    place: String,
    what: String,
    state: String,
    message: Option<String>,
}

#[derive(Debug, Serialize)]
struct FileDiffDocument {
    path: String,
    change: String,
    diff: String,
}

impl From<&v1::ModificationRef> for ModificationDocument {
    fn from(modification: &v1::ModificationRef) -> Self {
        let v1::ModificationRef { url, commit, config, subject } = modification.clone();
        Self { url, commit, config, subject }
    }
}

fn files(diffs: &[v1::FileDiff]) -> Vec<FileDiffDocument> {
    let file = |diff: &v1::FileDiff| {
        let v1::FileDiff { path, change, diff } = diff.clone();
        FileDiffDocument { path, change, diff }
    };
    diffs.iter().map(file).collect()
}

impl From<&v1::ModificationsPreview> for ModificationsPreviewDocument {
    fn from(preview: &v1::ModificationsPreview) -> Self {
        let action = |action: &v1::ModificationAction| ActionDocument {
            place: action.place.clone(),
            what: action.what.clone(),
            state: action.state.clone(),
            message: known(&action.message),
        };
        Self {
            url: preview.url.clone(),
            git_ref: preview.git_ref.clone(),
            commit: preview.commit.clone(),
            subject: preview.subject.clone(),
            modification: preview.modification.as_ref().map(Into::into),
            actions: preview.actions.iter().map(action).collect(),
            files: files(&preview.diffs),
        }
    }
}

/// The sources of a build.
#[derive(Debug, Serialize)]
pub(crate) struct SourceRecordDocument {
    build: i64,
    target: String,
    package: String,
    submitter: String,
    imported: Option<String>,
    url: String,
    #[serde(rename = "ref")]
    git_ref: Option<String>,
    commit: String,
    subject: String,
    modification: Option<ModificationDocument>,
    scripts: Vec<String>,
    bump: bool,
    srpm: Option<String>,
    files: Vec<SourceOriginDocument>,
}

#[derive(Debug, Serialize)]
struct SourceOriginDocument {
    name: String,
    sha256: String,
    size: u64,
    from: String,
    checksum: Option<String>,
}

impl From<&v1::Source> for SourceRecordDocument {
    fn from(source: &v1::Source) -> Self {
        let origin = |file: &v1::SourceOrigin| SourceOriginDocument {
            name: file.name.clone(),
            sha256: file.digest.clone(),
            size: file.size,
            from: file.from.clone(),
            checksum: known(&file.checksum),
        };
        Self {
            build: source.build,
            target: source.target.clone(),
            package: source.package.clone(),
            submitter: source.submitter.clone(),
            imported: time::rfc3339(source.imported_us),
            url: source.url.clone(),
            git_ref: known(&source.git_ref),
            commit: source.commit.clone(),
            subject: source.subject.clone(),
            modification: source.modification.as_ref().map(Into::into),
            scripts: source.scripts.clone(),
            bump: source.bump,
            srpm: known(&source.srpm),
            files: source.files.iter().map(origin).collect(),
        }
    }
}

/// The differences between the sources of two builds.
#[derive(Debug, Serialize)]
pub(crate) struct SourceDiffDocument {
    older: i64,
    newer: i64,
    changelog: Vec<String>,
    files: Vec<FileDiffDocument>,
    /// False when scripts changed sources of one of the two: what they did is not compared.
    complete: bool,
    scripted: Vec<ScriptedBuildDocument>,
}

/// A build whose modifications run scripts: its files are as they were before the first.
#[derive(Debug, Serialize)]
struct ScriptedBuildDocument {
    build: i64,
    scripts: Vec<String>,
}

impl From<&v1::SourceDiff> for SourceDiffDocument {
    fn from(diff: &v1::SourceDiff) -> Self {
        Self {
            older: diff.older,
            newer: diff.newer,
            changelog: diff.changelog.clone(),
            files: files(&diff.files),
            complete: diff.scripted.is_empty(),
            scripted: diff
                .scripted
                .iter()
                .map(|scripted| ScriptedBuildDocument {
                    build: scripted.build,
                    scripts: scripted.scripts.clone(),
                })
                .collect(),
        }
    }
}
