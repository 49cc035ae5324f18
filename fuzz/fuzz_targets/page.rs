//! See `rpmfarm_fuzzed::fuzz_page`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rpmfarm_fuzzed::fuzz_page(data));
