//! The lock: the exact packages of a build root, by digest. It is the hermetic input of a build.
//!
//! A root is made in layers. The worker unpacks `bootstrap` by itself; the rpm inside it
//! installs `layers[0]`, the base root, into an empty directory; each further layer is installed
//! on top of the one before. Two builds whose layers have the same ids share them.

use serde::{Deserialize, Serialize};

use crate::options::BuildOptions;
use crate::{Arch, Nevra, Sha256};

/// Id of the farm's own repository in solver pools and locks. No other repository has it.
pub const FARM: &str = "farm";

/// One package of a root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockedPackage {
    pub nevra: Nevra,
    /// SHA-256 of the whole file: its name in the blob store.
    pub digest: Sha256,
    /// Size of the file in bytes.
    pub size: u64,
    /// Name of the source package that it was built from; empty where the metadata do not say it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// Id of the repository that it comes from; [`FARM`] for the farm's own builds.
    pub origin: String,
    /// Its path, relative to `base` or else to that repository's root; empty for the farm's own.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub location: String,
    /// The URL that `location` is relative to, where the metadata name one (`xml:base`).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub base: String,
    /// The module stream that it belongs to, `NAME:STREAM`; empty for packages of no module.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub module: String,
}

/// Packages that are installed in one rpm transaction. Sorted by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Layer {
    packages: Vec<LockedPackage>,
}

impl Layer {
    /// A layer of these packages, sorted, so that their order does not depend on the solver.
    #[must_use]
    pub fn new(mut packages: Vec<LockedPackage>) -> Self {
        packages.sort_by(|a, b| {
            (&a.nevra.name, &a.nevra.arch, a.digest).cmp(&(&b.nevra.name, &b.nevra.arch, b.digest))
        });
        packages.dedup();
        Self { packages }
    }

    /// Its packages, sorted.
    #[must_use]
    pub fn packages(&self) -> &[LockedPackage] {
        &self.packages
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.packages.is_empty()
    }
}

/// Everything that goes into a build root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// Name of the target it was solved for.
    pub target: String,
    /// Architecture of the root.
    pub arch: Arch,
    /// The packages that the worker unpacks itself, to have the target's own rpm.
    pub bootstrap: Layer,
    /// The base root, then the layers of build requirements; empty layers are left out.
    pub layers: Vec<Layer>,
    /// The options of the build's request.
    #[serde(default, skip_serializing_if = "BuildOptions::is_nothing")]
    pub options: BuildOptions,
}

/// The version of how roots are made from locks; raising it makes all cached roots stale.
const ROOT_FORMAT: &str = "rpmfarm root 1";

impl Lock {
    /// All packages of all layers, including the bootstrap root.
    pub fn packages(&self) -> impl Iterator<Item = &LockedPackage> {
        self.bootstrap.packages.iter().chain(self.layers.iter().flat_map(|layer| &layer.packages))
    }

    /// The id of the bootstrap root: a digest of its packages' digests.
    #[must_use]
    pub fn bootstrap_id(&self) -> Sha256 {
        root_id(self.arch, None, &self.bootstrap)
    }

    /// The id of each layer on top of all before it; the last one names the whole root.
    #[must_use]
    pub fn layer_ids(&self) -> Vec<Sha256> {
        let mut below = self.bootstrap_id();
        self.layers
            .iter()
            .map(|layer| {
                below = root_id(self.arch, Some(below), layer);
                below
            })
            .collect()
    }

    /// The bytes that are stored and whose digest is the lock's name.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a lock has no map with keys that JSON lacks")
    }

    /// Reads the stored bytes.
    ///
    /// # Errors
    /// When they are not a lock.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}

fn root_id(arch: Arch, below: Option<Sha256>, layer: &Layer) -> Sha256 {
    let mut text = format!("{ROOT_FORMAT}\n{arch}\n");
    if let Some(below) = below {
        text.push_str(&format!("below {below}\n"));
    }
    for package in &layer.packages {
        text.push_str(&format!("{}\n", package.digest));
    }
    Sha256::compute(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str) -> LockedPackage {
        LockedPackage {
            nevra: format!("{name}-1-1.noarch").parse().expect("a NEVRA"),
            digest: Sha256::compute(name.as_bytes()),
            size: 1,
            source: String::new(),
            origin: "base".into(),
            location: format!("{name}.rpm"),
            base: String::new(),
            module: String::new(),
        }
    }

    fn lock(names: &[&[&str]]) -> Lock {
        let layer = |names: &[&str]| Layer::new(names.iter().map(|n| package(n)).collect());
        Lock {
            target: "t".into(),
            arch: Arch::X86_64,
            bootstrap: layer(names[0]),
            layers: names[1..].iter().map(|n| layer(n)).collect(),
            options: BuildOptions::default(),
        }
    }

    #[test]
    fn ids_depend_on_content_and_on_what_is_below_not_on_order() {
        let a = lock(&[&["rpm"], &["bash", "gcc"], &["x"]]);
        let b = lock(&[&["rpm"], &["gcc", "bash"], &["x"]]);
        assert_eq!(a.layer_ids(), b.layer_ids());
        let c = lock(&[&["rpm"], &["gcc"], &["x"]]);
        assert_ne!(a.layer_ids()[1], c.layer_ids()[1]);
        let d = lock(&[&["rpm"], &["bash", "gcc"], &["y"]]);
        assert_eq!(a.layer_ids()[0], d.layer_ids()[0]);
        assert_ne!(a.layer_ids()[1], d.layer_ids()[1]);
    }

    #[test]
    fn survives_storage() {
        let a = lock(&[&["rpm"], &["bash"]]);
        assert_eq!(Lock::from_bytes(&a.to_bytes()).expect("parses"), a);
        // What was locked before there were options has the bytes and the name that it had.
        assert!(!String::from_utf8_lossy(&a.to_bytes()).contains("options"));
        let options = BuildOptions { nocheck: true, ..BuildOptions::default() };
        let b = Lock { options, ..a.clone() };
        assert_eq!(Lock::from_bytes(&b.to_bytes()).expect("parses"), b);
        assert_eq!(a.layer_ids(), b.layer_ids(), "the root is the same");
    }
}
