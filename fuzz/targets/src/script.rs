//! [`Script`]: bytes as decisions, for the targets that are a list of operations.

/// Whether all bytes are this one. In one comparison: one for each byte is slow under a sanitizer.
pub(crate) fn are_all(bytes: &[u8], byte: u8) -> bool {
    bytes == vec![byte; bytes.len()]
}

/// What is left of an input. Behind its end every decision is zero.
#[derive(Debug)]
pub(crate) struct Script<'d> {
    rest: &'d [u8],
}

impl<'d> Script<'d> {
    pub(crate) fn new(data: &'d [u8]) -> Self {
        Script { rest: data }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.rest.split_first() else { return 0 };
        self.rest = rest;
        first
    }

    /// Below `bound`, of which there are 256 at most; zero for none.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::from(self.byte()) % bound.max(1)
    }

    pub(crate) fn one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == 0
    }

    /// Below 65 536.
    pub(crate) fn short(&mut self) -> usize {
        usize::from(u16::from_le_bytes([self.byte(), self.byte()]))
    }

    pub(crate) fn word(&mut self) -> u64 {
        u64::from_le_bytes(std::array::from_fn(|_| self.byte()))
    }

    /// Small, near a power of two, or anything.
    pub(crate) fn number(&mut self) -> u64 {
        match self.below(8) {
            0..=2 => u64::from(self.byte()),
            3..=5 => (1_u64 << self.below(64)).wrapping_add(self.word_near_zero()),
            6 => u64::MAX.wrapping_sub(u64::from(self.byte())),
            _ => self.word(),
        }
    }

    fn word_near_zero(&mut self) -> u64 {
        [0, 1, u64::MAX, 8, u64::MAX - 7, 64][self.below(6)]
    }
}
