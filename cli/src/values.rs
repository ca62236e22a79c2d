//! The values of metadata, one by one, as far as they can be read.
//!
//! The library checks metadata and keeps its tokens to itself, so they are read here a second time,
//! to be drawn. Promises: it goes no further than the first fault; it takes memory for the levels
//! that are open and for nothing else. Does not judge.

use pannier::{FrameError, MetaFault};
use serde::Serialize;

use crate::fields::digits;
use crate::read::Head;
use crate::show::{counted, grouped, narrow, quoted, wide};

/// One value, drawn.
#[derive(Debug, Serialize)]
pub(crate) struct Value {
    /// Position in the metadata.
    pub(crate) at: u64,
    /// Levels that it lies in.
    pub(crate) depth: u64,
    pub(crate) role: Role,
    /// Index in its array.
    pub(crate) item: Option<u64>,
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    /// Shortened.
    pub(crate) value: String,
    /// The buffer that a reference means.
    pub(crate) buffer: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    /// The value that is not in another.
    Root,
    Key,
    /// Behind a key.
    Value,
    Item,
}

/// The values of a head's metadata.
pub(crate) struct Values<'a> {
    head: &'a Head,
    bytes: &'a [u8],
    at: usize,
    /// Where values are not to be read any more.
    end: u64,
    levels: Vec<Level>,
    started: bool,
    /// Buffers that were referenced.
    used: u64,
}

struct Level {
    map: bool,
    /// Values to come; keys count.
    left: u64,
    next: u64,
}

/// A value without those in it.
enum Token<'a> {
    Nil,
    Bool(bool),
    Unsigned(&'static str, u64),
    Signed(&'static str, i64),
    Float(&'static str, f64),
    Text(&'a [u8]),
    Bytes(&'a [u8]),
    Array(u64),
    Map(u64),
    Ext(u8, &'a [u8]),
}

impl<'a> Values<'a> {
    pub(crate) fn of(head: &'a Head) -> Values<'a> {
        let end = head.meta_fault.map_or(u64::MAX, first_not_read);
        let levels = Vec::new();
        Values { head, bytes: head.metadata(), at: 0, end, levels, started: false, used: 0 }
    }

    /// The place of the next value, and whether it is the outermost that ended last.
    fn role(&mut self) -> Option<(Role, Option<u64>)> {
        while self.levels.last().is_some_and(|level| level.left == 0) {
            self.levels.pop();
        }
        let Some(level) = self.levels.last_mut() else {
            let first = !std::mem::replace(&mut self.started, true);
            return first.then_some((Role::Root, None));
        };
        level.left -= 1;
        if level.map {
            // They come in pairs, and this one is not counted any more.
            return Some((if level.left % 2 == 1 { Role::Key } else { Role::Value }, None));
        }
        level.next += 1;
        Some((Role::Item, Some(level.next - 1)))
    }

    fn token(&mut self) -> Option<Token<'a>> {
        let marker = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(match marker {
            0x00..=0x7f => Token::Unsigned("fixint", marker.into()),
            0x80..=0x8f => Token::Map((marker & 0x0f).into()),
            0x90..=0x9f => Token::Array((marker & 0x0f).into()),
            0xa0..=0xbf => Token::Text(self.take((marker & 0x1f).into())?),
            0xc0 => Token::Nil,
            0xc1 => return None,
            0xc2 | 0xc3 => Token::Bool(marker == 0xc3),
            0xc4..=0xc6 => Token::Bytes(self.counted(marker - 0xc4)?),
            0xc7..=0xc9 => self.length(marker - 0xc7).and_then(|len| self.extension(len))?,
            0xca => Token::Float("f32", f32::from_be_bytes(self.field()?).into()),
            0xcb => Token::Float("f64", f64::from_be_bytes(self.field()?)),
            0xcc => Token::Unsigned("u8", self.length(0)?),
            0xcd => Token::Unsigned("u16", self.length(1)?),
            0xce => Token::Unsigned("u32", self.length(2)?),
            0xcf => Token::Unsigned("u64", u64::from_be_bytes(self.field()?)),
            0xd0 => Token::Signed("i8", i8::from_be_bytes(self.field()?).into()),
            0xd1 => Token::Signed("i16", i16::from_be_bytes(self.field()?).into()),
            0xd2 => Token::Signed("i32", i32::from_be_bytes(self.field()?).into()),
            0xd3 => Token::Signed("i64", i64::from_be_bytes(self.field()?)),
            0xd4..=0xd8 => self.extension(1 << (marker - 0xd4))?,
            0xd9..=0xdb => Token::Text(self.counted(marker - 0xd9)?),
            0xdc | 0xdd => Token::Array(self.length(marker - 0xdb)?),
            0xde | 0xdf => Token::Map(self.length(marker - 0xdd)?),
            0xe0.. => Token::Signed("fixint", i8::from_be_bytes([marker]).into()),
        })
    }

    fn extension(&mut self, len: u64) -> Option<Token<'a>> {
        let (kind, payload) = self.take(len + 1)?.split_first()?;
        Some(Token::Ext(*kind, payload))
    }

    /// A length of `2^log2` bytes, and as many bytes.
    fn counted(&mut self, log2: u8) -> Option<&'a [u8]> {
        self.length(log2).and_then(|len| self.take(len))
    }

    fn length(&mut self, log2: u8) -> Option<u64> {
        let field = self.take(1 << log2)?;
        Some(field.iter().fold(0, |number, &byte| (number << 8) | u64::from(byte)))
    }

    fn field<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(wide(N))?.first_chunk().copied()
    }

    fn take(&mut self, len: u64) -> Option<&'a [u8]> {
        let part = self.bytes.get(self.at..)?.get(..narrow(len))?;
        self.at += part.len();
        Some(part)
    }

    fn open(&mut self, token: &Token<'_>) {
        let level = match *token {
            Token::Array(count) => Level { map: false, left: count, next: 0 },
            Token::Map(count) => Level { map: true, left: 2 * count, next: 0 },
            _ => return,
        };
        self.levels.push(level);
    }

    /// Type, value and buffer.
    fn describe(&mut self, token: &Token<'_>) -> (&'static str, String, Option<u64>) {
        let (kind, value) = match *token {
            Token::Nil => ("nil", "nil".to_owned()),
            Token::Bool(value) => ("bool", value.to_string()),
            Token::Unsigned(kind, value) => (kind, value.to_string()),
            Token::Signed(kind, value) => (kind, value.to_string()),
            Token::Float(kind, value) => (kind, format!("{value:?}")),
            Token::Text(text) => ("str", quoted(&String::from_utf8_lossy(text))),
            Token::Bytes(bytes) => ("bin", shortened(bytes)),
            Token::Array(count) => ("array", format!("of {}", grouped(count))),
            Token::Map(count) => ("map", format!("of {}", grouped(count))),
            Token::Ext(REFERENCE, payload) => match index(payload) {
                Some(index) => return ("ref", self.reference(index), Some(index)),
                None => ("ref", shortened(payload)),
            },
            Token::Ext(kind, payload) => ("ext", format!("{kind:#04x}: {}", shortened(payload))),
        };
        (kind, value, None)
    }

    /// What the buffer is, the first time.
    fn reference(&mut self, index: u64) -> String {
        let Some(entry) = self.head.entry(index) else {
            return format!("-> buffer {index}, which is not in the table");
        };
        if index < self.used {
            return format!("-> buffer {index} again");
        }
        self.used = index + 1;
        format!("-> buffer {index}: {} {}", entry.contents(), entry.place())
    }
}

impl Iterator for Values<'_> {
    type Item = Value;

    fn next(&mut self) -> Option<Value> {
        let at = wide(self.at);
        if at >= self.end {
            return None;
        }
        let (role, item) = self.role()?;
        let depth = wide(self.levels.len());
        let Some(token) = self.token() else {
            // What cannot be read has no end either.
            self.end = 0;
            return None;
        };
        self.open(&token);
        let (kind, value, buffer) = self.describe(&token);
        Some(Value { at, depth, role, item, kind, value, buffer })
    }
}

/// Some faults are placed at the value that is wrong, which can be drawn, and others behind it.
fn first_not_read(fault: FrameError) -> u64 {
    let FrameError::Meta { at, why } = fault else { return 0 };
    match why {
        MetaFault::UnknownExt
        | MetaFault::ExtLen
        | MetaFault::RefRange
        | MetaFault::RefOrder
        | MetaFault::RepeatBudget => at + 1,
        _ => at,
    }
}

fn index(payload: &[u8]) -> Option<u64> {
    let number = payload.iter().rev().fold(0, |number, &byte| (number << 8) | u64::from(byte));
    [1, 2, 4].contains(&payload.len()).then_some(number)
}

fn shortened(bytes: &[u8]) -> String {
    match bytes.get(..LONGEST) {
        Some(begin) if bytes.len() > LONGEST => {
            format!("{}... ({})", digits(begin), counted(wide(bytes.len()), "byte"))
        }
        _ => digits(bytes),
    }
}

const REFERENCE: u8 = 0x70;
const LONGEST: usize = 16;
