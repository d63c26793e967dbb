//! Hot path. Bulk and interrupt IN: completed transfers to everybody who reads, nothing lost.
//!
//! A fixed number of buffers goes round: in flight → completed → written → in flight. When a reader is slow the
//! completed ones pile up, nothing is in flight any more, and the device gets NAK.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::counters::add;
use super::frame::Framing;
use super::in_pump::{self, InPump, Stock};
use super::place::{Place, Style};
use super::{Counters, InputPolicy, Readers, Sizes, Verdict};
use crate::outlet::StandingSink;
use crate::usb::{Pipe, Transfer, TransferError, drain};

/// The pump of one IN endpoint; what it could not deliver waits in it for the next run.
pub struct BulkIn {
    stock: Stock,
    /// As wanted, and as there is memory for.
    wanted: Sizes,
    sizes: Sizes,
    /// Whether what is empty waits for the readers, too.
    shows_zlps: bool,
    /// Serial lines: what becomes of what arrives.
    input: Option<Arc<InputPolicy>>,
}

impl BulkIn {
    /// A pump with these sizes; a transfer is a whole multiple of wMaxPacketSize. Its readers have had no other, or one
    /// that left nothing.
    pub fn new<F: StandingSink>(
        endpoint: u8,
        framing: Framing,
        sizes: Sizes,
        readers: &mut Readers<F>,
        counters: Arc<Counters>,
    ) -> Self {
        readers.restart();
        let stock = Stock::new(Style { endpoint, framing }, Place::write, sizes.queue, counters);
        Self { stock, wanted: sizes, sizes, shows_zlps: framing != Framing::Stream, input: None }
    }

    /// Keeps ZLPs in the stream framing, too, for readers to whom each transfer is a message.
    #[must_use]
    pub fn with_zlps(self) -> Self {
        Self { shows_zlps: true, ..self }
    }

    /// The pump of a serial line: the device is read also while nobody reads, see [`BulkIn::keep`].
    #[must_use]
    pub fn with_input(self, policy: Arc<InputPolicy>) -> Self {
        Self { input: Some(policy), ..self }
    }

    /// Wants less memory in flight from the next run on: half as many transfers, and where a record is no transfer,
    /// then half as long ones. False when it cannot be less.
    pub fn lower(&mut self) -> bool {
        let Sizes { transfer, max_packet, queue } = self.sizes;
        if queue > 1 {
            self.sizes.queue = queue / 2;
        } else if transfer > max_packet && self.stock.style.framing == Framing::Stream {
            self.sizes.transfer = (transfer / 2).next_multiple_of(max_packet);
        } else {
            return false;
        }
        true
    }

    /// Wants what it was made for again.
    pub fn restore(&mut self) {
        self.sizes = self.wanted;
    }

    /// Pumps until an end stops or `stop` resolves. All transfers are back when it returns, unless the last reader of a
    /// serial line has gone: then [`BulkIn::keep`] goes on with them.
    pub async fn run<F: StandingSink>(
        &mut self,
        pipe: &mut dyn Pipe,
        readers: &mut Readers<F>,
        mut stop: Pin<&mut (dyn Future<Output = ()> + Send)>,
    ) -> Verdict {
        self.stock.failure = None;
        readers.start(&mut self.stock.ring, self.wanted.queue);
        self.allocate(pipe);
        let verdict = poll_fn(|cx| self.poll(cx, pipe, readers, stop.as_mut())).await;
        if !self.goes_on(&verdict) {
            self.take_back(pipe, readers).await;
            self.stock.spare.clear();
        }
        readers.settle(&mut self.stock.ring);
        verdict
    }

    /// Reads a serial line that no program reads, and keeps for the next one what is not too old. Returns when somebody
    /// comes, and then [`BulkIn::run`] goes on with the transfers; otherwise all of them are back.
    pub async fn keep<F: StandingSink>(
        &mut self,
        pipe: &mut dyn Pipe,
        readers: &mut Readers<F>,
        mut stop: Pin<&mut (dyn Future<Output = ()> + Send)>,
    ) -> Verdict {
        self.stock.failure = None;
        readers.start_keeping(&mut self.stock.ring);
        self.allocate(pipe);
        let verdict = poll_fn(|cx| self.poll_keep(cx, pipe, readers, stop.as_mut())).await;
        if !self.goes_on(&verdict) {
            drain(pipe, |transfer| self.take(transfer)).await;
            self.stock.spare.clear();
        }
        if readers.is_empty() {
            readers.keep_arrived(&mut self.stock.ring, &mut Vec::new());
        }
        verdict
    }

    fn allocate(&mut self, pipe: &mut dyn Pipe) {
        while self.stock.spare.len() + self.stock.ring.len() + pipe.in_flight() < self.sizes.queue {
            self.stock.spare.push(pipe.allocate(self.sizes.transfer));
        }
    }

    /// Whether the transfers stay in flight, because a serial line goes on being read.
    fn goes_on(&self, verdict: &Verdict) -> bool {
        matches!(verdict, Verdict::Closed) && self.input.is_some()
    }

    fn poll_keep<F: StandingSink>(
        &mut self,
        cx: &mut Context<'_>,
        pipe: &mut dyn Pipe,
        readers: &mut Readers<F>,
        stop: Pin<&mut (dyn Future<Output = ()> + Send)>,
    ) -> Poll<Verdict> {
        loop {
            let is_more = in_pump::collect(self, cx, pipe, readers);
            if !readers.is_empty() {
                return Poll::Ready(Verdict::Closed);
            }
            readers.keep_arrived(&mut self.stock.ring, &mut self.stock.spare);
            if let Some(error) = self.stock.failure {
                return Poll::Ready(Verdict::Device(error));
            }
            let is_asked = !readers.is_unread_full() && self.refill(pipe);
            if !is_asked && !is_more {
                break;
            }
        }
        if readers.poll_opened(cx).is_ready() {
            return Poll::Ready(Verdict::Closed);
        }
        stop.poll(cx).map(|()| Verdict::Stopped)
    }

    /// Cancels what is in flight. A program that opens the outlet meanwhile may have asked the device something already, so
    /// what completes from then on is also for it.
    async fn take_back<F: StandingSink>(&mut self, pipe: &mut dyn Pipe, readers: &mut Readers<F>) {
        pipe.cancel_all();
        poll_fn(|cx| {
            while pipe.in_flight() > 0 {
                readers.poll_people(cx, &self.stock.ring);
                match pipe.poll_complete(cx) {
                    Poll::Ready(transfer) => in_pump::complete(self, readers, transfer),
                    Poll::Pending => return Poll::Pending,
                }
            }
            Poll::Ready(())
        })
        .await;
    }

    /// Reads what nobody wants, and throws it away until somebody comes.
    pub async fn drain<F: StandingSink>(
        &mut self,
        pipe: &mut dyn Pipe,
        readers: &mut Readers<F>,
        mut stop: Pin<&mut (dyn Future<Output = ()> + Send)>,
    ) -> Verdict {
        self.stock.failure = None;
        readers.start(&mut self.stock.ring, self.wanted.queue);
        if readers.is_empty() {
            let waiting = readers.discard(&mut self.stock.ring);
            self.stock.counters.add_discarded(waiting);
        }
        self.stock.spare.extend((0..self.sizes.queue).map(|_| pipe.allocate(self.sizes.transfer)));
        let verdict = poll_fn(|cx| in_pump::poll_drain(self, cx, pipe, readers, stop.as_mut())).await;
        self.take_back(pipe, readers).await;
        if readers.is_empty() {
            self.stock.counters.add_discarded(self.stock.ring.clear());
        }
        self.stock.spare.clear();
        verdict
    }

    /// Without a device: gives everybody who is there what had arrived, and ends the connection of each client that has
    /// it. One that takes longer than `patience` loses the rest, unless it is alone.
    pub async fn finish<F: StandingSink>(&mut self, readers: &mut Readers<F>) {
        in_pump::finish(self, readers).await;
    }

    fn poll<F: StandingSink>(
        &mut self,
        cx: &mut Context<'_>,
        pipe: &mut dyn Pipe,
        readers: &mut Readers<F>,
        stop: Pin<&mut (dyn Future<Output = ()> + Send)>,
    ) -> Poll<Verdict> {
        // The end of the ring when everybody was served.
        let mut served = None;
        loop {
            let is_more = in_pump::collect(self, cx, pipe, readers);
            if served.replace(self.stock.ring.end()) != Some(self.stock.ring.end())
                && let Err(verdict) = in_pump::serve(self, cx, readers)
            {
                return Poll::Ready(verdict);
            }
            if readers.is_empty() {
                return Poll::Ready(Verdict::Closed);
            }
            if let Some(error) = self.stock.failure {
                return Poll::Ready(Verdict::Device(error));
            }
            if !self.stock.spare.is_empty() {
                readers.let_go();
                self.refill(pipe);
            } else if !is_more {
                if pipe.in_flight() > 0 || readers.poll_patience(cx, &self.stock.ring).is_pending() {
                    break;
                }
                // Somebody was left behind.
                served = None;
            }
        }
        stop.poll(cx).map(|()| Verdict::Stopped)
    }
}

impl InPump for BulkIn {
    fn stock(&mut self) -> &mut Stock {
        &mut self.stock
    }

    /// What has data, or must be shown, waits for the readers.
    fn take(&mut self, transfer: Transfer) {
        match transfer.status {
            Ok(()) => {
                add(&self.stock.counters.transfers, 1);
                add(&self.stock.counters.bytes, transfer.actual);
            }
            Err(TransferError::Cancelled) => {}
            Err(error) => self.stock.failure = self.stock.failure.or(Some(error)),
        }
        if self.input.as_ref().is_some_and(|input| input.is_muted()) {
            self.stock.counters.add_discarded(transfer.actual);
            return self.stock.spare.push(transfer);
        }
        let shown = match transfer.status {
            Ok(()) => transfer.actual > 0 || self.shows_zlps,
            Err(TransferError::Cancelled | TransferError::Disconnected) => transfer.actual > 0,
            Err(_) => transfer.actual > 0 || self.stock.style.framing == Framing::Jsonl,
        };
        if shown { self.stock.ring.push(transfer) } else { self.stock.spare.push(transfer) }
    }

    fn refill(&mut self, pipe: &mut dyn Pipe) -> bool {
        let any = !self.stock.spare.is_empty();
        while let Some(mut transfer) = self.stock.spare.pop() {
            // What was completed before `restore` may be smaller.
            transfer.length = self.sizes.transfer.min(transfer.buffer.len());
            pipe.submit(transfer);
        }
        any
    }
}

#[cfg(test)]
mod tests {
    use super::super::fakes::{FakePipe, FakeSink, bytes, forever, reading};
    use super::*;

    fn pump(framing: Framing, readers: &mut Readers<FakeSink>) -> BulkIn {
        BulkIn::new(0x81, framing, Sizes { transfer: 64, max_packet: 64, queue: 4 }, readers, Arc::default())
    }

    #[tokio::test]
    async fn what_arrived_before_an_unplug_is_delivered_before_the_verdict() {
        let mut pipe = FakePipe::sending([b"one".to_vec(), b"two".to_vec()]);
        let mut readers = reading(FakeSink::default());
        let verdict = pump(Framing::Stream, &mut readers).run(&mut pipe, &mut readers, forever().as_mut()).await;
        assert!(matches!(verdict, Verdict::Device(TransferError::Disconnected)));
        assert_eq!(bytes(&readers), b"onetwo");
    }

    #[tokio::test]
    async fn a_reader_that_leaves_in_the_middle_leaves_the_rest_to_the_next_one() {
        let mut pipe = FakePipe::sending([b"one".to_vec(), b"two".to_vec()]);
        let mut readers = reading(FakeSink { closes_after: Some(4), ..FakeSink::default() });
        let mut pump = pump(Framing::Stream, &mut readers);
        let verdict = pump.run(&mut pipe, &mut readers, forever().as_mut()).await;
        assert!(matches!(verdict, Verdict::Closed));
        assert!(pump.has_pending());
        readers.fifo.as_mut().unwrap().closes_after = None;
        pump.run(&mut FakePipe::default(), &mut readers, forever().as_mut()).await;
        assert_eq!(bytes(&readers), b"onetwo");
    }

    #[test]
    fn what_completes_is_for_a_fifo_that_was_opened_before_although_no_event_has_come() {
        let mut readers = reading(FakeSink { closes_after: Some(0), ..FakeSink::default() });
        let mut pump = pump(Framing::Stream, &mut readers);
        readers.start(&mut pump.stock.ring, 4);
        readers.fifo.as_mut().unwrap().closes_after = None;
        let transfer = Transfer { status: Ok(()), actual: 3, ..Transfer::new(64) };
        in_pump::complete(&mut pump, &mut readers, transfer);
        let cx = &mut Context::from_waker(std::task::Waker::noop());
        assert!(in_pump::serve(&mut pump, cx, &mut readers).is_ok());
        assert_eq!(bytes(&readers), [0; 3]);
    }

    #[test]
    fn what_waits_is_for_a_reader_that_comes_in_the_moment_in_which_the_last_one_leaves() {
        for is_serial in [false, true] {
            let mut readers = reading(FakeSink::default());
            if is_serial {
                readers = readers.keeping_unread(Arc::new(InputPolicy::new(None, None)));
            }
            let mut pump = pump(Framing::Stream, &mut readers);
            readers.start(&mut pump.stock.ring, 4);
            let transfer = Transfer { status: Ok(()), actual: 3, ..Transfer::new(64) };
            in_pump::complete(&mut pump, &mut readers, transfer);
            readers.fifo.as_mut().unwrap().changes = 2;
            let cx = &mut Context::from_waker(std::task::Waker::noop());
            assert!(in_pump::serve(&mut pump, cx, &mut readers).is_ok());
            assert_eq!(bytes(&readers), [0; 3], "serial: {is_serial}");
        }
    }

    #[tokio::test]
    async fn a_serial_line_whose_reader_has_left_unnoticed_is_kept_for_the_next_one() {
        let mut readers = reading(FakeSink::default()).keeping_unread(Arc::new(InputPolicy::new(None, None)));
        let mut pump = pump(Framing::Stream, &mut readers);
        readers.start(&mut pump.stock.ring, 4);
        readers.fifo.as_mut().unwrap().closes_after = Some(0);
        let verdict = pump.keep(&mut FakePipe::sending([b"one".to_vec()]), &mut readers, forever().as_mut()).await;
        assert!(matches!(verdict, Verdict::Device(TransferError::Disconnected)), "it read on");
        readers.fifo.as_mut().unwrap().closes_after = None;
        pump.run(&mut FakePipe::default(), &mut readers, forever().as_mut()).await;
        assert_eq!(bytes(&readers), b"one");
    }

    #[tokio::test]
    async fn a_zlp_is_a_record_in_the_length_framing_and_nothing_in_a_stream() {
        for (framing, expected) in [(Framing::Length, &b"\0\0\0\0\x01\0\0\0x"[..]), (Framing::Stream, b"x")] {
            let mut pipe = FakePipe::sending([vec![], b"x".to_vec()]);
            let mut readers = reading(FakeSink::default());
            pump(framing, &mut readers).run(&mut pipe, &mut readers, forever().as_mut()).await;
            assert_eq!(bytes(&readers), expected);
        }
    }

    #[tokio::test]
    async fn with_less_memory_transfers_are_fewer_then_smaller_and_lose_nothing() {
        let mut readers = reading(FakeSink { closes_after: Some(4), ..FakeSink::default() });
        let mut pump = pump(Framing::Stream, &mut readers);
        pump.wanted.transfer = 256;
        pump.restore();
        let mut steps = Vec::new();
        while pump.lower() {
            steps.push((pump.sizes.queue, pump.sizes.transfer));
        }
        assert_eq!(steps, [(2, 256), (1, 256), (1, 128), (1, 64)]);
        let mut pipe = FakePipe::sending([b"one".to_vec(), b"two".to_vec()]);
        pump.run(&mut pipe, &mut readers, forever().as_mut()).await;
        pump.restore();
        readers.fifo.as_mut().unwrap().closes_after = None;
        pump.run(&mut pipe, &mut readers, forever().as_mut()).await;
        assert_eq!(bytes(&readers), b"onetwo");
    }

    #[tokio::test]
    async fn what_a_pipe_moves_when_it_is_polled_goes_out_before_it_is_polled_again() {
        for (is_lazy, sent) in [(false, 4), (true, 2)] {
            let mut pipe = FakePipe::sending((0..20).map(|n| vec![n; 10]));
            pipe.is_lazy = is_lazy;
            let mut readers = reading(FakeSink { closes_after: Some(10), ..FakeSink::default() });
            let verdict = pump(Framing::Stream, &mut readers).run(&mut pipe, &mut readers, forever().as_mut()).await;
            assert!(matches!(verdict, Verdict::Closed));
            assert_eq!(pipe.sent, sent, "the reader has left after the first");
        }
    }

    #[tokio::test]
    async fn a_full_sink_leaves_nothing_in_flight() {
        let mut pipe = FakePipe::sending((0..20).map(|n| vec![n; 10]));
        let mut readers = reading(FakeSink { room: Some(5), ..FakeSink::default() });
        let mut pump = pump(Framing::Stream, &mut readers);
        let mut stop = Box::pin(async { tokio::task::yield_now().await });
        let verdict = pump.run(&mut pipe, &mut readers, stop.as_mut()).await;
        assert!(matches!(verdict, Verdict::Stopped));
        assert_eq!(pipe.sent, 4, "as many as there are buffers");
    }
}
