//! Bytes of a serial line cut into lines of a log, with the time at which each began. It reads no clock and no file.
//!
//! A line ends with `\n`, before which a `\r` is dropped. One that is longer than [`LONGEST`] bytes is cut, and so is one
//! whose end does not come: it ends with a `\`, and goes on in the next line. A `\` of the device is written `\\`, and
//! what is no text `\x1b`, so that nothing is lost.

use std::fmt::Write;
use std::time::SystemTime;

use crate::printable::is_printable;

/// The line of the moment.
#[derive(Debug, Default)]
pub(super) struct Lines {
    bytes: Vec<u8>,
    began: Option<SystemTime>,
}

/// A line of the log.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// When its first byte came.
    pub(super) time: SystemTime,
    /// Printable, without the end.
    pub(super) text: String,
}

impl Lines {
    /// Takes what came `now`, and gives every line that is whole.
    pub(super) fn push<'a>(&'a mut self, bytes: &'a [u8], now: SystemTime) -> impl Iterator<Item = Line> {
        let mut rest = bytes;
        std::iter::from_fn(move || {
            let room = LONGEST - self.bytes.len();
            let window = &rest[..rest.len().min(room)];
            let end = window.iter().position(|&b| b == b'\n');
            let taken = end.unwrap_or(window.len());
            self.bytes.extend(&rest[..taken]);
            if !rest.is_empty() {
                self.began.get_or_insert(now);
            }
            rest = &rest[taken + usize::from(end.is_some())..];
            match end {
                Some(_) => Some(self.whole(now)),
                None if self.bytes.len() == LONGEST => self.cut(now),
                None => None,
            }
        })
    }

    /// Gives what there is of a line whose end has not come.
    pub(super) fn flush(&mut self) -> Option<Line> {
        let time = self.began.take()?;
        let bytes = std::mem::take(&mut self.bytes);
        Some(Line { time, text: printable(&bytes) + "\\" })
    }

    /// Whether a line waits for its end.
    pub(super) fn has_partial(&self) -> bool {
        self.began.is_some()
    }

    fn whole(&mut self, now: SystemTime) -> Line {
        let bytes = std::mem::take(&mut self.bytes);
        let text = printable(bytes.strip_suffix(b"\r").unwrap_or(&bytes));
        Line { time: self.began.take().unwrap_or(now), text }
    }

    /// Not within a character.
    fn cut(&mut self, now: SystemTime) -> Option<Line> {
        let back = self.bytes.iter().rev().take(3).position(|&b| b >= 0xc0).map_or(0, |at| at + 1);
        let rest = self.bytes.split_off(LONGEST - back);
        let line = self.flush();
        self.began = (!rest.is_empty()).then_some(now);
        self.bytes = rest;
        line
    }
}

fn printable(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => text.push_str("\\\\"),
                c if !is_printable(c) && c != '\t' => escape(&mut text, c.encode_utf8(&mut [0; 4]).as_bytes()),
                c => text.push(c),
            }
        }
        escape(&mut text, chunk.invalid());
    }
    text
}

fn escape(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        let _ = write!(text, "\\x{byte:02x}");
    }
}

/// Bytes of the device in one line of the log.
pub(super) const LONGEST: usize = 4096;

/// What a fuzzer does with it: any bytes in pieces as long as the first byte says come back from the log.
///
/// # Panics
/// When something is lost, or could draw on a terminal.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzz(data: &[u8]) {
    let Some((&piece, bytes)) = data.split_first() else { return };
    let bytes: Vec<u8> = bytes.iter().copied().filter(|&byte| byte != b'\r').collect();
    let (mut lines, mut written) = (Lines::default(), Vec::new());
    for piece in bytes.chunks(usize::from(piece) + 1) {
        written.extend(lines.push(piece, std::time::UNIX_EPOCH));
    }
    written.extend(lines.flush());
    assert_eq!(read_back(&written), bytes);
    assert!(written.iter().all(|line| !line.text.contains(|c: char| c.is_control() && c != '\t')));
}

/// The device's bytes again, but for each `\r` before a `\n`.
#[cfg(any(test, fuzzing))]
fn read_back(lines: &[Line]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for line in lines {
        let mut rest = line.text.as_bytes();
        let mut is_cut = false;
        while let [first, more @ ..] = rest {
            rest = more;
            match (first, more) {
                (b'\\', [b'\\', ..]) => {
                    bytes.push(b'\\');
                    rest = &more[1..];
                }
                (b'\\', [b'x', high, low, ..]) => {
                    let hex = [*high, *low];
                    bytes.push(u8::from_str_radix(std::str::from_utf8(&hex).expect("ASCII"), 16).expect("hex digits"));
                    rest = &more[3..];
                }
                (b'\\', []) => is_cut = true,
                _ => bytes.push(*first),
            }
        }
        if !is_cut {
            bytes.push(b'\n');
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use proptest::prelude::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn line(seconds: u64, text: &str) -> Line {
        Line { time: at(seconds), text: text.to_owned() }
    }

    #[test]
    fn a_line_has_the_time_of_its_first_byte() {
        let mut lines = Lines::default();
        assert_eq!(lines.push(b"te", at(1)).count(), 0);
        assert!(lines.has_partial());
        let whole: Vec<Line> = lines.push(b"mp 21\r\n\nhum", at(2)).collect();
        assert_eq!(whole, [line(1, "temp 21"), line(2, "")]);
        assert_eq!(lines.flush(), Some(line(2, "hum\\")));
        assert_eq!((lines.flush(), lines.has_partial()), (None, false));
    }

    #[test]
    fn what_is_no_text_can_be_told_from_what_is() {
        let mut lines = Lines::default();
        let written: Vec<Line> = lines.push(b"a\x1b[0m\xff\tC:\\ \xc3\xa9\n", at(1)).collect();
        assert_eq!(written, [line(1, "a\\x1b[0m\\xff\tC:\\\\ \u{e9}")]);
    }

    #[test]
    fn a_line_without_an_end_is_cut_between_characters() {
        let mut lines = Lines::default();
        let long = "x".repeat(LONGEST - 1) + "\u{e9}y\n";
        let written: Vec<Line> = lines.push(long.as_bytes(), at(1)).collect();
        assert_eq!(written, [line(1, &("x".repeat(LONGEST - 1) + "\\")), line(1, "\u{e9}y")]);
    }

    #[test]
    fn what_a_terminal_obeys_is_escaped() {
        assert_eq!(printable("\u{9b}2J\u{202e}\tgrün\x1b".as_bytes()), "\\xc2\\x9b2J\\xe2\\x80\\xae\tgrün\\x1b");
    }

    proptest! {
        #[test]
        fn nothing_is_lost(
            pieces in prop::collection::vec(
                prop_oneof![
                    prop::collection::vec(any::<u8>(), 0..50),
                    "[a\u{e9}\u{20ac}\u{1f600}\n\\\\]{0,3000}".prop_map(String::into_bytes),
                ],
                0..8,
            ),
        ) {
            let (mut lines, mut written) = (Lines::default(), Vec::new());
            let pieces: Vec<Vec<u8>> = pieces.into_iter().map(|p| p.into_iter().filter(|&b| b != b'\r').collect()).collect();
            for piece in &pieces {
                written.extend(lines.push(piece, at(0)));
            }
            written.extend(lines.flush());
            prop_assert_eq!(read_back(&written), pieces.concat());
            prop_assert!(written.iter().all(|line| line.text.chars().all(|c| is_printable(c) || c == '\t')));
        }
    }
}
