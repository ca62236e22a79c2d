#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| pannier_targets::channel(data));
