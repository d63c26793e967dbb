//! The doors of the control pipe and of line control: lines of text and binary messages, from programs on this machine.
//!
//! Each door reads requests, has them carried out and writes the answers, in order. It knows no device: it is given a
//! function that answers.

#[cfg(unix)]
#[path = "fifos_unix.rs"]
mod fifos;
#[cfg(unix)]
#[path = "local_unix.rs"]
mod local;
#[cfg(windows)]
#[path = "local_windows.rs"]
mod local;

#[cfg(unix)]
pub(super) use fifos::{open_text_fifos, serve_text_fifos};

use std::sync::Arc;

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::task::JoinSet;

use super::entrance::{Entrance, MOST_CLIENTS, too_many};
use super::{TextLine, TextReader};
use crate::outlet::{Connection, Departure, Peer};
use crate::request::{Answer, ErrorName};
use crate::usb::BoxFuture;

/// Answers one line of text.
pub(super) type AnswerText = Arc<dyn Fn(String) -> BoxFuture<'static, Answer> + Send + Sync>;
/// Answers one binary message.
pub(super) type AnswerBinary = Arc<dyn Fn(Vec<u8>) -> BoxFuture<'static, Vec<u8>> + Send + Sync>;

/// Answers lines until the source ends or the answers can no longer be written. A request whose program has gone is cut
/// short.
pub(super) async fn serve_text(
    source: impl tokio::io::AsyncRead + Unpin,
    mut answers: impl AsyncWrite + Unpin,
    limit: usize,
    answer: AnswerText,
    departure: Departure,
) {
    let mut lines = TextReader::new(source, limit);
    while let Some(line) = lines.next().await {
        let reply = tokio::select! {
            reply = reply_to(line, limit, &answer) => reply,
            () = departure.gone() => return,
        };
        if answers.write_all(format!("{reply}\n").as_bytes()).await.is_err() {
            return;
        }
    }
}

fn reply_to(line: TextLine, limit: usize, answer: &AnswerText) -> BoxFuture<'static, Answer> {
    match line {
        TextLine::Text(line) => answer(line),
        TextLine::TooLong => Box::pin(async move {
            Answer::Error { name: ErrorName::Invalid, text: format!("a request line has at most {limit} bytes") }
        }),
    }
}

/// A door of text lines. Its clients are disconnected when this is dropped.
pub(super) async fn serve_text_door(entrance: Entrance, limit: usize, answer: AnswerText) {
    let mut door = Door::new(entrance);
    loop {
        let client = door.next(text_refusal).await;
        // Where the reactor has no place for it, the client finds its connection closed.
        if let Ok((source, answers, departure)) = local::text(client) {
            door.served.spawn(serve_text(source, answers, limit, answer.clone(), departure));
        }
    }
}

/// A door of binary messages. Its clients are disconnected when this is dropped.
pub(super) async fn serve_binary_door(entrance: Entrance, limit: usize, answer: AnswerBinary) {
    let mut door = Door::new(entrance);
    loop {
        let client = door.next(binary_refusal).await;
        door.served.spawn(local::serve_binary(client, limit, answer.clone()));
    }
}

/// The programs at one door, of which there are never too many.
struct Door {
    entrance: Entrance,
    served: JoinSet<()>,
}

impl Door {
    fn new(entrance: Entrance) -> Self {
        Self { entrance, served: JoinSet::new() }
    }

    /// The next one for which there is a place. One that is too many gets a refusal as its answer, and the end.
    async fn next(&mut self, refusal: fn(String) -> Vec<u8>) -> Connection {
        loop {
            let client = tokio::select! {
                client = self.entrance.next() => client,
                Some(_) = self.served.join_next() => continue,
            };
            if self.served.len() < MOST_CLIENTS {
                return client;
            }
            self.entrance.refused(&Peer::of(&client), &too_many());
            local::say(client, &refusal(too_many()));
        }
    }
}

fn text_refusal(text: String) -> Vec<u8> {
    format!("{}\n", Answer::Error { name: ErrorName::Denied, text }).into_bytes()
}

fn binary_refusal(_text: String) -> Vec<u8> {
    vec![ErrorName::Denied.status_byte()]
}
