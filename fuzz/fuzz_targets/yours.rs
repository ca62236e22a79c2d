#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| my_crate::target(data));
libfuzzer_sys::fuzz_mutator!(|data: &mut [u8], size: usize, max: usize, seed: u32| {
    pannier::fuzzing::mutate(data, size, max, seed)
});

/// In place of the reader's own: above is what the page about fuzzing shows, and a test compares.
mod my_crate {
    pub fn target(data: &[u8]) {
        pannier::fuzzing::check(data, &pannier::Limits::tiny());
    }
}
