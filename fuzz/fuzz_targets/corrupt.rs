#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| pannier_targets::corrupt(data));
libfuzzer_sys::fuzz_mutator!(|data: &mut [u8], size: usize, max: usize, seed: u32| {
    pannier_fuzz::step(data, size, max, seed)
});
