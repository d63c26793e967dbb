//! The control pipe as two FIFOs of text: requests from one, answers into the other.
//!
//! ```text
//!   ep_00.request ──► lines ──► waiting ──► work, one at a time ──► unread ──► ep_00.response
//!                       └ asked while this reader was there, or nobody      └ only while somebody reads
//! ```
//!
//! An answer is for whoever read when its request came. Where nobody did it waits for the next reader, so that `echo … >
//! ep_00.request; head -n1 ep_00.response` works. When the last reader leaves, what it has not read goes, and so do the answers
//! to what was asked while it was there: the next reader has asked none of it.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::net::unix::pipe::Receiver;
use tokio::task::yield_now;

use super::{AnswerText, reply_to};
use crate::outlet::{InFifo, Node, Sink, StandingSink, Watcher};
use crate::request::Answer;
use crate::session::{TextLine, TextReader};
use crate::usb::BoxFuture;

/// Both FIFOs, open.
pub(in crate::session) struct TextFifos {
    requests: Receiver,
    answers: Answers,
}

/// Opens the FIFOs of the text control pipe. Both ends of the one for requests are held, so that it never ends.
///
/// # Errors
/// Those of open(2) and inotify(7).
pub(in crate::session) fn open_text_fifos(request: Node, response: Node, watcher: &Watcher) -> io::Result<TextFifos> {
    let requests = Receiver::from_owned_fd(request.open_both_ways()?)?;
    let fifo = InFifo::new(response, watcher, false)?;
    let is_read = fifo.is_open();
    Ok(TextFifos { requests, answers: Answers { fifo, is_read, reader: 0, departures: 0, unread: VecDeque::new() } })
}

/// Answers lines for as long as it is polled.
pub(in crate::session) async fn serve_text_fifos(fifos: TextFifos, limit: usize, answer: AnswerText) {
    let TextFifos { requests, mut answers } = fifos;
    let mut lines = TextReader::new(requests, limit);
    let mut waiting = VecDeque::new();
    let mut work: Option<(Asker, BoxFuture<'static, Answer>)> = None;
    loop {
        if work.is_none()
            && answers.have_room()
            && let Some((asker, line)) = waiting.pop_front()
        {
            work = Some((asker, reply_to(line, limit, &answer)));
        }
        // Lines are read also while one is answered, so that it is known who asked.
        match next_step(&mut answers, &mut work, &mut lines, waiting.len()).await {
            Step::Room => {}
            Step::Line(None) => return,
            Step::Line(Some(line)) => {
                answers.drop_stale();
                answers.settle().await;
                waiting.push_back((answers.asker(), line));
            }
            Step::Answered(asker, reply) => {
                answers.settle().await;
                answers.put(asker, format!("{reply}\n").into_bytes());
            }
        }
    }
}

enum Step {
    /// The next request can be answered.
    Room,
    Line(Option<TextLine>),
    Answered(Asker, Answer),
}

async fn next_step(
    answers: &mut Answers,
    work: &mut Option<(Asker, BoxFuture<'static, Answer>)>,
    lines: &mut TextReader<Receiver>,
    waiting: usize,
) -> Step {
    poll_fn(|cx| {
        // First, because who asks and then opens the other FIFO is not to find what was there before.
        if waiting < MOST_WAITING
            && let Poll::Ready(line) = pin!(lines.next()).poll(cx)
        {
            return Poll::Ready(Step::Line(line));
        }
        answers.poll(cx);
        if let Some((asker, future)) = work
            && let Poll::Ready(reply) = future.as_mut().poll(cx)
        {
            let step = Step::Answered(*asker, reply);
            *work = None;
            return Poll::Ready(step);
        }
        if work.is_none() && waiting > 0 && answers.have_room() {
            return Poll::Ready(Step::Room);
        }
        Poll::Pending
    })
    .await
}

/// Who read when a request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asker {
    Nobody,
    Reader(u64),
}

/// The FIFO for answers, and what is not in it yet.
struct Answers {
    fifo: InFifo,
    is_read: bool,
    /// Counts up when the last reader leaves.
    reader: u64,
    /// The FIFO's count of the same, as far as that was dealt with.
    departures: u64,
    unread: VecDeque<Unread>,
}

struct Unread {
    bytes: Vec<u8>,
    written: usize,
    since: Instant,
}

impl Answers {
    /// Takes note of readers that come and go, and writes what there is room for.
    fn poll(&mut self, cx: &mut Context<'_>) {
        loop {
            let is_news = if self.is_read { self.fifo.poll_closed(cx) } else { self.fifo.poll_came(cx) }.is_ready();
            if is_news {
                self.is_read = !self.is_read;
            }
            let has_left = is_news && !self.is_read;
            if has_left || self.departures != self.fifo.departures() {
                self.forget();
            }
            if has_left {
                self.fifo.rest();
            }
            if !is_news {
                break;
            }
        }
        self.write(cx);
    }

    fn write(&mut self, cx: &mut Context<'_>) {
        while self.is_read
            && let Some(answer) = self.unread.front_mut()
        {
            match self.fifo.poll_write(cx, &[IoSlice::new(&answer.bytes[answer.written..])]) {
                Poll::Ready(Ok(n)) => answer.written += n,
                // That nobody reads any more comes as an event, too.
                Poll::Ready(Err(_)) | Poll::Pending => return,
            }
            if answer.written == answer.bytes.len() {
                self.unread.pop_front();
            }
        }
    }

    /// The last reader has gone, and with it who waited for what it has not read.
    fn forget(&mut self) {
        self.departures = self.fifo.departures();
        self.reader += 1;
        self.unread.clear();
        if self.fifo.has_bytes() {
            self.fifo.discard();
        }
    }

    /// Waits until all that was done to the FIFO so far is known, also by this process.
    async fn settle(&mut self) {
        loop {
            while self.fifo.is_behind() {
                yield_now().await;
            }
            poll_fn(|cx| {
                self.poll(cx);
                Poll::Ready(())
            })
            .await;
            if !self.fifo.is_behind() {
                return;
            }
        }
    }

    /// Somebody asks. Answers that have found no reader for longer than [`STALE`] are to somebody else.
    fn drop_stale(&mut self) {
        if !self.is_read {
            self.unread.retain(|answer| answer.since.elapsed() < STALE);
        }
    }

    /// Who asks now.
    fn asker(&self) -> Asker {
        if self.is_read { Asker::Reader(self.reader) } else { Asker::Nobody }
    }

    fn put(&mut self, asker: Asker, bytes: Vec<u8>) {
        if matches!(asker, Asker::Reader(reader) if reader != self.reader) {
            return;
        }
        self.unread.push_back(Unread { bytes, written: 0, since: Instant::now() });
        while !self.is_read && self.held() > MOST_UNREAD && self.unread.len() > 1 {
            self.unread.pop_front();
        }
    }

    /// Where nobody reads the oldest goes instead.
    fn have_room(&self) -> bool {
        !self.is_read || self.held() < MOST_UNREAD
    }

    fn held(&self) -> usize {
        self.unread.iter().map(|answer| answer.bytes.len()).sum()
    }
}

/// Lines that are known of while one is answered.
const MOST_WAITING: usize = 64;
/// Bytes of answers that are kept for a reader, besides what its FIFO holds; one may be longer.
const MOST_UNREAD: usize = 64 * 1024;
/// As with a serial line's `unread`.
const STALE: Duration = Duration::from_secs(2);
