//! What a program says on its stderr, as lines for the log: bounded, printable, and none lost for want of a line end.

use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::process::ChildStderr;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::printable::is_printable;

/// Logs what a program says on its stderr, for as long as this lives.
pub(super) struct Log(JoinHandle<()>);

impl Log {
    /// Begins to log under this name.
    pub(super) fn of(stderr: ChildStderr, name: &str) -> Self {
        Self(tokio::spawn(log(stderr, name.to_owned())))
    }

    /// Waits for the last words of a program that has ended, but not forever: somebody else may keep its stderr open.
    pub(super) async fn finish(mut self) {
        let _ = timeout(LAST_WORDS, &mut self.0).await;
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A line of the log for each of its own.
async fn log(mut stderr: ChildStderr, name: String) {
    let (mut said, mut chunk) = (Said::default(), [0; 1024]);
    while let Ok(n @ 1..) = stderr.read(&mut chunk).await {
        said.push(&chunk[..n]).iter().for_each(|line| tracing::info!("{name}: {line}"));
    }
    said.rest().iter().for_each(|line| tracing::info!("{name}: {line}"));
}

const LAST_WORDS: Duration = Duration::from_secs(1);

/// Bytes that are no whole line yet.
#[derive(Debug, Default)]
pub(super) struct Said(Vec<u8>);

impl Said {
    /// The lines that are whole with these bytes; one that is longer than [`LONGEST`] is several.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        for &byte in bytes {
            if byte == b'\n' || self.0.len() == LONGEST {
                lines.extend(self.rest());
            }
            if byte != b'\n' {
                self.0.push(byte);
            }
        }
        lines
    }

    /// What has no line end. Empty lines say nothing.
    pub(super) fn rest(&mut self) -> Option<String> {
        let line = std::mem::take(&mut self.0);
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end();
        // A program may say anything, but it is not to draw on terminals.
        (!text.is_empty()).then(|| text.chars().map(|c| if is_printable(c) { c } else { ' ' }).collect())
    }
}

/// In bytes.
const LONGEST: usize = 1024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_come_whole_and_the_rest_at_the_end() {
        let mut said = Said::default();
        assert_eq!(said.push(b"one\r\ntw"), ["one"]);
        assert_eq!(said.push(b"o\n\n\n\x1b[2Jthree\tx"), ["two"]);
        assert_eq!(said.rest().as_deref(), Some(" [2Jthree x"));
        assert_eq!(said.rest(), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_printable_lines_of_bounded_length(chunks in prop::collection::vec(any::<Vec<u8>>(), 0..20)) {
            let mut said = Said::default();
            let mut lines: Vec<String> = chunks.iter().flat_map(|chunk| said.push(chunk)).collect();
            lines.extend(said.push(&[b'x'; 3 * LONGEST]));
            lines.extend(said.rest());
            prop_assert!(lines.iter().all(|line| !line.is_empty() && line.chars().all(is_printable)));
            prop_assert!(lines.iter().all(|line| line.chars().count() <= LONGEST), "{lines:?}");
            prop_assert!(lines.len() >= 3);
        }
    }
}
