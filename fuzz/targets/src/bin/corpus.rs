//! Writes what targets begin with, for a fuzzer: `cargo run -p pannier-targets --bin corpus`, with
//! the folder to write to as argument or without for `fuzz/seeds`, which is not committed.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

use pannier_targets::{TARGETS, seeds_of};

fn main() -> io::Result<()> {
    let usual = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../seeds");
    let seeds = env::args_os().nth(1).map_or_else(usual, PathBuf::from);
    for (name, _) in TARGETS {
        let folder = seeds.join(name);
        fs::create_dir_all(&folder)?;
        for (seed, bytes) in seeds_of(name) {
            fs::write(folder.join(seed), bytes)?;
        }
    }
    Ok(())
}
