//! Every committed input through its target: the corpus, and what broke something once.

use std::fs;
use std::path::{Path, PathBuf};

use pannier_targets::{TARGETS, seeds_of};

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The files of a folder in order; none if the folder is not there.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn the_corpus_breaks_no_promise() {
    for (name, target) in TARGETS {
        let files = files(&fuzz().join("corpus").join(name));
        assert!(files.len() > 10, "{name} has {} files", files.len());
        for file in files {
            eprintln!("{}", file.display());
            target(&fs::read(&file).unwrap());
        }
    }
}

#[test]
fn what_broke_something_once_breaks_it_no_more() {
    let folder = fuzz().join("regressions");
    let told = fs::read_to_string(folder.join("README.md")).unwrap();
    for (name, target) in TARGETS {
        for file in files(&folder.join(name)) {
            let title = format!("`{name}/{}`", file.file_name().unwrap().to_str().unwrap());
            assert!(told.contains(&title), "README.md does not say what {title} broke");
            target(&fs::read(&file).unwrap());
        }
    }
}

#[test]
fn seeds_break_no_promise_the_long_ones_too() {
    for (name, target) in TARGETS {
        seeds_of(name).iter().for_each(|(_, bytes)| target(bytes));
    }
}

#[test]
fn each_target_has_its_shim_and_the_dictionary_is_the_library_s() {
    let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).unwrap();
    for (name, _) in TARGETS {
        let shim = fs::read_to_string(fuzz().join(format!("fuzz_targets/{name}.rs"))).unwrap();
        assert!(shim.contains(&format!("pannier_targets::{name}(data)")), "{name}");
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
    }
    let dictionary = fs::read_to_string(fuzz().join("frame.dict")).unwrap();
    assert_eq!(dictionary, pannier::fuzzing::DICTIONARY, "write it anew: see fuzz/README.md");
}
