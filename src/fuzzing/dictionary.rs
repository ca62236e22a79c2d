//! [`DICTIONARY`]: words of the format for libFuzzer.
#![forbid(unsafe_code)]

/// A dictionary in libFuzzer's form: the magic, versions, markers of MessagePack, references,
/// numbers at edges and tails of descriptors. Write it to a file and pass that as `-dict`.
///
/// # Examples
///
/// ```
/// assert!(pannier::fuzzing::DICTIONARY.contains(r#"magic="\xc1PNR""#));
/// ```
pub const DICTIONARY: &str = include_str!("frame.dict");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_a_comment_or_a_named_word() {
        for line in DICTIONARY.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (name, word) = line.split_once('=').unwrap();
            assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'), "{line}");
            let word = word.strip_prefix('"').and_then(|word| word.strip_suffix('"')).unwrap();
            assert!(!word.is_empty() && !word.contains('"'), "{line}");
            let escapes = word.split('\\').skip(1);
            assert!(escapes.clone().all(|e| e.starts_with('x') && e.len() >= 3), "{line}");
        }
    }
}
