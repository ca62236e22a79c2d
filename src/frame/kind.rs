//! The element hint of a descriptor: which numbers a buffer holds.
//!
//! A hint lets a reader refuse a view of the wrong type and lets other languages make a typed array.
//! This module knows the codes and their sizes; it knows no Rust types.

#![forbid(unsafe_code)]

/// Element hint: class in the high half, log2 of the size in the low half.
///
/// Only codes that the format names, and advisory ones, can be held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Kind(u8);

impl Kind {
    /// Bytes, or elements that only the application knows.
    pub(crate) const OPAQUE: Kind = Kind(0x00);
    pub(crate) const U8: Kind = Kind(0x10);
    pub(crate) const U16: Kind = Kind(0x11);
    pub(crate) const U32: Kind = Kind(0x12);
    pub(crate) const U64: Kind = Kind(0x13);
    pub(crate) const U128: Kind = Kind(0x14);
    pub(crate) const I8: Kind = Kind(0x20);
    pub(crate) const I16: Kind = Kind(0x21);
    pub(crate) const I32: Kind = Kind(0x22);
    pub(crate) const I64: Kind = Kind(0x23);
    pub(crate) const I128: Kind = Kind(0x24);
    #[cfg(test)]
    pub(crate) const F16: Kind = Kind(0x31);
    pub(crate) const F32: Kind = Kind(0x32);
    pub(crate) const F64: Kind = Kind(0x33);
    #[cfg(test)]
    /// Two `f32`: eight bytes.
    pub(crate) const COMPLEX64: Kind = Kind(0x43);
    #[cfg(test)]
    /// Two `f64`: sixteen bytes.
    pub(crate) const COMPLEX128: Kind = Kind(0x44);

    /// `None` for a code that version 1 neither names nor calls advisory.
    pub(crate) fn from_byte(byte: u8) -> Option<Kind> {
        match byte {
            0x00 | 0x10..=0x14 | 0x20..=0x24 | 0x31..=0x33 | 0x43 | 0x44 => Some(Kind(byte)),
            ADVISORY.. => Some(Kind(byte)),
            _ => None,
        }
    }

    pub(crate) fn to_byte(self) -> u8 {
        self.0
    }

    /// Bytes of one element; `None` for opaque and advisory kinds, which promise nothing.
    pub(crate) fn element_size(self) -> Option<u64> {
        if self.is_opaque() { None } else { Some(1 << (self.0 & 0x0f)) }
    }

    /// Whether a reader takes the bytes as they are, whatever its element type.
    pub(crate) fn is_opaque(self) -> bool {
        self == Kind::OPAQUE || self.0 >= ADVISORY
    }
}

/// From here on a reader that does not know the code ignores it.
const ADVISORY: u8 = 0x80;

#[cfg(test)]
mod tests {
    use super::*;

    const NAMED: [(Kind, u8, Option<u64>); 16] = [
        (Kind::OPAQUE, 0x00, None),
        (Kind::U8, 0x10, Some(1)),
        (Kind::U16, 0x11, Some(2)),
        (Kind::U32, 0x12, Some(4)),
        (Kind::U64, 0x13, Some(8)),
        (Kind::U128, 0x14, Some(16)),
        (Kind::I8, 0x20, Some(1)),
        (Kind::I16, 0x21, Some(2)),
        (Kind::I32, 0x22, Some(4)),
        (Kind::I64, 0x23, Some(8)),
        (Kind::I128, 0x24, Some(16)),
        (Kind::F16, 0x31, Some(2)),
        (Kind::F32, 0x32, Some(4)),
        (Kind::F64, 0x33, Some(8)),
        (Kind::COMPLEX64, 0x43, Some(8)),
        (Kind::COMPLEX128, 0x44, Some(16)),
    ];

    #[test]
    fn named_kinds_have_their_code_and_size() {
        for (kind, byte, size) in NAMED {
            assert_eq!(kind.to_byte(), byte);
            assert_eq!(Kind::from_byte(byte), Some(kind));
            assert_eq!(kind.element_size(), size);
            assert_eq!(kind.is_opaque(), size.is_none());
        }
    }

    #[test]
    fn of_the_other_codes_only_the_advisory_ones_are_accepted() {
        for byte in 0..=u8::MAX {
            let named = NAMED.iter().any(|&(_, code, _)| code == byte);
            let kind = Kind::from_byte(byte);
            assert_eq!(kind.is_some(), named || byte >= 0x80, "{byte:#04x}");
            if let Some(kind) = kind.filter(|_| !named) {
                assert!(kind.is_opaque());
                assert_eq!(kind.element_size(), None);
            }
        }
    }
}
