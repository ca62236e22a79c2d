//! [`Random`]: the numbers that mutations follow.
//!
//! Promises: xorshift64*, the same numbers for the same seed, everywhere.
//! Does not know: how to be hard to guess.
#![forbid(unsafe_code)]

/// Numbers for a loop that mutates: the same for the same seed, on every machine.
///
/// # Examples
///
/// ```
/// use pannier::fuzzing::Random;
///
/// let (mut random, mut again) = (Random::new(7), Random::new(7));
/// assert_eq!(random.number(), again.number());
/// assert!(random.below(10) < 10);
/// ```
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Neighbouring seeds begin far apart.
    ///
    /// ```
    /// # use pannier::fuzzing::Random;
    /// assert_ne!(Random::new(0).number(), Random::new(1).number());
    /// ```
    #[must_use]
    pub fn new(seed: u32) -> Random {
        // None of them at zero, where it would stay.
        Random((u64::from(seed) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// Any number.
    ///
    /// ```
    /// # use pannier::fuzzing::Random;
    /// let seed = Random::new(7).number() as u32;
    /// # let _ = seed;
    /// ```
    pub fn number(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `bound`; 0 for a bound of 0.
    ///
    /// ```
    /// # use pannier::fuzzing::Random;
    /// assert_eq!(Random::new(7).below(1), 0);
    /// ```
    pub fn below(&mut self, bound: usize) -> usize {
        let number = usize::try_from(self.number() >> 33).unwrap_or_default();
        number % bound.max(1)
    }

    /// True once in `bound` times.
    ///
    /// ```
    /// # use pannier::fuzzing::Random;
    /// assert!(Random::new(7).one_in(1));
    /// ```
    pub fn one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == 0
    }

    /// Any byte.
    ///
    /// ```
    /// # use pannier::fuzzing::Random;
    /// let letter = b'a' + Random::new(7).byte() % 26;
    /// assert!(letter.is_ascii_lowercase());
    /// ```
    pub fn byte(&mut self) -> u8 {
        self.number().to_be_bytes()[0]
    }

    /// So many bytes.
    ///
    /// ```
    /// # use pannier::fuzzing::Random;
    /// assert_eq!(Random::new(7).bytes(3).len(), 3);
    /// ```
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.byte()).collect()
    }

    /// One of `choices`, which are not empty.
    pub(super) fn pick<'c, T: ?Sized>(&mut self, choices: &[&'c T]) -> &'c T {
        choices[self.below(choices.len())]
    }
}
