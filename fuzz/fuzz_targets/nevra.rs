//! See `rpmfarm_fuzzed::fuzz_nevra`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rpmfarm_fuzzed::fuzz_nevra(data));
