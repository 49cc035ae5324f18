//! Imports every build that has no sources yet.

use rpmfarm_core::{BuildId, Failure, FailureStage, Fault, Stage, Target, Timestamp};
use tracing::Instrument as _;

use super::{ImportError, ImportRequest, ImportedCommit, Importer, security, version_check};
use crate::blobs::Blobs;
use crate::clock::Clock;
use crate::commands;
use crate::http::host_of;
use crate::retry::Retries;
use crate::store::{Build, FencedStore, Import, StoreError};
use crate::targets::Targets;
use crate::track;
use crate::wait_reasons::LocalWaitReasons;
use crate::work::{self, KeyedTaskPool};

/// Gives every build without sources its sources, several builds side by side.
#[derive(Clone)]
pub struct ImportStage {
    pub targets: Targets,
    pub importer: Importer,
    /// The store of their files.
    pub blobs: Blobs,
    /// Where the reason is shown when a target cannot be used.
    pub waits: LocalWaitReasons,
    /// Decides whether there is a next try.
    pub retries: Retries,
    /// The clock that is read while the stage works.
    pub clock: Clock,
    /// Imports that are under way, fair between git hosts.
    pub imports: KeyedTaskPool<BuildId>,
}

impl work::Stage for ImportStage {
    const NAME: Stage = Stage::Import;

    async fn pass(&self, store: &FencedStore, now: Timestamp) -> anyhow::Result<()> {
        for build in store.build_list_to_import(now).await? {
            let host = match self.targets.get(&build.target) {
                Ok(target) => host_of(&target.git_url(&build.package)),
                Err(error) => {
                    self.waits.set(build.id, error.to_string());
                    continue;
                }
            };
            let (stage, store) = (self.clone(), store.clone());
            let span = tracing::info_span!("import", build = build.id.0);
            let id = build.id;
            let work = async move { stage.import(&store, &build).await };
            self.imports.spawn_for(&host, id, work.instrument(span));
        }
        Ok(())
    }
}

impl ImportStage {
    /// Imports one build, and records its sources or its failure.
    ///
    /// # Errors
    /// Database errors. A failed import is not an error: the failure is recorded.
    pub async fn import(&self, store: &FencedStore, build: &Build) -> anyhow::Result<()> {
        let target = self.targets.of_build(store, build).await?;
        let git_ref = Some(build.git_ref.as_str()).filter(|text| !text.is_empty());
        let modification_ref = store.build_fetch_modification_ref(build.id).await?;
        let order = ImportRequest {
            git_ref,
            modification_ref: modification_ref.as_deref(),
            bump: store.build_is_bump(build.id).await?,
            built: store.srpm_list_releases(&build.target, &build.package).await?,
            ..ImportRequest::new(&target, &build.package)
        };
        match self.importer.import_as(order).await {
            Ok(imported) => {
                if let Some(moved) = moved_tag(store, &target, build, &imported).await? {
                    let failure = Failure::new(Fault::Package, FailureStage::Import, moved);
                    return Ok(self
                        .retries
                        .record(store, build.id, None, &failure, self.clock.time())
                        .await?);
                }
                if build.submitter == track::SUBMITTER
                    && let Err(why) =
                        version_check::check_spec(store, &self.blobs, &target, build, &imported)
                            .await?
                {
                    let why = commands::not_newer(&why);
                    let failure = Failure::new(Fault::Package, FailureStage::Import, why);
                    return Ok(self
                        .retries
                        .record(store, build.id, None, &failure, self.clock.time())
                        .await?);
                }
                security::mark(store, &self.blobs, build, &imported, self.clock.time()).await;
                let import = Import {
                    url: imported.bundle.url,
                    commit: imported.bundle.commit,
                    subject: imported.subject,
                    bundle: imported.digest,
                    at: self.clock.time(),
                };
                tracing::info!(build = build.id.0, commit = import.commit, "sources imported");
                store.import_insert_with_record(build.id, &import, &imported.record).await?;
            }
            // The coordinator stops: not a failure, and the next coordinator imports the build.
            Err(ImportError::Cancelled) => {}
            Err(error) => {
                let failure = Failure::from(error);
                self.retries.record(store, build.id, None, &failure, self.clock.time()).await?;
            }
        }
        Ok(())
    }
}

/// The failure when a tag points to another commit than when its build was decided or approved. The
/// new commit is a push of its own. (For a branch, the commit itself is requested.)
async fn moved_tag(
    store: &FencedStore,
    target: &Target,
    build: &Build,
    imported: &ImportedCommit,
) -> Result<Option<String>, StoreError> {
    if build.submitter != track::SUBMITTER {
        return Ok(None);
    }
    let repository = target.git_url(&build.package);
    let pushed = store.push_fetch_commit(build.id, &repository, &build.git_ref).await?;
    let now = &imported.bundle.commit;
    Ok(pushed.filter(|pushed| pushed != now).map(|pushed| {
        format!(
            "the tag `{}` was to be built at commit {pushed}, and has been moved to {now} \
             since",
            build.git_ref
        )
    }))
}
