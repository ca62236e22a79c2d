//! Writes the corpus and the dictionary anew: `cargo run -p pannier-targets --bin corpus`.
//!
//! What a fuzzer has found besides stays. Long seeds are left to the loops of the tests, so that the
//! repository stays small.

use std::path::Path;
use std::{fs, io};

use pannier_targets::{TARGETS, seeds_of};

/// Of a file in the corpus.
const LONGEST: usize = 1024;

fn main() -> io::Result<()> {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for (name, _) in TARGETS {
        let folder = fuzz.join("corpus").join(name);
        fs::create_dir_all(&folder)?;
        for (seed, bytes) in seeds_of(name).iter().filter(|(_, bytes)| bytes.len() <= LONGEST) {
            fs::write(folder.join(seed), bytes)?;
        }
    }
    fs::write(fuzz.join("frame.dict"), pannier::fuzzing::DICTIONARY)
}
