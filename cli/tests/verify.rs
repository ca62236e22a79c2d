//! `pannier verify`, as it is run.

mod common;

use std::io::Write;
use std::process::Stdio;

use common::{Folder, Ran, frame, worked_example};
use pannier::frame::{Descriptor, HeadOptions, Kind, write_frame};
use pannier::{Buffer, Encoder};

fn with(mut bytes: Vec<u8>, at: usize, value: u8) -> Vec<u8> {
    bytes[at] = value;
    bytes
}

/// A frame whose one buffer is elsewhere.
fn elsewhere(descriptor: Descriptor) -> Vec<u8> {
    let mut out = Vec::new();
    let options = HeadOptions::default().checksum(true);
    let buffers = &mut [(descriptor, &b""[..])];
    write_frame(&mut out, &[&[0xd4, 0x70, 0]], buffers, &options).expect("a frame");
    out
}

#[test]
fn sound_files_have_a_line_each_or_none() {
    let folder = Folder::new();
    folder.write("one", &worked_example());
    let column: Buffer<f64> = vec![0.5; 1 << 20].into();
    let large = Encoder::new().checksum(true).to_vec(&column).expect("a frame");
    folder.write("three", &large.repeat(3));
    let said = folder.run(&["verify", "one", "three"]);
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
    assert_eq!(said.out, "one: sound, 1 frame, 192 bytes\nthree: sound, 3 frames, 25.1 MB\n");
    let quiet = folder.run(&["verify", "-q", "one", "three"]);
    assert_eq!((quiet.code, quiet.out.as_str()), (Some(0), ""));
}

#[test]
fn a_frame_without_checksums_is_sound_and_that_is_told() {
    let folder = Folder::new();
    folder.write("plain", &frame(&[0xc0], None, &HeadOptions::default()));
    let said = folder.run(&["verify", "plain"]);
    assert_eq!(said.code, Some(0));
    let expected = "plain: sound, 1 frame, 64 bytes; no checksums in 1 frame: damage in buffers \
                    would not be seen\n";
    assert_eq!(said.out, expected);
    assert_eq!(folder.run(&["verify", "--json", "plain"]).json()["without_checksums"], 1);
}

#[test]
fn a_buffer_that_is_elsewhere_is_not_held_against_the_file() {
    let folder = Folder::new();
    folder.write("external", &elsewhere(Descriptor::external(0, 64, Kind::F64, 6)));
    let said = folder.run(&["verify", "external"]);
    assert_eq!(said.code, Some(0), "{}", said.out);
    assert!(said.out.ends_with("; 1 buffer elsewhere, not checked\n"), "{}", said.out);
}

/// The category `resource` is of processes that share segments; no file comes to it.
#[test]
fn each_category_of_error_has_its_name_place_and_hint() {
    let folder = Folder::new();
    let good = worked_example();
    let segment = elsewhere(Descriptor::segment(3, 0, 64, 9, Kind::F64, 6));
    let unsealed = frame(&[0xc0], None, &HeadOptions::default());
    for (bytes, error, at, category, hint) in [
        (good[..150].to_vec(), "Truncated { need: 192, have: 150 }", 150, "incomplete", "42 bytes"),
        (Vec::new(), "Truncated { need: 32, have: 0 }", 0, "incomplete", "32 bytes"),
        (vec![b'x'; 64], "BadMagic", 0, "not ours or newer", "not written as a frame"),
        (with(good.clone(), 4, 2), "Version(2)", 4, "not ours or newer", "update"),
        (with(good.clone(), 5, 3), "UnknownFlags(2)", 5, "not ours or newer", "update"),
        (with(good.clone(), 7, 1), "Reserved { at: 7 }", 7, "malformed", "no sound writer"),
        (with(good.clone(), 190, 1), "Padding { at: 190 }", 190, "malformed", "no sound writer"),
        (with(unsealed, 32, 0xc1), "Meta { at: 0, why: Reserved }", 32, "malformed", "no sound"),
        (segment, "Segment { index: 0, why: NotPermitted }", 80, "policy", "self-contained"),
        (with(good.clone(), 0x22, 0), "HeadChecksum {", 28, "damaged", "fetch it again"),
        (with(good.clone(), 0x82, 0), "BufferChecksum { index: 0 }", 128, "damaged", "fetch it"),
    ] {
        folder.write("bad", &bytes);
        let said = folder.run(&["verify", "bad"]);
        assert_eq!(said.code, Some(1), "{said:?}");
        let first = format!("bad: frame 0 at 0x0: {error}");
        assert!(said.out.starts_with(&first) && said.out.contains(hint), "{}", said.out);
        let json = folder.run(&["verify", "--json", "bad"]).json();
        let problem = &json["problems"][0]["error"];
        assert_eq!((&problem["at"], &problem["category"]), (&at.into(), &category.into()));
        assert_eq!(json["sound"], false);
    }
}

#[test]
fn limits_are_the_users() {
    let folder = Folder::new();
    folder.write("good", &worked_example());
    for (option, error, hint) in [
        ("--limit-meta-len=8", "Limit { what: MetaLen, value: 17, limit: 8 }", "--limit-meta-len"),
        ("--limit-buffers=0", "Limit { what: Buffers, value: 1, limit: 0 }", "--limit-buffers"),
        ("--limit-frame-len=128", "Limit { what: FrameLen,", "--limit-frame-len"),
        ("--limit-depth=0", "Meta { at: 1, why: Depth }", "--limit-depth"),
    ] {
        let said = folder.run(&["verify", option, "good"]);
        assert_eq!(said.code, Some(1), "{option}");
        assert!(said.out.contains(error) && said.out.contains(hint), "{option}: {}", said.out);
    }
}

#[test]
fn what_comes_behind_a_broken_frame_is_checked_too() {
    let folder = Folder::new();
    let (good, bad) = (worked_example(), with(worked_example(), 0x82, 0));
    folder.write("mixed", &[&good[..], &bad, &good, &bad[..100]].concat());
    let said = folder.run(&["verify", "mixed"]);
    assert_eq!(said.code, Some(1));
    assert!(said.out.contains("mixed: frame 1 at 0xc0: BufferChecksum"), "{}", said.out);
    assert!(said.out.contains("mixed: frame 3 at 0x240: Truncated"), "{}", said.out);
    assert!(said.out.ends_with("mixed: not sound, 2 of 4 frames\n"), "{}", said.out);
}

#[test]
fn standard_input_is_a_file_like_any_other() {
    let folder = Folder::new();
    let mut child = folder
        .pannier(&["verify", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let bytes = worked_example().repeat(2);
    child.stdin.take().expect("a pipe").write_all(&bytes).expect("it reads");
    let said = Ran::of(child.wait_with_output().expect("it ends"));
    assert_eq!(said.code, Some(0));
    assert_eq!(said.out, "standard input: sound, 2 frames, 384 bytes\n");
}

#[cfg(unix)]
#[test]
fn a_name_may_be_of_any_bytes_and_does_the_terminal_no_harm() {
    use std::os::unix::ffi::OsStrExt;

    let folder = Folder::new();
    let name = std::ffi::OsStr::from_bytes(b"\x1b[31m\xff");
    std::fs::write(folder.path.join(name), worked_example()).expect("the folder is there");
    let said = folder.pannier(&["verify"]).arg(name).output().expect("the program starts");
    let said = Ran::of(said);
    assert_eq!(said.out, "\\u{1b}[31m\u{fffd}: sound, 1 frame, 192 bytes\n");
}

#[test]
fn a_file_that_cannot_be_opened_does_not_keep_the_others_from_being_checked() {
    let folder = Folder::new();
    folder.write("good", &worked_example());
    folder.write("bad", &[0; 40]);
    let said = folder.run(&["verify", "missing", "bad", "good"]);
    assert_eq!(said.code, Some(2));
    assert!(said.err.starts_with("pannier: missing: "), "{}", said.err);
    assert!(said.out.ends_with("good: sound, 1 frame, 192 bytes\n"), "{}", said.out);
    assert_eq!(folder.run(&["verify"]).code, Some(2));
}
