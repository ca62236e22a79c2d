//! Bytes in and out of memory that others may write at the same moment.
//!
//! Promises: every access is one whole atomic word, so that concurrent ones are never undefined: each
//! word that is read was there at some moment, and bytes beside those that are written stay.
//! Does not know: any order between words. Who needs one agrees on it by other means.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering};

const WORD: usize = size_of::<AtomicU64>();

/// Copies the bytes from `offset` on. They lie within the words.
pub(super) fn read(words: &[AtomicU64], offset: usize, into: &mut [u8]) {
    let (head, rest) = into.split_at_mut(to_boundary(offset).min(into.len()));
    read_part(words, offset, head);
    let mut whole = rest.chunks_exact_mut(WORD);
    let first = (offset + head.len()) / WORD;
    let mut at = first;
    for (bytes, word) in whole.by_ref().zip(words.get(first..).unwrap_or_default()) {
        bytes.copy_from_slice(bytemuck::bytes_of(&word.load(Ordering::Relaxed)));
        at += 1;
    }
    read_part(words, at * WORD, whole.into_remainder());
}

/// Copies the bytes to `offset` and behind. They lie within the words.
pub(super) fn write(words: &[AtomicU64], offset: usize, from: &[u8]) {
    let (head, rest) = from.split_at(to_boundary(offset).min(from.len()));
    write_part(words, offset, head);
    let whole = rest.chunks_exact(WORD);
    let first = (offset + head.len()) / WORD;
    write_part(words, (first + whole.len()) * WORD, whole.remainder());
    for (bytes, word) in whole.zip(words.get(first..).unwrap_or_default()) {
        word.store(bytemuck::pod_read_unaligned(bytes), Ordering::Relaxed);
    }
}

/// Bytes from `offset` to the next word.
fn to_boundary(offset: usize) -> usize {
    offset.next_multiple_of(WORD) - offset
}

/// Less than a word.
fn read_part(words: &[AtomicU64], offset: usize, into: &mut [u8]) {
    if !into.is_empty() {
        let word = words[offset / WORD].load(Ordering::Relaxed);
        let start = offset % WORD;
        into.copy_from_slice(&bytemuck::bytes_of(&word)[start..start + into.len()]);
    }
}

/// Less than a word: the bytes beside them stay as they are at that moment.
fn write_part(words: &[AtomicU64], offset: usize, from: &[u8]) {
    if !from.is_empty() {
        let start = offset % WORD;
        let with = |mut word: u64| {
            bytemuck::bytes_of_mut(&mut word)[start..start + from.len()].copy_from_slice(from);
            Some(word)
        };
        let always = words[offset / WORD].fetch_update(Ordering::Relaxed, Ordering::Relaxed, with);
        debug_assert!(always.is_ok(), "there is a new word for every old one");
    }
}
