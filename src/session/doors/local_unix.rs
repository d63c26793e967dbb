//! The doors on Unix that are sockets. Who answers is none of its business.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use nix::sys::socket::{MsgFlags, send};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio_seqpacket::UnixSeqpacket;

use super::AnswerBinary;
use crate::outlet::{Connection, Departure};

/// What a client of text writes, where it reads answers, and its end.
///
/// # Errors
/// Those of epoll(7).
pub(super) fn text(client: Connection) -> io::Result<(OwnedReadHalf, OwnedWriteHalf, Departure)> {
    let departure = Departure::of(client.as_fd())?;
    let (source, answers) = UnixStream::from_std(client.into())?.into_split();
    Ok((source, answers, departure))
}

/// To a client that is then turned away. There is room for so little in a new connection.
pub(super) fn say(client: Connection, reply: &[u8]) {
    let _ = send(client.as_raw_fd(), reply, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL);
}

/// Answers messages until the client goes.
pub(super) async fn serve_binary(client: Connection, limit: usize, answer: AnswerBinary) {
    let Ok(socket) = UnixSeqpacket::try_from(client) else { return };
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
