//! The conformance vectors of the format: made, compared with the files, and read from them.
//!
//! `tests/vectors/README.md` says what the files are. `PANNIER_WRITE_VECTORS=1` writes them anew.
#![expect(clippy::unwrap_used, reason = "helpers of tests are outside of tests")]

#[path = "vectors_src/bad_head.rs"]
mod bad_head;
#[path = "vectors_src/bad_metadata.rs"]
mod bad_metadata;
#[path = "vectors_src/bad_order.rs"]
mod bad_order;
#[path = "vectors_src/bad_table.rs"]
mod bad_table;
#[path = "vectors_src/base.rs"]
mod base;
#[path = "vectors_src/ok_large.rs"]
mod ok_large;
#[path = "vectors_src/ok_layout.rs"]
mod ok_layout;
#[path = "vectors_src/ok_metadata.rs"]
mod ok_metadata;
#[path = "vectors_src/ok_pairs.rs"]
mod ok_pairs;
#[path = "vectors_src/ok_values.rs"]
mod ok_values;
#[path = "vectors_src/parts.rs"]
mod parts;
#[path = "vectors_src/read.rs"]
mod read;
#[path = "vectors_src/tree.rs"]
mod tree;
#[path = "vectors_src/vector.rs"]
mod vector;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use vector::Vector;

/// Where the files lie.
fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/v1")
}

/// All vectors, made in memory; written before anybody reads them, if that is asked for.
fn vectors() -> &'static [Vector] {
    static VECTORS: OnceLock<Vec<Vector>> = OnceLock::new();
    VECTORS.get_or_init(|| {
        let vectors = make();
        if std::env::var_os("PANNIER_WRITE_VECTORS").is_some_and(|asked| asked == "1") {
            write(&vectors);
        }
        vectors
    })
}

fn make() -> Vec<Vector> {
    let good =
        [ok_layout::all(), ok_metadata::all(), ok_values::all(), ok_pairs::all(), ok_large::all()];
    let bad = [bad_head::all(), bad_table::all(), bad_metadata::all(), bad_order::all()];
    let good = good.iter().flatten().map(|good| good.vector());
    good.chain(bad.iter().flatten().map(|bad| bad.vector())).collect()
}

fn write(vectors: &[Vector]) {
    for kind in ["ok", "bad"] {
        let folder = folder().join(kind);
        if folder.exists() {
            fs::remove_dir_all(&folder).unwrap();
        }
        fs::create_dir_all(&folder).unwrap();
    }
    for Vector { path, json, bin } in vectors {
        fs::write(folder().join(format!("{path}.json")), json).unwrap();
        if let Some(bytes) = bin {
            fs::write(folder().join(format!("{path}.bin")), bytes).unwrap();
        }
    }
}

#[test]
fn the_files_are_those_that_this_source_makes() {
    for Vector { path, json, bin } in vectors() {
        let text = fs::read_to_string(folder().join(format!("{path}.json"))).unwrap_or_default();
        assert_eq!(text, *json, "{path}.json");
        let bytes = fs::read(folder().join(format!("{path}.bin"))).ok();
        assert!(bytes == *bin, "{path}.bin");
    }
}

#[test]
fn there_is_no_other_file_and_no_name_twice() {
    let mut expected = BTreeSet::new();
    for Vector { path, bin, .. } in vectors() {
        assert!(expected.insert(format!("{path}.json")), "{path} is there twice");
        bin.iter().for_each(|_| assert!(expected.insert(format!("{path}.bin"))));
    }
    let files = |kind: &'static str| {
        let entries = fs::read_dir(folder().join(kind)).unwrap();
        entries.map(move |entry| format!("{kind}/{}", entry.unwrap().file_name().to_str().unwrap()))
    };
    let found: BTreeSet<String> = files("ok").chain(files("bad")).collect();
    assert_eq!(found, expected);
}

#[test]
fn good_vectors_are_read_as_their_json_says() {
    vectors();
    let cases = read::good();
    assert!(cases.len() > 150);
    cases.iter().for_each(read::Case::is_read_as_said);
}

#[test]
fn good_vectors_are_decoded() {
    vectors();
    read::good().iter().for_each(read::Case::is_decoded);
}

#[test]
fn bad_vectors_are_refused_as_their_json_says() {
    vectors();
    let cases = read::bad();
    assert!(cases.len() > 200);
    cases.iter().for_each(read::Case::is_refused_as_said);
}

/// Section 13.1 of the format, as it is printed there.
#[test]
fn the_worked_example_is_that_of_the_format() {
    vectors();
    let printed = tree::unhex(
        "c1 50 4e 52  01 01 00 00  11 00 00 00  01 00 00 00 \
         c0 00 00 00  00 00 00 00  07 00 00 00  14 12 f3 4c \
         83 a2 69 64  cd 01 2c a1  78 d4 70 00  a1 79 d4 70 \
         00 00 00 00  00 00 00 00  00 00 00 00  00 00 00 00 \
         80 00 00 00  00 00 00 00  0c 00 00 00  00 00 00 00 \
         00 00 00 00  00 00 00 00  83 e7 4d 38  00 00 32 06",
    );
    let mut expected = [printed, vec![0; 32]].concat();
    expected.extend(tree::unhex("00 00 80 3f 00 00 00 40 00 00 40 40"));
    expected.resize(192, 0);
    let committed = fs::read(folder().join("ok/worked_example.bin")).unwrap();
    assert_eq!(committed, expected);
}

/// What README.md of the vectors says to those who write the generator in another language.
#[test]
fn the_generator_begins_as_the_readme_says() {
    assert_eq!(parts::xorshift(1, 8), tree::unhex("1d dd 6c 89 4b ce e4 47"));
}
