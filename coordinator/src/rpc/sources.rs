//! The calls that show the sources of builds, and the changes by modifications.

use rpmfarm_core::source::{Modification, SourceBundle, SourceFile, SourceOrigin, SourceRecord};
use rpmfarm_core::{BuildId, name};
use rpmfarm_proto::v1;
use rpmfarm_proto::v1::sources_server::Sources as SourcesApi;
use rpmfarm_sources::modify::FileDiff;
use tonic::{Request, Response, Status};

use crate::blobs::Blobs;
use crate::import::{ImportError, ImportRequest, Importer, Preview};
use crate::store::{Build, Import, Store};
use crate::targets::Targets;

#[derive(Clone)]
pub struct SourceService {
    pub store: Store,
    pub targets: Targets,
    pub blobs: Blobs,
    /// Fetches the commits of a preview.
    pub importer: Importer,
}

/// The largest source bundle that is read into memory, in bytes.
const MAX_BUNDLE: u64 = 64 << 20;

/// The largest files that are compared by their text, in bytes; larger ones by digest only.
const MAX_COMPARED: u64 = 4 << 20;

/// The greatest size of the diffs in one answer, in bytes.
const MAX_DIFFS: usize = 16 << 20;

#[tonic::async_trait]
impl SourcesApi for SourceService {
    async fn preview_modifications(
        &self,
        request: Request<v1::PreviewModificationsRequest>,
    ) -> Result<Response<v1::ModificationsPreview>, Status> {
        let request = request.into_inner();
        let target = self.targets.get(&request.target)?;
        let import = ImportRequest {
            git_ref: Some(request.git_ref.as_str()).filter(|text| !text.is_empty()),
            modification_ref: Some(request.modification_ref.as_str())
                .filter(|text| !text.is_empty()),
            built: self.store.srpm_list_releases(&target.name, &request.package).await?,
            ..ImportRequest::new(&target, &request.package)
        };
        let preview = self.importer.preview(import).await.map_err(refused)?;
        Ok(Response::new(shown(preview)))
    }

    async fn get_source(
        &self,
        request: Request<v1::GetSourceRequest>,
    ) -> Result<Response<v1::Source>, Status> {
        let (build, import, record) = self.record(BuildId(request.into_inner().build)).await?;
        let srpm = self.store.srpm_fetch(build.id).await?;
        Ok(Response::new(v1::Source {
            build: build.id.0,
            target: build.target,
            package: build.package,
            url: import.url,
            git_ref: record.git_ref,
            commit: import.commit,
            subject: import.subject,
            modification: record
                .modification
                .map(|modification| modification_ref(modification, record.modification_subject)),
            scripts: record.scripts,
            bump: record.bump,
            submitter: build.submitter,
            imported_us: import.at.as_us(),
            files: record.files.into_iter().map(origin).collect(),
            srpm: srpm.map(|srpm| srpm.nevra.to_string()).unwrap_or_default(),
        }))
    }

    async fn diff_sources(
        &self,
        request: Request<v1::DiffSourcesRequest>,
    ) -> Result<Response<v1::SourceDiff>, Status> {
        let request = request.into_inner();
        let (build, import, record) = self.record(BuildId(request.build)).await?;
        let older = match request.older {
            0 => self.before(&build).await?,
            older => BuildId(older),
        };
        let (_, older_import, older_record) = self.record(older).await?;
        let (old, new) = (self.bundle(&older_import)?, self.bundle(&import)?);
        let files = self.differences(&old, &new)?;
        let spec = |bundle: &SourceBundle| -> Result<String, Status> {
            let bytes = self.blobs.read_small(bundle.spec.digest, MAX_BUNDLE)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        let changelog = rpmfarm_sources::spec::new_changelog(&spec(&old)?, &spec(&new)?);
        let files = files.into_iter().map(diff).collect();
        let scripted = [(older, older_record.scripts), (build.id, record.scripts)]
            .into_iter()
            .filter(|(_, scripts)| !scripts.is_empty())
            .map(|(build, scripts)| v1::ScriptedBuild { build: build.0, scripts })
            .collect();
        let (older, newer) = (older.0, build.id.0);
        Ok(Response::new(v1::SourceDiff { older, newer, files, changelog, scripted }))
    }
}

impl SourceService {
    async fn record(&self, id: BuildId) -> Result<(Build, Import, SourceRecord), Status> {
        let missing = || Status::not_found(format!("no build {id}"));
        let build = self.store.build_fetch(id).await?.ok_or_else(missing)?;
        let not_yet = || Status::not_found(format!("build {id} has no sources yet"));
        let import = self.store.import_fetch(id).await?.ok_or_else(not_yet)?;
        let record = self.store.source_record_fetch(id).await?.unwrap_or_default();
        Ok((build, import, record))
    }

    /// The newest earlier build with sources of the same package and target.
    async fn before(&self, build: &Build) -> Result<BuildId, Status> {
        self.store.import_fetch_previous(build).await?.ok_or_else(|| {
            Status::not_found(format!(
                "no build of {} for {} has sources before build {}; name the one to compare with",
                build.package, build.target, build.id
            ))
        })
    }

    fn bundle(&self, import: &Import) -> Result<SourceBundle, Status> {
        let bytes = self.blobs.read_small(import.bundle, MAX_BUNDLE)?;
        SourceBundle::from_bytes(&bytes).map_err(super::internal)
    }

    fn differences(&self, old: &SourceBundle, new: &SourceBundle) -> Result<Vec<FileDiff>, Status> {
        let files = |bundle: &SourceBundle| -> Vec<SourceFile> {
            std::iter::once(&bundle.spec).chain(&bundle.sources).cloned().collect()
        };
        let (old, new) = (files(old), files(new));
        let mut names: Vec<_> = old.iter().chain(&new).map(|file| file.name.clone()).collect();
        names.sort();
        names.dedup();
        let mut differences = Vec::new();
        let mut bytes = 0;
        for name in names {
            let of = |files: &[SourceFile]| files.iter().find(|file| file.name == name).cloned();
            let (before, after) = (of(&old), of(&new));
            let digest = |file: &Option<SourceFile>| file.as_ref().map(|file| file.digest);
            if digest(&before) == digest(&after) {
                continue;
            }
            let Some(difference) = self.difference(&name, before.as_ref(), after.as_ref())? else {
                continue;
            };
            bytes += difference.diff.len();
            if bytes > MAX_DIFFS {
                return Err(Status::out_of_range("the sources differ by more than 16 MiB"));
            }
            differences.push(difference);
        }
        Ok(differences)
    }

    fn difference(
        &self,
        name: &str,
        before: Option<&SourceFile>,
        after: Option<&SourceFile>,
    ) -> Result<Option<FileDiff>, Status> {
        let all = || before.iter().chain(&after);
        if all().all(|file| file.size <= MAX_COMPARED) {
            let read = |file: Option<&SourceFile>| {
                file.map(|file| self.blobs.read_small(file.digest, MAX_COMPARED)).transpose()
            };
            let (before, after) = (read(before)?, read(after)?);
            return Ok(FileDiff::between(name, before.as_deref(), after.as_deref()));
        }
        let described = |file: Option<&SourceFile>| {
            file.map_or_else(
                || "not there".to_owned(),
                |f| format!("{} bytes, sha256 {}", f.size, f.digest),
            )
        };
        let change = match (before, after) {
            (None, _) => "added",
            (_, None) => "removed",
            _ => "changed",
        };
        let diff = format!("{}: {} → {}\n", name::shown(name), described(before), described(after));
        Ok(Some(FileDiff { path: name.to_owned(), change: change.to_owned(), diff }))
    }
}

/// Why there is no preview, in words for the caller.
fn refused(error: ImportError) -> Status {
    let message = error.to_string();
    match error {
        ImportError::Name(_) => Status::invalid_argument(message),
        ImportError::NoRepository { .. }
        | ImportError::NoRef { .. }
        | ImportError::NoCommit { .. } => Status::not_found(message),
        error if error.fault() == rpmfarm_core::Fault::Package => {
            Status::failed_precondition(message)
        }
        error => super::internal(error),
    }
}

fn shown(preview: Preview) -> v1::ModificationsPreview {
    let Preview { url, git_ref, commit, subject, modification, modification_subject, .. } = preview;
    let actions = preview.actions.into_iter().map(|action| v1::ModificationAction {
        place: action.place,
        what: action.what,
        state: action.state.as_str().to_owned(),
        message: action.message,
    });
    v1::ModificationsPreview {
        url,
        git_ref,
        commit,
        subject,
        modification: modification.map(|m| modification_ref(m, modification_subject)),
        actions: actions.collect(),
        diffs: preview.diffs.into_iter().map(diff).collect(),
    }
}

fn modification_ref(modification: Modification, subject: String) -> v1::ModificationRef {
    let Modification { url, commit, config } = modification;
    v1::ModificationRef { url, commit, config, subject }
}

fn origin(origin: SourceOrigin) -> v1::SourceOrigin {
    let SourceOrigin { name, digest, size, from, checksum } = origin;
    v1::SourceOrigin { name, digest: digest.hex(), size, from, checksum }
}

fn diff(diff: FileDiff) -> v1::FileDiff {
    let FileDiff { path, change, diff } = diff;
    v1::FileDiff { path, change, diff }
}
