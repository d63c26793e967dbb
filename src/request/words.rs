//! A request line as words with their places. Knows no request.

use std::fmt;

use super::RequestError;
use super::hex::{self, HexError};

/// What is left of a line.
pub(super) struct Words<'a> {
    line: &'a str,
    /// Byte offsets of the last word that was taken, and behind it.
    start: usize,
    at: usize,
    /// The form to show when a word is missing, wrong or too many.
    form: &'static str,
}

impl<'a> Words<'a> {
    pub(super) fn new(line: &'a str) -> Self {
        Self { line, start: 0, at: 0, form: "" }
    }

    /// Names the form that refusals from here on show.
    pub(super) fn expect_form(&mut self, form: &'static str) {
        self.form = form;
    }

    /// Takes the next word.
    pub(super) fn next(&mut self) -> Option<&'a str> {
        let rest = &self.line[self.at..];
        let word = rest.split_whitespace().next()?;
        self.start = self.at + rest.len() - rest.trim_start().len();
        self.at = self.start + word.len();
        Some(word)
    }

    /// Whether no word is left.
    pub(super) fn is_empty(&self) -> bool {
        self.line[self.at..].trim_start().is_empty()
    }

    /// Takes the next word, which must be there.
    pub(super) fn word(&mut self, what: &str) -> Result<&'a str, RequestError> {
        self.next().ok_or_else(|| RequestError::invalid(format!("{what} is missing; write {}", self.form)))
    }

    /// Takes a number, decimal or hex with `0x`, from 0 to `max`.
    pub(super) fn number<T: TryFrom<u64>>(&mut self, what: &str, max: u64) -> Result<T, RequestError> {
        let word = self.word(what)?;
        let number = parse_number(word).filter(|&number| number <= max).and_then(|number| T::try_from(number).ok());
        number.ok_or_else(|| self.refuse(format!("{what} must be a number from 0 to {max} (or {max:#x})")))
    }

    /// Takes the rest of the line as bytes in hex.
    pub(super) fn bytes(&mut self) -> Result<Vec<u8>, RequestError> {
        let start = self.at;
        self.at = self.line.len();
        hex::decode(&self.line[start..]).map_err(|error| {
            let (at, why) = match error {
                HexError::Digit(at) => (at, "no hex digit; write data as 0-9 a-f without 0x"),
                HexError::Odd(at) => (at, "a byte has two hex digits, here is one"),
            };
            RequestError::invalid(format!("column {}: {why}", self.column(start + at)))
        })
    }

    /// Makes sure that nothing is left.
    pub(super) fn end(&mut self) -> Result<(), RequestError> {
        match self.next() {
            None => Ok(()),
            Some(_) => Err(self.refuse(format!("too much; write {}", self.form))),
        }
    }

    /// The refusal of the word taken last.
    pub(super) fn refuse(&self, why: impl fmt::Display) -> RequestError {
        let word = shorten(&self.line[self.start..self.at]);
        RequestError::invalid(format!("column {}: `{word}`: {why}", self.column(self.start)))
    }

    fn column(&self, at: usize) -> usize {
        self.line[..at].chars().count() + 1
    }
}

/// Decimal digits, or hex digits after `0x`; no sign, no separators.
fn parse_number(word: &str) -> Option<u64> {
    let (digits, radix) = match word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None => (word, 10),
    };
    // `from_str_radix` takes a sign, which no field of a setup packet has.
    let plain = digits.chars().all(|c| c.is_digit(radix));
    plain.then(|| u64::from_str_radix(digits, radix).ok()).flatten()
}

/// An answer quotes a word, not the 100 kB of garbage that came in its place.
fn shorten(word: &str) -> String {
    let head: String = word.chars().take(QUOTED).collect();
    let dots = if head.len() < word.len() { "…" } else { "" };
    format!("{}{dots}", head.escape_debug())
}

const QUOTED: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_decimal_or_hex_and_nothing_else() {
        for (word, number) in [("0", 0), ("010", 10), ("0xFf", 255), ("0X10", 16)] {
            assert_eq!(parse_number(word), Some(number));
        }
        for word in ["", "0x", "+1", "-1", "0x-1", "ff", "1_000", "1.0", "99999999999999999999"] {
            assert_eq!(parse_number(word), None, "{word}");
        }
    }

    #[test]
    fn columns_count_characters_from_one() {
        let mut words = Words::new("é  7x");
        words.next();
        let refusal = words.number::<u8>("n", 9).unwrap_err();
        assert_eq!(refusal.text, "column 4: `7x`: n must be a number from 0 to 9 (or 0x9)");
    }

    #[test]
    fn a_long_word_is_quoted_by_its_beginning() {
        let line = "z".repeat(1000);
        let refusal = Words::new(&line).number::<u8>("n", 9).unwrap_err();
        assert!(refusal.text.len() < 150, "{}", refusal.text);
    }
}
