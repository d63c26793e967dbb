//! Bytes from a serial line, put together into lines.
//!
//! One job: find the ends of lines. It refuses to hold a line longer than [`LINE_LIMIT`]: such a line is
//! reported once, without its content.

/// The longest line, in bytes without its end.
pub(super) const LINE_LIMIT: usize = 256;

/// The line being received.
pub(super) struct LineBuffer {
    bytes: [u8; LINE_LIMIT],
    /// Bytes received since the last line end; above [`LINE_LIMIT`] the line is lost.
    len: usize,
}

/// A finished line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// Its bytes, without `\n` and without a `\r` before it.
    Complete(&'a [u8]),
    /// It was longer than the buffer.
    TooLong,
}

impl LineBuffer {
    pub(super) const fn new() -> Self {
        Self { bytes: [0; LINE_LIMIT], len: 0 }
    }

    pub(super) fn clear(&mut self) {
        self.len = 0;
    }

    /// Takes the next byte; the end of a line gives the line.
    pub(super) fn push(&mut self, byte: u8) -> Option<Line<'_>> {
        if byte != b'\n' {
            if let Some(slot) = self.bytes.get_mut(self.len) {
                *slot = byte;
            }
            self.len = (self.len + 1).min(LINE_LIMIT + 1);
            return None;
        }
        let len = core::mem::take(&mut self.len);
        let Some(line) = self.bytes.get(..len) else { return Some(Line::TooLong) };
        Some(Line::Complete(line.strip_suffix(b"\r").unwrap_or(line)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(buffer: &mut LineBuffer, bytes: &[u8]) -> Vec<Option<Vec<u8>>> {
        let mut lines = Vec::new();
        for &byte in bytes {
            match buffer.push(byte) {
                Some(Line::Complete(line)) => lines.push(Some(line.to_vec())),
                Some(Line::TooLong) => lines.push(None),
                None => {}
            }
        }
        lines
    }

    #[test]
    fn lines_end_at_newline_and_lose_one_carriage_return() {
        let mut buffer = LineBuffer::new();
        assert_eq!(feed(&mut buffer, b"a\r\n\nb"), [Some(b"a".to_vec()), Some(vec![])]);
        assert_eq!(feed(&mut buffer, b"c\n"), [Some(b"bc".to_vec())]);
    }

    #[test]
    fn a_line_over_the_limit_is_reported_once_and_the_next_one_is_whole() {
        let mut buffer = LineBuffer::new();
        assert_eq!(feed(&mut buffer, &[b'x'; 256]), []);
        assert_eq!(feed(&mut buffer, b"\n"), [Some(vec![b'x'; 256])]);
        assert_eq!(feed(&mut buffer, &[b'x'; 1000]), []);
        assert_eq!(feed(&mut buffer, b"\nok\n"), [None, Some(b"ok".to_vec())]);
    }
}
