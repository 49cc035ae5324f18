//! See `rpmfarm_fuzz_targets::fuzz_hook_body`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rpmfarm_fuzz_targets::fuzz_hook_body(data));
