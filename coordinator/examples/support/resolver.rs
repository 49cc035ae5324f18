//! A resolver of a farm that has built nothing, for measurements.

use std::path::Path;

use anyhow::Context as _;
use rpmfarm_coordinator::blobs::Blobs;
use rpmfarm_coordinator::resolve::{
    DownloadTimeouts, FarmPackages, FarmUpdate, Requirements, Resolver, solver,
};
use rpmfarm_coordinator::store::StoreError;
use rpmfarm_core::{Arch, Target};

/// The packages of such a farm.
pub(crate) struct NoPackages;

impl FarmPackages for NoPackages {
    async fn generation(&self, _: &str) -> Result<i64, StoreError> {
        Ok(0)
    }

    async fn update(&self, _: &str, since: Option<i64>) -> Result<FarmUpdate, StoreError> {
        Ok(FarmUpdate { is_whole: since.is_none(), ..FarmUpdate::default() })
    }
}

/// A resolver with a data directory of its own, and its request.
pub(crate) struct Scene {
    pub(crate) resolver: Resolver,
    pub(crate) target: Target,
    pub(crate) arch: Arch,
    pub(crate) wanted: Requirements,
    _data: tempfile::TempDir,
}

impl Scene {
    /// For the target of a file, an architecture, and requirements beyond the base root.
    ///
    /// # Errors
    /// When the target is invalid, or the directory cannot be made.
    pub(crate) fn new(file: &str, arch: &str, requirements: &[String]) -> anyhow::Result<Self> {
        let target = Target::parse(file, &std::fs::read_to_string(file)?)?;
        let data = tempfile::tempdir()?;
        let resolver = Resolver::new(
            data.path().join("metadata"),
            Path::new(file).parent().context("a file lies in a directory")?,
            Blobs::open(data.path().join("blobs"))?,
            DownloadTimeouts::default(),
            solver::program()?,
        )?;
        let layers = vec![requirements.to_vec()];
        let wanted = Requirements { layers, ..Requirements::default() };
        Ok(Self { resolver, target, arch: arch.parse()?, wanted, _data: data })
    }
}
