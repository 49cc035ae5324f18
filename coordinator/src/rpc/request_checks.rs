//! Checks of a request for builds, before anything is recorded.
//!
//! Owns why a request is refused. It must not know what becomes of the builds.

use std::collections::{BTreeSet, HashSet};
use std::fmt::Display;
use std::hash::Hash;

use rpmfarm_core::batch::{OrderMode, TooLarge, check_size};
use rpmfarm_core::options::OptionError;
use rpmfarm_core::queue::PriorityClass;
use rpmfarm_core::suggestions::did_you_mean;
use rpmfarm_core::words::UnknownWord;
use rpmfarm_core::{Arch, BuildOptions, Target, name};
use rpmfarm_proto::v1;
use tonic::Status;

use crate::commands;
use crate::store::{NewBuild, Store};
use crate::targets::{TargetError, Targets};
use crate::track::{Existence, Tracker};

/// How many packages an error names.
const SHOWN: usize = 10;

/// How many builds or names one call may have, where each costs queries to the store.
pub(super) const MAX_NAMED: usize = 1000;

/// Checks a list in a call: not too long, and nothing in it twice. `thing` is a noun whose plural
/// takes an `s`.
///
/// # Errors
/// `INVALID_ARGUMENT` with the number, or with the repeated name.
pub(super) fn named<T: Eq + Hash + Display>(list: &[T], thing: &str) -> Result<(), Status> {
    few(list, thing)?;
    let mut seen = HashSet::new();
    match list.iter().find(|item| !seen.insert(*item)) {
        Some(twice) => {
            let twice = name::shown(&twice.to_string());
            Err(Status::invalid_argument(format!("{thing} {twice} is named twice")))
        }
        None => Ok(()),
    }
}

/// Checks that a list in a call is not too long.
///
/// # Errors
/// `INVALID_ARGUMENT` with the number.
pub(super) fn few<T>(list: &[T], thing: &str) -> Result<(), Status> {
    if list.len() <= MAX_NAMED {
        return Ok(());
    }
    Err(Status::invalid_argument(format!(
        "{} {thing}s in one call, at most {MAX_NAMED} are accepted; name the others in further calls",
        list.len()
    )))
}

/// The requested builds of a target, one for each package, at most `limit`.
///
/// # Errors
/// No packages, more than the limit, or one twice; an invalid name; an unknown architecture or
/// priority, or an architecture that the target does not have; options that it does not allow.
pub(super) fn builds(
    request: &v1::StartBuildsRequest,
    target: &Target,
    limit: usize,
) -> Result<Vec<NewBuild>, Status> {
    let arches = arches(&request.arches, target)?;
    if request.packages.is_empty() {
        return Err(Status::invalid_argument("no packages (at least 1)"));
    }
    let too_large = |error: TooLarge| Status::invalid_argument(format!("{error} (--max-batch)"));
    check_size(request.packages.len(), limit).map_err(too_large)?;
    let options: BuildOptions = request.options.clone().unwrap_or_default().into();
    let refused = |error: OptionError| Status::invalid_argument(commands::refused_option(&error));
    options.check(target).map_err(refused)?;
    let class: PriorityClass = optional(&request.priority)?.unwrap_or_default();
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

/// Which needs order the builds of a request: as the request says, else as the target says.
///
/// # Errors
/// A word that names no order.
pub(super) fn order(
    request: &v1::StartBuildsRequest,
    target: &Target,
) -> Result<OrderMode, Status> {
    Ok(optional(&request.order)?.unwrap_or(target.order))
}

/// Asks upstream for packages that were never imported: a package that it does not have is refused
/// here, with similar names, instead of being recorded as a build that must fail. When upstream
/// cannot be asked, the builds are accepted, and the answer warns.
///
/// # Errors
/// A package that upstream does not have; database errors.
pub(super) async fn check_upstream(
    store: &Store,
    tracker: &Tracker,
    target: &Target,
    builds: &[NewBuild],
) -> Result<Vec<String>, Status> {
    let asked: Vec<&str> = builds.iter().map(|build| build.package.as_str()).collect();
    let known = store.import_list_packages(&target.name, &asked).await?;
    let new = builds.iter().map(|build| &build.package).filter(|name| !known.contains(*name));
    let new: Vec<String> = new.cloned().collect();
    if new.is_empty() {
        return Ok(Vec::new());
    }
    let Existence { absent, unasked } = tracker.existence(target, &new).await;
    let unasked = unasked.map(|(count, why)| {
        format!(
            "whether upstream has {} is not known yet ({why}); the import will tell",
            if new.len() == 1 { new[0].clone() } else { format!("{count} of the packages") }
        )
    });
    if absent.is_empty() {
        return Ok(unasked.into_iter().collect());
    }
    let known = store.import_list_packages(&target.name, &[]).await?;
    let followed = store.tracked_list(&target.name).await?;
    let names: BTreeSet<&str> = known
        .iter()
        .map(String::as_str)
        .chain(followed.iter().map(|row| row.package.as_str()))
        .filter(|name| absent.iter().all(|(missing, _)| missing != name))
        .collect();
    let lines = absent.iter().take(SHOWN).map(|(package, why)| {
        let meant = did_you_mean(package, names.iter().copied());
        format!("upstream of {} has no package `{package}` ({why}){meant}", target.name)
    });
    let mut lines: Vec<String> = lines.collect();
    if absent.len() > SHOWN {
        lines.push(format!("and {} more packages that it does not have", absent.len() - SHOWN));
    }
    if builds.len() > 1 {
        lines.push("none of the builds was started".to_owned());
    }
    Err(Status::not_found(lines.join("\n")))
}

/// Why a list of builds is empty, when the filter may have a mistyped name; `None` when all its
/// names are known.
///
/// # Errors
/// A target that neither exists nor has builds; database errors.
pub(super) async fn nothing_listed(
    store: &Store,
    targets: &Targets,
    target: &str,
    package: &str,
) -> Result<String, Status> {
    let packages = store.build_list_packages(target).await?;
    if !target.is_empty() && packages.is_empty() {
        // A target whose file is not valid exists.
        match targets.get(target) {
            Err(unknown @ TargetError::Unknown { .. }) => return Err(unknown.into()),
            Err(TargetError::Bad { .. }) | Ok(_) => {}
        }
    }
    if package.is_empty() || packages.contains(package) {
        return Ok(String::new());
    }
    let meant = did_you_mean(package, packages.iter().map(String::as_str));
    let of = if target.is_empty() { String::new() } else { format!(" for {target}") };
    Ok(format!("no build of package `{}`{of} was ever requested{meant}", name::shown(package)))
}

/// Reads a word of a request that may be empty.
///
/// # Errors
/// When it is neither empty nor known.
pub(super) fn optional<T: std::str::FromStr<Err: ToString>>(
    text: &str,
) -> Result<Option<T>, Status> {
    if text.is_empty() { Ok(None) } else { word(text).map(Some) }
}

/// Reads a word of a request.
pub(super) fn word<T: std::str::FromStr<Err: ToString>>(text: &str) -> Result<T, Status> {
    text.parse().map_err(|error: T::Err| Status::invalid_argument(error.to_string()))
}

/// Reads the architectures of a request, which the target must have.
fn arches(words: &[String], target: &Target) -> Result<Vec<Arch>, Status> {
    few(words, "architecture")?;
    let mut arches = Vec::new();
    for word in words {
        let arch: Arch = word
            .parse()
            .map_err(|error: UnknownWord| Status::invalid_argument(error.to_string()))?;
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

#[cfg(test)]
mod tests {
    use rpmfarm_lab::fixtures::{NOWHERE, TargetFile};

    use super::*;

    #[test]
    fn a_request_is_as_large_as_the_operator_allows_and_has_an_order() {
        let mut target = TargetFile::lab(NOWHERE).target();
        let package =
            |number: i32| v1::PackageRef { package: format!("p{number}"), git_ref: String::new() };
        let asked = v1::StartBuildsRequest {
            target: "lab".into(),
            packages: (0..3).map(package).collect(),
            ..v1::StartBuildsRequest::default()
        };
        assert_eq!(builds(&asked, &target, 3).expect("as many").len(), 3);
        let refusal = builds(&asked, &target, 2).unwrap_err().message().to_owned();
        let says = "3 builds in one batch are more than this farm takes (2)";
        assert!(refusal.starts_with(says) && refusal.ends_with("(--max-batch)"), "{refusal}");

        assert_eq!(order(&asked, &target).expect("the default"), OrderMode::Requires);
        target.order = OrderMode::Bootstrap;
        assert_eq!(order(&asked, &target).expect("the target's"), OrderMode::Bootstrap);
        let asked = v1::StartBuildsRequest { order: "none".into(), ..asked };
        assert_eq!(order(&asked, &target).expect("its own"), OrderMode::Unordered);
    }

    #[test]
    fn a_call_names_some_things_and_each_once() {
        assert!(named(&[0; 0], "build").is_ok());
        let most: Vec<i64> = (0..1000).collect();
        assert!(named(&most, "build").is_ok());
        let refusal = |list: &[i64]| named(list, "build").unwrap_err().message().to_owned();
        assert!(refusal(&[7; 3_900_000]).starts_with("3900000 builds in one call, at most 1000"));
        assert_eq!(refusal(&[1, 7, 3, 7]), "build 7 is named twice");
    }
}
