//! See `rpmfarm_fuzz_targets::fuzz_audit_log`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rpmfarm_fuzz_targets::fuzz_audit_log(data));
