//! The doors of the control pipe and of line control: lines of text and binary messages, from programs on this machine.
//!
//! Each door reads requests, has them carried out and writes the answers, in order. It knows no device: it is given a
//! function that answers.

#[cfg(unix)]
#[path = "local_unix.rs"]
pub(super) mod local;
#[cfg(windows)]
#[path = "local_windows.rs"]
pub(super) mod local;

use std::sync::Arc;

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::task::JoinSet;

use super::refusals::{MOST_CLIENTS, Refusals, too_many};
use super::{TextLine, TextReader};
use crate::outlet::Peer;
use crate::request::{Answer, ErrorName};
use crate::usb::BoxFuture;

/// Answers one line of text.
pub(super) type AnswerText = Arc<dyn Fn(String) -> BoxFuture<'static, Answer> + Send + Sync>;
/// Answers one binary message.
pub(super) type AnswerBinary = Arc<dyn Fn(Vec<u8>) -> BoxFuture<'static, Vec<u8>> + Send + Sync>;

/// Answers lines until the source ends or the answers can no longer be written.
pub(super) async fn serve_text(
    source: impl tokio::io::AsyncRead + Unpin,
    mut answers: impl AsyncWrite + Unpin,
    limit: usize,
    answer: AnswerText,
) {
    let mut lines = TextReader::new(source, limit);
    while let Some(line) = lines.next().await {
        let reply = match line {
            TextLine::Text(line) => answer(line).await,
            TextLine::TooLong => {
                Answer::Error { name: ErrorName::Invalid, text: format!("a request line has at most {limit} bytes") }
            }
        };
        if answers.write_all(format!("{reply}\n").as_bytes()).await.is_err() {
            return;
        }
    }
}

/// The programs at one door, of which there are never too many.
pub(super) struct Clients {
    served: JoinSet<()>,
    refusals: Refusals,
}

impl Clients {
    /// Nobody yet. Who finds no place is told of there.
    pub(super) fn new(refusals: Refusals) -> Self {
        Self { served: JoinSet::new(), refusals }
    }

    /// Why there is no place for one more, of whom that is told, too.
    fn refuse(&mut self, peer: impl FnOnce() -> Peer) -> Option<String> {
        let why = (self.served.len() >= MOST_CLIENTS).then(too_many)?;
        self.refusals.tell(&peer(), &why);
        Some(why)
    }
}

/// What a text client that is one too many reads before the end.
fn text_refusal(text: String) -> String {
    format!("{}\n", Answer::Error { name: ErrorName::Denied, text })
}

/// The same as a binary message.
fn binary_refusal() -> [u8; 1] {
    [ErrorName::Denied.status_byte()]
}

/// `accept` fails when descriptors run out: existing clients go on, and trying again at once would only spin.
async fn pause() {
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
}
