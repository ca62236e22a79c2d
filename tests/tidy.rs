//! The rules of the house, executed. A rule that no test holds is a wish, so each one here reads
//! the source text of the whole repository, and each is shown a text that it must refuse.
//!
//! Plain text and a small lexer, no compiler: a rule knows files, words and paths, not types.

#[path = "tidy/lexer.rs"]
mod lexer;

use std::fs;
use std::path::Path;

use lexer::{Token, code_of, is_name, paths, text, tokens};

/// The floors from the ground up. A module names only modules of lower floors.
const FLOORS: [&[&str]; 8] = [
    &["sys"],
    &["buffer"],
    &["frame", "shm"],
    &["codec"],
    &["channel", "process", "adapters"],
    &["task", "fuzzing"],
    &["pool"],
    &["parallel"],
];
/// What may be named from every floor: the error type, and what the crate re-exports from others.
const NAMEABLE_EVERYWHERE: [&str; 3] = ["error", "Pod", "bytemuck"];

/// The only places with unsafe code: docs/SAFETY.md says for each why it must be and what it
/// promises. A line more here needs a section more there.
const UNSAFE_ROOMS: [&str; 9] = [
    "src/sys/",
    "src/shm/",
    "src/task/entry.rs",
    "src/buffer/view.rs",
    "src/codec/file.rs",
    "src/process/premain.rs",
    "src/pool/raw_fork.rs",
    "src/adapters/named/memory.rs",
    "src/adapters/named/segment.rs",
];

/// Pure: values in, values out. What they may not name, because it is I/O, a clock or a thread.
const PURE: [&str; 2] = ["src/frame/", "src/pool/scheduler"];
const IMPURE: [&str; 9] = [
    "std::env",
    "std::fs",
    "std::io",
    "std::net",
    "std::process",
    "std::sync",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
];

/// Where a cut length would be believed by another process.
const CHECKED_ARITHMETIC: [&str; 3] = ["src/frame/", "src/shm/", "src/channel/"];
const INTEGERS: [&str; 12] =
    ["u8", "u16", "u32", "u64", "u128", "usize", "i8", "i16", "i32", "i64", "i128", "isize"];
const LEFT_BEHIND: [&str; 7] =
    ["todo", "unimplemented", "dbg", "print", "println", "eprint", "eprintln"];

const FUNCTION_LINES: usize = 70;
const FILE_LINES: usize = 800;
const ROOT_LINES: usize = 150;
/// Files that may be longer, each with its reason.
const LONG_FILES: [&str; 0] = [];
/// Functions that may be longer, as `path function`, each with its reason.
const LONG_FUNCTIONS: [&str; 0] = [];

// ── the rules ────────────────────────────────────────────────────────────────

/// One file: its path from the root of the repository, its text, its text without comments and
/// literals, and whether only tests see it.
struct Source {
    path: String,
    text: String,
    code: String,
    test_only: bool,
}

/// What is wrong, and in which line.
type Finding = (usize, String);
type Rule = fn(&Source) -> Vec<Finding>;

impl Source {
    fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned(), code: code_of(text), test_only: false }
    }

    fn tokens(&self) -> Vec<Token<'_>> {
        tokens(&self.code)
    }

    fn is_in(&self, places: &[&str]) -> bool {
        places.iter().any(|place| self.path.starts_with(place))
    }

    /// The names that lead to this file's module; `None` outside src.
    fn module(&self) -> Option<Vec<&str>> {
        let path = self.path.strip_prefix("src/")?.strip_suffix(".rs")?;
        let path = path.strip_suffix("/mod").unwrap_or(path);
        Some(if path == "lib" { Vec::new() } else { path.split('/').collect() })
    }

    /// The folder whose modules are this file's children, if it can have any.
    fn folder(&self) -> String {
        let stem = self.path.strip_suffix(".rs").unwrap_or(&self.path);
        format!("{}/", stem.strip_suffix("/mod").unwrap_or(stem))
    }

    /// Where the modules lie that this file declares for tests only.
    fn test_modules(&self) -> Vec<String> {
        let words: Vec<&str> = self.tokens().iter().map(|token| token.text).collect();
        let declared = words
            .windows(10)
            .filter(|w| w[..8] == ["#", "[", "cfg", "(", "test", ")", "]", "mod"] && w[9] == ";");
        declared.map(|w| format!("{}{}", self.folder(), w[8])).collect()
    }

    fn has_unsafe_code(&self) -> bool {
        self.tokens().iter().any(|token| token.text == "unsafe")
    }

    fn without_spaces(&self) -> String {
        self.code.split_whitespace().collect()
    }
}

fn floor_of(module: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&module))
}

/// The crate's module that a path leads to from here, as its own author would read it.
fn names_of_crate<'p>(source: &Source, path: &'p str) -> Option<&'p str> {
    let climbs = path.split("::").take_while(|&name| name == "super").count();
    let mut names = path.split("::").skip(climbs);
    match names.next()? {
        "crate" if climbs == 0 => names.next(),
        name if climbs > 0 && climbs == source.module()?.len() => Some(name),
        _ => None,
    }
}

fn floors(source: &Source) -> Vec<Finding> {
    let module = source.module().unwrap_or_default();
    let Some(&here) = module.first().filter(|&&name| name != "error") else { return Vec::new() };
    let Some(floor) = floor_of(here) else { return vec![(1, format!("{here} has no floor"))] };
    let may_name = |name: &str| {
        name == here
            || NAMEABLE_EVERYWHERE.contains(&name)
            || floor_of(name).is_some_and(|other| other < floor)
    };
    let mut findings = Vec::new();
    for (line, path) in paths(&source.tokens()) {
        if let Some(name) = names_of_crate(source, &path).filter(|name| !may_name(name)) {
            findings.push((line, format!("{here} names {name}, which is not below it: {path}")));
        }
    }
    findings
}

fn unsafe_rooms(source: &Source) -> Vec<Finding> {
    let Some(module) = source.module().filter(|module| !module.is_empty()) else {
        return Vec::new();
    };
    let code = source.without_spaces();
    if source.is_in(&UNSAFE_ROOMS) {
        let expected = code.contains("#![expect(unsafe_code,reason=");
        return if source.has_unsafe_code() && !expected {
            vec![(
                1,
                "a room for unsafe code opens with #![expect(unsafe_code, reason = ..)]".into(),
            )]
        } else {
            Vec::new()
        };
    }
    let mut findings: Vec<Finding> = source
        .tokens()
        .iter()
        .filter(|token| token.text == "unsafe")
        .map(|token| (token.line, "unsafe code outside its rooms".into()))
        .collect();
    // A `forbid` reaches into the children, so a module above a room cannot have one.
    let above_a_room = UNSAFE_ROOMS.iter().any(|room| room.starts_with(&source.folder()));
    if !above_a_room && !code.contains("#![forbid(unsafe_code)]") {
        findings.push((1, format!("{} lacks #![forbid(unsafe_code)]", module.join("::"))));
    }
    findings
}

fn unsafe_is_argued(source: &Source) -> Vec<Finding> {
    let tokens = source.tokens();
    let blocks = tokens
        .windows(2)
        .filter(|pair| pair[0].text == "unsafe" && ["{", "impl"].contains(&pair[1].text));
    blocks
        .filter(|pair| !has_safety_comment(source, pair[0].line))
        .map(|pair| (pair[0].line, "unsafe without a `// SAFETY:` before it".into()))
        .collect()
}

/// Whether a comment stands above the statement that `line` is part of.
fn has_safety_comment(source: &Source, line: usize) -> bool {
    let text: Vec<&str> = source.text.lines().take(line).collect();
    let code: Vec<&str> = source.code.lines().take(line).collect();
    for above in (0..line).rev() {
        let ends_another = above + 1 < line && code[above].trim_end().ends_with([';', '{', '}']);
        if ends_another {
            return false;
        }
        if text[above].contains("// SAFETY:") {
            return true;
        }
    }
    false
}

fn purity(source: &Source) -> Vec<Finding> {
    if source.test_only || !source.is_in(&PURE) {
        return Vec::new();
    }
    let is_impure = |path: &str| {
        IMPURE.iter().any(|name| path == *name || path.starts_with(&format!("{name}::")))
    };
    let found = paths(&source.tokens());
    found.into_iter().filter(|(_, path)| is_impure(path)).collect()
}

fn lengths(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    let lines = source.text.lines().count();
    let limit = if source.path == "src/lib.rs" { ROOT_LINES } else { FILE_LINES };
    if lines > limit && !LONG_FILES.contains(&source.path.as_str()) {
        findings.push((lines, format!("{lines} lines, the limit is {limit}")));
    }
    let tokens = source.tokens();
    for at in 0..tokens.len() {
        let name = text(&tokens, at + 1);
        if tokens[at].text != "fn" || !is_name(name) {
            continue;
        }
        let line = tokens[at].line;
        let length = end_of_function(&tokens, at).map_or(0, |end| end + 1 - line);
        let excepted = LONG_FUNCTIONS.contains(&format!("{} {name}", source.path).as_str());
        if length > FUNCTION_LINES && !excepted {
            findings
                .push((line, format!("{name} has {length} lines, the limit is {FUNCTION_LINES}")));
        }
    }
    findings
}

/// The line of the brace that closes the function at `at`; `None` for a mere signature.
fn end_of_function(tokens: &[Token<'_>], at: usize) -> Option<usize> {
    let (mut brackets, mut braces) = (0_usize, 0_usize);
    for token in &tokens[at..] {
        match token.text {
            "(" | "[" => brackets += 1,
            ")" | "]" => brackets = brackets.saturating_sub(1),
            "{" => braces += 1,
            "}" if braces == 1 => return Some(token.line),
            "}" => braces = braces.saturating_sub(1),
            ";" if brackets == 0 && braces == 0 => return None,
            _ => {}
        }
    }
    None
}

fn integer_casts(source: &Source) -> Vec<Finding> {
    if !source.is_in(&CHECKED_ARITHMETIC) {
        return Vec::new();
    }
    let tokens = source.tokens();
    let casts = tokens.windows(2).filter(|p| p[0].text == "as" && INTEGERS.contains(&p[1].text));
    casts.map(|pair| (pair[0].line, format!("`as {}` may cut", pair[1].text))).collect()
}

fn silenced_lints(source: &Source) -> Vec<Finding> {
    let tokens = source.tokens();
    let attribute = |at: usize| ["[", ","].contains(&text(&tokens, at.wrapping_sub(1)));
    (0..tokens.len())
        .filter(|&at| tokens[at].text == "allow" && text(&tokens, at + 1) == "(" && attribute(at))
        .map(|at| (tokens[at].line, "`allow` hides; `expect` with a reason does not".into()))
        .collect()
}

fn left_behind(source: &Source) -> Vec<Finding> {
    let tokens = source.tokens();
    let in_library = source.is_in(&["src/"]) && !source.test_only;
    let calls = tokens
        .windows(2)
        .filter(|pair| in_library && pair[1].text == "!" && LEFT_BEHIND.contains(&pair[0].text));
    let calls = calls.map(|pair| (pair[0].line, format!("{}! in the library", pair[0].text)));
    // In two pieces, lest this file be found by its own rule.
    let reminders = [concat!("TO", "DO"), concat!("FIX", "ME")];
    let notes = source.text.lines().zip(1..).filter(|(line, _)| {
        line.split(|c: char| !c.is_alphanumeric()).any(|word| reminders.contains(&word))
    });
    calls.chain(notes.map(|(_, line)| (line, "a reminder belongs to an issue".into()))).collect()
}

/// `if let .. && ..`: newer than the `rust-version` of the manifest, and accepted by the compiler
/// all the same.
fn let_chains(source: &Source) -> Vec<Finding> {
    let tokens = source.tokens();
    let conditions = (0..tokens.len()).filter(|&at| ["if", "while"].contains(&tokens[at].text));
    conditions
        .filter(|&at| {
            let condition = top_level(&tokens[at + 1..]);
            condition.contains(&"let") && condition.contains(&"&&")
        })
        .map(|at| (tokens[at].line, "a let chain needs Rust 1.88".into()))
        .collect()
}

/// The signs of a condition that stand in no bracket, up to the block or arm that follows it.
fn top_level<'a>(tokens: &[Token<'a>]) -> Vec<&'a str> {
    let (mut depth, mut found) = (0_usize, Vec::new());
    for token in tokens {
        match token.text {
            "{" | "=>" | ";" if depth == 0 => break,
            ")" | "]" | "}" if depth == 0 => break,
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            other if depth == 0 => found.push(other),
            _ => {}
        }
    }
    found
}

fn introductions(source: &Source) -> Vec<Finding> {
    let introduced = source.text.starts_with("//!");
    if introduced {
        Vec::new()
    } else {
        vec![(1, "opens without a `//!` that says what it is".into())]
    }
}

// ── how they are held ────────────────────────────────────────────────────────

fn repository() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = Vec::new();
    for folder in ["src", "tests", "examples", "cli", "forks", "interop"] {
        collect(root, &root.join(folder), &mut sources);
    }
    assert!(sources.iter().any(|source| source.path == "src/lib.rs"), "the sources are not here");
    let for_tests: Vec<String> = sources.iter().flat_map(Source::test_modules).collect();
    for source in &mut sources {
        let inside = |module: &String| {
            let rest = source.path.strip_prefix(module.as_str());
            rest.is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
        };
        source.test_only = for_tests.iter().any(inside);
    }
    sources
}

fn collect(root: &Path, folder: &Path, sources: &mut Vec<Source>) {
    // Not every folder is there from the beginning.
    let Ok(entries) = fs::read_dir(folder) else { return };
    let mut entries: Vec<_> =
        entries.map(|entry| entry.expect("the folder is listed").path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            collect(root, &path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a source file is text");
            let path = path.strip_prefix(root).expect("it was found below the root");
            sources.push(Source::new(path.to_str().expect("source paths are ASCII"), &text));
        }
    }
}

fn holds(rule: Rule) {
    let mut broken = String::new();
    for source in repository() {
        for (line, what) in rule(&source) {
            broken.push_str(&format!("\n{}:{line}: {what}", source.path));
        }
    }
    assert!(broken.is_empty(), "{broken}");
}

#[track_caller]
fn accepts(rule: Rule, path: &str, text: &str) {
    let findings = rule(&Source::new(path, text));
    assert!(findings.is_empty(), "{path} was refused: {findings:?}");
}

/// A rule that cannot fail holds nothing.
#[track_caller]
fn refuses(rule: Rule, path: &str, text: &str) {
    assert!(!rule(&Source::new(path, text)).is_empty(), "{path} was accepted:\n{text}");
}

#[test]
fn a_module_names_only_modules_of_lower_floors() {
    refuses(floors, "src/frame/a.rs", "use crate::codec::Decoder;");
    refuses(floors, "src/frame/a.rs", "use crate::{buffer::Buffer, shm::{Arena}};");
    refuses(floors, "src/channel/mod.rs", "fn f() { super::process::start() }");
    refuses(floors, "src/buffer/a/b.rs", "use super::super::super::pool;");
    refuses(floors, "src/buffer/a.rs", "use crate::Pool;");
    refuses(floors, "src/manager.rs", "//! Of what?");
    accepts(floors, "src/pool/a.rs", "use crate::{frame::Frame, error::Error, pool::b, Pod};");
    accepts(floors, "src/pool/a.rs", "use super::b; use super::super::task; // crate::parallel");
    accepts(floors, "src/error.rs", "use crate::pool::TaskError;");
    holds(floors);
}

#[test]
fn unsafe_code_stays_in_its_rooms() {
    let forbid = "#![forbid(unsafe_code)]\n";
    refuses(unsafe_rooms, "src/codec/a.rs", &format!("{forbid}fn f() {{ unsafe {{ g() }} }}"));
    refuses(unsafe_rooms, "src/codec/a.rs", "fn f() {}");
    refuses(unsafe_rooms, "src/parallel/mod.rs", "mod a;");
    refuses(unsafe_rooms, "src/sys/a.rs", "unsafe fn f() {}");
    refuses(unsafe_rooms, "src/channel/a.rs", "// #![forbid(unsafe_code)]");
    accepts(
        unsafe_rooms,
        "src/codec/a.rs",
        &format!("{forbid}// unsafe\nconst A: &str = \"unsafe\";"),
    );
    accepts(unsafe_rooms, "src/task/mod.rs", "mod entry;");
    accepts(
        unsafe_rooms,
        "src/sys/a.rs",
        "#![expect(\n unsafe_code,\n reason = \"x\")]\nunsafe fn f() {}",
    );
    holds(unsafe_rooms);
}

#[test]
fn every_unsafe_block_is_argued() {
    refuses(unsafe_is_argued, "src/sys/a.rs", "fn f() {\n    unsafe { g() }\n}");
    refuses(unsafe_is_argued, "src/sys/a.rs", "// SAFETY: old.\nlet a = 1;\nunsafe { g() }");
    refuses(unsafe_is_argued, "src/sys/a.rs", "unsafe impl Send for A {}");
    accepts(
        unsafe_is_argued,
        "src/sys/a.rs",
        "// SAFETY: as above,\n// and more.\nlet a =\n    unsafe { g() };",
    );
    accepts(unsafe_is_argued, "src/sys/a.rs", "/// # Safety\nunsafe fn f() {}");
    holds(unsafe_is_argued);
}

#[test]
fn the_format_and_the_scheduler_know_no_io_no_clock_and_no_thread() {
    refuses(purity, "src/frame/a.rs", "use std::{fmt, io::Read};");
    refuses(purity, "src/pool/scheduler.rs", "let now = std::time::Instant::now();");
    refuses(purity, "src/pool/scheduler/a.rs", "use std::time::{Duration, Instant};");
    accepts(purity, "src/pool/scheduler/a.rs", "use std::{time::Duration, collections::BTreeMap};");
    accepts(purity, "src/pool/supervisor.rs", "use std::time::Instant;");
    holds(purity);
}

#[test]
fn functions_and_files_are_short() {
    let long = format!("fn f() -> [u8; 2] {{\n{}}}", "    g();\n".repeat(FUNCTION_LINES));
    refuses(lengths, "src/a.rs", &long);
    refuses(lengths, "src/a.rs", &"\n".repeat(FILE_LINES + 1));
    refuses(lengths, "src/lib.rs", &"\n".repeat(ROOT_LINES + 1));
    accepts(lengths, "src/a.rs", &"fn f(a: [u8; 2]);\nfn g(h: fn(u8)) {\n}\n".repeat(100));
    holds(lengths);
}

#[test]
fn lengths_and_offsets_are_never_cut_by_a_cast() {
    refuses(integer_casts, "src/frame/a.rs", "let a = b as u32;");
    refuses(integer_casts, "src/shm/a.rs", "f(b\n    as\n    usize)");
    accepts(integer_casts, "src/channel/a.rs", "let p = b as *const u8; // as u8\nuse c as d;");
    accepts(integer_casts, "src/pool/a.rs", "let a = b as u32;");
    holds(integer_casts);
}

#[test]
fn lints_are_expected_and_never_allowed() {
    refuses(silenced_lints, "src/a.rs", "#[allow(dead_code)]\nfn f() {}");
    refuses(silenced_lints, "tests/a.rs", "#![allow(\n    clippy::all\n)]");
    refuses(silenced_lints, "src/a.rs", "#[cfg_attr(test, allow(dead_code))]");
    accepts(
        silenced_lints,
        "src/a.rs",
        "#[expect(dead_code, reason = \"x\")] fn f() { s.allow(1) }",
    );
    holds(silenced_lints);
}

#[test]
fn nothing_unfinished_is_left_behind() {
    refuses(left_behind, "src/a.rs", "fn f() { todo!() }");
    refuses(left_behind, "src/a.rs", "fn f() { std::eprintln!(\"x\") }");
    refuses(left_behind, "tests/a.rs", &format!("// {}: later", concat!("TO", "DO")));
    accepts(left_behind, "src/a.rs", "/// println!(\"x\")\nfn f() { assert!(a) }");
    accepts(left_behind, "examples/a.rs", "fn f() { println!(\"x\") }");
    holds(left_behind);
}

#[test]
fn no_condition_is_a_let_chain() {
    refuses(let_chains, "src/a.rs", "if a && let Some(b) = c {}");
    refuses(let_chains, "src/a.rs", "while let Some(b) = c() && b > 1 {}");
    refuses(let_chains, "src/a.rs", "if f(|a| { a }) && let Some(b) = c {}");
    accepts(let_chains, "src/a.rs", "if let Some(b) = (c && d) {}\nif a && b { let c = d && e; }");
    accepts(let_chains, "src/a.rs", "match a { _ if b && c => 1, _ => 2 };\nlet d = e && f;");
    holds(let_chains);
}

#[test]
fn modules_for_tests_are_known_by_their_declaration() {
    let declaring = Source::new("src/pool/mod.rs", "mod a;\n#[cfg(test)]\nmod sim;\n");
    assert_eq!(declaring.test_modules(), ["src/pool/sim"]);
    let inline = Source::new("src/pool/a.rs", "#[cfg(test)]\nmod tests {}\nmod b;");
    assert!(inline.test_modules().is_empty());
}

#[test]
fn every_file_opens_by_saying_what_it_is() {
    refuses(introductions, "src/a.rs", "use std::fmt;");
    accepts(introductions, "src/a.rs", "//! Something.");
    holds(introductions);
}
