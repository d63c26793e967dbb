//! Hot path. Isochronous IN: real time, so when a reader is slow the oldest whole packets go.
//!
//! `queue` transfers are in flight at all times. Completed ones wait in a ring; when the ring is full the oldest of
//! them goes back into flight, and each reader that has not passed it loses the rest of its packets, each counted.

use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::counters::add;
use super::frame::{Framing, Meta, push_gap};
use super::in_pump::{self, InPump, Stock};
use super::place::{Place, Style};
use super::ring::Ring;
use super::{Account, Counters, Readers, Verdict};
use crate::outlet::{Sink, StandingSink};
use crate::usb::{IsoPacket, Pipe, Transfer, TransferError, drain};

/// The pump of one isochronous IN endpoint.
pub struct IsoIn {
    stock: Stock,
    shape: IsoShape,
    /// Transfers that may wait for readers.
    waiting: usize,
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
    /// A pump with `waiting` transfers of memory for slow readers.
    pub fn new<F: StandingSink>(
        endpoint: u8,
        framing: Framing,
        shape: IsoShape,
        waiting: usize,
        readers: &mut Readers<F>,
        counters: Arc<Counters>,
    ) -> Self {
        readers.restart();
        readers.forget_what_is_left();
        let stock = Stock::new(Style { endpoint, framing }, Place::write_packets, shape.queue + waiting, counters);
        Self { stock, shape, waiting }
    }

    /// Pumps until an end stops or `stop` resolves. What then waits is thrown away: it would be late.
    pub async fn run<F: StandingSink>(
        &mut self,
        pipe: &mut dyn Pipe,
        readers: &mut Readers<F>,
        mut stop: Pin<&mut (dyn Future<Output = ()> + Send)>,
    ) -> Verdict {
        self.begin(readers);
        let verdict = poll_fn(|cx| self.poll(cx, pipe, readers, stop.as_mut())).await;
        self.end(pipe, readers, &verdict).await;
        verdict
    }

    /// Reads what nobody wants, and throws it away until somebody comes.
    pub async fn drain<F: StandingSink>(
        &mut self,
        pipe: &mut dyn Pipe,
        readers: &mut Readers<F>,
        mut stop: Pin<&mut (dyn Future<Output = ()> + Send)>,
    ) -> Verdict {
        self.begin(readers);
        let verdict = poll_fn(|cx| in_pump::poll_drain(self, cx, pipe, readers, stop.as_mut())).await;
        self.end(pipe, readers, &verdict).await;
        verdict
    }

    fn begin<F: StandingSink>(&mut self, readers: &mut Readers<F>) {
        self.stock.failure = None;
        readers.start(&mut self.stock.ring, 0);
        while self.stock.spare.len() + self.stock.ring.len() < self.shape.queue + self.waiting {
            self.stock.spare.push(Transfer::isochronous(self.shape.packets, self.shape.packet_size));
        }
    }

    async fn end<F: StandingSink>(&mut self, pipe: &mut dyn Pipe, readers: &mut Readers<F>, verdict: &Verdict) {
        drain(pipe, |transfer| self.stock.spare.push(transfer)).await;
        if !matches!(verdict, Verdict::Device(_)) {
            readers.discard(&mut self.stock.ring);
        }
        self.stock.spare.clear();
        readers.settle(&mut self.stock.ring);
    }

    /// Without a device: gives everybody who is there what had arrived, and ends the connection of each client that has
    /// it. One that takes longer than `patience` loses the rest, unless it is alone.
    pub async fn finish<F: StandingSink>(&mut self, readers: &mut Readers<F>) {
        in_pump::finish(self, readers).await;
        readers.discard(&mut self.stock.ring);
    }

    fn poll<F: StandingSink>(
        &mut self,
        cx: &mut Context<'_>,
        pipe: &mut dyn Pipe,
        readers: &mut Readers<F>,
        stop: Pin<&mut (dyn Future<Output = ()> + Send)>,
    ) -> Poll<Verdict> {
        loop {
            let is_more = in_pump::collect(self, cx, pipe, readers);
            if let Err(verdict) = in_pump::serve(self, cx, readers) {
                return Poll::Ready(verdict);
            }
            if readers.is_empty() {
                return Poll::Ready(Verdict::Closed);
            }
            if let Some(error) = self.stock.failure {
                return Poll::Ready(Verdict::Device(error));
            }
            while self.stock.spare.len() < self.missing(pipe) && !self.stock.ring.is_empty() {
                self.give_up_oldest(readers);
            }
            if !self.refill(pipe) && !is_more {
                break;
            }
        }
        stop.poll(cx).map(|()| Verdict::Stopped)
    }

    /// How many more transfers belong in flight.
    fn missing(&self, pipe: &dyn Pipe) -> usize {
        self.shape.queue.saturating_sub(pipe.in_flight())
    }

    /// Makes room of the oldest completed transfer.
    fn give_up_oldest<F: StandingSink>(&mut self, readers: &mut Readers<F>) {
        let (number, counters) = (self.stock.ring.first(), &self.stock.counters);
        let Some(transfer) = self.stock.ring.pop() else { return };
        readers.pass_packets(|place, account| place.lose_packets(number, &transfer, account, counters));
        self.stock.spare.push(transfer);
    }
}

impl InPump for IsoIn {
    fn stock(&mut self) -> &mut Stock {
        &mut self.stock
    }

    fn take(&mut self, transfer: Transfer) {
        match transfer.status {
            Ok(()) => {
                let failures = transfer.packets.iter().filter_map(|p| p.status.err());
                let (failed, last) = failures.fold((0, None), |(n, _), error| (n + 1, Some(error)));
                add(&self.stock.counters.transfers, 1);
                add(&self.stock.counters.packets, transfer.packets.len() - failed);
                if let Some(error) = last {
                    self.stock.counters.fail_packets(failed, error);
                }
                add(&self.stock.counters.bytes, transfer.actual);
                self.stock.ring.push(transfer);
            }
            Err(error) => {
                if error != TransferError::Cancelled {
                    self.stock.failure = self.stock.failure.or(Some(error));
                }
                self.stock.spare.push(transfer);
            }
        }
    }

    fn refill(&mut self, pipe: &mut dyn Pipe) -> bool {
        let missing = self.missing(pipe).min(self.stock.spare.len());
        for mut transfer in self.stock.spare.drain(self.stock.spare.len() - missing..) {
            transfer.length = self.shape.packet_size * self.shape.packets;
            for (n, p) in transfer.packets.iter_mut().enumerate() {
                let (offset, length) = (n * self.shape.packet_size, self.shape.packet_size);
                *p = IsoPacket { offset, length, actual: 0, status: Ok(()) };
            }
            pipe.submit(transfer);
        }
        missing > 0
    }
}

impl Place {
    /// The transfer of this number goes: its packets that this reader has not got are lost. One that is partly written
    /// is finished from `carry`.
    fn lose_packets(&mut self, number: u64, transfer: &Transfer, account: &Account, counters: &Counters) {
        if self.at > number {
            return;
        }
        self.at = number + 1;
        if self.frame.is_split()
            && let Some(data) = packet_data(transfer, self.packet)
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
        let rest = &transfer.packets[self.packet.min(transfer.packets.len())..];
        let bad = rest.iter().filter(|p| p.status.is_err()).count();
        let good = rest.iter().filter(|p| p.status.is_ok() && p.actual > 0).count();
        let bytes = rest.iter().map(|p| p.actual).sum();
        // Bad ones are no fault of the reader, and were counted for the pipe when they came.
        account.lost_packets(good, bytes);
        add(&counters.lost_packets, good);
        add(&counters.lost_bytes, bytes);
        self.gap += (good + bad) as u64;
        if good + bad > 0 {
            counters.loss.notify_one();
        }
        self.packet = 0;
    }

    /// Writes what waits until the sink is full.
    fn write_packets(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut dyn Sink,
        ring: &Ring,
        style: Style,
        account: &Account,
    ) -> io::Result<()> {
        let Style { endpoint, framing } = style.for_sink(sink);
        let messages = sink.keeps_messages();
        loop {
            if self.carry_written < self.carry.len() {
                let rest = IoSlice::new(&self.carry[self.carry_written..]);
                let Poll::Ready(written) = sink.poll_write(cx, &[rest]) else { return Ok(()) };
                let n = written?;
                account.moved(n);
                self.carry_written += n;
                continue;
            }
            self.carry.clear();
            self.carry_written = 0;
            if self.gap > 0 && messages && framing == Framing::Packet {
                let Poll::Ready(written) = sink.poll_write(cx, &[]) else { return Ok(()) };
                written?;
                self.gap -= 1;
                continue;
            }
            if self.gap > 0 && framing != Framing::Jsonl {
                let marks = self.gap.min(MARKS_AT_ONCE);
                push_gap(framing, marks, &mut self.carry);
                self.gap -= marks;
                continue;
            }
            let Some(transfer) = ring.get(self.at) else { return Ok(()) };
            let Some(packet) = transfer.packets.get(self.packet) else {
                self.packet = 0;
                self.at += 1;
                continue;
            };
            if packet.status.is_err() && !self.frame.is_split() {
                self.gap += 1;
                self.packet += 1;
                continue;
            }
            let end =
                if framing == Framing::Stream { run_end(&transfer.packets, self.packet) } else { self.packet + 1 };
            let last = transfer.packets[end - 1];
            let data = &transfer.buffer[packet.offset..last.offset + last.actual];
            let meta = Meta { endpoint, seq: self.seq, status: packet.status, lost: self.gap };
            self.frame.begin(framing, data, &meta);
            let slices = self.frame.slices(data);
            if !messages && slices.iter().all(|s| s.is_empty()) {
                self.frame.finish();
                self.seq += (end - self.packet) as u64;
                self.packet = end;
                self.gap = 0;
                continue;
            }
            let Poll::Ready(written) = sink.poll_write(cx, &slices) else { return Ok(()) };
            let n = written?;
            account.moved(n);
            self.frame.advance(n);
            if messages {
                self.frame.finish();
                self.seq += (end - self.packet) as u64;
                self.packet = end;
                self.gap = 0;
            } else if framing == Framing::Stream {
                self.step_over_written_packets(transfer, endpoint);
            }
        }
    }

    /// In a stream several packets are written at once; this moves on to the one that is split, if any is.
    fn step_over_written_packets(&mut self, transfer: &Transfer, endpoint: u8) {
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
            let meta = Meta { endpoint, seq: self.seq, status: Ok(()), lost: 0 };
            self.frame.begin(Framing::Stream, data, &meta);
            self.frame.advance(written);
        }
    }
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

#[cfg(test)]
mod tests {
    use super::super::fakes::{FakePipe, FakeSink, bytes, forever, reading};
    use super::*;

    /// Transfers of two packets of 4 bytes; two in flight, a ring of two.
    fn pump(framing: Framing, readers: &mut Readers<FakeSink>) -> IsoIn {
        IsoIn::new(0x83, framing, IsoShape { packet_size: 4, packets: 2, queue: 2 }, 2, readers, Arc::default())
    }

    /// Runs until the pipe has nothing more, with room for so many bytes, and then writes the rest.
    async fn run(pump: &mut IsoIn, pipe: &mut FakePipe, readers: &mut Readers<FakeSink>) {
        pump.run(pipe, readers, forever().as_mut()).await;
        readers.fifo.as_mut().unwrap().room = None;
        pump.finish(readers).await;
    }

    fn reading_with(room: usize) -> Readers<FakeSink> {
        reading(FakeSink { room: Some(room), ..FakeSink::default() })
    }

    #[tokio::test]
    async fn packets_arrive_in_order_in_a_stream() {
        let mut pipe = FakePipe::sending((0..10).map(|n| vec![n; 8]));
        let mut readers = reading(FakeSink::default());
        pump(Framing::Stream, &mut readers).run(&mut pipe, &mut readers, forever().as_mut()).await;
        assert_eq!(bytes(&readers), (0..10).flat_map(|n| [n; 8]).collect::<Vec<u8>>());
    }

    #[tokio::test]
    async fn a_slow_reader_loses_whole_packets_and_the_count_equals_the_gap() {
        for room in 0..20 {
            let mut pipe = FakePipe::sending((0..20).map(|n| vec![n; 8]));
            let mut readers = reading_with(room);
            let mut pump = pump(Framing::Stream, &mut readers);
            run(&mut pump, &mut pipe, &mut readers).await;
            assert_eq!(bytes(&readers).len() % 4, 0, "whole packets, with room for {room} bytes at first");
            assert!(bytes(&readers).chunks(4).all(|p| p.iter().all(|b| *b == p[0])));
            let lost = pump.stock.counters.snapshot().lost_packets as usize;
            assert_eq!(bytes(&readers).len() / 4 + lost, 40);
            assert!(lost > 0);
        }
    }

    #[tokio::test]
    async fn in_the_length_framing_a_lost_packet_is_an_empty_record() {
        let mut pipe = FakePipe::sending((1..=20).map(|n| vec![n; 8]));
        let mut readers = reading_with(9);
        let mut pump = pump(Framing::Length, &mut readers);
        run(&mut pump, &mut pipe, &mut readers).await;
        let mut records = 0;
        let mut rest = bytes(&readers);
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
            let mut readers = reading_with(room);
            let mut pump = pump(Framing::Jsonl, &mut readers);
            run(&mut pump, &mut pipe, &mut readers).await;
            let mut passed = 0;
            for (n, line) in bytes(&readers).split(|b| *b == b'\n').filter(|line| !line.is_empty()).enumerate() {
                let record: serde_json::Value = serde_json::from_slice(line).unwrap();
                assert_eq!(record["seq"], n, "with room for {room} bytes at first");
                passed += 1 + record["lost"].as_u64().unwrap();
            }
            assert_eq!(passed, 40, "with room for {room} bytes at first");
        }
    }
}
