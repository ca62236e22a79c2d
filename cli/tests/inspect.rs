//! `pannier inspect`, as it is run.

mod common;

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use common::{Folder, Ran, frame, worked_example};
use pannier::frame::{Descriptor, HeadOptions, Kind, Layout, write_head};

/// Compares with a file of `golden/`, or writes it where `PANNIER_GOLDEN=rewrite` is set.
#[track_caller]
fn is_golden(name: &str, actual: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var("PANNIER_GOLDEN").is_ok_and(|value| value == "rewrite") {
        fs::write(&path, actual).expect("golden files can be written");
    }
    let expected = fs::read_to_string(&path).expect("the golden file is there");
    assert_eq!(actual, expected, "PANNIER_GOLDEN=rewrite writes {name} anew");
}

#[test]
fn the_worked_example_is_drawn_as_it_always_was() {
    let folder = Folder::new();
    folder.write("worked.frame", &worked_example());
    let text = folder.run(&["inspect", "worked.frame"]);
    assert_eq!((text.code, text.err.as_str()), (Some(0), ""));
    is_golden("worked.txt", &text.out);
    let json = folder.run(&["inspect", "--json", "worked.frame"]);
    assert_eq!(json.json()["frames"][0]["metadata"]["values"][4]["buffer"], 0);
    is_golden("worked.json", &json.out);
}

#[test]
fn a_broken_frame_is_drawn_with_its_place_marked() {
    let folder = Folder::new();
    let unknown = frame(b"\x92\x01\xd5\x71\x00\x00", None, &HeadOptions::default());
    folder.write("broken.frame", &unknown);
    let text = folder.run(&["inspect", "broken.frame"]);
    assert_eq!(text.code, Some(1));
    is_golden("broken.txt", &text.out);
    assert!(include_str!("../README.md").contains(text.out.trim_end()), "the README shows it");
    let json = folder.run(&["inspect", "--json", "broken.frame"]).json();
    let error = &json["frames"][0]["error"];
    assert_eq!((&error["name"], &error["why"]), (&"Meta".into(), &"UnknownExt".into()));
    assert_eq!((&error["at"], &error["numbers"]["at"]), (&34.into(), &2.into()));
}

#[test]
fn frames_end_to_end_are_drawn_one_after_the_other_even_behind_a_broken_one() {
    let folder = Folder::new();
    let good = worked_example();
    let mut damaged = good.clone();
    damaged[0x50] = 1;
    folder.write("three", &[&good[..], &damaged, &good].concat());
    let text = folder.run(&["inspect", "three"]);
    assert_eq!(text.code, Some(1));
    for title in ["frame 0 at 0x0:", "frame 1 at 0xc0:", "frame 2 at 0x180:"] {
        assert!(text.out.contains(title), "{}", text.out);
    }
    assert_eq!(text.out.matches("  error: HeadChecksum {").count(), 1);
    let json = folder.run(&["inspect", "--json", "three"]).json();
    assert_eq!((&json["count"], &json["lost_at"]), (&3.into(), &serde_json::Value::Null));
    assert_eq!(json["frames"][2]["sound"], true);
}

#[test]
fn where_no_frame_can_be_found_that_is_said() {
    let folder = Folder::new();
    folder.write("junk", &[&worked_example()[..], &[b'x'; 64]].concat());
    let text = folder.run(&["inspect", "junk"]);
    assert_eq!(text.code, Some(1));
    assert!(text.out.contains("  error: BadMagic"), "{}", text.out);
    assert!(text.out.contains("from 0xe0 on nothing is drawn"), "{}", text.out);
}

#[test]
fn a_cut_file_and_standard_input_are_drawn_alike() {
    let folder = Folder::new();
    let bytes = &worked_example()[..150];
    folder.write("cut", bytes);
    let from_file = folder.run(&["inspect", "cut"]);
    let mut child = folder
        .pannier(&["inspect", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    child.stdin.take().expect("a pipe").write_all(bytes).expect("it reads");
    let from_pipe = Ran::of(child.wait_with_output().expect("it ends"));
    assert_eq!((from_file.code, from_pipe.code), (Some(1), Some(1)));
    let after_title = |ran: &Ran| ran.out.split_once('\n').map(|(_, rest)| rest.to_owned());
    assert_eq!(after_title(&from_file), after_title(&from_pipe));
    assert!(from_pipe.out.contains("Truncated { need: 192, have: 150 }"));
}

#[test]
fn of_a_huge_frame_only_what_is_drawn_is_read() {
    const LEN: u64 = 512 << 30;
    let folder = Folder::new();
    let metadata = [0xd4, 0x70, 0];
    let mut descriptors = [Descriptor::inline(LEN, Kind::F64, 12)];
    let layout = Layout::new(metadata.len(), &mut descriptors).expect("it fits 64 bits");
    let mut head = Vec::new();
    let options = HeadOptions::default();
    write_head(&mut head, &layout, &[&metadata], &descriptors, &options);
    let mut file = File::create(folder.path.join("huge")).expect("the folder is there");
    file.write_all(&head).expect("a head fits");
    file.set_len(layout.frame_len()).expect("files may be sparse");
    file.seek(SeekFrom::Start(layout.frame_len())).expect("it is that long");
    file.write_all(&worked_example()).expect("a small frame fits");
    let start = Instant::now();
    let text = folder.run(&["inspect", "huge"]);
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    assert_eq!(text.code, Some(0), "{}", text.out);
    assert!(text.out.contains("f64 x 68,719,476,736"), "{}", text.out);
    assert!(text.out.contains("frame 1 at 0x8000001000:"), "{}", text.out);
}

#[test]
fn full_draws_every_byte() {
    let folder = Folder::new();
    let floats = vec![0; 4_000];
    folder.write("zeros", &frame(&[0xd4, 0x70, 0], Some(&floats), &HeadOptions::default()));
    let (short, full) =
        (folder.run(&["inspect", "zeros"]), folder.run(&["inspect", "--full", "zeros"]));
    assert_eq!(short.out.matches("buffer 0  0.0").count(), 2);
    assert!(short.out.contains("3,968 bytes more of buffer 0"), "{}", short.out);
    assert_eq!(full.out.matches("buffer 0  0.0").count(), 250);
}

#[test]
fn a_reader_that_has_seen_enough_ends_it_quietly() {
    let folder = Folder::new();
    folder.write("many", &worked_example().repeat(2_000));
    let mut child = folder
        .pannier(&["inspect", "many"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout.take().expect("a pipe"));
    out.read_line(&mut line).expect("it writes");
    drop(out);
    assert_eq!(line, "many: 384,000 bytes\n");
    let mut err = String::new();
    child.stderr.take().expect("a pipe").read_to_string(&mut err).expect("it can be read");
    assert_eq!(err, "");
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
}

#[test]
fn what_cannot_be_opened_or_asked_for_is_2() {
    let folder = Folder::new();
    let missing = folder.run(&["inspect", "missing"]);
    assert_eq!((missing.code, missing.out.as_str()), (Some(2), ""));
    assert!(missing.err.starts_with("pannier: missing: "), "{}", missing.err);
    assert_eq!(folder.run(&["inspect", "."]).code, Some(2));
    assert_eq!(folder.run(&["inspect"]).code, Some(2));
    assert_eq!(folder.run(&["inspect", "x", "--limit-frame-len", "1X"]).code, Some(2));
    assert_eq!(folder.run(&["--help"]).code, Some(0));
}
