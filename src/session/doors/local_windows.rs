//! The doors on Windows: named pipes of text, and one of messages. Who answers is none of its business.

use super::{AnswerBinary, AnswerText, Clients, binary_refusal, pause, serve_text, text_refusal};
use crate::outlet::{Listener, Peer, Stream};

/// A pipe of text lines. Its clients are disconnected when this is dropped.
pub(in crate::session) async fn serve_text_pipe(
    mut listener: Listener,
    limit: usize,
    answer: AnswerText,
    mut clients: Clients,
) {
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted.map(Stream::new) {
                Ok(stream) => match clients.refuse(|| Peer::of(stream.connection())) {
                    Some(why) => stream.try_write(text_refusal(why).as_bytes()),
                    None => {
                        let (source, answers) = tokio::io::split(stream);
                        clients.served.spawn(serve_text(source, answers, limit, answer.clone()));
                    }
                },
                Err(_) => pause().await,
            },
            Some(_) = clients.served.join_next() => {}
        }
    }
}

/// A pipe of binary messages. Its clients are disconnected when this is dropped.
pub(in crate::session) async fn serve_binary_pipe(
    mut listener: Listener,
    limit: usize,
    answer: AnswerBinary,
    mut clients: Clients,
) {
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted.map(Stream::new) {
                Ok(stream) => match clients.refuse(|| Peer::of(stream.connection())) {
                    Some(_) => stream.try_write(&binary_refusal()),
                    None => drop(clients.served.spawn(serve_binary(stream, limit, answer.clone()))),
                },
                Err(_) => pause().await,
            },
            Some(_) = clients.served.join_next() => {}
        }
    }
}

async fn serve_binary(client: Stream, limit: usize, answer: AnswerBinary) {
    while let Some(message) = client.message(limit).await {
        if client.send(&answer(message).await).await.is_err() {
            return;
        }
    }
}
