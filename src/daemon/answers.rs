//! Long answers of `admin.sock`, and how little they may cost. Clients may ask without end, and there may be many of both
//! them and devices; bytes between programs and devices go first all the same.
//!
//! - Whatever is done for clients is done in pieces, and between any two of them the reactor looks after everything else.
//! - An answer is made once for all who ask while another one is being made, and never for anybody who asked later.
//! - Making answers takes at most a tenth of the time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::io::AsyncWriteExt;
use tokio::sync::Mutex;
use tokio::task::yield_now;
use tokio::time::sleep_until;

use super::link::WriteHalf;
use crate::printable;

/// Lets one client at a time go on, once in a round of the reactor.
#[derive(Clone, Default)]
pub(super) struct Turns(Arc<Mutex<()>>);

impl Turns {
    /// Waits for a turn. What follows is to be short.
    pub(super) async fn next(&self) {
        let _turn = self.0.lock().await;
        yield_now().await;
    }
}

/// The answers to one kind of request.
#[derive(Clone)]
pub(super) struct Answers {
    turns: Turns,
    newest: Arc<Mutex<Option<Answer>>>,
}

struct Answer {
    line: Arc<Vec<u8>>,
    began: Instant,
    /// Before this no other one is made.
    rests: Instant,
}

impl Answers {
    pub(super) fn new(turns: &Turns) -> Self {
        Self { turns: turns.clone(), newest: Arc::default() }
    }

    /// The line that is made of the values between `head` and `tail`, as it is now or a moment later.
    pub(super) async fn get<T: Serialize, I: Iterator<Item = T>>(
        &self,
        values: impl FnOnce() -> (String, I, &'static str),
    ) -> Arc<Vec<u8>> {
        let asked = Instant::now();
        let mut newest = self.newest.lock().await;
        if let Some(answer) = &*newest {
            if answer.began >= asked {
                return answer.line.clone();
            }
            sleep_until(answer.rests.into()).await;
        }
        let (line, began, cost) = self.make(values).await;
        let line = Arc::new(line);
        *newest = Some(Answer { line: line.clone(), began, rests: Instant::now() + REST * cost });
        line
    }

    async fn make<T: Serialize, I: Iterator<Item = T>>(
        &self,
        values: impl FnOnce() -> (String, I, &'static str),
    ) -> (Vec<u8>, Instant, Duration) {
        self.turns.next().await;
        let began = Instant::now();
        let (head, mut values, tail) = values();
        let (mut line, mut is_first) = (head.into_bytes(), true);
        let mut cost = began.elapsed();
        loop {
            self.turns.next().await;
            let piece = Instant::now();
            let Some(value) = values.next() else { break };
            if !std::mem::take(&mut is_first) {
                line.push(b',');
            }
            // What is written into memory cannot fail, and of these values each can be written.
            line.extend(printable::json(&value).unwrap_or_default().as_bytes());
            cost += piece.elapsed();
        }
        line.extend(tail.as_bytes());
        (line, began, cost)
    }

    /// Sends a line in pieces.
    ///
    /// # Errors
    /// Those of the connection.
    pub(super) async fn send(&self, out: &mut WriteHalf, line: &[u8]) -> std::io::Result<()> {
        for piece in line.chunks(PIECE) {
            self.turns.next().await;
            out.write_all(piece).await?;
        }
        Ok(())
    }
}

/// For so many times as long as an answer took, no other is made.
const REST: u32 = 9;
/// Bytes.
const PIECE: usize = 32 * 1024;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

    use super::*;

    /// Answers that count how often they were made.
    async fn get(answers: &Answers, made: &AtomicU32) -> String {
        let line = answers.get(|| {
            made.fetch_add(1, SeqCst);
            ("[".to_owned(), 0..3, "]\n")
        });
        String::from_utf8(line.await.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn those_who_ask_at_the_same_time_share_an_answer_that_none_of_them_asked_for_later() {
        let (answers, made) = (Answers::new(&Turns::default()), AtomicU32::new(0));
        let ask = || get(&answers, &made);
        let all = futures_util::future::join_all((0..50).map(|_| ask())).await;
        assert!(all.iter().all(|line| line == "[0,1,2]\n"));
        // The first one began alone.
        assert_eq!(made.load(SeqCst), 1, "all had asked before it was begun");
        ask().await;
        assert_eq!(made.load(SeqCst), 2, "nobody gets what was true before the question");
    }

    #[tokio::test]
    async fn between_two_pieces_everything_else_goes_on() {
        let turns = Turns::default();
        let rounds = Arc::new(AtomicU32::new(0));
        let counted = rounds.clone();
        let other = tokio::spawn(async move {
            loop {
                counted.fetch_add(1, SeqCst);
                yield_now().await;
            }
        });
        let (answers, made) = (Answers::new(&turns), AtomicU32::new(0));
        get(&answers, &made).await;
        assert!(rounds.load(SeqCst) >= 4, "{rounds:?}");
        other.abort();
    }
}
