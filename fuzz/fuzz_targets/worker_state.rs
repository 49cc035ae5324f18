//! See `rpmfarm_fuzzed::fuzz_worker_state`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rpmfarm_fuzzed::fuzz_worker_state(data));
