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
fn the_corpus_breaks_no_promise_and_is_small() {
    for (name, target) in TARGETS {
        let files = files(&fuzz().join("corpus").join(name));
        assert!(files.len() <= 40, "{name} has {} files", files.len());
        let seeds = seeds_of(name);
        for file in files {
            eprintln!("{}", file.display());
            let input = fs::read(&file).unwrap();
            assert!(input.len() <= 1024, "{} bytes", input.len());
            assert!(!seeds.iter().any(|(_, seed)| *seed == input), "it is a seed");
            target(&input);
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
fn each_target_has_its_shim() {
    let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).unwrap();
    for (name, _) in TARGETS {
        let shim = fs::read_to_string(fuzz().join(format!("fuzz_targets/{name}.rs"))).unwrap();
        assert!(shim.contains(&format!("pannier_targets::{name}(data)")), "{name}");
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
    }
}

#[test]
fn the_shim_on_the_page_for_users_is_the_one_that_compiles() {
    let page = include_str!("../../../src/fuzzing/yours.md");
    let shim = fs::read_to_string(fuzz().join("fuzz_targets/yours.rs")).unwrap();
    let (shown, _) = shim.split_once("\n\n").unwrap();
    assert!(page.contains(&format!("```text\n{shown}\n```")));
}
