//! The options by which a user raises or lowers the reader's limits.

use clap::Args;
use pannier::Limits;

/// Sizes take the suffixes K, M, G and T, which are powers of 1024.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Limits (sizes may end in K, M, G or T)")]
pub(crate) struct LimitArgs {
    /// Bytes of a whole frame [default: 1T]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    limit_frame_len: Option<u64>,
    /// Bytes of metadata [default: 64M]
    #[arg(long, value_name = "SIZE", value_parser = parse_size_32)]
    limit_meta_len: Option<u32>,
    /// Buffers of one frame [default: 65536]
    #[arg(long, value_name = "COUNT")]
    limit_buffers: Option<u32>,
    /// Sequences, maps and enum variants inside each other [default: 128]
    #[arg(long, value_name = "LEVELS")]
    limit_depth: Option<u32>,
}

impl LimitArgs {
    pub(crate) fn limits(&self) -> Limits {
        let limits = Limits::default();
        limits
            .frame_len(self.limit_frame_len.unwrap_or(limits.frame_len))
            .meta_len(self.limit_meta_len.unwrap_or(limits.meta_len))
            .buffers(self.limit_buffers.unwrap_or(limits.buffers))
            .depth(self.limit_depth.unwrap_or(limits.depth))
    }
}

fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let shift = match text.get(digits.len()..) {
        Some("") => 0,
        Some("K" | "k") => 10,
        Some("M" | "m") => 20,
        Some("G" | "g") => 30,
        Some("T" | "t") => 40,
        _ => return Err("a size is a number, and K, M, G or T behind it".to_owned()),
    };
    let number: u64 = digits.parse().map_err(|_| "not a number that fits".to_owned())?;
    number.checked_mul(1 << shift).ok_or_else(|| "more than 64 bits can hold".to_owned())
}

fn parse_size_32(text: &str) -> Result<u32, String> {
    // One more than 32 bits hold is what people mean by 4G.
    let size = parse_size(text)?;
    let most = u64::from(u32::MAX);
    u32::try_from(if size == most + 1 { most } else { size })
        .map_err(|_| "more than 32 bits can hold".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_binary_suffixes() {
        assert_eq!(parse_size("4096"), Ok(4096));
        assert_eq!(parse_size("64M"), Ok(64 << 20));
        assert_eq!(parse_size("1t"), Ok(1 << 40));
        assert_eq!(parse_size_32("4G"), Ok(u32::MAX));
        for wrong in ["", "M", "-1", "1X", "1MM", "99999999T", "1é"] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
        assert!(parse_size_32("5G").is_err());
    }
}
