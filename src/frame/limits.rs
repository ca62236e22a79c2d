//! What a reader accepts.
//!
//! Limits are the reader's alone: the format only says where each of them is looked at. None is
//! ever zero by default, so a forgotten field cannot turn a check off or refuse everything.

#![forbid(unsafe_code)]

/// What a reader accepts before it calls a frame too large; the defaults are those of the format.
///
/// ```
/// use pannier::Limits;
///
/// let limits = Limits::default().frame_len(1 << 20).depth(16);
/// assert_eq!(limits.frame_len, 1 << 20);
/// assert_eq!(limits.buffers, 65_536);
/// assert!(!limits.segments);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of a whole frame, buffers included. Default: 1 TiB.
    pub frame_len: u64,
    /// Bytes of metadata. Default: 64 MiB.
    pub meta_len: u32,
    /// Buffers of one frame. Default: 65 536.
    pub buffers: u32,
    /// Sequences, maps and enum variants inside each other. Default: 128.
    pub depth: u32,
    /// Bytes that may be copied because a buffer is referenced again. Default: 64 MiB.
    pub repeat_bytes: u64,
    /// Whether frames may name shared segments. Default: no.
    pub segments: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            frame_len: 1 << 40,
            meta_len: 64 << 20,
            buffers: 65_536,
            depth: 128,
            repeat_bytes: 64 << 20,
            segments: false,
        }
    }
}

impl Limits {
    /// The defaults for streams: whoever is at the other end, a frame has at most 1 GiB.
    ///
    /// ```
    /// assert_eq!(pannier::Limits::stream().frame_len, 1 << 30);
    /// ```
    #[must_use]
    pub fn stream() -> Self {
        Limits::default().frame_len(1 << 30)
    }

    /// Limits that keep a fuzzer fast: 64 KiB a frame, depth 16, little of everything else.
    ///
    /// They may change in any release: what is under the feature `fuzzing` is outside of semver.
    ///
    /// ```
    /// let tiny = pannier::Limits::tiny();
    /// assert_eq!((tiny.frame_len, tiny.depth), (1 << 16, 16));
    /// ```
    #[cfg(feature = "fuzzing")]
    #[must_use]
    pub const fn tiny() -> Self {
        Limits {
            frame_len: 64 << 10,
            meta_len: 16 << 10,
            buffers: 64,
            depth: 16,
            repeat_bytes: 64 << 10,
            segments: false,
        }
    }

    /// Sets [`frame_len`](Limits#structfield.frame_len), in bytes.
    ///
    /// ```
    /// assert_eq!(pannier::Limits::default().frame_len(4096).frame_len, 4096);
    /// ```
    #[must_use]
    pub const fn frame_len(mut self, bytes: u64) -> Self {
        self.frame_len = bytes;
        self
    }

    /// Sets [`meta_len`](Limits#structfield.meta_len), in bytes.
    ///
    /// ```
    /// assert_eq!(pannier::Limits::default().meta_len(512).meta_len, 512);
    /// ```
    #[must_use]
    pub const fn meta_len(mut self, bytes: u32) -> Self {
        self.meta_len = bytes;
        self
    }

    /// Sets [`buffers`](Limits#structfield.buffers), the largest count.
    ///
    /// ```
    /// assert_eq!(pannier::Limits::default().buffers(8).buffers, 8);
    /// ```
    #[must_use]
    pub const fn buffers(mut self, count: u32) -> Self {
        self.buffers = count;
        self
    }

    /// Sets [`depth`](Limits#structfield.depth), the most levels inside each other.
    ///
    /// ```
    /// assert_eq!(pannier::Limits::default().depth(16).depth, 16);
    /// ```
    #[must_use]
    pub const fn depth(mut self, levels: u32) -> Self {
        self.depth = levels;
        self
    }

    /// Sets [`repeat_bytes`](Limits#structfield.repeat_bytes).
    ///
    /// ```
    /// assert_eq!(pannier::Limits::default().repeat_bytes(0).repeat_bytes, 0);
    /// ```
    #[must_use]
    pub const fn repeat_bytes(mut self, bytes: u64) -> Self {
        self.repeat_bytes = bytes;
        self
    }

    /// Sets [`segments`](Limits#structfield.segments): permit only what comes from a trusted peer.
    ///
    /// ```
    /// assert!(pannier::Limits::default().segments(true).segments);
    /// ```
    #[must_use]
    pub const fn segments(mut self, allowed: bool) -> Self {
        self.segments = allowed;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_those_of_the_format() {
        let limits = Limits::default();
        assert_eq!(limits.frame_len, 1_099_511_627_776);
        assert_eq!(limits.meta_len, 67_108_864);
        assert_eq!(limits.buffers, 65_536);
        assert_eq!(limits.depth, 128);
        assert_eq!(limits.repeat_bytes, 67_108_864);
        assert!(!limits.segments);
    }
}
