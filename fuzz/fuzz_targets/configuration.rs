//! libFuzzer's way to [`sluice_fuzz_api::configuration`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sluice_fuzz_api::configuration(data));
