//! Where in a configuration file something is wrong, and what. Judges nothing itself.

use std::fmt;
use std::fs;
use std::ops::Range;
use std::path::{self, Path, PathBuf};

/// One thing wrong with a configuration. Prints as `FILE:LINE:COLUMN: message`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The file as it was named.
    pub file: PathBuf,
    /// Counted from 1; 0 where the error is about the file as a whole, and no position is printed.
    pub line: usize,
    /// Counted in characters from 1.
    pub column: usize,
    /// What is wrong and what to write instead, one line.
    pub message: String,
}

impl ConfigError {
    /// An error about the file as a whole.
    pub fn whole(file: &Path, message: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line: 0, column: 0, message: message.into() }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file.display(), self.message),
            line => write!(f, "{}:{line}:{}: {}", self.file.display(), self.column, self.message),
        }
    }
}

impl std::error::Error for ConfigError {}

/// A text and the name of its file.
pub(super) struct Source<'a> {
    pub(super) text: &'a str,
    file: &'a Path,
    /// The offset at which each line begins. A position is asked for once a device, so it must not cost the whole text.
    lines: Vec<usize>,
}

impl<'a> Source<'a> {
    pub(super) fn new(text: &'a str, file: &'a Path) -> Self {
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { text, file, lines }
    }

    /// The folder of the file, absolute.
    pub(super) fn folder(&self) -> PathBuf {
        let file = path::absolute(self.file).unwrap_or_else(|_| self.file.to_owned());
        file.parent().map_or_else(|| file.clone(), Path::to_owned)
    }

    /// The error with this message about the bytes of `span`; the message becomes one line.
    pub(super) fn error(&self, span: Range<usize>, message: &str) -> ConfigError {
        let (line, column) = self.position(span.start);
        let message = message.split(char::is_control).map(str::trim).collect::<Vec<_>>().join(" ");
        ConfigError { file: self.file.to_owned(), line, column, message: message.trim().to_owned() }
    }

    /// Line and column of a byte offset, from 1. What is at or behind the end belongs to the end of the last line.
    pub(super) fn position(&self, offset: usize) -> (usize, usize) {
        let last = self.text.strip_suffix('\n').unwrap_or(self.text).len();
        let mut offset = offset.min(last);
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        let line = self.line(offset);
        (line, self.text[self.lines[line - 1]..offset].chars().count() + 1)
    }

    /// The line of a byte offset, from 1.
    pub(super) fn line(&self, offset: usize) -> usize {
        let last = self.text.strip_suffix('\n').unwrap_or(self.text).len();
        self.lines.partition_point(|&start| start <= offset.min(last))
    }
}

/// The text of a file.
pub(super) fn read_text(file: &Path) -> Result<String, ConfigError> {
    let bytes = fs::read(file).map_err(|why| ConfigError::whole(file, format!("cannot be read: {why}")))?;
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(error) => {
            let valid = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
            // One character more, so that the position behind a line end is not taken for the end of the text.
            let shown = format!("{valid}?");
            Err(Source::new(&shown, file).error(valid.len()..valid.len(), "not UTF-8; save the file as UTF-8"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn position(text: &str, offset: usize) -> (usize, usize) {
        Source::new(text, Path::new("f")).position(offset)
    }

    #[test]
    fn columns_count_characters_and_lines_count_from_one() {
        assert_eq!(position("", 0), (1, 1));
        assert_eq!(position("é = 1\nb", 3), (1, 3));
        assert_eq!(position("é = 1\nb", 7), (2, 1));
    }

    #[test]
    fn the_end_of_the_text_is_the_end_of_its_last_line() {
        assert_eq!(position("ab\n", 3), (1, 3));
        assert_eq!(position("ab", 99), (1, 3));
        assert_eq!(position("ab\n\n", 4), (2, 1));
    }

    #[test]
    fn an_error_prints_with_its_place() {
        let error = Source::new("ab\ncd", Path::new("x.toml")).error(4..5, "first\n  second");
        assert_eq!(error.to_string(), "x.toml:2:2: first second");
        assert_eq!(ConfigError::whole(Path::new("x.toml"), "gone").to_string(), "x.toml: gone");
    }

    proptest! {
        #[test]
        fn any_offset_is_inside_the_text(text in "[aé\n\r]{0,20}", offset in 0usize..60) {
            let (line, column) = position(&text, offset);
            let length = text.split('\n').nth(line - 1).unwrap().chars().count();
            prop_assert!((1..=length + 1).contains(&column));
        }
    }
}
