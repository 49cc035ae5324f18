//! See `rpmfarm_fuzzed::fuzz_repomd`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rpmfarm_fuzzed::fuzz_repomd(data));
