//! The doors on Unix: two FIFOs of text, and sockets. Who answers is none of its business.

use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use nix::sys::socket::{MsgFlags, send};
use tokio::net::UnixListener;
use tokio::net::unix::pipe::{OpenOptions, Receiver, Sender};
use tokio_seqpacket::{UnixSeqpacket, UnixSeqpacketListener};

use super::{AnswerBinary, AnswerText, Clients, binary_refusal, pause, serve_text, text_refusal};
use crate::outlet::Peer;

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
pub(in crate::session) async fn serve_text_socket(
    listener: UnixListener,
    limit: usize,
    answer: AnswerText,
    mut clients: Clients,
) {
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => match clients.refuse(|| Peer::of(&stream)) {
                    Some(why) => say(&stream, text_refusal(why).as_bytes()),
                    None => {
                        let (source, answers) = stream.into_split();
                        clients.served.spawn(serve_text(source, answers, limit, answer.clone()));
                    }
                },
                Err(_) => pause().await,
            },
            Some(_) = clients.served.join_next() => {}
        }
    }
}

/// A SEQPACKET socket of binary messages. Its clients are disconnected when this is dropped.
pub(in crate::session) async fn serve_binary_socket(
    mut listener: UnixSeqpacketListener,
    limit: usize,
    answer: AnswerBinary,
    mut clients: Clients,
) {
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(socket) => match clients.refuse(|| Peer::of(&socket)) {
                    Some(_) => say(&socket, &binary_refusal()),
                    None => drop(clients.served.spawn(serve_binary(socket, limit, answer.clone()))),
                },
                Err(_) => pause().await,
            },
            Some(_) = clients.served.join_next() => {}
        }
    }
}

/// To a client that is then turned away. There is room for so little in a new connection.
fn say(socket: &impl AsRawFd, reply: &[u8]) {
    let _ = send(socket.as_raw_fd(), reply, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL);
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
