//! See `rpmfarm_fuzz_targets::fuzz_webhook`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rpmfarm_fuzz_targets::fuzz_webhook(data));
