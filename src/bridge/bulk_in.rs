//! Hot path. Bulk and interrupt IN: completed transfers to the sink, nothing lost.
//!
//! A fixed number of buffers goes round: in flight → completed → written → in flight. When the sink is slow the
//! completed ones pile up, nothing is in flight any more, and the device gets NAK.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::counters::add;
use super::frame::{Frame, Framing, Meta};
use super::{Counters, Sizes, Verdict};
use crate::outlet::Sink;
use crate::usb::{Pipe, Transfer, TransferError, drain};

/// The pump of one IN endpoint; what it could not deliver waits in it for the next run.
pub struct BulkIn {
    endpoint: u8,
    framing: Framing,
    /// As wanted, and as there is memory for.
    wanted: Sizes,
    sizes: Sizes,
    counters: Arc<Counters>,
    /// Completed and not yet written, oldest first.
    done: VecDeque<Transfer>,
    spare: Vec<Transfer>,
    frame: Frame,
    seq: u64,
    /// While a run lasts: why it will end.
    failure: Option<TransferError>,
}

impl BulkIn {
    /// A pump with these sizes; a transfer is a whole multiple of wMaxPacketSize.
    pub fn new(endpoint: u8, framing: Framing, sizes: Sizes, counters: Arc<Counters>) -> Self {
        Self {
            endpoint,
            framing,
            wanted: sizes,
            sizes,
            counters,
            done: VecDeque::with_capacity(sizes.queue),
            spare: Vec::with_capacity(sizes.queue),
            frame: Frame::default(),
            seq: 0,
            failure: None,
        }
    }

    /// Whether data waits for a reader.
    pub fn has_pending(&self) -> bool {
        !self.done.is_empty()
    }

    /// Throws away what waits, and says how many bytes that were.
    pub fn discard(&mut self) -> usize {
        self.frame.finish();
        self.frame.release();
        self.done.drain(..).map(|t| t.actual).sum()
    }

    /// Wants less memory in flight from the next run on: half as many transfers, and where a record is no transfer,
    /// then half as long ones. False when it cannot be less.
    pub fn lower(&mut self) -> bool {
        let Sizes { transfer, max_packet, queue } = self.sizes;
        if queue > 1 {
            self.sizes.queue = queue / 2;
        } else if transfer > max_packet && self.framing == Framing::Stream {
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

    /// Pumps until an end stops or `stop` resolves. All transfers are back when it returns.
    pub async fn run(
        &mut self,
        pipe: &mut dyn Pipe,
        sink: &mut dyn Sink,
        mut stop: Pin<&mut (dyn Future<Output = ()> + Send)>,
    ) -> Verdict {
        self.failure = None;
        while self.spare.len() + self.done.len() < self.sizes.queue {
            self.spare.push(pipe.allocate(self.sizes.transfer));
        }
        let verdict = poll_fn(|cx| self.poll(cx, pipe, sink, stop.as_mut())).await;
        drain(pipe, |transfer| self.take(transfer)).await;
        self.spare.clear();
        self.frame.release();
        verdict
    }

    /// Writes what waits, without a device, until nothing waits or no program reads.
    pub async fn deliver(&mut self, sink: &mut dyn Sink) -> Verdict {
        poll_fn(|cx| {
            if let Poll::Ready(verdict) = self.poll_deliver(cx, sink) {
                return Poll::Ready(verdict);
            }
            if self.done.is_empty() {
                return Poll::Ready(Verdict::Stopped);
            }
            sink.poll_closed(cx).map(|()| Verdict::Closed)
        })
        .await
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        pipe: &mut dyn Pipe,
        sink: &mut dyn Sink,
        stop: Pin<&mut (dyn Future<Output = ()> + Send)>,
    ) -> Poll<Verdict> {
        loop {
            while let Poll::Ready(transfer) = pipe.poll_complete(cx) {
                self.take(transfer);
            }
            if let Poll::Ready(verdict) = self.poll_deliver(cx, sink) {
                return Poll::Ready(verdict);
            }
            if let Some(error) = self.failure {
                return Poll::Ready(Verdict::Device(error));
            }
            if self.spare.is_empty() {
                break;
            }
            while let Some(mut transfer) = self.spare.pop() {
                // What was completed before `restore` may be smaller.
                transfer.length = self.sizes.transfer.min(transfer.buffer.len());
                pipe.submit(transfer);
            }
        }
        if sink.poll_closed(cx).is_ready() {
            return Poll::Ready(Verdict::Closed);
        }
        stop.poll(cx).map(|()| Verdict::Stopped)
    }

    /// Sorts a transfer that has ended: what has data, or must be shown, waits for the sink.
    fn take(&mut self, transfer: Transfer) {
        match transfer.status {
            Ok(()) => {
                add(&self.counters.transfers, 1);
                add(&self.counters.bytes, transfer.actual);
            }
            Err(TransferError::Cancelled) => {}
            Err(error) => self.failure = self.failure.or(Some(error)),
        }
        let shown = match transfer.status {
            Ok(()) => transfer.actual > 0 || !matches!(self.framing, Framing::Stream | Framing::Packet),
            Err(TransferError::Cancelled | TransferError::Disconnected) => transfer.actual > 0,
            Err(_) => transfer.actual > 0 || self.framing == Framing::Jsonl,
        };
        if shown { self.done.push_back(transfer) } else { self.spare.push(transfer) }
    }

    /// Pending when all is written or the sink is full.
    fn poll_deliver(&mut self, cx: &mut Context<'_>, sink: &mut dyn Sink) -> Poll<Verdict> {
        while let Some(transfer) = self.done.front() {
            let meta = Meta { endpoint: self.endpoint, seq: self.seq, status: transfer.status, lost: 0 };
            self.frame.begin(self.framing, transfer.received(), &meta);
            let slices = self.frame.slices(transfer.received());
            if slices.iter().any(|s| !s.is_empty()) {
                match sink.poll_write(cx, &slices) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(n)) => {
                        self.frame.advance(n);
                        continue;
                    }
                    Poll::Ready(Err(e)) if e.kind() == std::io::ErrorKind::BrokenPipe => {
                        return Poll::Ready(Verdict::Closed);
                    }
                    Poll::Ready(Err(e)) => return Poll::Ready(Verdict::Outlet(e)),
                }
            }
            self.frame.finish();
            self.seq += 1;
            self.spare.extend(self.done.pop_front());
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::super::fakes::{FakePipe, FakeSink, forever};
    use super::*;

    fn pump(framing: Framing) -> BulkIn {
        BulkIn::new(0x81, framing, Sizes { transfer: 64, max_packet: 64, queue: 4 }, Arc::default())
    }

    #[tokio::test]
    async fn what_arrived_before_an_unplug_is_delivered_before_the_verdict() {
        let mut pipe = FakePipe::sending([b"one".to_vec(), b"two".to_vec()]);
        let mut sink = FakeSink::default();
        let verdict = pump(Framing::Stream).run(&mut pipe, &mut sink, forever().as_mut()).await;
        assert!(matches!(verdict, Verdict::Device(TransferError::Disconnected)));
        assert_eq!(sink.bytes, b"onetwo");
    }

    #[tokio::test]
    async fn a_reader_that_leaves_in_the_middle_leaves_the_rest_to_the_next_one() {
        let mut pipe = FakePipe::sending([b"one".to_vec(), b"two".to_vec()]);
        let mut sink = FakeSink { closes_after: Some(4), ..FakeSink::default() };
        let mut pump = pump(Framing::Stream);
        let verdict = pump.run(&mut pipe, &mut sink, forever().as_mut()).await;
        assert!(matches!(verdict, Verdict::Closed));
        assert!(pump.has_pending());
        let mut next = FakeSink::default();
        pump.deliver(&mut next).await;
        assert_eq!([sink.bytes, next.bytes].concat(), b"onetwo");
    }

    #[tokio::test]
    async fn a_zlp_is_a_record_in_the_length_framing_and_nothing_in_a_stream() {
        for (framing, expected) in [(Framing::Length, &b"\0\0\0\0\x01\0\0\0x"[..]), (Framing::Stream, b"x")] {
            let mut pipe = FakePipe::sending([vec![], b"x".to_vec()]);
            let mut sink = FakeSink::default();
            pump(framing).run(&mut pipe, &mut sink, forever().as_mut()).await;
            assert_eq!(sink.bytes, expected);
        }
    }

    #[tokio::test]
    async fn with_less_memory_transfers_are_fewer_then_smaller_and_lose_nothing() {
        let mut pump = pump(Framing::Stream);
        pump.wanted.transfer = 256;
        pump.restore();
        let mut steps = Vec::new();
        while pump.lower() {
            steps.push((pump.sizes.queue, pump.sizes.transfer));
        }
        assert_eq!(steps, [(2, 256), (1, 256), (1, 128), (1, 64)]);
        let mut pipe = FakePipe::sending([b"one".to_vec(), b"two".to_vec()]);
        let mut closing = FakeSink { closes_after: Some(4), ..FakeSink::default() };
        pump.run(&mut pipe, &mut closing, forever().as_mut()).await;
        pump.restore();
        let mut sink = FakeSink::default();
        pump.run(&mut pipe, &mut sink, forever().as_mut()).await;
        assert_eq!([closing.bytes, sink.bytes].concat(), b"onetwo");
    }

    #[tokio::test]
    async fn a_full_sink_leaves_nothing_in_flight() {
        let mut pipe = FakePipe::sending((0..20).map(|n| vec![n; 10]));
        let mut sink = FakeSink { room: Some(5), ..FakeSink::default() };
        let mut pump = pump(Framing::Stream);
        let mut stop = Box::pin(async { tokio::task::yield_now().await });
        let verdict = pump.run(&mut pipe, &mut sink, stop.as_mut()).await;
        assert!(matches!(verdict, Verdict::Stopped));
        assert_eq!(pipe.sent, 4, "as many as there are buffers");
    }
}
