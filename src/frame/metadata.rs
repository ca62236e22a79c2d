//! The structure of metadata: one MessagePack value, and its references to buffers.
//!
//! The walk needs no recursion, so hostile nesting costs no stack, and what passed it is well
//! formed, not too deep, and refers to every buffer in order. It knows the shapes of values and
//! not their types; extension type 0x70 is the only one that means anything.

#![forbid(unsafe_code)]

use super::error::{FrameError, LimitKind, MetaFault};
use super::header::check_limit;
use super::limits::Limits;
use super::wire::wide;

/// Checks metadata that comes with a table of `buffers` descriptors.
///
/// [`Frame::check_metadata`](super::Frame::check_metadata) without a whole frame: for a reader that
/// has the head and leaves the bodies where they are.
///
/// # Errors
///
/// `Meta` with the position of the first fault.
///
/// # Examples
///
/// ```
/// use pannier::frame::check_metadata;
/// use pannier::{FrameError, Limits, MetaFault};
///
/// let metadata = [0x92, 1, 0xd4, 0x70, 0]; // [1, buffer 0]
/// assert_eq!(check_metadata(&metadata, 1, &Limits::default()), Ok(()));
/// let fault = FrameError::Meta { at: 2, why: MetaFault::RefRange };
/// assert_eq!(check_metadata(&metadata, 0, &Limits::default()), Err(fault));
/// ```
pub fn check_metadata(metadata: &[u8], buffers: u32, limits: &Limits) -> Result<(), FrameError> {
    if walk(metadata, buffers, limits)? < buffers {
        return Err(fault(metadata.len(), MetaFault::Unreferenced));
    }
    Ok(())
}

/// The same walk for metadata that stands alone and whose buffers are not known yet: how many
/// buffers it refers to. No header has been held to the limits, so that is done here.
///
/// # Errors
///
/// `Meta` with the position of the first fault, or `Limit` for `meta_len` and `buffers`.
pub(crate) fn count_references(metadata: &[u8], limits: &Limits) -> Result<u32, FrameError> {
    check_limit(LimitKind::MetaLen, wide(metadata.len()), limits.meta_len.into())?;
    let count = walk(metadata, u32::MAX, limits)?;
    check_limit(LimitKind::Buffers, count.into(), limits.buffers.into())?;
    Ok(count)
}

/// End of the value that starts at `at`, in metadata that passed [`check_metadata`]; `None` when it
/// does not end there.
pub(crate) fn skip_value(metadata: &[u8], at: usize) -> Option<usize> {
    let mut tokens = Tokens { bytes: metadata, at };
    let mut pending = 1u64;
    while let Some(rest) = pending.checked_sub(1) {
        pending = match tokens.token().ok()? {
            Token::Open(values) => rest.checked_add(values)?,
            Token::Leaf | Token::Text(_) | Token::Reference(_) => rest,
        };
    }
    Some(tokens.at)
}

/// End of the token that starts at `at`, and the buffer that it refers to: a value without its
/// items, so that a reader of values can tell where it stood. `None` for what is no token.
pub(crate) fn skip_token(metadata: &[u8], at: usize) -> Option<(usize, Option<u32>)> {
    let mut tokens = Tokens { bytes: metadata, at };
    let reference = match tokens.token().ok()? {
        Token::Reference(index) => Some(index),
        Token::Leaf | Token::Text(_) | Token::Open(_) => None,
    };
    Some((tokens.at, reference))
}

/// How many buffers are referenced, all of them below `buffers`.
fn walk(metadata: &[u8], buffers: u32, limits: &Limits) -> Result<u32, FrameError> {
    let mut tokens = Tokens { bytes: metadata, at: 0 };
    let mut levels = Levels::new();
    let mut used = 0;
    loop {
        let marker_at = tokens.at;
        levels.begin_value();
        match tokens.token()? {
            Token::Leaf => {}
            Token::Text(text) => check_text(text, tokens.at)?,
            Token::Reference(index) => {
                used =
                    check_reference(index, used, buffers).map_err(|why| fault(marker_at, why))?;
            }
            Token::Open(values) => {
                check_open(values, &levels, &tokens, limits)?;
                levels.open(values);
            }
        }
        if levels.end_value() {
            break;
        }
    }
    if tokens.at < metadata.len() {
        return Err(fault(tokens.at, MetaFault::Trailing));
    }
    Ok(used)
}

fn check_text(text: &[u8], end: usize) -> Result<(), FrameError> {
    // Field names are short and ASCII; for them this takes half the time of the general check.
    if text.len() <= 16 && text.iter().fold(0, |all, byte| all | byte) < 0x80 {
        return Ok(());
    }
    match std::str::from_utf8(text) {
        Ok(_) => Ok(()),
        Err(_) => Err(fault(end.saturating_sub(text.len()), MetaFault::Utf8)),
    }
}

/// First uses come in the order of the table, so one counter tells them from repeats.
fn check_reference(index: u32, used: u32, buffers: u32) -> Result<u32, MetaFault> {
    if index >= buffers {
        return Err(MetaFault::RefRange);
    }
    match index.checked_sub(used) {
        None => Ok(used),
        Some(0) => Ok(index.saturating_add(1)),
        Some(_) => Err(MetaFault::RefOrder),
    }
}

/// Each value takes a byte at least: an announced size that passes this cannot be a lie by more
/// than the metadata is long, whatever is reserved for it.
fn check_open(
    values: u64,
    levels: &Levels,
    tokens: &Tokens<'_>,
    limits: &Limits,
) -> Result<(), FrameError> {
    if wide(levels.depth) >= u64::from(limits.depth) {
        return Err(fault(tokens.at, MetaFault::Depth));
    }
    if values > wide(tokens.rest().len()) {
        return Err(fault(tokens.at, MetaFault::Length));
    }
    Ok(())
}

#[cold]
fn fault(at: usize, why: MetaFault) -> FrameError {
    FrameError::Meta { at: wide(at), why }
}

/// One step of the walk.
enum Token<'a> {
    /// A value without values in it.
    Leaf,
    /// A string, not yet known to be UTF-8; it ends where the reader stands.
    Text(&'a [u8]),
    /// A sequence or map with so many values in it, keys counted too.
    Open(u64),
    /// The buffer of that index.
    Reference(u32),
}

struct Tokens<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Tokens<'a> {
    // Called from two loops; as a call of its own it makes the walk a third slower.
    #[inline(always)]
    fn token(&mut self) -> Result<Token<'a>, FrameError> {
        let marker_at = self.at;
        let [marker] = self.array()?;
        Ok(match marker {
            0x00..=0x7f | 0xc0 | 0xc2 | 0xc3 | 0xe0..=0xff => Token::Leaf,
            0x80..=0x8f => Token::Open(2 * u64::from(marker & 0x0f)),
            0x90..=0x9f => Token::Open(u64::from(marker & 0x0f)),
            0xa0..=0xbf => Token::Text(self.take(u64::from(marker & 0x1f))?),
            0xc1 => return Err(fault(marker_at, MetaFault::Reserved)),
            0xc4..=0xc6 => self.length(marker - 0xc4).and_then(|len| self.leaf(len))?,
            0xc7..=0xc9 => {
                let len = self.length(marker - 0xc7)?;
                self.extension(marker_at, len)?
            }
            0xca => self.leaf(4)?,
            0xcb => self.leaf(8)?,
            0xcc..=0xcf => self.leaf(1 << (marker - 0xcc))?,
            0xd0..=0xd3 => self.leaf(1 << (marker - 0xd0))?,
            0xd4..=0xd8 => self.extension(marker_at, 1 << (marker - 0xd4))?,
            0xd9..=0xdb => {
                let len = self.length(marker - 0xd9)?;
                Token::Text(self.take(len)?)
            }
            0xdc | 0xdd => Token::Open(self.length(marker - 0xdb)?),
            0xde | 0xdf => Token::Open(2 * self.length(marker - 0xdd)?),
        })
    }

    /// A reference to a buffer, the only extension there is.
    fn extension(&mut self, marker_at: usize, len: u64) -> Result<Token<'a>, FrameError> {
        let header_len = self.at - marker_at;
        let body = self.take(len + 1)?;
        let (kind, payload) = body.split_first().unwrap_or((&0, &[]));
        if *kind != REFERENCE {
            return Err(fault(marker_at, MetaFault::UnknownExt));
        }
        let index = match *payload {
            // Marker and one byte of length at most: fixext and ext 8.
            _ if header_len > 2 => None,
            [a] => Some(u32::from(a)),
            [a, b] => Some(u32::from(u16::from_le_bytes([a, b]))).filter(|&i| i > 0xff),
            [a, b, c, d] => Some(u32::from_le_bytes([a, b, c, d])).filter(|&i| i > 0xffff),
            _ => None,
        };
        index.map(Token::Reference).ok_or_else(|| fault(marker_at, MetaFault::ExtLen))
    }

    fn leaf(&mut self, len: u64) -> Result<Token<'a>, FrameError> {
        self.take(len).map(|_| Token::Leaf)
    }

    /// A length field of `2^log2` bytes.
    fn length(&mut self, log2: u8) -> Result<u64, FrameError> {
        match log2 {
            0 => self.array().map(u8::from_be_bytes).map(u64::from),
            1 => self.array().map(u16::from_be_bytes).map(u64::from),
            _ => self.array().map(u32::from_be_bytes).map(u64::from),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], FrameError> {
        let field = self.rest().first_chunk::<N>().ok_or_else(|| fault(self.at, MetaFault::Eof))?;
        self.at += N;
        Ok(*field)
    }

    fn take(&mut self, len: u64) -> Result<&'a [u8], FrameError> {
        let part = usize::try_from(len).ok().and_then(|len| self.rest().get(..len));
        let part = part.ok_or_else(|| fault(self.at, MetaFault::Eof))?;
        self.at += part.len();
        Ok(part)
    }

    fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }
}

/// How many values are still to come: in the innermost sequence or map, and in those around it.
struct Levels {
    left: u64,
    near: [u64; NEAR],
    far: Vec<u64>,
    depth: usize,
}

impl Levels {
    /// Outside everything, where one value is to come.
    fn new() -> Levels {
        Levels { left: 1, near: [0; NEAR], far: Vec::new(), depth: 0 }
    }

    fn begin_value(&mut self) {
        self.left = self.left.saturating_sub(1);
    }

    fn open(&mut self, values: u64) {
        match self.near.get_mut(self.depth) {
            Some(around) => *around = self.left,
            None => self.far.push(self.left),
        }
        self.left = values;
        self.depth += 1;
    }

    /// Leaves the levels that wait for nothing more; true when that was the outermost.
    fn end_value(&mut self) -> bool {
        while self.left == 0 {
            let Some(depth) = self.depth.checked_sub(1) else { return true };
            let around = self.near.get(depth).copied().or_else(|| self.far.pop());
            self.left = around.unwrap_or_default();
            self.depth = depth;
        }
        false
    }
}

/// Levels that need no allocation; most values stay within them.
const NEAR: usize = 16;
/// Extension type of a reference to a buffer.
const REFERENCE: u8 = 0x70;
