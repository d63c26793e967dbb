//! The doors on Unix: two FIFOs of text, and sockets. Who answers is none of its business.

use std::io;
use std::path::Path;

use tokio::net::UnixListener;
use tokio::net::unix::pipe::{OpenOptions, Receiver, Sender};
use tokio::task::JoinSet;
use tokio_seqpacket::{UnixSeqpacket, UnixSeqpacketListener};

use super::{AnswerBinary, AnswerText, pause, serve_text, spawn_client};

/// The text control pipe: requests from one FIFO, answers into another. Both ends of both are held, so that answers
/// wait for their reader and no end of file is ever seen.
///
/// # Errors
/// Those of open(2).
pub(in crate::session) fn open_text_fifos(request: &Path, response: &Path) -> io::Result<(Receiver, Sender)> {
    let mut options = OpenOptions::new();
    options.read_write(true);
    Ok((options.open_receiver(request)?, options.open_sender(response)?))
}

/// A stream socket of text lines. Its clients are disconnected when this is dropped.
pub(in crate::session) async fn serve_text_socket(listener: UnixListener, limit: usize, answer: AnswerText) {
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
pub(in crate::session) async fn serve_binary_socket(
    mut listener: UnixSeqpacketListener,
    limit: usize,
    answer: AnswerBinary,
) {
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
