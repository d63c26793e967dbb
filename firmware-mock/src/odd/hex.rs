//! Bytes as the table writes them.
//!
//! One job: turn hex with comments into bytes. It refuses to know what the bytes mean, but for one length.
//!
//! ```text
//! 09 02 LL HH 01 01 00 80 32     # LL HH is the number of all bytes, as in wTotalLength
//! 5a x64                         # the byte before, 64 times in all
//! ( 09 04 NN 00 ) x255           # what is between the brackets, 255 times; NN counts from 0
//! ```

use serde::{Deserialize, Deserializer, de::Error};

/// Bytes, written as hex.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hex(pub Vec<u8>);

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parse(&String::deserialize(deserializer)?).map(Self).map_err(D::Error::custom)
    }
}

/// Reads the bytes of a text.
///
/// # Errors
/// The word that is none of the forms.
pub(super) fn parse(text: &str) -> Result<Vec<u8>, String> {
    let words = text.lines().flat_map(|line| line.split('#').next().unwrap_or_default().split_whitespace());
    let words = unrolled(&words.collect::<Vec<_>>())?;
    let (mut bytes, mut totals) = (Vec::new(), Vec::new());
    for word in words {
        let word = word.as_str();
        if let Some(shift) = ["LL", "HH"].iter().position(|half| *half == word) {
            totals.push((bytes.len(), 8 * shift));
            bytes.push(0);
        } else if let Some(times) = word.strip_prefix('x').and_then(|times| times.parse::<usize>().ok()) {
            let last = *bytes.last().ok_or_else(|| format!("{word:?} repeats nothing"))?;
            bytes.resize(bytes.len() + times.saturating_sub(1), last);
        } else {
            bytes.extend(pairs(word).ok_or_else(|| format!("{word:?} is not hex, LL, HH or xN"))?);
        }
    }
    let total = bytes.len();
    for (at, shift) in totals {
        bytes[at] = (total >> shift) as u8;
    }
    Ok(bytes)
}

/// The words, with those in brackets as often as they are wanted.
fn unrolled(words: &[&str]) -> Result<Vec<String>, String> {
    let plain = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
    let Some(open) = words.iter().position(|word| *word == "(") else { return Ok(plain(words)) };
    let inside = &words[open + 1..];
    let close = inside.iter().position(|word| *word == ")").ok_or("a bracket is not closed")?;
    let times = inside.get(close + 1).and_then(|word| word.strip_prefix('x')?.parse::<u8>().ok());
    let times = times.ok_or("a bracket without xN behind it, N at most 255")?;
    let mut all = plain(&words[..open]);
    for n in 0..times {
        all.extend(inside[..close].iter().map(|word| word.replace("NN", &format!("{n:02x}"))));
    }
    all.extend(unrolled(&inside[close + 2..])?);
    Ok(all)
}

/// Two digits a byte, with or without blanks between them.
fn pairs(word: &str) -> Option<Vec<u8>> {
    let digits = word.as_bytes();
    if !digits.len().is_multiple_of(2) || !word.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    (0..word.len()).step_by(2).map(|at| u8::from_str_radix(&word[at..at + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn comments_lengths_and_repetitions_are_understood() {
        assert_eq!(parse("09 02 LL HH # head\n 0aff # rest"), Ok(vec![9, 2, 6, 0, 10, 255]));
        assert_eq!(parse("01 5a x3 02"), Ok(vec![1, 0x5a, 0x5a, 0x5a, 2]));
        assert_eq!(parse("( 04 NN ) x3 05"), Ok(vec![4, 0, 4, 1, 4, 2, 5]));
        assert_eq!(parse("00 x300 LL HH").map(|bytes| bytes[300..].to_vec()), Ok(vec![0x2e, 0x01]));
    }

    #[test]
    fn what_is_no_byte_is_named() {
        assert!(parse("0").is_err_and(|why| why.contains("\"0\"")));
        assert!(parse("zz").is_err());
        assert!(parse("x3").is_err());
        assert!(parse("( 01").is_err() && parse("( 01 )").is_err() && parse("01 )").is_err());
    }

    proptest! {
        #[test]
        fn hex_reads_back(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let text: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            prop_assert_eq!(parse(&text.join(" ")), Ok(bytes.clone()));
            prop_assert_eq!(parse(&text.concat()), Ok(bytes));
        }

        #[test]
        fn any_text_is_bytes_or_an_error(text in "[0-9a-fxLHN()# \n]{0,40}") {
            let _ = parse(&text);
        }
    }
}
