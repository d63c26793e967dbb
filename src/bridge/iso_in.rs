//! Hot path. Isochronous IN: real time, so when the sink is slow the oldest whole packets go.
//!
//! `queue` transfers are in flight at all times. Completed ones wait in a ring; when the ring is full the oldest of
//! them gives its packets up, each counted, and its buffer goes back into flight.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::counters::add;
use super::frame::{Frame, Framing, Meta, push_gap};
use super::{Counters, Verdict};
use crate::outlet::Sink;
use crate::usb::{IsoPacket, Pipe, Transfer, TransferError, drain};

/// The pump of one isochronous IN endpoint.
pub struct IsoIn {
    endpoint: u8,
    framing: Framing,
    shape: IsoShape,
    /// Transfers that may wait for the sink.
    ring: usize,
    counters: Arc<Counters>,
    done: VecDeque<Transfer>,
    spare: Vec<Transfer>,
    /// The packet of the oldest transfer that is being written.
    packet: usize,
    frame: Frame,
    /// What must be written before anything else: the rest of a packet whose transfer was given up, or gap marks.
    carry: Vec<u8>,
    carry_written: usize,
    /// Packets lost since the last one that was written.
    gap: u64,
    seq: u64,
    failure: Option<TransferError>,
}

/// How isochronous transfers are cut.
#[derive(Debug, Clone, Copy)]
pub struct IsoShape {
    /// Bytes a packet, at most.
    pub packet_size: usize,
    /// Packets a transfer.
    pub packets: usize,
    /// Transfers in flight.
    pub queue: usize,
}

impl IsoIn {
    /// A pump with `ring` transfers of memory for a slow sink.
    pub fn new(endpoint: u8, framing: Framing, shape: IsoShape, ring: usize, counters: Arc<Counters>) -> Self {
        Self {
            endpoint,
            framing,
            shape,
            ring,
            counters,
            done: VecDeque::with_capacity(shape.queue + ring),
            spare: Vec::with_capacity(shape.queue + ring),
            packet: 0,
            frame: Frame::default(),
            carry: Vec::new(),
            carry_written: 0,
            gap: 0,
            seq: 0,
            failure: None,
        }
    }

    /// Pumps until an end stops or `stop` resolves. What then waits is thrown away: it would be late.
    pub async fn run(
        &mut self,
        pipe: &mut dyn Pipe,
        sink: &mut dyn Sink,
        mut stop: Pin<&mut (dyn Future<Output = ()> + Send)>,
    ) -> Verdict {
        self.failure = None;
        self.carry.reserve(self.shape.packet_size + FRAME_ROOM);
        while self.spare.len() < self.shape.queue + self.ring {
            self.spare.push(Transfer::isochronous(self.shape.packets, self.shape.packet_size));
        }
        let verdict = poll_fn(|cx| self.poll(cx, pipe, sink, stop.as_mut())).await;
        drain(pipe, |transfer| self.spare.push(transfer)).await;
        if !matches!(verdict, Verdict::Device(_)) {
            self.reset();
        }
        self.spare.clear();
        verdict
    }

    /// Writes what waits, without a device, until nothing waits or no program reads.
    pub async fn deliver(&mut self, sink: &mut dyn Sink) -> Verdict {
        let verdict = poll_fn(|cx| match self.poll_deliver(cx, sink) {
            Poll::Ready(Err(verdict)) => Poll::Ready(verdict),
            Poll::Ready(Ok(())) => Poll::Ready(Verdict::Stopped),
            Poll::Pending => sink.poll_closed(cx).map(|()| Verdict::Closed),
        })
        .await;
        self.reset();
        verdict
    }

    /// Whether data waits for a reader.
    pub fn has_pending(&self) -> bool {
        !self.done.is_empty() || !self.carry.is_empty()
    }

    /// Throws away what waits, and says how many bytes that were.
    pub fn discard(&mut self) -> usize {
        let n = self.done.iter().map(|t| t.actual).sum();
        self.reset();
        n
    }

    fn reset(&mut self) {
        self.done.clear();
        self.spare.clear();
        self.packet = 0;
        self.frame.finish();
        self.carry.clear();
        self.carry_written = 0;
        self.gap = 0;
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
            if let Poll::Ready(Err(verdict)) = self.poll_deliver(cx, sink) {
                return Poll::Ready(verdict);
            }
            if let Some(error) = self.failure {
                return Poll::Ready(Verdict::Device(error));
            }
            let missing = self.shape.queue.saturating_sub(pipe.in_flight());
            if missing == 0 {
                break;
            }
            for _ in 0..missing {
                if self.spare.is_empty() {
                    self.give_up_oldest();
                }
                let Some(mut transfer) = self.spare.pop() else { break };
                self.prepare(&mut transfer);
                pipe.submit(transfer);
            }
        }
        if sink.poll_closed(cx).is_ready() {
            return Poll::Ready(Verdict::Closed);
        }
        stop.poll(cx).map(|()| Verdict::Stopped)
    }

    fn prepare(&self, transfer: &mut Transfer) {
        transfer.length = self.shape.packet_size * self.shape.packets;
        for (n, p) in transfer.packets.iter_mut().enumerate() {
            *p = IsoPacket {
                offset: n * self.shape.packet_size,
                length: self.shape.packet_size,
                actual: 0,
                status: Ok(()),
            };
        }
    }

    fn take(&mut self, transfer: Transfer) {
        match transfer.status {
            Ok(()) => {
                let good = transfer.packets.iter().filter(|p| p.status.is_ok()).count();
                add(&self.counters.transfers, 1);
                add(&self.counters.packets, good);
                add(&self.counters.bytes, transfer.actual);
                self.done.push_back(transfer);
            }
            Err(error) => {
                if error != TransferError::Cancelled {
                    self.failure = self.failure.or(Some(error));
                }
                self.spare.push(transfer);
            }
        }
    }

    /// Drops the packets of the oldest completed transfer. One that is partly written is finished from `carry`.
    fn give_up_oldest(&mut self) {
        let Some(transfer) = self.done.pop_front() else { return };
        if self.frame.is_split()
            && let Some(data) = packet_data(&transfer, self.packet)
        {
            for slice in self.frame.slices(data) {
                self.carry.extend_from_slice(&slice);
            }
            self.packet += 1;
            self.seq += 1;
            // A JSON line has told it; elsewhere its marks were written before the packet.
            self.gap = 0;
        }
        self.frame.finish();
        let lost = transfer.packets[self.packet..].iter().filter(|p| p.actual > 0 || p.status.is_err()).count();
        add(&self.counters.lost_packets, lost);
        add(&self.counters.lost_bytes, transfer.packets[self.packet..].iter().map(|p| p.actual).sum());
        self.gap += lost as u64;
        if lost > 0 {
            self.counters.loss.notify_one();
        }
        self.packet = 0;
        self.spare.push(transfer);
    }

    /// Ready with `Ok` when nothing waits, with a verdict when the sink has failed.
    fn poll_deliver(&mut self, cx: &mut Context<'_>, sink: &mut dyn Sink) -> Poll<Result<(), Verdict>> {
        loop {
            if self.carry_written < self.carry.len() {
                let rest = io::IoSlice::new(&self.carry[self.carry_written..]);
                match self.write(cx, sink, &[rest]) {
                    Poll::Ready(Ok(n)) => self.carry_written += n,
                    other => return other.map_ok(|_| ()),
                }
                continue;
            }
            self.carry.clear();
            self.carry_written = 0;
            if self.gap > 0 && self.framing != Framing::Jsonl {
                let marks = self.gap.min(MARKS_AT_ONCE);
                push_gap(self.framing, marks, &mut self.carry);
                self.gap -= marks;
                continue;
            }
            let Some(transfer) = self.done.front() else { return Poll::Ready(Ok(())) };
            let Some(packet) = transfer.packets.get(self.packet) else {
                self.packet = 0;
                self.spare.extend(self.done.pop_front());
                continue;
            };
            if packet.status.is_err() && !self.frame.is_split() {
                add(&self.counters.lost_packets, 1);
                self.gap += 1;
                self.packet += 1;
                continue;
            }
            let end =
                if self.framing == Framing::Stream { run_end(&transfer.packets, self.packet) } else { self.packet + 1 };
            let last = transfer.packets[end - 1];
            let data = &transfer.buffer[packet.offset..last.offset + last.actual];
            let meta = Meta { endpoint: self.endpoint, seq: self.seq, status: packet.status, lost: self.gap };
            self.frame.begin(self.framing, data, &meta);
            let slices = self.frame.slices(data);
            if slices.iter().all(|s| s.is_empty()) {
                self.frame.finish();
                self.seq += (end - self.packet) as u64;
                self.packet = end;
                self.gap = 0;
                continue;
            }
            let written = match sink.poll_write(cx, &slices) {
                Poll::Ready(Ok(n)) => n,
                Poll::Ready(Err(e)) => return Poll::Ready(Err(verdict(e))),
                Poll::Pending => return Poll::Pending,
            };
            self.frame.advance(written);
            if self.framing == Framing::Stream {
                self.step_over_written_packets();
            }
        }
    }

    /// In a stream several packets are written at once; this moves on to the one that is split, if any is.
    fn step_over_written_packets(&mut self) {
        let Some(transfer) = self.done.front() else { return };
        let mut written = self.frame.written();
        while let Some(p) = transfer.packets.get(self.packet).filter(|p| p.actual <= written && p.status.is_ok()) {
            written -= p.actual;
            self.packet += 1;
            self.seq += 1;
            if written == 0 {
                break;
            }
        }
        self.frame.finish();
        if written > 0
            && let Some(data) = packet_data(transfer, self.packet)
        {
            let meta = Meta { endpoint: self.endpoint, seq: self.seq, status: Ok(()), lost: 0 };
            self.frame.begin(Framing::Stream, data, &meta);
            self.frame.advance(written);
        }
    }

    fn write(
        &self,
        cx: &mut Context<'_>,
        sink: &mut dyn Sink,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<Result<usize, Verdict>> {
        sink.poll_write(cx, slices).map_err(verdict)
    }
}

fn verdict(error: io::Error) -> Verdict {
    if error.kind() == io::ErrorKind::BrokenPipe { Verdict::Closed } else { Verdict::Outlet(error) }
}

fn packet_data(transfer: &Transfer, packet: usize) -> Option<&[u8]> {
    transfer.packets.get(packet).map(|p| &transfer.buffer[p.offset..p.offset + p.actual])
}

/// The end of the run of good packets from `start` whose bytes lie next to each other.
fn run_end(packets: &[IsoPacket], start: usize) -> usize {
    let mut end = start + 1;
    while end < packets.len() {
        let before = packets[end - 1];
        let next = packets[end];
        if next.status.is_err() || next.offset != before.offset + before.actual {
            break;
        }
        end += 1;
    }
    end
}

const MARKS_AT_ONCE: u64 = 64;
/// Room for what a framing puts around a packet, in the binary framings; text framings may allocate once more.
const FRAME_ROOM: usize = 256;

#[cfg(test)]
mod tests {
    use super::super::fakes::{FakePipe, FakeSink, forever};
    use super::*;

    /// Transfers of two packets of 4 bytes; two in flight, a ring of two.
    fn pump(framing: Framing) -> IsoIn {
        IsoIn::new(0x83, framing, IsoShape { packet_size: 4, packets: 2, queue: 2 }, 2, Arc::default())
    }

    #[tokio::test]
    async fn packets_arrive_in_order_in_a_stream() {
        let mut pipe = FakePipe::sending((0..10).map(|n| vec![n; 8]));
        let mut sink = FakeSink::default();
        pump(Framing::Stream).run(&mut pipe, &mut sink, forever().as_mut()).await;
        assert_eq!(sink.bytes, (0..10).flat_map(|n| [n; 8]).collect::<Vec<u8>>());
    }

    #[tokio::test]
    async fn a_slow_reader_loses_whole_packets_and_the_count_equals_the_gap() {
        for room in 0..20 {
            let mut pipe = FakePipe::sending((0..20).map(|n| vec![n; 8]));
            let mut sink = FakeSink { room: Some(room), ..FakeSink::default() };
            let mut pump = pump(Framing::Stream);
            pump.run(&mut pipe, &mut sink, forever().as_mut()).await;
            sink.room = None;
            pump.deliver(&mut sink).await;
            assert_eq!(sink.bytes.len() % 4, 0, "whole packets, with room for {room} bytes at first");
            assert!(sink.bytes.chunks(4).all(|p| p.iter().all(|b| *b == p[0])));
            let lost = pump.counters.snapshot().lost_packets as usize;
            assert_eq!(sink.bytes.len() / 4 + lost, 40);
            assert!(lost > 0);
        }
    }

    #[tokio::test]
    async fn in_the_length_framing_a_lost_packet_is_an_empty_record() {
        let mut pipe = FakePipe::sending((1..=20).map(|n| vec![n; 8]));
        let mut sink = FakeSink { room: Some(9), ..FakeSink::default() };
        let mut pump = pump(Framing::Length);
        pump.run(&mut pipe, &mut sink, forever().as_mut()).await;
        sink.room = None;
        pump.deliver(&mut sink).await;
        let mut records = 0;
        let mut rest = &sink.bytes[..];
        while !rest.is_empty() {
            let length = u32::from_le_bytes(rest[..4].try_into().unwrap()) as usize;
            rest = &rest[4 + length..];
            records += 1;
        }
        assert_eq!(records, 40);
    }

    #[tokio::test]
    async fn in_json_lines_numbers_run_on_and_losses_are_told_once() {
        for room in 0..400 {
            let mut pipe = FakePipe::sending((1..=20).map(|n| vec![n; 8]));
            let mut sink = FakeSink { room: Some(room), ..FakeSink::default() };
            let mut pump = pump(Framing::Jsonl);
            pump.run(&mut pipe, &mut sink, forever().as_mut()).await;
            sink.room = None;
            pump.deliver(&mut sink).await;
            let mut passed = 0;
            for (n, line) in sink.bytes.split(|b| *b == b'\n').filter(|line| !line.is_empty()).enumerate() {
                let record: serde_json::Value = serde_json::from_slice(line).unwrap();
                assert_eq!(record["seq"], n, "with room for {room} bytes at first");
                passed += 1 + record["lost"].as_u64().unwrap();
            }
            assert_eq!(passed, 40, "with room for {room} bytes at first");
        }
    }
}
