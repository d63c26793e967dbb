//! Lines of text from anybody: bounded in length, any bytes, nothing lost in between.

use tokio::io::{AsyncRead, AsyncReadExt};

/// Reads lines of at most `limit` bytes.
#[derive(Debug)]
pub struct TextReader<R> {
    source: R,
    buffer: Vec<u8>,
    limit: usize,
    /// The rest of a line that was too long is still to come.
    skipping: bool,
    /// How much of `buffer` is known to hold no line end.
    searched: usize,
}

/// What a line turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// A line without its end; what is not UTF-8 is replaced.
    Text(String),
    /// A line over the limit; it has been skipped.
    TooLong,
}

impl<R: AsyncRead + Unpin> TextReader<R> {
    /// A reader with nothing read yet.
    pub fn new(source: R, limit: usize) -> Self {
        Self { source, buffer: Vec::new(), limit, skipping: false, searched: 0 }
    }

    /// What it reads from. Bytes that were read already and are no line yet are lost.
    pub fn into_inner(self) -> R {
        self.source
    }

    /// The next line; `None` at the end, or when reading fails. Cancel safe.
    pub async fn next(&mut self) -> Option<Line> {
        loop {
            if let Some(line) = self.take() {
                return Some(line);
            }
            self.buffer.reserve(CHUNK);
            match self.source.read_buf(&mut self.buffer).await {
                Ok(n) if n > 0 => {}
                _ => return None,
            }
        }
    }

    fn take(&mut self) -> Option<Line> {
        let Some(found) = self.buffer[self.searched..].iter().position(|&b| b == b'\n') else {
            if self.buffer.len() > self.limit {
                self.skipping = true;
                self.buffer = Vec::new();
            }
            self.searched = self.buffer.len();
            return None;
        };
        let end = self.searched + found;
        let too_long = std::mem::take(&mut self.skipping) || end > self.limit;
        let line = if too_long {
            Line::TooLong
        } else {
            Line::Text(String::from_utf8_lossy(&self.buffer[..end]).into_owned())
        };
        self.buffer.drain(..=end);
        self.searched = 0;
        Some(line)
    }
}

const CHUNK: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_come_out_whole_and_one_that_is_too_long_is_named_once() {
        let input = format!("one\n{}\ntwo\nrest", "x".repeat(5000));
        let mut reader = TextReader::new(input.as_bytes(), 100);
        assert_eq!(reader.next().await, Some(Line::Text("one".into())));
        assert_eq!(reader.next().await, Some(Line::TooLong));
        assert_eq!(reader.next().await, Some(Line::Text("two".into())));
        assert_eq!(reader.next().await, None);
    }
}
