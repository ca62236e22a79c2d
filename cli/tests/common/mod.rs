//! A folder that goes away, and the program that is tested.

use std::fs;
use std::path::PathBuf;
use std::process::{self, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use pannier::frame::{Descriptor, HeadOptions, Kind, write_frame};

/// A folder of one test.
pub(crate) struct Folder {
    pub(crate) path: PathBuf,
}

impl Folder {
    pub(crate) fn new() -> Folder {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("pannier-cli-{}-{count}", process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).expect("the folder is new");
        Folder { path }
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path.join(name), bytes).expect("the folder can be written to");
    }

    /// The program, where the files are known by their names alone.
    pub(crate) fn pannier(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pannier"));
        command.args(args).current_dir(&self.path).stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        Ran::of(self.pannier(args).output().expect("the program starts"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A test that fails must say why, not that this failed too.
        let _ignored = fs::remove_dir_all(&self.path);
    }
}

/// What a run came to.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    pub(crate) fn of(output: Output) -> Ran {
        let text = |bytes| String::from_utf8(bytes).expect("the program writes text");
        Ran { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }
}

/// `{ id: 300, x: [1, 2, 3], y: the same }`, the example of the format's description.
pub(crate) fn worked_example() -> Vec<u8> {
    let metadata = b"\x83\xa2id\xcd\x01\x2c\xa1x\xd4\x70\x00\xa1y\xd4\x70\x00";
    frame(metadata, Some(&floats()), &HeadOptions::default().tag(7).checksum(true))
}

/// A frame of one buffer of `f32`, or of none.
pub(crate) fn frame(metadata: &[u8], floats: Option<&[u8]>, options: &HeadOptions) -> Vec<u8> {
    let mut out = Vec::new();
    let mut buffers = Vec::new();
    buffers.extend(floats.map(|bytes| (Descriptor::inline(0, Kind::F32, 0), bytes)));
    write_frame(&mut out, &[metadata], &mut buffers, options).expect("a frame");
    out
}

fn floats() -> Vec<u8> {
    [1f32, 2.0, 3.0].iter().flat_map(|float| float.to_le_bytes()).collect()
}
