//! See `rpmfarm_fuzzed::fuzz_rpm_file`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rpmfarm_fuzzed::fuzz_rpm_file(data));
