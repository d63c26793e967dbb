//! Bytes as hex digits, both ways. Knows nothing of what the bytes mean.

/// Where and why a text is not hex.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HexError {
    /// The character at this byte offset is neither a hex digit nor a blank.
    Digit(usize),
    /// The group of digits that starts at this byte offset has an odd number of them.
    Odd(usize),
}

/// Two lower-case digits a byte, without blanks.
pub fn encode(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
    bytes.iter().flat_map(|b| [digit(b >> 4), digit(b & 15)]).collect()
}

/// Reads hex digits of either case. Blanks may stand between bytes, but not within one.
///
/// # Errors
/// The first place that is wrong.
pub fn decode(text: &str) -> Result<Vec<u8>, HexError> {
    let mut bytes = Vec::with_capacity(text.len() / 2);
    let mut high = None;
    for (at, c) in text.char_indices() {
        match (c.to_digit(16), high) {
            (Some(digit), None) => high = Some((at, digit)),
            (Some(digit), Some((_, upper))) => {
                bytes.push((upper << 4 | digit) as u8);
                high = None;
            }
            (None, Some((start, _))) if c.is_whitespace() => return Err(HexError::Odd(start)),
            (None, _) if c.is_whitespace() => {}
            (None, _) => return Err(HexError::Digit(at)),
        }
    }
    high.map_or(Ok(bytes), |(start, _)| Err(HexError::Odd(start)))
}

const DIGITS: &[u8; 16] = b"0123456789abcdef";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn blanks_between_bytes_do_not_matter() {
        assert_eq!(decode(" 80 06\t0001 "), Ok(vec![0x80, 6, 0, 1]));
        assert_eq!(decode(""), Ok(vec![]));
    }

    #[test]
    fn a_byte_with_one_digit_is_refused_where_it_stands() {
        assert_eq!(decode("80 6 00"), Err(HexError::Odd(3)));
        assert_eq!(decode("806"), Err(HexError::Odd(2)));
    }

    #[test]
    fn a_character_that_is_no_digit_is_refused_where_it_stands() {
        assert_eq!(decode("0x80"), Err(HexError::Digit(1)));
        assert_eq!(decode("00é"), Err(HexError::Digit(2)));
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            prop_assert_eq!(decode(&encode(&bytes)), Ok(bytes));
        }

        #[test]
        fn any_text_decodes_or_fails_inside_it(text in any::<String>()) {
            if let Err(HexError::Digit(at) | HexError::Odd(at)) = decode(&text) {
                prop_assert!(text.is_char_boundary(at) && at < text.len());
            }
        }
    }
}
