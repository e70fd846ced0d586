#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| exitgate_fuzz::client_hello(data));
