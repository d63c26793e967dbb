//! The doors on Windows: named pipes of text, and one of messages. Who answers is none of its business.

use std::io;

use tokio::io::{ReadHalf, WriteHalf};

use super::AnswerBinary;
use crate::outlet::{Connection, Departure, Stream};

/// What a client of text writes, where it reads answers, and its end, which is not noticed here.
///
/// # Errors
/// None; elsewhere the reactor may have no place for it.
pub(super) fn text(client: Connection) -> io::Result<(ReadHalf<Stream>, WriteHalf<Stream>, Departure)> {
    let (source, answers) = tokio::io::split(Stream::new(client));
    Ok((source, answers, Departure::never()))
}

/// To a client that is then turned away.
pub(super) fn say(client: Connection, reply: &[u8]) {
    Stream::new(client).try_write(reply);
}

/// Answers messages until the client goes.
pub(super) async fn serve_binary(client: Connection, limit: usize, answer: AnswerBinary) {
    let client = Stream::new(client);
    while let Some(message) = client.message(limit).await {
        if client.send(&answer(message).await).await.is_err() {
            return;
        }
    }
}
