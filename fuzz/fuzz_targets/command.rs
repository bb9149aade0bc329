#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| verkada2mqtt::fuzz::command(data));
