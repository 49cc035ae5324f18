//! See `rpmfarm_fuzz_targets::fuzz_pack`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rpmfarm_fuzz_targets::fuzz_pack(data));
