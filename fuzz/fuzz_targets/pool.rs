//! See `rpmfarm_fuzz_targets::fuzz_pool`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rpmfarm_fuzz_targets::fuzz_pool(data));
