//! Messages of workers and clients: the protocol, and requests for certificates.

use std::sync::LazyLock;

use rpmfarm_coordinator::identity::Authority;
use rpmfarm_core::task::{DesiredState, WorkerState};
use rpmfarm_core::{BuildOptions, Target, name};
use rpmfarm_proto::{Message as _, v1};

use crate::one_line;

/// A worker's state: if accepted, it survives encoding.
pub fn fuzz_worker_state(data: &[u8]) {
    let Ok(wire) = v1::WorkerState::decode(data) else { return };
    match WorkerState::try_from(wire) {
        Ok(state) => {
            assert!(name::check_worker(&state.name).is_ok(), "{state:?}");
            assert_eq!(WorkerState::try_from(v1::WorkerState::from(&state)), Ok(state));
        }
        Err(error) => one_line(&error),
    }
}

/// The desired state for a worker, likewise.
pub fn fuzz_desired_state(data: &[u8]) {
    let Ok(wire) = v1::DesiredState::decode(data) else { return };
    match DesiredState::try_from(wire) {
        Ok(state) => {
            assert_eq!(DesiredState::try_from(v1::DesiredState::from(&state)), Ok(state));
        }
        Err(error) => one_line(&error),
    }
}

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    Target::parse("lab.toml", include_str!("../../deploy/targets/lab.toml"))
        .expect("it is a target's file")
});

/// The options of a build, and their effect on a target.
pub fn fuzz_options(data: &[u8]) {
    let Ok(wire) = v1::BuildOptions::decode(data) else { return };
    let options = BuildOptions::from(wire);
    assert_eq!(BuildOptions::from(v1::BuildOptions::from(&options)), options);
    match options.check(&TARGET) {
        Ok(()) => {
            let _ = TARGET.for_build("hello", &options).macro_file("hello");
        }
        Err(error) => one_line(&error),
    }
}

/// A worker's request for a certificate.
pub fn fuzz_csr(data: &[u8]) {
    if let Err(error) = Authority::key_of(&String::from_utf8_lossy(data)) {
        one_line(&error);
    }
}
