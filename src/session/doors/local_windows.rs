//! The doors on Windows: named pipes of text, and one of messages. Who answers is none of its business.

use tokio::task::JoinSet;

use super::{AnswerBinary, AnswerText, pause, serve_text, spawn_client};
use crate::outlet::{Listener, Stream};

/// A pipe of text lines. Its clients are disconnected when this is dropped.
pub(in crate::session) async fn serve_text_pipe(mut listener: Listener, limit: usize, answer: AnswerText) {
    let mut clients = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(connection) => {
                    let (source, answers) = tokio::io::split(Stream::new(connection));
                    spawn_client(&mut clients, serve_text(source, answers, limit, answer.clone()));
                }
                Err(_) => pause().await,
            },
            Some(_) = clients.join_next() => {}
        }
    }
}

/// A pipe of binary messages. Its clients are disconnected when this is dropped.
pub(in crate::session) async fn serve_binary_pipe(mut listener: Listener, limit: usize, answer: AnswerBinary) {
    let mut clients = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(connection) => {
                    spawn_client(&mut clients, serve_binary(Stream::new(connection), limit, answer.clone()));
                }
                Err(_) => pause().await,
            },
            Some(_) = clients.join_next() => {}
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
