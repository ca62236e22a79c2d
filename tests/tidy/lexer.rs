//! Just enough of Rust's lexical grammar to judge a file by its text: what is code and what is
//! comment or literal, which words and signs the code is made of, which paths it names.
//!
//! It does not know types, macros or what a name resolves to.

/// The same text with comments and the insides of literals blanked, line for line.
pub(crate) fn code_of(text: &str) -> String {
    let mut lexer = Lexer { chars: text.chars().collect(), at: 0, code: String::new() };
    while lexer.at < lexer.chars.len() {
        lexer.step();
    }
    lexer.code
}

struct Lexer {
    chars: Vec<char>,
    at: usize,
    code: String,
}

impl Lexer {
    fn peek(&self, ahead: usize) -> char {
        self.chars.get(self.at + ahead).copied().unwrap_or('\0')
    }

    fn keep(&mut self, count: usize) {
        for _ in 0..count.min(self.chars.len() - self.at) {
            self.code.push(self.chars[self.at]);
            self.at += 1;
        }
    }

    fn blank(&mut self, count: usize) {
        for _ in 0..count.min(self.chars.len() - self.at) {
            let newline = self.chars[self.at] == '\n';
            self.code.push(if newline { '\n' } else { ' ' });
            self.at += 1;
        }
    }

    fn step(&mut self) {
        match (self.peek(0), self.peek(1)) {
            ('/', '/') => {
                let rest = &self.chars[self.at..];
                let length = rest.iter().position(|&c| c == '\n').unwrap_or(rest.len());
                self.blank(length);
            }
            ('/', '*') => self.block_comment(),
            ('"', _) => self.string(),
            ('\'', _) => self.quote(),
            (first, _) if is_word(first) => self.word(),
            _ => self.keep(1),
        }
    }

    fn block_comment(&mut self) {
        let mut depth = 0;
        loop {
            match (self.peek(0), self.peek(1)) {
                ('/', '*') => depth += 1,
                ('*', '/') => depth -= 1,
                _ if self.at >= self.chars.len() => return,
                _ => {
                    self.blank(1);
                    continue;
                }
            }
            self.blank(2);
            if depth == 0 {
                return;
            }
        }
    }

    fn string(&mut self) {
        self.keep(1);
        self.escaped_until('"');
    }

    fn escaped_until(&mut self, end: char) {
        while self.at < self.chars.len() && self.peek(0) != end {
            self.blank(if self.peek(0) == '\\' { 2 } else { 1 });
        }
        self.keep(1);
    }

    /// A character or a lifetime: a lifetime has no second quote after one character.
    fn quote(&mut self) {
        let is_char = self.peek(1) == '\\' || (self.peek(1) != '\'' && self.peek(2) == '\'');
        self.keep(1);
        if is_char {
            self.escaped_until('\'');
        }
    }

    /// A word, which may turn out to be the prefix of a raw string.
    fn word(&mut self) {
        let length = self.chars[self.at..].iter().take_while(|&&c| is_word(c)).count();
        let word: String = self.chars[self.at..self.at + length].iter().collect();
        self.keep(length);
        let hashes = self.chars[self.at..].iter().take_while(|&&c| c == '#').count();
        if ["r", "br", "cr"].contains(&word.as_str()) && self.peek(hashes) == '"' {
            self.raw_string(hashes);
        }
    }

    fn raw_string(&mut self, hashes: usize) {
        self.keep(hashes + 1);
        while self.at < self.chars.len() {
            let closes = self.peek(0) == '"' && (1..=hashes).all(|i| self.peek(i) == '#');
            if closes {
                return self.keep(hashes + 1);
            }
            self.blank(1);
        }
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// A word or a sign (`::`, `&&`, `=>`, or one character) with its line, counted from 1.
#[derive(Clone, Copy)]
pub(crate) struct Token<'a> {
    pub(crate) line: usize,
    pub(crate) text: &'a str,
}

pub(crate) fn tokens(code: &str) -> Vec<Token<'_>> {
    let (mut found, mut line, mut rest) = (Vec::new(), 1, code);
    while let Some(first) = rest.chars().next() {
        let length = if is_word(first) {
            rest.find(|c| !is_word(c)).unwrap_or(rest.len())
        } else if ["::", "&&", "=>", "->"].iter().any(|sign| rest.starts_with(sign)) {
            2
        } else {
            first.len_utf8()
        };
        let (text, after) = rest.split_at(length);
        if !first.is_whitespace() {
            found.push(Token { line, text });
        }
        line += usize::from(first == '\n');
        rest = after;
    }
    found
}

/// Every path of two names or more, groups of a `use` written out: (line, `a::b::c`).
pub(crate) fn paths(tokens: &[Token<'_>]) -> Vec<(usize, String)> {
    let (mut found, mut at) = (Vec::new(), 0);
    while at < tokens.len() {
        let begins = is_name(tokens[at].text) && text(tokens, at + 1) == "::";
        // `$crate` is the caller's business: it is read where a macro is expanded.
        let in_macro = at > 0 && tokens[at - 1].text == "$";
        at = if begins && !in_macro { path(tokens, at, "", &mut found) } else { at + 1 };
    }
    found
}

/// Reads one path from `at` and returns where it ends.
fn path(t: &[Token<'_>], mut at: usize, prefix: &str, found: &mut Vec<(usize, String)>) -> usize {
    let (mut name, line) = (prefix.to_owned(), t.get(at).map_or(0, |token| token.line));
    while is_name(text(t, at)) {
        if !name.is_empty() {
            name.push_str("::");
        }
        name.push_str(t[at].text);
        at += 1;
        if text(t, at) != "::" {
            break;
        }
        at += 1;
        if text(t, at) == "{" {
            return group(t, at + 1, &name, found);
        }
    }
    found.push((line, name));
    at
}

fn group(t: &[Token<'_>], mut at: usize, prefix: &str, found: &mut Vec<(usize, String)>) -> usize {
    while at < t.len() && t[at].text != "}" {
        at = if is_name(t[at].text) { path(t, at, prefix, found) } else { at + 1 };
        // What an entry is called here does not matter.
        if text(t, at) == "as" {
            at += 2;
        }
    }
    at + 1
}

pub(crate) fn text<'a>(tokens: &[Token<'a>], at: usize) -> &'a str {
    tokens.get(at).map_or("", |token| token.text)
}

pub(crate) fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

#[test]
fn comments_are_blanked_even_when_nested_or_unclosed() {
    assert_eq!(code_of("a // b\nc"), "a     \nc");
    assert_eq!(code_of("a /* b /* c */ d */ e"), "a                   e");
    assert_eq!(code_of("a /* b\n"), "a     \n");
    assert_eq!(code_of("/// unsafe\nx"), "          \nx");
}

#[test]
fn insides_of_strings_are_blanked() {
    assert_eq!(code_of(r#"f("a // \" b", c)"#), r#"f("         ", c)"#);
    assert_eq!(code_of(r###"r#"a " // b"# c"###), r###"r#"        "# c"###);
    assert_eq!(code_of(r#"br"\" c"#), r#"br" " c"#);
    assert_eq!(code_of(r#"b"x" c"y""#), r#"b" " c" ""#);
    assert_eq!(code_of("\"a\nb\" c"), "\" \n \" c");
    assert_eq!(code_of("r#type /* x */ y"), "r#type         y");
}

#[test]
fn characters_are_told_from_lifetimes() {
    assert_eq!(code_of(r"'a' b"), "' ' b");
    assert_eq!(code_of(r"'\'' b"), "'  ' b");
    assert_eq!(code_of(r"b'\\' b"), "b'  ' b");
    assert_eq!(code_of(r"'\u{41}' b"), "'      ' b");
    assert_eq!(code_of("'\"' // x"), "' '     ");
    assert_eq!(code_of("&'a str, &'static T /* x */"), "&'a str, &'static T        ");
    assert_eq!(code_of("<'a, 'b>('c')"), "<'a, 'b>(' ')");
}

#[test]
fn groups_of_names_are_written_out() {
    let code = "use crate::{a::{B, c as d}, e::*};\nlet x = f::<u8>(super::super::g::h());";
    let found = paths(&tokens(code));
    let names: Vec<&str> = found.iter().map(|(_, name)| name.as_str()).collect();
    assert_eq!(
        names,
        ["crate::a::B", "crate::a::c", "crate::e", "f", "super::super::g::h"],
        "{found:?}"
    );
    assert_eq!(found[4].0, 2);
    assert!(paths(&tokens("$crate::a::b")).iter().all(|(_, name)| !name.starts_with("crate")));
}
