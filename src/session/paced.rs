//! Hot path. Asks a device that answers with empty transfers alone less and less often.
//!
//! A device with nothing to send refuses an IN token (NAK), and nobody is woken. Some printers answer with a zero-length
//! packet instead, as often as they are asked, and each is a transfer that ends. It refuses to judge one: a ZLP is passed on
//! like any transfer, only the next question is put off.
//!
//! ```text
//!                FREE in a row                       pause, ever longer
//!   all in flight ───────────► all waiting ───────────────────────────► one in flight ── empty ──┐
//!        ▲                          ▲                                        │                    │
//!        │                          └────────────────────────────────────────┼────────────────────┘
//!        └──────────────────────────────────── data, or a failure ───────────┘
//! ```

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

use crate::bridge::Counters;
use crate::usb::descriptors::{Endpoint, TransferType};
use crate::usb::{Pipe, Transfer, TransferError};

/// A bulk IN pipe that is asked at rest where it has nothing but empty transfers.
pub(super) struct PacedPipe {
    pipe: Box<dyn Pipe>,
    counters: Arc<Counters>,
    /// Empty transfers in a row.
    empty: u32,
    /// Submitted and not passed on yet, oldest first.
    waiting: VecDeque<Transfer>,
    /// How many of the oldest of those were cancelled.
    cancelled: usize,
    pause: Duration,
    timer: Option<Pin<Box<Sleep>>>,
}

impl PacedPipe {
    /// This pipe, paced if its endpoint answers as fast as it is asked. Others have their time from the bus.
    pub(super) fn of(pipe: Box<dyn Pipe>, endpoint: &Endpoint, counters: &Arc<Counters>) -> Box<dyn Pipe> {
        if endpoint.transfer_type != TransferType::Bulk || !endpoint.is_in() {
            return pipe;
        }
        let (counters, waiting) = (counters.clone(), VecDeque::new());
        Box::new(Self { pipe, counters, empty: 0, waiting, cancelled: 0, pause: FIRST_PAUSE, timer: None })
    }

    fn is_paced(&self) -> bool {
        self.empty >= FREE
    }

    /// Takes note of a transfer that has ended.
    fn ended(&mut self, transfer: &Transfer) {
        if transfer.status.is_ok() && transfer.actual == 0 {
            self.counters.add_empty();
            self.empty = self.empty.saturating_add(1);
            return;
        }
        self.empty = 0;
        self.pause = FIRST_PAUSE;
        self.timer = None;
        while self.cancelled == 0
            && let Some(transfer) = self.waiting.pop_front()
        {
            self.pipe.submit(transfer);
        }
    }

    /// Ready when a waiting transfer has been passed on, after the pause.
    fn poll_ask(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.waiting.is_empty() || self.pipe.in_flight() > 0 {
            return Poll::Pending;
        }
        let pause = self.pause;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(pause)));
        ready!(timer.as_mut().poll(cx));
        self.pause = (pause * 2).min(LONGEST_PAUSE);
        timer.as_mut().reset(Instant::now() + self.pause);
        if let Some(transfer) = self.waiting.pop_front() {
            self.pipe.submit(transfer);
        }
        Poll::Ready(())
    }
}

impl Pipe for PacedPipe {
    fn allocate(&self, size: usize) -> Transfer {
        self.pipe.allocate(size)
    }

    fn submit(&mut self, transfer: Transfer) {
        match self.is_paced() || !self.waiting.is_empty() {
            true => self.waiting.push_back(transfer),
            false => self.pipe.submit(transfer),
        }
    }

    fn poll_complete(&mut self, cx: &mut Context<'_>) -> Poll<Transfer> {
        loop {
            if let Poll::Ready(transfer) = self.pipe.poll_complete(cx) {
                self.ended(&transfer);
                return Poll::Ready(transfer);
            }
            if self.cancelled > 0 {
                // What was submitted first comes out first.
                if self.pipe.in_flight() > 0 {
                    return Poll::Pending;
                }
                self.cancelled -= 1;
                let Some(transfer) = self.waiting.pop_front() else { continue };
                return Poll::Ready(transfer.fail(TransferError::Cancelled));
            }
            ready!(self.poll_ask(cx));
        }
    }

    fn moves_when_polled(&self) -> bool {
        self.pipe.moves_when_polled()
    }

    fn in_flight(&self) -> usize {
        self.pipe.in_flight() + self.waiting.len()
    }

    fn cancel_all(&mut self) {
        self.cancelled = self.waiting.len();
        self.pipe.cancel_all();
    }
}

/// Empty transfers in a row that are nothing unusual: a device may end each message with one.
const FREE: u32 = 32;
/// How long data may wait in the device before it is asked for: at most some frames of the bus.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(16);

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;
    use crate::usb::{complete, drain};

    /// Ends each transfer at once: with these bytes in turn, then never.
    #[derive(Default)]
    struct Script {
        answers: VecDeque<usize>,
        in_flight: VecDeque<Transfer>,
        is_cancelled: bool,
    }

    impl Pipe for Script {
        fn submit(&mut self, transfer: Transfer) {
            self.in_flight.push_back(transfer);
        }

        fn poll_complete(&mut self, _: &mut Context<'_>) -> Poll<Transfer> {
            if !self.is_cancelled && self.answers.is_empty() {
                return Poll::Pending;
            }
            let Some(transfer) = self.in_flight.pop_front() else { return Poll::Pending };
            Poll::Ready(match self.answers.pop_front() {
                Some(actual) if !self.is_cancelled => Transfer { actual, ..transfer },
                _ => transfer.fail(TransferError::Cancelled),
            })
        }

        fn in_flight(&self) -> usize {
            self.in_flight.len()
        }

        fn cancel_all(&mut self) {
            self.is_cancelled = true;
        }
    }

    fn paced(answers: impl IntoIterator<Item = usize>) -> (Box<dyn Pipe>, Arc<Counters>) {
        let endpoint = Endpoint {
            address: 0x81,
            transfer_type: TransferType::Bulk,
            max_packet_size: 64,
            packets_per_microframe: 1,
            interval: 0,
            companion: None,
        };
        let script = Script { answers: answers.into_iter().collect(), ..Script::default() };
        let counters = Arc::<Counters>::default();
        (PacedPipe::of(Box::new(script), &endpoint, &counters), counters)
    }

    /// Takes so many transfers, each of which goes back into flight, and returns the time that took.
    async fn take(pipe: &mut Box<dyn Pipe>, count: usize) -> Duration {
        let started = Instant::now();
        for _ in 0..count {
            let transfer = complete(&mut **pipe).await;
            pipe.submit(transfer);
        }
        started.elapsed()
    }

    #[tokio::test]
    async fn empty_transfers_come_ever_later_and_after_data_at_once_again() {
        let answers = std::iter::repeat_n(0, FREE as usize + 16).chain([64; 100]).chain([0; FREE as usize - 1]);
        let (mut pipe, counters) = paced(answers);
        (0..4).for_each(|_| pipe.submit(Transfer::new(64)));
        take(&mut pipe, FREE as usize).await;
        let time = take(&mut pipe, 16).await;
        assert!(time >= LONGEST_PAUSE * 10, "16 questions within {time:?}");
        take(&mut pipe, 1).await;
        // Everything is in flight again: each answer is there when it is asked for.
        for _ in 0..99 + FREE as usize - 1 {
            let Poll::Ready(transfer) = poll_fn(|cx| Poll::Ready(pipe.poll_complete(cx))).await else {
                panic!("waiting back although there is data")
            };
            pipe.submit(transfer);
        }
        assert_eq!((pipe.in_flight(), counters.snapshot().empty_transfers), (4, 2 * FREE as u64 + 15));
    }

    #[tokio::test]
    async fn a_device_that_has_nothing_is_asked_once_and_then_left_alone() {
        let (mut pipe, _) = paced(std::iter::repeat_n(0, FREE as usize + 3));
        (0..4).for_each(|_| pipe.submit(Transfer::new(64)));
        take(&mut pipe, FREE as usize + 3).await;
        let silent = tokio::time::timeout(20 * FIRST_PAUSE, complete(&mut *pipe)).await;
        assert!(silent.is_err());
        assert_eq!(pipe.in_flight(), 4);
    }

    #[tokio::test]
    async fn all_come_back_in_their_order_when_they_are_cancelled() {
        let (mut pipe, _) = paced(std::iter::repeat_n(0, FREE as usize + 1));
        let numbered = |n: u8| {
            let mut transfer = Transfer::new(1);
            transfer.buffer[0] = n;
            transfer
        };
        (0..4).for_each(|n| pipe.submit(numbered(n)));
        take(&mut pipe, FREE as usize + 1).await;
        // One is asked for by now, and the others wait.
        let asked = poll_fn(|cx| Poll::Ready(pipe.poll_complete(cx))).await;
        assert!(asked.is_pending());
        let mut order = Vec::new();
        drain(&mut *pipe, |transfer| order.push((transfer.buffer[0], transfer.status))).await;
        let first = (FREE as u8 + 1) % 4;
        let expected: Vec<_> = (0..4).map(|n| ((first + n) % 4, Err(TransferError::Cancelled))).collect();
        assert_eq!(order, expected);
    }
}
