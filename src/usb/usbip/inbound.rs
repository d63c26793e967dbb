//! Hot path. The peer's replies: bytes in, ended transfers out.
//!
//! Payload is read straight into the transfer that waits for it; only what arrives in the same read as a header
//! passes through the small read-ahead buffer. Every length and count is checked against the transfer before a
//! byte is stored. It refuses to read: it offers room and is told how much of it was filled.
//!
//! ```text
//!            ┌───────────────────────────────────────────────┐
//!   header ──┤ IN data ──► payload ──► packet descriptors ───┴──► header
//!            ├ of a transfer that was given up, and no data ──► skip ──► header
//!            └ otherwise ────────────────────────────────────────► header
//! ```
//!
//! USB/IP promises that no reply follows an unlink that was answered with -ECONNRESET, and that the reply was sent before
//! one that was answered with 0. Not every server keeps that: data that comes later is delivered all the same.

use std::io::{self, IoSliceMut};

use usbip_wire::{HEADER_LEN, Header, ISO_PACKET_LEN, RetSubmit, status};

use super::in_flight::InFlight;
use super::table::{Entry, Late, Table};
use crate::usb::{Transfer, TransferError};

/// Reads the stream of replies on one link.
pub(super) struct Inbound {
    ahead: Box<[u8; AHEAD]>,
    start: usize,
    end: usize,
    state: State,
    /// Isochronous packet descriptors as they arrive.
    packets: Vec<u8>,
}

enum State {
    Header,
    /// `got` of `total` bytes are in the transfer's buffer.
    Payload {
        seqnum: u32,
        got: usize,
        total: usize,
    },
    /// `total` bytes of packet descriptors are due.
    Packets {
        seqnum: u32,
        total: usize,
    },
    /// So many bytes are of no use to anybody.
    Skip(usize),
}

impl Inbound {
    pub(super) fn new() -> Self {
        Self { ahead: Box::new([0; AHEAD]), start: 0, end: 0, state: State::Header, packets: Vec::new() }
    }

    /// Lets `read` fill what is wanted next and takes note of how much that was. Call [`Inbound::process`] after it.
    pub(super) fn fill(
        &mut self,
        table: &mut Table,
        read: impl FnOnce(&mut [IoSliceMut<'_>]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        self.ahead.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        let room = &mut self.ahead[self.end..];
        let payload: &mut [u8] = match self.state {
            State::Payload { seqnum, got, total } => match table.get_mut(seqnum) {
                Some(entry) => &mut entry.flight.transfer.buffer[got..total],
                None => &mut [],
            },
            _ => &mut [],
        };
        let wanted = payload.len();
        let n = read(&mut [IoSliceMut::new(payload), IoSliceMut::new(room)])?;
        if let State::Payload { got, .. } = &mut self.state {
            *got += n.min(wanted);
        }
        self.end += n.saturating_sub(wanted);
        Ok(n)
    }

    /// Takes all messages that are complete and hands each ended transfer to `done`.
    ///
    /// # Errors
    /// What the peer did against the protocol, in words. The link is of no use after that.
    pub(super) fn process(&mut self, table: &mut Table, mut done: impl FnMut(Entry)) -> Result<(), String> {
        loop {
            match self.state {
                State::Header => {
                    let Some(bytes) = self.take::<HEADER_LEN>() else { return Ok(()) };
                    match Header::decode(&bytes).map_err(|e| e.to_string())? {
                        Header::RetSubmit(reply) => self.begin(&reply, table, &mut done)?,
                        Header::RetUnlink { seqnum, status } => end_unlink(seqnum, status, table, &mut done)?,
                        Header::Submit(_) | Header::Unlink { .. } => {
                            return Err("a request came from the server".into());
                        }
                    }
                }
                State::Payload { seqnum, ref mut got, total } => {
                    let entry = table.get_mut(seqnum).ok_or("lost track of a transfer")?;
                    let n = (total - *got).min(self.end - self.start);
                    entry.flight.transfer.buffer[*got..*got + n]
                        .copy_from_slice(&self.ahead[self.start..self.start + n]);
                    self.start += n;
                    *got += n;
                    if *got < total {
                        return Ok(());
                    }
                    self.after_payload(seqnum, table, &mut done);
                }
                State::Packets { seqnum, total } => {
                    let n = (total - self.packets.len()).min(self.end - self.start);
                    self.packets.extend_from_slice(&self.ahead[self.start..self.start + n]);
                    self.start += n;
                    if self.packets.len() < total {
                        return Ok(());
                    }
                    let entry = table.get_mut(seqnum).ok_or("lost track of a transfer")?;
                    store_packets(&self.packets, entry.is_in, &mut entry.flight.transfer)?;
                    self.state = State::Header;
                    table.remove(seqnum).into_iter().for_each(&mut done);
                }
                State::Skip(ref mut left) => {
                    let n = (*left).min(self.end - self.start);
                    self.start += n;
                    *left -= n;
                    if *left > 0 {
                        return Ok(());
                    }
                    self.state = State::Header;
                }
            }
        }
    }

    /// The transfer whose reply has begun to arrive, and how much of the reply is there.
    pub(super) fn arriving(&self) -> Option<(u32, usize)> {
        match self.state {
            State::Payload { seqnum, got, .. } => Some((seqnum, got)),
            State::Packets { seqnum, .. } => Some((seqnum, self.packets.len())),
            State::Header | State::Skip(_) => None,
        }
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let bytes = self.ahead[self.start..self.end].first_chunk::<N>().copied()?;
        self.start += N;
        Some(bytes)
    }

    /// Checks a reply against its transfer and says what follows it on the wire.
    fn begin(&mut self, reply: &RetSubmit, table: &mut Table, done: &mut impl FnMut(Entry)) -> Result<(), String> {
        let seqnum = reply.seqnum;
        let Some(entry) = table.get_mut(seqnum).filter(|e| e.sent) else { return self.begin_late(reply, table, done) };
        let transfer = &mut entry.flight.transfer;
        let actual = checked(reply, transfer.length, transfer.packets.len())?;
        transfer.actual = actual;
        transfer.status = match result_of(reply.status) {
            // Nobody here has cancelled it, so that it failed.
            Err(TransferError::Cancelled) if !entry.unlinking => {
                Err(TransferError::Io(reply.status.unsigned_abs() as i32))
            }
            result => result,
        };
        let payload = if entry.is_in { actual } else { 0 };
        table.replied(seqnum);
        self.state = State::Payload { seqnum, got: 0, total: payload };
        if payload == 0 {
            self.after_payload(seqnum, table, done);
        }
        Ok(())
    }

    /// The reply to a transfer that was given up: its data is delivered, everything else is of no use any more.
    fn begin_late(&mut self, reply: &RetSubmit, table: &mut Table, done: &mut impl FnMut(Entry)) -> Result<(), String> {
        let seqnum = reply.seqnum;
        let Some(late) = table.take_late(seqnum) else {
            return Err(format!("a reply came to request {seqnum}, which was never made"));
        };
        let Late { pipe, ordinal, is_in, length, packets } = late;
        let actual = checked(reply, length, packets)?;
        if !is_in || packets > 0 || actual == 0 {
            let payload = if is_in { actual } else { 0 };
            self.state = State::Skip(payload + packets * ISO_PACKET_LEN);
            return Ok(());
        }
        let flight = InFlight::returned(Transfer::new(length), ordinal);
        let is_control = false;
        table.insert(seqnum, Entry { flight, pipe, is_in, is_control, sent: true, unlinking: true, late: true });
        self.begin(reply, table, done)
    }

    fn after_payload(&mut self, seqnum: u32, table: &mut Table, done: &mut impl FnMut(Entry)) {
        let packets = table.get(seqnum).map_or(0, |e| e.flight.transfer.packets.len());
        if packets > 0 {
            self.packets.clear();
            self.state = State::Packets { seqnum, total: packets * ISO_PACKET_LEN };
            return;
        }
        self.state = State::Header;
        if let Some(entry) = table.remove(seqnum) {
            done(entry);
        }
    }
}

/// Checks what a reply says of its length against what was asked for, and returns the number of bytes.
fn checked(reply: &RetSubmit, length: usize, packets: usize) -> Result<usize, String> {
    let actual = reply.actual_length as usize;
    if actual > length {
        return Err(format!("a reply claims {actual} bytes where {length} were asked for"));
    }
    let replied = reply.packets.unwrap_or(0) as usize;
    if replied != packets {
        return Err(format!("a reply has {replied} packets where {packets} were asked for"));
    }
    Ok(actual)
}

/// One that had been replied to before is no longer in the table.
fn end_unlink(seqnum: u32, code: i32, table: &mut Table, done: &mut impl FnMut(Entry)) -> Result<(), String> {
    let victim = table
        .take_unlink(seqnum)
        .ok_or_else(|| format!("an answer came to cancellation {seqnum}, which was never asked for"))?;
    if code == status::OK && table.expect_reply(victim) {
        return Ok(());
    }
    if let Some(entry) = table.give_up(victim) {
        done(entry);
    }
    Ok(())
}

/// Isochronous data travels without gaps, so offsets are sums of what came before.
fn store_packets(raw: &[u8], is_in: bool, transfer: &mut Transfer) -> Result<(), String> {
    let mut offset = 0;
    for (bytes, packet) in raw.as_chunks::<ISO_PACKET_LEN>().0.iter().zip(&mut transfer.packets) {
        let wire = usbip_wire::IsoPacket::decode(bytes);
        let actual = wire.actual_length as usize;
        if actual > packet.length {
            return Err(format!("a packet claims {actual} bytes where {} were asked for", packet.length));
        }
        packet.actual = actual;
        packet.status = result_of(wire.status);
        if is_in {
            packet.offset = offset;
            offset += actual;
        }
    }
    if is_in && offset != transfer.actual {
        return Err(format!("packets of {offset} bytes in all, in a reply of {} bytes", transfer.actual));
    }
    Ok(())
}

/// URB statuses as the kinds of this crate. `-EREMOTEIO` and `-EXDEV` come with data that counts.
fn result_of(code: i32) -> Result<(), TransferError> {
    match code {
        status::OK | status::EREMOTEIO | status::EXDEV => Ok(()),
        status::EPIPE => Err(TransferError::Stall),
        status::ENOENT | status::ECONNRESET => Err(TransferError::Cancelled),
        status::ENODEV | status::ESHUTDOWN => Err(TransferError::Disconnected),
        status::EOVERFLOW => Err(TransferError::Overflow),
        status::ETIMEDOUT => Err(TransferError::Timeout),
        status::EINVAL => Err(TransferError::Invalid),
        other => Err(TransferError::Io(other.unsigned_abs().min(4095) as i32)),
    }
}

/// Room for a few headers with small payloads; the larger it is, the more of a large payload is copied twice.
const AHEAD: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn submitted(table: &mut Table, seqnum: u32, transfer: Transfer) {
        let flight = InFlight::returned(transfer, 0);
        let (is_in, is_control) = (true, false);
        table.insert(seqnum, Entry { flight, pipe: 1, is_in, is_control, sent: true, unlinking: false, late: false });
    }

    fn reply(seqnum: u32, actual: u32, packets: Option<u32>) -> Vec<u8> {
        let ret = RetSubmit { seqnum, status: 0, actual_length: actual, start_frame: 0, packets, error_count: 0 };
        Header::RetSubmit(ret).encode().to_vec()
    }

    /// Feeds `bytes` in pieces of at most `chunk`.
    fn feed(table: &mut Table, mut bytes: &[u8], chunk: usize) -> Result<Vec<Entry>, String> {
        let mut inbound = Inbound::new();
        let mut ended = Vec::new();
        while !bytes.is_empty() {
            inbound
                .fill(table, |slices| {
                    let mut n = 0;
                    for slice in slices {
                        let take = slice.len().min(chunk - n).min(bytes.len());
                        slice[..take].copy_from_slice(&bytes[..take]);
                        bytes = &bytes[take..];
                        n += take;
                    }
                    Ok(n)
                })
                .unwrap();
            inbound.process(table, |e| ended.push(e))?;
        }
        Ok(ended)
    }

    #[test]
    fn replies_cut_at_any_byte_arrive_whole_and_in_order() {
        let payloads: Vec<Vec<u8>> = [0usize, 3, 64, 1500, 5000].iter().map(|&n| vec![n as u8; n]).collect();
        for chunk in [1, 7, 47, 48, 49, 100, 1023, 1024, 1025, 4096, 100_000] {
            let mut table = Table::default();
            let mut wire = Vec::new();
            for (n, payload) in payloads.iter().enumerate() {
                submitted(&mut table, n as u32 + 1, Transfer::new(8192));
                wire.extend(reply(n as u32 + 1, payload.len() as u32, None));
                wire.extend(payload);
            }
            let ended = feed(&mut table, &wire, chunk).unwrap();
            let got: Vec<&[u8]> = ended.iter().map(|e| e.flight.transfer.received()).collect();
            assert_eq!(got, payloads, "in pieces of {chunk}");
        }
    }

    #[test]
    fn isochronous_data_without_gaps_is_given_its_offsets() {
        let mut table = Table::default();
        submitted(&mut table, 1, Transfer::isochronous(3, 100));
        let mut wire = reply(1, 130, Some(3));
        wire.extend([9; 130]);
        for actual in [100, 0, 30] {
            wire.extend(usbip_wire::IsoPacket { offset: 0, length: 100, actual_length: actual, status: 0 }.encode());
        }
        let ended = feed(&mut table, &wire, 64).unwrap();
        let offsets: Vec<_> = ended[0].flight.transfer.packets.iter().map(|p| (p.offset, p.actual)).collect();
        assert_eq!(offsets, [(0, 100), (100, 0), (100, 30)]);
    }

    #[test]
    fn a_packet_that_lies_ends_the_link_and_its_transfer_comes_back() {
        let (completions, mut ended) = tokio::sync::mpsc::unbounded_channel();
        let mut table = Table::default();
        submitted(&mut table, 1, Transfer::isochronous(2, 100));
        if let Some(entry) = table.get_mut(1) {
            entry.flight = InFlight::new(Transfer::isochronous(2, 100), 5, completions);
        }
        let mut wire = reply(1, 101, Some(2));
        wire.extend([9; 101]);
        for actual in [101, 0] {
            wire.extend(usbip_wire::IsoPacket { offset: 0, length: 100, actual_length: actual, status: 0 }.encode());
        }
        assert!(feed(&mut table, &wire, 64).err().unwrap().contains("claims 101"));
        drop(table);
        let (ordinal, transfer) = ended.try_recv().unwrap();
        assert_eq!((ordinal, transfer.status), (5, Err(TransferError::Disconnected)));
    }

    #[test]
    fn what_a_server_calls_cancelled_and_nobody_has_cancelled_is_a_failure() {
        let mut table = Table::default();
        submitted(&mut table, 1, Transfer::new(64));
        let mut wire = reply(1, 0, None);
        wire[20..24].copy_from_slice(&status::ECONNRESET.to_be_bytes());
        let ended = feed(&mut table, &wire, 64).unwrap();
        assert_eq!(ended[0].flight.transfer.status, Err(TransferError::Io(104)));
    }

    #[test]
    fn lies_of_the_peer_are_named() {
        let cases: [(Vec<u8>, &str); 4] = [
            (reply(1, 0x7fff_ffff, None), "claims"),
            (reply(9, 0, None), "never made"),
            (reply(1, 0, Some(4)), "packets"),
            (Header::RetUnlink { seqnum: 5, status: 0 }.encode().to_vec(), "never asked"),
        ];
        for (wire, expected) in cases {
            let mut table = Table::default();
            submitted(&mut table, 1, Transfer::new(64));
            let error = feed(&mut table, &wire, 1000).err().unwrap();
            assert!(error.contains(expected), "{error}");
        }
    }

    /// Cancels the only transfer in flight and returns the wire form of the answer.
    fn cancelled(table: &mut Table, status: i32) -> Vec<u8> {
        let victims = table.victims(|_| true);
        assert_eq!(victims.len(), 1);
        table.unlink(victims[0]);
        let (seqnum, _) = table.next_unlink().unwrap();
        table.unlink_sent(seqnum);
        Header::RetUnlink { seqnum, status }.encode().to_vec()
    }

    #[test]
    fn a_cancelled_transfer_ends_with_the_answer_to_its_unlink() {
        let mut table = Table::default();
        submitted(&mut table, 1, Transfer::new(64));
        let last = (0..10).map(|_| table.next_seqnum()).last();
        assert_eq!(last, Some(11));
        let answer = cancelled(&mut table, status::ECONNRESET);
        let ended = feed(&mut table, &answer, 1000).unwrap();
        assert_eq!(ended[0].flight.transfer.status, Err(TransferError::Cancelled));
        assert_eq!(table.unlink_wait(), None);
    }

    #[test]
    fn after_an_unlink_that_came_too_late_the_reply_ends_the_transfer_with_its_data() {
        let mut table = Table::default();
        submitted(&mut table, 1, Transfer::new(64));
        let _ = table.next_seqnum();
        let answer = cancelled(&mut table, status::OK);
        let ended = feed(&mut table, &answer, 1000).unwrap();
        assert!(ended.is_empty() && table.expects_reply());
        let ended = feed(&mut table, &[&reply(1, 3, None)[..], b"abc"].concat(), 1000).unwrap();
        assert_eq!((ended[0].flight.transfer.received(), ended[0].late), (&b"abc"[..], false));
        assert!(table.is_empty() && !table.expects_reply());
    }

    #[test]
    fn a_reply_that_never_came_is_not_waited_for_again_on_this_link() {
        let mut table = Table::default();
        for (seqnum, waits) in [(100, true), (101, false)] {
            submitted(&mut table, seqnum, Transfer::new(64));
            let answer = cancelled(&mut table, status::OK);
            let ended = feed(&mut table, &answer, 1000).unwrap();
            assert_eq!(ended.is_empty(), waits);
            let given_up: Vec<Entry> = table.give_up_expected(|_| false).collect();
            assert_eq!(given_up.len(), usize::from(waits));
        }
    }

    #[test]
    fn data_that_comes_after_its_transfer_was_given_up_is_delivered_and_nothing_else_ends_the_link() {
        let of_payload = |payload: &[u8]| [&reply(1, payload.len() as u32, None)[..], payload].concat();
        for chunk in [1, 48, 50, 5000] {
            for (payload, delivered) in [(&b"late"[..], 1), (b"", 0), (&[9; 3000], 1)] {
                let mut table = Table::default();
                submitted(&mut table, 1, Transfer::new(4096));
                let _ = table.next_seqnum();
                let answer = cancelled(&mut table, status::ECONNRESET);
                feed(&mut table, &answer, 1000).unwrap();
                submitted(&mut table, 3, Transfer::new(64));
                let wire = [&of_payload(payload)[..], &reply(3, 2, None), b"ok"].concat();
                let ended = feed(&mut table, &wire, chunk).unwrap();
                let (last, late) = ended.split_last().unwrap();
                assert_eq!(last.flight.transfer.received(), b"ok");
                assert_eq!(late.len(), delivered);
                assert!(late.iter().all(|e| e.late && e.flight.transfer.received() == payload), "in pieces of {chunk}");
                let error = feed(&mut table, &of_payload(payload), chunk).err().unwrap();
                assert!(error.contains("never made"), "a second reply: {error}");
            }
        }
    }

    #[test]
    fn a_late_isochronous_reply_is_passed_over_and_a_late_lie_is_named() {
        let mut table = Table::default();
        submitted(&mut table, 1, Transfer::isochronous(3, 100));
        let _ = table.next_seqnum();
        let answer = cancelled(&mut table, status::ECONNRESET);
        feed(&mut table, &answer, 1000).unwrap();
        submitted(&mut table, 3, Transfer::new(64));
        let late = [reply(1, 150, Some(3)), vec![7; 150 + 3 * ISO_PACKET_LEN]].concat();
        let ended = feed(&mut table, &[&late[..], &reply(3, 2, None), b"ok"].concat(), 100).unwrap();
        assert_eq!((ended.len(), ended[0].flight.transfer.received()), (1, &b"ok"[..]));

        submitted(&mut table, 5, Transfer::new(64));
        let answer = cancelled(&mut table, status::ECONNRESET);
        feed(&mut table, &answer, 1000).unwrap();
        assert!(feed(&mut table, &reply(5, 65, None), 1000).err().unwrap().contains("claims 65"));
    }

    proptest! {
        #[test]
        fn no_stream_of_bytes_makes_it_panic_or_grow(
            headers in prop::collection::vec((0u32..5, 0u32..6, any::<i32>(), 0u32..200, 0u32..5), 1..12),
            noise in prop::collection::vec(any::<u8>(), 0..300),
            chunk in 1usize..300,
        ) {
            let mut table = Table::default();
            for n in 1..4 {
                submitted(&mut table, n, Transfer::new(100));
            }
            submitted(&mut table, 4, Transfer::isochronous(4, 25));
            for given_up in [3, 4] {
                table.give_up(given_up);
            }
            submitted(&mut table, 5, Transfer::isochronous(4, 25));
            let mut wire = Vec::new();
            for (code, seqnum, status, actual, packets) in headers {
                let mut bytes = [0u8; HEADER_LEN];
                for (at, value) in [(0, code), (4, seqnum), (20, status as u32), (24, actual), (32, packets)] {
                    bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
                }
                wire.extend(bytes);
                wire.extend(&noise);
            }
            let _ = feed(&mut table, &wire, chunk);
        }
    }
}
