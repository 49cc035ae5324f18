//! Records that the farm stores and reads again, and files that operators write: each is read as it
//! was written.

use std::fmt::Debug;

use rpmfarm_core::kept_files::{self, KeptFile};
use rpmfarm_core::name::check_part;
use rpmfarm_core::name::{check_file, check_git_ref};
use rpmfarm_core::source::{SourceBundle, SourceRecord};
use rpmfarm_core::terms::AllTerms;
use rpmfarm_core::{Lock, Target};
use rpmfarm_sources::modify::ScriptPlan;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::one_line;

/// The lock of a root.
pub fn fuzz_lock(data: &[u8]) {
    let Ok(lock) = Lock::from_bytes(data) else { return };
    assert_eq!(Lock::from_bytes(&lock.to_bytes()).expect("it was written so"), lock);
    assert_eq!(lock.layer_ids().len(), lock.layers.len());
}

/// The sources of a build.
pub fn fuzz_bundle(data: &[u8]) {
    let Ok(bundle) = SourceBundle::from_bytes(data) else { return };
    assert_eq!(SourceBundle::from_bytes(&bundle.to_bytes()).expect("it was written so"), bundle);
}

/// The steps that are left for the cage.
pub fn fuzz_plan(data: &[u8]) {
    let Ok(plan) = ScriptPlan::from_bytes(data) else { return };
    for file in plan.tree.iter().chain(&plan.modifications) {
        assert!(file.path.split('/').all(|part| check_part(part).is_ok()), "{file:?}");
    }
    assert_eq!(ScriptPlan::from_bytes(&plan.to_bytes()).expect("it was written so"), plan);
}

/// Records of a task: its sources, the terms of its spec, the kept files.
pub fn fuzz_records(data: &[u8]) {
    let _ = again::<SourceRecord>(data);
    let _ = again::<AllTerms>(data);
    if let Some(files) = again::<Vec<KeptFile>>(data) {
        match kept_files::check(&files) {
            Ok(()) => assert!(files.iter().all(|file| kept_files::check_path(&file.path).is_ok())),
            Err(error) => one_line(&error),
        }
    }
}

fn again<T: DeserializeOwned + Serialize + PartialEq + Debug>(data: &[u8]) -> Option<T> {
    let read: T = serde_json::from_slice(data).ok()?;
    let bytes = serde_json::to_vec(&read).expect("what was JSON can be written as such");
    assert_eq!(serde_json::from_slice::<T>(&bytes).expect("it was written so"), read);
    Some(read)
}

/// A target file: every accepted one can be used for any package.
pub fn fuzz_target(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(target) = Target::parse("lab.toml", text) else { return };
    assert!(check_file(&target.name).is_ok(), "{}", target.name);
    let git_ref = target.upstream.git_ref.fill(&[("name", "name")]);
    assert!(check_git_ref(&git_ref).is_ok(), "{git_ref}");
    for package in target.packages.keys().map(String::as_str).chain(["hello"]) {
        assert!(target.spec_names(package).iter().all(|name| !name.contains('/')), "{package}");
        let _ = (target.git_url(package), target.macro_file(package), target.limits_of(package));
        let _ = (target.modules_of(package), target.needs_of(package), target.allowed(package));
    }
}
