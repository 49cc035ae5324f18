//! Imports every build that has no sources yet.

use rpmfarm_core::{BuildId, Failure, Fault, Target};
use tracing::Instrument as _;

use super::{ImportError, Imported, Order, above, security};
use crate::clock::now_us;
use crate::farm::Farm;
use crate::http::host_of;
use crate::retry;
use crate::store::{Build, Import, StoreError};
use crate::track;
use crate::work::Crew;

/// One look: every build without sources gets them.
///
/// # Errors
/// Database errors.
pub async fn pass(farm: &Farm, crew: &Crew<BuildId>, now_us: i64) -> anyhow::Result<()> {
    for build in farm.store.builds_to_import(now_us).await? {
        let host = match farm.targets.get(&build.target) {
            Ok(target) => host_of(&target.git_url(&build.package)),
            Err(error) => {
                farm.waits.set(build.id(), error.to_string());
                continue;
            }
        };
        let farm = farm.clone();
        let span = tracing::info_span!("import", build = build.id);
        let id = build.id();
        crew.start_for(&host, id, async move { import(&farm, &build).await }.instrument(span));
    }
    Ok(())
}

/// Imports one build and records the sources, or why there are none.
///
/// # Errors
/// Database errors; a failed import is no error but a failure that is recorded.
pub async fn import(farm: &Farm, build: &Build) -> anyhow::Result<()> {
    let target = farm.target_of(build).await?;
    let git_ref = Some(build.git_ref.as_str()).filter(|text| !text.is_empty());
    let modification_ref = farm.store.modification_ref(build.id()).await?;
    let order = Order {
        git_ref,
        modification_ref: modification_ref.as_deref(),
        bump: farm.store.is_bump(build.id()).await?,
        built: farm.store.built_releases(&build.target, &build.package).await?,
        ..Order::new(&target, &build.package)
    };
    match farm.importer.import_as(order).await {
        Ok(imported) => {
            if let Some(moved) = moved_tag(farm, &target, build, &imported).await? {
                let failure = Failure::new(Fault::Package, "import", moved);
                return Ok(retry::record(farm, build.id(), None, &failure, now_us()).await?);
            }
            if build.submitter == track::SUBMITTER
                && let Err(why) = above::of_spec(farm, &target, build, &imported).await?
            {
                let failure = Failure::new(Fault::Package, "import", why.to_string());
                return Ok(retry::record(farm, build.id(), None, &failure, now_us()).await?);
            }
            security::mark(farm, build, &imported, now_us()).await;
            let import = Import {
                url: imported.bundle.url,
                commit: imported.bundle.commit,
                subject: imported.subject,
                bundle: imported.digest,
                at_us: now_us(),
            };
            tracing::info!(build = build.id, commit = import.commit, "sources imported");
            farm.store.add_sources(build.id(), &import, &imported.record).await?;
        }
        // The coordinator stops: nobody's fault, and the next one's to do.
        Err(ImportError::Cancelled) => {}
        Err(error) => {
            let failure = Failure::from(error);
            retry::record(farm, build.id(), None, &failure, now_us()).await?;
        }
    }
    Ok(())
}

/// Says that a tag points elsewhere than when it was decided, or approved, to build it. What it
/// points to now is a push of its own. (Of a branch the commit itself is asked for.)
async fn moved_tag(
    farm: &Farm,
    target: &Target,
    build: &Build,
    imported: &Imported,
) -> Result<Option<String>, StoreError> {
    if build.submitter != track::SUBMITTER {
        return Ok(None);
    }
    let repository = target.git_url(&build.package);
    let pushed = farm.store.pushed_commit(build.id(), &repository, &build.git_ref).await?;
    let now = &imported.bundle.commit;
    Ok(pushed.filter(|pushed| pushed != now).map(|pushed| {
        format!(
            "the tag `{}` was to be built at commit {pushed}, and has been moved to {now} since",
            build.git_ref
        )
    }))
}
