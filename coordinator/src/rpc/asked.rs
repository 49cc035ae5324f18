//! What a request for builds asks for, checked before anything is recorded.
//!
//! Owns what is refused of one. It must not know what becomes of the builds.

use std::collections::HashSet;

use rpmfarm_core::arch::UnknownArch;
use rpmfarm_core::queue::Class;
use rpmfarm_core::{Arch, BuildOptions, Target, name};
use rpmfarm_proto::v1;
use tonic::Status;

use crate::store::NewBuild;

/// Packages of one request at most.
const MAX_PACKAGES: usize = 20_000;

/// The builds that are asked for of a target, one for each package.
///
/// # Errors
/// No packages, too many, or one twice; a name that is none; an architecture or a priority that
/// does not exist, or an architecture that the target does not have; options that it does not allow.
pub(super) fn builds(
    request: &v1::StartBuildsRequest,
    target: &Target,
) -> Result<Vec<NewBuild>, Status> {
    let arches = arches(&request.arches, target)?;
    if request.packages.is_empty() || request.packages.len() > MAX_PACKAGES {
        return Err(Status::invalid_argument(format!(
            "{} packages (at least 1, at most {MAX_PACKAGES})",
            request.packages.len()
        )));
    }
    let options: BuildOptions = request.options.clone().unwrap_or_default().into();
    options.check(target).map_err(|error| Status::invalid_argument(error.to_string()))?;
    let class: Class = optional(&request.priority)?.unwrap_or_default();
    let mut builds = Vec::with_capacity(request.packages.len());
    let mut names = HashSet::new();
    for v1::PackageRef { package, git_ref } in &request.packages {
        let bad = |error: name::NameError| Status::invalid_argument(error.to_string());
        name::check_package(package).map_err(bad)?;
        if !git_ref.is_empty() {
            name::check_git_ref(git_ref).map_err(bad)?;
        }
        if !names.insert(package) {
            return Err(Status::invalid_argument(format!("package {package} is named twice")));
        }
        builds.push(NewBuild {
            target: request.target.clone(),
            package: package.clone(),
            git_ref: git_ref.clone(),
            modification_ref: String::new(),
            class,
            arches: arches.clone(),
            options: options.clone(),
        });
    }
    Ok(builds)
}

/// A word of a request that may be empty.
///
/// # Errors
/// When it is not, and means nothing.
pub(super) fn optional<T: std::str::FromStr<Err: ToString>>(
    text: &str,
) -> Result<Option<T>, Status> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|error: T::Err| Status::invalid_argument(error.to_string()))
}

/// The architectures that a request names, each one of the target's.
fn arches(words: &[String], target: &Target) -> Result<Vec<Arch>, Status> {
    let mut arches = Vec::new();
    for word in words {
        let arch: Arch = word
            .parse()
            .map_err(|error: UnknownArch| Status::invalid_argument(error.to_string()))?;
        if !target.arches.contains(&arch) {
            let known: Vec<&str> = target.arches.iter().map(|arch| arch.as_str()).collect();
            return Err(Status::invalid_argument(format!(
                "target {} does not build for {arch} (it does for {})",
                target.name,
                known.join(", ")
            )));
        }
        if !arches.contains(&arch) {
            arches.push(arch);
        }
    }
    Ok(arches)
}
