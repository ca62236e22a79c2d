//! Peers that lie: an error for each, no panic, no end of memory.

use crate::Test;

pub(crate) const TESTS: &[Test] = &[];
