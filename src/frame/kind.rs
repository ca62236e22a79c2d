//! The element hint of a descriptor: which numbers a buffer holds.
//!
//! A hint lets a reader refuse a view of the wrong type and lets other languages make a typed array.
//! This module knows the codes and their sizes; it knows no Rust types.

#![forbid(unsafe_code)]

use std::fmt;

/// Which numbers a buffer holds: class in the high half of its byte, log2 of the size in the low.
///
/// Only codes that the format names, and advisory ones, can be held.
///
/// ```
/// use pannier::frame::Kind;
///
/// assert_eq!(Kind::from_byte(0x33), Some(Kind::F64));
/// assert_eq!(Kind::F64.element_size(), Some(8));
/// assert_eq!(Kind::F64.to_string(), "f64");
/// assert_eq!(Kind::from_byte(0x50), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Kind(u8);

impl Kind {
    /// Bytes, or elements that only the application knows.
    pub const OPAQUE: Kind = Kind(0x00);
    /// `u8`.
    pub const U8: Kind = Kind(0x10);
    /// `u16`.
    pub const U16: Kind = Kind(0x11);
    /// `u32`.
    pub const U32: Kind = Kind(0x12);
    /// `u64`.
    pub const U64: Kind = Kind(0x13);
    /// `u128`.
    pub const U128: Kind = Kind(0x14);
    /// `i8`.
    pub const I8: Kind = Kind(0x20);
    /// `i16`.
    pub const I16: Kind = Kind(0x21);
    /// `i32`.
    pub const I32: Kind = Kind(0x22);
    /// `i64`.
    pub const I64: Kind = Kind(0x23);
    /// `i128`.
    pub const I128: Kind = Kind(0x24);
    /// Half precision, IEEE 754: two bytes.
    pub const F16: Kind = Kind(0x31);
    /// `f32`.
    pub const F32: Kind = Kind(0x32);
    /// `f64`.
    pub const F64: Kind = Kind(0x33);
    /// Two `f32`: eight bytes.
    pub const COMPLEX64: Kind = Kind(0x43);
    /// Two `f64`: sixteen bytes.
    pub const COMPLEX128: Kind = Kind(0x44);

    /// The kind of a code; `None` for one that version 1 neither names nor calls advisory.
    pub fn from_byte(byte: u8) -> Option<Kind> {
        match byte {
            0x00 | 0x10..=0x14 | 0x20..=0x24 | 0x31..=0x33 | 0x43 | 0x44 => Some(Kind(byte)),
            ADVISORY.. => Some(Kind(byte)),
            _ => None,
        }
    }

    /// The code, as it stands in a descriptor.
    pub fn to_byte(self) -> u8 {
        self.0
    }

    /// Bytes of one element; `None` for opaque and advisory kinds, which promise nothing.
    pub fn element_size(self) -> Option<u64> {
        if self.is_opaque() { None } else { Some(1 << (self.0 & 0x0f)) }
    }

    /// Whether a reader takes the bytes as they are, whatever its element type.
    pub fn is_opaque(self) -> bool {
        self == Kind::OPAQUE || self.0 >= ADVISORY
    }
}

/// The element's name as Rust and NumPy have it; `opaque`, or `advisory` with the code.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let class = match self.0 >> 4 {
            _ if self.0 >= ADVISORY => return write!(f, "advisory {:#04x}", self.0),
            0 => return f.write_str("opaque"),
            1 => "u",
            2 => "i",
            3 => "f",
            _ => "complex",
        };
        write!(f, "{class}{}", 8u32 << (self.0 & 0x0f))
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
    fn names_are_those_of_the_element_types() {
        let names = NAMED.map(|(kind, ..)| kind.to_string());
        let (unsigned, signed) = ("u8 u16 u32 u64 u128", "i8 i16 i32 i64 i128");
        let expected = format!("opaque {unsigned} {signed} f16 f32 f64 complex64 complex128");
        assert_eq!(names.join(" "), expected);
        assert_eq!(Kind::from_byte(0x81).unwrap().to_string(), "advisory 0x81");
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
