//! Fixed-size fields and the arithmetic of lengths.
//!
//! Every multi-byte field of header and descriptor is little-endian and is read here, so that no
//! other module meets a host's byte order. Nothing here panics: too few bytes, or a sum that does
//! not fit, is `None`.

#![forbid(unsafe_code)]

/// Reads fields one after the other.
pub(super) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Cursor { rest: bytes }
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*field)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }
}

/// The smallest multiple of `2^log2` that is not below `n`.
pub(super) fn align_up(n: u64, log2: u8) -> Option<u64> {
    n.checked_next_multiple_of(1u64.checked_shl(u32::from(log2))?)
}

/// CRC-32C, the format's checksum (RFC 3720, appendix B.4).
///
/// ```
/// assert_eq!(pannier::frame::checksum(b"123456789"), 0xe306_9283);
/// ```
pub fn checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
}

/// The [`checksum`] of what `so_far` is the checksum of, with `bytes` behind it; of nothing it is 0.
///
/// ```
/// use pannier::frame::{checksum, checksum_append};
///
/// assert_eq!(checksum_append(checksum(b"12345"), b"6789"), checksum(b"123456789"));
/// assert_eq!(checksum_append(0, b"123456789"), checksum(b"123456789"));
/// ```
pub fn checksum_append(so_far: u32, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(so_far, bytes)
}

/// A length in memory as a length on the wire; exact wherever `usize` has at most 64 bits.
pub(super) fn wide(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_little_endian_and_end_with_the_input() {
        let mut cursor = Cursor::new(&[1, 2, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0x80, 9]);
        assert_eq!(cursor.u8(), Some(1));
        assert_eq!(cursor.u32(), Some(2));
        assert_eq!(cursor.u64(), Some(0x8000_0000_0000_0003));
        assert_eq!(cursor.u32(), None);
        assert_eq!(cursor.u8(), Some(9));
        assert_eq!(cursor.u8(), None);
    }

    #[test]
    fn aligning_never_wraps() {
        assert_eq!(align_up(0, 6), Some(0));
        assert_eq!(align_up(1, 6), Some(64));
        assert_eq!(align_up(64, 6), Some(64));
        assert_eq!(align_up(u64::MAX, 0), Some(u64::MAX));
        assert_eq!(align_up(u64::MAX - 62, 6), None);
        assert_eq!(align_up(0, 64), None);
    }
}
