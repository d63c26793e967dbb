//! The doors of the control pipe and of line control: two FIFOs of text, and sockets.
//!
//! Each door reads requests, has them carried out and writes the answers, in order. It knows no device: it is given a
//! function that answers.

use std::future::Future;
use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::net::UnixListener;
use tokio::net::unix::pipe::{OpenOptions, Receiver, Sender};
use tokio::task::JoinSet;
use tokio_seqpacket::{UnixSeqpacket, UnixSeqpacketListener};

use super::{TextLine, TextReader};
use crate::request::{Answer, ErrorName};
use crate::usb::BoxFuture;

/// Answers one line of text.
pub(super) type AnswerText = Arc<dyn Fn(String) -> BoxFuture<'static, Answer> + Send + Sync>;
/// Answers one binary message.
pub(super) type AnswerBinary = Arc<dyn Fn(Vec<u8>) -> BoxFuture<'static, Vec<u8>> + Send + Sync>;

/// The text control pipe: requests from one FIFO, answers into another. Both ends of both are held, so that answers
/// wait for their reader and no end of file is ever seen.
///
/// # Errors
/// Those of open(2).
pub(super) fn open_text_fifos(request: &Path, response: &Path) -> io::Result<(Receiver, Sender)> {
    let mut options = OpenOptions::new();
    options.read_write(true);
    Ok((options.open_receiver(request)?, options.open_sender(response)?))
}

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

/// A stream socket of text lines. Its clients are disconnected when this is dropped.
pub(super) async fn serve_text_socket(listener: UnixListener, limit: usize, answer: AnswerText) {
    let mut clients = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let (source, answers) = stream.into_split();
                    spawn_client(&mut clients, serve_text(source, answers, limit, answer.clone()));
                }
                Err(_) => pause().await,
            },
            Some(_) = clients.join_next() => {}
        }
    }
}

/// A SEQPACKET socket of binary messages. Its clients are disconnected when this is dropped.
pub(super) async fn serve_binary_socket(mut listener: UnixSeqpacketListener, limit: usize, answer: AnswerBinary) {
    let mut clients = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(socket) => spawn_client(&mut clients, serve_binary(socket, limit, answer.clone())),
                Err(_) => pause().await,
            },
            Some(_) = clients.join_next() => {}
        }
    }
}

async fn serve_binary(socket: UnixSeqpacket, limit: usize, answer: AnswerBinary) {
    let mut buffer = vec![0; limit + 1];
    loop {
        match socket.recv(&mut buffer).await {
            Ok(message) if message.bytes_read() > 0 => {
                let reply = answer(buffer[..message.bytes_read()].to_vec()).await;
                if socket.send(&reply).await.is_err() {
                    return;
                }
            }
            _ => return,
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
