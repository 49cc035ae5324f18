//! Accepted packages and their signed forms.

use std::collections::BTreeSet;

use rpmfarm_core::task::Outcome;
use rpmfarm_core::{Arch, BuildId, Sha256, TaskId};

use super::{Ended, NewPackage, Package, SameNevra, Signature, SignedPackage, Srpm, Store};
use crate::planted::PlantedBug;

impl Store {
    /// All accepted packages of a target.
    #[must_use]
    pub fn package_list(&self, target: &str) -> Vec<Package> {
        self.packages
            .iter()
            .filter(|((of, _), _)| of == target)
            .map(|(_, (package, _))| package.clone())
            .collect()
    }

    /// How many packages of a target are accepted: it changes whenever the pool does.
    #[must_use]
    pub fn pool_fetch_generation(&self, target: &str) -> i64 {
        self.packages.keys().filter(|(of, _)| of == target).map(|_| 1).sum()
    }

    /// Packages of a build with their signed forms under a key: those that it was the first to
    /// make, and those that are the same as another build of its target had made before.
    #[must_use]
    pub fn package_list_of_build(&self, build: BuildId, key: &str) -> Vec<SignedPackage> {
        let Some(target) = self.build_fetch(build).map(|build| &build.target) else {
            return Vec::new();
        };
        let accepted = self.accepted_digests(build);
        let own = |package: &Package| package.build == build || accepted.contains(&package.digest);
        let rows =
            self.packages.iter().filter(|((of, _), (package, _))| of == target && own(package));
        rows.map(|(_, (package, _))| self.with_signature(package, key)).collect()
    }

    /// Digests of all files that the accepted attempts of a build announced.
    fn accepted_digests(&self, build: BuildId) -> BTreeSet<Sha256> {
        let tasks = self.task_list(build);
        let accepted = tasks.iter().filter_map(|task| self.acceptances.get(&task.id.0));
        let reports = accepted.filter_map(|(attempt, ..)| self.attempt_ends.get(attempt));
        let files = reports.filter_map(|(end, _)| match end {
            Ended::Report(Outcome::Succeeded(success)) => Some(&success.files),
            _ => None,
        });
        files.flatten().map(|file| file.digest).collect()
    }

    /// Packages of a target that are signed with a key.
    #[must_use]
    pub fn package_list_signed(&self, target: &str, key: &str) -> Vec<SignedPackage> {
        let all = self.package_list(target);
        let rows = all.iter().map(|package| self.with_signature(package, key));
        rows.filter(|row| row.signature.is_some()).collect()
    }

    fn with_signature(&self, package: &Package, key: &str) -> SignedPackage {
        let signature = self.signatures.get(&(package.digest, key.to_owned()));
        SignedPackage {
            package: package.clone(),
            signature: signature.map(|(signature, _)| signature.clone()),
        }
    }

    /// When the last package that a build was the first to make was signed with a key; 0 when none
    /// is.
    #[must_use]
    pub fn build_fetch_signed_us(&self, build: BuildId, key: &str) -> i64 {
        let of = self.packages.values().filter(|(package, _)| package.build == build);
        of.filter_map(|(package, _)| self.signatures.get(&(package.digest, key.to_owned())))
            .map(|(_, at_us)| *at_us)
            .max()
            .unwrap_or(0)
    }

    /// Records signed forms.
    pub fn signature_insert(&mut self, key: &str, signatures: &[(Sha256, Signature)], now_us: i64) {
        for (digest, signature) in signatures {
            let entry = self.signatures.entry((*digest, key.to_owned()));
            entry.or_insert_with(|| (signature.clone(), now_us));
        }
        self.version += 1;
    }

    /// Refuses a source package whose name the target has with another content.
    ///
    /// # Errors
    /// For such a name.
    pub fn package_check_unused(
        &self,
        target: &str,
        package: &NewPackage,
    ) -> Result<(), SameNevra> {
        let key = (target.to_owned(), package.nevra.to_string());
        match self.packages.get(&key) {
            Some((row, _))
                if row.digest != package.digest && !self.planted(PlantedBug::TwoDigests) =>
            {
                Err(SameNevra {
                    nevra: key.1,
                    build: row.build.0,
                    existing: row.digest,
                    new: package.digest,
                })
            }
            _ => Ok(()),
        }
    }

    /// Records accepted packages.
    ///
    /// # Errors
    /// For a NEVRA that the target has with another digest; then the transaction must not be
    /// committed.
    pub fn package_insert(
        &mut self,
        target: &str,
        build: BuildId,
        task: TaskId,
        arch: Arch,
        packages: &[NewPackage],
    ) -> Result<(), SameNevra> {
        for NewPackage { nevra, digest, size } in packages {
            let key = (target.to_owned(), nevra.to_string());
            match self.packages.get(&key) {
                Some((row, _)) if row.digest == *digest => continue,
                Some((row, _)) if !self.planted(PlantedBug::TwoDigests) => {
                    return Err(SameNevra {
                        nevra: key.1,
                        build: row.build.0,
                        existing: row.digest,
                        new: *digest,
                    });
                }
                _ => {}
            }
            let row = Package { nevra: nevra.clone(), build, arch, digest: *digest, size: *size };
            self.packages.insert(key, (row, task.0));
        }
        self.version += 1;
        Ok(())
    }

    /// Records the SRPM of a build.
    pub fn srpm_insert(&mut self, build: BuildId, srpm: &Srpm) {
        self.srpms.insert(build.0, srpm.clone());
        self.version += 1;
    }
}
