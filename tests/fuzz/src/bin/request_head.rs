#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| exitgate_fuzz::request_head(data));
