//! Hot path. Bulk and interrupt OUT: what programs wrote becomes transfers, in order, nothing lost.
//!
//! ```text
//!             ┌─ stream, packet: one read is one transfer ─┐
//!   writers ──┤                                            ├──► in flight ──► spare
//!             └─ length, hex: messages are cut out ────────┘        │
//!                                           ▲                       │ device gone, or behind a stall
//!                                           └─────── resend ◄───────┘
//! ```

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Sleep, sleep};

use super::counters::add;
use super::{Counters, Framing, Verdict, Writers};
use crate::outlet::StandingSource;
use crate::usb::{Pipe, Transfer, TransferError, drain};

/// The pump of one OUT endpoint; what the device did not take waits in it for the next run.
pub struct BulkOut {
    /// Transfers in flight as wanted; `sizes` has what there is memory for.
    wanted_queue: usize,
    sizes: Sizes,
    framing: Framing,
    /// Whether a message is closed by a ZLP when its length is a multiple of wMaxPacketSize.
    zlp: bool,
    /// How long [`BulkOut::run`] goes on after `stop`, for what was written to reach the device.
    flush: Duration,
    counters: Arc<Counters>,
    spare: Vec<Transfer>,
    /// To be sent before anything new, oldest first.
    resend: VecDeque<Transfer>,
    /// How many of them came back in this run; they are older than the rest.
    returned: usize,
    /// The message before it was lost to a stall: the ZLP that comes next closes nothing.
    zlp_is_orphan: bool,
    failure: Option<TransferError>,
}

/// How large transfers are, and how many.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// Bytes a transfer, at most.
    pub transfer: usize,
    /// wMaxPacketSize.
    pub max_packet: usize,
    /// Transfers in flight.
    pub queue: usize,
}

impl BulkOut {
    /// A pump with these sizes, for a device that has been opened or will be.
    pub fn new(framing: Framing, sizes: Sizes, zlp: bool, flush: Duration, counters: Arc<Counters>) -> Self {
        Self {
            wanted_queue: sizes.queue,
            sizes,
            framing,
            zlp: zlp && framing != Framing::Stream,
            flush,
            counters,
            spare: Vec::with_capacity(sizes.queue + 1),
            resend: VecDeque::with_capacity(sizes.queue + 1),
            returned: 0,
            zlp_is_orphan: false,
            failure: None,
        }
    }

    /// Whether data waits for the device.
    pub fn has_pending(&self) -> bool {
        !self.resend.is_empty()
    }

    /// Throws away what waits, counts it as lost, and says how many bytes that were.
    pub fn discard(&mut self) -> usize {
        let n = self.resend.drain(..).map(|t| t.length).sum();
        add(&self.counters.lost_bytes, n);
        n
    }

    /// Wants half as many transfers in flight from the next run on; false when it is one already.
    pub fn lower(&mut self) -> bool {
        let queue = self.sizes.queue;
        self.sizes.queue = (queue / 2).max(1);
        self.sizes.queue < queue
    }

    /// Wants what it was made for again.
    pub fn restore(&mut self) {
        self.sizes.queue = self.wanted_queue;
    }

    /// Pumps until an end stops, or until what was written has been flushed after `stop` resolved. All transfers are
    /// back when it returns.
    pub async fn run<F: StandingSource>(
        &mut self,
        pipe: &mut dyn Pipe,
        writers: &mut Writers<F>,
        mut stop: Pin<&mut (dyn Future<Output = ()> + Send)>,
    ) -> Verdict {
        self.failure = None;
        self.returned = 0;
        writers.start(self.framing, self.sizes.transfer);
        // One more than may be in flight, for a ZLP that closes the last message.
        while self.spare.len() + self.resend.len() < self.sizes.queue + 1 {
            self.spare.push(pipe.allocate(self.sizes.transfer));
        }
        let mut flushing: Option<Pin<Box<Sleep>>> = None;
        let verdict = poll_fn(|cx| {
            if flushing.is_none() && stop.as_mut().poll(cx).is_ready() {
                flushing = Some(Box::pin(sleep(self.flush)));
            }
            if let Poll::Ready(verdict) = self.poll(cx, pipe, writers, flushing.is_some()) {
                return Poll::Ready(verdict);
            }
            match &mut flushing {
                Some(timer) => timer.as_mut().poll(cx).map(|()| Verdict::Stopped),
                None => Poll::Pending,
            }
        })
        .await;
        drain(pipe, |transfer| self.take(transfer)).await;
        if std::mem::take(&mut self.zlp_is_orphan) {
            self.resend.pop_front();
        }
        self.returned = 0;
        self.spare.clear();
        verdict
    }

    fn poll<F: StandingSource>(
        &mut self,
        cx: &mut Context<'_>,
        pipe: &mut dyn Pipe,
        writers: &mut Writers<F>,
        stopping: bool,
    ) -> Poll<Verdict> {
        loop {
            while let Poll::Ready(transfer) = pipe.poll_complete(cx) {
                self.take(transfer);
            }
            if let Some(error) = self.failure {
                return Poll::Ready(Verdict::Device(error));
            }
            if pipe.in_flight() >= self.sizes.queue {
                return Poll::Pending;
            }
            if let Some(transfer) = self.resend.pop_front() {
                self.returned = self.returned.saturating_sub(1);
                pipe.submit(transfer);
                continue;
            }
            let Some(mut transfer) = self.spare.pop() else { return Poll::Pending };
            let message = writers.poll_message(cx, &mut transfer.buffer, &self.counters);
            if let Poll::Ready(Ok(Some(length))) = message {
                transfer.length = length;
                self.send(pipe, transfer);
                continue;
            }
            self.spare.push(transfer);
            match message {
                Poll::Ready(Ok(_)) if pipe.in_flight() == 0 => return Poll::Ready(Verdict::Closed),
                Poll::Ready(Ok(_)) => return Poll::Pending,
                Poll::Ready(Err(e)) => return Poll::Ready(Verdict::Outlet(e)),
                Poll::Pending if stopping && pipe.in_flight() == 0 => return Poll::Ready(Verdict::Stopped),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn send(&mut self, pipe: &mut dyn Pipe, transfer: Transfer) {
        let needs_zlp = self.zlp && !self.closes_by_itself(transfer.length);
        pipe.submit(transfer);
        if needs_zlp {
            let mut zlp = self.spare.pop().unwrap_or_else(|| Transfer::new(0));
            zlp.length = 0;
            pipe.submit(zlp);
        }
    }

    /// Sorts a transfer that has ended. The one that found the endpoint halted is lost, with the ZLP that closes it;
    /// those behind it are not.
    fn take(&mut self, mut transfer: Transfer) {
        add(&self.counters.bytes, transfer.actual);
        let first_failure = self.failure.is_none();
        let is_orphan = std::mem::take(&mut self.zlp_is_orphan);
        match transfer.status {
            Ok(()) => {
                add(&self.counters.transfers, 1);
                self.spare.push(transfer);
                return;
            }
            Err(TransferError::Stall) if first_failure => {
                add(&self.counters.lost_bytes, transfer.length - transfer.actual.min(transfer.length));
                self.failure = Some(TransferError::Stall);
                self.zlp_is_orphan = self.zlp && !self.closes_by_itself(transfer.length);
                self.spare.push(transfer);
                return;
            }
            Err(_) if is_orphan => {
                self.spare.push(transfer);
                return;
            }
            Err(TransferError::Cancelled) => {}
            Err(error) => self.failure = self.failure.or(Some(error)),
        }
        let sent = transfer.actual.min(transfer.length);
        transfer.buffer.copy_within(sent..transfer.length, 0);
        transfer.length -= sent;
        transfer.actual = 0;
        self.resend.insert(self.returned, transfer);
        self.returned += 1;
    }

    /// Whether the device sees the end of a message of this length without a ZLP.
    fn closes_by_itself(&self, length: usize) -> bool {
        length == 0 || !length.is_multiple_of(self.sizes.max_packet)
    }
}

#[cfg(test)]
mod tests {
    use super::super::fakes::{FakePipe, FakeSource, forever, writing};
    use super::*;

    fn pump(framing: Framing) -> BulkOut {
        BulkOut::new(framing, Sizes { transfer: 64, max_packet: 8, queue: 4 }, true, Duration::ZERO, Arc::default())
    }

    async fn run(pump: &mut BulkOut, pipe: &mut FakePipe, writers: &mut Writers<FakeSource>) -> Verdict {
        pump.run(pipe, writers, forever().as_mut()).await
    }

    #[tokio::test]
    async fn in_a_stream_each_read_is_one_transfer_and_no_zlp_is_added() {
        let mut pipe = FakePipe::receiving();
        let mut writers = writing(FakeSource::of([b"12345678".to_vec(), b"abc".to_vec()]));
        let verdict = run(&mut pump(Framing::Stream), &mut pipe, &mut writers).await;
        assert!(matches!(verdict, Verdict::Closed));
        assert_eq!(pipe.received, [b"12345678".to_vec(), b"abc".to_vec()]);
    }

    #[tokio::test]
    async fn a_message_of_whole_packets_is_closed_by_a_zlp() {
        let mut pipe = FakePipe::receiving();
        let mut writers = writing(FakeSource::of([b"\x08\0\0\0ABCDEFGH\x01\0\0\0z".to_vec()]));
        run(&mut pump(Framing::Length), &mut pipe, &mut writers).await;
        assert_eq!(pipe.received, [b"ABCDEFGH".to_vec(), vec![], b"z".to_vec()]);
    }

    #[tokio::test]
    async fn after_a_stall_only_the_transfer_that_met_it_is_lost() {
        let mut pipe = FakePipe::receiving();
        pipe.results.extend([Ok(()), Err(TransferError::Stall), Err(TransferError::Stall)]);
        pipe.batch = 3;
        let mut writers = writing(FakeSource::of([b"a".to_vec(), b"b".to_vec(), b"c".to_vec()]));
        let mut pump = pump(Framing::Stream);
        let verdict = run(&mut pump, &mut pipe, &mut writers).await;
        assert!(matches!(verdict, Verdict::Device(TransferError::Stall)));
        run(&mut pump, &mut pipe, &mut writers).await;
        assert_eq!(pipe.received, [b"a".to_vec(), b"c".to_vec()]);
        assert_eq!(pump.counters.snapshot().lost_bytes, 1);
    }

    #[tokio::test]
    async fn what_was_in_flight_at_an_unplug_is_sent_again_in_order() {
        let mut pipe = FakePipe::receiving();
        pipe.results.extend([Err(TransferError::Disconnected); 3]);
        pipe.batch = 3;
        let mut writers = writing(FakeSource::of([b"a".to_vec(), b"b".to_vec(), b"c".to_vec()]));
        let mut pump = pump(Framing::Stream);
        run(&mut pump, &mut pipe, &mut writers).await;
        assert!(pump.has_pending());
        let mut plugged_again = FakePipe::receiving();
        run(&mut pump, &mut plugged_again, &mut writers).await;
        assert_eq!(plugged_again.received.concat(), b"abc");
    }

    #[tokio::test]
    async fn transfers_that_were_cancelled_by_nobody_here_are_sent_again_as_often_as_it_takes() {
        let mut pipe = FakePipe::receiving();
        pipe.results.extend([Err(TransferError::Cancelled); 5]);
        let mut writers = writing(FakeSource::of([b"a".to_vec(), b"b".to_vec(), b"c".to_vec()]));
        let verdict = run(&mut pump(Framing::Stream), &mut pipe, &mut writers).await;
        assert!(matches!(verdict, Verdict::Closed));
        assert_eq!(pipe.received.concat().len(), 3);
    }

    #[tokio::test]
    async fn two_unplugs_in_a_row_change_no_order() {
        let mut pump = BulkOut::new(
            Framing::Length,
            Sizes { transfer: 64, max_packet: 8, queue: 1 },
            true,
            Duration::ZERO,
            Arc::default(),
        );
        let mut writers = writing(FakeSource::of([b"\x08\0\0\0ABCDEFGH\x01\0\0\0z".to_vec()]));
        for gone in [2, 1] {
            let mut pipe = FakePipe::receiving();
            pipe.results.extend(vec![Err(TransferError::Disconnected); gone]);
            run(&mut pump, &mut pipe, &mut writers).await;
            assert!(pipe.received.is_empty());
        }
        let mut plugged_again = FakePipe::receiving();
        run(&mut pump, &mut plugged_again, &mut writers).await;
        assert_eq!(plugged_again.received, [b"ABCDEFGH".to_vec(), vec![], b"z".to_vec()]);
    }

    #[tokio::test]
    async fn a_message_lost_to_a_stall_takes_its_zlp_with_it() {
        let mut pipe = FakePipe::receiving();
        pipe.results.extend([Err(TransferError::Stall); 3]);
        pipe.batch = 3;
        let mut writers = writing(FakeSource::of([b"\x08\0\0\0ABCDEFGH\x01\0\0\0z".to_vec()]));
        let mut pump = pump(Framing::Length);
        run(&mut pump, &mut pipe, &mut writers).await;
        run(&mut pump, &mut pipe, &mut writers).await;
        assert_eq!(pipe.received, [b"z".to_vec()]);
    }

    #[tokio::test]
    async fn half_a_message_of_a_writer_that_has_gone_is_dropped_and_counted() {
        let mut pipe = FakePipe::receiving();
        let mut pump = pump(Framing::Hex);
        run(&mut pump, &mut pipe, &mut writing(FakeSource::of([b"01\n02".to_vec()]))).await;
        run(&mut pump, &mut pipe, &mut writing(FakeSource::of([b"03\n".to_vec()]))).await;
        assert_eq!(pipe.received, [vec![1], vec![3]]);
        assert_eq!(pump.counters.snapshot().bad_messages, 1);
    }
}
