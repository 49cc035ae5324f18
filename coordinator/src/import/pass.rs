//! Imports every build that has no sources yet.

use rpmfarm_core::{BuildId, Failure, FailureStage, Fault, Stage, Target};
use tracing::Instrument as _;

use super::{ImportError, Imported, Importer, Order, above, security};
use crate::blobs::Blobs;
use crate::clock::Clock;
use crate::commands;
use crate::http::host_of;
use crate::retry::Retries;
use crate::store::{Build, FencedStore, Import, StoreError};
use crate::targets::Targets;
use crate::track;
use crate::waits::Waits;
use crate::work::{self, KeyedTaskPool};

/// Gives every build without sources its sources, some builds at once.
#[derive(Clone)]
pub struct ImportStage {
    /// Where upstream is.
    pub targets: Targets,
    /// Fetches sources.
    pub importer: Importer,
    /// Where they are stored.
    pub blobs: Blobs,
    /// Where it is said that a target cannot be used.
    pub waits: Waits,
    /// Whether there is a next try.
    pub retries: Retries,
    /// What time it has become.
    pub clock: Clock,
    /// Imports that are under way, fair between git hosts.
    pub imports: KeyedTaskPool<BuildId>,
}

impl work::Stage for ImportStage {
    const NAME: Stage = Stage::Import;

    async fn pass(&self, store: &FencedStore, now_us: i64) -> anyhow::Result<()> {
        for build in store.builds_to_import(now_us).await? {
            let host = match self.targets.get(&build.target) {
                Ok(target) => host_of(&target.git_url(&build.package)),
                Err(error) => {
                    self.waits.set(build.id(), error.to_string());
                    continue;
                }
            };
            let (stage, store) = (self.clone(), store.clone());
            let span = tracing::info_span!("import", build = build.id);
            let id = build.id();
            let work = async move { stage.import(&store, &build).await };
            self.imports.spawn_for(&host, id, work.instrument(span));
        }
        Ok(())
    }
}

impl ImportStage {
    /// Imports one build and records the sources, or why there are none.
    ///
    /// # Errors
    /// Database errors; a failed import is no error but a failure that is recorded.
    pub async fn import(&self, store: &FencedStore, build: &Build) -> anyhow::Result<()> {
        let target = self.targets.of_build(store, build).await?;
        let git_ref = Some(build.git_ref.as_str()).filter(|text| !text.is_empty());
        let modification_ref = store.modification_ref(build.id()).await?;
        let order = Order {
            git_ref,
            modification_ref: modification_ref.as_deref(),
            bump: store.is_bump(build.id()).await?,
            built: store.built_releases(&build.target, &build.package).await?,
            ..Order::new(&target, &build.package)
        };
        match self.importer.import_as(order).await {
            Ok(imported) => {
                if let Some(moved) = moved_tag(store, &target, build, &imported).await? {
                    let failure = Failure::new(Fault::Package, FailureStage::Import, moved);
                    return Ok(self
                        .retries
                        .record(store, build.id(), None, &failure, self.clock.now_us())
                        .await?);
                }
                if build.submitter == track::SUBMITTER
                    && let Err(why) =
                        above::of_spec(store, &self.blobs, &target, build, &imported).await?
                {
                    let why = commands::not_above(&why);
                    let failure = Failure::new(Fault::Package, FailureStage::Import, why);
                    return Ok(self
                        .retries
                        .record(store, build.id(), None, &failure, self.clock.now_us())
                        .await?);
                }
                security::mark(store, &self.blobs, build, &imported, self.clock.now_us()).await;
                let import = Import {
                    url: imported.bundle.url,
                    commit: imported.bundle.commit,
                    subject: imported.subject,
                    bundle: imported.digest,
                    at_us: self.clock.now_us(),
                };
                tracing::info!(build = build.id, commit = import.commit, "sources imported");
                store.add_sources(build.id(), &import, &imported.record).await?;
            }
            // The coordinator stops: nobody's fault, and the next one's to do.
            Err(ImportError::Cancelled) => {}
            Err(error) => {
                let failure = Failure::from(error);
                self.retries.record(store, build.id(), None, &failure, self.clock.now_us()).await?;
            }
        }
        Ok(())
    }
}

/// Says that a tag points elsewhere than when it was decided, or approved, to build it. What it
/// points to now is a push of its own. (Of a branch the commit itself is asked for.)
async fn moved_tag(
    store: &FencedStore,
    target: &Target,
    build: &Build,
    imported: &Imported,
) -> Result<Option<String>, StoreError> {
    if build.submitter != track::SUBMITTER {
        return Ok(None);
    }
    let repository = target.git_url(&build.package);
    let pushed = store.pushed_commit(build.id(), &repository, &build.git_ref).await?;
    let now = &imported.bundle.commit;
    Ok(pushed.filter(|pushed| pushed != now).map(|pushed| {
        format!(
            "the tag `{}` was to be built at commit {pushed}, and has been moved to {now} \
             since",
            build.git_ref
        )
    }))
}
