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

use std::future::Future;
use std::sync::Arc;

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::task::JoinSet;

use super::{TextLine, TextReader};
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

/// A client over the limit finds its connection closed.
fn spawn_client(clients: &mut JoinSet<()>, work: impl Future<Output = ()> + Send + 'static) {
    if clients.len() < MOST_CLIENTS {
        clients.spawn(work);
    }
}

/// `accept` fails when descriptors run out: existing clients go on, and trying again at once would only spin.
async fn pause() {
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
}

/// Clients of one socket at a time.
const MOST_CLIENTS: usize = 128;
