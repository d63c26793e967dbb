//! Hot path. What waits to be written to the peer: headers, OUT data and packet descriptors.
//!
//! Data is never copied here: it is written from the transfer in the table. It refuses to look at the socket; it
//! offers slices and is told how many of their bytes went out.

use std::collections::VecDeque;
use std::io::IoSlice;

use usbip_wire::{HEADER_LEN, ISO_PACKET_LEN};

use super::table::Table;

/// Messages in the order in which they must go out.
#[derive(Default)]
pub(super) struct Outbound {
    queue: VecDeque<Message>,
    /// Bytes of the front message that are out already.
    written: usize,
    /// Emptied buffers of packet descriptors, for reuse.
    spare: Vec<Vec<u8>>,
}

struct Message {
    header: [u8; HEADER_LEN],
    /// The submit whose data follows the header.
    data: Option<(u32, usize)>,
    /// Isochronous packet descriptors.
    packets: Vec<u8>,
    /// What can be answered once all of this message is out.
    what: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Submit(u32),
    Unlink(u32),
}

impl Message {
    fn len(&self) -> usize {
        HEADER_LEN + self.data.map_or(0, |(_, n)| n) + self.packets.len()
    }
}

impl Outbound {
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Queues the unlink `seqnum`.
    pub(super) fn push_unlink(&mut self, header: [u8; HEADER_LEN], seqnum: u32) {
        self.queue.push_back(Message { header, data: None, packets: Vec::new(), what: What::Unlink(seqnum) });
    }

    /// Takes back the submit `seqnum`; false when some of it is out already. Its transfer may leave the table then: until a
    /// submit is out as a whole, its data is read from there.
    pub(super) fn withdraw(&mut self, seqnum: u32) -> bool {
        let at = self.queue.iter().position(|message| message.what == What::Submit(seqnum));
        let Some(at) = at.filter(|&at| at > 0 || self.written == 0) else { return false };
        if let Some(message) = self.queue.remove(at) {
            self.recycle(message.packets);
        }
        true
    }

    fn recycle(&mut self, mut packets: Vec<u8>) {
        if packets.capacity() > 0 && self.spare.len() < MAX_SPARE {
            packets.clear();
            self.spare.push(packets);
        }
    }

    /// Queues the submit `seqnum`, which is in the table, with `data` bytes of its transfer.
    pub(super) fn push_submit(&mut self, header: [u8; HEADER_LEN], seqnum: u32, data: usize, table: &Table) {
        let mut packets = self.spare.pop().unwrap_or_default();
        if let Some(entry) = table.get(seqnum) {
            packets.reserve(entry.flight.transfer.packets.len() * ISO_PACKET_LEN);
            for p in &entry.flight.transfer.packets {
                let wire = usbip_wire::IsoPacket {
                    offset: p.offset as u32,
                    length: p.length as u32,
                    actual_length: 0,
                    status: 0,
                };
                packets.extend_from_slice(&wire.encode());
            }
        }
        let data = (data > 0).then_some((seqnum, data));
        self.queue.push_back(Message { header, data, packets, what: What::Submit(seqnum) });
    }

    /// Fills `slices` with what to write next and says how many of them are filled.
    pub(super) fn slices<'a>(&'a self, table: &'a Table, slices: &mut [IoSlice<'a>; MAX_SLICES]) -> usize {
        let mut skip = self.written;
        let mut filled = 0;
        for message in &self.queue {
            let data: &[u8] = match message.data {
                Some((seqnum, n)) => table.get(seqnum).map_or(&[], |e| &e.flight.transfer.buffer[..n]),
                None => &[],
            };
            for part in [&message.header[..], data, &message.packets[..]] {
                let rest = &part[skip.min(part.len())..];
                skip = skip.saturating_sub(part.len());
                if rest.is_empty() {
                    continue;
                }
                if filled == MAX_SLICES {
                    return filled;
                }
                slices[filled] = IoSlice::new(rest);
                filled += 1;
            }
        }
        filled
    }

    /// Takes note that `n` bytes went out.
    ///
    /// # Errors
    /// None went out although something is to be sent: going on would never end.
    pub(super) fn advance(&mut self, n: usize, table: &mut Table) -> Result<(), String> {
        if n == 0 {
            return Err("nothing of what is to be sent can be sent".to_owned());
        }
        self.written += n;
        table.sent_some();
        while let Some(len) = self.queue.front().map(Message::len) {
            if self.written < len {
                break;
            }
            self.written -= len;
            let Some(message) = self.queue.pop_front() else { break };
            match message.what {
                What::Submit(seqnum) => table.sent(seqnum),
                What::Unlink(seqnum) => table.unlink_sent(seqnum),
            }
            self.recycle(message.packets);
        }
        Ok(())
    }
}

/// Slices a write: enough for eight submits with data.
pub(super) const MAX_SLICES: usize = 16;
const MAX_SPARE: usize = 64;

#[cfg(test)]
mod tests {
    use super::super::in_flight::InFlight;
    use super::super::table::Entry;
    use super::*;
    use crate::usb::Transfer;

    fn flatten(outbound: &Outbound, table: &Table) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        let n = outbound.slices(table, &mut slices);
        slices[..n].iter().flat_map(|s| s.to_vec()).collect()
    }

    /// Submits `data` as the transfer `seqnum`.
    fn submit(outbound: &mut Outbound, table: &mut Table, seqnum: u32, data: &[u8]) {
        let mut transfer = Transfer::new(data.len());
        transfer.buffer.copy_from_slice(data);
        let flight = InFlight::returned(transfer, 0);
        let (is_in, is_control) = (false, false);
        table.insert(seqnum, Entry { flight, pipe: 0, is_in, is_control, sent: false, unlinking: false, late: false });
        outbound.push_submit([seqnum as u8; HEADER_LEN], seqnum, data.len(), table);
    }

    #[test]
    fn a_submit_cut_anywhere_goes_on_where_it_stopped_and_is_then_marked_as_sent() {
        for cut in 1..HEADER_LEN + 5 {
            let (mut table, mut outbound) = (Table::default(), Outbound::default());
            submit(&mut outbound, &mut table, 7, b"hello");
            let whole = flatten(&outbound, &table);
            outbound.advance(cut, &mut table).unwrap();
            assert!(!table.get(7).unwrap().sent);
            assert_eq!(flatten(&outbound, &table), whole[cut..]);
            outbound.advance(whole.len() - cut, &mut table).unwrap();
            assert!(table.get(7).unwrap().sent);
            assert!(outbound.is_empty());
        }
    }

    #[test]
    fn what_is_not_out_yet_can_be_withdrawn_and_leaves_no_gap() {
        let (mut table, mut outbound) = (Table::default(), Outbound::default());
        (1..4).for_each(|n| submit(&mut outbound, &mut table, n, &[n as u8; 3]));
        outbound.advance(1, &mut table).unwrap();
        assert_eq!([1, 2, 9].map(|n| outbound.withdraw(n)), [false, true, false]);
        table.remove(2);
        let expected = [vec![1; HEADER_LEN + 2], vec![3; HEADER_LEN + 3]].concat();
        assert_eq!(flatten(&outbound, &table), expected);
    }

    #[test]
    fn a_write_of_nothing_is_an_error() {
        let (mut table, mut outbound) = (Table::default(), Outbound::default());
        submit(&mut outbound, &mut table, 1, b"x");
        assert!(outbound.advance(0, &mut table).is_err());
    }
}
