//! Hot path. Isochronous OUT: paced by the bus.
//!
//! ```text
//!               prebuffer full, or writer gone              writer gone and all sent
//!   collecting ───────────────────────────────► streaming ─────────────────────────► closed
//!        ▲                                          │
//!        └────────── underrun, policy stop ─────────┘    underrun, policy silence: zeros go out
//! ```
//!
//! Packets hold what was written and nothing else, save for silence in an underrun.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Sleep, sleep};

use super::counters::add;
use super::{Counters, Framing, IsoShape, Verdict, Writers};
use crate::outlet::StandingSource;
use crate::usb::{IsoPacket, Pipe, Transfer, TransferError, drain};

/// What an isochronous OUT pump needs to know.
#[derive(Debug, Clone, Copy)]
pub struct IsoOutSettings {
    /// Message boundaries of what programs write; in `stream` every packet is full but the last.
    pub framing: Framing,
    /// How transfers are cut.
    pub shape: IsoShape,
    /// Packets to collect before the stream starts.
    pub prebuffer: usize,
    /// Whether zeros go out when a writer is there but late; else the stream stops and starts anew.
    pub silence: bool,
    /// How long to go on after a stop was asked for.
    pub flush: Duration,
}

/// The pump of one isochronous OUT endpoint.
pub struct IsoOut {
    settings: IsoOutSettings,
    counters: Arc<Counters>,
    spare: Vec<Transfer>,
    /// Full, waiting for the start of the stream or for room on the bus.
    ready: VecDeque<Transfer>,
    /// Being filled; its `length` is how many bytes it has.
    filling: Option<Transfer>,
    /// One message of the packet framings.
    message: Box<[u8]>,
    streaming: bool,
    source_ended: bool,
    failure: Option<TransferError>,
}

impl IsoOut {
    /// A pump with these settings.
    pub fn new(settings: IsoOutSettings, counters: Arc<Counters>) -> Self {
        let size = settings.shape.packet_size;
        Self {
            settings,
            counters,
            spare: Vec::new(),
            ready: VecDeque::new(),
            filling: None,
            message: vec![0; size].into(),
            streaming: false,
            source_ended: false,
            failure: None,
        }
    }

    /// Pumps until an end stops, or until what was written has been sent after `stop` resolved.
    pub async fn run<F: StandingSource>(
        &mut self,
        pipe: &mut dyn Pipe,
        writers: &mut Writers<F>,
        mut stop: Pin<&mut (dyn Future<Output = ()> + Send)>,
    ) -> Verdict {
        let IsoShape { packet_size, packets, queue } = self.settings.shape;
        self.failure = None;
        self.source_ended = false;
        self.streaming = false;
        writers.start(self.settings.framing, packet_size);
        let collected = self.settings.prebuffer.div_ceil(packets).max(queue);
        while self.spare.len() + self.ready.len() < collected + queue {
            self.spare.push(Transfer::isochronous(packets, packet_size));
        }
        let mut flushing: Option<Pin<Box<Sleep>>> = None;
        let verdict = poll_fn(|cx| {
            if flushing.is_none() && stop.as_mut().poll(cx).is_ready() {
                flushing = Some(Box::pin(sleep(self.settings.flush)));
                self.source_ended = true;
            }
            match (self.poll(cx, pipe, writers), &mut flushing) {
                (Poll::Ready(Verdict::Closed), Some(_)) => Poll::Ready(Verdict::Stopped),
                (Poll::Ready(verdict), _) => Poll::Ready(verdict),
                (Poll::Pending, Some(timer)) => timer.as_mut().poll(cx).map(|()| Verdict::Stopped),
                (Poll::Pending, None) => Poll::Pending,
            }
        })
        .await;
        drain(pipe, |transfer| self.take(transfer)).await;
        self.lose_what_waits();
        verdict
    }

    fn poll<F: StandingSource>(
        &mut self,
        cx: &mut Context<'_>,
        pipe: &mut dyn Pipe,
        writers: &mut Writers<F>,
    ) -> Poll<Verdict> {
        loop {
            while let Poll::Ready(transfer) = pipe.poll_complete(cx) {
                self.take(transfer);
            }
            if let Some(error) = self.failure {
                return Poll::Ready(Verdict::Device(error));
            }
            let filled = match self.poll_fill(cx, writers) {
                Poll::Ready(Ok(())) => true,
                Poll::Ready(Err(e)) => return Poll::Ready(Verdict::Outlet(e)),
                Poll::Pending => false,
            };
            if self.submit_ready(pipe) {
                continue;
            }
            if self.source_ended && pipe.in_flight() == 0 {
                return Poll::Ready(Verdict::Closed);
            }
            if self.runs_dry(pipe) {
                if self.bridge_underrun(pipe) {
                    continue;
                }
                self.streaming &= pipe.in_flight() > 0;
            }
            if !filled || pipe.in_flight() > 0 {
                return Poll::Pending;
            }
        }
    }

    /// Reads until the buffers are full or the source has no more for now (pending).
    fn poll_fill<F: StandingSource>(&mut self, cx: &mut Context<'_>, writers: &mut Writers<F>) -> Poll<io::Result<()>> {
        while !self.source_ended {
            let Some(mut transfer) = self.filling.take().or_else(|| self.fresh()) else { return Poll::Ready(Ok(())) };
            let result = self.poll_fill_transfer(cx, writers, &mut transfer);
            match result {
                Poll::Ready(Ok(true)) => self.ready.push_back(transfer),
                Poll::Ready(Ok(false)) => {
                    self.source_ended = true;
                    if transfer.packets.is_empty() && transfer.length == 0 {
                        self.spare.push(transfer);
                    } else {
                        self.cut_packets(&mut transfer);
                        self.ready.push_back(transfer);
                    }
                }
                Poll::Ready(Err(e)) => {
                    self.spare.push(transfer);
                    return Poll::Ready(Err(e));
                }
                Poll::Pending => {
                    self.filling = Some(transfer);
                    return Poll::Pending;
                }
            }
        }
        if let Some(mut rest) = self.filling.take() {
            self.cut_packets(&mut rest);
            self.ready.push_back(rest);
        }
        Poll::Ready(Ok(()))
    }

    /// Ready with true when the transfer is full, with false when the last writer has gone.
    fn poll_fill_transfer<F: StandingSource>(
        &mut self,
        cx: &mut Context<'_>,
        writers: &mut Writers<F>,
        transfer: &mut Transfer,
    ) -> Poll<io::Result<bool>> {
        let IsoShape { packets, .. } = self.settings.shape;
        if self.settings.framing == Framing::Stream {
            while transfer.length < transfer.buffer.len() {
                let room = &mut transfer.buffer[transfer.length..];
                let Some(n) = ready!(writers.poll_message(cx, room, &self.counters))? else {
                    return Poll::Ready(Ok(false));
                };
                transfer.length += n;
            }
            self.cut_packets(transfer);
            return Poll::Ready(Ok(true));
        }
        while transfer.packets.len() < packets {
            let Some(n) = ready!(writers.poll_message(cx, &mut self.message, &self.counters))? else {
                return Poll::Ready(Ok(false));
            };
            let offset = transfer.length;
            transfer.buffer[offset..offset + n].copy_from_slice(&self.message[..n]);
            transfer.packets.push(IsoPacket { offset, length: n, actual: 0, status: Ok(()) });
            transfer.length += n;
        }
        Poll::Ready(Ok(true))
    }

    /// In a stream: describes the bytes of the transfer as packets, all full but the last.
    fn cut_packets(&self, transfer: &mut Transfer) {
        if self.settings.framing != Framing::Stream {
            return;
        }
        let size = self.settings.shape.packet_size;
        transfer.packets.clear();
        for offset in (0..transfer.length).step_by(size) {
            let length = size.min(transfer.length - offset);
            transfer.packets.push(IsoPacket { offset, length, actual: 0, status: Ok(()) });
        }
    }

    /// Whether anything went out.
    fn submit_ready(&mut self, pipe: &mut dyn Pipe) -> bool {
        let collected: usize = self.ready.iter().map(|t| t.packets.len()).sum();
        self.streaming |= self.source_ended || collected >= self.settings.prebuffer.max(1);
        let mut any = false;
        while self.streaming && pipe.in_flight() < self.settings.shape.queue {
            let Some(transfer) = self.ready.pop_front() else { break };
            pipe.submit(transfer);
            any = true;
        }
        any
    }

    /// Whether the bus will soon have nothing left although a writer is there.
    fn runs_dry(&self, pipe: &dyn Pipe) -> bool {
        self.streaming && !self.source_ended && self.ready.is_empty() && pipe.in_flight() <= 1
    }

    /// Sends the whole packets that were written, or else silence. False when the policy is to stop.
    fn bridge_underrun(&mut self, pipe: &mut dyn Pipe) -> bool {
        let size = self.settings.shape.packet_size;
        if let Some(mut transfer) = self.filling.take() {
            let whole =
                if self.settings.framing == Framing::Stream { transfer.length / size * size } else { transfer.length };
            if whole > 0 {
                let mut rest = self.fresh();
                if let Some(rest) = &mut rest {
                    let tail = transfer.length - whole;
                    rest.buffer[..tail].copy_from_slice(&transfer.buffer[whole..transfer.length]);
                    rest.length = tail;
                }
                transfer.length = whole;
                self.cut_packets(&mut transfer);
                self.filling = rest;
                pipe.submit(transfer);
                return true;
            }
            self.filling = Some(transfer);
        }
        if !self.settings.silence {
            if pipe.in_flight() == 0 {
                add(&self.counters.underruns, 1);
            }
            return false;
        }
        let Some(mut transfer) = self.fresh() else { return false };
        add(&self.counters.underruns, 1);
        transfer.buffer.fill(0);
        for n in 0..self.settings.shape.packets {
            transfer.packets.push(IsoPacket { offset: n * size, length: size, actual: 0, status: Ok(()) });
        }
        transfer.length = transfer.buffer.len();
        pipe.submit(transfer);
        true
    }

    fn fresh(&mut self) -> Option<Transfer> {
        let mut transfer = self.spare.pop()?;
        transfer.length = 0;
        transfer.packets.clear();
        Some(transfer)
    }

    fn take(&mut self, transfer: Transfer) {
        match transfer.status {
            Ok(()) => {
                let failures = transfer.packets.iter().filter_map(|p| p.status.err());
                let (failed, last) = failures.fold((0, None), |(n, _), error| (n + 1, Some(error)));
                add(&self.counters.transfers, 1);
                add(&self.counters.packets, transfer.packets.len() - failed);
                if let Some(error) = last {
                    self.counters.fail_packets(failed, error);
                }
                add(&self.counters.bytes, transfer.actual);
            }
            Err(error) => {
                add(&self.counters.lost_packets, transfer.packets.len());
                add(&self.counters.lost_bytes, transfer.length);
                if error != TransferError::Cancelled {
                    self.failure = self.failure.or(Some(error));
                }
            }
        }
        self.spare.push(transfer);
    }

    /// What was read and not sent would be late in the next stream.
    fn lose_what_waits(&mut self) {
        for transfer in self.ready.drain(..).chain(self.filling.take()) {
            add(&self.counters.lost_packets, transfer.packets.len());
            add(&self.counters.lost_bytes, transfer.length);
        }
        self.spare.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::super::fakes::{FakePipe, FakeSource, forever, writing};
    use super::*;

    fn pump(framing: Framing) -> IsoOut {
        let shape = IsoShape { packet_size: 4, packets: 2, queue: 2 };
        let settings = IsoOutSettings { framing, shape, prebuffer: 3, silence: true, flush: Duration::ZERO };
        IsoOut::new(settings, Arc::default())
    }

    #[tokio::test]
    async fn packets_hold_what_was_written_and_only_the_last_one_is_short() {
        let mut pipe = FakePipe::receiving();
        let source = FakeSource::of([b"01234".to_vec(), b"56789abcd".to_vec(), b"e".to_vec()]);
        let verdict = pump(Framing::Stream).run(&mut pipe, &mut writing(source), forever().as_mut()).await;
        assert!(matches!(verdict, Verdict::Closed));
        assert_eq!(pipe.received, [&b"0123"[..], b"4567", b"89ab", b"cde"]);
    }

    #[tokio::test]
    async fn in_the_length_framing_a_record_is_a_packet_and_one_that_is_too_long_is_refused() {
        let mut pipe = FakePipe::receiving();
        let source = FakeSource::of([b"\x02\0\0\0ab\x05\0\0\x0012345\x01\0\0\0c".to_vec()]);
        let mut pump = pump(Framing::Length);
        pump.run(&mut pipe, &mut writing(source), forever().as_mut()).await;
        assert_eq!(pipe.received, [&b"ab"[..], b"c"]);
        assert_eq!(pump.counters.snapshot().bad_messages, 1);
    }
}
