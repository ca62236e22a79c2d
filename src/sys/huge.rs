//! Whether huge pages were granted where they were asked for (proc_pid_smaps(5)).
//!
//! Promises: what the kernel says of this moment; it may grant or split huge pages at any time.
//! Does not know: why they were refused.
#![forbid(unsafe_code)]

use std::io;
use std::ops::Range;

/// Bytes within these addresses that huge pages map. It reads a line or two dozen for each map of
/// the process.
pub(crate) fn bytes_within(addresses: &[Range<usize>]) -> io::Result<u64> {
    Ok(count(&std::fs::read_to_string("/proc/self/smaps")?, addresses))
}

fn count(smaps: &str, addresses: &[Range<usize>]) -> u64 {
    let mut is_ours = false;
    let mut bytes = 0;
    for line in smaps.lines() {
        if let Some(map) = addresses_of(line) {
            is_ours = addresses.iter().any(|ours| ours.start <= map.start && map.start < ours.end);
        } else if is_ours {
            bytes += huge_bytes(line).unwrap_or(0);
        }
    }
    bytes
}

/// Of the first line of a map.
fn addresses_of(line: &str) -> Option<Range<usize>> {
    let (start, end) = line.split(' ').next()?.split_once('-')?;
    let parse = |text| usize::from_str_radix(text, 16).ok();
    Some(parse(start)?..parse(end)?)
}

/// Of a line that counts pages of 2 MiB: of memory objects, of files.
fn huge_bytes(line: &str) -> Option<u64> {
    let count = ["ShmemPmdMapped:", "FilePmdMapped:"].iter().find_map(|k| line.strip_prefix(k))?;
    count.trim().trim_end_matches(" kB").parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_maps_are_counted() {
        let smaps = "\
7f0000000000-7f0000400000 rw-s 00000000 00:01 5 /memfd:pannier (deleted)
Size:               4096 kB
ShmemPmdMapped:     2048 kB
FilePmdMapped:         0 kB
7f0000400000-7f0000800000 rw-s 00000000 00:01 6 /memfd:other (deleted)
ShmemPmdMapped:     4096 kB
7f0000800000-7f0000a00000 rw-s 00000000 08:01 7 /tmp/#7 (deleted)
FilePmdMapped:      2048 kB
";
        let ours = [0x7f00_0000_0000..0x7f00_0040_0000, 0x7f00_0080_0000..0x7f00_00a0_0000];
        assert_eq!(count(smaps, &ours), 4 << 20);
        assert_eq!(count(smaps, &[]), 0);
        assert_eq!(bytes_within(&ours[..1]).unwrap(), 0, "nothing of this process lies there");
    }
}
