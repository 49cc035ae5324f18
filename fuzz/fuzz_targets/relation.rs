//! See `rpmfarm_fuzzed::fuzz_relation`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rpmfarm_fuzzed::fuzz_relation(data));
